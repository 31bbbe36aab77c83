"""A reader's run as it is asked: the untrained encoder's sentence on the base's side, the trained reader's span on the tuned one.

It stands where a run's language model does, so a reader has its questions before and after, its recall and its report as any
run has. Both sides read the record that the shop finds, so both know products that were never trained.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.answering.asker import BASE, TUNED, Answer, Asker, Growing, Progress, Question, Rows
from pipeline.answering.lookup import kind_word_for_word
from pipeline.answering.saying import kinds_asked
from pipeline.answering.shop import DOESNT_SAY, About, Told, shop_of
from pipeline.catalogue.finding.sentences import shown
from pipeline.catalogue.finding.units import Unit, units
from pipeline.dataset.customers import STYLE
from pipeline.dataset.store import Dataset
from pipeline.facts.extraction import VALUE
from pipeline.models.encoder import ENCODER
from pipeline.prompts import GENERAL, OPEN, REVERSE, UNKNOWN, UNKNOWN_TITLE

if TYPE_CHECKING:
    from pipeline.models.reader import Reader, Reading

UNITS_READ = 4
"""Units of a long record that a reader is given, as many as the finder ranks."""

WHOLE_WORDS = 100
"""A record of no more words is read whole: a description may be several sentences."""

MARGIN_WEIGHT = 0.1
"""What a reader's margin counts beside the finder's logit."""

TOGETHER = 32
"""Questions between two moments at which it says how far it is."""


class RunReader(Asker):
    """Who answers for a run whose base is the encoder.

    Attributes:
        reader: the trained one; None before there is one.
        other: another run's.
    """

    base_model, by_heart = ENCODER, False

    def __init__(self, dataset: Dataset, base_sha256: str, reader: "Reader | None" = None) -> None:
        self.dataset, self.base_sha256 = dataset, base_sha256
        self.reader = reader
        self.other: Reader | None = None

    def origin(self) -> dict[str, str]:
        return {"base_model": self.base_model, "base_sha256": self.base_sha256}

    def about(self, question: str, title: str) -> About:
        return shop_of(self.dataset).about(question, "" if title == UNKNOWN_TITLE else title)

    def tell(self, asked: Sequence[About], who: str) -> list[Told]:
        """The answers of one side to questions whose product was found.

        Args:
            who: `BASE`, `TUNED` or `OTHER`.
        """
        if who == BASE:
            shop = shop_of(self.dataset)
            return [shop.extract(about) for about in asked]
        reader = self.reader if who == TUNED else self.other
        assert reader, "there is no trained reader"
        readings = reader.read([to_read(about) for about in asked])
        shop = shop_of(self.dataset)
        told = []
        for about, reading in zip(asked, readings, strict=True):
            if about.put_right or about.product is None or about.listed or about.beside:
                told.append(shop.extract(about))
            elif reading.span and is_told(about, reading, reader.threshold, shop.sentences.threshold):
                told.append(Told(answer_of(about, reading), VALUE, reading.source))
            else:
                told.append(DOESNT_SAY)
        return told

    def ask(self, questions: Sequence[Question], *, tuned: bool, on_progress: Progress | None = None) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(questions), TOGETHER):
            part = questions[start : start + TOGETHER]
            told = self.tell([self.about(q.text, q.title) for q in part], TUNED if tuned else BASE)
            answers += [Answer.of(q.kind, one.answer, q.expected) for q, one in zip(part, told, strict=True)]
            if on_progress:
                on_progress(len(answers), len(questions))
        return answers

    def grow(
        self, asked: dict[str, tuple[str, str]], about: About | None, *, max_new_tokens: int, temperature: float
    ) -> Growing:
        """Its answers are there at once, with the sentences that they stand in; none is the owner's own."""
        assert about, "a reader reads what was found"
        own = replace(about, put_right=None)
        told = {side: self.tell([own], who)[0] for side, (who, _) in asked.items()}
        yield {side: one.answer for side, one in told.items()}, {side: one.source for side, one in told.items()}

    def graded(self, training: Rows, held_out: Rows, max_length: int) -> Rows:
        """None of the rows that chose its threshold, and none about a title that was not taught and is the catalogue's all the
        same, since the record answers there."""
        shop = shop_of(self.dataset)
        return [
            row
            for row in held_out
            if not chooses(row) and not (row["kind"] == UNKNOWN and shop.has(row["title"]))
        ]  # fmt: skip


