"""Runs, datasets and what else a restart would lose, kept in a private dataset repository on the Hub while they are made.

A thread of the app looks at the folders at intervals and commits what has changed; the child that trains knows nothing of
it, so no step ever waits. Each thing is written only over what this machine has seen of it: where another has written
meanwhile, both stay, under two names. What is on the disk is the queue: without a network it simply goes later.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError, disk_problem, is_unreached, unexpected
from pipeline.files import KEEPING, clear_work_folders, home, locked, on_volume
from pipeline.machine import on_space
from pipeline.publishing.hub import http_status
from pipeline.runs import launcher, queue
from pipeline.runs.events import append_event
from pipeline.runs.folder import GOING_DOWN, list_runs
from pipeline.runs.status import running_run
from pipeline.space import watching
from pipeline.space.committing import Writer
from pipeline.space.kept import Records
from pipeline.space.restoring import queue_again, restore, take_names
from pipeline.space.store import Store, store_name

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Between two looks at what has changed."""

HANDOVER_SECONDS = 600
"""After the start: as long it is looked for what comes late into the store. A Space that is rebuilt begins beside the old one."""

FAREWELL_SECONDS = 120.0
"""For the last round, at most. A Space is given about 30 seconds, and is ended when they are over, whatever is said here."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until the next attempt, when one has failed; each pause is twice the one before."""


@dataclass(frozen=True)
class KeepingState:
    """What the page says of keeping.

    Attributes:
        text: in words; empty where nothing is kept elsewhere and nothing need be said.
        since: when that began, or was done last, in seconds since 1970.
        done: whether nothing waits.
    """

    text: str = ""
    since: float | None = None
    done: bool = False


class Keeper:
    """Keeps this home in a store, and brings back what is there; everything happens in the thread that calls it."""

    def __init__(self, repo: str) -> None:
        self.repo = repo
        self.doing = "looking at the Hub"
        self.problem = KeepingState()
        self.last = 0.0
        self.begun = time.monotonic()
        self.closing, self.closed = threading.Event(), threading.Event()
        self._writer: Writer | None = None

    @property
    def writer(self) -> Writer:
        """Whoever writes into the store, once that has been reached.

        Raises:
            HubError: it cannot be opened.
        """
        if self._writer is None:
            store = Store(self.repo)
            store.open()
            records = Records(self.repo)
            take_names(records)
            self._writer = Writer(store, records)
        return self._writer

    def attend(self, seconds: float = SECONDS) -> None:
        """Keep, until `finish` is called. Of several processes with one home, one does so; the next when that has ended."""
        with locked(home() / KEEPING / ".lock"):
            clear_work_folders(home() / KEEPING)
            pause = FIRST_PAUSE
            while not self.closed.is_set():
                closing = self.closing.is_set()
                pause, wait = self._attempt(pause, seconds)
                if closing:
                    self.closed.set()
                self.closing.wait(wait)

    def _attempt(self, pause: float, seconds: float) -> tuple[float, float]:
        """A round; returns the seconds to pause should the next one fail, and those to wait now."""
        try:
            self.round(seconds)
        except Exception as error:  # whatever it is, the next round may do better
            self._note(_sentence(error, self.repo))
            return min(2 * pause, LONGEST_PAUSE), min(pause, LONGEST_PAUSE)
        return FIRST_PAUSE, min(seconds, watching.WATCH_SECONDS) if watching.is_on() else seconds

    def round(self, seconds: float = SECONDS) -> None:
        """Bring back what is missing here, then keep what has changed here; the second is done though the first fails."""
        failed: Exception | None = None
        try:
            for _ in self.fetch(seconds):
                if self.closing.is_set():
                    break
            watching.watch(self.writer)
        except Exception as error:  # a disk without room, perhaps
            failed = error
        self.writer.keep(hurry=self.closing.is_set())
        if failed:
            raise failed
        if self.problem.text:
            logger.info("The Hub can be reached again: everything is kept")
        self.doing, self.problem, self.last = "", KeepingState(), self.writer.last or time.time()

    def fetch(self, seconds: float = SECONDS) -> Iterator[None]:
        """Bring back what the store has and this disk has not, file by file; what is made meanwhile is kept meanwhile."""
        writer, late = self.writer, time.monotonic() - self.begun > HANDOVER_SECONDS
        if self.closing.is_set() or (writer.known and late and not writer.behind):
            return
        head = writer.store.head()
        if head == writer.known and not writer.behind:
            return
        writer.known, writer.behind = "", False
        kept = time.monotonic()
        for done, of in restore(writer.store, writer.records, head):
            self.doing = f"bringing back {of} things from the Hub, {done} of {of} are here" if of else ""
            if time.monotonic() - kept > seconds:
                writer.keep()
                kept = time.monotonic()
            yield
        writer.known = head

    def _note(self, sentence: str) -> None:
        if sentence != self.problem.text:
            logger.warning("Nothing is lost, but it is not on the Hub yet: %s It is tried again and again.", sentence)
            self.problem = KeepingState(sentence, self.problem.since or time.time())

    def state(self) -> KeepingState:
        if self.problem.text:
            return KeepingState(f"waiting for the Hub: {self.problem.text}", self.problem.since)
        return KeepingState(self.doing) if self.doing else KeepingState("on the Hub", self.last, done=True)

    def finish(self, seconds: float = FAREWELL_SECONDS) -> bool:
        """Have the thread do a last round; whether it was done in that time."""
        self.closing.set()
        return self.closed.wait(seconds)


