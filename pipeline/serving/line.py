"""The line of questions: one thread has the model and answers, at once, all that wait for the same, the first ones first."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError, ServingError

if TYPE_CHECKING:
    from pipeline.serving.desk import Reply

logger = logging.getLogger(__name__)

MOST_WAITING = 512
"""Questions in line, of all callers together."""

QUIET, QUIET_SHARE = 0.02, 0.05
"""Seconds, and the share of the last batch's time, without a new question, after which a batch begins that has fewer than that
one: those that were answered together ask again at about the same time, and the first of them shall not be a batch alone."""

_LATEST = 0.2
"""What the last batch counts in the mean time of an answer."""


@dataclass(eq=False)
class Job:
    """A question in line.

    Attributes:
        folder, way: of the run, and how it is answered; jobs that have both alike are answered together.
        caller: by whom the waiting ones are counted.
        product: the title or uid of the product that the customer stands on; empty where nobody said.
        tell: told more of the answer while it is decoded, by the line's thread; None where nobody wants it so.
        reply: what comes of it, or the `PipelineError` that did.
        tokens: how many were decoded for it.
        has_said: whether words of it were told.
        is_gone: whether nobody waits for it any more.
    """

    folder: Path
    way: str
    question: str
    product: str
    caller: str
    tell: Callable[[str], object] | None = None
    reply: "Future[Reply]" = field(default_factory=Future)
    tokens: int = 0
    has_said: bool = False
    is_gone: bool = False

    def hear(self, words: str, tokens: int) -> None:
        """More of its answer was decoded."""
        self.tokens = tokens
        if words and self.tell:
            self.has_said = True
            self.tell(words)


Work = Callable[[Sequence[Job]], Sequence["Reply"]]


class Line:
    """The line, and the thread that works it off.

    Args:
        work: answers jobs of one run and way, in their order; called by one thread.
        at_once: the most that it is given.

    Attributes:
        is_closed: whether nobody may join any more.
    """

    def __init__(self, work: Work, at_once: int) -> None:
        self._work, self._at_once = work, at_once
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._under_way = 0
        self.is_closed = False
        self._seconds_each = 0.0
        self._last_batch, self._last_seconds = 0, 0.0
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)
        self._thread.start()

    def join(self, jobs: Sequence[Job]) -> int:
        """Stand at the end.

        Returns:
            How many questions are before these.

        Raises:
            ServingError: the line is closed.
        """
        with self._changed:
            if self.is_closed:
                raise ServingError("The server is being stopped; ask again in a minute.")
            before = len(self._jobs) + self._under_way
            self._jobs.extend(jobs)
            self._changed.notify_all()
        return before

    def leave(self, jobs: Sequence[Job]) -> None:
        """Nobody waits for these any more; what has not begun is not answered, and what is being decoded goes no further."""
        with self._changed:
            for job in jobs:
                job.is_gone = True
                if job.reply.cancel() and job in self._jobs:
                    self._jobs.remove(job)
            self._changed.notify_all()

    def place(self, job: Job) -> int:
        """How many questions are before one; 0 when its turn has come."""
        with self._changed:
            return self._jobs.index(job) + self._under_way if job in self._jobs else 0

    def waiting(self, caller: str = "") -> int:
        """Questions in line or under way, of one caller or of all."""
        with self._changed:
            return sum(not caller or job.caller == caller for job in self._jobs) + (0 if caller else self._under_way)

    def seconds(self, before: int) -> int:
        """How long a question may take with so many before it, in whole seconds, at least 1."""
        return max(1, math.ceil((before + 1) * self._seconds_each))

    def close(self) -> None:
        """The thread ends once those in line are answered; nobody joins it any more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    @property
    def is_done(self) -> bool:
        """Whether it is closed and everything is answered."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        while jobs := self._next():
            begun = time.monotonic()
            # From here on it cannot be cancelled; one that has been is not answered.
            going = [job for job in jobs if job.reply.set_running_or_notify_cancel()]
            if going:
                self._answer(going)
                self._last_batch, self._last_seconds = len(going), time.monotonic() - begun
                each = self._last_seconds / len(going)
                self._seconds_each += (each - self._seconds_each) * (_LATEST if self._seconds_each else 1)
            with self._changed:
                self._under_way = 0

    def _next(self) -> list[Job]:
        """The first in line and those behind it that want the same; none once the line is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self.is_closed)
            quiet = min(QUIET, QUIET_SHARE * self._last_seconds)
            while 0 < len(self._jobs) < self._last_batch and not self.is_closed and self._changed.wait(quiet):
                pass
            self._changed.wait_for(lambda: self._jobs or self.is_closed)  # all may have left meanwhile
            first = self._jobs[0] if self._jobs else None
            same = [job for job in self._jobs if first and (job.folder, job.way) == (first.folder, first.way)]
            taken = same[: self._at_once]
            for job in taken:
                self._jobs.remove(job)
            self._under_way = len(taken)
            return taken

    def _answer(self, jobs: Sequence[Job]) -> None:
        try:
            replies = self._work(jobs)
        except Exception as error:
            # A fault of ours may be about one question alone, and then only that one shall bear it; and those whose answers
            # have begun, since nothing is said twice.
            if len(jobs) > 1 and not isinstance(error, PipelineError):
                logger.warning(
                    "%d questions together failed (%s); each is asked alone.", len(jobs), type(error).__name__
                )
                for job in jobs:
                    if job.has_said:
                        job.reply.set_exception(error)
                    else:
                        self._answer([job])
            else:
                for job in jobs:
                    job.reply.set_exception(error)
            return
        for job, reply in zip(jobs, replies, strict=True):
            job.reply.set_result(reply)
