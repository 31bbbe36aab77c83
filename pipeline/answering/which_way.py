"""Which way to answer with: every way's answers to a run's questions, counted, and the sentence that follows from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.answering.asker import Answer, RunModel
from pipeline.answering.scoring import INVENTED, RIGHT, verdict
from pipeline.answering.shop import Shop
from pipeline.answering.ways import AUTO, BASE, BASE_OPEN, CLOSED, EXTRACTIVE, OPEN, Said, answer_all
from pipeline.facts.extraction import VALUE, says
from pipeline.prompts import UNKNOWN, UNKNOWN_TITLE

LABELS = {
    BASE: "Base",
    BASE_OPEN: "Base with the record",
    CLOSED: "Closed book",
    OPEN: "Open book",
    EXTRACTIVE: "Extractive",
    AUTO: "Auto",
}


@dataclass(frozen=True)
class Counted:
    """What a way's answers come to.

    Attributes:
        answerable, right, wrong: questions that the record answers, and how many of them were answered so or otherwise.
        unanswerable, admitted, invented: the others, how many were admitted to be so, and how many got a value.
        seconds: an answer's mean time; 0 where it is not known.
    """

    way: str
    answerable: int
    right: int
    wrong: int
    unanswerable: int
    admitted: int
    invented: int
    seconds: float

    @property
    def label(self) -> str:
        return LABELS[self.way]

    @property
    def time(self) -> str:
        """An answer's mean time in words."""
        return f"{self.seconds:.2g} s" if self.seconds else "–"

    def as_dict(self) -> dict[str, Any]:
        """As `comparison.json` has it."""
        return asdict(self) | {"seconds": round(self.seconds, 4)}

    @property
    def right_share(self) -> float:
        return self.right / self.answerable if self.answerable else 0.0

    @property
    def invented_share(self) -> float:
        return self.invented / self.unanswerable if self.unanswerable else 0.0

    @property
    def trust(self) -> float:
        """The harmonic mean of the shares right and admitted; the share right where nothing can be admitted, and so on."""
        shares = [n / of for n, of in ((self.right, self.answerable), (self.admitted, self.unanswerable)) if of]
        return len(shares) / sum(1 / share for share in shares) if shares and all(shares) else 0.0


def count_ways(
    shop: Shop,
    questions: Sequence[dict[str, Any]],
    ways: Sequence[str],
    language_model: RunModel | None = None,
    other_kinds: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] | None = None,
    told: Mapping[str, Sequence[Said]] | None = None,
) -> list[Counted]:
    """A run's questions by every way, in their order.

    Args:
        questions: entries as `questions_now` gives them (`title`, `question`, `fact_kind`, `expected`).
        language_model, other_kinds, on_progress: as for `answer_all`.
        told: answers that there are already, by way and in the questions' order; they are not asked for again.
    """
    told = told or {}
    titles = [q["title"] if q["title"] != UNKNOWN_TITLE else "" for q in questions]
    asked = [shop.about(q["question"], title) for q, title in zip(questions, titles, strict=True)]
    new = [way for way in ways if way not in told]
    answers = answer_all(shop, asked, new, language_model, other_kinds, on_progress)
    by_way = dict(told) | {way: [mine[way] for mine in answers] for way in new}
    return [_counted(way, shop, questions, by_way[way]) for way in ways]


def counted_of(comparison: Mapping[str, Any], name: str) -> list[Counted]:
    """The ways that a comparison has counted, over its `questions` or over `everything`; none in one that did not."""
    names = {field.name for field in fields(Counted)}
    rows = comparison.get("ways", {}).get(name, [])
    return [Counted(**{key: row[key] for key in names}) for row in rows if row["way"] in LABELS]


HEADERS = ("Way", "Right", "Wrong", "Admitted", "Invented", "Time an answer")


def table(counted: Sequence[Counted]) -> list[tuple[str, ...]]:
    """What the ways came to, a row each under `HEADERS`."""
    return [
        (
            one.label,
            f"{one.right} of {one.answerable}",
            str(one.wrong),
            f"{one.admitted} of {one.unanswerable}",
            str(one.invented),
            one.time,
        )
        for one in counted
    ]


def _counted(way: str, shop: Shop, questions: Sequence[dict[str, Any]], said: Sequence[Said]) -> Counted:
    verdicts: dict[bool, list[str]] = {True: [], False: []}
    for question, one in zip(questions, said, strict=True):
        kind, expected = question["fact_kind"], question["expected"]
        if kind == UNKNOWN and way not in (BASE, CLOSED) and shop.has(question["title"]):
            continue  # not taught, but the catalogue has it, and these ways read the catalogue
        found = Answer.of(kind, one.raw, expected)
        has_value = kind != UNKNOWN and says(expected) == VALUE
        verdicts[has_value].append(verdict(kind, found.answer, expected))
    answerable, unanswerable = verdicts[True], verdicts[False]
    return Counted(
        way,
        len(answerable),
        answerable.count(RIGHT),
        len(answerable) - answerable.count(RIGHT),
        len(unanswerable),
        unanswerable.count(RIGHT),
        unanswerable.count(INVENTED),
        sum(one.seconds for one in said) / max(len(said), 1),
    )


def best_way(counted: Sequence[Counted]) -> Counted | None:
    """The way to use: the most trusted; of equals the one that invents less, then the quicker one. None where nothing was
    asked or no way has an answer right."""
    useful = [one for one in counted if one.trust]
    return min(useful, key=lambda one: (-round(one.trust, 4), one.invented_share, one.seconds), default=None)


def sentence(counted: Sequence[Counted]) -> str:
    """Which way to use, and what the worst other one would invent."""
    best = best_way(counted)
    if best is None:
        return "No way answers these questions." if counted else ""
    said = f"{best.label}: {_percent(best.right_share)} right, {_percent(best.invented_share)} invented."
    worst = max(counted, key=lambda one: one.invented_share)
    if worst.invented_share > best.invented_share:
        said += f" {worst.label} would invent {_percent(worst.invented_share)}."
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
