"""Decoding a Llama, or a base that is built as one, with LoRA: a batch of questions, each answered by the base or by one of the
adapters.

Transformers' own loop is for every model there is: of a small one's time it spends more between the operations than in
them, it computes ended answers to the end of the longest, and a batch of both sides has every adapter's layers called
for all rows. Here rows of one adapter lie side by side and a row of the base is touched by none. On a GPU a step is one
CUDA graph: its thousand small operations take less time than their launch from Python.
"""

import platform
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from peft import PeftModel, PeftType
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from torch.nn import functional
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pipeline.models import pages
from pipeline.models.batch import Batch
from pipeline.models.config import is_plain_llama

ENDED = 1 / 4
"""The share of answers that have ended from which the others go on in a smaller batch: making it copies their keys and values."""

TOP_K = 50
"""What is drawn is one of this many likeliest tokens: as in Transformers, where a model says nothing else."""

OnStep = Callable[[list[list[int]]], Collection[int]]
"""Told every answer's tokens after each step; says which answers, by their places, nobody wants any more."""


def decodes(model: Any) -> bool:
    """Whether `decode` computes this model: a Llama of plain matrices, with plain LoRA on its projections and nowhere else."""
    llama = without_peft(model)
    if not is_llama(llama):
        return False
    ours = [p for layer in llama.model.layers for group in projections(layer) for p in group]
    adapted = [m for m in model.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    return (
        all(map(plain_matrix, ours))
        and {id(m) for m in adapted} <= {id(p) for p in ours}  # a tuned output matrix would answer for the base too
        and all(config.peft_type == PeftType.LORA for config in getattr(model, "peft_config", {}).values())
    )


def is_llama(model: Any) -> bool:
    """Whether a model is what Transformers makes of a configuration that `is_plain_llama`."""
    usual = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), None)
    return type(model) is usual and is_plain_llama(model.config.to_dict())


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[list[int]],
    by: Sequence[str | None],
    *,
    max_new_tokens: int,
    ends: Collection[int],
    temperature: float = 0.0,
    on_step: OnStep = lambda _: (),
    batch: Callable[[Any, Sequence[list[int]], Sequence[str | None], int], Batch] | None = None,
) -> list[list[int]]:
    """Answer encoded prompts in one batch.

    Args:
        model: one that `decodes`, or that the batch computes.
        prompts: token ids, one list a prompt.
        by: the adapter that answers each prompt, by its PEFT name; None is the base.
        max_new_tokens: the most tokens an answer may have.
        ends: tokens that end an answer; they are its last.
        temperature: 0 is greedy; above that, tokens are drawn from the `TOP_K` likeliest.
        on_step: told all answers so far after each token; those that it names get no more of them.
        batch: what computes the rows; None is `DecodingBatch`.

    Returns:
        The tokens of each answer.

    Raises:
        ValueError: an adapter is named that the model of a `DecodingBatch` does not have.
    """
    order = sorted(range(len(prompts)), key=lambda i: by[i] or "")  # so that an adapter's rows lie side by side
    rows = (batch or DecodingBatch)(model, [prompts[i] for i in order], [by[i] for i in order], max_new_tokens)
    said: list[list[int]] = [[] for _ in prompts]
    logits, going = rows.read(rows.prompts), set(order)
    for left in range(max_new_tokens, 0, -1):
        tokens = _picked(logits, temperature)
        for i, token in zip(order, tokens.tolist(), strict=True):
            if i in going:
                said[i].append(token)
                if token in ends:
                    going.remove(i)
        is_last = not going or left == 1
        if is_last or not tokens.is_cuda:
            going.difference_update(on_step(said))
        if is_last or not going:
            break
        if len(going) <= (1 - ENDED) * len(order) and not rows.captured:
            places = [at for at, i in enumerate(order) if i in going]
            order, tokens = [order[at] for at in places], tokens[places]
            rows.keep(places)
        logits = rows.read(tokens[:, None])
        if tokens.is_cuda:  # which computes that while these tokens are told
            going.difference_update(on_step(said))
    return said


def _picked(logits: Tensor, temperature: float) -> Tensor:
    if not temperature:
        return logits.argmax(-1)
    likeliest, tokens = logits.float().topk(min(TOP_K, logits.shape[-1]))
    return tokens.gather(1, torch.multinomial((likeliest / temperature).softmax(-1), 1))[:, 0]


