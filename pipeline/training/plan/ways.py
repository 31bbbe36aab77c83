"""The ways to train a language model, and which `FastLlama` and `PaddedStep` cover, in the plan's terms: a base's shape and a
run's settings, before torch or a model is loaded.

The trainer asks the model that it has (`llama/step.covers`, `padded.repeats`). Both must say the same: a run that is planned
one way and trained the other is many times slower or larger than it was said to be: tests hold them together, and a run in which
they differ tells so.
"""

from pipeline.machine import gpus, on_apple_silicon
from pipeline.models.config import Shape, is_everything
from pipeline.runs.settings import TrainingSettings

FAST_LLAMA, REPEATED, UNSLOTH, TRANSFORMERS = "fast llama", "repeated", "unsloth", "transformers"
"""`FastLlama`; any base by the steps that a GPU repeats (`PaddedStep`); Unsloth's layers; Transformers and PEFT as they are."""

GPU_TOKEN_MULTIPLE, GPU_ROW_MULTIPLE = 128, 32
"""Multiples to which a batch is filled up on a GPU, in tokens and in the length of a row: every shape is a graph."""

PADDED_ROW_MULTIPLE = 16
"""The latter where what fills up a row is computed, too."""

MOST_SCORES, MOST_GPU_SCORES = 2**20, 2**21
"""Attention scores that a head of `FastLlama` may keep for the backward pass; for longer rows PyTorch's attention is better,
which keeps none. A GPU has the memory for those of 24 rows of 295 tokens."""


def covers_settings(shape: Shape, settings: TrainingSettings, *, gpu: bool) -> bool:
    """Whether a run trains through `FastLlama` where its weights are not in 4 bits: a Llama with plain LoRA on all its
    projections, on a CPU or on an NVIDIA GPU that computes in bf16."""
    if gpu and not _can_repeat(settings):
        return False
    if not gpu and on_apple_silicon():
        return False
    return shape.llama and _is_plain(settings) and is_everything(settings.target_modules)


def repeats_settings(shape: Shape, settings: TrainingSettings, longest: int, *, gpu: bool) -> bool:
    """Whether a run trains through `PaddedStep` where its weights are not in 4 bits: with plain LoRA, on an NVIDIA GPU that
    computes in bf16.

    Args:
        longest: tokens of a row.
    """
    return gpu and longest <= shape.repeated_places and _can_repeat(settings) and _is_plain(settings)


def _is_plain(settings: TrainingSettings) -> bool:
    return settings.lora_variant != "dora" and not settings.lora_dropout and not settings.gradient_checkpointing


def _can_repeat(settings: TrainingSettings) -> bool:
    return not settings.packing and settings.precision != "fp16" and _gpu_has_bf16()


def has_short_rows(rows: int, longest: int, *, gpu: bool) -> bool:
    """Whether a micro-batch of so many rows, the longest of so many tokens, is short enough for `FastLlama`."""
    return rows * longest**2 <= (MOST_GPU_SCORES if gpu else MOST_SCORES)


def _gpu_has_bf16() -> bool:
    found = gpus()
    return bool(found) and float(found[0]["capability"]) >= 8
