"""Asks a run's questions by itself once its training has ended, so that the result is there when somebody looks for it.

One thread of the app does it, whoever has the page open. It leaves alone a run that another program waits for (the command
line asks its own), and gives way to the next training: what was answered by then is kept, as after *Stop and keep*.
"""

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from pipeline.files import read_json
from pipeline.machine import on_zero_gpu
from pipeline.runs.folder import BASELINE, COMPARISON, PROCESS, has_adapter
from pipeline.runs.queue import queued_runs
from pipeline.runs.status import is_elsewhere, running_run, status
from tabs.chat.asking import run_questions, stop_comparing

logger = logging.getLogger(__name__)

OFF = "SHELFTALK_ASK_AFTER_TRAINING"
"""The environment variable that turns it off with `0`."""


def attend(seconds: float = 1.0) -> threading.Thread | None:
    """Ask the questions of each run whose training ends while this process lives; none where it is off or on ZeroGPU."""
    if os.environ.get(OFF) == "0" or on_zero_gpu():
        return None
    thread = threading.Thread(target=_attend, args=(seconds,), name="after training", daemon=True)
    thread.start()
    return thread


def _attend(seconds: float) -> None:
    due: dict[Path, None] = {}
    while True:
        try:
            _once(due)
        except Exception:  # one run that cannot be asked must not end it for the others
            logger.exception("A run's questions could not be asked after its training")
        time.sleep(seconds)


def _once(due: dict[Path, None]) -> None:
    """Remember the run that trains, or ask the first of those that have trained.

    Args:
        due: runs that were seen training, in that order.
    """
    if running := running_run():
        if _is_ours(running):
            due[running] = None
    elif due and not queued_runs():
        folder = next(iter(due))
        del due[folder]
        if is_unasked(folder):
            run_questions(folder, give_way)


def is_unasked(folder: Path) -> bool:
    """Whether a run has an adapter and questions that the adapter was not asked yet."""
    ended = status(folder).state in ("finished", "stopped") and not is_elsewhere(folder)
    return ended and has_adapter(folder) and (folder / BASELINE).is_file() and not (folder / COMPARISON).exists()


def give_way(done: int, total: int) -> None:
    """End with what has been answered where the next training begins: it wants the memory and the processor."""
    if running_run():
        stop_comparing()


def _is_ours(folder: Path) -> bool:
    """Whether no other program waits for the run's process: this one started it, or nobody is left who did."""
    with suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        return psutil.Process(read_json(folder / PROCESS)["pid"]).ppid() in (os.getpid(), 1)
    return False
