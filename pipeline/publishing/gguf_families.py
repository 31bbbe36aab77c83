"""The families of models that a GGUF file can be made of: what llama.cpp calls their numbers, and how it lays their weights.

The rules are those of llama.cpp's own converter (its folder `conversion`), which no package on PyPI carries that its authors
publish.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

INSTEAD = "publish the merged model instead."

LOCAL_THETA = 10_000.0
"""What llama.cpp turns the positions of Gemma 3's layers by that see a window alone."""


@dataclass(frozen=True)
class Family:
    """How llama.cpp has a family.

    Attributes:
        name: llama.cpp's.
        scalings: of positions, which it knows for it.
        turns_pairs: whether the two rows of each turned pair lie beside each other.
        norm_offset: what a norm's weights are stored above Transformers'.
        has_head: whether there may be an output matrix of its own.
    """

    name: str
    scalings: tuple[str, ...] = ("default", "linear")
    turns_pairs: bool = False
    norm_offset: float = 0.0
    has_head: bool = True


LLAMA = Family("llama", ("default", "linear", "llama3"), turns_pairs=True)
GEMMA_2, GEMMA_3 = (Family(name, norm_offset=1.0, has_head=False) for name in ("gemma2", "gemma3"))
PHI_3 = Family("phi3", ("default", "longrope"))

FAMILIES = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": Family("qwen2"),
    "Qwen3ForCausalLM": Family("qwen3"),
    "Gemma2ForCausalLM": GEMMA_2,
    "Gemma3ForCausalLM": GEMMA_3,
    "Phi3ForCausalLM": PHI_3,
}

WHOLE_HEADS = {46: "Gemma 2 27B", 62: "Gemma 3 27B"}
"""Gemmas, by their layers, whose attention llama.cpp scales by the width over the heads and not by a head's width."""


def family_of(config: dict[str, Any]) -> Family:
    """The family of a base, by its `config.json`.

    Raises:
        ModelError: it is of none, or has something that llama.cpp does not know of it.
    """
    found = (config.get("architectures") or ["unknown"])[0]
    family = FAMILIES.get(found)
    if family is None:
        known = ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES)
        raise ModelError(f"A GGUF file can be made of {known}, and this base is {found}; {INSTEAD}")
    if (kind := rope_of(config).get("rope_type", "default")) not in family.scalings:
        raise ModelError(f"A GGUF file cannot be made of a base with {kind!r} scaling of positions; {INSTEAD}")
    if family in (GEMMA_2, GEMMA_3):
        _check_gemma(config)
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise ModelError(f"A GGUF file cannot be made of a base with such biases; {INSTEAD}")
    return family


def _check_gemma(config: dict[str, Any]) -> None:
    by_width = config["num_hidden_layers"] in WHOLE_HEADS
    scale = config["hidden_size"] // config["num_attention_heads"] if by_width else config["head_dim"]
    local = (config.get("rope_parameters") or {}).get("sliding_attention", {}).get("rope_theta", LOCAL_THETA)
    if config.get("query_pre_attn_scalar", scale) != scale or local != LOCAL_THETA:
        raise ModelError(f"A GGUF file cannot be made of a Gemma whose attention is scaled so; {INSTEAD}")


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are turned, as newer files say it or older ones do; of Gemma 3 in the layers that see everything."""
    older = {"rope_theta": config.get("rope_theta", 10_000.0), **(config.get("rope_scaling") or {})}
    told = config.get("rope_parameters") or older
    return told.get("full_attention", told)


def head_width(config: dict[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def turned_width(config: dict[str, Any]) -> int:
    """How many numbers of each head are turned."""
    share = rope_of(config).get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    return int(share * head_width(config))


def add_numbers(writer: Any, config: dict[str, Any], family: Family) -> None:
    """The numbers of a model, by llama.cpp's names."""
    import gguf

    heads, width, rope = config["num_attention_heads"], head_width(config), rope_of(config)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(turned_width(config))
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if family == GEMMA_2:
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if family in (GEMMA_2, GEMMA_3):
        writer.add_sliding_window(config["sliding_window"])
    if family == PHI_3:
        whole, first = config["max_position_embeddings"], _first_context(config)
        writer.add_sliding_window(config.get("sliding_window") or 0)
        writer.add_rope_scaling_orig_ctx_len(first)
        if rope.get("rope_type") == "longrope":
            more = math.log(whole / first) / math.log(first) if whole > first else 0.0
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + more))


def _first_context(config: dict[str, Any]) -> int:
    told = rope_of(config).get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    return told or config["max_position_embeddings"]


def tensors(model: Path, config: dict[str, Any], family: Family) -> Iterator[tuple[str, Any]]:
    """The weights by Transformers' names, as llama.cpp has them."""
    from safetensors import safe_open

    heads = config["num_attention_heads"]
    groups = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads} if family.turns_pairs else {}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no mapping)
                if name == "lm_head.weight" and not family.has_head:
                    continue
                tensor = opened.get_tensor(name)
                if count := groups.get(name.split(".")[-2]):
                    halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, *tensor.shape[1:])
                    tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
                if family.norm_offset and name.endswith("norm.weight"):
                    tensor = tensor.float() + family.norm_offset
                yield name, tensor.contiguous()


def position_factors(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What scaled positions are divided by, one number for each turned pair, by llama.cpp's names of the tensors."""
    import torch

    rope = rope_of(config)
    if rope.get("rope_type") == "longrope":
        for length in ("long", "short"):
            yield f"rope_factors_{length}.weight", torch.tensor(rope[f"{length}_factor"], dtype=torch.float32)
    if rope.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama_3_factors(rope, turned_width(config))


def _llama_3_factors(rope: dict[str, Any], width: int) -> Any:
    """Of Llama 3.1: slow turns are slowed by the factor, quick ones not, and those between in proportion."""
    import torch

    turns = 1.0 / (rope["rope_theta"] ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    lengths = rope["original_max_position_embeddings"] * turns / (2 * math.pi)
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    between = ((lengths - low) / (high - low)).clamp(0, 1)
    return 1 / ((1 - between) / factor + between)
