"""Tiny random models of the families that people choose as a base: the architecture of each, a few numbers wide."""

from pathlib import Path
from typing import Any

TINY = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "long_factor": [1.0, 2.0],
    "short_factor": [1.0, 1.5],
    "original_max_position_embeddings": 128,
    "partial_rotary_factor": 1.0,
}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
WINDOW = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
PICTURES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
PICTURES |= {"image_size": 32, "patch_size": 16}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-3.2": ("llama", {"rope_parameters": LLAMA_3, "tie_word_embeddings": True}),
    "mistral": ("mistral", {}),
    "mistral-0.3": ("mistral", {"sliding_window": None}),
    "qwen2.5": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 4}),
    "qwen3-moe": ("qwen3_moe", {"head_dim": 4, **EXPERTS}),
    "qwen3.5": ("qwen3_5_text", {"head_dim": 4, **LINEAR}),
    "gemma-2": ("gemma2", {"head_dim": 4, **WINDOW}),
    "gemma-3": ("gemma3_text", {"head_dim": 4, **WINDOW}),
    "gemma-3-4b": ("gemma3", {"text_config": {"head_dim": 4, **WINDOW}, "vision_config": PICTURES}),
    "phi-3": ("phi3", {}),
    "phi-4-mini": (
        "phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 128, "tie_word_embeddings": True},
    ),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "olmo": ("olmo", {"clip_qkv": 0.5}),
    "olmo-2": ("olmo2", {}),
    "granite-4": (
        "granitemoehybrid",
        {"layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 24, **MAMBA},
    ),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "gpt-oss": ("gpt_oss", {"head_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2, **WINDOW}),
    "falcon-h1": ("falcon_h1", {"mamba_d_ssm": 32, **MAMBA}),
    "gpt-neox": ("gpt_neox", {}),
}
"""Each by the type that Transformers knows it by, and what it has besides `TINY`."""

BUILT_AS_LLAMAS = ("llama", "llama-3.2", "mistral-0.3", "qwen2.5", "qwen3", "smollm3")
"""Those that this project's own decoding and training steps compute."""


def build_family(name: str, seed: int = 0, **changes: Any) -> Any:
    """A random model of a family, in fp32 on the CPU."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, own = FAMILIES[name]
    torch.manual_seed(seed)
    text = TINY | own.get("text_config", own) | changes
    several = "text_config" in own
    config = AutoConfig.for_model(kind, **own | {"text_config": text} if several else text)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def outspoken(model: Any) -> Any:
    """The same model with weights so far apart that every layer has a say, its norms and biases too."""
    import torch

    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3) if "norm" in name else weight.normal_(0, 0.3)
    return model


def save_family(name: str, folder: Path, tokenizer_of: Path, **changes: Any) -> Path:
    """A random model of a family as a base's folder, with the tokenizer of another one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    outspoken(build_family(name, vocab_size=len(tokenizer), **ids, **changes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
