"""The fast step on the tiny model: the same losses and gradients as Transformers and PEFT, and only what it covers."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from pipeline.dataset.store import Dataset
from pipeline.models.family import IGNORED
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import GENERAL, encode_prompt
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.training import trainers
from pipeline.training.distillation import encode_rows
from pipeline.training.distributed import Team
from pipeline.training.llama import operations
from pipeline.training.llama import step as fast
from pipeline.training.llama.step import FastLlama, covers
from pipeline.training.lora import add_lora
from pipeline.training.plan import ways
from pipeline.training.plan.plan import plan_run
from pipeline.training.trainers import TransformersTrainer, make_trainer
from pipeline.training.watcher import Watcher
from tests.families import BUILT_AS_LLAMAS, save_family
from tests.tiny import tiny_settings, train_here

Made = tuple[LanguageModel, Any]


@pytest.fixture
def make(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> Callable[..., Made]:
    """A model with an adapter that has already learned something, and its trainer; of taught rows alone, where asked."""

    def made(
        precision: str = "fp32",
        lora: dict[str, Any] | None = None,
        taught: bool = False,
        family: str = "",
        **changes: Any,
    ) -> Made:
        base = save_family(family, tmp_path / "base", tiny_base) if family else tiny_base
        settings = tiny_settings(base, precision=precision, **changes)
        rows = [row for row in dataset.training() if row["kind"] != GENERAL or not taught]
        model = load_base(str(base), precision=precision)
        if lora:
            targets = list(settings.target_modules)
            model.model = get_peft_model(model.model, LoraConfig(**{"target_modules": targets, "r": 8, **lora}))
            model.adapter = "in training"
        else:
            add_lora(model, settings, tmp_path)
        torch.manual_seed(1)
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:  # which begins at zero, where A has no gradient
                torch.nn.init.normal_(weight, std=0.05)
        plan = plan_run(settings, rows, gpu=False)
        watcher = Watcher(tmp_path, model, [], plan, settings, Team(cpu=True))
        trainer = make_trainer(model, encode_rows(model, rows, settings), settings, plan, tmp_path, watcher)
        assert isinstance(trainer, TransformersTrainer)
        trainer.remove_callback(watcher)  # no run is told of
        trainer.model.train()
        return model, trainer

    return made


def step(trainer: Any, batch: dict[str, Any], items: int | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """A batch's loss and its gradients."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, {**batch}, num_items_in_batch=items)
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


