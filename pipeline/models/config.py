"""The shape of a base model, read from its `config.json` where it lies on this machine; nothing is loaded for it."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.files import PROJECT, home, parse_json, read_json, write_json
from pipeline.models.bases import SEQ2SEQ, local_folder, typed_base, weight_files
from pipeline.models.gpu import FOUR_BITS, QUANTISED, is_quantised
from pipeline.models.offered import offered

LIKE_A_LLAMA = frozenset(
    {
        "llama",
        "mistral",
        "ministral3",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "smollm3",
        "olmo2",
        "granite",
    }
)
"""Families that have a Llama's seven kinds of linear layers; their sizes stand in `config.json`. Others are built to be seen."""

LAYERS_SECONDS = 120
"""The longest that a process may take to say what layers a base has; on a busy machine importing torch takes half of it."""

BUILT_AS_LLAMAS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Families that this project's own decoding and training steps compute: Mistral's are Llamas, in Qwen2 what attention takes has a
bias, in Qwen3 each head's query and key are normed, and in SmolLM3 some layers know of no positions."""

LOOKING = ("dynamic", "longrope")
"""Ways to turn positions that look at how long the text is: long ones are turned otherwise than short ones."""

REPEATS = LIKE_A_LLAMA | {"phi3"}
"""Families whose steps a GPU can repeat (`models/static_cache.py`); of others it is seen when they are built."""

UNSLOTH_HAS = frozenset({"llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3"})
"""Families that Unsloth has layers of its own for. Of others it compiles Transformers' as they are first called, which takes
minutes, and gives back what this project's loss does not expect (Phi-3)."""

BITSANDBYTES = "bitsandbytes"
"""The way of quantising whose weights are unpacked where there is room; what is quantised otherwise (AWQ, FP8, GPTQ) stays so."""

KEEPS_APART = BUILT_AS_LLAMAS | {"qwen3_moe", "gemma2", "gemma3_text", "phi3", "olmo", "olmo2", "gpt_neox"}
"""Families, by Transformers' `model_type`, of which it was tried that they keep examples apart that stand in one row, each
beginning where the positions begin (`training/isolation.py` tries it with each model, too). Of others each row is padded:
Qwen3.5, Granite 4, LFM2, Falcon-H1 and gpt-oss mix what stands side by side."""


