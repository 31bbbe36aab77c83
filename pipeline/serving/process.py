"""The process that serves: its port, its start, and its end, which leaves no answer unfinished."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from pipeline.errors import ServingError
from pipeline.serving.desk import Desk
from pipeline.serving.server import Api, Settings

STOP_SECONDS = 30
"""Until those must have read their answers who are still there when all is answered."""

SWITCH_SECONDS = 0.0001
"""For which one thread may keep the others from Python: with the usual fifty times as long, each step on a GPU would wait for the
words of the one before to be sent."""


class Server(uvicorn.Server):
    """A server that is stopped by a signal once all is answered that it took; by a second one at once."""

    def __init__(self, api: Api) -> None:
        config = uvicorn.Config(
            api.app(),
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="none",
        )
        super().__init__(config)
        self.api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.api.line.is_closed:
            self.should_exit = self.force_exit = True
        # Not in the handler itself: it may interrupt whoever holds the line's lock, and would wait for it for ever.
        threading.Thread(target=self.api.close, daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.api.line.is_done


def listening(settings: Settings) -> socket.socket:
    """The socket to serve on.

    Raises:
        ServingError: the port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol by name: of a socket without one asyncio leaves Nagle's algorithm on, which holds each reply for 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((settings.host.strip("[]"), settings.port))
    except (OSError, OverflowError, UnicodeError) as error:
        found.close()
        why = getattr(error, "strerror", None) or str(error)
        raise ServingError(
            f"{settings.host}, port {settings.port}, cannot be served on ({why}); stop what is running there, or choose another "
            "--port (or --host)."
        ) from None
    return found


def address_of(found: socket.socket) -> str:
    """The API's address on this machine."""
    host, port = found.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/v1"


def serve(desk: Desk, settings: Settings, say: Callable[[str], object], ready: Callable[[str], object]) -> None:
    """Serve until a signal comes.

    Args:
        desk: who answers.
        say: told what the owner should know, in sentences.
        ready: told the address once questions are answered there.

    Raises:
        PipelineError: it cannot be served so.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with listening(settings) as found:
        desk.get_ready(say)
        api = Api(desk, settings)
        server = Server(api)
        found.listen()  # who connects before the loop runs is served then
        ready(address_of(found))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[found])
