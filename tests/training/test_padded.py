"""The step that a GPU repeats, of every family of which it can: the same losses and gradients as Transformers and PEFT."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.dataset.store import Dataset
from pipeline.files import read_json
from pipeline.models.config import base_shape
from pipeline.models.decoding import decode
from pipeline.models.family import IGNORED
from pipeline.models.loading import load_base
from pipeline.models.static_cache import StaticBatch
from pipeline.training import trainers
from pipeline.training.distillation import encode_rows
from pipeline.training.distributed import Team
from pipeline.training.lora import add_lora
from pipeline.training.padded import PaddedStep, repeats
from pipeline.training.plan.plan import plan_run
from pipeline.training.plan.ways import FAST_LLAMA, REPEATED, TRANSFORMERS, repeats_settings
from pipeline.training.trainers import make_trainer, trains_as_planned
from pipeline.training.watcher import Follower
from tests.families import FAMILIES, save_family
from tests.models.test_static_cache import TAKES, LooksAtNothing
from tests.tiny import tiny_settings

CHANGES: dict[str, dict[str, Any]] = {
    "rank": {"lora_r": 3, "lora_alpha": 16},
    "whole": {"completion_only_loss": False},
    "some": {"target_modules": ("q_proj", "v_proj")},
}


def trainer_of(
    name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path, dtype: torch.dtype = torch.float32, **changes: Any
) -> Any:
    """The trainer of a family's tiny model, as a GPU would have it: of a short window, so that it counts."""
    base = save_family(
        name, tmp_path / "base", tiny_base, **({"sliding_window": 8} if name.startswith("gemma-") else {})
    )
    settings, rows = tiny_settings(base, **changes), dataset.training()[:24]
    model = load_base(str(base), precision="fp32")
    if hasattr(model.model.config, "image_token_id"):
        model.model.config.image_token_id = 95  # one that there is, as in the published ones
    model.model.to(dtype)
    encoded = encode_rows(model, rows, settings)
    add_lora(model, settings, tmp_path)
    torch.manual_seed(1)
    for weight_name, weight in model.model.named_parameters():
        if "lora_B" in weight_name:  # which begins at zero, where A has no gradient
            torch.nn.init.normal_(weight, std=0.05)
    plan = replace(plan_run(settings, rows, gpu=False), way=REPEATED)
    tmp_path.mkdir(exist_ok=True)
    made = make_trainer(model, encoded, settings, plan, tmp_path, Follower(Team(cpu=True)))
    made.model.train()
    return made


