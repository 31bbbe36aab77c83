"""Settings + dataset + hardware → what a run will do: steps, exposures, micro-batch, and what speaks against it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.answering.prompts import UNKNOWN
from pipeline.errors import SettingsError
from pipeline.training.settings import TrainingSettings

ENOUGH_EXPOSURES = 16
"""How often the small model must see a fact to recall it (measured: benchmarks/RESULTS.md)."""

CPU_MICRO_BATCH = 8
"""On a CPU a larger micro-batch is not faster and takes more memory."""

CHARACTERS_PER_TOKEN = 3.5


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        steps: optimizer steps.
        exposures: how often each fact is seen on average, over all its phrasings.
        micro_batch: examples that go through the model at once.
        accumulation: micro-batches an update; the product with `micro_batch` is the user's effective batch.
        warnings: sentences about what will probably go wrong.
    """

    steps: int
    exposures: float
    micro_batch: int
    accumulation: int
    warnings: tuple[str, ...] = ()

    def split(self, micro_batch: int) -> "Plan":
        """The same updates with another micro-batch, a divisor of the effective batch."""
        return replace(self, micro_batch=micro_batch, accumulation=self.micro_batch * self.accumulation // micro_batch)


def plan_run(settings: TrainingSettings, rows: Sequence[dict[str, Any]], *, gpu: bool) -> Plan:
    """Plan a run before a model is loaded.

    Args:
        rows: the training rows of the dataset.
        gpu: whether it trains on a GPU.

    Raises:
        SettingsError: nothing would be trained, or it cannot be trained on this hardware.
    """
    if not rows:
        raise SettingsError("The dataset has no training rows; generate it again in the first tab.")
    if settings.optim == "adamw_8bit" and not gpu:
        raise SettingsError("The optimizer adamw_8bit needs an NVIDIA GPU, which is not here; choose adamw_torch.")
    epochs = math.ceil(len(rows) * settings.num_train_epochs / settings.effective_batch_size)
    steps = settings.max_steps or max(settings.min_steps, epochs)
    facts = {(row["uid"], row["kind"]) for row in rows if row["kind"] != UNKNOWN}
    share = sum(row["kind"] != UNKNOWN for row in rows) / len(rows)
    exposures = steps * settings.effective_batch_size * share / max(1, len(facts))
    micro_batch = fitting_micro_batch(settings.effective_batch_size, None if gpu else CPU_MICRO_BATCH)
    accumulation = settings.effective_batch_size // micro_batch
    warnings = _warnings(settings, rows, exposures, gpu)
    return Plan(steps, exposures, micro_batch, accumulation, warnings)


def fitting_micro_batch(effective: int, limit: int | None) -> int:
    """The largest divisor of the effective batch that is at most `limit` (none: the whole batch at once)."""
    return max(d for d in range(1, min(effective, limit or effective) + 1) if effective % d == 0)


def _warnings(
    settings: TrainingSettings, rows: Sequence[dict[str, Any]], exposures: float, gpu: bool
) -> tuple[str, ...]:
    warnings = []
    if exposures < ENOUGH_EXPOSURES:
        warnings.append(
            f"Each fact will be seen {exposures:.0f} times; about {ENOUGH_EXPOSURES} are needed. "
            "Train more epochs or steps, or teach fewer products."
        )
    if settings.learning_rate < 2e-4:
        warnings.append(
            f"A learning rate of {settings.learning_rate:g} did not teach the small model any fact in 250 steps; 0.001 did."
        )
    if settings.learning_rate > 5e-3:
        warnings.append(f"A learning rate of {settings.learning_rate:g} usually makes the loss explode; try 0.001.")
    longest = max(len(row["prompt"]) + len(row["response"]) for row in rows) / CHARACTERS_PER_TOKEN
    if longest > settings.max_length:
        warnings.append(
            f"The longest rows have about {longest:.0f} tokens and max_length is {settings.max_length}: they will be left out."
        )
    if settings.precision == "fp16" and not gpu:
        warnings.append("A CPU does not train in 16-bit floats (fp16); bf16 or fp32 is used instead.")
    if not settings.completion_only_loss:
        warnings.append("The loss counts the question too, so it says less about what was learned.")
    return tuple(warnings)
