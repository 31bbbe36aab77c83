"""A run that was stopped, killed or short of memory goes on as if nothing had happened."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.dataset.store import Dataset, open_dataset
from pipeline.files import PROJECT, read_json, write_json
from pipeline.models.adapters import add_adapter
from pipeline.models.loading import load_base
from pipeline.runs.checkpoints import SEAL, drop_old, last_checkpoint, seal, sealed_state, step_of
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import has_adapter
from pipeline.runs.manage import create_run
from pipeline.runs.status import log_tail, status
from pipeline.training import watcher
from pipeline.training.lora import add_lora, save_adapter
from pipeline.training.watcher import why_it_failed, why_to_stop
from tests.tiny import tiny_settings, train_here
from tests.training.small_memory import AGAIN

STEPS = 9
"""Of a run that sees each row more than once, so that it goes on in the middle of its second round."""

FEW = {"max_steps": STEPS, "save_steps": 3, "probes": 0, "questions": 1, "lora_dropout": 0.1}
FEW |= {"per_device_train_batch_size": 48, "precision": "fp32"}

Make = Callable[..., Path]


@pytest.fixture
def make(dataset: Dataset, tiny_base: Path, tmp_path: Path) -> Make:
    def run(name: str, **changes: Any) -> Path:
        return create_run(dataset, tiny_settings(tiny_base, **{**FEW, **changes}), tmp_path / name)

    return run


@pytest.fixture(scope="module")
def whole(made_datasets: dict[str, Path], tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `FEW`, uninterrupted; tests read it."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "whole"
    create_run(open_dataset(made_datasets["plain"]), tiny_settings(tiny_base, **FEW), folder)
    train_here(folder)
    return folder


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(folder)[0] if e["type"] == kind]


def losses(folder: Path) -> dict[int, float]:
    """The loss of each step, as it was told last."""
    return {e["step"]: e["loss"] for e in events(folder, "step")}


def said(folder: Path) -> str:
    return "\n".join(e["text"] for e in events(folder, "message"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the process that trains break down in the middle of a step, after so many it has told of."""

    def at(steps: int) -> None:
        real, told = watcher.peak_memory, 0

        def break_down() -> int:
            nonlocal told
            told += 1
            if told == steps:
                monkeypatch.undo()
                raise RuntimeError("The power is gone")
            return real()

        monkeypatch.setattr(watcher, "peak_memory", break_down)

    return at


def go_on(folder: Path) -> None:
    """What the launcher and the child do when a run is resumed."""
    checkpoint = last_checkpoint(folder)
    append_event(folder, "resumed", step=step_of(checkpoint) if checkpoint else 0)
    train_here(folder)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 0.0), ("bf16", 1e-3)])
@pytest.mark.parametrize("dropout", [0.0, 0.1])  # each goes its own way through the model (training/llama)
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    dropout: float, precision: str, within: float, make: Make, crash: Callable[[int], None], dataset: Dataset
) -> None:
    assert len(dataset.training()) < STEPS * FEW["per_device_train_batch_size"]
    whole = make("whole", precision=precision, lora_dropout=dropout)
    train_here(whole)
    broken = make("broken", precision=precision, lora_dropout=dropout)
    crash(11)  # each checkpoint asks for the memory, too: so in step 8, two steps after the second checkpoint
    train_here(broken)
    assert status(broken).state == "failed" and "The power is gone" in status(broken).message
    assert step_of(last_checkpoint(broken) or Path()) == 6 and max(losses(broken)) in (7, 8)
    go_on(broken)
    assert status(broken).state == "finished", log_tail(broken)
    assert "Going on after step 6 of 9" in said(broken)
    assert losses(broken) == pytest.approx(losses(whole), abs=within, rel=0)
    if precision == "fp32":
        assert losses(broken) == losses(whole)
        before, after = weights(whole), weights(broken)
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    ends = [events(folder, "finished")[0] for folder in (whole, broken)]
    assert [e["steps"] for e in ends] == [STEPS, STEPS]
    assert ends[0]["first_loss"] == ends[1]["first_loss"]
    assert not list((broken / "checkpoints").glob("checkpoint-*"))  # a finished run needs none


def test_a_run_that_died_before_its_first_checkpoint_begins_again(
    make: Make, whole: Path, crash: Callable[[int], None]
) -> None:
    broken = make("broken")
    crash(2)
    train_here(broken)
    assert last_checkpoint(broken) is None
    asked = read_json(broken / "baseline.json")
    go_on(broken)
    assert losses(broken) == losses(whole) and status(broken).state == "finished"
    assert read_json(broken / "baseline.json") == asked and said(broken).count("Asking the base model") == 1
    assert len(events(broken, "started")) == 1