ALIKE = {
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "o_proj",
    "wi_0": "gate_proj",
    "wi_1": "up_proj",
    "wi": "up_proj",
}
ALIKE |= {"wo": "down_proj"}
"""A T5's linear layers, as a Llama's with the same task are called."""


ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The attention and MLP projections of a Llama; LoRA on all of them learns facts, on attention alone hardly. Chosen all, they
stand for all linear layers of whatever the base has."""


def is_everything(modules: Collection[str]) -> bool:
    return len(set(modules)) == len(ALL_LINEAR)


def is_adapted(kind: str, adaptable: bool, modules: Collection[str]) -> bool:
    """Whether LoRA sits on a kind of layer, of those that the user chose."""
    return adaptable and (is_everything(modules) or ALIKE.get(kind, kind) in modules)


@dataclass(frozen=True)
class Kind:
    """Linear layers of one name and size.

    Attributes:
        count: matrices of it, in all layers and of all experts.
        experts: whether they are experts', which are parameters and no layers.
        adaptable: whether LoRA can sit on them.
    """

    name: str
    inputs: int
    outputs: int
    count: int
    experts: bool = False
    adaptable: bool = True

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.count


@dataclass(frozen=True)
class Shape:
    """What of a base model decides how much memory it takes.

    Attributes:
        heads: query heads; `attention` is their width together, `keys` that of the key heads (fewer in grouped attention).
        tied: whether the input embedding is the output matrix too.
        layers: of encoder and decoder together where there are both, and `decoder_layers` those of the second.
        llama: whether it is a Llama, or built as one, that is trained in a way of its own (`training/llama/`).
        normed_heads: whether each head's query and key are normed.
        repeated_places: tokens of the longest text of which a GPU can repeat the steps (`models/static_cache.py`); 0 for none.
        on_unsloth: whether its family is one that Unsloth has layers for.
        apart: whether its family keeps examples apart that stand in one row (`KEEPS_APART`).
        quantised: whether its files hold the weights in 4 bits already.
        file_bytes: of its weight files; 0 where they are not on this machine.
        file_width: bytes a weight in those files, where they are not quantised.
        found: the linear layers of a base that has others than a Llama, and `all_weights` how many numbers it has.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    attention: int
    keys: int
    vocabulary: int
    tied: bool
    llama: bool = True
    normed_heads: bool = False
    repeated_places: int = sys.maxsize
    on_unsloth: bool = True
    apart: bool = True
    quantised: bool = False
    file_bytes: int = 0
    file_width: int = 2
    found: tuple[Kind, ...] = ()
    all_weights: int = 0
    decoder_layers: int = 0

    @property
    def seq2seq(self) -> bool:
        """Whether it reads a prompt in an encoder and answers in a decoder."""
        return self.decoder_layers > 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The linear layers that are not the output matrix."""
        return self.found or tuple(Kind(name, *size, self.layers) for name, size in self.projections.items())

    def adapted(self, modules: Collection[str], *, experts: bool = True) -> list[Kind]:
        """The linear layers that LoRA will sit on, as `layers.targets` finds them in the model.

        Args:
            modules: the kinds that the user chose.
            experts: whether the kind of LoRA works on experts.
        """
        chosen = [kind for kind in self.kinds if is_adapted(kind.name, kind.adaptable, modules)]
        return [kind for kind in chosen if experts or not kind.experts]

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer that LoRA can sit on."""
        h, i, a, k = self.hidden, self.intermediate, self.attention, self.keys
        attention = {"q_proj": (h, a), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (a, h)}
        return attention | {"gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}

    @property
    def weights(self) -> int:
        """All weights of the base."""
        return self.linear_weights + self.other_weights

    @property
    def linear_weights(self) -> int:
        """Weights of the layers' matrices: those that 4 bits squeeze, but for experts."""
        return sum(kind.weights for kind in self.kinds)

    @property
    def other_weights(self) -> int:
        """Embedding, output matrix and norms: they stay in 16 bits."""
        if self.all_weights:
            return self.all_weights - self.linear_weights
        norms = self.hidden * (2 * self.layers + 1)
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + norms

    def weight_bytes(self, width: int, *, four_bit: bool) -> int:
        """The base in memory, at `width` bytes a weight that is not in 4 bits. Those of experts never are: bitsandbytes squeezes
        layers, and they are parameters."""
        if self.quantised and self.file_bytes:
            return self.file_bytes
        layer = FOUR_BITS if four_bit or self.quantised else width
        linear = sum(kind.weights * (width if kind.experts else layer) for kind in self.kinds)
        return int(linear + self.other_weights * width)

    def lora_parameters(self, rank: int, modules: Collection[str], *, experts: bool = True) -> int:
        """Trained parameters of an adapter: two matrices beside each that it sits on."""
        return sum(rank * (k.inputs + k.outputs) * k.count for k in self.adapted(modules, experts=experts))


def merging_bytes(weights: int, form: str) -> int:
    """Memory that merging an adapter into a base of so many weights takes at most, and loading the outcome again.

    Fitted to the embedded model: 1.8 GB merged, 2.5 GB as a GGUF file, which Transformers unpacks beside the model.
    """
    return 1_000_000_000 + weights * (12 if form == "gguf" else 6)


LLAMA_3_8B = Shape(4096, 14336, 32, 32, 4096, 1024, 128256, tied=False, quantised=True)
"""The default base on a GPU, whose shape is known before it is downloaded."""


def base_shape(name: str) -> Shape | None:
    """The shape of a base model by the name that the user chose; None where it is neither on this machine nor of those that are
    offered, or another kind of model."""
    folder = local_folder(name)
    if folder is None:
        known = offered(typed_base(name))
        shape = _of(known.config, 0) if known else None
        return replace(shape, all_weights=shape.weights + known.beside) if shape and known and known.beside else shape
    config = folder / "config.json"
    return _read(folder, config.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _read(folder: Path, _changed: int) -> Shape | None:
    try:
        config = read_json(folder / "config.json")
        text = config.get("text_config") or config
        if QUANTISED in config:  # which stands beside what it is said of
            text = text | {QUANTISED: config[QUANTISED]}
        shape = _of(text, sum(f.stat().st_size for f in weight_files(folder)))
        is_whole = not config.get("text_config")  # else there is a tower of pictures, too
        if (is_whole and text.get("model_type") in LIKE_A_LLAMA | SEQ2SEQ) or not _is_known(text.get("model_type")):
            return shape
        told = _described(folder)
        shape = replace(shape, llama=shape.llama and is_whole)
        kinds = tuple(Kind(**kind) for kind in told["kinds"])
        places = short_places(text) if told["repeats"] and is_unpackable(text) else 0
        return replace(shape, found=kinds, all_weights=told["weights"], repeated_places=places)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, subprocess.SubprocessError):
        return None  # another kind of model: nothing is estimated for it


def _is_known(family: Any) -> bool:
    """Whether Transformers has such a family; asked without importing it."""
    if not isinstance(family, str) or not re.fullmatch(r"[a-z0-9_]{1,60}", family):
        return False
    library = find_spec("transformers")
    folder = Path(library.origin or "").parent / "models" if library else Path()
    return any((folder / name).is_dir() for name in (family, family.removesuffix("_text")))


def _described(folder: Path) -> dict[str, Any]:
    """What `described.py` says of a base, from a process of its own where this one has no torch; remembered."""
    if "torch" in sys.modules:
        from pipeline.models.described import described

        return described(folder)
    config = folder / "config.json"
    memory = home() / "cache" / f"described-{hashlib.sha256(config.read_bytes()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError):
        return read_json(memory)
    command = [sys.executable, "-m", "pipeline.models.described", str(folder)]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=LAYERS_SECONDS, check=True).stdout
    told = parse_json(said)
    with suppress(OSError):
        write_json(memory, told)
    return told


