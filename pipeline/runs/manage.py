"""A run's life: made, renamed, duplicated, deleted. These wait for each other, and starting waits for them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pipeline.catalogue.cache import RENEWED
from pipeline.dataset.export import EXPORT
from pipeline.dataset.store import Dataset
from pipeline.errors import RunError
from pipeline.files import check_room, locked, runs_dir, taking_away, whole_folder, write_json
from pipeline.runs.folder import DATASET, SETTINGS, logger, read_settings, run_dataset
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import check_whole, is_alive, is_elsewhere, status

ROOM_FOR_A_RUN = 500_000_000

LONGEST_NAME = 60


def create_run(dataset: Dataset, settings: TrainingSettings, folder: Path | None = None) -> Path:
    """Make a run folder with its settings and its own copy of the dataset; it answers from the catalogue that this was made of.

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
        shutil.copytree(dataset.folder, aside, dirs_exist_ok=True, ignore=shutil.ignore_patterns(EXPORT, RENEWED))
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
    with taking_away(folder):
        return folder.rename(target)


def check_name(name: str) -> None:
    """Refuse a name that a run cannot have: it becomes a folder, so it can never be a path or a hidden one.

    Raises:
        RunError: it is empty, too long, or has something other than letters, digits, spaces and `._-`.
    """
    if not isinstance(name, str):  # of a file that a store gave
        raise RunError("A run's name is a text; choose another.")
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
        with taking_away(folder):
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
