"""A batch of prompts that is decoded, whatever computes it, and the step that a GPU repeats as one CUDA graph."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.gpu import forget_capture

PROMPT_MULTIPLE = 8
"""Prompts are filled up to a multiple of this many tokens: for every shape that it meets, oneDNN compiles code and keeps it, so
that an app that is asked for days would grow by a gigabyte (benchmarks/RESULTS.md). A GPU's attention wants such rows too."""


class Batch(ABC):
    """A batch that is decoded: its prompts, and the places of what has been read and will be.

    Attributes:
        prompts: [B, T] token ids, filled up on the left.
        first: [B, 1] the place of each prompt's first token.
        places: that there are for prompts and answers.
        read_so_far: places that are taken.
        captured: the step of one token that a GPU repeats if it can, once there is one.
    """

    def __init__(self, prompts: Sequence[list[int]], room: int, device: torch.device) -> None:
        width = max(map(len, prompts))
        width += -width % PROMPT_MULTIPLE
        self.prompts = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
        self.first = torch.tensor([[width - len(p)] for p in prompts], device=device)
        self.places = width + room + -room % PROMPT_MULTIPLE
        self.read_so_far = 0
        self.captured: CapturedStep | None = None

    def read(self, ids: Tensor) -> Tensor:
        """Read the next tokens, [B, T]; returns the logits of what follows the last, [B, vocabulary]."""
        begin, self.read_so_far = self.read_so_far, self.read_so_far + ids.shape[1]
        if ids.shape[1] == 1 and ids.is_cuda:
            self.captured = self.captured or CapturedStep(self, begin)
            return self.captured.read(self, ids)
        return self.pass_over(ids, begin)

    @abstractmethod
    def pass_over(self, ids: Tensor, begin: int) -> Tensor:
        """As `read`, of tokens that stand at `begin` and after."""

    @abstractmethod
    def step(self, ids: Tensor, place: Tensor) -> Tensor:
        """As `read`, of a token of each row, all at one place, [1]: always the same operations on the same memory, of which
        none looks at a value."""

    @abstractmethod
    def keep(self, going: Sequence[int]) -> None:
        """Go on with these rows alone."""

    def capture_failed(self, error: Exception) -> None:
        """A GPU cannot repeat the step: from now on it is computed anew each time."""
        raise error


class CapturedStep:
    """A step of a batch by the same operations on the same memory, again and again.

    On a GPU they are captured as a CUDA graph, if they can be. What changes from step to step is in tensors, and a step sees
    all places that there are, those to come without any weight. It holds no reference to its batch, whose keys and values
    would stay until somebody looks for garbage.
    """

    def __init__(self, rows: Batch, place: int) -> None:
        self.ids = rows.prompts.new_zeros(len(rows.prompts), 1)
        self.place = rows.prompts.new_tensor([place])
        self.graph: torch.cuda.CUDAGraph | None = None
        self.is_tried = not rows.prompts.is_cuda  # elsewhere there is nothing to capture
        self.logits = torch.empty(0)

    def read(self, rows: Batch, ids: Tensor) -> Tensor:
        """As `Batch.read` of the same batch always; what is returned is overwritten by the next step."""
        self.ids.copy_(ids)
        if self.graph:
            self.graph.replay()
        else:
            # What is captured is not computed, and libraries set themselves up when they are first called.
            self.logits = rows.step(self.ids, self.place)
            if not self.is_tried:
                self._capture(rows)
        self.place += 1
        return self.logits

    def _capture(self, rows: Batch) -> None:
        self.is_tried = True
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer one brings the stream back where a capture that failed does not.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                self.logits.copy_(rows.step(self.ids, self.place))
        except RuntimeError as error:
            forget_capture()
            rows.capture_failed(error)
        else:
            self.graph = graph
