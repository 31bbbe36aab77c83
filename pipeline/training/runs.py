"""The run folder: what is in it, its events, its status, and its life: made, renamed, duplicated, deleted.

Writers append or rename; readers never lock. Only starting, renaming and deleting wait for each other.

This is all that the page and the command line know of a training process.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from pipeline.data.dataset import Dataset, open_dataset
from pipeline.data.export import EXPORT
from pipeline.errors import RunError, disk_full
from pipeline.files import append_jsonl, check_room, home, locked, read_json, runs_dir, whole_folder, write_json
from pipeline.training.settings import TrainingSettings

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

KEEPING = ".kept"
"""Beside `runs/`, where runs are kept elsewhere too: what is known of that. In `gone.jsonl` what a person deleted here."""

GOING_DOWN = "going_down"
"""True in the `message` of a run that is stopped since its machine is going down, and not by a person."""

MEMORY_SPLIT = "memory_split"
"""The value of a `message` with which a run that ran out of memory says the micro-batch that it goes on with."""

MEMORY_RETRIES = 3
"""How often a run may be split into smaller micro-batches before it fails for want of memory."""

STOPPED_EARLY = "Stopped before the first step of this start; nothing is lost."

LIFECYCLE = {"started", "resumed", "finished", "stopped", "failed"}
ENDINGS = {"finished", "stopped", "failed"}

LAST_BYTES = 200_000
"""As far as an event that ended a run can be from the end of its file: a probe with all its answers takes a sixth."""

ROOM_FOR_A_RUN = 500_000_000

LONGEST_NAME = 60


@dataclass(frozen=True)
class Status:
    """What a run is doing: `new`, `queued`, `running`, `finished`, `stopped` or `failed`, with a sentence where it failed."""

    state: str
    message: str = ""


def create_run(dataset: Dataset, settings: TrainingSettings, folder: Path | None = None) -> Path:
    """Make a run folder with its settings and its own copy of the dataset.

    Args:
        folder: where; a new folder under `runs/`, named by the time, when not given. It must be empty or not exist.

    Raises:
        RunError: the folder is not empty or cannot be made.
        PipelineError: the disk has no room.
    """
    folder = folder or unused_name(datetime.now().strftime("%Y%m%d-%H%M%S"))
    check_new(folder)
    check_room(folder, ROOM_FOR_A_RUN, "a training run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error.strerror}); choose another folder.") from error
    with whole_folder(folder / DATASET) as aside:
        shutil.copytree(dataset.folder, aside, dirs_exist_ok=True, ignore=shutil.ignore_patterns(EXPORT))
    write_json(folder / SETTINGS, settings.as_dict())
    return folder


def unused_name(name: str) -> Path:
    """A folder under `runs/` of that name, or of that name and a number, that does not exist yet."""
    names = (runs_dir() / f"{name}{suffix}" for suffix in ["", *(f"-{n}" for n in range(2, 1000))])
    return next(path for path in names if not path.exists())


def check_new(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that a new run cannot have.

    Args:
        overwrite: whether it may hold a run, which then makes room for the new one.

    Raises:
        RunError: it is not empty; with `overwrite`, what it holds is not a run, or is still training.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise RunError(f"{folder} is not empty; choose another folder, or pass --overwrite to replace it.")
    if not (folder / SETTINGS).is_file():
        raise RunError(f"{folder} is not a run folder, so it was not overwritten; choose another.")
    if status(folder).state == "running":
        raise RunError(f"A training is running in {folder}; stop it first, or choose another folder.")


def clear_run(folder: Path) -> None:
    """Empty a run folder for a new run.

    Raises:
        RunError: it holds something that is not a run's, so it is left alone.
    """
    check_new(folder, overwrite=True)
    if folder.exists():
        for inside in folder.iterdir():
            shutil.rmtree(inside) if inside.is_dir() and not inside.is_symlink() else inside.unlink()


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


def run_dataset(folder: Path) -> Dataset:
    return open_dataset(folder / DATASET)


def append_event(folder: Path, kind: str, **values: Any) -> None:
    """Append an event; `kind` is its type, `values` as in the table of events in the package's docstring."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    append_jsonl(folder / EVENTS, {"type": kind, "time": now, **values})


