"""What this project's trainers do by a shorter way than Transformers': the same comes of it."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer

from pipeline.dataset.store import Dataset
from pipeline.models.loading import load_base
from pipeline.training.graphs import Replayed, cloned, tensors_of
from tests.families import save_family
from tests.tiny import adapted_trainer, tiny_settings


@pytest.fixture
def made(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> tuple[Any, Any]:
    """A base that is not built as a Llama, and its trainer."""
    folder = save_family("gemma-3", tmp_path / "base", tiny_base)
    model = load_base(str(folder), precision="fp32")
    return model, adapted_trainer(model, dataset.training()[:16], tmp_path, tiny_settings(folder, max_steps=2))


def modes(model: Any) -> set[bool]:
    return {module.training for module in model.model.modules()}


def test_all_of_a_model_knows_that_it_is_trained_from_the_first_step_on(made: tuple[Any, Any]) -> None:
    model, trainer = made
    assert modes(model) == {True, False}  # PEFT's own part says so from the beginning
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.training_step(trainer.model, {**batch})
    assert modes(model) == {True}
    model.generate([[5, 6, 7]], tuned=True, max_new_tokens=2)
    model.model.eval()  # whoever asks, and leaves it so
    trainer.training_step(trainer.model, {**batch})
    assert modes(model) == {True}


def test_gradients_are_clipped_as_by_transformers(made: tuple[Any, Any]) -> None:
    _, trainer = made
    trainer.args.max_grad_norm = 0.01
    norms, clipped = [], []
    for clip in (trainer._clip_grad_norm, lambda model: Trainer._clip_grad_norm(trainer, model)):
        trainer.model.zero_grad()
        trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())), torch.tensor(1))
        norms.append(float(clip(trainer.model)))
        clipped.append([p.grad.clone() for p in trainer.trained if p.grad is not None])
    assert norms[0] == pytest.approx(norms[1], rel=1e-6) and norms[0] > 0.01
    assert len(clipped[0]) == len(trainer.trained)
    assert all(torch.allclose(a, b) for a, b in zip(*clipped, strict=True))


class Square:
    """A step with one weight that counts and one that does not."""

    def __init__(self) -> None:
        self.parameters = [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(3.0))]
        self.gradients = [torch.empty_like(weight) for weight in self.parameters]

    def loss_of(self, batch: tuple[Tensor, ...]) -> Tensor:
        return (self.parameters[0] * batch[0]).square().sum()

    def replay(self, batch: tuple[Tensor, ...]) -> Tensor:
        """As a captured graph: the gradients, where they always are, with the loss."""
        with torch.enable_grad():
            loss = self.loss_of(batch)
        torch._foreach_copy_(self.gradients, torch.autograd.grad(loss, self.parameters, materialize_grads=True))
        return loss.detach()


def test_the_gradients_of_replayed_losses_are_scaled_and_added_up() -> None:
    replayed, plain = Square(), Square()
    batches = [(torch.tensor([2.0, 1.0]),), (torch.tensor([0.5, 3.0]),)]
    for batch, items in zip(batches, (4, 5), strict=True):
        loss = Replayed.apply(replayed, batch, replayed.gradients, *replayed.parameters) / items
        expected = plain.loss_of(batch) / items
        loss.backward()
        expected.backward()
        assert loss.item() == expected.item()
    assert torch.equal(replayed.parameters[0].grad, plain.parameters[0].grad)
    assert replayed.parameters[1].grad == 0


class Inner(NamedTuple):
    tensor: Tensor
    number: float


class Outer(NamedTuple):
    first: Tensor
    inner: Inner
    last: Tensor


def test_a_batch_s_tensors_are_found_wherever_they_are_and_copied() -> None:
    batch = Outer(torch.tensor([0]), Inner(torch.tensor([1]), 0.5), torch.tensor([2]))
    other = cloned(batch)
    assert type(other) is Outer and type(other.inner) is Inner and other.inner.number == 0.5
    assert [int(t) for t in tensors_of(other)] == [0, 1, 2]
    assert not {t.data_ptr() for t in tensors_of(batch)} & {t.data_ptr() for t in tensors_of(other)}
