"""Training bases of the families that people choose, each as a tiny random model: nothing of one may be silently wrong."""

import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.answering.run_model import load_run
from pipeline.dataset.store import Dataset
from pipeline.errors import ModelError, SettingsError
from pipeline.files import PROJECT
from pipeline.models import config
from pipeline.models.adapters import add_adapter
from pipeline.models.config import KEEPS_APART, base_shape
from pipeline.models.family import IGNORED
from pipeline.models.gpu import FOUR_BITS
from pipeline.models.language_model import BASE, TUNED, LanguageModel
from pipeline.models.layers import layers_of
from pipeline.models.loading import load_base
from pipeline.prompts import encode_prompt
from pipeline.publishing.make import make
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.training import isolation
from pipeline.training.isolation import keeps_apart
from pipeline.training.lora import add_lora, save_adapter
from pipeline.training.plan.memory import lora_parameters
from pipeline.training.plan.plan import plan_run
from pipeline.training.trainers import DistillationTrainer
from tests.families import FAMILIES, build_family, save_family
from tests.tiny import adapted_trainer, tiny_settings, train_here

LEAKS = {"qwen3.5", "granite-4", "lfm2", "gpt-oss", "falcon-h1"}
"""Those that mix what stands side by side in one row, whatever the positions say."""


def trainer_of(folder: Path, dataset: Dataset, tmp_path: Path, **changes: Any) -> tuple[LanguageModel, Any]:
    model = load_base(str(folder), precision="fp32")
    return model, adapted_trainer(model, dataset.training()[:6], tmp_path, tiny_settings(folder, **changes))


def loss_of(trainer: DistillationTrainer, rows: list[Any]) -> torch.Tensor:
    """The summed loss of a micro-batch."""
    return trainer.compute_loss(trainer.model, trainer.data_collator(rows), num_items_in_batch=torch.tensor(1))


@pytest.mark.parametrize("name", FAMILIES)
def test_no_example_leaks_into_another(name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    """A micro-batch's loss is that of its rows alone, and what one row is taught reaches no token of another."""
    _, trainer = trainer_of(save_family(name, tmp_path / "base", tiny_base), dataset, tmp_path)
    trainer.model.eval()
    first, second = sorted((dict(row) for row in trainer.train_dataset), key=lambda row: len(row["input_ids"]))[-2:]
    together = loss_of(trainer, [first, second]).item()
    assert together == pytest.approx(sum(loss_of(trainer, [row]).item() for row in (first, second)), rel=1e-5)

    read: list[torch.Tensor] = []
    embedding = trainer.model.get_base_model().get_input_embeddings()
    embedding.register_forward_hook(lambda _, __, out: read.append(out.detach().requires_grad_()) or read[-1])
    quiet = first | {"labels": [IGNORED] * len(first["labels"])}
    gradient = torch.autograd.grad(loss_of(trainer, [quiet, second]), read[-1])[0].flatten(0, -2)
    reached = gradient.abs().amax(-1) > 0
    its = len(first["input_ids"]) - 1  # what follows its last token is nobody's
    # What both begin with alike is one token of both where `FastLlama` computes them.
    pairs = zip(first["input_ids"], second["input_ids"], strict=False)
    alike = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))) if trainer.fast_llama else 0
    assert not reached[alike:its].any() and reached[its:].any()


