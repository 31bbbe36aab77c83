"""A sweep: one run for every combination of a few values of some settings."""

import itertools
import math
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.files import check_room, read_json, runs_dir, taking_away, write_json
from pipeline.models.bases import typed_base
from pipeline.models.chat import lacks_chat
from pipeline.models.config import base_shape
from pipeline.prompts import CHAT, PLAIN
from pipeline.runs import launcher
from pipeline.runs.folder import list_runs
from pipeline.runs.manage import ROOM_FOR_A_RUN, alone, create_run, unused_name
from pipeline.runs.queue import enqueue
from pipeline.runs.recipes import changed, typed
from pipeline.runs.settings import PRESETS, TrainingSettings, gpu_name, is_squeezed, rate_of

SWEEP = "sweep.json"
"""In a run folder: which sweep the run belongs to, and the values that are its own."""

MOST_RUNS = 12

BASE = "base_model"

SWEPT = (
    BASE,
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
    values = [typed_base(value) for value in values] if name == BASE else values
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
    return [(values, changed(settings, _with_its_own(settings, values))) for values in combinations]


def _with_its_own(settings: TrainingSettings, values: dict[str, Any]) -> dict[str, Any]:
    """A base brings along whether it is loaded in 4 bits, and its learning rate, as where one is chosen by itself; what cannot be
    asked in a chat template, or keep packed examples apart, is taught without."""
    if BASE not in values:
        return values
    squeezed = is_squeezed(values[BASE]) and bool(gpu_name())
    its_own: dict[str, Any] = {"load_in_4bit": squeezed}
    if settings.preset in PRESETS and settings.learning_rate == rate_of(settings.preset, settings.base_model):
        its_own["learning_rate"] = rate_of(settings.preset, values[BASE])  # where nobody chose one
    if settings.prompt_format == CHAT and lacks_chat(values[BASE]):
        its_own["prompt_format"] = PLAIN
    if settings.packing and (shape := base_shape(values[BASE])) and not shape.apart:
        its_own["packing"] = False
    return its_own | values


def asks_at_its_end(folder: Path) -> bool:
    """Whether a run is one of several bases, which are compared by what they answer once they are trained."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        return BASE in read_json(folder / SWEEP)["values"]
    return False


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
            made.append(unused_name(" ".join(f"{k} {shown_value(v)}" for k, v in values.items())))
            create_run(dataset, trial, made[-1])
            write_json(made[-1] / SWEEP, {"sweep": name, "number": number, "values": values})
        for folder in made:
            enqueue(folder)
    except BaseException:
        for folder in made:
            with taking_away(folder):
                shutil.rmtree(folder, ignore_errors=True)
        raise
    return name


def shown_value(value: Any) -> str:
    """A value as a run's name and a plot have it; of a base the last part of its name."""
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else f"{value:g}"


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