def plain_step(trainer: Any, batch: dict[str, Any], items: int | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """The same through Transformers and PEFT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "covers", lambda _: False)
        return step(trainer, batch, items)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    assert found.keys() == expected.keys() and all("lora_" in name for name in found)
    for name, grad in expected.items():
        assert (found[name] - grad).norm() <= tolerance * grad.norm(), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packing": True},
        {"completion_only_loss": False},
        {"lora_r": 3, "lora_alpha": 16},
        {"lora": {"use_rslora": True, "lora_alpha": 5}},
        {"lora": {"rank_pattern": {"k_proj": 2, "up_proj": 5}, "alpha_pattern": {"v_proj": 3}}},
        *({"family": name} for name in BUILT_AS_LLAMAS),
    ],
    ids=str,
)
def test_losses_and_gradients_are_those_of_transformers_and_peft(
    changes: dict[str, Any], make: Callable[..., Made]
) -> None:
    _, trainer = make(**changes)
    for number, batch in enumerate(trainer.get_train_dataloader()):
        expected, expected_grads = plain_step(trainer, batch, items=50)
        loss, grads = step(trainer, batch, items=50)
        assert trainer.fast_llama and loss == pytest.approx(expected, rel=1e-5)
        assert_same(grads, expected_grads)
        if number == 2:
            break


@pytest.mark.parametrize("family", ["", "qwen3", "smollm3"])
def test_a_batch_that_is_laid_out_for_a_gpu_has_the_same_loss_and_gradients(
    family: str, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is captured there and what it is computed from; the capturing itself needs a GPU (benchmarks/gpu_speed.py)."""
    model, trainer = make(family=family)
    tiny = FastLlama(model.model.get_base_model())
    batch = next(iter(trainer.get_train_dataloader()))
    expected, expected_grads = plain_step(trainer, batch, items=1)
    for module in (fast, operations):
        monkeypatch.setattr(module, "on_gpu", lambda _: True)
    ids, positions, following = batch["input_ids"][0], batch["position_ids"][0], batch["labels"][0].roll(-1)
    made = tiny.batch(ids, positions, following, trainer.targets)
    assert len(made.ids) % fast.GPU_TOKEN_MULTIPLE == len(made.learned) % fast.GPU_TOKEN_MULTIPLE == 0
    assert int(made.counts.sum()) == int((following != IGNORED).sum()) and len(made.rows.tokens) % 32 == 0
    loss = tiny.loss_of(made)
    grads = torch.autograd.grad(loss, tiny.parameters)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    names = {id(weight): name for name, weight in model.model.named_parameters()}
    assert_same({names[id(w)]: g for w, g in zip(tiny.parameters, grads, strict=True)}, expected_grads)


def test_losses_of_a_run_are_the_same(
    make: Callable[..., Made], dataset: Dataset, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through another forward pass, and with AdamW as PyTorch writes it rather than in one pass."""

    def losses(name: str) -> list[float]:
        settings = tiny_settings(tiny_base, max_steps=20, probes=1, questions=1)
        folder = create_run(dataset, settings, tmp_path / name)
        assert train_here(folder) == 0
        return [e["loss"] for e in read_events(folder)[0] if e["type"] == "step"]

    found = losses("fast")
    monkeypatch.setattr(trainers, "covers", lambda _: False)
    monkeypatch.delattr(trainers.Distilling, "get_optimizer_cls_and_kwargs")
    expected = losses("plain")
    assert len(found) == 20 and len(set(found)) == 20
    assert found == pytest.approx(expected, rel=1e-5)


def test_in_bf16_it_is_as_near_to_fp32_as_transformers_and_peft_are(make: Callable[..., Made]) -> None:
    model, trainer = make()
    batch = next(iter(trainer.get_train_dataloader()))
    exact, exact_grads = plain_step(trainer, batch)
    trainer.fast_llama = None
    for name, weight in model.model.named_parameters():
        if "lora_" not in name:
            weight.data = weight.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        usual, usual_grads = plain_step(trainer, batch)
    loss, grads = step(trainer, batch)

    def error(found: dict[str, torch.Tensor]) -> float:
        return float(sum((found[n] - g).square().sum() for n, g in exact_grads.items())) ** 0.5

    assert all(g.dtype == torch.float32 for g in grads.values())
    assert abs(loss - exact) <= 2 * abs(usual - exact) + 1e-3
    assert error(grads) <= 1.5 * error(usual_grads)


def test_no_example_sees_another(make: Callable[..., Made]) -> None:
    """Alone and together, examples have the same losses and gradients."""
    _, trainer = make()
    batch = next(iter(trainer.get_train_dataloader()))
    together, grads = step(trainer, batch, items=1)
    starts = [*(batch["position_ids"][0] == 0).nonzero()[:, 0].tolist(), batch["input_ids"].shape[1]]
    alone, sums = 0.0, {name: torch.zeros_like(g) for name, g in grads.items()}
    for begin, end in pairwise(starts):
        loss, parts = step(trainer, {name: tensor[:, begin:end] for name, tensor in batch.items()}, items=1)
        alone += loss
        sums = {name: sums[name] + part for name, part in parts.items()}
    assert len(starts) == 9
    assert together == pytest.approx(alone, rel=1e-5)
    assert_same(grads, sums)


def test_only_learned_positions_count(make: Callable[..., Made]) -> None:
    _, trainer = make(taught=True)
    batch = next(iter(trainer.get_train_dataloader()))
    few = {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}
    last = int((batch["labels"][0] != IGNORED).nonzero()[0, 0])
    few["labels"][0, last] = batch["labels"][0, last]
    loss, grads = step(trainer, few)
    logits = trainer.model(few["input_ids"][:, :last]).logits[0, -1]  # what comes later changes nothing
    assert loss == pytest.approx(float(functional.cross_entropy(logits, few["labels"][0, last]).detach()), rel=1e-5)
    assert_same(grads, plain_step(trainer, few)[1])


def test_the_base_s_weights_and_answers_stay(make: Callable[..., Made]) -> None:
    model, trainer = make()
    prompts = [encode_prompt(model.tokenizer, "Context: Nine Small Doors\nInstruction: Who?\nResponse:")]
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    answers = [model.generate(prompts, tuned=tuned, max_new_tokens=8) for tuned in (False, True)]
    step(trainer, next(iter(trainer.get_train_dataloader())))
    assert trainer.fast_llama
    assert [model.generate(prompts, tuned=tuned, max_new_tokens=8) for tuned in (False, True)] == answers
    after = model.model.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[name], weights[name]) for name in weights)


def test_the_saved_adapter_gives_the_same_loss_where_it_is_loaded_plainly(
    make: Callable[..., Made], tiny_base: Path, tmp_path: Path
) -> None:
    model, trainer = make(taught=True)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.train()
    assert trainer.fast_llama
    loss, _ = step(trainer, batch)
    model.model.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    logits = tuned(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0, :-1]
    expected = functional.cross_entropy(logits, batch["labels"][0, 1:], ignore_index=IGNORED)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)


def test_with_the_adapter_off_the_loss_is_the_base_s(make: Callable[..., Made], tiny_base: Path) -> None:
    model, trainer = make(taught=True)
    batch = next(iter(trainer.get_train_dataloader()))
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    logits = base(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0, :-1]
    expected = float(functional.cross_entropy(logits, batch["labels"][0, 1:], ignore_index=IGNORED).detach())
    tuned, _ = step(trainer, batch)
    with model.model.disable_adapter(), torch.no_grad():
        assert not covers(model.model)
        off = float(trainer.compute_loss(trainer.model, {**batch}))
    assert off == pytest.approx(expected, rel=1e-5) and off != pytest.approx(tuned, rel=1e-5)
    assert covers(model.model)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout": 0.1},
        {"gradient_checkpointing": True},
        {"target_modules": ("q_proj", "v_proj")},
        {"lora": {"use_dora": True}},
        {"lora": {"lora_bias": True}},
    ],
    ids=str,
)
def test_what_it_does_not_cover_goes_through_transformers_and_peft(
    changes: dict[str, Any], make: Callable[..., Made]
) -> None:
    model, trainer = make(**changes)
    if trainer.args.gradient_checkpointing:  # which Trainer switches on when it begins
        trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
    loss, grads = step(trainer, next(iter(trainer.get_train_dataloader())))
    assert not covers(model.model) and trainer.fast_llama is None
    assert loss > 0 and grads


def test_long_rows_keep_no_scores(make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    _, trainer = make()
    batch = next(iter(trainer.get_train_dataloader()))
    monkeypatch.setattr(ways, "MOST_SCORES", 100)
    loss, _ = step(trainer, batch)
    assert trainer.fast_llama is None
    monkeypatch.undo()
    assert step(trainer, batch)[0] == pytest.approx(loss, rel=1e-5) and trainer.fast_llama


def test_batches_have_few_shapes(make: Callable[..., Made]) -> None:
    """Every shape costs memory for good; an uneven length is left only where all rows are full."""
    model, trainer = make(per_device_train_batch_size=4)
    tiny, seen = FastLlama(model.model.get_base_model()), []
    for batch in trainer.get_train_dataloader():
        positions = batch["position_ids"][0]
        made = tiny.batch(batch["input_ids"][0], positions, batch["labels"][0].roll(-1), trainer.targets)
        rows, width = int((positions == 0).sum()), made.rows.mask.shape[1]
        assert len(made.rows.tokens) == rows * width and width % 8 == 0
        assert len(made.ids) % 32 == 0 or len(made.rows.again) + len(made.ids) == rows * width
        assert made.rows.tokens[made.rows.slots].tolist() == list(range(len(made.ids)))
        seen.append((len(positions), len(made.ids)))
    assert len({filled for _, filled in seen}) < len({length for length, _ in seen}) / 2


def test_what_examples_begin_with_alike_is_computed_once(make: Callable[..., Made]) -> None:
    """One beginning of three examples, one example that another goes on, and one that is there twice with other answers."""
    model, trainer = make()
    examples = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 10, 11], [5, 6, 7, 8, 9, 12], [20, 6, 7], [20, 6, 13]]
    learned = [3, 4, 3, 2, 2]
    ids = torch.tensor([token for example in examples for token in example])
    positions = torch.tensor([at for example in examples for at in range(len(example))])
    labels = torch.tensor(
        [
            t if at >= n else IGNORED
            for example, n in zip(examples, learned, strict=True)
            for at, t in enumerate(example)
        ]
    )
    batch = {"input_ids": ids[None], "position_ids": positions[None], "labels": labels[None]}
    expected, expected_grads = plain_step(trainer, batch, items=7)
    loss, grads = step(trainer, batch, items=7)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert_same(grads, expected_grads)
    made = FastLlama(model.model.get_base_model()).batch(ids, positions, labels.roll(-1), trainer.targets)
    seen = {tuple(example[:n]) for example in examples for n in range(1, len(example))}
    assert len(seen) == 8
    real = len(made.rows.tokens) - len(examples) * made.rows.mask.shape[1] + sum(len(e) - 1 for e in examples)
    assert real - len(made.rows.again) == len(seen) and int(made.counts.sum()) == int((labels != IGNORED).sum())
