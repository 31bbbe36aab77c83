"""Settings as YAML and as a command line: there and back again, and what is no settings file."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline.__main__ import app
from pipeline.commands.training import settings_of
from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.files import write_json
from pipeline.runs.folder import read_settings
from pipeline.runs.manage import create_run
from pipeline.runs.recipes import command_line, read_recipe, recipe, typed, with_set
from pipeline.runs.settings import PRESETS, TrainingSettings, preset

MANY: dict[str, Any] = {
    "learning_rate": 1e-05, "lora_r": 7, "target_modules": ("q_proj", "v_proj"), "packing": True, "max_steps": 3,
    "completion_only_loss": False, "lora_variant": "rslora", "num_train_epochs": 0.30000000000000004, "seed": 2**32 - 1,
}  # fmt: skip

BASES = ["SmolLM2-135M-Instruct", "a/b", "/a folder/$(id) 'x' \"y\"", "# no comment: <b>", "ünïcode", "true", "1e-3"]


def file_with(folder: Path, text: str | bytes) -> Path:
    path = folder / "settings.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("changes", [{}, MANY, {"load_in_4bit": True}, {"load_in_4bit": False}])
def test_a_run_comes_back_from_its_yaml_and_from_its_command(
    name: str, base: str, changes: dict[str, Any], dataset: Dataset, tmp_path: Path
) -> None:
    settings = preset(name, base_model=base, **changes)
    folder = create_run(dataset, settings)
    assert read_recipe(file_with(tmp_path, recipe(folder))) == settings
    words = shlex.split(command_line(folder))
    assert words[:4] == ["python", "-m", "pipeline", "train"]
    given = typer.main.get_group(app).commands["train"].make_context("train", words[4:]).params
    assert settings_of(given["preset"], given["base"], given["settings"], given["assignments"]) == settings
    assert given["dataset"].resolve() == (folder / "dataset").resolve()


def test_the_yaml_says_what_differs_and_which_dataset(dataset: Dataset) -> None:
    folder = create_run(dataset, preset("quick", lora_r=8))
    text = recipe(folder)
    assert text.startswith("# Settings of a Shelftalk run")
    assert yaml.safe_load(text) == {
        "preset": "quick", "base_model": PRESETS["quick"].base_model, "dataset": dataset.folder.name, "lora_r": 8
    }  # fmt: skip
    assert command_line(folder).endswith("--set lora_r=8")


def test_a_run_of_a_preset_that_is_no_more_keeps_its_settings(dataset: Dataset, tmp_path: Path) -> None:
    folder = create_run(dataset, preset("quick"))
    write_json(folder / "settings.json", preset("quick", lora_r=9).as_dict() | {"preset": "bygone"})
    found = read_recipe(file_with(tmp_path, recipe(folder)))
    assert found.as_dict() | {"preset": "bygone"} == read_settings(folder).as_dict()


def test_a_file_by_hand_may_say_little(tmp_path: Path) -> None:
    found = read_recipe(
        file_with(tmp_path, "\ufeffpreset: quick\nlearning_rate: 2e-3\nlora_r: '16'\nlora_alpha: 16.0\n")
    )
    assert (found.preset, found.learning_rate, found.lora_r, found.lora_alpha) == ("quick", 0.002, 16, 16)
    assert read_recipe(file_with(tmp_path, "target_modules: [q_proj]")).target_modules == ("q_proj",)
    assert read_recipe(file_with(tmp_path, "{}")).preset == "recall"


BOMB = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no settings"),
        ("- lora_r", "holds no settings"),
        ("just words", "holds no settings"),
        ("{", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("\0", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("? [a]\n: b", "is not YAML"),
        ("seed: 2001-99-99", "is not YAML"),
        ("seed: !!python/object/apply:os.system [id]", "is not YAML"),
        (BOMB, "is not YAML"),
        ("a: &a {x: 1}\nb: {<<: *a}", "is not YAML"),
        (b"lora_r: \xff\xfe8", "is not text in UTF-8"),
        ("PK\3\4".encode("utf-16"), "is not text in UTF-8"),
        ("seed: 1\n" * 10_000, "is larger than 64 kB"),
        ("rank: 8", "'rank' is not a training setting"),
        ("1: 8", "1 is not a training setting"),
        ("null: 8", "nothing is not a training setting"),
        ("<script>alert(1)</script>: 8", "is not a training setting"),
        (f"{'x' * 500}: 8", "xxx…' is not a training setting"),
        ("lora_r: many", "lora_r is 'many'; it must be a whole number."),
        ("lora_r: [8]", "lora_r is a list; it must be a whole number."),
        ("lora_r:", "lora_r is nothing; it must be a whole number."),
        ("lora_r: true", "lora_r is True; it must be a whole number."),
        ("lora_r: 8.5", "lora_r is 8.5; it must be a whole number."),
        ("lora_r: 0", "lora_r is 0; it must be a number between 1 and 512."),
        ("learning_rate: .nan", "learning_rate is nan; it must be a number between"),
        ("learning_rate: .inf", "learning_rate is inf; it must be a number between"),
        ("learning_rate: 2001-01-01", "learning_rate is a date; it must be a number."),
        (f"lora_r: 0x{'f' * 6000}", "far out of bounds"),
        (f"packing: 0x{'f' * 6000}", "packing is a huge number; it must be true or false."),
        ("packing: 1", "packing is 1; it must be true or false."),
        ("packing: maybe", "packing is 'maybe'; it must be true or false."),
        ("optim: 5", "optim is 5; it must be a text."),
        ("optim: magic", "optim is 'magic'; choose one of"),
        ("target_modules: [1]", "target_modules is a list; it must be a list of names."),
        ("target_modules: []", "target_modules needs one or more of"),
        ("preset: magic", "There is no preset 'magic'"),
        ("preset: [quick]", "preset is a list; it must be a text."),
        ("base_model: {a: b}", "base_model is a mapping; it must be a text."),
        ("base_model: ' '", "No base model is chosen"),
        ("max_steps: 0\nnum_train_epochs: 0", "nothing would be trained"),
    ],
)
def test_what_is_no_settings_file_is_a_sentence(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read_recipe(file_with(tmp_path, text))
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250 and "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_recipe(path)


def test_assignments_change_settings() -> None:
    found = with_set(
        preset("quick"), ["lora_r=8", "packing=TRUE", "target_modules=q_proj, v_proj", "learning_rate=1e-3"]
    )
    assert (found.lora_r, found.packing, found.target_modules, found.learning_rate) == (
        8,
        True,
        ("q_proj", "v_proj"),
        1e-3,
    )
    assert with_set(preset("quick"), []) == preset("quick")
    assert typed("base_model", " a=b ") == "a=b"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("lora_r", "'lora_r' sets nothing; write it as NAME=VALUE."),
        ("=8", "'' is not a training setting"),
        ("rank=8", "'rank' is not a training setting"),
        ("lora_r=", "lora_r is ''; it must be a whole number."),
        ("lora_r=1e999", "lora_r is inf"),
        ("lora_r=" + "9" * 5000, "lora_r is "),
        ("preset=quick", "preset has an option of its own: --preset."),
        ("base_model=x", "base_model has an option of its own: --base."),
        ("optim=a=b", "optim is 'a=b'; choose one of"),
    ],
)
def test_an_assignment_that_cannot_work_is_a_sentence(assignment: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        with_set(TrainingSettings(), [assignment])
    assert said in str(refused.value) and len(str(refused.value)) < 250
