"""A merged Llama → one GGUF file for llama.cpp and Ollama.

The file holds the same numbers as the model's own files, in the same number format, so that it answers as they do. What
goes into it follows llama.cpp's `convert_hf_to_gguf.py`, which no package on PyPI carries that its authors publish.
Smaller formats are a step further: `llama-quantize` makes them of this file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.files import read_json
from pipeline.prompts import chat_template

ARCHITECTURES = ("LlamaForCausalLM",)

_LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def check_architecture(folder: Path) -> None:
    """Refuse a base of which no GGUF file can be written here.

    Args:
        folder: the base model's.

    Raises:
        ModelError: it is no plain Llama, or its tokenizer is none that is known here.
    """
    from transformers import AutoTokenizer

    config = read_json(folder / "config.json")
    found = (config.get("architectures") or ["unknown"])[0]
    if found not in ARCHITECTURES:
        raise ModelError(
            f"A GGUF file can be made of a Llama and this base is {found}; publish the merged model instead."
        )
    if (kind := _rope(config).get("rope_type", "default")) != "default":
        raise ModelError(
            f"A GGUF file cannot be made of a base with {kind!r} scaling of positions; publish the merged model instead."
        )
    pre_tokenizer(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are turned, as newer files say it or older ones do."""
    older = {"rope_theta": config.get("rope_theta", 10_000.0), **(config.get("rope_scaling") or {})}
    return config.get("rope_parameters") or older


def pre_tokenizer(tokenizer: Any) -> str:
    """llama.cpp's name for the way in which a tokenizer splits a text before its merges.

    Raises:
        ModelError: it is none of those that are known here, so llama.cpp would read other tokens than were trained.
    """
    said = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {"model": {}}
    outer = said.get("pre_tokenizer") or {}
    steps = [_step(step) for step in outer.get("pretokenizers", [outer])]
    plain = said["model"].get("type") == "BPE" and not (said.get("normalizer") or {}).get(
        "normalizers", said.get("normalizer")
    )
    known = {
        ("bytes after its regex",): "gpt-2",
        ("digits", "bytes after its regex"): "smollm",
        (_LLAMA_3, "bytes"): "llama-bpe",
    }
    name = known.get(tuple(steps)) if plain else None
    if name is None:
        raise ModelError(
            "A GGUF file cannot be made of a base with such a tokenizer; publish the merged model instead, which "
            "llama.cpp's own converter may know."
        )
    return name


def _step(step: dict[str, Any]) -> str:
    if step.get("type") == "ByteLevel" and not step["add_prefix_space"]:
        return "bytes after its regex" if step["use_regex"] else "bytes"
    if step.get("type") == "Digits" and step["individual_digits"]:
        return "digits"
    if step.get("type") == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return step["pattern"].get("Regex", "")
    return ""


def write_gguf(model: Path, path: Path, name: str) -> None:
    """Write a GGUF file of a model's folder, one tensor after another.

    Args:
        model: safetensors of a Llama that is not quantised, with its tokenizer.
        path: the file, which must not exist.
        name: what the file says that it is.

    Raises:
        ModelError: the tokenizer is none that is known here.
    """
    import gguf
    from transformers import AutoTokenizer

    config, tokenizer = read_json(model / "config.json"), AutoTokenizer.from_pretrained(model)
    writer = gguf.GGUFWriter(path, "llama")
    _add_numbers(writer, config, name)
    _add_tokenizer(writer, tokenizer, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for weight, tensor in _tensors(model, config):
        data, kind = _bytes_of(tensor)
        stored = names.get_name(weight, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise ModelError(f"A GGUF file has no place for {weight} of this base; publish the merged model instead.")
        writer.add_tensor_info(stored, data.shape, data.dtype, data.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in _tensors(model, config):
        writer.write_tensor_data(_bytes_of(tensor)[0])
    writer.close()


def _add_numbers(writer: Any, config: dict[str, Any], name: str) -> None:
    import gguf

    heads, kinds = config["num_attention_heads"], gguf.LlamaFileType
    width = config.get("head_dim") or config["hidden_size"] // heads
    formats = {"float32": kinds.ALL_F32, "float16": kinds.MOSTLY_F16, "bfloat16": kinds.MOSTLY_BF16}
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(formats[config["dtype"]])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(_rope(config).get("rope_theta", 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:
    """The vocabulary with the merges, and what ends an answer: the token that training taught."""
    import gguf

    added = tokenizer.added_tokens_decoder
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    kinds = {n: gguf.TokenType.CONTROL if t.special else gguf.TokenType.USER_DEFINED for n, t in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(tokenizer))
    writer.add_token_list([by_id.get(n, f"[PAD{n}]") for n in range(size)])
    unused = gguf.TokenType.UNUSED
    writer.add_token_types([kinds.get(n, gguf.TokenType.NORMAL if n in by_id else unused) for n in range(size)])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    specials = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id}
    specials |= {"unk": writer.add_unk_token_id, "pad": writer.add_pad_token_id}
    for name, add in specials.items():
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            add(number)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(chat_template(tokenizer))


def _tensors(model: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The weights by their names, with the two rows of each turned pair beside each other, as llama.cpp has them."""
    from safetensors import safe_open

    heads = config["num_attention_heads"]
    turned = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no mapping)
                tensor = opened.get_tensor(name)
                if groups := turned.get(name.split(".")[-2]):
                    halves = tensor.reshape(groups, 2, tensor.shape[0] // groups // 2, *tensor.shape[1:])
                    tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
                yield name, tensor.contiguous()


def _bytes_of(tensor: Any) -> tuple[Any, Any]:
    """A tensor for the file, with its kind where NumPy has none of it; norms are always 32 bits wide."""
    import gguf
    import torch

    if tensor.ndim == 1:
        return tensor.float().numpy(), None
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint8).numpy(), gguf.GGMLQuantizationType.BF16
    return tensor.numpy(), None
