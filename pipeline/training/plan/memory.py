"""How much memory a run will take at its peak, and how much there is: worked out without torch, before a model is loaded.

The peak is what the training process reports of itself: the resident set on a CPU, what PyTorch allocated on a GPU.
Every term stands for tensors that exist; `benchmarks/memory.py` holds the sum against measured peaks.
"""

import math
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pipeline.machine import on_apple_silicon
from pipeline.models.config import ALIKE, Shape
from pipeline.models.gpu import has_unsloth, is_in_4bit
from pipeline.models.token_counts import Lengths
from pipeline.runs.settings import TrainingSettings
from pipeline.training.plan.ways import (
    FAST_LLAMA,
    GPU_ROW_MULTIPLE,
    GPU_TOKEN_MULTIPLE,
    PADDED_ROW_MULTIPLE,
    REPEATED,
    TRANSFORMERS,
    UNSLOTH,
    covers_settings,
    has_short_rows,
    repeats_settings,
)

PROCESS_BYTES = 580_000_000
"""Resident before there are weights: Python with torch, Transformers, TRL, Datasets and a model's code (CPU)."""

OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_8bit": 2, "adafactor": 0, "sgd": 0}
"""Bytes a trained parameter that an optimizer remembers."""

LORA_BYTES = 4
"""An adapter is trained in fp32 whatever the base is in; a gradient takes the same again."""

LOGIT_BYTES = 10
"""A logit of a learned token on Transformers: in the model's format, in fp32, its logarithm and its gradient."""

SCATTERED, FAST_SCATTERED = 1.7, 1.25
"""Resident on a CPU for each byte that is kept: what operations need meanwhile leaves holes in the heap. `FastLlama` has
fewer operations, so it leaves fewer (measured: benchmarks/memory.py)."""

MOST_LOGITS = 256
"""Tokens whose logits are in memory at once, on Unsloth, in `FastLlama` and in `PaddedStep`."""

NOTED_LOGITS = 250_000_000
"""Logits that are in memory at once while it is noted what the base says to general questions."""

NOTED_ROWS = 64
"""As many of these are asked at once on a GPU, where their logits leave room."""

ANSWERING = 500_000_000
"""What answering takes beside the weights: the libraries' code, or a process' context on a GPU, and what is computed."""

MARGIN = 1.1
"""Free memory must be this many times the estimate: an estimate is not exact, and other programs move too."""

OWN_FORMAT_BYTES, CONVERTED_BYTES = 200_000_000, 350_000_000
"""What a run of a Llama takes besides on a CPU, where it computes in its file's number format, and where in another (fitted to
what was measured: benchmarks/memory.py)."""

GPU_WORKSPACE = 80_000_000
"""What the GPU's libraries allocate for themselves."""


INPUTS = {"q_proj": "first norm", "k_proj": "first norm", "v_proj": "first norm"}
INPUTS |= {"gate_proj": "second norm", "up_proj": "second norm", "down_proj": "product"}
"""What goes into a projection and is kept for it; into `o_proj` goes what attention keeps anyway."""


def weight_width(precision: str, *, gpu: bool) -> int:
    """Bytes a weight in the number format that a precision becomes on this machine."""
    if precision == "fp32":
        return 4
    return 2 if gpu or _computes_in_16_bits() else 4


@lru_cache(maxsize=1)
def _computes_in_16_bits() -> bool:
    """Whether training runs in 16 bits without an NVIDIA GPU: as torch decides, by the processor's abilities."""
    if on_apple_silicon():
        return True
    with suppress(OSError):
        return bool(re.search(r"avx512_bf16|amx_tile", Path("/proc/cpuinfo").read_text()))
    return False


