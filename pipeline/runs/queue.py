"""The queue: runs that wait are trained one after another.

The queue is marks in the run folders, so it outlives the page and the app, and goes along when a run is deleted.
Whoever serves the page attends to it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from pipeline.errors import RunError
from pipeline.files import locked, runs_dir, write_text
from pipeline.runs import launcher
from pipeline.runs.events import append_event
from pipeline.runs.folder import PROCESS, QUEUED, list_runs
from pipeline.runs.status import is_alive, status

Room = Callable[[Path], AbstractContextManager[object]]

logger = logging.getLogger(__name__)


def enqueue(folder: Path) -> None:
    """Put a run that has not begun at the end of the queue.

    Raises:
        RunError: it has begun already, or this machine cannot train.
    """
    launcher.check_can_train()
    if status(folder).state not in ("new", "queued"):
        raise RunError(f"Run {folder.name} has begun already; duplicate it to train it again.")
    if not (folder / QUEUED).is_file():
        write_text(folder / QUEUED, f"{time.time_ns()}\n")


def queued_runs() -> list[Path]:
    """The runs that wait, the next one first."""
    waiting = [folder for folder in list_runs() if (folder / QUEUED).is_file() and not (folder / PROCESS).is_file()]
    return sorted(waiting, key=_since)


def _since(folder: Path) -> int:
    try:
        return int((folder / QUEUED).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


@contextmanager
def queue_held() -> Iterator[None]:
    """While the block runs, no queued run begins."""
    with locked(runs_dir() / ".queue.lock"):
        yield


def cancel_queue() -> int:
    """Take all runs that have not begun out of the queue; the one that trains goes on.

    Returns:
        How many there were.
    """
    with queue_held():
        waiting = queued_runs()
        for folder in waiting:
            (folder / QUEUED).unlink(missing_ok=True)
        return len(waiting)


def start_next(room: Room = nullcontext) -> Path | None:
    """Start the run whose turn it is, if one waits and no training process lives.

    Args:
        room: entered with it before it starts; whoever keeps a model in memory can let go of it.

    Returns:
        The run that was started.
    """
    with queue_held():  # so that nobody starts or cancels what this has just chosen
        waiting = queued_runs()
        if not waiting or any(map(is_alive, list_runs())):  # one that is done may still hold its memory
            return None
        folder = waiting[0]
        try:
            with room(folder):
                launcher.start(folder)
        except RunError:
            return None  # another run was started at this very moment; this one keeps its place
        except OSError as error:
            logger.exception("A queued run could not be started")
            with suppress(OSError):  # it may have been deleted at this very moment
                append_event(folder, "failed", message=f"It could not be started ({error.strerror}); try it again.")
        # Only now: a crash before this leaves a mark on a run that has begun, which then counts no more.
        (folder / QUEUED).unlink(missing_ok=True)
        return folder


def attend(room: Room = nullcontext, seconds: float = 1.0) -> threading.Thread:
    """Start the queue's runs one after another for as long as this process lives, in a thread of its own.

    It looks again and again instead of waiting for a child, since the run that trains may be another process's child.
    """

    def work() -> None:
        while True:
            try:
                start_next(room)
            except Exception:  # a full disk, for one, must not end the queue for good
                logger.exception("The queue could not go on")
            time.sleep(seconds)

    thread = threading.Thread(target=work, name="queue", daemon=True)
    thread.start()
    return thread
