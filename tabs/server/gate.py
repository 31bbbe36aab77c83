"""What visitors are refused, and how much of the rest they may have: on the server, whatever the page shows.

Every call of a handler, from the page, the API or MCP, is judged (see `tabs.server.gradio_internals`). Gradio's
other addresses are closed unless they are listed here: the page needs few of them.
"""

import json
import math
import re
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.machine import on_space
from pipeline.serving.callers import Rate, is_own_host
from tabs.server.answering_model import MODEL
from tabs.server.gradio_internals import LeanBlocks
from tabs.server.identity import Caller, acts_for, caller_of
from tabs.ui.text import duration
from tabs.ui.watcher import done_by_owner

REFUSED = "Only this Space's owner can do this; sign in as the owner, or duplicate the Space to have your own."
FOREIGN = "Another website asked for this; open the app's own page to do it."
"""Where the app runs for one person, only a page of another site can be a visitor."""

STRANGE = "This app is not served under the name {!r}. If it is yours, start the app with SHELFTALK_HOSTS=that.name."

QUESTIONS_A_MINUTE = 10
MOST_WAITING = 60
"""Questions in line for the model, of all visitors together: a longer line would take minutes."""
MOST_OF_ONE = 5
"""… and of one visitor."""
MOST_EVENTS = 2000
"""Events of any sort in line; every page that is open sends one at each tick."""
MOST_PAGES = 1000
"""Pages whose state is kept, those that were used last: Gradio would keep ten times as many, and each takes memory."""
LARGEST_UPLOAD = "4gb"
LARGEST_BODY = 1_000_000
"""Bytes of any other request: the longest question has 1,000 characters."""

API = "/gradio_api"
OPEN = re.compile(
    r"/|/health|/config/?|/(assets|static|svelte)/.+|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/\d+)?"
    r"|/login/(huggingface|callback)|/logout"
    rf"|{API}/(info/?|openapi\.json|app_id/?|user/?|token/?|login_check/?|startup-events|theme\.css|reset/?|cancel)"
    rf"|{API}/(heartbeat/\w+|queue/(join|data|status)|(call|run|api)/.+|upload_progress|mcp(/.*)?|file=(?!\w+:).+)"
)
"""Paths that anybody may ask for; what they call is judged. `file=` gives what lies in Gradio's own
folder and never what another server has. Not here, and so closed: running code of components, recording, streaming, the
editor, the proxy, monitoring, links to a state of the page, run history and waiting for a reload."""
UPLOAD = re.compile(rf"{API}/upload/?")
"""The owner's alone."""


def refusal() -> str:
    return REFUSED if on_space() else FOREIGN


class GuardedBlocks(LeanBlocks):
    """Blocks that call a handler for visitors only where it is open to them (see `tabs.server.identity`)."""

    def __init__(self, **options: Any) -> None:
        self._questions = Rate(QUESTIONS_A_MINUTE, 60)
        super().__init__(**options)

    async def before_call(self, handler: Any, requests: list[Any], *, begins: bool) -> None:
        """Let only those who may call a handler.

        Raises:
            gr.Error: the handler is not for visitors, or they have called it too often.
        """
        callers = [await caller_of(request) for request in requests]
        caller = next((one for one in callers if not one.is_owner), callers[0])
        if begins:
            self.judge(handler, caller)
        acts_for(caller)

    def after_call(self, handler: Any) -> None:
        if not getattr(handler, "open_to_all", False):
            done_by_owner()

    def judge(self, handler: Any, caller: Caller) -> None:
        if caller.is_owner:
            return
        if getattr(handler, "open_to_all", False) is not True:
            raise gr.Error(refusal(), print_exception=False)
        if getattr(handler, "in_measure", False) and (wait := self._questions.wait(caller.key)):
            raise gr.Error(
                f"Limit: {QUESTIONS_A_MINUTE} a minute. Try again in {duration(math.ceil(wait))}.",
                print_exception=False,
            )

    async def refusal_to_wait(self, line: str, waiting: list[Any], request: Any) -> str:
        """Why a question cannot wait in line for the model; empty where it can, and for all that is no question."""
        if line != MODEL or not waiting:
            return ""
        caller = await caller_of(request)
        if caller.is_owner:
            return ""
        if len(waiting) >= MOST_WAITING:
            return f"{len(waiting)} questions are waiting for the model already; ask again in a minute."
        own = [other for other in waiting if (await caller_of(other)).key == caller.key]
        return f"{len(own)} of your questions are waiting; wait for their answers." if len(own) >= MOST_OF_ONE else ""


class Door:
    """ASGI middleware before all of Gradio's addresses: what is not listed above does not exist."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not is_own_host(host):
            await _answer(send, 403, STRANGE.format(host[:100]))
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if UPLOAD.fullmatch(path):
            if (await caller_of(Request(scope))).is_owner:
                await self.app(scope, receive, send)
            else:
                await _answer(send, 403, refusal())
        elif not OPEN.fullmatch(path):
            await _answer(send, 404, "There is nothing at this address.")
        elif _length(scope) > LARGEST_BODY:
            await _answer(send, 413, f"The request is longer than {LARGEST_BODY:,} bytes; send less at once.")
        else:
            await self.app(scope, _measured(receive), send)


def middleware() -> list[Middleware]:
    return [Middleware(Door)]


def _length(scope: Scope) -> int:
    told = dict(scope["headers"]).get(b"content-length", b"0")
    return int(told) if told.isdigit() else LARGEST_BODY + 1


def _measured(receive: Receive) -> Receive:
    """Let no more in than a request may have, where it does not tell its length; one that goes on is cut off."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= LARGEST_BODY else {"type": "http.disconnect"}

    return receive_some


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence, "error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