def peak_bytes(
    shape: Shape,
    settings: TrainingSettings,
    lengths: Lengths,
    micro_batch: int,
    steps: int,
    *,
    gpu: bool,
    unpacked: bool = False,
) -> int:
    """The most memory that a run will have in use, in bytes.

    Args:
        unpacked: whether weights in 4 bits are unpacked for the whole run.
    """
    width = weight_width(settings.precision, gpu=gpu)
    accumulation = settings.effective_batch_size // micro_batch
    four_bit = loads_in_4_bits(shape, settings, gpu=gpu) and not unpacked
    weights = shape.weights * width if unpacked else shape.weight_bytes(width, four_bit=four_bit)
    lora = lora_parameters(shape, settings)
    gradients = lora * LORA_BYTES
    way = way_of(shape, settings, lengths, micro_batch, gpu=gpu, unpacked=unpacked)
    fast, unsloth = way == FAST_LLAMA, way == UNSLOTH
    computed = _fast_gpu_batch if fast and gpu else BATCHES[way]
    batch = computed(shape, settings, lengths, micro_batch, steps * accumulation, width)
    if way == REPEATED or (fast and gpu):
        batch += MOST_LOGITS * shape.vocabulary * LOGIT_BYTES + gradients  # those that its graphs write
    batch += _adapted_experts(shape, settings) * width
    if not unsloth:
        batch += lora * width  # the adapter in the format that it is multiplied in
    if not gpu:
        batch *= FAST_SCATTERED if fast else SCATTERED
    # The gradients come as the activations go: both are there in full only where earlier micro-batches left theirs.
    updating = 2 * gradients if gpu and settings.optim == "adamw_torch" else gradients  # a GPU's Adam takes all at once
    peak = max(updating, batch + (gradients if accumulation > 1 else 0))
    training = lora * (LORA_BYTES + OPTIMIZER_BYTES[settings.optim]) + peak
    if gpu:
        training = max(training, _noting(shape, lengths, width))
        return int(GPU_WORKSPACE + weights + training + (_unsloth_buffers(shape) if unsloth else 0))
    # Weights are the file's own pages, unless this processor computes in another format than the file's.
    is_converted = shape.file_width != width
    read = shape.file_bytes if is_converted else 0
    besides = (CONVERTED_BYTES if is_converted else OWN_FORMAT_BYTES) if shape.llama else 0
    return int(PROCESS_BYTES + weights + besides + max(read, training))


