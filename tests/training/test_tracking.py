"""Trackers: nobody is told unless the settings say so; then loss, recall, trust and settings, by Transformers' own reporter."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.answering.comparison import compare
from pipeline.answering.run_model import load_run, unload
from pipeline.answering.which_way import counted_of
from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.runs.tracking import BOARD, check_tracker
from tests.tiny import tiny_settings, train_here


def told(folder: Path) -> Any:
    """What TensorBoard reads of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / BOARD))
    found.Reload()
    return found


def test_tensorboard_is_told_loss_recall_trust_and_settings(dataset: Dataset, tiny_base: Path) -> None:
    before = dict(os.environ)
    folder = create_run(dataset, tiny_settings(tiny_base, tracker="tensorboard"))
    assert train_here(folder) == 0
    model, _ = load_run(folder)
    try:
        comparison = compare(model, folder)
    finally:
        unload()
    board, (events, _) = told(folder), read_events(folder)
    steps = [(event["step"], event["loss"]) for event in events if event["type"] == "step"]
    seen = [(one.step, one.value) for one in board.Scalars("train/loss")]
    assert [step for step, _ in seen] == [step for step, _ in steps]
    assert [loss for _, loss in seen] == pytest.approx([loss for _, loss in steps], rel=1e-3)
    # The base is asked after the first step, and no tracker takes a figure of a step that is past.
    probes = {max(event["step"], 1): event["right"] / event["total"] for event in events if event["type"] == "probe"}
    assert {one.step: one.value for one in board.Scalars("train/recall")} == pytest.approx(probes)
    for one in counted_of(comparison, "everything"):
        (trust,) = board.Scalars(f"train/trust/{one.way}")
        assert (trust.step, trust.value) == (steps[-1][0], pytest.approx(one.trust))
    (settings,) = board.Tensors("train/settings/text_summary")
    assert json.loads(settings.tensor_proto.string_val[0]) == tiny_settings(tiny_base, tracker="tensorboard").as_dict()
    assert dict(os.environ) == before


def test_a_tracker_that_is_not_installed_is_one_sentence_and_nothing_is_trained(
    dataset: Dataset, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.util.find_spec("wandb") is None
    folder = create_run(dataset, tiny_settings(tiny_base, tracker="wandb"))
    with pytest.raises(SettingsError, match=r"wandb is not installed: run `\.venv/bin/pip install wandb`"):
        launcher.start(folder)
    assert not (folder / "events.jsonl").exists()
    words = ["train", "--dataset", str(dataset.folder), "--base", str(tiny_base), "--set", "tracker=wandb"]
    assert main(words) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("The tracker wandb is not installed")
    assert train_here(folder) == 1
    assert "wandb is not installed" in read_events(folder)[0][-1]["message"]
    with pytest.raises(SettingsError, match="tracker is 'mlflow'; choose one of none, trackio, tensorboard, wandb"):
        tiny_settings(tiny_base, tracker="mlflow")


def test_nobody_is_told_by_default(finished_run: Path, tiny_base: Path) -> None:
    settings = tiny_settings(tiny_base)
    check_tracker(settings)
    assert settings.tracker == "none" and not (finished_run / BOARD).exists()
