"""Questions → answers of the base and of the tuned model, scored."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pipeline.answering.asker import Answer, Progress, Question, RunModel
from pipeline.answering.scoring import verdict
from pipeline.answering.speaker import asker_of

T = TypeVar("T")


def ask(
    language_model: RunModel, questions: Iterable[Question], *, tuned: bool, on_progress: Progress | None = None
) -> list[Answer]:
    """Ask each question alone, in batches, greedily; answers come in the questions' order.

    Args:
        tuned: with what the run trained; otherwise the base.
        on_progress: called with (answered, of).
    """
    return asker_of(language_model).ask(list(questions), tuned=tuned, on_progress=on_progress)


def ask_rows(
    language_model: RunModel,
    rows: Sequence[dict[str, Any]],
    *,
    tuned: bool,
    spare_tokens: int | None = None,
    on_progress: Progress | None = None,
) -> list[dict[str, str]]:
    """Ask the questions of dataset rows and score them.

    Args:
        rows: dataset rows (`kind`, `prompt`, `response`, …).
        spare_tokens: an answer may be this much longer than the right one, which spares a model that knows nothing yet
            the time to say so at length; without it, every answer has the same room.

    Returns:
        `{"raw", "answer", "verdict"}` for each row.
    """
    asker = asker_of(language_model)
    questions = [
        Question(
            row["prompt"],
            row["kind"],
            asker.room(row["response"], spare_tokens),
            row["response"],
            row["title"],
            row["question"],
        )
        for row in rows
    ]
    answers = asker.ask(questions, tuned=tuned, on_progress=on_progress)
    return [score(row, answer) for row, answer in zip(rows, answers, strict=True)]


def ask_expecting(
    language_model: RunModel,
    rows: Sequence[dict[str, Any]],
    *,
    tuned: bool,
    spare_tokens: int | None = None,
    on_progress: Progress | None = None,
) -> list[dict[str, str]]:
    """`ask_rows` for a model that may know most answers already: those it would give word for word are not decoded.

    Whatever else it says is decoded and scored like any answer, so the verdicts are those of `ask_rows`.
    """
    known = asker_of(language_model).knows(rows, tuned=tuned)

    def told(done: int, _: int = 0) -> None:
        if on_progress:
            on_progress(sum(known) + done, len(rows))

    told(0)
    others = [row for row, sure in zip(rows, known, strict=True) if not sure]
    options: dict[str, Any] = {"tuned": tuned, "spare_tokens": spare_tokens, "on_progress": told}
    asked = iter(ask_rows(language_model, others, **options) if others else [])
    return [
        score(row, Answer.of(row["kind"], row["response"], row["response"])) if sure else next(asked)
        for row, sure in zip(rows, known, strict=True)
    ]


def score(row: dict, answer: Answer) -> dict[str, str]:
    """An answer to a row's question with its verdict: `{"raw", "answer", "verdict"}`."""
    return answer.as_dict() | {"verdict": verdict(row["kind"], answer.answer, row["response"])}


def thinned(rows: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of the rows, evenly."""
    return rows[:: math.ceil(len(rows) / most) or 1]