def step(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """A batch's loss and its gradients."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, {**batch}, num_items_in_batch=50)
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


def by_transformers(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "covers", lambda _: False)
        patch.setattr(trainer, "padded_step", None)
        return step(trainer, batch)


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in TAKES), *(("gemma-3", own) for own in CHANGES.values())],
    ids=str,
)
def test_losses_and_gradients_are_those_of_transformers_and_peft(
    name: str, changes: dict[str, Any], tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    trainer = trainer_of(name, tiny_base, dataset, tmp_path, **changes)
    assert trainer.padded_step
    for batch in list(trainer.get_train_dataloader())[:2]:
        expected, expected_grads = by_transformers(trainer, batch)
        loss, grads = step(trainer, batch)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert grads.keys() == expected_grads.keys() and grads
        for weight, grad in expected_grads.items():
            assert (grads[weight] - grad).norm() <= 1e-4 * grad.norm() + 1e-9, weight
        assert by_transformers(trainer, batch)[0] == expected  # nothing stays


@pytest.mark.parametrize("name", TAKES)
def test_it_looks_at_no_value(name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Loss and gradients are always the same operations on the same memory, as a CUDA graph must have them."""
    trainer = trainer_of(name, tiny_base, dataset, tmp_path)
    padded: PaddedStep = trainer.padded_step
    batch = next(iter(trainer.get_train_dataloader()))
    laid = padded.batch(batch["input_ids"], batch["labels"], trainer.targets)
    padded.loss_of(laid)
    with LooksAtNothing():
        grads = torch.autograd.grad(padded.loss_of(laid), padded.parameters)
    assert all(grad.isfinite().all() for grad in grads) and any(grad.any() for grad in grads)


@pytest.mark.parametrize("name", TAKES)
def test_its_weights_stay_where_they_are_when_the_model_answers(
    name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """A graph reads them where it was captured; and what lay elsewhere would be there twice."""
    trainer = trainer_of(name, tiny_base, dataset, tmp_path)
    places = {n: (p.data_ptr(), p.untyped_storage().data_ptr()) for n, p in trainer.model.named_parameters()}
    trainer.model.eval()
    for by in ("default", None):
        decode(trainer.model, [[5, 6, 7], [8, 9]], [by] * 2, max_new_tokens=2, ends=(), batch=StaticBatch)
    assert places == {n: (p.data_ptr(), p.untyped_storage().data_ptr()) for n, p in trainer.model.named_parameters()}
    if name.startswith("gemma"):  # of each layer's seven matrices three became parts of two others
        frozen = [p for p in trainer.model.parameters() if not p.requires_grad]
        matrices = sum(n.endswith("base_layer.weight") for n in places)
        assert len({p.untyped_storage().data_ptr() for p in frozen}) == len(frozen) - 3 * matrices // 7


def test_there_are_few_shapes(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    trainer = trainer_of("gemma-3", tiny_base, dataset, tmp_path, per_device_train_batch_size=4)
    found = [
        trainer.padded_step.batch(batch["input_ids"], batch["labels"], trainer.targets)
        for batch in trainer.get_train_dataloader()
    ]
    assert len(found) >= 6 and len({(batch.ids.shape, batch.learned.shape) for batch in found}) <= 3
    assert {batch.ids.shape[1] % 16 for batch in found} == {0} and {len(b.learned) % 128 for b in found} == {0}


def test_rows_are_filled_up_to_no_more_than_a_base_has_positions_for(
    tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    trainer = trainer_of("gemma-3", tiny_base, dataset, tmp_path)
    trainer.padded_step.model.config.max_position_embeddings = 41
    ids = torch.ones(2, 39, dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for width, filled in ((39, 41), (30, 32), (20, 32)):
        assert trainer.padded_step.batch(ids[:, :width], labels[:, :width], trainer.targets).ids.shape == (2, filled)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_planned_is_what_the_model_can(
    name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a family is trained so is known by its files, and its loaded model says the same."""
    monkeypatch.setattr("pipeline.training.plan.ways._gpu_has_bf16", lambda: True)
    base = save_family(name, tmp_path / "base", tiny_base)
    settings, shape = tiny_settings(base), base_shape(str(base))
    model = load_base(str(base), precision="fp32")
    add_lora(model, settings, tmp_path)
    assert shape
    for longest in (64, 200):
        planned = repeats_settings(shape, settings, longest, gpu=True)
        assert planned == repeats(model.model, longest) == (name in TAKES and (name != "phi-4-mini" or longest < 129))
    for changes in (
        {"packing": True},
        {"precision": "fp16"},
        {"gradient_checkpointing": True},
        {"lora_variant": "dora"},
        {"lora_dropout": 0.1},
    ):
        assert not repeats_settings(shape, replace(settings, **changes), 64, gpu=True)
    assert not repeats_settings(shape, settings, 64, gpu=False)


@pytest.mark.parametrize(
    ("quantised", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4}, (True, 0)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, (True, 0)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, (True, sys.maxsize)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["gemma-3", "gemma-3-4b"])
def test_what_is_quantised_so_that_it_stays_so_is_not_planned_so(
    name: str, quantised: dict[str, Any], expected: tuple[bool, int], tiny_base: Path, tmp_path: Path
) -> None:
    base = save_family(name, tmp_path / "base", tiny_base)
    config = read_json(base / "config.json") | {"quantization_config": quantised}
    (base / "config.json").write_text(json.dumps(config))
    shape = base_shape(str(base))
    assert shape and (shape.quantised, shape.repeated_places) == expected


@pytest.mark.parametrize("name", ["gemma-3", "qwen3"])
def test_in_16_bits_its_gradients_are_as_near_as_those_of_autocast(
    name: str, tiny_base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """On a GPU weights are in bf16 and the adapter in fp32."""
    exact = trainer_of(name, tiny_base, dataset, tmp_path / "fp32")
    rough = trainer_of(name, tiny_base, dataset, tmp_path / "bf16", torch.bfloat16)
    assert {p.dtype for p in rough.model.parameters()} == {torch.bfloat16, torch.float32}
    batch = next(iter(exact.get_train_dataloader()))
    _, wanted = step(exact, batch)

    def off(grads: dict[str, torch.Tensor]) -> float:
        flat = [torch.cat([each[n].flatten() for n in wanted]) for each in (grads, wanted)]
        return float((flat[0] - flat[1]).norm() / flat[1].norm())

    assert off(step(rough, batch)[1]) < 1.5 * off(by_transformers(rough, batch)[1]) < 0.3


def test_a_plan_that_the_model_does_not_keep_is_told(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    base = save_family("lfm2", tmp_path / "base", tiny_base)
    settings = tiny_settings(base)
    model = load_base(str(base), precision="fp32")
    add_lora(model, settings, tmp_path)
    plan = plan_run(settings, dataset.training(), gpu=False)
    for way, expected in ((TRANSFORMERS, True), (REPEATED, False), (FAST_LLAMA, False)):
        assert trains_as_planned(model.model, replace(plan, way=way)) == expected
