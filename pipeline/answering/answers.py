"""Questions → answers of the base and of the tuned model, in batches."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.answering.backend import Backend
from pipeline.answering.hearing import Hearing, Listener
from pipeline.answering.run_reader import BASE, TUNED, RunReader
from pipeline.answering.scoring import verdict
from pipeline.facts.extraction import extract
from pipeline.facts.patterns import DESCRIPTION
from pipeline.prompts import GENERAL, UNKNOWN_TITLE, encode_answer, encode_example, encode_prompt

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

T = TypeVar("T")

MAX_NEW_TOKENS = 96
"""Enough for a description of 240 characters."""

GENERAL_TOKENS = 24
"""Enough for a short sentence with the answer to a general question in it; a model that rambles has said it by then or not
at all."""

BATCH_SIZE, GPU_BATCH_SIZE = 32, 64
"""Questions that are asked at once: a processor needs 1.4 times as long for a step of 32 as for one of 16, and a GPU hardly any
longer for more."""


@dataclass(frozen=True)
class Question:
    """A prompt, and which kind of fact its answer is (`description`, an attribute's name, or `unknown`).

    `expected` is the record's value, where it is known: what has no shape of its own is looked for in another way. `title` and
    `text` are what the prompt is about and asks: a reader, which has no prompts, is asked those. `listener` hears the answer
    while it is decoded, its words only where it `is_said` as the model says it.
    """

    prompt: str
    kind: str = DESCRIPTION
    max_new_tokens: int = MAX_NEW_TOKENS
    expected: str = ""
    title: str = UNKNOWN_TITLE
    text: str = ""
    listener: Listener | None = None
    is_said: bool = True


@dataclass(frozen=True)
class Answer:
    """A model's raw text, and the part of it that the kind's pattern extracted (empty when it found nothing)."""

    raw: str
    answer: str

    @classmethod
    def of(cls, kind: str, raw: str, expected: str = "") -> "Answer":
        """The answer in a raw text, to a question about a fact of this kind; `expected` is the record's value, if known."""
        return cls(raw, extract(kind, raw, expected).answer)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def ask(
    language_model: "LanguageModel | RunReader | Backend",
    questions: Iterable[Question],
    *,
    tuned: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Ask each question alone, in batches, greedily; answers come in the questions' order.

    Args:
        tuned: with the adapter on; off means the base model.
        on_progress: called with (answered, of).
    """
    asked = list(questions)
    if isinstance(language_model, RunReader):
        return _read(language_model, asked, TUNED if tuned else BASE, on_progress)
    if isinstance(language_model, Backend):
        said = language_model.complete([(q.prompt, q.max_new_tokens) for q in asked])
        return [Answer.of(q.kind, raw, q.expected) for q, raw in zip(asked, said, strict=True)]
    tokens = [encode_prompt(language_model.tokenizer, q.prompt) for q in asked]
    # Questions of like length and kind share a batch, so that a short answer does not wait for a long one.
    order = sorted(range(len(asked)), key=lambda i: (asked[i].kind == DESCRIPTION, len(tokens[i])))
    answers: dict[int, Answer] = {}
    for batch in in_batches(language_model, order):
        rooms = [asked[i].max_new_tokens for i in batch]
        listeners = [asked[i].listener for i in batch]
        options: dict[str, Any] = {"tuned": tuned, "max_new_tokens": max(rooms)}
        if any(listeners):
            kinds = [asked[i].kind if asked[i].is_said else "" for i in batch]
            options["on_step"] = Hearing(language_model, listeners, kinds, max(rooms))
        else:
            options["on_step"] = partial(_whole, language_model, [asked[i] for i in batch])
        raws = language_model.generate([tokens[i] for i in batch], **options)
        for i, raw in zip(batch, raws, strict=True):
            answers[i] = Answer.of(asked[i].kind, raw, asked[i].expected)
        if on_progress:
            on_progress(len(answers), len(asked))
    return [answers[i] for i in range(len(asked))]


def _whole(language_model: "LanguageModel", asked: Sequence[Question], said: Sequence[list[int]]) -> list[int]:
    """The answers of a batch that have had their room, or to which nothing more belongs."""
    return [
        at
        for at, (question, tokens) in enumerate(zip(asked, said, strict=True))
        if len(tokens) >= question.max_new_tokens or (question.kind == GENERAL and has_line(language_model, tokens))
    ]


def has_line(language_model: "LanguageModel", tokens: list[int]) -> bool:
    """Whether an answer has come beyond its first line, which is all that counts of one to a general question."""
    return "\n" in language_model.text(tokens)


def _read(
    reader: RunReader, asked: Sequence[Question], who: str, on_progress: Callable[[int, int], None] | None
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(asked), BATCH_SIZE):
        part = asked[start : start + BATCH_SIZE]
        told = reader.tell([reader.about(q.text, q.title) for q in part], who)
        answers += [Answer.of(q.kind, one.answer, q.expected) for q, one in zip(part, told, strict=True)]
        if on_progress:
            on_progress(len(answers), len(asked))
    return answers


def in_batches(language_model: "LanguageModel", items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut what is asked into what fits one pass of the model."""
    size = GPU_BATCH_SIZE if language_model.model.device.type == "cuda" else BATCH_SIZE
    return (items[start : start + size] for start in range(0, len(items), size))


def thinned(rows: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of the rows, evenly."""
    return rows[:: math.ceil(len(rows) / most) or 1]


def ask_rows(
    language_model: "LanguageModel | RunReader",
    rows: list[dict],
    *,
    tuned: bool,
    spare_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, str]]:
    """Ask the questions of dataset rows and score them.

    Args:
        rows: dataset rows (`kind`, `prompt`, `response`, …).
        spare_tokens: an answer may be this much longer than the right one, which spares a model that knows nothing yet
            the time to say so at length; without it, every answer has the same room.

    Returns:
        `{"raw", "answer", "verdict"}` for each row.
    """
    questions = [
        Question(
            row["prompt"],
            row["kind"],
            MAX_NEW_TOKENS
            if isinstance(language_model, RunReader)
            else _room(language_model.tokenizer, row["response"], spare_tokens),
            row["response"],
            row["title"],
            row["question"],
        )
        for row in rows
    ]
    answers = ask(language_model, questions, tuned=tuned, on_progress=on_progress)
    return [score(row, answer) for row, answer in zip(rows, answers, strict=True)]


def ask_expecting(
    language_model: "LanguageModel | RunReader",
    rows: list[dict],
    *,
    tuned: bool,
    spare_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, str]]:
    """`ask_rows` for a model that may know most answers already: those it would give word for word are not decoded.

    Whatever else it says is decoded and scored like any answer, so the verdicts are those of `ask_rows`.
    """
    if isinstance(language_model, RunReader):
        return ask_rows(language_model, rows, tuned=tuned, on_progress=on_progress)
    known = known_by_heart(language_model, rows, tuned=tuned)

    def told(done: int, _: int = 0) -> None:
        if on_progress:
            on_progress(sum(known) + done, len(rows))

    told(0)
    others = [row for row, sure in zip(rows, known, strict=True) if not sure]
    options = {"tuned": tuned, "spare_tokens": spare_tokens, "on_progress": told}
    asked = iter(ask_rows(language_model, others, **options) if others else [])
    return [
        score(row, Answer.of(row["kind"], row["response"], row["response"])) if sure else next(asked)
        for row, sure in zip(rows, known, strict=True)
    ]


def known_by_heart(language_model: "LanguageModel", rows: list[dict], *, tuned: bool) -> list[bool]:
    """Which rows' responses greedy decoding would give word for word."""
    encoded = [encode_example(language_model.tokenizer, row["prompt"], row["response"]) for row in rows]
    return language_model.would_say([_of(e, 0) for e in encoded], [_of(e, 1) for e in encoded], tuned=tuned)


def _of(example: dict[str, list[int]], part: int) -> list[int]:
    """An encoded row's prompt (0) or its response with the end token (1)."""
    return [t for t, mask in zip(example["input_ids"], example["completion_mask"], strict=True) if mask == part]


def score(row: dict, answer: Answer) -> dict[str, str]:
    """An answer to a row's question with its verdict: `{"raw", "answer", "verdict"}`."""
    return answer.as_dict() | {"verdict": verdict(row["kind"], answer.answer, row["response"])}


def _room(tokenizer: Any, response: str, spare_tokens: int | None) -> int:
    if spare_tokens is None:
        return MAX_NEW_TOKENS
    return min(MAX_NEW_TOKENS, len(encode_answer(tokenizer, response)) + 1 + spare_tokens)