def _sentence(error: Exception, repo: str) -> str:
    """What is wrong, in a sentence. What a server says is never repeated."""
    if isinstance(error, PipelineError):
        return str(error)
    status = http_status(error)
    if status is None:
        if said := disk_problem(error):
            return said
        return f"It cannot be reached ({type(error).__name__})." if is_unreached(error) else unexpected(error)
    return {
        401: "It does not know HF_TOKEN; make a new token with write access, and set it again.",
        403: f"HF_TOKEN may not write to {repo}; set one with write access, or another name in SHELFTALK_STORE.",
        404: f"There is no {repo} that HF_TOKEN may write to; set SHELFTALK_STORE to a name of your own.",
        429: "It has had too many requests.",
    }.get(status, f"It has a problem of its own (HTTP {status})." if status >= 500 else f"It refused (HTTP {status}).")


# --- In the app ---

_keeper: Keeper | None = None


def attend() -> None:
    """Keep this home from now on, in a thread of its own, where there is a store to keep it in."""
    global _keeper
    for folder in list_runs():
        queue_again(folder)
    if repo := store_name():
        _keeper = Keeper(repo)
        threading.Thread(target=_keeper.attend, name="keeping", daemon=True).start()


def state() -> KeepingState:
    """What the page says of it."""
    if _keeper:
        return _keeper.state()
    if on_space() and not on_volume():
        return KeepingState("nowhere else: what is made here is lost when this Space restarts, as there is no HF_TOKEN")
    return KeepingState()


_gone = threading.Event()
"""All that is done before a Space goes down is done."""


def take_the_run_along(*_: Any) -> None:
    """On SIGTERM: a Space that goes down ends everything in it, so let the run save what it has, and keep that. Elsewhere a run
    outlives the app.

    It is done in a thread of its own: the signal stops the main thread wherever that is, and it may hold what the keeper
    waits for, such as the lock of a module that it is importing.
    """
    if _gone.is_set():
        sys.exit(0)
    threading.Thread(target=_go_down, name="going down", daemon=True).start()


def _go_down() -> None:
    with queue.queue_held():
        if running := running_run():
            text = "The Space is going down: the run stops after this step, and goes on when the Space is back."
            append_event(running, "message", text=text, **{GOING_DOWN: True})
            launcher.stop(running)
            list(launcher.watch(running))
        if _keeper:
            _keeper.finish()
        _gone.set()
        os.kill(os.getpid(), signal.SIGTERM)  # the main thread ends the process
        threading.Event().wait()  # till then no other run begins