def test_a_checkpoint_cut_in_half_gives_way_to_the_one_before(
    make: Make, whole: Path, crash: Callable[[int], None]
) -> None:
    broken = make("broken")
    crash(11)
    train_here(broken)
    newest = last_checkpoint(broken) or Path()
    weights_file = newest / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[: weights_file.stat().st_size // 2])
    assert step_of(last_checkpoint(broken) or Path()) == 3
    go_on(broken)
    assert "Going on after step 3 of 9" in said(broken)
    assert losses(broken) == losses(whole) and status(broken).state == "finished"


def test_other_weights_under_the_same_name_are_refused(
    make: Make, crash: Callable[[int], None], tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base", ignore=shutil.ignore_patterns("checksum.json")))
    folder = make("run", base_model=str(base))
    crash(8)
    train_here(folder)
    changed = load_file(base / "model.safetensors")
    changed["model.norm.weight"] += 1
    save_file(changed, base / "model.safetensors", metadata={"format": "pt"})
    (base / "checksum.json").unlink(missing_ok=True)
    go_on(folder)
    assert status(folder).state == "failed"
    assert "has other weights now than when this run began" in status(folder).message


def test_another_dataset_in_the_run_s_folder_is_refused(make: Make, crash: Callable[[int], None]) -> None:
    folder = make("run")
    crash(5)
    train_here(folder)
    manifest = read_json(folder / "dataset" / "manifest.json")
    write_json(folder / "dataset" / "manifest.json", manifest | {"fingerprint": "0123456789abcdef"})
    go_on(folder)
    assert status(folder).state == "failed"
    began = f"began with the dataset {manifest['fingerprint']} and has 0123456789abcdef in its folder now"
    assert began in status(folder).message
    write_json(folder / "dataset" / "manifest.json", manifest)
    go_on(folder)
    assert status(folder).state == "finished"


# --- Memory ---


def in_small_memory(most: int, folder: Path, *, ask: bool = False) -> int:
    """Train where no more than `most` examples fit; returns how often the process asked to be started anew (with `ask`)."""
    command = [sys.executable, "-m", "tests.training.small_memory", str(most), str(folder), *(["--ask"] if ask else [])]
    for asked in range(9):
        with (folder / "train.log").open("ab") as log:
            done = subprocess.run(command, cwd=PROJECT, stdout=log, stderr=log, timeout=400)
        if done.returncode != AGAIN:
            return asked
    raise AssertionError(log_tail(folder, 20))


def test_a_run_short_of_memory_goes_on_in_smaller_pieces_with_the_same_updates(make: Make) -> None:
    changes = {"per_device_train_batch_size": 8, "lora_dropout": 0.0, "save_steps": 1, "max_steps": 4}
    whole, short, by_itself = (make(name, **changes) for name in ("whole", "short", "by itself"))
    train_here(whole)
    assert in_small_memory(2, short, ask=True) == 2
    assert status(short).state == "finished", log_tail(short, 20)
    assert [e["memory_split"] for e in events(short, "message") if "memory_split" in e] == [4, 2]
    assert "going on after step 2 with 2 times 4, which is the same update" in said(short)
    assert [(e["micro_batch"], e["accumulation"]) for e in events(short, "resumed")] == [(4, 2), (2, 4)]
    assert losses(short) == pytest.approx(losses(whole), rel=1e-4)
    assert in_small_memory(4, by_itself) == 0  # one process, which becomes a new one
    assert status(by_itself).state == "finished", log_tail(by_itself, 20)
    assert [(e["micro_batch"], e["accumulation"]) for e in events(by_itself, "resumed")] == [(4, 2)]
    assert losses(by_itself) == pytest.approx(losses(whole), rel=1e-4)


def test_a_run_that_never_fits_fails_after_three_tries(make: Make) -> None:
    folder = make("run", per_device_train_batch_size=8, max_steps=4)
    assert in_small_memory(0, folder, ask=True) == 3
    assert status(folder).state == "failed"
    assert status(folder).message.startswith("The memory is not enough; lower the batch size")
    assert [e["memory_split"] for e in events(folder, "message") if "memory_split" in e] == [4, 2, 1]
    assert not has_adapter(folder)


# --- Checkpoints ---


def written(folder: Path, step: int) -> Path:
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    (checkpoint / "inside").mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"w" * 100)
    (checkpoint / "inside" / "more").write_bytes(b"m")
    return checkpoint


def test_only_a_sealed_checkpoint_counts_and_the_highest_step_is_the_last(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (9, 10, 100):  # written in this order whatever the clock says
        seal(written(tmp_path, step), {"n": step})
    written(tmp_path, 101)
    (tmp_path / "checkpoints" / "checkpoint-x").mkdir()
    assert (last_checkpoint(tmp_path) or Path()).name == "checkpoint-100"
    assert sealed_state(last_checkpoint(tmp_path) or Path()) == {"n": 100}
    drop_old(tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "checkpoint-10",
        "checkpoint-100",
        "checkpoint-x",
    ]


@pytest.mark.parametrize("harm", ["cut", "missing", "seal cut", "seal of another kind", "grown"])
def test_a_damaged_checkpoint_does_not_count(harm: str, tmp_path: Path) -> None:
    good, bad = written(tmp_path, 1), written(tmp_path, 2)
    for checkpoint in (good, bad):
        seal(checkpoint, {})
    match harm:
        case "cut":
            (bad / "weights").write_bytes(b"w" * 50)
        case "grown":
            (bad / "weights").write_bytes(b"w" * 101)
        case "missing":
            (bad / "inside" / "more").unlink()
        case "seal cut":
            (bad / SEAL).write_text((bad / SEAL).read_text()[:20])
        case _:
            (bad / SEAL).write_text("[1, 2]")
    assert last_checkpoint(tmp_path) == good


# --- Stop when learned ---


@pytest.mark.parametrize(
    ("recalls", "reason"),
    [
        ([], ""),
        ([0.0], ""),
        ([1.0], ""),
        ([0, 0, 0, 0.2, 0.9, 0.96], ""),
        ([0, 0, 0, 0.2, 0.95, 0.96], "It has learned: recall was 95% and 96% in the last two checks."),
        ([0, 0, 0, 0.97, 0.9, 0.96], ""),
        ([0, 0, 0, 0.5, 0.4, 0.5], ""),
        ([0, 0, 0, 0.5, 0.4, 0.5, 0.3], "It learns nothing more: the last 3 checks did not get beyond 50% recall."),
        ([0, 0, 0], ""),  # recall may stay at zero in the first quarter
        ([0, 0, 0, 0, 0], ""),
        ([0, 0, 0, 0, 0, 0, 0], "It learns nothing more"),
        ([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5], ""),
    ],
)
def test_when_to_stop(recalls: list[float], reason: str) -> None:
    told = why_to_stop([(10 * n, recall) for n, recall in enumerate(recalls)], total=100, every=10)
    assert told.startswith(reason) if reason else told == ""


def test_a_run_that_learns_nothing_ends_early_and_says_so(make: Make) -> None:
    folder = make("run", max_steps=40, learning_rate=1e-7, stop_when_learned=True, per_device_train_batch_size=2)
    train_here(folder)
    assert status(folder).state == "finished" and status(folder).message.startswith("It learns nothing more")
    assert [p["step"] for p in events(folder, "probe")] == [0, 4, 8, 12, 16, 20]
    assert max(losses(folder)) == 20 and has_adapter(folder)


def test_a_run_that_has_nearly_learned_is_checked_twice_as_often(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "NEARLY", 0.0)  # what the tiny model reaches
    folder = make("run", max_steps=40, learning_rate=1e-7, stop_when_learned=True, per_device_train_batch_size=2)
    train_here(folder)
    assert [p["step"] for p in events(folder, "probe")] == list(range(0, 21, 2))  # and it is as patient as before
    assert status(folder).message.startswith("It learns nothing more")


def test_a_run_that_has_learned_ends_early(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LEARNED", 0.0)  # what the tiny model reaches
    folder = make("run", max_steps=40, stop_when_learned=True, per_device_train_batch_size=2)
    train_here(folder)
    assert status(folder).message.startswith("It has learned") and max(losses(folder)) == 4


# --- LoRA's variants ---


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora", "pissa"])
def test_what_is_saved_is_what_was_trained_on_the_base_as_it_was(variant: str, tiny_base: Path, tmp_path: Path) -> None:
    settings = tiny_settings(tiny_base, lora_variant=variant, precision="fp32")
    ids = torch.tensor([[5, 6, 7, 8]])
    model = load_base(str(tiny_base), precision="fp32")
    before = model.model(ids).logits.detach()
    add_lora(model, settings, tmp_path)
    model.model.eval()
    assert torch.allclose(model.model(ids).logits, before, atol=1e-4)  # nothing is learned yet
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                weight += 0.02 * torch.randn_like(weight)
    trained = model.model(ids).logits.detach()
    assert not torch.allclose(trained, before, atol=1e-3)
    save_adapter(model, settings, tmp_path)

    again = load_base(str(tiny_base), precision="fp32")
    add_adapter(again, tmp_path / "adapter")
    assert torch.allclose(again.model(ids).logits, trained, atol=1e-4)
    with again.side(tuned=False):
        assert torch.equal(again.model(ids).logits, before)
    assert read_json(tmp_path / "adapter" / "adapter_config.json")["init_lora_weights"] is True


@pytest.mark.parametrize(
    "first, last, says", [(2.9, 20.6, True), (5.2, 6.0, False), (4.3, 0.01, False), (None, None, False)]
)
def test_a_loss_that_rose_far_is_told(first: float | None, last: float | None, says: bool) -> None:
    told = why_it_failed(first, last)
    assert ("rose from 2.9 to 20.6" in told and "lower the learning rate" in told) if says else told == ""
