"""A training process that has imported all it needs before anybody presses Start.

The imports take six seconds on a laptop and sixteen on a rented GPU machine, where what comes after them takes as long
again (benchmarks/RESULTS.md). So one process begins them when somebody looks at the settings, and waits to be told its
run. It ends with the program that started it, and by itself when nobody wants it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import PROJECT
from pipeline.machine import free_bytes
from pipeline.runs.events import append_event
from pipeline.runs.folder import LOG, STOPPED_EARLY

WAIT = "--wait"
"""Before the last word of a waiting process's command line, by which it is known again once it has a run."""

LONGEST_WAIT = 900.0
"""Seconds that it waits: half a gigabyte is not kept for a page that nobody looks at any more."""

ROOM_TO_WAIT = 4 * 10**9
"""Bytes that must be free before a process begins that may never be needed."""


@dataclass(frozen=True)
class Waiting:
    """A process that waits to be told its run."""

    process: subprocess.Popen[bytes]
    word: str
    environment: dict[str, str]

    def train(self, folder: Path) -> bool:
        """Tell it its run; says whether it was there to hear it."""
        pipe = self.process.stdin
        if pipe is None or self.process.poll() is not None:
            return False
        try:
            with pipe:
                pipe.write(json.dumps(str(folder.resolve())).encode() + b"\n")
        except OSError:
            return False
        return True


_lock = threading.Lock()
_waiting: Waiting | None = None


def prepare(environment: dict[str, str]) -> None:
    """Begin a process that waits, unless one does or the memory is short."""
    global _waiting
    with _lock:
        if _waiting and _waiting.environment == environment and _waiting.process.poll() is None:
            return
        if _waiting:
            end(_waiting)
            _waiting = None
        if (free_bytes(gpu=False) or 0) < ROOM_TO_WAIT:
            return
        word = uuid.uuid4().hex
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.training.child", WAIT, word],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _waiting = Waiting(process, word, environment)


def take(environment: dict[str, str]) -> Waiting | None:
    """The process that waits, which nobody else gets then; None where there is none that began with this environment."""
    global _waiting
    with _lock:
        found, _waiting = _waiting, None
    if found and (found.environment != environment or found.process.poll() is not None):
        end(found)
        return None
    return found


def waiting_pid() -> int | None:
    """The process that waits."""
    return _waiting.process.pid if _waiting else None


def end(waiting: Waiting) -> None:
    """End a process that nobody will tell a run."""
    with suppress(OSError):
        waiting.process.kill()
    waiting.process.wait()


# --- In the waiting process ---


def be_told() -> Path:
    """Wait for a run, whose log this process writes from then on; it ends where none comes."""
    folder = _read_run(LONGEST_WAIT)
    if folder is None:
        os._exit(0)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, its in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(mine, its)
    os.close(nothing)
    os.close(log)
    return folder


def stop_untold(*_: Any) -> None:
    """SIGTERM while the imports are under way: a run that has been told meanwhile has ended before it began."""
    if folder := _read_run(0):
        append_event(folder, "stopped", message=STOPPED_EARLY)
    os._exit(0)


_told: Path | None = None


def _read_run(seconds: float) -> Path | None:
    """The run, which is written in one piece; None where none has been told in this time.

    SIGTERM waits meanwhile: who hears it would find neither the run in the pipe nor that it has been read.
    """
    global _told
    readable, _, _ = select.select([0], [], [], seconds)
    if readable:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if told := os.read(0, 65536):
            _told = Path(json.loads(told))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _told
