"""Loss and gradients of a training step on a GPU as CUDA graphs, one for each shape of a batch.

A step has thousands of operations, and their launch from Python takes longer than all but the largest of them: with
Llama-3-8B's shape twice as long as they do, with a small model ten times (benchmarks/RESULTS.md).
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from pipeline.models.gpu import forget_capture

logger = logging.getLogger(__name__)

MOST_GRAPHS = 32
"""Shapes that are captured; others are computed as they come."""

GRAPH_ROOM = 1.25
"""What a graph keeps is as much as what is kept without one, which must be free so many times."""


class Step(Protocol):
    """What computes a loss by the same operations always, of which none looks at a value.

    A batch is a NamedTuple of tensors, of others like it, and of what is the same in every batch.
    """

    @property
    def parameters(self) -> Sequence[Tensor]:
        """What is trained."""
        ...

    def loss_of(self, batch: Any) -> Tensor:
        """The summed loss of a batch."""
        ...


class Graphs:
    """The captured losses of a step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.captured: dict[tuple[Any, ...], CapturedLoss] = {}
        self.pool: Any = None
        self.gradients: list[Tensor] = []
        """Of what is trained, as the last replay left them: one place for all graphs, as an adapter may have a gigabyte."""
        self.can_capture: bool | None = None

    def loss(self, batch: Any) -> Tensor:
        """As `Step.loss_of`; what the gradients are is computed with it, and overwritten by the next call."""
        shape = tuple(part.shape for part in tensors_of(batch))
        if self.can_capture is None:  # libraries set themselves up when they are first called: not while it is captured
            return self._first_loss(batch)
        has_room = self.can_capture and len(self.captured) < MOST_GRAPHS
        if shape not in self.captured and not (has_room and self._capture(shape, batch)):
            return self.step.loss_of(batch)
        return Replayed.apply(self.captured[shape], batch, self.gradients, *self.step.parameters)

    def _first_loss(self, batch: Any) -> Tensor:
        before = torch.cuda.memory_allocated()
        loss = self.step.loss_of(batch)
        kept = torch.cuda.memory_allocated() - before
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        self.can_capture = free > GRAPH_ROOM * kept
        return loss

    def _capture(self, shape: tuple[Any, ...], batch: Any) -> bool:
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        self.gradients = self.gradients or [torch.empty_like(weight) for weight in self.step.parameters]
        try:
            # The outer one brings the stream back where a capture that failed does not.
            with torch.cuda.stream(torch.cuda.current_stream()):
                self.captured[shape] = CapturedLoss(self.step, batch, self.gradients, self.pool)
        except RuntimeError as error:
            cause = error.__context__ or error  # the end of a capture says only that something went wrong in it
            logger.warning("A training step was not captured as a graph (%s)", cause)
            forget_capture()
            self.can_capture = False
        return self.can_capture is True


class CapturedLoss:
    """Loss and gradients of batches of one shape as a CUDA graph, which works on memory of its own."""

    def __init__(self, step: Step, batch: Any, gradients: list[Tensor], pool: Any) -> None:
        self.batch = cloned(batch)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            loss = step.loss_of(self.batch)
            torch._foreach_copy_(gradients, torch.autograd.grad(loss, list(step.parameters), materialize_grads=True))
            self.loss = loss.detach()

    def replay(self, batch: Any) -> Tensor:
        for mine, its in zip(tensors_of(self.batch), tensors_of(batch), strict=True):
            mine.copy_(its)
        self.graph.replay()
        return self.loss.clone()


class Replayed(Function):
    """The loss of a `CapturedLoss`, whose gradients are there when it is."""

    @staticmethod
    def forward(ctx: Any, captured: CapturedLoss, batch: Any, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return captured.replay(batch)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, None, *torch._foreach_mul(ctx.gradients, grads[0])


def tensors_of(batch: Any) -> Iterator[Tensor]:
    for part in batch:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from tensors_of(part)


def cloned(batch: Any) -> Any:
    """The same batch in memory of its own."""
    parts = (
        part.clone() if isinstance(part, Tensor) else cloned(part) if isinstance(part, tuple) else part
        for part in batch
    )
    return type(batch)(*parts)
