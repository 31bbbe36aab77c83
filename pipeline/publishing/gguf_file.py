"""A merged model → one GGUF file for llama.cpp and Ollama.

The file holds the same numbers as the model's own files, in the same number format, so that it answers as they do; or on request
in 8 bits (Q8_0), half as large.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.files import read_json
from pipeline.publishing.gguf_families import INSTEAD, Family, add_numbers, family_of, position_factors, tensors
from pipeline.publishing.gguf_vocabulary import add_vocabulary, way_of

BLOCK = 32
"""Numbers of Q8_0 that share a scale: a matrix whose rows are no whole number of blocks keeps its format."""


def check_architecture(folder: Path) -> None:
    """Refuse a base of which no GGUF file can be written here.

    Args:
        folder: the base model's.

    Raises:
        ModelError: its family or its tokenizer is none that is known here.
    """
    from transformers import AutoTokenizer

    family_of(read_json(folder / "config.json"))
    way_of(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def write_gguf(model: Path, path: Path, name: str, *, in_8_bits: bool = False) -> None:
    """Write a GGUF file of a model's folder, one tensor after another.

    Args:
        model: safetensors of a model that is not quantised, with its tokenizer.
        path: the file, which must not exist.
        name: what the file says that it is.

    Raises:
        ModelError: its family or its tokenizer is none that is known here.
    """
    import gguf
    from transformers import AutoTokenizer

    config, tokenizer = read_json(model / "config.json"), AutoTokenizer.from_pretrained(model)
    family, kinds = family_of(config), gguf.LlamaFileType
    writer = gguf.GGUFWriter(path, family.name)
    formats = {"float32": kinds.ALL_F32, "float16": kinds.MOSTLY_F16, "bfloat16": kinds.MOSTLY_BF16}
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(kinds.MOSTLY_Q8_0 if in_8_bits else formats[config["dtype"]])
    add_numbers(writer, config, family)
    add_vocabulary(writer, tokenizer, config["vocab_size"])
    for stored, tensor in _stored(model, config, family):
        data, kind = _bytes_of(tensor, in_8_bits=in_8_bits)
        writer.add_tensor_info(stored, data.shape, data.dtype, data.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in _stored(model, config, family):
        writer.write_tensor_data(_bytes_of(tensor, in_8_bits=in_8_bits)[0])
    writer.close()


def _stored(model: Path, config: dict[str, Any], family: Family) -> Iterator[tuple[str, Any]]:
    """The tensors by llama.cpp's names."""
    import gguf

    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family.name)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    yield from position_factors(config)
    for weight, tensor in tensors(model, config, family):
        stored = names.get_name(weight, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise ModelError(f"A GGUF file has no place for {weight} of this base; {INSTEAD}")
        yield stored, tensor


def _bytes_of(tensor: Any, *, in_8_bits: bool) -> tuple[Any, Any]:
    """A tensor for the file, with its kind where NumPy has none of it; norms and biases are always 32 bits wide."""
    import gguf
    import torch

    if tensor.ndim == 1:
        return tensor.float().numpy(), None
    if in_8_bits and tensor.shape[-1] % BLOCK == 0:
        return gguf.quants.quantize(
            tensor.float().numpy(), gguf.GGMLQuantizationType.Q8_0
        ), gguf.GGMLQuantizationType.Q8_0
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint8).numpy(), gguf.GGMLQuantizationType.BF16
    return tensor.numpy(), None
