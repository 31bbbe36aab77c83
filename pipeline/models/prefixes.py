"""Texts that a Llama, or a base built as one, reads in one pass, what several begin with alike only once: for training, and for
what it would have said.

What a model makes of a token depends on the tokens before it and on nothing else. Questions about one product begin alike,
and so do all that are about none: of a batch in random order a sixth need not be computed, of a sorted one a third.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.decoding import (
    Projection,
    normed,
    of_heads,
    projections,
    turning_speeds,
    turns,
    turns_heads,
    without_peft,
)

TOKEN_MULTIPLE, ROW_MULTIPLE = 32, 8
"""Multiples to which a batch is filled up, in tokens and in the length of a row. For each shape that it meets, oneDNN compiles
code and keeps it, half a megabyte of it: of every length as it comes that is 37 MB a step, until there are a thousand of
them (measured: benchmarks/RESULTS.md)."""

AT_ONCE = 32
"""Texts that `answer_logits` reads in one pass."""

MOST_SCORES, MOST_LOGITS = 2**19, 2**27
"""Attention scores of a head in one pass, and logits: rows that are longer than usual are read fewer at once."""


class Laid(NamedTuple):
    """Where the texts of a batch lie: N tokens in one row, but B rows of L places inside attention, of which several may hold
    one token."""

    ids: Tensor
    """[N]"""
    positions: Tensor
    """[N] each token's position in its text."""
    slots: Tensor
    """[N] each token's first place among the B * L."""
    tokens: Tensor
    """[B * L] each place's token. In a place without one it is any: no real place sees it, and its answer is dropped."""
    again: Tensor
    """The places whose token has an earlier place."""
    width: int
    """L"""


class RowLayout(NamedTuple):
    """A `Laid` batch as attention needs it."""

    slots: Tensor
    """As in `Laid`, like the two after it."""
    tokens: Tensor
    again: Tensor
    mask: Tensor
    """[groups * L, L] 0 where a place sees another, else -inf, for every query head of a key head; in the scores' number
    format."""
    cos: Tensor
    """[N, 1, head_dim]"""
    sin: Tensor
    """[N, 1, head_dim / 2]"""
    scale: float


def lay_out(ids: Tensor, positions: Tensor, width: int, rows: int) -> tuple[Laid, Tensor]:
    """Lay texts out with what they begin with alike there once, filled up to `TOKEN_MULTIPLE` as far as there are places.

    Args:
        ids: [T] the tokens of all texts.
        positions: [T] each token's position in its text; a text begins at every 0.
        width, rows: L and B.

    Returns:
        The batch, and which of its tokens each of the T is, [T].
    """
    owners = owners_of(ids, positions)
    first = owners == torch.arange(len(ids))
    laid, places = _placed(ids, positions, width, rows, first, (first.cumsum(0) - 1)[owners])
    free = torch.ones_like(laid.tokens).index_fill_(0, places, 0).nonzero()[: -len(laid.ids) % TOKEN_MULTIPLE, 0]
    laid.tokens[free] = torch.arange(len(laid.ids), len(laid.ids) + len(free))
    filled = laid._replace(
        ids=functional.pad(laid.ids, (0, len(free))),
        positions=torch.cat([laid.positions, free % width]),
        slots=torch.cat([laid.slots, free]),
    )
    return filled, laid.tokens[places]


def lay_out_apart(ids: Tensor, positions: Tensor, width: int, rows: int) -> tuple[Laid, Tensor]:
    """`lay_out` with every token in one place, and nothing filled up: what of a batch's size depends on no text."""
    every = torch.arange(len(ids), device=ids.device)
    laid, _ = _placed(ids, positions, width, rows, torch.ones_like(every, dtype=torch.bool), every)
    return laid, every


def _placed(
    ids: Tensor, positions: Tensor, width: int, rows: int, first: Tensor, numbers: Tensor
) -> tuple[Laid, Tensor]:
    places = ((positions == 0).cumsum(0) - 1) * width + positions
    tokens = ids.new_zeros(rows * width)
    tokens[places] = numbers
    return Laid(ids[first], positions[first], places[first], tokens, places[~first], width), places


def owners_of(ids: Tensor, positions: Tensor) -> Tensor:
    """[T] for each token the first one with the same tokens up to it, be it in another text."""
    known: dict[tuple[int, int], int] = {}
    owners: list[int] = []
    for at, (token, position) in enumerate(zip(ids.tolist(), positions.tolist(), strict=True)):
        owners.append(known.setdefault((owners[-1] if position else -1, token), at))
    return torch.tensor(owners)


def filled(length: int, multiple: int = ROW_MULTIPLE) -> int:
    return length + -length % multiple


def for_attention(llama: Any, laid: Laid, speeds: Tensor) -> RowLayout:
    """Args:
    speeds: `turning_speeds` of the model.
    """
    attention, dtype, device = llama.model.layers[0].self_attn, llama.model.embed_tokens.weight.dtype, laid.ids.device
    # Keys with a bias (Qwen2) have scores of hundreds, of which 16 bits would round away what tells them apart.
    scores = torch.float32 if attention.k_proj.bias is not None else dtype
    mask = torch.full((laid.width, laid.width), -torch.inf, dtype=scores, device=device).triu(1)
    cos, sin = turns(laid.positions, speeds, dtype)
    return RowLayout(
        laid.slots,
        laid.tokens,
        laid.again,
        mask.repeat(attention.num_key_value_groups, 1),
        torch.cat([cos, cos], -1),
        sin,
        attention.scaling,
    )


