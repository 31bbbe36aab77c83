"""A batch's pass through any causal model in fewer operations than Transformers' and PEFT's own modules take.

A step of one token takes a GPU as long as its thousand operations one after another, however small they are. Three kinds of
modules compute the same in fewer: attention repeats no keys and values, what an adapter adds is summed up by its last product
and for its rows alone, where layers with one input are one, and an RMS norm is one operation. They stand in for the model's own
during a pass, and never after it. Nothing then looks at values, as some bases do at how long a text is, so that a GPU can repeat
the pass.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners import lora
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.pytorch_utils import Conv1D

from pipeline.models.config import LOOKING
from pipeline.models.decoding import Projection, are_side_by_side, give_back_memory, plain_matrix

GROUPED = "sdpa_grouped"
"""The attention below, by the name that a model's settings know it by."""


class StandIns:
    """What stands in for a model's own modules during a pass, made ready once.

    A module that has a forward of its own already (as accelerate gives it) is left alone.

    Args:
        model: a Transformers model.
        attention: the way it attends meanwhile, by the name that its settings know that by.
    """

    def __init__(self, model: Any, attention: str) -> None:
        config = model.config.get_text_config()
        self.config = config if model._supports_attention_backend else None  # others look at its name themselves
        self.attention = attention
        self.forwards: list[tuple[nn.Module, Callable[..., Any]]] = []
        for module in model.modules():
            if "forward" not in vars(module) and (forward := self.forward_of(module)):
                self.forwards.append((module, forward))
        self.ropes = [module for module in model.modules() if looks_at_length(module)]

    def forward_of(self, module: nn.Module) -> Callable[..., Any] | None:
        """What computes a module's part; None where it does so itself."""
        return fixed_rope(module) or fused_norm(module)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Run the block, a pass, with these in place of the model's own."""
        config = self.config
        attention = config._attn_implementation if config else ""
        try:
            for module in self.ropes:
                turn_as_short_texts(module)
            for module, forward in self.forwards:
                vars(module)["forward"] = forward
            if config:
                config._attn_implementation = {"": self.attention}  # of this one alone, not of those inside it
            yield
        finally:
            if config:
                config._attn_implementation = {"": attention}
            for module, _ in self.forwards:
                vars(module).pop("forward", None)


class FusedModules(StandIns):
    """The stand-ins for answering.

    Args:
        model: in evaluation mode; its adapters are switched as the batch needs them.
        by: the adapter that answers each row, None for the base; the adapter's rows lie side by side.

    Attributes:
        rows: those of the adapter.
        others: layers with LoRA that compute as ever, for all rows.
    """

    def __init__(self, model: Any, by: Sequence[str | None]) -> None:
        self.rows, self.inputs = TunedRows(by), Inputs()
        super().__init__(model, GROUPED)
        fused = {id(module) for module, _ in self.forwards}
        self.others = [m for m in model.modules() if isinstance(m, LoraLayer) and id(m) not in fused]

    def forward_of(self, module: nn.Module) -> Callable[..., Any] | None:
        if is_plain_lora(module):
            return FusedLora(module, self.rows, self.inputs)
        return super().forward_of(module)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        try:
            with super().in_place():
                yield
            joined = [Joined(group, self.rows) for group in self.inputs.several()]
            give_back_memory(one.projection for one in joined)
        finally:
            self.inputs.last = None