def noted_at_once(rows: int, tokens: int, vocabulary: int) -> int:
    """How many of some rows can be noted at once.

    Args:
        tokens: of the longest.
    """
    return max(1, min(rows, NOTED_LOGITS // (tokens * vocabulary)))


def _noting(shape: Shape, lengths: Lengths, width: int) -> int:
    """Bytes of the logits while the base's answers are noted, and of one row's in fp32 with what they are turned into."""
    longest = max(lengths.whole)
    row = longest * shape.vocabulary
    return row * (noted_at_once(NOTED_ROWS, longest, shape.vocabulary) * width + 12)


def lora_parameters(shape: Shape, settings: TrainingSettings) -> int:
    """Trained parameters of a run's adapter."""
    return shape.lora_parameters(settings.lora_r, settings.target_modules, experts=settings.adapts_experts)


def _adapted_experts(shape: Shape, settings: TrainingSettings) -> int:
    """Weights of experts that PEFT makes anew with what it adds to them, kept for the backward pass and one layer's gradient."""
    experts = sum(k.weights for k in shape.adapted(settings.target_modules) if k.experts and settings.adapts_experts)
    of_a_layer = experts // shape.layers
    return 2 * of_a_layer if settings.gradient_checkpointing else experts + of_a_layer


def loads_in_4_bits(shape: Shape, settings: TrainingSettings, *, gpu: bool) -> bool:
    """Whether the base's matrices are in 4 bits when they are loaded."""
    return is_in_4bit(quantised=shape.quantised, asked=settings.load_in_4bit and not shape.seq2seq, gpu=gpu)


def way_of(
    shape: Shape, settings: TrainingSettings, lengths: Lengths, micro_batch: int, *, gpu: bool, unpacked: bool
) -> str:
    """The way that every micro-batch is trained in, the fastest that can be."""
    longest = max(lengths.whole)
    if not loads_in_4_bits(shape, settings, gpu=gpu) or unpacked:
        if has_short_rows(micro_batch, longest, gpu=gpu) and covers_settings(shape, settings, gpu=gpu):
            return FAST_LLAMA
        if repeats_settings(shape, settings, longest, gpu=gpu):
            return REPEATED
    return UNSLOTH if has_unsloth(gpu=gpu) and shape.on_unsloth else TRANSFORMERS


def _batch(shape: Shape, settings: TrainingSettings, lengths: Lengths, size: int, draws: int, width: int) -> float:
    """What the largest micro-batch keeps until it is differentiated, in bytes (Transformers and PEFT; without padding where the
    base keeps its examples apart)."""
    layer = _layer(shape, settings, width)
    read = shape.layers * layer
    if settings.gradient_checkpointing:  # each layer keeps what went into it; one at a time is computed again
        read = layer + shape.layers * shape.hidden * width
    if shape.seq2seq:
        return _encoded_and_said(shape, lengths, size, draws, read / shape.layers, width)
    if not shape.apart:
        # Every row is as long as the longest, and has logits wherever one of them has something to learn.
        longest = size * lengths.longest_of(draws * size)
        return longest * (read + lengths.learned_share * shape.vocabulary * LOGIT_BYTES)
    return _largest(settings, lengths, size, draws, read, shape.vocabulary * LOGIT_BYTES)


def _encoded_and_said(shape: Shape, lengths: Lengths, size: int, draws: int, read: float, width: int) -> float:
    """The same of a T5: prompts in the encoder, answers in the decoder, each as long as the longest.

    Args:
        read: bytes a token and layer.
    """
    longest, answer = lengths.longest_of(draws * size), max(lengths.learned)
    scores = shape.heads * longest * (width + 4)  # attention keeps them, and what they were made of in fp32
    encoded = longest * (
        (shape.layers - shape.decoder_layers) * (read + scores) + shape.decoder_layers * 2 * shape.keys * width
    )
    said = answer * (shape.decoder_layers * (read + 2 * scores) + shape.vocabulary * LOGIT_BYTES)
    return size * (encoded + said)


def _fast_batch(shape: Shape, settings: TrainingSettings, lengths: Lengths, size: int, draws: int, width: int) -> float:
    """The same for `FastLlama`: norms are kept once, and the scores of attention too."""
    layer = _fast_layer(shape, settings, width) + _fast_attention(shape, lengths.longest_of(draws * size), width)
    # The last layer goes on with the learned tokens alone.
    return _largest(settings, lengths, size, draws, (shape.layers - 1) * layer, shape.vocabulary * width + layer)


def _fast_gpu_batch(
    shape: Shape, settings: TrainingSettings, lengths: Lengths, size: int, draws: int, width: int
) -> float:
    """The same on a GPU, where a batch is filled up to few shapes and attention keeps rows that are as long as the longest."""
    longest = lengths.longest_of(draws * size)
    row = longest + -longest % GPU_ROW_MULTIPLE
    places = (size + math.ceil(GPU_TOKEN_MULTIPLE / row)) * row
    layer, attention = _fast_layer(shape, settings, width), places * _fast_attention(shape, row, width)
    tokens = _largest(settings, lengths, size, draws, (shape.layers - 1) * layer, shape.vocabulary * width + layer)
    return tokens + (shape.layers - 1) * (GPU_TOKEN_MULTIPLE / 2 * layer + attention)


def _fast_layer(shape: Shape, settings: TrainingSettings, width: int) -> int:
    """Bytes a token and layer that `FastLlama` keeps outside attention."""
    ranks = len(shape.projections) * settings.lora_r
    heads = shape.attention + 2 * shape.keys if shape.normed_heads else 0  # as they are before they are normed
    return width * (4 * shape.hidden + 4 * shape.intermediate + ranks + heads)


def _fast_attention(shape: Shape, row: int, width: int) -> int:
    """… and inside it, for each place of rows of some tokens."""
    return width * (2 * shape.attention + 2 * shape.keys + shape.heads * row)


def _largest(settings: TrainingSettings, lengths: Lengths, size: int, draws: int, read: float, learned: float) -> float:
    if not settings.completion_only_loss:
        read, learned = read + learned, 0
    if settings.packing:
        return _packed(settings, lengths, size) * (read + learned * lengths.learned_share)
    return lengths.largest(size, draws, read, learned)


def _padded_batch(
    shape: Shape, settings: TrainingSettings, lengths: Lengths, size: int, draws: int, width: int
) -> float:
    """The same for `PaddedStep`: rows are filled up to the longest, and each linear layer keeps what goes into it."""
    longest = lengths.longest_of(draws * size)
    row = longest + -longest % PADDED_ROW_MULTIPLE
    learned = _largest(settings, lengths, size, draws, 0, 2 * shape.vocabulary * width)
    return size * row * shape.layers * _padded_layer(shape, settings, width) + learned


def _padded_layer(shape: Shape, settings: TrainingSettings, width: int) -> float:
    """Bytes a token and layer that `PaddedStep` keeps, with a norm before and after each part as in Gemma."""
    adapted = shape.adapted(settings.target_modules, experts=False)
    ranks = sum(kind.count for kind in adapted) / shape.layers * settings.lora_r
    heads = 3 * shape.attention + 3 * shape.keys  # before and after they are turned, and what comes out
    return width * (6 * shape.hidden + 4 * shape.intermediate + heads + ranks)


def _unsloth_batch(
    shape: Shape, settings: TrainingSettings, lengths: Lengths, size: int, draws: int, width: int
) -> float:
    """The same on Unsloth, where a batch is padded to its longest row and checkpoints lie in the CPU's memory."""
    packed = settings.packing
    tokens = _packed(settings, lengths, size) if packed else size * lengths.longest_of(draws * size)
    layer = _unsloth_layer(shape, width)
    loss = min(tokens, MOST_LOGITS) * shape.vocabulary * LOGIT_BYTES
    return tokens * layer * (1 if settings.gradient_checkpointing else shape.layers) + loss


def _packed(settings: TrainingSettings, lengths: Lengths, size: int) -> int:
    """Tokens of a micro-batch whose rows are filled up."""
    return min(size * settings.max_length, sum(lengths.whole))


def _layer(shape: Shape, settings: TrainingSettings, width: int) -> float:
    """Bytes a token and layer on Transformers and PEFT, out of what each operation saves for its gradient."""
    adapted = shape.adapted(settings.target_modules, experts=False)
    ranks = sum(kind.count for kind in adapted) / shape.layers * settings.lora_r
    if width == 2:  # autocast makes a copy of its own for each projection
        inputs = sum(kind.inputs * kind.count for kind in adapted) / shape.layers
    else:  # what goes into several of them is kept once
        names = {kind: ALIKE.get(kind.name, kind.name) for kind in adapted}
        shared = {INPUTS.get(name, name): kind.inputs * kind.count / shape.layers for kind, name in names.items()}
        shared.pop("o_proj", None)
        inputs = sum(shared.values())
    attention = 4 * shape.attention  # queries, keys and values (repeated to as many heads), and what comes out
    gated = 3 * shape.intermediate
    norms = 2 * shape.hidden * 4  # in fp32
    return width * (inputs + ranks + attention + gated) + norms


def _unsloth_layer(shape: Shape, width: int) -> int:
    """The same for Unsloth's kernels, which compute the norms' and the gate's products again."""
    return width * (4 * shape.hidden + 2 * shape.attention + 2 * shape.keys + 2 * shape.intermediate)


BATCHES = {FAST_LLAMA: _fast_batch, REPEATED: _padded_batch, UNSLOTH: _unsloth_batch, TRANSFORMERS: _batch}


def _unsloth_buffers(shape: Shape) -> int:
    """The largest matrix in 16 bits, into which 4-bit weights are unpacked."""
    return 2 * shape.hidden * shape.intermediate


def disk_bytes(shape: Shape, settings: TrainingSettings) -> int:
    """What a run leaves on the disk: two checkpoints (adapter and Adam's two moments) and the adapter, in fp32."""
    lora = lora_parameters(shape, settings)
    return lora * (2 * (LORA_BYTES + OPTIMIZER_BYTES[settings.optim]) + LORA_BYTES)