def turned_in(layer: Any, rows: RowLayout) -> RowLayout:
    """The layout for a layer's attention, which may turn nothing."""
    if turns_heads(layer):
        return rows
    return rows._replace(cos=torch.ones_like(rows.cos), sin=torch.zeros_like(rows.sin))


class Attended(NamedTuple):
    """What `attend` gives, and what its gradient needs; P is B times the key heads."""

    result: Tensor
    """[N, query heads * head_dim]"""
    q: Tensor
    """[P, groups * L, head_dim], as `k` and `v` are [P, L, head_dim]"""
    k: Tensor
    v: Tensor
    shares: Tensor
    """[P, groups * L, L] how much each place takes from another."""


def attend(qkv: Tensor, rows: RowLayout) -> Attended:
    """Causal attention of each text to itself, from what the projections gave to what the output projection takes.

    On rows this short, PyTorch's flash attention takes five times longer on a CPU. The queries of all heads that share a key
    head lie in one matrix, so that keys and values are not repeated.

    Args:
        qkv: [N, (query + key + value heads) * head_dim]
    """
    width, size = rows.mask.shape[1], rows.cos.shape[2]
    groups, count = len(rows.mask) // width, len(rows.tokens) // width
    heads = rotated(qkv.view(len(qkv), -1, size), rows, 1).flatten(1)[rows.tokens]
    heads = heads.view(count, width, -1, size).transpose(1, 2)
    keys = heads.shape[1] // (groups + 2)
    q, k, v = heads.split([groups * keys, keys, keys], dim=1)
    q = q.reshape(count * keys, groups * width, size)
    k, v = k.reshape(count * keys, width, size), v.reshape(count * keys, width, size)
    scores = (part.to(rows.mask.dtype) for part in (q, k.transpose(1, 2)))
    shares = torch.baddbmm(rows.mask, *scores, alpha=rows.scale).softmax(-1).to(q.dtype)
    result = (shares @ v).view(count, -1, width, size).transpose(1, 2).reshape(count * width, -1)[rows.slots]
    return Attended(result, q, k, v, shares)


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


@torch.no_grad()
def answer_logits(
    model: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]], adapter: str | None
) -> Iterator[tuple[int, Tensor]]:
    """What a model says before each token of answers that are there already.

    Args:
        model: one that `decodes`, on a CPU.
        prompts, answers: token ids, one list of each a text; neither is empty.
        adapter: by its PEFT name; None is the base.

    Yields:
        A text's number and its logits, [tokens of the answer, vocabulary], in any order.
    """
    llama, begins = without_peft(model), list(map(len, prompts))
    adapters, parts = ({adapter}, [(adapter, slice(0, 1))]) if adapter else (set(), [])
    layers = [
        (layer, [Projection(group, adapters, {}) for group in projections(layer)]) for layer in llama.model.layers
    ]
    speeds = turning_speeds(llama)
    texts = [prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)]
    for batch in _batches(texts, [len(answer) * llama.lm_head.out_features for answer in answers]):
        ids = torch.tensor([token for i in batch for token in texts[i]])
        positions = torch.tensor([at for i in batch for at in range(len(texts[i]))])
        width = filled(max(len(texts[i]) for i in batch))
        laid, token_of = lay_out(ids, positions, width, len(batch))
        rows = for_attention(llama, laid, speeds)
        wanted = token_of[torch.tensor([at >= begins[i] - 1 for i in batch for at in range(len(texts[i]))])]
        x = llama.model.embed_tokens(laid.ids)[None]
        for layer, (qkv, output, gate_up, down) in layers:
            heads = of_heads(layer.self_attn, qkv(normed(layer.input_layernorm, x), parts)[0], normed)
            attended = attend(heads, turned_in(layer, rows)).result[None]
            if layer is layers[-1][0]:  # from here on every token is alone
                x, attended = x[:, wanted], attended[:, wanted]
            x = x + output(attended, parts)
            gate, up = gate_up(normed(layer.post_attention_layernorm, x), parts).chunk(2, dim=-1)
            x = x + down(functional.silu(gate) * up, parts)
        logits = functional.linear(normed(llama.model.norm, x[0]), llama.lm_head.weight)
        yield from zip(batch, logits.split([len(answers[i]) for i in batch]), strict=True)


def _batches(texts: Sequence[list[int]], logits: Sequence[int]) -> Iterator[list[int]]:
    """The texts' numbers, those that begin alike side by side, as many at once as fit.

    Args:
        logits: that are wanted of each.
    """
    batch: list[int] = []
    for i in sorted(range(len(texts)), key=lambda i: texts[i]):
        more = [*batch, i]
        scores = len(more) * max(len(texts[j]) for j in more) ** 2
        if batch and (len(batch) == AT_ONCE or scores > MOST_SCORES or sum(logits[j] for j in more) > MOST_LOGITS):
            yield batch
            more = [i]
        batch = more
    if batch:
        yield batch
