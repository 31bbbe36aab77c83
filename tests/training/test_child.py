"""Training itself, on the tiny model and mostly in this process: its loss, its files, its events and its failures."""

import errno
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

from pipeline.dataset.store import Dataset
from pipeline.errors import ModelError, PipelineError, SettingsError
from pipeline.files import PROJECT, read_json
from pipeline.models.bases import checksum
from pipeline.models.family import IGNORED
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import GENERAL, UNKNOWN, encode_example, encode_prompt
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import status
from pipeline.training import lora
from pipeline.training.distillation import encode_rows
from pipeline.training.distributed import Team
from pipeline.training.lora import add_lora
from pipeline.training.plan.plan import plan_run
from pipeline.training.train import explain
from pipeline.training.trainers import make_trainer
from pipeline.training.watcher import (
    PROBE_QUESTIONS,
    Watcher,
    probe_rows,
)
from tests.children import PATIENCE
from tests.servers.hub import TOKEN, HubServer, Repository
from tests.tiny import build_model, tiny_settings, train_here

Train = Callable[..., Path]


@pytest.fixture
def train(dataset: Dataset, tiny_base: Path, tmp_path: Path) -> Train:
    """Trains a run here, as the child does, and returns its folder, whether it ended well or not."""

    def run(name: str = "run", base: Path = tiny_base, **changes: Any) -> Path:
        few = {"max_steps": 4, "probes": 0, "questions": 1}
        folder = create_run(dataset, tiny_settings(base, **{**few, **changes}), tmp_path / name)
        train_here(folder)
        return folder

    return run


def events(folder: Path, kind: str = "") -> list[dict[str, Any]]:
    return [e for e in read_events(folder)[0] if not kind or e["type"] == kind]


def losses(folder: Path) -> list[float]:
    return [e["loss"] for e in events(folder, "step")]


# --- What it leaves ---


def test_the_run_folder_has_the_files_of_the_contract(finished_run: Path) -> None:
    files = {str(p.relative_to(finished_run)) for p in finished_run.rglob("*") if p.is_file()}
    assert files == {
        "settings.json",
        "events.jsonl",
        "baseline.json",
        *(
            f"dataset/{name}"
            for name in ("rows.jsonl", "train.jsonl", "heldout.jsonl", "dataset.json", "manifest.json")
        ),
        *(f"adapter/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", "base.json", "README.md")),
        *(f"adapter/{name}" for name in ("tokenizer.json", "tokenizer_config.json")),
    }
    assert (finished_run / "checkpoints").is_dir()


