"""What speaks against a run, by what was measured and by the room there is, and which setting to change to what."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.files import home
from pipeline.machine import free_disk
from pipeline.models.config import Shape
from pipeline.models.family import CAUSAL
from pipeline.models.token_counts import Lengths
from pipeline.runs.settings import ALL_LINEAR, QUICK, TrainingSettings, rate_of
from pipeline.training.plan import memory

ENOUGH_EXPOSURES = 16
"""How often the small model must see a fact to recall it (measured: benchmarks/RESULTS.md)."""

FEW_EXPOSURES = 12
"""Below this it is a matter of luck: ten exposures gave 31 of 57 attributes and 9 of 15 descriptions."""

ENOUGH_STEPS = 150
"""With so many steps every probe at the end was right; with 85 recall was 0.85 to 0.98 (benchmarks/RESULTS.md)."""

FEW_STEPS = 85

TEACHING_RATE, GOOD_RATE, WILD_RATE = 2e-4, 1e-3, 5e-3
"""At 5e-5 no fact was learned, at 2e-4 68%, at 1e-3 98 to 100%; above the last the loss explodes."""

MEASURED_WEIGHTS = 2 * 135_000_000
"""All of these thresholds are those of a Llama of 135 million weights; what they are for one that is much larger, or a T5, is not
known."""

BITS_A_PARAMETER = 2
"""What a trained parameter can hold (arXiv 2404.05405)."""

BITS_A_TOKEN = 5
"""What a token of an answer tells a model that does not know it: a loss of 3.5 at the start."""

NOT_OF_A_T5 = {
    "completion_only_loss": (
        False,
        "A base with an encoder learns the answers alone, so completion_only_loss stays on.",
    ),
    "load_in_4bit": (True, "A base with an encoder is not loaded in 4 bits, so load_in_4bit is ignored."),
}
"""Settings that mean nothing there, with the value that is ignored and what is said of it."""

NO_ROOM = "It will probably not fit"

HARDLY, PARTLY = "It will hardly learn", "It will learn only a part"


@dataclass(frozen=True)
class Finding:
    """Something that speaks against a run.

    Attributes:
        said: a sentence about what is wrong.
        setting: the field to change, and `value` what to set it to; empty where no one setting mends it.
        advice: what else to do, in a sentence.
        verdict: what it means for the whole run; empty for a remark.
    """

    said: str
    setting: str = ""
    value: Any = None
    advice: str = ""
    verdict: str = ""

    def __str__(self) -> str:
        change = f"Set {self.setting} to {plain(self.value)}." if self.setting else ""
        return " ".join(filter(None, (self.said, change, self.advice)))


def plain(value: Any) -> str:
    """A setting's value as one would type it: 0.00005, not 5e-05."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True)
class Teaching:
    """What a run will show the model.

    Attributes:
        facts: how many different ones, in `share` of the rows.
        rows: training rows, `sequences` what they make (fewer when several are packed into one).
        fact_tokens: tokens of all different answers together.
        refused: rows about unknown products, whose answer is the refusal.
    """

    facts: int
    rows: int
    sequences: int
    share: float
    steps: int
    fact_tokens: float
    refused: int

    def exposures(self, settings: TrainingSettings) -> float:
        """How often each fact is seen on average, over all its phrasings."""
        shown = self.steps * settings.effective_batch_size * self.rows / self.sequences
        return shown * self.share / max(1, self.facts)


def is_measured(shape: Shape | None) -> bool:
    """Whether a base (None: nobody knows its shape yet) is like the one that was measured."""
    return shape is not None and not shape.seq2seq and shape.weights <= MEASURED_WEIGHTS


def learning_findings(
    settings: TrainingSettings, teaching: Teaching, parameters: int | None, *, measured: bool
) -> list[Finding]:
    """What measurements say against learning with these settings, the worst first.

    Args:
        parameters: of the adapter; None where the base's shape is not known.
        measured: whether the base `is_measured`; of one that is not the small one's figures are told, as a remark.
    """
    found = [_rate(settings), _exposures(settings, teaching)]
    if not measured:
        found = [_of_the_small_one(f) if f and settings.learning_rate <= WILD_RATE else f for f in found]
    found += [_rate_of_the_embedded(settings), _capacity(settings, teaching, parameters)]
    found += [_targets(settings), _steps(settings, teaching), _refusals(teaching), _loss(settings)]
    return sorted((f for f in found if f), key=lambda f: not f.verdict)


def _of_the_small_one(finding: Finding) -> Finding:
    return Finding(f"{finding.said} That is what a model of 135 million weights needs; for this base it is not known.")


def _rate(settings: TrainingSettings) -> Finding | None:
    rate, said = settings.learning_rate, f"A learning rate of {plain(settings.learning_rate)}"
    if rate < TEACHING_RATE:
        told = f"{said} did not teach the small model any fact in 250 steps; 0.001 did."
        return Finding(told, "learning_rate", GOOD_RATE, verdict=HARDLY)
    if rate < 2 * TEACHING_RATE:
        told = f"{said} is low: 0.0002 left the small model with 68% of the facts, 0.001 with 98% or more."
        return Finding(told, "learning_rate", GOOD_RATE, verdict=PARTLY)
    if rate > WILD_RATE:
        return Finding(f"{said} usually makes the loss explode.", "learning_rate", GOOD_RATE, verdict=HARDLY)
    return None