def turning_speeds(llama: Any) -> Tensor:
    """[head_dim / 2] the angle from one position to the next, in radians (arXiv:2104.09864), in fp32 on the model's device.

    Worked out from the settings: whoever patches Transformers keeps something else in the model's buffer.
    """
    config, size = llama.config, llama.model.layers[0].self_attn.head_dim
    rope = config.rope_parameters
    if rope["rope_type"] == "default":
        speeds = 1.0 / (rope["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float) / size))
    else:
        speeds = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))[0]
    return speeds.to(llama.device)


def turns(positions: Tensor, speeds: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles that positions [...] have turned by, both [..., 1, head_dim / 2]: alike for all heads."""
    angles = positions[..., None, None] * speeds
    return angles.cos().to(dtype), angles.sin().to(dtype)


def projections(layer: Any) -> tuple[tuple[Any, ...], ...]:
    """A decoder layer's matrices; those that have one input stand together."""
    a, m = layer.self_attn, layer.mlp
    return (a.q_proj, a.k_proj, a.v_proj), (a.o_proj,), (m.gate_proj, m.up_proj), (m.down_proj,)


def plain_matrix(layer: Any) -> nn.Linear | None:
    """A projection's own matrix; None where it is more than x Wᵀ + b + s x Aᵀ Bᵀ: quantised, merged, DoRA."""
    if type(layer) is LoraLinear:
        if layer.merged or layer.lora_variant or any(b.bias is not None for b in layer.lora_B.values()):
            return None
        layer = layer.base_layer
    return layer if type(layer) is nn.Linear else None


def are_side_by_side(matrices: Sequence[nn.Linear]) -> bool:
    """Whether the weights of some layers are parts of one tensor, one after another."""
    weights = [matrix.weight.data for matrix in matrices]
    begins = [(w.untyped_storage().data_ptr(), w.data_ptr()) for w in weights]
    ends = [(storage, place + w.nbytes) for (storage, place), w in zip(begins, weights, strict=True)]
    return begins[1:] == ends[:-1] and all(w.is_contiguous() for w in weights)


def side_by_side(matrices: Sequence[nn.Linear]) -> Tensor:
    """The weights of layers with one input as one tensor, [sum of out, in], which the layers' own become parts of."""
    weights = [matrix.weight.data for matrix in matrices]
    if are_side_by_side(matrices):
        return weights[0].as_strided((sum(map(len, weights)), weights[0].shape[1]), weights[0].stride())
    whole = torch.cat(weights)
    for matrix, part in zip(matrices, whole.split([len(w) for w in weights]), strict=True):
        matrix.weight.data = part  # so that it is not there twice
    pages.give_back(weights)
    return whole


def biases(matrices: Sequence[nn.Linear]) -> Tensor | None:
    """What layers with one input add to their outputs, [sum of out]; None where none of them adds anything (in Qwen2 some do)."""
    own = [matrix.bias for matrix in matrices]
    if all(bias is None for bias in own):
        return None
    weights = [matrix.weight for matrix in matrices]
    return torch.cat([w.new_zeros(len(w)) if b is None else b.data for w, b in zip(weights, own, strict=True)])


def of_heads(attention: Any, qkv: Tensor, norm: Callable[[Any, Tensor], Tensor]) -> Tensor:
    """What a layer's attention takes, out of what its projections gave: in Qwen3 each head's query and key are normed.

    Args:
        qkv: [..., (query + key + value heads) * head_dim]
        norm: a norm and what it is to be applied to → the outcome.
    """
    if not hasattr(attention, "q_norm"):
        return qkv
    heads, groups = qkv.unflatten(-1, (-1, attention.head_dim)), attention.num_key_value_groups
    keys = heads.shape[-2] // (groups + 2)
    q, k, v = heads.split([groups * keys, keys, keys], dim=-2)
    return torch.cat([norm(attention.q_norm, q), norm(attention.k_norm, k), v], dim=-2).flatten(-2)


def turns_heads(layer: Any) -> bool:
    """Whether a layer's queries and keys are turned by their positions: in SmolLM3 every fourth layer's are not."""
    return bool(getattr(layer.self_attn, "use_rope", True))


def prepack(model: Any) -> None:
    """Lay a model's matrices out a second time, as oneDNN reads them fastest, for the steps of `decode`: of a small batch's
    time most goes into reading them. Where PyTorch has no such product for the model's number format here, nothing is done.

    Args:
        model: one that `decodes`, and that stays as it is but for its adapters.
    """
    llama = without_peft(model)
    if llama.device.type != "cpu" or not has_prepacked(llama.dtype):
        return
    groups = [group for layer in llama.model.layers for group in projections(layer)]
    joined = [side_by_side([matrix for layer in group if (matrix := plain_matrix(layer))]) for group in groups]
    weights = [*joined, llama.lm_head.weight.data]
    llama.prepacked = {w.data_ptr(): torch.ops.mkldnn._reorder_linear_weight(w, 1) for w in weights}


def has_prepacked(dtype: torch.dtype) -> bool:
    """Whether PyTorch's own name for such products is there: it is what its compiler uses, and not promised to stay. Where a
    processor computes in bf16 it is, and in fp32 on x86."""
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    if dtype == torch.float32:
        return platform.machine() in ("x86_64", "AMD64")
    return dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


FEW_ROWS = 4
"""From so many rows on the prepacked product is faster in fp32, too; of one row it would be a tenth slower (measured)."""


def product(x: Tensor, weight: Tensor, prepacked: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, with the prepacked W where there is one and x is a token of each row: [B, T, in] → [B, T, out]."""
    if prepacked is None or x.shape[1] > 1 or (x.dtype == torch.float32 and len(x) < FEW_ROWS):
        return functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, prepacked, bias, "none", [], "")


class Lora(NamedTuple):
    """What an adapter adds to the output of layers that have one input: x A B (arXiv:2106.09685)."""

    a: Tensor
    """[in, sum of r]"""
    b: Tensor
    """[sum of r, sum of out], times the scales; 0 where one layer's A would meet another's B."""


class Projection:
    """Layers with one input as one: x Wᵀ + b for all rows of a batch, x A B for those of an adapter."""

    def __init__(self, layers: Sequence[Any], adapters: Collection[str], prepacked: dict[int, Tensor]) -> None:
        matrices = [matrix for layer in layers if (matrix := plain_matrix(layer))]
        before = matrices[0].weight.data_ptr()
        self.weight, self.bias = side_by_side(matrices), biases(matrices)
        self.is_joined_anew = self.weight.data_ptr() != before
        self.prepacked = prepacked.get(self.weight.data_ptr())
        self.loras = {name: lora for name in adapters if (lora := self._lora(layers, name))}

    def _lora(self, layers: Sequence[Any], name: str) -> Lora | None:
        own = [layer if name in getattr(layer, "lora_A", ()) else None for layer in layers]
        if not any(own):
            return None
        a = [layer.lora_A[name].weight for layer in own if layer]
        b = [
            layer.lora_B[name].weight * layer.scaling[name] if layer else a[0].new_zeros(whole.out_features, 0)
            for layer, whole in zip(own, layers, strict=True)
        ]
        return Lora(*(m.t().to(self.weight.dtype).contiguous() for m in (torch.cat(a), torch.block_diag(*b))))

    def __call__(self, x: Tensor, parts: Sequence[tuple[str, slice]]) -> Tensor:
        """[B, T, in] → [B, T, sum of out]; `parts` are the adapters and their rows."""
        y = product(x, self.weight, self.prepacked, self.bias)
        for name, rows in parts:
            if lora := self.loras.get(name):
                y[rows].flatten(0, 1).addmm_(x[rows].flatten(0, 1) @ lora.a, lora.b)
        return y


def give_back_memory(projections: Iterable[Projection]) -> None:
    """Let other processes have the GPU's memory that weights had before they were joined."""
    if any([one.is_joined_anew and one.weight.is_cuda for one in projections]):
        torch.cuda.empty_cache()


class DecodingBatch(Batch):
    """A batch of a model that `decodes`, with keys and values of its own."""

    def __init__(self, model: Any, prompts: Sequence[list[int]], by: Sequence[str | None], room: int) -> None:
        adapters = {name for name in by if name}
        if missing := adapters - set(getattr(model, "peft_config", ())):
            raise ValueError(f"There is no adapter {sorted(missing)} in this model.")
        self.llama, self.by = llama, by = without_peft(model), list(by)
        weight = llama.lm_head.weight
        super().__init__(prompts, room, weight.device)
        self.prepacked: dict[int, Tensor] = getattr(llama, "prepacked", {})
        self.layers = [
            (layer, [Projection(group, adapters, self.prepacked) for group in projections(layer)])
            for layer in llama.model.layers
        ]
        give_back_memory(projection for _, groups in self.layers for projection in groups)
        self.parts = _parts(by)
        attention = llama.model.layers[0].self_attn
        self.size, self.group, self.scale = attention.head_dim, attention.num_key_value_groups, attention.scaling
        self.keys = llama.config.num_key_value_heads
        self.speeds = turning_speeds(llama)
        hidden = torch.arange(self.places, device=weight.device) < self.first
        self.bias = torch.zeros(hidden.shape, dtype=weight.dtype, device=weight.device).masked_fill_(hidden, -torch.inf)
        # Zeros: a step that sees all places gives those to come no weight, but nothing times NaN is NaN.
        shape = (2, len(prompts), self.keys, self.places, self.size)
        self.cache = [weight.new_zeros(shape) for _ in self.layers]

    def keep(self, going: Sequence[int]) -> None:
        chosen = torch.tensor(going, device=self.first.device)
        self.by = [self.by[at] for at in going]
        self.parts = _parts(self.by)
        self.first, self.bias = self.first[chosen], self.bias[chosen]
        for at, kept in enumerate(self.cache):  # one after another: all of them twice would be much
            self.cache[at] = kept.index_select(1, chosen)

    def pass_over(self, ids: Tensor, begin: int) -> Tensor:
        steps = ids.shape[1]
        end = begin + steps
        mask = self.bias[:, None, None, :end]
        if steps > 1:  # a place that holds nothing may see itself, else its shares would be 0 / 0
            causal = torch.full((steps, steps), -torch.inf, dtype=mask.dtype, device=mask.device).triu(1)
            mask = (mask + causal).masked_fill_(torch.eye(steps, dtype=torch.bool, device=mask.device), 0)
        return self.logits(ids, torch.arange(begin, end, device=ids.device), mask)

    def step(self, ids: Tensor, place: Tensor) -> Tensor:
        to_come = torch.arange(self.places, device=place.device) > place
        return self.logits(ids, place, self.bias.masked_fill(to_come, -torch.inf)[:, None, None])

    def logits(self, ids: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """What follows the last of some tokens.

        Args:
            ids: [B, T]
            places: [T] where their keys and values go.
            mask: [B, 1, 1 or T, seen] 0 where a place is seen, else -inf.

        Returns:
            [B, vocabulary]
        """
        model = self.llama.model
        x = model.embed_tokens(ids)
        cos, sin = turns((places - self.first).clamp(min=0), self.speeds, x.dtype)
        turn = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
        still = torch.ones_like(turn[0]), torch.zeros_like(turn[1])
        for (layer, (qkv, output, gate_up, down)), cache in zip(self.layers, self.cache, strict=True):
            heads = of_heads(layer.self_attn, qkv(normed(layer.input_layernorm, x), self.parts), normed)
            turned = turn if turns_heads(layer) else still
            x = x + output(self._attended(heads, cache, turned, mask, places), self.parts)
            gate, up = gate_up(normed(layer.post_attention_layernorm, x), self.parts).chunk(2, dim=-1)
            x = x + down(functional.silu(gate) * up, self.parts)
        weight = self.llama.lm_head.weight
        last = normed(model.norm, x[:, -1:].contiguous())
        return product(last, weight, self.prepacked.get(weight.data_ptr()))[:, 0]

    def _attended(
        self, qkv: Tensor, cache: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, places: Tensor
    ) -> Tensor:
        """[B, T, (query + key + value heads) * head_dim] → [B, T, query heads * head_dim]."""
        count, steps = qkv.shape[:2]
        heads = qkv.view(count, steps, -1, self.size)
        queries, keys = self.group * self.keys, self.keys
        turned, cos, sin = heads[:, :, : queries + keys], *turn
        turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin)
        cache[0].index_copy_(2, places, turned[:, :, queries:].transpose(1, 2))
        cache[1].index_copy_(2, places, heads[:, :, queries + keys :].transpose(1, 2))
        q, (k, v) = turned[:, :, :queries].transpose(1, 2), cache[:, :, :, : mask.shape[-1]]
        if steps == 1:  # queries that share a key head as one matrix: in bf16 on a CPU five times faster
            q = q.view(count, keys, self.group, self.size)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=steps > 1)
        return seen.transpose(1, 2).flatten(2) if steps > 1 else seen.flatten(1)[:, None]


def _parts(by: Sequence[str | None]) -> list[tuple[str, slice]]:
    """The adapters and their rows, which lie side by side."""
    begins = {name: by.index(name) for name in by if name}
    return [(name, slice(begin, begin + by.count(name))) for name, begin in begins.items()]


def without_peft(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def normed(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)
