"""The operations of `FastLlama`, each with a gradient of its own: what several would save, cast or copy is done once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from pipeline.models.decoding import side_by_side


def on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda


class RowLayout(NamedTuple):
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


class Shared:
    """LoRA layers with one input: [N, in] → [N, sum of out], the layers' outputs side by side."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.names = [(layer, layer.active_adapters[0]) for layer in layers]
        self.weight = side_by_side([layer.base_layer for layer in layers])

    @property
    def ab(self) -> list[Tensor]:
        """The layers' A, and then their B."""
        a = [layer.lora_A[name].weight for layer, name in self.names]
        return a + [layer.lora_B[name].weight for layer, name in self.names]

    def __call__(self, x: Tensor) -> Tensor:
        return LoRA.apply(x, self.weight, [layer.scaling[name] for layer, name in self.names], *self.ab)


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
    if on_gpu(x):  # there it is one kernel
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
    def forward(ctx: Any, qkv: Tensor, rows: RowLayout) -> Tensor:
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


def rotated(heads: Tensor, rows: RowLayout, direction: int) -> Tensor:
    """Queries and keys with the rotary embedding (arXiv:2104.09864), or turned back: [N, query + key + value heads, head_dim]."""
    groups = len(rows.mask) // rows.mask.shape[1]
    turning = slice(0, -(heads.shape[1] // (groups + 2)))
    result = heads.clone()
    low, high = heads[:, turning].chunk(2, dim=-1)
    new_low, new_high = result[:, turning].mul_(rows.cos).chunk(2, dim=-1)
    new_low.addcmul_(high, rows.sin, value=-direction)
    new_high.addcmul_(low, rows.sin, value=direction)
    return result
