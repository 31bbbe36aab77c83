"""As many threads as the machine has room for: beside one busy program, two threads on two cores wait for each other three times
as long as one thread needs alone (benchmarks/RESULTS.md)."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

LOOK_SECONDS = 3.0
"""Between two looks."""

CROWDED = 0.3
"""Seconds that threads were ready and had to wait for a core, in each second, from which on there are too many of them."""

TRY_AGAIN_SECONDS = 45.0
"""After which all threads are tried again."""


class ThreadsToFit(TrainerCallback):
    """Trains with one thread while others want the processor, and with all of them otherwise; on a GPU nothing changes."""

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self.looked = self.changed = time.monotonic()
        self.waited = _waited()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        now = time.monotonic()
        if self.most < 2 or self.waited is None or torch.cuda.is_available() or now - self.looked < LOOK_SECONDS:
            return
        waited = _waited()
        if waited is None:
            return
        crowded = (waited - self.waited) / (now - self.looked) > CROWDED
        self.looked, self.waited = now, waited
        if torch.get_num_threads() > 1 and crowded:
            self._use(1, now)
        elif torch.get_num_threads() < self.most and now - self.changed > TRY_AGAIN_SECONDS:
            self._use(self.most, now)

    def _use(self, threads: int, now: float) -> None:
        torch.set_num_threads(threads)
        self.changed = now


def _waited() -> float | None:
    """Seconds that this process's threads have been ready to run and waited; None where the system does not tell."""
    total = 0
    tasks = list(Path("/proc/self/task").glob("*/schedstat"))
    for task in tasks:
        with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            total += int(task.read_text().split()[1])
    return total / 1e9 if tasks else None
