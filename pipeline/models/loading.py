"""Loading a base by its name: its weights in the number format that this machine computes in, or in 4 bits."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from pipeline.errors import ModelError
from pipeline.files import read_json
from pipeline.models.bases import SAFELY, check_layers, check_memory, checksum, find_base
from pipeline.models.bases import SEQ2SEQ as ENCODER_DECODERS
from pipeline.models.chat import chat_of, check_format
from pipeline.models.config import base_shape
from pipeline.models.family import Generative, family_of
from pipeline.models.gpu import has_gpu, in_4_bits, is_in_4bit, is_quantised, loads_in_4bit, on_unsloth, unpack_weights
from pipeline.models.language_model import LanguageModel, device, dtype_for
from pipeline.prompts import CHAT, PLAIN, ask_in


def load_base(
    name: str,
    *,
    load_in_4bit: bool = False,
    precision: str = "auto",
    max_length: int = 512,
    prompt_format: str = PLAIN,
    unpack: bool | None = None,
) -> LanguageModel:
    """Load a base model, without an adapter.

    Args:
        name: `EMBEDDED`, a Hugging Face Hub id, or a local folder.
        load_in_4bit: quantise the weights to 4 bits (on a GPU only).
        precision: `auto`, `bf16`, `fp16` or `fp32`.
        max_length: the longest sequence that will be used, in tokens (Unsloth sizes its buffers by it).
        prompt_format: how it is asked: `plain`, or `chat`, in the base's own template.
        unpack: keep weights that are in 4 bits in 16, with the same values: several times faster, and three times as large.
            Where it is not said, the memory that is free decides.

    Raises:
        ModelError: no such model, no way to reach it, or no room for it.
        SettingsError: it shall be asked in a chat template and has none.
    """
    folder = find_base(name)
    try:
        config = read_json(folder / "config.json")
        check_layers(name, folder, config)
        check_kind(name, config)
        family, quantised = family_of(config), is_quantised(config)
        asked = load_in_4bit and family.in_4_bits
        four_bit = is_in_4bit(quantised=quantised, asked=asked, gpu=has_gpu())
        dtype = family.dtype(dtype_for(precision))
        shape = base_shape(str(folder))
        check_memory(name, folder, shape and shape.weight_bytes(dtype.itemsize, four_bit=four_bit), dtype.itemsize)
        model, tokenizer = _load_weights(name, folder, family, four_bit, dtype, max_length)
        if loads_in_4bit(gpu=has_gpu()):
            unpack_weights(model, dtype, certainly=unpack)
    except ModelError:
        raise
    except Exception as error:  # safetensors, Transformers and torch each raise their own for a broken model
        if "out of memory" in str(error).lower():
            raise ModelError(f"{name} does not fit into the memory there is; choose a smaller base model.") from error
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(f"{name} could not be loaded as a language model ({reason}); choose another.") from error
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
        tokenizer.pad_token = tokenizer.eos_token  # which is masked wherever it fills up
    chat = chat_of(folder)
    check_format(name, prompt_format)
    ask_in(tokenizer, chat if prompt_format == CHAT else None)
    return LanguageModel(model, tokenizer, name, checksum(folder), chat=chat)


def check_kind(name: str, config: dict[str, Any]) -> None:
    """Refuse a base with an encoder that is no T5: how its answers begin and end is another thing in each.

    Raises:
        ModelError: it is one.
    """
    kind = config.get("model_type")
    if config.get("is_encoder_decoder") and kind not in ENCODER_DECODERS:
        raise ModelError(
            f"{name} reads in an encoder and answers in a decoder, and of such bases T5s alone are trained here (it is "
            f"{str(kind)[:40]!r}); choose a T5, as google/flan-t5-base, or another language model."
        )


def _load_tokenizer(name: str, folder: Path) -> Any:
    """A base's tokenizer.

    Raises:
        ModelError: neither it nor the model names a token that ends an answer; without one no answer would ever end.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.eos_token_id is None and (end := _named_end(folder)) is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {name} names no end token (eos_token), so its answers would never end; "
            "name one in its tokenizer_config.json, or choose another base model."
        )
    return tokenizer


def _named_end(folder: Path) -> int | None:
    """The end token that a base's own files name beside its tokenizer: the first of those that its answers end with."""
    for name in ("generation_config.json", "config.json"):
        with suppress(OSError, ValueError, AttributeError):
            ends = read_json(folder / name).get("eos_token_id")
            first = ends[0] if isinstance(ends, list) and ends else ends
            if type(first) is int:
                return first
    return None


def _load_weights(
    name: str, folder: Path, family: Generative, four_bit: bool, dtype: torch.dtype, max_length: int
) -> tuple[Any, Any]:
    tokenizer = _load_tokenizer(name, folder)  # before the weights, which take longer
    if on_unsloth():
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports]

        model, own = FastLanguageModel.from_pretrained(
            str(folder), max_seq_length=max_length, load_in_4bit=four_bit, dtype=dtype
        )
        own.eos_token = tokenizer.eos_token
        return model, own
    how = in_4_bits(folder, dtype) if four_bit and device() == "cuda" else {}
    model: Any = family.load(folder, dtype=dtype, **how, **SAFELY)
    # The last hidden states come with strides that make PyTorch copy the whole output matrix once a sequence (half of
    # the time of decoding 16 at once); as a fresh tensor they are multiplied in one go.
    model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0].clone(memory_format=torch.contiguous_format),)
    )
    return (model if getattr(model, "is_loaded_in_4bit", False) else model.to(device())).eval(), tokenizer
