"""A dataset's rows → what a reader is trained on: a question, parts of a record, and the span that answers, or none.

Facts carry verbatim quotes, so the spans are known. Questions that a record does not answer, and those about products that are
not taught, are read in a record that does not answer them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.answering.run_reader import UNITS_READ, is_read, passages, units_read
from pipeline.catalogue.finding.measures import tells
from pipeline.catalogue.finding.units import Unit, units
from pipeline.dataset.customers import MEASURE_OF, TWO
from pipeline.dataset.store import Dataset
from pipeline.models.encoder import Encoder
from pipeline.models.reader import Joined
from pipeline.prompts import SILENT, UNKNOWN

LOOKED_AT = 20
"""Records looked at for one that does not answer a question."""


@dataclass(frozen=True)
class ReadingRow:
    """A question, what is read, and where in its text the answer stands; None where it has none."""

    question: str
    passages: tuple[tuple[str, ...], ...]
    span: tuple[int, int] | None = None


def reading_rows(dataset: Dataset, encoder: Encoder, seed: int, most: int) -> tuple[list[ReadingRow], int]:
    """What a reader is trained on, and how many rows have an answer that is no one span of the record.

    Args:
        most: rows that will be seen; of more, so many are drawn.
    """
    rows = [row for row in dataset.training() if is_read(row)]
    rng = random.Random(f"{seed}:reading")
    if len(rows) > most:
        rows = rng.sample(rows, most)
    records = {product["uid"]: product["content"] for product in dataset.manifest["products"]}
    facts = {(fact["uid"], fact["kind"]): fact for fact in dataset.manifest["facts"]}
    kinds: dict[str, set[str]] = {uid: set() for uid in records}
    for uid, kind in facts:
        kinds[uid].add(kind)
    parts = _Parts(list(records.values()), [row["question"] for row in rows], encoder)
    found: list[ReadingRow] = []
    for row in rows:
        if row["kind"] == UNKNOWN:
            uid = _silent_record(row["template"].split(":")[1], records, kinds, rng)
            made = uid and _row(row["question"], records[uid], parts)
        elif row["uid"] not in records:
            made = None
        elif row["kind"] == SILENT:
            made = _row(row["question"], records[row["uid"]], parts)
        else:
            content = records[row["uid"]]
            span = _span(row, facts.get((row["uid"], row["kind"])), content)
            made = span and _row(row["question"], content, parts, span)
        if made:
            found.append(made)
    return found, len(rows) - len(found)


def _silent_record(kind: str, records: dict[str, str], kinds: dict[str, set[str]], rng: random.Random) -> str:
    """A product whose record does not tell a kind of fact; empty where none of some does."""
    for uid in rng.sample(list(records), min(LOOKED_AT, len(records))):
        if kind not in kinds[uid] and not (kind in MEASURE_OF and tells(MEASURE_OF[kind], records[uid])):
            return uid
    return ""


def _span(row: dict[str, Any], fact: dict[str, str] | None, content: str) -> tuple[int, int] | None:
    """Where a row's answer stands in the record: the fact's value in its quote, or what a person said that it is."""
    if row["template"].endswith(f":{TWO}"):
        return None
    if fact and fact["value"] in row["response"]:
        at = content.find(fact["quote"])
        begin = at + fact["quote"].find(fact["value"])
        return (begin, begin + len(fact["value"])) if at >= 0 else None
    at = content.find(row["response"])
    return (at, at + len(row["response"])) if at >= 0 else None


class _Parts:
    """The parts of records that are nearest to questions, by the encoder's vectors of both as wholes."""

    def __init__(self, records: Sequence[str], questions: Sequence[str], encoder: Encoder) -> None:
        self.units = {content: units(content) for content in records}
        every = [unit.text for own in self.units.values() for unit in own]
        vectors = iter([encoded.whole for encoded in encoder.encode(every)])
        self._vectors = {content: [next(vectors) for _ in own] for content, own in self.units.items()}
        asked = list(dict.fromkeys(questions))
        self._asked = {q: encoded.whole for q, encoded in zip(asked, encoder.encode(asked), strict=True)}

    def nearest(self, question: str, content: str) -> list[Unit]:
        near = [float(vector @ self._asked[question]) for vector in self._vectors[content]]
        return [self.units[content][int(i)] for i in np.argsort([-n for n in near], kind="stable")[:UNITS_READ]]


def _row(question: str, content: str, parts: _Parts, span: tuple[int, int] | None = None) -> ReadingRow | None:
    """What is read of a record, with the units that have the answer; None where what is read has it not whole."""
    every = parts.units[content]
    begin, end = span or (0, 0)
    holders = [unit for unit in every if unit.start < end and begin < unit.end]
    nearest = [*holders, *(unit for unit in parts.nearest(question, content) if unit not in holders)]
    found = passages(units_read(every, nearest), question)
    read = tuple(tuple(text for _, text in passage) for passage in found)
    if not span:
        return ReadingRow(question, read)
    joined = Joined(read)
    for passage, (at, to) in zip(found, joined.passages, strict=True):
        first, last = passage[0][0], passage[-1][0]
        if first.start <= begin and end <= last.end:
            place = at + joined.text[at:to].find(
                content[begin:end], begin - first.start if passage[0][1] == first.text else 0
            )
            return ReadingRow(question, read, (place, place + end - begin)) if place >= at else None
    return None
