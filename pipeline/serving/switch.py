"""A server that this program switches on and off: a child that ends with it, and its state for whoever asks."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ServingError
from pipeline.files import PROJECT, home
from pipeline.machine import on_space
from pipeline.serving.asked import check_days
from pipeline.serving.callers import origin_of
from pipeline.serving.keys import add_key, list_keys, revoke_key

KEY = "the page's switch"
"""The name of the key that is made where a server is switched on."""

ON_SPACE = (
    "A Space has one port, which is this page's, so nothing else could be reached on it: serve the run on a machine of yours "
    "(`python -m pipeline serve RUN`), or ask this page itself as a program does (“Use via API” below, `/ask`)."
)

END_SECONDS = 30
"""In which a server that is switched off must have answered what it took."""

LOCAL, EVERYWHERE = "127.0.0.1", "0.0.0.0"

OFF, STARTING, ON, FAILED = "off", "starting", "on", "failed"


@dataclass(frozen=True)
class Served:
    """What is switched on.

    Attributes:
        state: `off`, `starting`, `on` or `failed`.
        run: its name.
        address: of the API on this machine, once it answers.
        for_others: whether other machines can reach it.
        origin: of the shop's pages that may ask; empty where none may.
        message: why it failed, in a sentence.
    """

    state: str
    run: str = ""
    address: str = ""
    for_others: bool = False
    origin: str = ""
    message: str = ""


class _Child:
    """The process that serves."""

    def __init__(self, run: Path, way: str, host: str, port: int, origin: str, days: int) -> None:
        self.run, self.address, self.for_others, self.origin = run.name, "", host != LOCAL, origin
        self.log = home() / "serving" / "serve.log"
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = ["--way", way, "--host", host, "--port", str(port), "--keep-questions", str(days), "--with-parent"]
        options += ["--origin", origin] if origin else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "serve", str(run.resolve()), *options],
                cwd=PROJECT,
                stdin=subprocess.PIPE,  # which is closed when this program ends, however that comes
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()

    def told(self) -> Served:
        code = self.process.poll()
        if code is None:
            return Served(ON if self.address else STARTING, self.run, self.address, self.for_others, self.origin)
        return Served(FAILED, self.run, message=self._why(code))

    def _why(self, code: int) -> str:
        if code == -signal.SIGKILL:
            return (
                f"The server of {self.run} was killed, often because the memory ran out; free some and start it again."
            )
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code == 2 and lines:  # a refusal of the command, which is a sentence
            return lines[-1]
        return f"The server of {self.run} ended by itself (exit code {code}); {self.log} says more. Start it again."

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_child: _Child | None = None


def switch_on(
    run: Path, way: str, port: int, *, for_others: bool = False, origin: str = "", keep_questions: int = 0
) -> None:
    """Begin to serve a run; `served` says when it answers, or why it does not.

    Args:
        run: its folder.
        way: how it answers.
        port: 0 is any that is free.
        for_others: whether other machines can reach it, too; they need a key.
        origin: of a shop's pages that may ask without one; empty for none.
        keep_questions: days for which what is asked is kept; 0 keeps nothing.

    Raises:
        ServingError: this is a Space, a server is on, it is no origin, or so many days it cannot be.
    """
    global _child
    if on_space():
        raise ServingError(ON_SPACE)
    origin, days = origin_of(origin) if origin.strip() else "", check_days(keep_questions)
    with _lock:
        if _child and _child.process.poll() is None:
            raise ServingError(f"Run {_child.run} is served already; stop that first.")
        _child = _Child(run, way, EVERYWHERE if for_others else LOCAL, port, origin, days)


def switch_off() -> None:
    """Stop what is switched on, once it has answered what it took; nothing where nothing is."""
    global _child
    with _lock:
        if _child:
            _child.end()
        _child = None


def served() -> Served:
    """What is switched on now."""
    return _child.told() if _child else Served(OFF)


def has_key() -> bool:
    """Whether the key of the switch has been made (and shown) before."""
    return any(key.name == KEY for key in list_keys())


def new_key() -> str:
    """Make the key of the switch, in the place of the one before; this is the only time that it is known."""
    with suppress(ServingError):
        revoke_key(KEY)
    return add_key(KEY)[0]


def end_with_parent() -> None:
    """In the child: end as by Ctrl-C once the program that started it, and with that its standard input's other end, is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