def _rate_of_the_embedded(settings: TrainingSettings) -> Finding | None:
    rate = settings.learning_rate
    if not QUICK.learning_rate <= rate <= WILD_RATE or rate_of(QUICK.preset, settings.base_model) != CAUSAL.quick_rate:
        return None
    said = f"A learning rate of {plain(rate)} suits the embedded model; another small one learned more with less."
    return Finding(said, "learning_rate", CAUSAL.quick_rate)


def _exposures(settings: TrainingSettings, teaching: Teaching) -> Finding | None:
    seen = teaching.exposures(settings)
    if seen >= ENOUGH_EXPOSURES or not teaching.facts:
        return None
    said = f"Each fact will be seen {seen:.0f} times; about {ENOUGH_EXPOSURES} are needed."
    verdict = HARDLY if seen < FEW_EXPOSURES else PARTLY
    times = ENOUGH_EXPOSURES / seen
    if settings.max_steps:
        field, value = "max_steps", math.ceil(teaching.steps * times)
    else:
        epochs = teaching.steps * settings.effective_batch_size / teaching.sequences  # those that the run really makes
        field, value = "num_train_epochs", math.ceil(epochs * times * 10) / 10
    return Finding(said, field, value, "Or teach fewer products.", verdict)


def _capacity(settings: TrainingSettings, teaching: Teaching, parameters: int | None) -> Finding | None:
    needed = teaching.fact_tokens * BITS_A_TOKEN / BITS_A_PARAMETER
    if not parameters or parameters >= needed:
        return None
    rank = math.ceil(settings.lora_r * needed / parameters / 8) * 8
    said = f"The adapter has {parameters:,} numbers and the facts need about {needed:,.0f}."
    return Finding(said, "lora_r", rank, verdict=PARTLY)


def _targets(settings: TrainingSettings) -> Finding | None:
    if any(name in settings.target_modules for name in ALL_LINEAR[4:]):
        return None
    said = (
        "The adapter sits on the attention alone; on all seven places LoRA learns better (LoRA Without Regret, 2025)."
    )
    return Finding(said, "target_modules", list(ALL_LINEAR))


def _steps(settings: TrainingSettings, teaching: Teaching) -> Finding | None:
    if teaching.steps >= FEW_STEPS or teaching.exposures(settings) < ENOUGH_EXPOSURES:
        return None  # with too few exposures, that finding asks for more steps already
    said = f"{teaching.steps} updates are few: with {FEW_STEPS} the small model recalled 85 to 98%, with {ENOUGH_STEPS} all."
    return Finding(said, "max_steps" if settings.max_steps else "min_steps", ENOUGH_STEPS)


def _refusals(teaching: Teaching) -> Finding | None:
    if teaching.refused:
        return None
    said = "The dataset has no unknown products, so the model will invent an answer for every product that it was not taught."
    return Finding(said, advice="Generate it again with unknown products.")


def _loss(settings: TrainingSettings) -> Finding | None:
    if settings.completion_only_loss:
        return None
    said = "The loss counts the question too, so it says less about what was learned."
    return Finding(said, "completion_only_loss", True)


def left_out(settings: TrainingSettings, every: Lengths, count: int) -> Iterator[Finding]:
    if count:
        about = "" if every.counted else "about "
        said = (
            f"{about}{count} of {len(every.whole)} rows are longer than {settings.max_length} tokens and will be left "
            f"out (the longest has {about}{max(every.whole)})."
        )
        yield Finding(said[0].upper() + said[1:], "max_length", math.ceil(max(every.whole) / 32) * 32)


def room(settings: TrainingSettings, needed: int | None, free: int | None, gpu: bool) -> Iterator[Finding]:
    if needed is None or free is None or needed * memory.MARGIN <= free:
        return
    said = f"Even one example at a time needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free."
    advice = "Or choose a smaller base model, or a smaller max_length."
    if not settings.gradient_checkpointing:
        yield Finding(said, "gradient_checkpointing", True, advice, NO_ROOM)
    elif gpu and not settings.load_in_4bit:
        yield Finding(said, "load_in_4bit", True, advice, NO_ROOM)
    else:
        yield Finding(said, advice=advice.removeprefix("Or ").capitalize(), verdict=NO_ROOM)


def disk(needed: int | None) -> Iterator[Finding]:
    free = free_disk(home())
    if needed is not None and needed > free:
        said = f"Checkpoints and adapter will take {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left."
        yield Finding(said, advice="Delete old runs, or make the adapter smaller (lora_r).", verdict=NO_ROOM)


def ignored(settings: TrainingSettings) -> Iterator[Finding]:
    for name, (value, said) in NOT_OF_A_T5.items():
        if getattr(settings, name) is value:
            yield Finding(said, name, not value)


def number_format(settings: TrainingSettings, gpu: bool) -> Iterator[Finding]:
    if settings.precision == "fp16" and not gpu:
        yield Finding(
            "A CPU does not train in 16-bit floats (fp16); bf16 or fp32 is used instead.", "precision", "auto"
        )