def test_the_weights_moved(finished_run: Path, tiny_base: Path) -> None:
    weights = load_file(finished_run / "adapter" / "adapter_model.safetensors")
    moved = [w for name, w in weights.items() if "lora_B" in name]
    assert len(moved) == 2 * 7  # every projection of both layers
    assert all(torch.isfinite(w).all() and w.abs().max() > 0 for w in moved)  # LoRA's B begins at zero
    config = read_json(finished_run / "adapter" / "adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (8, 8, str(tiny_base))
    assert read_json(finished_run / "adapter" / "base.json")["base_sha256"] == checksum(tiny_base)


def test_the_saved_adapter_is_a_plain_peft_adapter(finished_run: Path, tiny_base: Path) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    before = plain(ids).logits.detach()
    tuned = PeftModel.from_pretrained(plain, finished_run / "adapter").eval()
    assert not torch.equal(tuned(ids).logits, before)


def test_the_events_are_the_contract_s(finished_run: Path) -> None:
    found = events(finished_run)
    assert found[0]["type"] == "started" and found[-1]["type"] == "finished"
    times = [datetime.fromisoformat(e["time"]) for e in found]
    assert times == sorted(times)
    steps = events(finished_run, "step")
    assert [(e["step"], e["total"]) for e in steps] == [(n, 6) for n in range(1, 7)]
    numbers = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")
    assert all(math.isfinite(e[name]) and e[name] >= 0 for e in steps for name in numbers)
    assert max(e["learning_rate"] for e in steps) == pytest.approx(2e-3)
    assert [e["step"] for e in events(finished_run, "probe")] == [0, 3, 6]
    for probe in events(finished_run, "probe"):
        assert 0 <= probe["right"] <= probe["total"] == 12
        assert all({"title", "question", "expected", "raw", "answer", "verdict"} <= set(a) for a in probe["answers"])
    ending = found[-1]
    assert (ending["steps"], ending["first_loss"], ending["last_loss"]) == (
        6,
        losses(finished_run)[0],
        losses(finished_run)[-1],
    )
    assert ending["seconds"] > 0 and ending["probe_seconds"] > 0 and ending["peak_memory_bytes"] > 10_000_000
    for line in (finished_run / "events.jsonl").read_text(encoding="utf-8").splitlines():
        assert "NaN" not in line and "Infinity" not in line


def test_the_base_was_asked_before_it_was_trained(finished_run: Path, tiny_base: Path) -> None:
    """It is asked after the first step, so that there is something to see soon; with its adapter off it is the base."""
    kinds = [(e["type"], e.get("step")) for e in events(finished_run) if e["type"] in ("step", "probe")]
    assert kinds[:3] == [("step", 1), ("probe", 0), ("step", 2)]
    base = load_base(str(tiny_base), precision="fp32")
    for question in read_json(finished_run / "baseline.json")["questions"]:
        ids = encode_prompt(base.tokenizer, question["prompt"])
        assert base.generate([ids], tuned=False, max_new_tokens=96) == [question["base"]["raw"]]


# --- What the loss is of ---


def taught(dataset: Dataset) -> list[dict[str, Any]]:
    """The rows whose own tokens are learned; what is learned of the others stands in `test_targets.py`."""
    return [row for row in dataset.training() if row["kind"] != GENERAL]


def test_labels_are_on_the_response_and_its_end_alone(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    rows = taught(dataset)
    encoded = encode_rows(model, rows, tiny_settings(tiny_base)).rows
    for row, example in zip(rows, encoded, strict=True):
        labels, ids = example["labels"], example["input_ids"]
        asked = encode_prompt(model.tokenizer, row["prompt"])
        assert ids[: len(asked)] == asked and set(labels[: len(asked)]) == {IGNORED}
        assert labels[len(asked) :] == ids[len(asked) :] and IGNORED not in labels[len(asked) :]
        assert model.tokenizer.decode(labels[len(asked) : -1]) == f" {row['response']}"
        assert labels[-1] == model.tokenizer.eos_token_id


def test_the_original_s_labels_are_on_the_whole_text(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    whole = encode_rows(model, taught(dataset), tiny_settings(tiny_base, completion_only_loss=False)).rows
    assert all(example["labels"] == [IGNORED, *example["input_ids"][1:]] for example in whole)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("completion_only", [False, True])
def test_a_batch_s_loss_is_that_of_its_rows_alone(
    packing: bool, completion_only: bool, tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Rows share one sequence without padding: none may see another, and no row's first token counts."""
    settings = tiny_settings(tiny_base, packing=packing, completion_only_loss=completion_only)
    rows = taught(dataset)[::11]
    model = load_base(str(tiny_base), precision="fp32")
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    alone, counted = 0.0, 0
    for row in rows:
        example = encode_example(model.tokenizer, row["prompt"], row["response"])
        ids = torch.tensor(example["input_ids"])
        start = example["completion_mask"].index(1) if completion_only else 1
        logits = plain(ids[None]).logits[0, start - 1 : -1]
        alone += functional.cross_entropy(logits, ids[start:], reduction="sum").item()
        counted += len(ids) - start

    trainer = trainer_for(model, rows, settings, dataset, tmp_path)
    together, labelled = 0.0, 0
    for batch in trainer.get_train_dataloader():
        assert batch["input_ids"].shape[0] == 1 and "position_ids" in batch
        with torch.no_grad():
            loss = trainer.compute_loss(trainer.model, {**batch})
        tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
        together, labelled = together + float(loss) * tokens, labelled + tokens
    assert labelled == counted
    assert together / labelled == pytest.approx(alone / counted, rel=1e-4)


def trainer_for(
    model: LanguageModel, rows: list[dict[str, Any]], settings: TrainingSettings, dataset: Dataset, folder: Path
) -> Any:
    plan = plan_run(settings, rows, gpu=False)
    encoded = encode_rows(model, rows, settings)
    add_lora(model, settings, folder)
    watcher = Watcher(folder, model, probe_rows(dataset.held_out()), plan, settings, Team(cpu=True))
    return make_trainer(model, encoded, settings, plan, folder, watcher)


def test_nobody_is_told_and_rows_are_shuffled_not_sorted_by_length(
    tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    trainer = trainer_for(model, dataset.training(), tiny_settings(tiny_base), dataset, tmp_path)
    assert trainer.args.report_to in ([], ["none"], "none")
    assert not [c for c in trainer.callback_handler.callbacks if "wandb" in type(c).__name__.lower()]
    assert trainer.args.train_sampling_strategy == "random"
    sizes = [b["input_ids"].shape[1] for b in trainer.get_train_dataloader()]
    assert sizes != sorted(sizes) and sizes != sorted(sizes, reverse=True)


def test_only_the_adapter_is_trained(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    trainer = trainer_for(model, dataset.training(), tiny_settings(tiny_base), dataset, tmp_path)
    before = {n: p.clone() for n, p in model.model.named_parameters()}
    trainer.train()
    changed = {n for n, p in model.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in n for n in changed)


def test_the_same_seed_gives_the_same_losses_and_another_gives_others(train: Train) -> None:
    first = losses(train("a", seed=1))
    assert losses(train("b", seed=1)) == first
    assert losses(train("c", seed=2)) != first
    assert losses(train("d", seed=1, probes=2)) == first  # asking does not disturb


def test_the_same_update_whatever_the_micro_batch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = losses(train("a", per_device_train_batch_size=8))
    split = losses(train("b", per_device_train_batch_size=4, gradient_accumulation_steps=2))
    assert split == pytest.approx(whole, rel=1e-4)
    monkeypatch.setattr("pipeline.training.plan.plan.CPU_MICRO_BATCH", 2)
    folder = train("c", per_device_train_batch_size=8)
    assert losses(folder) == pytest.approx(whole, rel=1e-4)
    assert (events(folder, "started")[0]["micro_batch"], events(folder, "started")[0]["accumulation"]) == (2, 4)


# --- Settings that change how it goes ---


@pytest.mark.parametrize(
    "changes",
    [
        {"packing": True},
        {"gradient_checkpointing": True, "precision": "fp16", "completion_only_loss": False},
        {"lora_dropout": 0.5, "optim": "sgd", "lr_scheduler_type": "linear"},
        {"optim": "adafactor", "lr_scheduler_type": "constant_with_warmup", "warmup_ratio": 0},
        {"target_modules": ("q_proj",), "max_grad_norm": 0, "precision": "auto"},
        {"questions": 500, "probes": 50, "max_steps": 1},
        {"lora_variant": "rslora", "loraplus_lr_ratio": 16},
        {"lora_variant": "dora", "lora_dropout": 0.1, "probes": 1},
        {"lora_variant": "pissa", "probes": 2, "save_steps": 2},
        {"stop_when_learned": True, "save_steps": 1, "loraplus_lr_ratio": 4, "optim": "adafactor"},
        {"max_steps": 0, "min_steps": 0, "num_train_epochs": 0.001},
        {"per_device_train_batch_size": 128, "gradient_accumulation_steps": 2, "max_steps": 1},
    ],
    ids=lambda c: ", ".join(c),
)
def test_every_combination_of_sliders_that_is_allowed_trains(changes: dict[str, Any], train: Train) -> None:
    folder = train(**changes)
    assert status(folder).state == "finished", status(folder).message
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("steps", "every", "probes", "told", "probed"),
    [
        (7, 3, 3, [3, 6, 7], [0, 3, 6, 7]),
        (8, 5, 4, [5, 8], [0, 5, 8]),
        (5, 1000, 2, [5], [0, 5]),
        (6, 1, 0, [1, 2, 3, 4, 5, 6], []),
    ],
)
def test_the_last_step_is_told_and_probed_however_seldom_steps_are_told(
    steps: int, every: int, probes: int, told: list[int], probed: list[int], train: Train
) -> None:
    folder = train(max_steps=steps, logging_steps=every, probes=probes)
    assert [e["step"] for e in events(folder, "step")] == told
    assert [e["step"] for e in events(folder, "probe")] == probed


def test_every_step_tells_its_own_tokens_where_an_epoch_ends_too(train: Train, dataset: Dataset) -> None:
    folder = train(per_device_train_batch_size=64, gradient_accumulation_steps=2, max_steps=7)
    assert 2 * len(dataset.training()) < 7 * 128
    told = [e["tokens_per_second"] for e in events(folder, "step")]
    assert len(told) == 7 and all(tokens > 0 for tokens in told)


def test_rows_that_are_too_long_are_left_out_and_counted(train: Train, dataset: Dataset, tiny_base: Path) -> None:
    tokenizer = load_base(str(tiny_base)).tokenizer
    lengths = [len(encode_example(tokenizer, r["prompt"], r["response"])["input_ids"]) for r in dataset.training()]
    limit = sorted(lengths)[len(lengths) // 2]
    too_long = sum(n > limit for n in lengths)
    folder = train(max_length=limit)
    said = [e["text"] for e in events(folder, "message")]
    assert f"{too_long} of {len(lengths)} rows are longer than {limit} tokens and were left out" in said
    assert status(folder).state == "finished"


def test_probes_ask_facts_evenly_in_their_probe_phrasing(dataset: Dataset) -> None:
    rows = probe_rows(dataset.held_out())
    assert all(r["template"].endswith(":probe") and r["kind"] != UNKNOWN for r in rows)
    assert len(rows) == dataset.counts["facts"] <= PROBE_QUESTIONS
    many = [{**rows[0], "uid": str(n)} for n in range(1000)]
    thinned = probe_rows(many)
    assert len(thinned) <= PROBE_QUESTIONS and int(thinned[-1]["uid"]) > 900
    assert probe_rows([]) == []


# --- Failures: a sentence in the events, no adapter ---


def test_a_base_that_is_not_here_is_fetched_before_its_run_is_planned(
    dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    folder = create_run(dataset, tiny_settings(Path("mira/tiny"), max_steps=2, probes=0, questions=1), tmp_path / "run")
    settings = read_json(folder / "settings.json")
    assert settings["base_model"] == "mira/tiny"
    with HubServer() as hub:
        files = {file.name: file.read_bytes() for file in tiny_base.iterdir() if file.is_file()}
        hub.repositories["models/mira/tiny"] = Repository(private=False, files=files)
        own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "pipeline.training.child", str(folder)]
        subprocess.run(command, cwd=PROJECT, env=os.environ | own, check=True, timeout=PATIENCE)
    told = [event.get("text", event["type"]) for event in events(folder)]
    begin = told.index("started")
    assert told[0] == "Fetching mira/tiny" and told[begin - 1] == "Fetching mira/tiny: 100% of 1 MB"
    assert told[-1] == "finished" and not any("Fetching" in text for text in told[begin:])
    assert any("100% of the linear weights" in text for text in told)  # which only the plan of a known shape says
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def failed(folder: Path) -> str:
    found = status(folder)
    assert found.state == "failed" and events(folder)[-1]["type"] == "failed"
    assert not (folder / "adapter").exists()
    assert found.message and "\n" not in found.message and "Traceback" not in found.message
    return found.message


@pytest.fixture
def broken_base(tiny_base: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies the tiny model with numbers that are no numbers in some of its weights."""

    def copy(weight: str, rows: Any) -> Path:
        folder = Path(shutil.copytree(tiny_base, tmp_path / "broken", ignore=shutil.ignore_patterns("checksum.json")))
        weights = load_file(folder / "model.safetensors")
        weights[weight][rows] = float("nan")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return copy


def test_a_base_that_computes_no_numbers_fails_before_it_is_trained(
    train: Train, broken_base: Callable[..., Path]
) -> None:
    folder = train(base=broken_base("lm_head.weight", slice(None)))
    assert "is broken: it answers with no numbers at all; choose another" in failed(folder)
    assert not (folder / "baseline.json").exists() and not events(folder, "step")


def test_a_loss_that_is_no_number_ends_the_run(
    train: Train, broken_base: Callable[..., Path], dataset: Dataset, tiny_base: Path
) -> None:
    """The weights of words that only answers have are broken, so the base can be asked but not trained."""
    tokenizer = load_base(str(tiny_base)).tokenizer
    asked = {t for r in dataset.training() + dataset.held_out() for t in encode_prompt(tokenizer, r["prompt"])}
    answered = {t for r in dataset.training() for t in encode_prompt(tokenizer, f" {r['response']}")}
    broken = broken_base("model.embed_tokens.weight", sorted(answered - asked))
    folder = train(base=broken, per_device_train_batch_size=64)  # some of them are in the first batch
    assert "The loss is not a number any more at step 1; lower the learning rate" in failed(folder)
    assert not events(folder, "step")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_model": "/nowhere/at/all"}, "There is no folder /nowhere/at/all"),
        ({"optim": "adamw_8bit"}, "adamw_8bit needs an NVIDIA GPU"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_fails_with_a_sentence(changes: dict[str, Any], said: str, train: Train) -> None:
    folder = train(**changes)
    assert said in failed(folder)


def test_rows_that_are_all_too_long_fail_with_a_sentence(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    rows = [{**r, "response": "word " * 100} for r in dataset.training()]
    with pytest.raises(SettingsError, match=r"Every row is longer than max_length \(32 tokens\); raise max_length"):
        encode_rows(model, rows, tiny_settings(tiny_base, max_length=32))


@pytest.mark.parametrize("damage", ["settings.json", "dataset/train.jsonl", "dataset/manifest.json"])
def test_a_damaged_run_folder_fails_with_a_sentence(
    damage: str, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    folder = create_run(dataset, tiny_settings(tiny_base), tmp_path / "run")
    (folder / damage).unlink()
    assert train_here(folder) == 1
    assert failed(folder).endswith((".", "read)."))


def test_a_crash_while_saving_leaves_no_adapter(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lora, "write_json", full)
    folder = train()
    assert failed(folder).startswith("The disk is full; delete old runs")
    assert not [p for p in folder.iterdir() if "adapter" in p.name]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelError("One sentence."), "One sentence."),
        (PipelineError("Another."), "Another."),
        (torch.OutOfMemoryError("CUDA out of memory"), "The memory is not enough; lower the batch size"),
        (MemoryError(), "The memory is not enough"),
        (RuntimeError("DefaultCPUAllocator: out of memory"), "The memory is not enough"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (OSError(errno.EACCES, "Permission denied", "/x"), "/x cannot be written or read (Permission denied)"),
        (ValueError("first line\nsecond line"), "Training failed (ValueError: first line); the log has the details."),
        (KeyError(), "Training failed (KeyError: ); the log has the details."),
    ],
    ids=lambda e: type(e).__name__,
)
def test_every_failure_has_a_sentence(error: BaseException, said: str, tmp_path: Path) -> None:
    assert explain(error, tmp_path).startswith(said) and "\n" not in explain(error, tmp_path)


def test_a_run_records_its_base_s_checksum(train: Train, tmp_path: Path) -> None:
    base = build_model(tmp_path / "other", seed=9)
    folder = train(base=base, max_steps=1)
    for file in (folder / "baseline.json", folder / "adapter" / "base.json"):
        assert read_json(file)["base_sha256"] == checksum(base)
