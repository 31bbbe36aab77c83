"""Damaged files and replies of every sort that `benchmarks.fuzz` changes at random: a result or a sentence for each, and soon.

A few hundred here; the benchmark tries 20,000 and more. What those found is written out below, an input each.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz
from pipeline.dataset.edits import read_edits
from pipeline.dataset.store import open_dataset
from pipeline.errors import RunError, SettingsError
from pipeline.models.config import base_shape
from pipeline.runs.events import read_events
from pipeline.runs.manage import check_name
from pipeline.runs.settings import TrainingSettings
from pipeline.writing import generation
from tests.tiny import row

SLOW = {"catalogue, JSON", "catalogue, table", "catalogue, packed", "adapter's weights"}


@pytest.mark.parametrize("name", fuzz.SORTS)
def test_what_is_damaged_gives_a_result_or_a_sentence(name: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    home.mkdir()
    caplog.set_level(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = fuzz.tried(name, 1, 6 if name in SLOW else 20)
    assert not outcome.faults and outcome.results + outcome.sentences == outcome.inputs


def test_the_same_seed_makes_the_same_inputs_and_they_differ() -> None:
    first, again = (list(fuzz.inputs("settings.json", 5, 30)) for _ in range(2))
    assert first == again != list(fuzz.inputs("settings.json", 6, 30))
    assert len({*first}) > 20


STEP = {"type": "step", "time": "2026-01-01T00:00:00+00:00", "step": 1, "total": 9, "loss": 0.5}
NO_EVENTS: list[dict[str, Any]] = [
    {"type": ["step"]}, STEP | {"loss": "x"}, STEP | {"total": [9]}, STEP | {"step": 10**30}, STEP | {"time": "now\0"},
    STEP | {"time": "2026-01-01T00:00:00"}, STEP | {"tokens_per_second": {}}, {"type": "message", "text": []},
    {name: value for name, value in STEP.items() if name != "loss"}, {"type": "probe", "step": 1, "right": 1},
    {"type": "probe", "step": 1, "right": 1, "total": 1, "answers": [7]},
    {"type": "probe", "step": 1, "right": 1, "total": 1, "answers": [{"question": "Q?"}]},
]  # fmt: skip


@pytest.mark.parametrize("event", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_an_event_of_another_form_is_passed_over(event: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps(STEP) + "\n")
    assert read_events(tmp_path)[0] == [STEP]


@pytest.mark.parametrize(
    "manifest",
    [{"counts": []}, {"facts": [{"uid": "1"}]}, {"facts": {}}, {"products": [None]}, {"settings": 1}, {"unknown": []}],
    ids=str,
)
def test_a_manifest_of_another_form_is_no_dataset(manifest: dict[str, Any], tmp_path: Path) -> None:
    for name in ("train.jsonl", "heldout.jsonl", "dataset.json"):
        (tmp_path / name).touch()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SettingsError, match="no whole dataset"):
        open_dataset(tmp_path)


def test_an_edit_of_another_form_is_none(home: Path) -> None:
    home.mkdir()
    edit = {"row": "a", "action": "edit", "question": "Q?", "response": "R."}
    lines = [edit | {"response": ["R."]}, edit | {"row": "b"}]
    (home / "edits.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [*read_edits()] == ["b"]


@pytest.mark.parametrize(
    "figure", [{"done": "x"}, {"seconds": float("nan")}, {"spent": [1]}, {"total": 10**400}], ids=range(4)
)
def test_figures_of_a_job_of_another_form_are_left_out(figure: dict[str, Any], home: Path) -> None:
    kept = json.loads(next(fuzz.FORMATS.glob("store/shelf/generation.json")).read_text())
    home.mkdir()
    generation.job_file().write_text(json.dumps(kept))
    assert generation.look().progress == kept["progress"] != {}
    generation.job_file().write_text(json.dumps(kept | {"progress": kept["progress"] | figure}))
    assert (generation.look().state, generation.look().progress) == (kept["state"], {})


@pytest.mark.parametrize("value", [["q"], "64", None, -1, True, 1.5], ids=str)
def test_a_base_whose_sizes_are_none_has_no_shape(value: Any, tmp_path: Path) -> None:
    config = json.loads((fuzz.FORMATS / "tiny" / "config.json").read_text())
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": value}))
    assert base_shape(str(tmp_path)) is None


@pytest.mark.parametrize(
    "values",
    [{"seed": "9" * 5000}, {"optim": "x" * 5000}, {"x" * 5000: 1}, {"packing": [[]] * 5000}],
    ids=["number", "choice", "name", "truth"],
)
def test_a_sentence_about_a_setting_is_short_whatever_its_value(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainingSettings.from_dict(values)
    assert len(str(caught.value)) < 300


def test_a_name_that_is_no_text_is_none() -> None:
    with pytest.raises(RunError, match="is a text"):
        check_name(["../x"])  # pyright: ignore[reportArgumentType]


def test_a_table_of_many_columns_without_names_is_read_at_once(tmp_path: Path, home: Path) -> None:
    seconds = []
    for columns in (20_000, 80_000):
        file = tmp_path / f"{columns}.csv"
        file.write_text("," * columns + "x\n" + ",".join(row("1", "Kite", "A kite.")) + "\n")
        seconds.append(fuzz.Outcome())
        fuzz._try(lambda folder, data, file=file: fuzz.samples_of(file), tmp_path, b"", seconds[-1], "")
    assert seconds[1].slowest < max(8 * seconds[0].slowest, 0.5) and not seconds[1].faults
