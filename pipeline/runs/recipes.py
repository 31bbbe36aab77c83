"""Settings as people hand them on: a YAML file, and one command line that repeats a run.

Both say only what differs from the preset, so that what was meant stands out.
"""

import shlex
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import PipelineError, SettingsError
from pipeline.files import PROJECT
from pipeline.runs.folder import DATASET, read_settings, run_dataset
from pipeline.runs.settings import PRESETS, TrainingSettings, default_base, settings_for

MOST_BYTES = 64_000
"""A settings file is a few hundred bytes; what is larger than this is something else."""

KINDS: dict[str, type] = {f.name: type(f.default) for f in fields(TrainingSettings)}
KIND_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list of names"}

HEADER = "# Settings of a Shelftalk run: what differs from its preset. Load it on the Training tab, or pass it to\n"
HEADER += "# `python -m pipeline train --settings FILE`. The dataset is named for your information.\n"


def recipe(folder: Path) -> str:
    """A run's settings as YAML: preset, base model, the dataset's fingerprint, and what differs from the preset.

    Raises:
        PipelineError: the folder is not a run.
    """
    settings = read_settings(folder)
    start = _starting_point(settings)
    told = {"preset": start.preset, "base_model": settings.base_model, "dataset": dataset_name(folder)}
    return HEADER + yaml.safe_dump(told | differences(settings), sort_keys=False, allow_unicode=True)


def dataset_name(folder: Path) -> str:
    """The fingerprint of the dataset that a run was made with; empty where it is damaged."""
    try:
        return str(run_dataset(folder).manifest.get("fingerprint", ""))
    except PipelineError:
        return ""


def differences(settings: TrainingSettings) -> dict[str, Any]:
    """The settings that are not as the preset has them for this base model, ready for YAML or JSON."""
    start = _starting_point(settings).as_dict() | {"preset": settings.preset}
    return {name: value for name, value in settings.as_dict().items() if start[name] != value}


def _starting_point(settings: TrainingSettings) -> TrainingSettings:
    return settings_for(settings.preset if settings.preset in PRESETS else "recall", settings.base_model)


def command_line(folder: Path) -> str:
    """One line for a shell that repeats the run: with its dataset, its base model and every setting.

    Raises:
        PipelineError: the folder is not a run.
    """
    settings = read_settings(folder)
    dataset = (folder / DATASET).resolve()
    near = dataset.relative_to(PROJECT) if dataset.is_relative_to(PROJECT) else dataset
    words = ["python", "-m", "pipeline", "train", "--dataset", str(near)]
    words += ["--preset", _starting_point(settings).preset, "--base", settings.base_model]
    for name, value in differences(settings).items():
        words += ["--set", f"{name}={_text(value)}"] if name != "preset" else []
    return shlex.join(words)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_recipe(path: Path) -> TrainingSettings:
    """The settings of a YAML file; what it leaves out is as its preset has it, for this machine's base model.

    Raises:
        SettingsError: it cannot be read, is not YAML, or holds something that is not a setting or cannot work.
    """
    values = _mapping(path)
    values.pop("dataset", None)
    start = settings_for(
        checked("preset", values.pop("preset", "recall")),
        checked("base_model", values.pop("base_model", None) or default_base()),
    )
    return changed(start, {name: checked(name, value) for name, value in values.items()})


def _mapping(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path.name} cannot be read; choose a settings file that was exported here.") from error
    if len(data) > MOST_BYTES:
        raise SettingsError(f"{path.name} is larger than {MOST_BYTES // 1000} kB, so it is not a settings file.")
    try:
        values = yaml.load(data.decode("utf-8-sig"), _Plain)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not text in UTF-8; save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name} is not YAML; it needs lines as `lora_r: 32`.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path.name} holds no settings; it needs lines as `lora_r: 32`.")
    return values


class _Plain(yaml.SafeLoader):
    """YAML without aliases, by which a small file can unfold to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("A settings file has no aliases.")
        return super().compose_node(parent, index)


def checked(name: Any, value: Any) -> Any:
    """A setting's value as YAML has it, of the setting's own type. YAML takes `1e-3` for a text; here it is a number.

    Raises:
        SettingsError: there is no such setting, or the value is of another type.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise SettingsError(f"{_short(name)} is not a training setting; take it out.")
    if isinstance(value, str):
        return typed(name, value)
    if kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise SettingsError(f"{name} is {_short(value)}; it must be {KIND_WORDS[kind]}.")


def typed(name: str, text: str) -> Any:
    """A setting's value as a person types it: `0.001`, `true`, `q_proj,v_proj`.

    Raises:
        SettingsError: there is no such setting, or the text is no value of its type.
    """
    kind = KINDS.get(name)
    if kind is None:
        raise SettingsError(f"{_short(name)} is not a training setting; take it out.")
    text = text.strip()
    if kind is str:
        return text
    if kind is tuple:
        return tuple(part.strip() for part in text.split(","))
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else _number(text)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{name} is {_short(text)}; it must be {KIND_WORDS[kind]}.") from error


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _short(value: Any) -> str:
    """A value of a stranger's file for a sentence: never long, however large it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:40]}…")
    if isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() < 64 else "a huge number"
    return {type(None): "nothing", list: "a list", dict: "a mapping"}.get(type(value), f"a {type(value).__name__}")


def changed(settings: TrainingSettings, values: dict[str, Any]) -> TrainingSettings:
    """Settings with some values changed.

    Raises:
        SettingsError: a value, or a combination of them, cannot work.
    """
    try:
        return replace(settings, **values)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError("A setting's value is far out of bounds; choose a smaller one.") from error


def with_set(settings: TrainingSettings, assignments: Iterable[str]) -> TrainingSettings:
    """Settings with assignments as `lora_r=32`, as a command line has them.

    Raises:
        SettingsError: one is no assignment, names no setting, or cannot work.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f"{_short(assignment)} sets nothing; write it as NAME=VALUE.")
        if name in ("preset", "base_model"):
            raise SettingsError(f"{name} has an option of its own: --{name.removesuffix('_model')}.")
        values[name] = typed(name, text)
    return changed(settings, values)
