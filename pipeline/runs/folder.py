"""The run folder: the names of what is in it, its settings, its dataset, and all the runs there are.

Writers append or rename; readers never lock. Only starting, renaming and deleting wait for each other.

This is all that the page and the command line know of a training process.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from pipeline.dataset.store import Dataset, open_dataset
from pipeline.errors import RunError, SettingsError
from pipeline.files import read_json, runs_dir
from pipeline.models.family import CAUSAL, Family, family_of_base
from pipeline.runs.settings import TrainingSettings

logger = logging.getLogger(__name__)

SETTINGS, EVENTS, LOG, PROCESS = "settings.json", "events.jsonl", "train.log", "process.json"
DATASET, ADAPTER, CHECKPOINTS = "dataset", "adapter", "checkpoints"
BASELINE, COMPARISON, EVERYTHING = "baseline.json", "comparison.json", "everything.json"
ANSWERED = (COMPARISON, EVERYTHING, "report.html", "report.md")
"""What asking a run's adapter leaves."""
QUEUED = "queued"
"""Marks a run that waits for its turn; the mark goes when the run begins."""

RESTORED = ".restored.json"
"""In a run that came back from where runs are kept: whether it is `whole` again, and a `message` on how it was cut off."""

JOB = "job.json"
"""In a run that trains elsewhere: the job on Hugging Face Jobs that does it, and how it went."""

JOB_LABEL = "SHELFTALK_JOB"
"""In the environment of such a job: its label, by which it knows that the run is its own."""

GOING_DOWN = "going_down"
"""True in the `message` of a run that is stopped since its machine is going down, and not by a person."""

MEMORY_SPLIT = "memory_split"
"""The value of a `message` with which a run that ran out of memory says the micro-batch that it goes on with."""

MEMORY_RETRIES = 3
"""How often a run may be split into smaller micro-batches before it fails for want of memory."""

STOPPED_EARLY = "Stopped before the first step of this start; nothing is lost."


def read_settings(folder: Path) -> TrainingSettings:
    """The settings of a run.

    Raises:
        RunError: the folder is not a run.
        SettingsError: its settings were damaged.
    """
    try:
        return TrainingSettings.from_dict(read_json(folder / SETTINGS))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{folder} is not a run folder (its settings cannot be read).") from error


def run_family(folder: Path) -> Family:
    """What a run's base is; the most usual where the run cannot be read, so that nothing may be refused by it alone."""
    try:
        return family_of_base(read_settings(folder).base_model)
    except (RunError, SettingsError):
        return CAUSAL


def run_dataset(folder: Path) -> Dataset:
    return open_dataset(folder / DATASET)


def list_runs() -> list[Path]:
    """All run folders under `runs/`, the newest first; the page asks at every tick, however many there are."""
    root = runs_dir()
    made: list[tuple[float, str]] = []
    for name in _names(root):
        with suppress(OSError):  # it is no run, or has just gone
            made.append((os.stat(f"{root}/{name}/{SETTINGS}").st_mtime, name))
    made.sort(key=lambda one: one[0], reverse=True)
    return [root / name for _, name in made]


def find_run(name: str) -> Path | None:
    """The run folder of that name; a name is looked up among the runs there are, never made into a path."""
    root = runs_dir()
    return root / name if name in _names(root) and (root / name / SETTINGS).is_file() else None


def _names(root: Path) -> list[str]:
    try:
        return [name for name in os.listdir(root) if not name.startswith(".")]
    except OSError:
        return []


def has_adapter(folder: Path) -> bool:
    """Whether the run has a whole adapter (the folder takes its name only when it is complete)."""
    return (folder / ADAPTER).is_dir()


def run_size(folder: Path) -> int:
    """Bytes that a run's files take on the disk; what goes away meanwhile counts as nothing."""
    total, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
