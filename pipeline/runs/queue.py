"""Several runs by one press: a small grid of settings, and the queue that trains its runs one after another.

The queue is marks in the run folders, so it outlives the page and the app, and goes along when a run is deleted.
Whoever serves the page attends to it.
"""

import itertools
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.dataset.store import Dataset
from pipeline.errors import RunError, SettingsError
from pipeline.files import check_room, locked, read_json, runs_dir, write_json, write_text
from pipeline.runs import launcher
from pipeline.runs.events import append_event
from pipeline.runs.folder import PROCESS, QUEUED, list_runs
from pipeline.runs.manage import ROOM_FOR_A_RUN, alone, create_run, unused_name
from pipeline.runs.recipes import changed, typed
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import is_alive, status

logger = logging.getLogger(__name__)

SWEEP = "sweep.json"
"""In a run folder: which sweep the run belongs to, and the values that are its own."""

MOST_RUNS = 12

SWEPT = (
    "learning_rate",
    "lora_r",
    "lora_alpha",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "lora_variant",
    "loraplus_lr_ratio",
    "lora_dropout",
    "seed",
)
"""The settings worth trying several values of."""


@dataclass(frozen=True)
class Trial:
    """A run of a sweep, and the values that it has of the settings that the sweep tries."""

    folder: Path
    values: dict[str, Any]


def read_values(name: str, text: str) -> list[Any]:
    """The values to try of a setting, as typed: `0.0003, 0.001`; each is taken once.

    Raises:
        SettingsError: the setting is not one to sweep, or a value is none of its type.
    """
    if name not in SWEPT:
        raise SettingsError(f"Several values of {name} cannot be tried; choose one of {', '.join(SWEPT)}.")
    words = text.replace(";", ",").replace("\n", ",").split(",")
    values = [typed(name, word) for word in words if word.strip()]
    if not values:
        raise SettingsError(f"There is no value of {name} to try; type some, as 1, 2, 3.")
    return list(dict.fromkeys(values))


def grid(settings: TrainingSettings, tried: dict[str, list[Any]]) -> list[tuple[dict[str, Any], TrainingSettings]]:
    """Every combination of the values, each with the settings of its run.

    Raises:
        SettingsError: there are too many, none measures recall, or a combination cannot work.
    """
    size = math.prod(map(len, tried.values()))
    if not tried or size > MOST_RUNS:
        raise SettingsError(f"That would be {size} runs; try 1 to {MOST_RUNS} at once.")
    if not settings.probes:
        raise SettingsError("Without recall checks there is nothing to compare by; set at least one (probes).")
    combinations = [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]
    return [(values, changed(settings, values)) for values in combinations]


@alone()
def start_sweep(dataset: Dataset, settings: TrainingSettings, tried: dict[str, list[Any]]) -> str:
    """Make a run for every combination of the values and put them all into the queue.

    Args:
        tried: setting → the values to try.

    Returns:
        The sweep's name.

    Raises:
        PipelineError: the grid cannot work, this machine cannot train, or the disk has no room; then no run is made.
    """
    launcher.check_can_train()
    trials = grid(settings, tried)
    check_room(runs_dir(), len(trials) * ROOM_FOR_A_RUN, f"a sweep of {len(trials)} runs")
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid4().hex[:4]}"
    made: list[Path] = []
    try:
        for number, (values, trial) in enumerate(trials):
            made.append(unused_name(" ".join(f"{k} {_shown(v)}" for k, v in values.items())))
            create_run(dataset, trial, made[-1])
            write_json(made[-1] / SWEEP, {"sweep": name, "number": number, "values": values})
        for folder in made:
            enqueue(folder)
    except BaseException:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def sweeps() -> dict[str, list[Trial]]:
    """All sweeps by name, the newest first, each with its runs in the order of the grid; what is damaged is left out."""
    found: dict[str, list[tuple[int, Trial]]] = {}
    for folder in list_runs():
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            record = read_json(folder / SWEEP)
            values = {name: value for name, value in record["values"].items() if name in SWEPT}
            name, number = str(record["sweep"]), int(record["number"])
            found.setdefault(name, []).append((number, Trial(folder, values)))
    ordered = {name: sorted(trials, key=lambda pair: pair[0]) for name, trials in sorted(found.items(), reverse=True)}
    return {name: [trial for _, trial in trials] for name, trials in ordered.items()}


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


def start_next(make_room: Callable[[Path], None] = lambda _: None) -> Path | None:
    """Start the run whose turn it is, if one waits and no training process lives.

    Args:
        make_room: called with it before; whoever keeps a model in memory can let go of it.

    Returns:
        The run that was started.
    """
    with queue_held():  # so that nobody starts or cancels what this has just chosen
        waiting = queued_runs()
        if not waiting or any(map(is_alive, list_runs())):  # one that is done may still hold its memory
            return None
        folder = waiting[0]
        try:
            make_room(folder)
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


def attend(make_room: Callable[[Path], None] = lambda _: None, seconds: float = 1.0) -> threading.Thread:
    """Start the queue's runs one after another for as long as this process lives, in a thread of its own.

    It looks again and again instead of waiting for a child, since the run that trains may be another process's child.
    """

    def look() -> None:
        while True:
            try:
                start_next(make_room)
            except Exception:  # a full disk, for one, must not end the queue for good
                logger.exception("The queue could not go on")
            time.sleep(seconds)

    thread = threading.Thread(target=look, name="queue", daemon=True)
    thread.start()
    return thread
