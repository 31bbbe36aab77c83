"""Which base? Runs of several, of any kind, trained one after another, asked, and put into one table."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.files import read_json, write_json
from pipeline.models.embedded import EMBEDDED
from pipeline.models.family import CAUSAL, SEQ2SEQ
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import read_settings
from pipeline.runs.reached import Reached
from pipeline.runs.settings import QUICK, preset
from pipeline.runs.status import status
from pipeline.runs.sweep import asks_at_its_end, grid, read_values, start_sweep, sweeps
from pipeline.runs.view import RunView, view_run
from tabs.training import settings_panel
from tabs.training.plots import sweep_figure
from tabs.training.settings_panel import check_base_named
from tabs.training.sweep_panel import COLUMNS, sweep_status, trial_rows
from tests.t5 import save_t5
from tests.tiny import tiny_settings, train_here


def views_of(name: str) -> list[RunView]:
    return [view for trial in sweeps()[name] if (view := view_run(trial.folder.name))]


def test_a_llama_and_a_t5_are_trained_asked_and_compared(dataset: Dataset, tiny_base: Path, tmp_path: Path) -> None:
    t5 = save_t5(tmp_path / "small-t5")
    settings = tiny_settings(tiny_base, max_steps=2, probes=1, questions=2)
    name = start_sweep(dataset, settings, {"base_model": [str(tiny_base), str(t5)]})
    trials = sweeps()[name]
    assert [trial.folder.name for trial in trials] == ["base_model tiny", "base_model small-t5"]
    for trial in trials:
        assert asks_at_its_end(trial.folder) and train_here(trial.folder) == 0
        assert status(trial.folder).state == "finished"
        assert (trial.folder / "report.html").is_file()
        assert read_json(trial.folder / "comparison.json")["training"]["steps"] == 2
    for view in views_of(name):
        reached = Reached.of(view)
        assert reached.kept and reached.trust is not None and reached.recall is not None
        assert reached.seconds is not None and reached.memory and 30_000 < (reached.weights or 0) < 500_000
    rows = trial_rows(trials)
    assert all(len(row) == len(COLUMNS) and row[-1] == "✔ finished" and "–" not in row[2:] for row in rows)
    heat: Any = sweep_figure(trials, list(views_of(name))).data[0]
    assert list(heat.x) == ["tiny", "small-t5"] and None not in heat.z[0]
    told = sweep_status(name)["runs"]
    assert [run["values"]["base_model"] for run in told] == [str(tiny_base), str(t5)]
    assert all(run["reached"]["memory"] for run in told)


def test_a_sweep_of_other_settings_is_not_asked(dataset: Dataset, tiny_base: Path) -> None:
    settings = tiny_settings(tiny_base, max_steps=1, questions=1)
    name = start_sweep(dataset, settings, {"seed": [1]})
    (trial,) = sweeps()[name]
    assert train_here(trial.folder) == 0 and not (trial.folder / "comparison.json").exists()
    row = trial_rows([trial])[0]
    assert row[2] == row[3] == "–" and row[-1] == "✔ finished"


def test_each_base_brings_along_whether_it_is_squeezed_and_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.runs import sweep

    monkeypatch.setattr(sweep, "gpu_name", lambda: "a GPU")
    tried = {"base_model": [EMBEDDED, "Qwen/Qwen3-8B", "google/flan-t5-base"]}
    made = [settings for _, settings in grid(preset("quick"), tried)]
    assert [settings.load_in_4bit for settings in made] == [False, True, False]
    assert [settings.learning_rate for settings in made] == [QUICK.learning_rate, CAUSAL.quick_rate, SEQ2SEQ.quick_rate]
    rates = {settings.learning_rate for _, settings in grid(preset("quick"), tried | {"learning_rate": [1e-4]})}
    assert rates == {1e-4}  # one that is tried is tried
    rates = {settings.learning_rate for _, settings in grid(preset("recall", learning_rate=CAUSAL.quick_rate), tried)}
    assert rates == {CAUSAL.quick_rate}  # and one that a person chose stays


def test_a_base_that_has_no_template_or_packs_nothing_is_taught_without(tiny_base: Path) -> None:
    settings = preset("quick", prompt_format="chat", packing=True)
    tried = {"base_model": [EMBEDDED, "Qwen/Qwen3-8B", "google/flan-t5-base", str(tiny_base)]}
    made = [made for _, made in grid(settings, tried)]
    assert [one.prompt_format for one in made] == ["chat", "chat", "plain", "plain"]
    assert [one.packing for one in made] == [True, True, False, True]


def test_bases_are_read_as_they_are_typed() -> None:
    assert read_values("base_model", f"{EMBEDDED}, https://huggingface.co/Qwen/Qwen3-8B") == [EMBEDDED, "Qwen/Qwen3-8B"]


def test_a_visitor_names_no_base_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_panel, "serves_owner", lambda: False)
    check_base_named(EMBEDDED)
    with pytest.raises(SettingsError, match="Only this Space's owner"):
        check_base_named("/home/somebody/model")


def test_what_is_not_known_is_none(dataset: Dataset) -> None:
    name = start_sweep(dataset, preset("quick"), {"base_model": ["no-such/model"]})
    (trial,) = sweeps()[name]
    view = view_run(trial.folder.name)
    assert view and Reached.of(view) == Reached(None, None, None, None, None, None)
    write_json(trial.folder / "everything.json", {"summary": {"recall": 1.0, "general": None}})
    append_event(trial.folder, "probe", step=1, right=1, total=2)
    view = view_run(trial.folder.name)
    assert view and Reached.of(view) == Reached(0.5, None, None, None, None, None)
    assert read_settings(trial.folder).base_model == "no-such/model" and not read_events(trial.folder)[0][0].get("text")