def _of(config: dict[str, Any], file_bytes: int) -> Shape:
    """The shape that a `config.json` tells of."""
    return _t5_shape(config, file_bytes) if config.get("model_type") in SEQ2SEQ else _shape(config, file_bytes)


def _t5_shape(config: dict[str, Any], file_bytes: int) -> Shape:
    shape = _shape(_as_a_llama_says(config), file_bytes)
    h, i, a, layers, decoder = shape.hidden, shape.intermediate, shape.attention, shape.layers, shape.decoder_layers
    attentions = layers + decoder  # a decoder's layer has one more, which looks at what the encoder read
    inner = ("wi_0", "wi_1") if str(config.get("feed_forward_proj", "")).startswith("gated") else ("wi",)
    kinds = [Kind(name, h, a, attentions) for name in "qkv"] + [Kind("o", a, h, attentions)]
    kinds += [*(Kind(name, h, i, layers) for name in inner), Kind("wo", i, h, layers)]
    norms = h * (2 * layers + decoder + 2)
    positions = 2 * shape.heads * config.get("relative_attention_num_buckets", 32)
    embeddings = shape.vocabulary * h * (1 if shape.tied else 2)
    whole = sum(kind.weights for kind in kinds) + embeddings + norms + positions
    return replace(shape, found=tuple(kinds), all_weights=whole)


def _as_a_llama_says(config: dict[str, Any]) -> dict[str, Any]:
    """A T5's `config.json` with its sizes under the names of others."""
    decoder = config.get("num_decoder_layers") or config["num_layers"]
    sizes = {
        "hidden_size": "d_model",
        "intermediate_size": "d_ff",
        "num_attention_heads": "num_heads",
        "head_dim": "d_kv",
    }
    return config | {
        **{name: config[own] for name, own in sizes.items()},
        "num_hidden_layers": config["num_layers"] + decoder,
        "num_decoder_layers": decoder,
        "tie_word_embeddings": config.get("tie_word_embeddings", True),
    }


_SIZES = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers", "vocab_size")


def _shape(config: dict[str, Any], file_bytes: int) -> Shape:
    for name in ("head_dim", "num_key_value_heads", *_SIZES):
        if type(size := config.get(name) or (0 if name not in _SIZES else None)) is not int or not 0 <= size < 2**40:
            raise ValueError(f"{name} is no size")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    return Shape(
        hidden=hidden,
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        attention=heads * width,
        keys=(config.get("num_key_value_heads") or heads) * width,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings")),
        llama=is_plain_llama(config),
        normed_heads=config.get("model_type") == "qwen3",
        repeated_places=short_places(config) if config.get("model_type") in REPEATS and is_unpackable(config) else 0,
        on_unsloth=config.get("model_type") in UNSLOTH_HAS,
        apart=config.get("model_type") in KEEPS_APART,
        quantised=is_quantised(config),
        file_bytes=file_bytes,
        decoder_layers=config["num_decoder_layers"] if config.get("model_type") in SEQ2SEQ else 0,
        file_width=4 if (config.get("dtype") or config.get("torch_dtype")) == "float32" else 2,
    )


def short_places(config: dict[str, Any]) -> int:
    """The longest text, in tokens, that a base turns as a short one: a GPU repeats nothing that looks at how long it is. Where it
    turns all alike, no text is too long."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (rope.get("rope_type") or rope.get("type")) not in LOOKING:
        return sys.maxsize
    short = config.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
    return short or config.get("max_position_embeddings", 0)


def is_unpackable(config: dict[str, Any]) -> bool:
    """Whether a base's weights are plain, or will be where there is room."""
    quantised = config.get(QUANTISED) or {}
    return quantised.get("quant_method", BITSANDBYTES) == BITSANDBYTES and not quantised.get("load_in_8bit")


def is_plain_llama(config: dict[str, Any]) -> bool:
    """Whether this project's own decoding and training steps compute a base of this configuration, as `config.json` has it: its
    gate is SiLU, its positions turn at the same speeds however long the text is, its attention sees all that stands before.

    Whoever plans a run asks here, and so does whoever trains or answers with the loaded model.
    """
    family = config.get("model_type")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    turns = rope.get("rope_type") or rope.get("type") or "default"
    turns_alike = turns in ("default", "llama3") and not any(isinstance(own, dict) for own in rope.values())
    window = config.get("sliding_window", True)  # which one that says nothing has
    has_window = family != "llama" and window and (family == "mistral" or config.get("use_sliding_window"))
    sees_all = not has_window and "sliding_attention" not in (config.get("layer_types") or ())
    is_usual = config.get("hidden_act", "silu") == "silu" and not config.get("attention_dropout")
    return family in BUILT_AS_LLAMAS and turns_alike and is_usual and sees_all and is_unpackable(config)
