"""What a run has come to, as far as its folder says: what several runs of different bases are compared by."""

from dataclasses import dataclass

from pipeline.models.config import base_shape
from pipeline.models.family import family_of_base
from pipeline.runs.view import RunView, read_everything


@dataclass(frozen=True)
class Reached:
    """A run's figures; None for what is not known (yet).

    Attributes:
        recall: share of the questions of the last recall check.
        trust: harmonic mean of what it answers right in customers' words and what it admits that the record does not say.
        kept: general questions that the base has right and it still has, and of how many.
        seconds, memory: of its training; memory in bytes, at the peak.
        weights: how many numbers its base has.
    """

    recall: float | None
    trust: float | None
    kept: tuple[int, int] | None
    seconds: float | None
    memory: int | None
    weights: int | None

    @classmethod
    def of(cls, view: RunView) -> "Reached":
        probe = view.probes[-1] if view.probes else None
        summary = (read_everything(view.folder) or {}).get("summary", {})
        general = summary.get("general")
        has_customers = summary.get("styled_questions") and summary.get("silent_questions")
        return cls(
            recall=probe["right"] / probe["total"] if probe else None,
            trust=_harmonic(summary["styled"], summary["admitted"]) if has_customers else None,
            kept=(general["kept"], general["base_right"]) if general else None,
            seconds=view.ending.get("seconds"),
            memory=view.ending.get("peak_memory_bytes"),
            weights=_weights(view),
        )


def _harmonic(right: float, admitted: float) -> float:
    return 2 * right * admitted / (right + admitted) if right and admitted else 0.0


def _weights(view: RunView) -> int | None:
    if weights := family_of_base(view.settings.base_model).weights:
        return weights
    shape = base_shape(view.settings.base_model)
    return shape.weights if shape else None
