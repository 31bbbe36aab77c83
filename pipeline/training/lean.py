"""Training without the work that adds nothing to the update, which is more than half of a small model's step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers import LlamaForCausalLM

from pipeline.answering.decoding import is_plain_llama, plain_matrix, projections, side_by_side, turning_speeds
from pipeline.training.memory import EVEN, EVEN_ROWS, MOST_SCORES
from pipeline.training.targets import IGNORED, LinearDivergence, Targets


def is_plain(model: Any) -> bool:
    """Whether `LeanLlama` computes this model: a Llama whose projections all have one plain LoRA, switched on.

    Not in fp16, whose gradients have to be scaled, nor where activations shall be computed again to save memory.
    """
    llama = model.get_base_model()
    if type(llama) is not LlamaForCausalLM or llama.device.type not in ("cpu", "cuda"):
        return False
    if llama.is_gradient_checkpointing or llama.dtype == torch.float16:
        return False
    config, layers = llama.config, [p for layer in llama.model.layers for group in projections(layer) for p in group]
    return is_plain_llama(config) and not config.attention_dropout and all(map(has_plain_lora, layers))


def has_plain_lora(layer: Any) -> bool:
    """Whether a layer is x Wᵀ + s x Aᵀ Bᵀ: not switched off, quantised, DoRA, with a bias or with dropout."""
    if type(layer) is not LoraLinear or layer.disable_adapters or len(layer.active_adapters) != 1:
        return False
    return plain_matrix(layer) is not None and type(layer.lora_dropout[layer.active_adapters[0]]) is nn.Identity


def has_short_rows(positions: Tensor) -> bool:
    return int((positions == 0).sum()) * (int(positions.max()) + 1) ** 2 <= MOST_SCORES


class Rows(NamedTuple):
    """Where a batch's examples lie: N tokens in one row, but B rows of L places inside attention."""

    slots: Tensor
    """[N] each token's place among the B * L."""
    tokens: Tensor
    """[B * L] each place's token. In a place without one it is any: no real place sees it, and its answer is dropped."""
    mask: Tensor
    """[groups * L, L] 0 where a place sees another, else -inf, for every query head of a key head."""
    cos: Tensor
    """[N, 1, head_dim]"""
    sin: Tensor
    """[N, 1, head_dim / 2]"""
    scale: float


