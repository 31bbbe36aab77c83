"""Child processes of the tests, which are real: started, waited for with patience, and ended with the test.

`python -m tests.children CODE WORDS…` is `python -c CODE WORDS…` as a process that can be forked (`tests/forks.py`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipeline.files import PROJECT, read_json
from pipeline.runs.status import is_alive

PATIENCE = 300
"""Seconds that a child may take before a test gives up on it: the machine may be busy."""


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "It never came."
        time.sleep(0.05)


def pid(folder: Path) -> int:
    """The process that trains a run."""
    return read_json(folder / "process.json")["pid"]


def end(runs: Iterable[Path]) -> None:
    """Kill what still trains."""
    for folder in filter(is_alive, runs):
        os.kill(pid(folder), signal.SIGKILL)


def running(code: str, *words: object) -> list[str]:
    """The command that runs some Python."""
    return [sys.executable, "-m", "tests.children", code, *map(str, words)]


def waiting(*words: str) -> subprocess.Popen[bytes]:
    """A process that waits to be ended, with these words at the end of its command line."""
    child = subprocess.Popen([sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE)
    while not psutil.Process(child.pid).cmdline():  # for a moment it has none
        time.sleep(0.001)
    return child


@contextmanager
def starting(code: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts processes that run some Python, as often as it is called; they are ended with the block."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(running(code), cwd=PROJECT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


if __name__ == "__main__":
    del sys.argv[0]
    exec(sys.argv[0], {"__name__": "__main__"})
