"""How strong a trained adapter need be: little stronger than what still answers all that it has learned.

Between a base and what fine-tuning made of it lies a model that has learned as much and forgotten less (WiSE-FT, arXiv
2109.01903). With LoRA the way between them is a factor on what it adds. Facts are learned far beyond what it takes to say
them, so there is room: benchmarks/RESULTS.md has what it is worth. Customers' words are not those that are checked, so one
step is kept in reserve: without it `recall` lost up to 5 of 177 facts.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.answering.answers import probe, thinned
from pipeline.answering.scoring import RIGHT
from pipeline.dataset.examples import PROBE
from pipeline.models.language_model import LanguageModel
from pipeline.prompts import UNKNOWN
from pipeline.runs.settings import TrainingSettings
from pipeline.training.watcher import LEARNED, PROBE_SPARE_TOKENS

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

MOST_QUESTIONS = 256

LINEAR = ("lora", "rslora")
"""The variants in which half of an adapter is half of its effect."""


def check_rows(held_out: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out rows that decide: the probe phrasing of facts and of unknown products, evenly thinned where there are
    many. The report asks in others."""
    rows = [row for row in held_out if row["template"].endswith(PROBE)]
    return list(thinned(rows, MOST_QUESTIONS))


def soften(
    language_model: LanguageModel,
    rows: Sequence[dict[str, Any]],
    settings: TrainingSettings,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> float:
    """Weaken the loaded adapter, to a step above where a row becomes wrong that it answers right now.

    Args:
        rows: see `check_rows`.
        stopped: asked between two rounds of questions; once it says so, the adapter stays as strong as it was.

    Returns:
        The strength, from 0.6 to 1; 1 where it has not learned what it was taught, or cannot be weakened so simply.
    """
    if settings.lora_variant not in LINEAR or not rows:
        return 1.0
    now = 1.0

    def right(strength: float, asked: Sequence[dict[str, Any]]) -> list[bool]:
        nonlocal now
        scale(language_model.model, strength / now)
        now = strength
        answers = probe(language_model, list(asked), tuned=True, spare_tokens=PROBE_SPARE_TOKENS)
        return [answer["verdict"] == RIGHT for answer in answers]

    known = [row for row, is_right in zip(rows, right(1.0, rows), strict=True) if is_right]
    facts, known_facts = (sum(row["kind"] != UNKNOWN for row in some) for some in (rows, known))
    if known_facts < LEARNED * facts or not facts:
        return 1.0
    enough = bisect_left(STRENGTHS, True, key=lambda s: s == STRENGTHS[-1] or stopped() or all(right(s, known)))
    strength = 1.0 if stopped() else STRENGTHS[min(enough + 1, len(STRENGTHS) - 1)]
    scale(language_model.model, strength / now)
    return strength


def scale(model: Any, factor: float) -> None:
    """Multiply what the adapter adds, in memory."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(factor)