class LeanLlama:
    """A Llama with LoRA for training alone: the modules' own weights and the same update, in fewer operations.

    Transformers' modules are left as they are, so generation, switching the adapter off and saving it do not change.
    """

    def __init__(self, llama: LlamaForCausalLM) -> None:
        self.llama = llama
        self.layers = [(layer, [Shared(group) for group in projections(layer)]) for layer in llama.model.layers]
        self.speeds = turning_speeds(llama)

    def loss(self, ids: Tensor, positions: Tensor, following: Tensor, targets: Targets) -> Tensor:
        """A batch's summed divergence from its targets.

        Args:
            ids: [N] the tokens of all examples.
            positions: [N] each token's position in its example; an example begins at every 0.
            following: [N] the label of what follows each token.
        """
        with torch.autocast(ids.device.type, enabled=False):  # every operation's number format is chosen here
            return self._loss(ids, positions, following, targets)

    def _loss(self, ids: Tensor, positions: Tensor, following: Tensor, targets: Targets) -> Tensor:
        seen = positions.roll(-1) != 0  # an example's last token is seen by none, and nothing is learned after it
        ids, positions, following = ids[seen], positions[seen], following[seen]
        if not ids.is_cuda:
            ids, positions, following = filled_up(ids, positions, following)
        learned = (following != IGNORED).nonzero()[:, 0]
        wanted = targets.of(following[learned])  # a GPU is waited for here, while it has nothing to do
        count, learned = len(learned), functional.pad(learned, (0, -len(learned) % EVEN))
        x = self.llama.model.embed_tokens(ids)
        rows = self._rows(positions, x)
        for layer, (qkv, output, gate_up, down) in self.layers:
            attended = Attention.apply(qkv(normed(layer.input_layernorm, x)), rows)
            if layer is self.layers[-1][0]:  # from here on every token is alone, and only the learned ones count
                x, attended = x[learned], attended[learned]
            x = x + output(attended)
            x = x + down(Gated.apply(gate_up(normed(layer.post_attention_layernorm, x))))
        x = normed(self.llama.model.norm, x)[:count]
        return LinearDivergence.apply(x, self.llama.lm_head.weight, *wanted)

    def _rows(self, positions: Tensor, x: Tensor) -> Rows:
        begins, width = positions == 0, row_width(positions)
        slots = (begins.cumsum(0) - 1) * width + positions
        tokens = positions.new_zeros(int(begins.sum()) * width)
        tokens[slots] = torch.arange(len(positions), device=x.device)
        attention: Any = self.llama.model.layers[0].self_attn
        mask = torch.full((width, width), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        angles = positions[:, None, None] * self.speeds
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        groups = attention.num_key_value_groups
        return Rows(slots, tokens, mask.repeat(groups, 1), torch.cat([cos, cos], -1), sin, attention.scaling)


def row_width(positions: Tensor) -> int:
    """The places of a row: those of the longest example, filled up."""
    longest = int(positions.max()) + 1
    return longest + -longest % EVEN_ROWS


def filled_up(ids: Tensor, positions: Tensor, following: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make the number of tokens a multiple of `EVEN`, as far as there are places without one at the ends of rows.

    No token of the text sees what is added, and nothing is learned there.
    """
    lengths = (positions == 0).nonzero()[:, 0].diff(append=positions.new_tensor([len(positions)])).tolist()
    missing, width, added = -len(positions) % EVEN, row_width(positions), []
    for length in lengths:
        added.append(min(missing, width - length))
        missing -= added[-1]
    longer = [torch.arange(length + more) for length, more in zip(lengths, added, strict=True)]

    def with_ends(tensor: Tensor, value: int) -> Tensor:
        parts = zip(tensor.split(lengths), added, strict=True)
        return torch.cat([functional.pad(part, (0, more), value=value) for part, more in parts])

    return with_ends(ids, 0), torch.cat(longer), with_ends(following, IGNORED)


class Shared:
    """LoRA layers with one input: [N, in] → [N, sum of out], the layers' outputs side by side."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.names = [(layer, layer.active_adapters[0]) for layer in layers]
        self.weight = side_by_side([layer.base_layer for layer in layers])

    def __call__(self, x: Tensor) -> Tensor:
        a = [layer.lora_A[name].weight for layer, name in self.names]
        b = [layer.lora_B[name].weight for layer, name in self.names]
        return LoRA.apply(x, self.weight, [layer.scaling[name] for layer, name in self.names], *a, *b)


class LoRA(Function):
    """x Wᵀ + s x Aᵀ Bᵀ (arXiv:2106.09685), the latter for each of the layers that share x.

    Shapes: x [N, in], W [sum of out, in], A [r, in], B [out, r], result [N, sum of out]. What PEFT and autocast cast
    in every operation is cast once. The residual stays outside: in bf16 its size would swallow what LoRA adds.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: list[float], *ab: Tensor) -> Tensor:
        a = torch.cat([m.to(x.dtype) for m in ab[: len(scales)]])
        bs = [(m * s).to(x.dtype) for m, s in zip(ab[len(scales) :], scales, strict=True)]
        hidden = x @ a.t()
        y = x @ weight.t()
        for part, h, b in of_each_layer(y, hidden, bs):
            part.addmm_(h, b.t())
        ctx.save_for_backward(x, weight, hidden, a, *bs)
        ctx.scales, ctx.dtype = scales, ab[0].dtype
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, hidden, a, *bs = ctx.saved_tensors
        parts = of_each_layer(grads[0], hidden, bs)
        grad_hidden = torch.cat([grad @ b for grad, _, b in parts], dim=1)
        grad_a = (grad_hidden.t() @ x).to(ctx.dtype).split([b.shape[1] for b in bs])
        grad_b = [(grad.t() @ h).to(ctx.dtype) * s for (grad, h, _), s in zip(parts, ctx.scales, strict=True)]
        grad_x = (grads[0] @ weight).addmm_(grad_hidden, a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, *grad_a, *grad_b


def of_each_layer(y: Tensor, hidden: Tensor, bs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Each layer's columns of `y` and of `hidden`, with its B."""
    widths, ranks = zip(*(b.shape for b in bs), strict=True)
    return list(zip(y.split(widths, dim=1), hidden.split(ranks, dim=1), bs, strict=True))


class Gated(Function):
    """SiLU(gate) * up (arXiv:2002.05202) of both side by side: [N, 2 * width] → [N, width]."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        opened = functional.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gate_up, opened = ctx.saved_tensors
        result = torch.empty_like(gate_up)
        (gate, up), (grad_gate, grad_up) = gate_up.chunk(2, dim=-1), result.chunk(2, dim=-1)
        torch.mul(grads[0], opened, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grads[0] * up, gate, grad_input=grad_gate)
        return result


def normed(norm: Any, x: Tensor) -> Tensor:
    if x.is_cuda:  # there it is one kernel
        return functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)
    return RMSNorm.apply(x, norm.weight, norm.variance_epsilon)


class RMSNorm(Function):
    """x / √(mean of x² + ε) * weight (arXiv:1910.07467), in fp32 up to the weight as in Transformers; x [N, width]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        y = (x * inverse).to(x.dtype)
        ctx.save_for_backward(y, weight, inverse)
        return y * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        y, weight, inverse = ctx.saved_tensors
        grad = grads[0] * weight
        along = (grad * y).sum(-1, keepdim=True, dtype=torch.float32).div_(y.shape[-1])
        return torch.addcmul(grad.float(), y.float(), along, value=-1).mul_(inverse).to(y.dtype), None, None


class Attention(Function):
    """Causal attention of each example to itself, from what the projections gave to what the output projection takes.

    Shapes: qkv [N, (query + key + value heads) * head_dim] → [N, query heads * head_dim]. Scores are kept for the
    backward pass: on rows this short, PyTorch's flash attention takes five times longer on a CPU. The queries of all
    heads that share a key head lie in one matrix, so that keys and values are not repeated.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rows: Rows) -> Tensor:
        width, size = rows.mask.shape[1], rows.cos.shape[2]
        groups, count = len(rows.mask) // width, len(rows.tokens) // width
        heads = rotated(qkv.view(len(qkv), -1, size), rows, 1).flatten(1)[rows.tokens]
        heads = heads.view(count, width, -1, size).transpose(1, 2)
        keys = heads.shape[1] // (groups + 2)
        q, k, v = heads.split([groups * keys, keys, keys], dim=1)
        q = q.reshape(count * keys, groups * width, size)
        k, v = k.reshape(count * keys, width, size), v.reshape(count * keys, width, size)
        shares = torch.baddbmm(rows.mask, q, k.transpose(1, 2), alpha=rows.scale).softmax(-1)
        ctx.save_for_backward(q, k, v, shares)
        ctx.rows, ctx.count = rows, count
        return (shares @ v).view(count, -1, width, size).transpose(1, 2).reshape(count * width, -1)[rows.slots]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, shares = ctx.saved_tensors
        rows, width, size = ctx.rows, *k.shape[1:]
        grad = grads[0].new_zeros(len(rows.tokens), grads[0].shape[1])
        grad[rows.slots] = grads[0]
        grad = grad.view(ctx.count, width, -1, size).transpose(1, 2).reshape(q.shape)
        grad_scores = torch._softmax_backward_data(grad @ v.transpose(1, 2), shares, -1, q.dtype).mul_(rows.scale)
        parts = grad_scores @ k, grad_scores.transpose(1, 2) @ q, shares.transpose(1, 2) @ grad
        heads = torch.cat([part.view(ctx.count, -1, width, size) for part in parts], dim=1).transpose(1, 2)
        heads = heads.reshape(len(rows.tokens), -1)[rows.slots]
        return rotated(heads.view(len(heads), -1, size), rows, -1).flatten(1), None


def rotated(heads: Tensor, rows: Rows, direction: int) -> Tensor:
    """Queries and keys with the rotary embedding (arXiv:2104.09864), or turned back: [N, query + key + value heads, head_dim]."""
    groups = len(rows.mask) // rows.mask.shape[1]
    turning = slice(0, -(heads.shape[1] // (groups + 2)))
    result = heads.clone()
    low, high = heads[:, turning].chunk(2, dim=-1)
    new_low, new_high = result[:, turning].mul_(rows.cos).chunk(2, dim=-1)
    new_low.addcmul_(high, rows.sin, value=-direction)
    new_high.addcmul_(low, rows.sin, value=direction)
    return result
