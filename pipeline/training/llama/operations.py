"""The operations of `FastLlama`, each with a gradient of its own: what several would save, cast or copy is done once."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from pipeline.models.decoding import biases, plain_matrix, side_by_side
from pipeline.models.prefixes import RowLayout, attend, rotated


def on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda


def has_plain_lora(layer: Any) -> bool:
    """Whether a layer is x Wᵀ + b + s x Aᵀ Bᵀ: not switched off, quantised, DoRA or with dropout."""
    if type(layer) is not LoraLinear or layer.disable_adapters or len(layer.active_adapters) != 1:
        return False
    return plain_matrix(layer) is not None and type(layer.lora_dropout[layer.active_adapters[0]]) is nn.Identity


class Shared:
    """LoRA layers with one input: [N, in] → [N, sum of out], the layers' outputs side by side."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.names = [(layer, layer.active_adapters[0]) for layer in layers]
        matrices = [layer.base_layer for layer in layers]
        self.weight, self.bias = side_by_side(matrices), biases(matrices)

    @property
    def ab(self) -> list[Tensor]:
        """The layers' A, and then their B."""
        a = [layer.lora_A[name].weight for layer, name in self.names]
        return a + [layer.lora_B[name].weight for layer, name in self.names]

    def __call__(self, x: Tensor) -> Tensor:
        scales = [layer.scaling[name] for layer, name in self.names]
        return LoRA.apply(x, self.weight, self.bias, scales, *self.ab)


class LoRA(Function):
    """x Wᵀ + b + s x Aᵀ Bᵀ (arXiv:2106.09685), the last for each of the layers that share x.

    Shapes: x [N, in], W [sum of out, in], b [sum of out] or None, A [r, in], B [out, r], result [N, sum of out]. What PEFT and
    autocast cast in every operation is cast once. The residual stays outside: in bf16 its size would swallow what LoRA adds.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scales: list[float], *ab: Tensor) -> Tensor:
        a = torch.cat([m.to(x.dtype) for m in ab[: len(scales)]])
        bs = [(m * s).to(x.dtype) for m, s in zip(ab[len(scales) :], scales, strict=True)]
        hidden = x @ a.t()
        y = functional.linear(x, weight, bias)
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
        return grad_x, None, None, None, *grad_a, *grad_b


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
    """x / √(mean of x² + ε) * weight (arXiv:1910.07467), in fp32 up to the weight as in Transformers; x [..., width]."""

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
    """`attend`, of which the scores are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rows: RowLayout) -> Tensor:
        attended = attend(qkv, rows)
        ctx.save_for_backward(attended.q, attended.k, attended.v, attended.shares)
        ctx.rows, ctx.count = rows, len(rows.tokens) // rows.mask.shape[1]
        return attended.result

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
        places = heads.reshape(len(rows.tokens), -1)
        heads = places[rows.slots]
        if len(rows.again):  # all examples that begin with a token pull at its key and value
            heads.index_add_(0, rows.tokens[rows.again], places[rows.again])
        return rotated(heads.view(len(heads), -1, size), rows, -1).flatten(1), None
