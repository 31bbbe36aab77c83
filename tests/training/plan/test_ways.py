"""What the plan foresees from settings is what the trainer finds in the model: else a run is silently many times slower."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pipeline.models.config import base_shape, is_plain_llama
from pipeline.models.decoding import decodes
from pipeline.models.loading import load_base
from pipeline.runs.settings import ALL_LINEAR
from pipeline.training.llama.step import covers
from pipeline.training.lora import add_lora
from pipeline.training.plan.ways import covers_settings
from tests.families import BUILT_AS_LLAMAS, build_family
from tests.tiny import tiny_settings

YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0}
LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LLAMA_3 |= {"rope_type": "llama3", "factor": 8.0, "rope_theta": 500000.0}
WINDOWS = ["sliding_attention", "full_attention"]
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 300,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"lora_variant": "rslora"}, True),
        ({"lora_variant": "pissa"}, True),
        ({"lora_variant": "dora"}, False),
        ({"lora_dropout": 0.1}, False),
        ({"loraplus_lr_ratio": 4.0}, True),
        ({"packing": True}, True),
        ({"precision": "fp16"}, True),  # which a CPU computes in another format
        ({"precision": "auto"}, True),
        ({"load_in_4bit": True}, True),  # which a CPU does not do
        ({"gradient_checkpointing": True}, False),
        ({"target_modules": ("q_proj", "v_proj")}, False),
        ({"target_modules": ALL_LINEAR[::-1]}, True),
    ],
    ids=str,
)
def test_settings(changes: dict[str, Any], expected: bool, tiny_base: Path, tmp_path: Path) -> None:
    settings = tiny_settings(tiny_base, **changes)
    shape = base_shape(str(tiny_base))
    assert shape and covers_settings(shape, settings, gpu=False) == expected
    model = load_base(str(tiny_base), load_in_4bit=settings.load_in_4bit, precision=settings.precision)
    add_lora(model, settings, tmp_path)
    if settings.gradient_checkpointing:  # which Trainer switches on when it begins
        model.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert covers(model.model) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"rope_parameters": LLAMA_3}, True),
        ({"rope_parameters": YARN}, False),
        ({"tie_word_embeddings": True}, True),
        ({"num_key_value_heads": 2}, True),
        ({"head_dim": 16}, True),
        ({"attention_bias": True}, True),
        ({"mlp_bias": True}, True),
        ({"hidden_act": "gelu"}, False),
        ({"attention_dropout": 0.1}, False),
    ],
    ids=str,
)
def test_bases(changes: dict[str, Any], expected: bool, tiny_base: Path, tmp_path: Path) -> None:
    check_base(LlamaForCausalLM(LlamaConfig(**SMALL | changes)), expected, tiny_base, tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        *((name, {}, True) for name in BUILT_AS_LLAMAS),
        ("mistral", {}, False),  # it has a window where nothing is said
        ("qwen3", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}, False),
        ("smollm3", {"sliding_window": 8, "use_sliding_window": True, "layer_types": WINDOWS}, False),
        ("qwen3", {"attention_bias": True}, True),
        ("qwen2.5", {"rope_parameters": YARN}, False),
        ("phi-3", {}, False),
        ("olmo-2", {}, False),
        ("gemma-3", {}, False),
    ],
    ids=str,
)
def test_families(family: str, changes: dict[str, Any], expected: bool, tiny_base: Path, tmp_path: Path) -> None:
    check_base(build_family(family, **changes), expected, tiny_base, tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 131072}, True),
        ({"model_type": "mistral", "sliding_window": None}, True),
        ({"model_type": "mistral", "sliding_window": 4096}, False),
        ({"model_type": "mistral"}, False),
        ({"model_type": "llama", "sliding_window": 4096}, True),  # which no Llama looks at
        ({"model_type": "smollm3", "use_sliding_window": False, "sliding_window": None}, True),
        ({"model_type": "smollm3", "sliding_window": 8, "layer_types": WINDOWS}, False),
        (
            {"model_type": "mistral", "use_sliding_window": False, "sliding_window": 4096},
            False,
        ),  # which it does not read
        ({"model_type": "qwen3", "rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, False),
        ({"model_type": "qwen3", "quantization_config": {"quant_method": "awq"}}, False),
        ({"model_type": "qwen3", "quantization_config": {"quant_method": "bitsandbytes"}}, True),
    ],
    ids=str,
)
def test_what_published_files_may_say(config: dict[str, Any], expected: bool) -> None:
    assert is_plain_llama(config) == expected


def check_base(base: Any, expected: bool, tiny_base: Path, tmp_path: Path) -> None:
    """The files, the loaded model and the planned run say the same of a base."""
    base.save_pretrained(tmp_path / "base")
    shape = base_shape(str(tmp_path / "base"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    settings = tiny_settings(tmp_path / "base")
    assert shape and shape.llama == is_plain_llama(model.config.to_dict()) == decodes(model) == expected
    assert covers_settings(shape, settings, gpu=False) == expected
    language_model = load_base(str(tiny_base))
    language_model.model = model
    add_lora(language_model, settings, tmp_path)
    assert covers(language_model.model) == expected