def test_packing_is_refused_before_and_when_a_base_that_mixes_is_loaded(
    tiny_base: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_family("lfm2", tmp_path / "base", tiny_base)
    with pytest.raises(SettingsError, match="turn packing off"):
        trainer_of(folder, dataset, tmp_path, packing=True)
    monkeypatch.setattr(config, "KEEPS_APART", KEEPS_APART | {"lfm2"})  # somebody was wrong about it
    monkeypatch.setattr(isolation, "KEEPS_APART", KEEPS_APART | {"lfm2"})
    config._read.cache_clear()
    with pytest.raises(SettingsError, match="turn packing off"):
        trainer_of(folder, dataset, tmp_path, packing=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_known_of_a_family_is_what_its_model_does(name: str) -> None:
    model = build_family(name)
    assert keeps_apart(model) == (name not in LEAKS)
    assert (model.config.get_text_config().model_type in KEEPS_APART) == (name not in LEAKS)


BYPASSED = {"granite-4", "falcon-h1"}
"""Mambas, whose last layer cannot be adapted."""


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_sits_on_all_linear_layers_and_comes_back(
    name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Of the text's part: all layers but those that cannot be; the plan says so before; the saved adapter answers the same."""
    folder = save_family(name, tmp_path / "base", tiny_base)
    settings = tiny_settings(folder)
    shape = base_shape(str(folder))
    plan = plan_run(settings, dataset.training(), gpu=False)
    model = load_base(str(folder), precision="fp32")
    layers = layers_of(model.model)
    sizes = {n: p.numel() for n, p in model.model.named_parameters()}
    assert shape and shape.weights == pytest.approx(sum(sizes.values()), rel=0.03)
    assert shape.linear_weights == sum(layer.inputs * layer.outputs * max(1, layer.experts) for layer in layers)
    squeezed = sum(
        layer.inputs * layer.outputs for layer in layers if not layer.experts
    )  # bitsandbytes takes layers alone
    assert shape.weight_bytes(2, four_bit=True) == int((shape.weights - squeezed) * 2 + squeezed * FOUR_BITS)
    ids = torch.tensor([encode_prompt(model.tokenizer, dataset.training()[0]["prompt"])])
    as_it_was = model.model(ids).logits

    add_lora(model, settings, tmp_path)
    trained = [(n, p) for n, p in model.model.named_parameters() if p.requires_grad]
    assert sum(p.numel() for _, p in trained) == lora_parameters(shape, settings)
    assert not any("vision" in n for n, _ in trained)
    whole = "100% of the linear weights" in plan.adapted
    assert whole == (name not in BYPASSED) and plan.adapted.startswith(
        str(len({la.kind for la in layers if la.adaptable}))
    )
    with torch.no_grad():
        for n, p in trained:
            if "lora_B" in n:
                p.normal_(std=0.1)
    model.model(ids).logits.square().mean().backward()
    assert all(p.grad is not None for _, p in trained)
    save_adapter(model, settings, tmp_path)
    again = load_base(str(folder), precision="fp32")
    assert add_adapter(again, tmp_path / "adapter") == []
    tuned = again.model.eval()(ids).logits
    assert torch.equal(tuned, model.model.eval()(ids).logits) and not torch.allclose(tuned, as_it_was, atol=1e-3)
    with again.side(tuned=False):
        assert torch.equal(again.model(ids).logits, as_it_was)


@pytest.mark.parametrize(("name", "chosen"), [("gpt-neox", "q_proj"), ("phi-3", "gate_proj")])
def test_nothing_to_adapt_is_said_before_anything_is_loaded(
    name: str, chosen: str, tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    folder = save_family(name, tmp_path / "base", tiny_base)
    settings = tiny_settings(folder, target_modules=(chosen,))
    with pytest.raises(SettingsError, match=f"no layer called {chosen}, so nothing would be trained"):
        plan_run(settings, dataset.training(), gpu=False)
    with pytest.raises(ModelError, match="nothing would be trained"):
        add_lora(load_base(str(folder)), settings, tmp_path)


def test_a_process_without_torch_asks_another_one_once(tiny_base: Path, tmp_path: Path, home: Path) -> None:
    folder = save_family("qwen3-moe", tmp_path / "base", tiny_base)
    ask = f"""
import sys
from pipeline.models import config
print(config.base_shape({str(folder)!r}).found == {base_shape(str(folder)).found!r}, "torch" in sys.modules)
""".replace("Kind(", "config.Kind(")
    for _ in range(2):
        told = subprocess.run([sys.executable, "-c", ask], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert told.stdout.split() == ["True", "False"]
        (folder / "generation_config.json").unlink(missing_ok=True)
    assert len(list((home / "cache").glob("described-*.json"))) == 1


@pytest.mark.parametrize("name", ["qwen3-moe", "granite-4"])
def test_a_whole_run_of_a_base_that_is_no_llama(name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Experts, and a recurrent layer: asked, trained, saved, loaded again and published merged."""
    folder = save_family(name, tmp_path / "base", tiny_base)
    run = create_run(dataset, tiny_settings(folder, max_steps=2, probes=1, questions=2))
    assert train_here(run) == 0
    told = [event.get("text", "") for event in read_events(run)[0]]
    assert any(text.startswith("LoRA on ") for text in told)
    model = load_run(run)[0]
    prompt = [encode_prompt(model.tokenizer, dataset.held_out()[0]["prompt"])]
    both = [*model.stream(prompt * 2, by=[BASE, TUNED], max_new_tokens=4)][-1]
    assert both == [model.generate(prompt, tuned=tuned, max_new_tokens=4)[0] for tuned in (False, True)]
    (tmp_path / "merged").mkdir()
    assert make(run, "merged", tmp_path / "merged", print)["checked"] == 8
