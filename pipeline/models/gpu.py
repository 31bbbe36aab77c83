"""What an NVIDIA GPU adds where its libraries are installed: weights in 4 bits (bitsandbytes' NF4), and Unsloth's layers.

Torch is imported where a GPU has to be asked, so the page may ask what a run will do on one that it knows by other means.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.files import read_json
from pipeline.machine import on_zero_gpu

FOUR_BITS = 0.5 + 1 / 64 + 1 / 4096
"""Bytes a weight in NF4: a byte for the scale of 64 weights, and 4 bytes for that of 256 scales."""

QUANTISED = "quantization_config"
"""What `config.json` says of weights that are quantised."""


def has_gpu() -> bool:
    """Whether this process has a GPU of its own: ZeroGPU has none to show when models are loaded."""
    import torch

    return not on_zero_gpu() and torch.cuda.is_available()


def has_unsloth(*, gpu: bool) -> bool:
    """Whether there is Unsloth for what the fast Llama step does not cover, of the families that it has layers for."""
    return gpu and find_spec("unsloth") is not None


def on_unsloth() -> bool:
    """Whether models of this process run on Unsloth: it was imported, which the training process does at its beginning. It
    takes half a minute to import, and answers no faster."""
    return "unsloth" in sys.modules


def loads_in_4bit(*, gpu: bool) -> bool:
    """Whether weights can be loaded in 4 bits."""
    return gpu and find_spec("bitsandbytes") is not None


def is_quantised(config: dict[str, Any]) -> bool:
    """Whether the files beside a `config.json` hold the weights in 4 bits already."""
    return QUANTISED in config


def is_in_4bit(*, quantised: bool, asked: bool, gpu: bool) -> bool:
    """Whether a base's matrices are in 4 bits once they are loaded.

    Args:
        quantised: whether they are so in its files.
        asked: whether the settings ask for it (`load_in_4bit`).
    """
    return quantised or (asked and loads_in_4bit(gpu=gpu))


def in_4_bits(folder: Path, dtype: Any) -> dict[str, Any]:
    """How Transformers loads a base in 4 bits: at once onto the GPU; as Unsloth quantises it, where its files are not so yet."""
    if is_quantised(read_json(folder / "config.json")):
        return {"device_map": {"": 0}}
    from transformers import BitsAndBytesConfig

    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
    return {"device_map": {"": 0}, "quantization_config": BitsAndBytesConfig(load_in_4bit=True, **nf4)}


def forget_capture() -> None:
    """After a CUDA graph that could not be captured: the state of the GPU's random numbers still believes in the capture
    (torch 2.11), and refuses every dropout from then on, so it gets a new one."""
    import torch

    if not torch.cuda.is_initialized():
        return
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    fresh = torch.Generator(device="cuda").manual_seed(generator.initial_seed())
    generator.graphsafe_set_state(fresh.graphsafe_get_state())


def unpack_weights(model: Any, dtype: Any, *, certainly: bool | None = None) -> None:
    """Put matrices of the same values in the place of those in 4 bits.

    Args:
        dtype: torch's number format of the new ones.
        certainly: where it is None, only if what they take is at most half of the GPU's memory that is free: others need
            some too.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit  # pyright: ignore[reportMissingImports]
    from bitsandbytes.nn import Linear4bit  # pyright: ignore[reportMissingImports]

    packed = [(m, name, c) for m in model.modules() for name, c in m.named_children() if type(c) is Linear4bit]
    needed = sum(child.in_features * child.out_features for _, _, child in packed) * dtype.itemsize
    if not packed or not (needed <= torch.cuda.mem_get_info()[0] / 2 if certainly is None else certainly):
        return
    for module, name, child in packed:
        plain = torch.nn.Linear(child.in_features, child.out_features, child.bias is not None, device="meta")
        weight = dequantize_4bit(child.weight.data, child.weight.quant_state).to(dtype)
        plain.weight, plain.bias = torch.nn.Parameter(weight, requires_grad=False), child.bias
        setattr(module, name, plain)
    model.is_loaded_in_4bit = False
    torch.cuda.empty_cache()
