"""The fast step of a Llama, or a base that is built as one, with LoRA: without the work that adds nothing to the update, which is
more than half of a small model's step."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.decoding import is_llama, of_heads, projections, turning_speeds
from pipeline.models.family import IGNORED
from pipeline.models.prefixes import (
    ROW_MULTIPLE,
    TOKEN_MULTIPLE,
    RowLayout,
    filled,
    for_attention,
    lay_out,
    lay_out_apart,
    turned_in,
)
from pipeline.training.distillation import LinearDivergence, Targets
from pipeline.training.graphs import Graphs
from pipeline.training.llama.operations import Attention, Gated, Shared, has_plain_lora, normed, on_gpu
from pipeline.training.plan.ways import GPU_ROW_MULTIPLE, GPU_TOKEN_MULTIPLE, has_short_rows


def covers(model: Any) -> bool:
    """Whether `FastLlama` computes this model, as `ways.covers_settings` foresees: a Llama whose projections all have one
    plain LoRA, switched on.

    Not in fp16, whose gradients have to be scaled, nor where activations shall be computed again to save memory.
    """
    llama = model.get_base_model()
    if not is_llama(llama) or llama.device.type not in ("cpu", "cuda"):
        return False
    # Asked in every step: `is_gradient_checkpointing` would look at all modules, a twentieth of an 8B's step.
    if any(layer.gradient_checkpointing for layer in llama.model.layers) or llama.dtype == torch.float16:
        return False
    layers = [p for layer in llama.model.layers for group in projections(layer) for p in group]
    return all(map(has_plain_lora, layers))


def rows_are_short(positions: Tensor) -> bool:
    rows, longest = int((positions == 0).sum()), int(positions.max()) + 1
    return has_short_rows(rows, longest, gpu=on_gpu(positions))


class Batch(NamedTuple):
    """What a loss is computed from; filled up, so that there are few shapes."""

    ids: Tensor
    """[N] the tokens of all examples; what several begin with is there once."""
    rows: RowLayout
    learned: Tensor
    """[M] the tokens after which something is learned; one of them more than once where examples part."""
    tokens: Tensor
    """[M, k] what should follow them, as from `Targets.of`."""
    shares: Tensor
    """[M, k]"""
    counts: Tensor
    """[M] 1, or 0 for what was filled up."""


class FastLlama:
    """A Llama with LoRA for training alone: the modules' own weights and the same update, in fewer operations.

    Transformers' modules are left as they are, so generation, switching the adapter off and saving it do not change.
    """

    def __init__(self, llama: Any) -> None:
        self.llama = llama
        self.layers = [(layer, [Shared(group) for group in projections(layer)]) for layer in llama.model.layers]
        self.speeds = turning_speeds(llama)
        self.graphs = Graphs(self)

    @property
    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [weight for _, groups in self.layers for group in groups for weight in group.ab]

    def loss(self, ids: Tensor, positions: Tensor, following: Tensor, targets: Targets) -> Tensor:
        """A batch's summed divergence from its targets.

        Args:
            ids: [N] the tokens of all examples.
            positions: [N] each token's position in its example; an example begins at every 0.
            following: [N] the label of what follows each token.
        """
        batch = self.batch(ids, positions, following, targets)
        return self.graphs.loss(batch) if ids.is_cuda else self.loss_of(batch)

    def batch(self, ids: Tensor, positions: Tensor, following: Tensor, targets: Targets) -> Batch:
        """Lay a batch out; a GPU is waited for here, and not later."""
        seen = positions.roll(-1) != 0  # an example's last token is seen by none, and nothing is learned after it
        ids, positions, following = ids[seen], positions[seen], following[seen]
        width, count = row_width(positions), int((positions == 0).sum())
        if on_gpu(ids):
            ids, positions, following = with_more_rows(ids, positions, following, width)
            laid, token_of = lay_out_apart(ids, positions, width, count + math.ceil(GPU_TOKEN_MULTIPLE / width))
        else:
            laid, token_of = lay_out(ids, positions, width, count)
        learns = following != IGNORED
        learned, (tokens, shares) = token_of[learns], targets.of(following[learns])
        missing = -len(learned) % (GPU_TOKEN_MULTIPLE if on_gpu(ids) else TOKEN_MULTIPLE)
        return Batch(
            laid.ids,
            for_attention(self.llama, laid, self.speeds),
            functional.pad(learned, (0, missing)),
            functional.pad(tokens, (0, 0, 0, missing)),
            functional.pad(shares, (0, 0, 0, missing)),
            functional.pad(torch.ones_like(learned), (0, missing)),
        )

    def loss_of(self, batch: Batch) -> Tensor:
        with torch.autocast(batch.ids.device.type, enabled=False):  # every operation's number format is chosen here
            x = self.llama.model.embed_tokens(batch.ids)
            for layer, (qkv, output, gate_up, down) in self.layers:
                heads = of_heads(layer.self_attn, qkv(normed(layer.input_layernorm, x)), normed)
                attended = Attention.apply(heads, turned_in(layer, batch.rows))
                if layer is self.layers[-1][0]:  # from here on every token is alone, and only the learned ones count
                    x, attended = x.index_select(0, batch.learned), attended.index_select(0, batch.learned)
                x = x + output(attended)
                x = x + down(Gated.apply(gate_up(normed(layer.post_attention_layernorm, x))))
            x = normed(self.llama.model.norm, x)
            return LinearDivergence.apply(x, self.llama.lm_head.weight, batch.tokens, batch.shares, batch.counts)


def row_width(positions: Tensor) -> int:
    """The places of a row: those of the longest example, filled up."""
    return filled(int(positions.max()) + 1, GPU_ROW_MULTIPLE if on_gpu(positions) else ROW_MULTIPLE)


def with_more_rows(ids: Tensor, positions: Tensor, following: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make the number of tokens a multiple of `GPU_TOKEN_MULTIPLE`, by rows of up to `width` tokens that teach nothing."""
    missing = -len(ids) % GPU_TOKEN_MULTIPLE
    added = torch.arange(missing, device=ids.device) % width
    return (
        functional.pad(ids, (0, missing)),
        torch.cat([positions, added]),
        functional.pad(following, (0, missing), value=IGNORED),
    )