def to_read(about: About) -> tuple[str, list[list[str]], str]:
    """The question, what is read to answer it, and the sentence that was found to answer best, in which the span begins: trained
    on some hundred templates, a reader chooses the sentence worse than the finder does (benchmarks/RESULTS.md)."""
    return about.question, passages_of(about), shown(about.found.unit, about.question) if about.found else ""


def sureness(about: About, margin: float) -> float:
    """How sure a span is to answer: the finder's likelihood (its logit) and the reader's margin over silence together."""
    likely = about.found.likely if about.found else 0.0
    if not likely:  # nothing in the record tells what is asked
        return float("-inf")
    likely = min(max(likely, 1e-3), 1 - 1e-3)
    return math.log(likely / (1 - likely)) + MARGIN_WEIGHT * margin


def is_told(about: About, reading: "Reading", threshold: float, finder_threshold: float) -> bool:
    """Whether a reading is the answer, and the record not silent. In words that it was not taught in, a reader is too sure of
    itself: there the finder has to be as sure as it must be without a reader."""
    if about.product is None or sureness(about, reading.margin) < threshold:
        return False
    taught = kind_word_for_word(about.question, about.product.title)
    return bool(taught) or (about.found is not None and about.found.likely >= finder_threshold)


def answer_of(about: About, reading: "Reading") -> str:
    """What is said of a reading: the span where the question asks for a kind of fact, as those that train do; else the sentence
    that it stands in, since a span cut out of it for another question may leave out what was asked."""
    assert about.product
    asks_for_kind = kinds_asked(about.question) or kind_word_for_word(about.question, about.product.title)
    return reading.span if asks_for_kind else to_read(about)[2] or reading.span


def passages_of(about: About) -> list[list[str]]:
    """What a reader reads to answer a question."""
    if about.product is None or about.found is None:
        return []
    every = units(about.product.content)
    return [
        [text for _, text in passage]
        for passage in passages(units_read(every, [about.found.unit, *about.found.others]), about.question)
    ]


def units_read(every: Sequence[Unit], nearest: Sequence[Unit]) -> list[Unit]:
    """The units of a record that are read, in its order: all of a short one, else those that fit a question best."""
    is_short = sum(len(unit.text.split()) for unit in every) <= WHOLE_WORDS
    return list(every) if is_short else sorted(nearest[:UNITS_READ], key=lambda unit: unit.start)


def passages(read: Sequence[Unit], question: str) -> list[list[tuple[Unit, str]]]:
    """Units with their text as it is read; those that follow each other in the record are one passage."""
    found: list[list[tuple[Unit, str]]] = []
    for unit in read:
        text = shown(unit, question)
        before, whole = found[-1][-1] if found else (None, "")
        follows = before is not None and unit.start == before.end + 1 and whole == before.text and text == unit.text
        if follows:
            found[-1].append((unit, text))
        else:
            found.append([(unit, text)])
    return found


def is_read(row: dict[str, Any]) -> bool:
    """Whether a training row is about a product's record: no general question, none for a title, and none that brings its own."""
    return row["kind"] not in (GENERAL, REVERSE, OPEN)


def chooses(row: dict[str, Any]) -> bool:
    """Whether a held-out row in a customer's style chooses a reader's threshold: every second one, which then grades nothing."""
    if not row["template"].split(":")[-1].startswith(STYLE):
        return False
    return int(hashlib.sha256(row["prompt"].encode(errors="replace")).hexdigest(), 16) % 2 == 0