class TunedRows:
    """The rows of a batch that the adapter answers, which lie side by side; every layer of a batch looks at the same."""

    def __init__(self, by: Sequence[str | None]) -> None:
        self.places = [at for at, who in enumerate(by) if who]
        self.count = len(by)
        if self.places and self.places != list(range(self.places[0], self.places[-1] + 1)):
            raise ValueError(f"An adapter's rows must lie side by side in a batch, not at {self.places}.")

    def keep(self, going: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self.places = [at for at, old in enumerate(going) if old in self.places]
        self.count = len(going)

    def tokens(self, count: int) -> slice:
        """Where their tokens are in a pass of so many, one row's after another's."""
        each = count // self.count
        return slice(self.places[0] * each, (self.places[-1] + 1) * each) if self.places else slice(0)


class Inputs:
    """Which layers have one input: the first pass shows it, as they are called with it one after another.

    Attributes:
        last: what the last layer was called with.
        groups: layers by their inputs; None once the pass is over.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None
        self.groups: list[list[Any]] | None = []

    def note(self, layer: Any, x: Tensor) -> None:
        """
        Args:
            layer: what stands in for a `layer`.
        """
        if self.groups is None:
            return
        if x is self.last:
            self.groups[-1].append(layer)
        else:
            self.groups.append([layer])
        self.last = x

    def several(self) -> list[list[Any]]:
        """After the first pass: several layers each with one input, which may be one from now on, for they are plain."""
        groups, self.groups = self.groups or [], None
        return [g for g in groups if len(g) > 1 and can_be_joined([plain_matrix(each.layer) for each in g])]


def can_be_joined(matrices: Sequence[nn.Linear | None]) -> bool:
    """Whether layers with one input may be computed as one: plain ones, whose weights are joined already or nobody else's part.

    Another adapter may sit on more or fewer of them: joining them anew for each would keep the weights twice.
    """
    plain = [matrix for matrix in matrices if matrix and not has_hooks(matrix)]
    weights = [matrix.weight for matrix in plain]
    return len(plain) == len(matrices) and (
        are_side_by_side(plain) or all(w.untyped_storage().nbytes() == w.nbytes for w in weights)
    )


def has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


class Together(ABC):
    """Layers with one input as one: the first that is called computes for all. Their weights become parts of one tensor."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = layers
        self.widths = [layer.out_features for layer in layers]
        self.x: Tensor | None = None
        self.outputs: dict[Any, Tensor] = {}

    @abstractmethod
    def outputs_of(self, x: Tensor) -> Sequence[Tensor]:
        """[..., in] → [..., out] of each layer."""

    def output(self, layer: Any, x: Tensor) -> Tensor:
        """[..., in] → [..., out of the layer]"""
        if x is not self.x:
            self.x, self.outputs = x, dict(zip(self.layers, self.outputs_of(x), strict=True))
        output = self.outputs.pop(layer)
        if not self.outputs:
            self.x = None
        return output


class Joined(Together):
    """… of a batch that is answered."""

    def __init__(self, layers: Sequence["FusedLora"], rows: TunedRows) -> None:
        super().__init__([each.layer for each in layers])
        self.rows = rows
        for each in layers:
            each.joined = self
        self.adapter = layers[0].adapter
        self.projection = Projection(self.layers, {self.adapter} if rows.places else (), {})

    def takes(self, x: Tensor) -> bool:
        return x.dim() == 3 and len(x) == self.rows.count and x.dtype == self.projection.weight.dtype

    def outputs_of(self, x: Tensor) -> Sequence[Tensor]:
        places = self.rows.places
        parts = [(self.adapter, slice(places[0], places[-1] + 1))] if places else []
        return self.projection(x, parts).split(self.widths, dim=-1)


def is_plain_lora(layer: Any) -> bool:
    """Whether a linear layer computes W x + s B A x now, W as it is or in 4 bits."""
    if not isinstance(layer, LoraLayer) or layer.disable_adapters or layer.merged:
        return False
    if type(layer) not in (lora.Linear, getattr(lora, "Linear4bit", None)):  # which is there where bitsandbytes is
        return False
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    return len(active) == 1 and active[0] not in layer.lora_variant and layer.lora_B[active[0]].bias is None


class FusedLora:
    """The forward of a linear layer with plain LoRA (arXiv:2106.09685), for a batch of which the adapter answers some rows."""

    def __init__(self, layer: Any, rows: TunedRows, inputs: Inputs) -> None:
        self.layer, self.rows, self.inputs = layer, rows, inputs
        self.joined: Joined | None = None
        self.adapter = next(name for name in layer.active_adapters if name in layer.lora_A)
        # What these return is in memory of its own, and so is bitsandbytes'; of others nobody knows.
        self.is_new = type(layer.base_layer) in (nn.Linear, Conv1D) or type(layer) is not lora.Linear
        self.a = self.b = torch.empty(0)  # [in, r] and [r, out], times the scale, as soon as the number format is known

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[B, T, in] → [B, T, out]; some layers see all rows' tokens as one row: [B * T, in] → [B * T, out]."""
        self.inputs.note(self, x)
        if self.joined and self.joined.takes(x):
            return self.joined.output(self.layer, x)
        y = self.layer.base_layer(x, *args, **kwargs)
        if not self.rows.places:
            return y
        if not self.is_new or not y.is_contiguous():
            y = y.clone(memory_format=torch.contiguous_format)
        if not len(self.a) or self.a.dtype != y.dtype:
            self._make(y.dtype)
        inputs, outputs = x.to(y.dtype).reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        tuned = self.rows.tokens(len(outputs))
        outputs[tuned].addmm_(inputs[tuned] @ self.a, self.b)
        return y

    def _make(self, dtype: torch.dtype) -> None:
        a, b = self.layer.lora_A[self.adapter].weight, self.layer.lora_B[self.adapter].weight
        self.a = a.detach().to(dtype).t()
        self.b = (b.detach() * self.layer.scaling[self.adapter]).to(dtype).t().contiguous()


def looks_at_length(module: nn.Module) -> bool:
    """Whether this turns positions, and looks at how long the text is (arXiv:2402.13753)."""
    return vars(module).get("rope_type") in LOOKING and hasattr(module, "original_inv_freq")


def fixed_rope(module: nn.Module) -> Callable[..., Any] | None:
    """The forward of what turns the positions of short texts, without its look at how long they are."""
    if not looks_at_length(module):
        return None
    own = inspect.unwrap(type(module).forward)  # of what looks, and of what wants no gradients
    return torch.no_grad()(partial(own, module))


def turn_as_short_texts(module: Any) -> None:
    """Bring back what a longer text may have changed, as Transformers does itself before a short one."""
    module.original_inv_freq = module.original_inv_freq.to(module.inv_freq.device)
    module.register_buffer("inv_freq", module.original_inv_freq, persistent=False)
    module.max_seq_len_cached = module.original_max_seq_len


SHIFTS: dict[type[nn.Module], float | None] = {}
"""What a class of RMS norms adds to its weight, once it has been tried; None is for what is no RMS norm."""


def fused_norm(norm: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward of an RMS norm (arXiv:1910.07467) as one operation; None where the module is something else.

    In bf16 it rounds once, and not also before the weight is multiplied; but Gemma's 1 + weight is rounded too.
    """
    eps = vars(norm).get("variance_epsilon", vars(norm).get("eps"))
    if not isinstance(eps, float) or [*norm.children(), *norm.buffers()]:
        return None
    own = dict(norm.named_parameters())
    if list(own) != ["weight"] or own["weight"].dim() != 1:
        return None
    if type(norm) not in SHIFTS:
        SHIFTS[type(norm)] = _shift(norm, len(own["weight"]), eps)
    shift = SHIFTS[type(norm)]
    if shift is None:
        return None
    weight = own["weight"].detach() + shift if shift else own["weight"].detach()

    def forward(x: Tensor) -> Tensor:
        if x.dtype != weight.dtype:  # for which there is no single operation
            return type(norm).forward(norm, x)
        return functional.rms_norm(x, weight.shape, weight, eps)

    return forward


def _shift(norm: nn.Module, size: int, eps: float) -> float | None:
    """Found by a trial: 0 where the weight is multiplied as it is, 1 where it is what is added to 1 (Gemma)."""
    if len(inspect.signature(norm.forward).parameters) != 1:
        return None
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(size, generator=random)
    # Some so small that `eps` has a say, and none with a mean of 0.
    x = (torch.randn(3, size, generator=random) + 1) * torch.tensor([[1e-3], [1.0], [1e3]])
    try:
        found = functional_call(norm, {"weight": weight}, (x,))
        shifts = [s for s in (0.0, 1.0) if _is_close(found, functional.rms_norm(x, (size,), weight + s, eps))]
    except Exception:  # whatever it says: it wants something else than an RMS norm does
        return None
    return next(iter(shifts), None)


def _is_close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=2e-6, atol=1e-6)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention by PyTorch; of one token's queries those that share a key head are computed as one matrix.

    Args:
        query: [B, H, T, D]
        key: [B, key heads, L, D], as `value`.
        attention_mask: [B, 1, T, L]

    Returns:
        [B, T, H, D], and no weights.
    """
    batch, heads, length, size = query.shape
    keys = key.shape[1]
    is_alike = attention_mask is None or (attention_mask.dim() == 4 and attention_mask.shape[1:3] == (1, 1))
    if length > 1 or heads == keys or heads % keys or position_bias is not None or not is_alike:
        own = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, "position_bias": position_bias}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **own, **kwargs)
    queries = query.reshape(batch, keys, heads // keys, size)
    seen = functional.scaled_dot_product_attention(
        queries, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
    )
    return seen.reshape(batch, 1, heads, value.shape[-1]), None


def grouped_mask(*args: Any, q_length: int, dtype: torch.dtype, **kwargs: Any) -> Tensor | None:
    """Transformers' mask; of one token as numbers to add, which PyTorch would else make of it in every layer."""
    mask = sdpa_mask(*args, q_length=q_length, dtype=dtype, **kwargs)
    if mask is None or q_length > 1:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, grouped_mask)
