"""The training step of any causal base on a GPU, by Transformers' own forward pass over rows that are filled up.

Transformers and PEFT launch twenty-five thousand small operations a step of Gemma 3 4B from Python, which takes twice as long as
their 150 ms on an H200. Here what adapts and what norms computes in fewer of them, 91 ms (`models/fused.py` does it for answers),
and a GPU repeats them all as it has captured them (`graphs.py`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.pytorch_utils import Conv1D

from pipeline.models.family import IGNORED
from pipeline.models.fused import Inputs, StandIns, Together
from pipeline.models.prefixes import filled
from pipeline.models.static_cache import takes_static_cache
from pipeline.training.distillation import Divergence, Targets
from pipeline.training.graphs import Graphs
from pipeline.training.llama.operations import Shared, has_plain_lora
from pipeline.training.plan.ways import GPU_TOKEN_MULTIPLE, PADDED_ROW_MULTIPLE

ROWS = "sdpa_rows"
"""The attention of rows that are filled up at their ends, by the name that a model's settings know it by."""


def repeats(model: Any, longest: int) -> bool:
    """Whether `PaddedStep` computes this model, as `ways.repeats_settings` foresees: one whose steps a GPU can repeat when it
    answers, with LoRA on plain matrices. Not in fp16, whose gradients have to be scaled, nor where activations shall be computed
    again, nor where the processor draws layers that are left out.

    Args:
        longest: tokens of a row.
    """
    base = model.get_base_model()
    adapted = [m for m in base.modules() if isinstance(m, BaseTunerLayer)]
    return (
        takes_static_cache(base, longest)
        and all(has_plain_lora(layer) or type(layer.get_base_layer()) is Conv1D for layer in adapted)
        and not base.is_gradient_checkpointing
        and not getattr(base.config.get_text_config(), "layerdrop", 0)
        and base.dtype != torch.float16
    )


class PaddedBatch(NamedTuple):
    """What a loss is computed from."""

    ids: Tensor
    """[B, L] the tokens of each example, filled up on the right: what is there is seen by no token of the example."""
    learned: Tensor
    """[M] the places among the B * L after which something is learned."""
    tokens: Tensor
    """[M, k] what should follow them, as from `Targets.of`."""
    shares: Tensor
    """[M, k]"""
    counts: Tensor
    """[M] 1, or 0 for what was filled up."""


class PaddedStep:
    """A base with LoRA for training alone; its modules compute as ever outside of it, if from joined weights."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.modules = TrainedModules(model)
        self.head = model.get_output_embeddings()
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.graphs = Graphs(self)

    def loss(self, ids: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """A batch's summed divergence from its targets.

        Args:
            ids, labels: [B, T] of examples that are filled up on the right.
        """
        batch = self.batch(ids, labels, targets)
        return self.graphs.loss(batch) if ids.is_cuda else self.loss_of(batch)

    def batch(self, ids: Tensor, labels: Tensor, targets: Targets) -> PaddedBatch:
        """Lay a batch out; a GPU is waited for here, and not later."""
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
        missing = max(0, min(filled(ids.shape[1], PADDED_ROW_MULTIPLE), most) - ids.shape[1])
        ids, labels = functional.pad(ids, (0, missing)), functional.pad(labels, (0, missing), value=IGNORED)
        following = labels.flatten().roll(-1)  # an example's first token has no label
        learned = (following != IGNORED).nonzero()[:, 0]
        tokens, shares = targets.of(following[learned])
        more = -len(learned) % GPU_TOKEN_MULTIPLE
        return PaddedBatch(
            ids,
            functional.pad(learned, (0, more)),
            functional.pad(tokens, (0, 0, 0, more)),
            functional.pad(shares, (0, 0, 0, more)),
            functional.pad(torch.ones_like(learned), (0, more)),
        )

    def loss_of(self, batch: PaddedBatch) -> Tensor:
        # Every operation's number format is the weights': autocast would put copies between them.
        with torch.autocast(batch.ids.device.type, enabled=False), self.modules.in_place(), self._alone(batch.learned):
            # Told of no mask, Transformers would look whether there are several texts in a row.
            every = torch.ones_like(batch.ids)
            logits = self.model(input_ids=batch.ids, attention_mask=every, use_cache=False).logits[0]
        return Divergence.apply(logits, batch.tokens, batch.shares, batch.counts)

    @contextmanager
    def _alone(self, learned: Tensor) -> Iterator[None]:
        """The output matrix, a fifth of a small model, is multiplied only where a token is learned."""

        def only_learned(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (inputs[0].flatten(0, 1).index_select(0, learned)[None],)

        hook = self.head.register_forward_pre_hook(only_learned, prepend=True)
        try:
            yield
        finally:
            hook.remove()


class TrainedModules(StandIns):
    """The stand-ins for training. Layers that a first pass shows to have one input are one from then on, as they are for
    answering: their weights lie side by side, and are never moved again."""

    def __init__(self, model: Any) -> None:
        self.inputs = Inputs()
        super().__init__(model, ROWS)
        with torch.no_grad(), self.in_place():
            token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False)
        for group in self.inputs.several():
            together = TrainedTogether([each.layer for each in group])
            for each in group:
                each.together = together
        self.inputs.last = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def forward_of(self, module: nn.Module) -> Callable[..., Any] | None:
        return TrainedLora(module, self.inputs) if has_plain_lora(module) else super().forward_of(module)


class TrainedLora:
    """The forward of a layer with plain LoRA: [..., in] → [..., out]."""

    def __init__(self, layer: Any, inputs: Inputs) -> None:
        self.layer, self.inputs = layer, inputs
        self.together = TrainedTogether([layer])

    def __call__(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        self.inputs.note(self, x)
        return self.together.output(self.layer, x)


class TrainedTogether(Together):
    """… of a batch that is trained."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        self.shared = Shared(layers)

    def outputs_of(self, x: Tensor) -> Sequence[Tensor]:
        y = self.shared(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        # Not `split`, whose parts may not be changed in place, as OLMo does.
        return torch.unsafe_split_with_sizes(y, self.widths, dim=-1)


def rows_mask(
    *args: Any,
    kv_length: int,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **kwargs: Any,
) -> Tensor | None:
    """Transformers' mask, without a look at what fills the rows up, which no token of a text sees; none where every token sees
    all that stand before it, as PyTorch's fastest attention knows by itself."""
    if allow_is_causal_skip and (local_size is None or kv_length < local_size):
        return None
    return sdpa_mask(*args, kv_length=kv_length, local_size=local_size, allow_is_causal_skip=False, **kwargs)


AttentionInterface.register(ROWS, sdpa_attention_forward)
AttentionMaskInterface.register(ROWS, rows_mask)