def read_events(folder: Path, position: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events after a byte position.

    Returns:
        The whole events from there on, and the position after the last of them. An unfinished last line is held back.
    """
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    end = data.rfind(b"\n") + 1
    return list(_events(data[:end])), position + end


def _events(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # torn by a crash, then followed by a resumed run's line
        if isinstance(event, dict) and "type" in event:
            yield event


def told(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps and probes as they count: those told beyond a checkpoint are told again once the run is resumed from it."""
    counted: list[dict[str, Any]] = []
    for event in events:
        if event["type"] in ("step", "probe"):
            counted.append(event)
        elif event["type"] == "resumed":
            counted = [e for e in counted if e["step"] <= event.get("step", 0)]
    return counted


def since_start(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events since the run was last started or resumed."""
    starts = [i for i, event in enumerate(events) if event["type"] in ("started", "resumed")]
    return list(events[starts[-1] if starts else 0 :])


def status(folder: Path) -> Status:
    """What the run is doing: an ending wins, else alive means running, else it failed.

    A run that trains elsewhere is running until all of it has come back.
    """
    if is_elsewhere(folder):
        return Status("running")
    last = last_lifecycle(folder)
    if last.get("type") in ENDINGS:
        return Status(last["type"], last.get("message", ""))
    if is_alive(folder):
        return Status("running")
    if not last and not (folder / PROCESS).is_file():
        return Status("queued" if (folder / QUEUED).is_file() else "new")
    if cut_off := restored(folder).get("message"):
        return Status("failed", str(cut_off))
    said = disk_full(folder) or "The training process was killed, or the computer went down."
    return Status("failed", f"{said} {log_tail(folder, 2)}".strip())


def restored(folder: Path) -> dict[str, Any]:
    """What is noted of a run that came back from where runs are kept; empty for one that was always here."""
    try:
        return dict(read_json(folder / RESTORED))
    except (OSError, ValueError, TypeError):
        return {}


def is_elsewhere(folder: Path) -> bool:
    """Whether a job on another machine trains the run, so that nothing here writes to it but what brings it back."""
    try:
        job = read_json(folder / JOB)
        return not job["ended"] and job["label"] != os.environ.get(JOB_LABEL)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def check_whole(folder: Path) -> None:
    """Refuse to begin with a run of which a part is still to come.

    Raises:
        RunError: it is on its way back from where runs are kept.
    """
    if not restored(folder).get("whole", True):
        raise RunError(f"Run {folder.name} is still on its way back from the Hub; wait until all of it is here.")


def last_lifecycle(folder: Path) -> dict[str, Any]:
    """The last event that began or ended the run, if it is among the last ones; empty when it is not.

    An ending is, since nothing is told after it: so the end of a long file says enough.
    """
    try:
        size = (folder / EVENTS).stat().st_size
    except OSError:
        return {}
    events, _ = read_events(folder, max(0, size - LAST_BYTES))
    return next((e for e in reversed(events) if e["type"] in LIFECYCLE), {"type": ""} if size > LAST_BYTES else {})


def is_alive(folder: Path) -> bool:
    """Whether the run's process lives. Process ids are used again, so it must have been started for this folder.

    Its command line says so, by the folder or, where it was started before it knew that, by a word of its own; the time
    it was started at would not, once the clock is set.
    """
    try:
        started = read_json(folder / PROCESS)
        found = psutil.Process(started["pid"])
        here = str(folder.resolve())
        its = {here, started["word"]} if started.get("folder") == here else {here}
        words = found.cmdline() or [here]  # it is empty for a moment while a process begins
        return words[-1] in its and found.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def log_tail(folder: Path, lines: int = 5) -> str:
    """The last lines of the training log that say something to a user: of a traceback only what it ends with."""
    try:
        text = (folder / LOG).read_bytes()[-8000:].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    written = text.replace("\r", "\n").splitlines()
    said = [line.rstrip() for line in written if line.strip() and not line.startswith(("Traceback (", "  "))]
    return "\n".join(said[-lines:])


def list_runs() -> list[Path]:
    """All run folders under `runs/`, the newest first."""
    if not runs_dir().is_dir():
        return []
    found = [p for p in runs_dir().iterdir() if not p.name.startswith(".") and (p / SETTINGS).is_file()]
    return sorted(found, key=lambda p: (p / SETTINGS).stat().st_mtime, reverse=True)


def running_run() -> Path | None:
    """The run that is training now, if any."""
    return next((p for p in list_runs() if is_alive(p) and status(p).state == "running"), None)


def has_adapter(folder: Path) -> bool:
    """Whether the run has a whole adapter (the folder takes its name only when it is complete)."""
    return (folder / ADAPTER).is_dir()


@contextmanager
def alone() -> Iterator[None]:
    """Whoever starts a run, moves one or removes one waits here, so that none is started while it is taken away."""
    with locked(runs_dir() / ".lock"):
        yield


@alone()
def rename_run(folder: Path, name: str) -> Path:
    """Give a run another name.

    Returns:
        Its new folder, beside the old one.

    Raises:
        RunError: the name cannot be one or is taken, or the run is training or waits for its turn.
    """
    name = name.strip()
    check_name(name)
    _check_at_rest(folder, "rename")
    if status(folder).state == "queued":
        raise RunError(f"Run {folder.name} waits for its turn; cancel what is waiting first, then rename it.")
    target = folder.with_name(name)
    if target == folder:
        return folder
    check_whole(folder)
    if target.exists():
        raise RunError(f"The name {name} is taken; choose another.")
    _note_gone(folder)
    return folder.rename(target)


def _note_gone(folder: Path) -> None:
    """Tell whoever keeps the runs elsewhere that a person took this name away, and that it was not lost with a disk."""
    if folder.parent == runs_dir() and (home() / KEEPING).is_dir():
        append_jsonl(home() / KEEPING / "gone.jsonl", {"run": folder.name})


def check_name(name: str) -> None:
    """Refuse a name that a run cannot have: it becomes a folder, so it can never be a path or a hidden one.

    Raises:
        RunError: it is empty, too long, or has something other than letters, digits, spaces and `._-`.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        raise RunError(f"A run's name has 1 to {LONGEST_NAME} characters, and this has {len(name)}; choose another.")
    if not all(character.isalnum() or character in " ._-" for character in name):
        raise RunError("A run's name has only letters, digits, spaces, dots, hyphens and underscores; choose another.")
    if name.startswith(".") or name.endswith("."):
        raise RunError("A run's name neither begins nor ends with a dot; choose another.")


def _check_at_rest(folder: Path, action: str) -> None:
    if not (folder / SETTINGS).is_file():
        raise RunError(f"{folder.name} is not a run (any more), so there is nothing to {action}.")
    if is_alive(folder):
        raise RunError(f"Run {folder.name} is still training; stop it first, then {action} it.")
    if is_elsewhere(folder):
        raise RunError(f"Run {folder.name} is training elsewhere; cancel it there first, then {action} it.")


def delete_run(folder: Path) -> None:
    """Remove a run and all that is in it, for good.

    It takes a hidden name first, so that a half-deleted run is never listed. A run that waits for its turn waits no more.

    Raises:
        RunError: it is not a run, or it is training.
        OSError: something in it cannot be removed.
    """
    with alone():
        _check_at_rest(folder, "delete")
        _note_gone(folder)
        aside = folder.rename(folder.with_name(f".{uuid4().hex}.deleted"))
    logger.info("Run %s deleted", folder.name, extra={"run": folder.name})
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside)


def duplicate_run(folder: Path) -> Path:
    """Make a new run with a run's settings and its own copy of that run's dataset; it is not started.

    Raises:
        PipelineError: the run cannot be read, or the disk has no room.
    """
    return create_run(run_dataset(folder), read_settings(folder))


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
