"""What a run tells a tracker, through Transformers' own reporters: nothing, unless its settings name one."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.files import home
from pipeline.runs.settings import NO_TRACKER, TrainingSettings

logger = logging.getLogger(__name__)

PROJECT_NAME = "shelftalk"

BOARD = "tensorboard"
"""The folder in a run's own in which TensorBoard finds it."""


def check_tracker(settings: TrainingSettings) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        SettingsError: it is not.
    """
    name = settings.tracker
    if name != NO_TRACKER and find_spec(name) is None:
        raise SettingsError(
            f"The tracker {name} is not installed: run `.venv/bin/pip install {name}`, or set tracker to none."
        )


def reported(settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    """What a trainer is told of its reporters, by the names of Transformers."""
    if settings.tracker == NO_TRACKER:
        return {"report_to": "none"}
    # Its figures stay on this machine: no Space is made of them.
    return {
        "report_to": [settings.tracker],
        "run_name": folder.name,
        "project": PROJECT_NAME,
        "trackio_space_id": None,
        "trackio_static_space_id": False,
    }


def told_settings(settings: TrainingSettings) -> dict[str, str]:
    """A run's settings as one value that every tracker shows."""
    return {"settings": json.dumps(settings.as_dict(), indent=1)}


@contextmanager
def as_tracked(settings: TrainingSettings, folder: Path) -> Iterator[None]:
    """For the block, the variables by which a tracker knows where its files lie and which run this is."""
    names = variables(settings, folder)
    before = {name: os.environ.get(name) for name in names}
    _set(names)
    try:
        yield
    finally:
        _set(before)


def variables(settings: TrainingSettings, folder: Path) -> dict[str, str | None]:
    """Environment variables of a run's tracker; None is one that must not be there."""
    if settings.tracker == NO_TRACKER:
        return {}
    # Of a run that goes on, or is asked after its training, the figures join those that there are.
    own = hashlib.sha256(f"{folder.resolve()} {folder.stat().st_ino}".encode()).hexdigest()[:16]
    return {
        "TENSORBOARD_LOGGING_DIR": str(folder / BOARD),
        "TRACKIO_DIR": os.environ.get("TRACKIO_DIR", str(home() / "trackio")),
        "WANDB_PROJECT": os.environ.get("WANDB_PROJECT", PROJECT_NAME),
        "WANDB_DIR": str(folder),
        "WANDB_RUN_ID": own,
        "WANDB_RESUME": "allow",
        "WANDB_DISABLED": None,
    }


def _set(names: Mapping[str, str | None]) -> None:
    for name, value in names.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def tell_afterwards(folder: Path, settings: TrainingSettings, step: int, values: dict[str, float]) -> None:
    """Add to a run's figures what is known only once it has been trained; what cannot be told costs nobody an answer."""
    if settings.tracker == NO_TRACKER:
        return
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        check_tracker(settings)
        with as_tracked(settings, folder):
            arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, **reported(settings, folder))
            state, control = TrainerState(global_step=step), TrainerControl()
            for reporter in get_reporting_integration_callbacks([settings.tracker]):
                told = reporter()
                told.on_log(arguments, state, control, logs=dict(values))
                told.on_train_end(arguments, state, control)
    except Exception as error:
        logger.warning("Run %s could not tell %s. %s", folder.name, settings.tracker, error, extra={"run": folder.name})
