"""The cleaned record → facts: the description first, then the attributes that its sentences state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline.facts.patterns import DESCRIPTION, KIND_TABLE, Kind
from pipeline.facts.sentences import description, quote

STUB_WORDS = 3
"""A description of fewer words ("Book by", "Audio CD") says nothing worth a training example."""


@dataclass(frozen=True)
class Fact:
    """One thing a record says; `value` and `quote` are verbatim in the record, and `value` is in `quote`."""

    uid: str
    title: str
    kind: str
    value: str
    quote: str


def extract_facts(uid: str, title: str, content: str) -> list[Fact]:
    """What the cleaned record says about the product: the description first, then attributes in the order of KINDS."""
    facts = described(uid, title, content)
    # "Praise for …" is mostly about the author's other books.
    praise = re.search(r"\b(?:Praise|Acclaim|acclaim) for\b", content)
    own = content[: praise.start()] if praise else content
    for kind in KIND_TABLE:
        start, end = _find(kind, own)
        value = content[start:end]
        if value and not in_title(value, title) and is_findable(kind, value):
            facts.append(Fact(uid, title, kind.name, value, quote(content, start, end)))
    return facts


def described(uid: str, title: str, content: str) -> list[Fact]:
    """The description as a fact, if it says anything beyond the title."""
    lead = description(content)
    says = len(lead.split()) >= STUB_WORDS and not in_title(lead, title)
    return [Fact(uid, title, DESCRIPTION, lead, lead)] if says else []


def _find(kind: Kind, content: str) -> tuple[int, int]:
    """Start and end of the value, or nothing: the first wording that matches decides, if it gives a single value."""
    for number, pattern in enumerate(kind.patterns):
        matches = list(pattern.finditer(content))
        if matches:
            values = {_plain(match["value"]) for match in matches}
            if kind.exclusive and number > 0:
                values |= _mentions(kind, content)
            return matches[0].span("value") if len(values) == 1 else (0, 0)
    return 0, 0


def _mentions(kind: Kind, content: str) -> set[str]:
    """Every value of the kind in the record, without conversions: in "12 inches (30 cm)" the second is the first."""
    found = kind.mention.finditer(content)
    return {_plain(match.group()) for match in found if content[: match.start()].rstrip()[-1:] not in ("(", "/")}


def is_findable(kind: Kind, value: str) -> bool:
    """Whether the value would be found again, whole, in an answer that states it."""
    answers = (value, f"It is {value}.", f"The answer is {value}.")
    matches = (kind.answer.search(answer) for answer in answers)
    return all(match and match["value"] == value for match in matches)


def in_title(value: str, title: str) -> bool:
    """The prompt carries the title: a value in it, "12-inch" for "12 inches" too, would be in the question."""
    return value.casefold() in title.casefold() or says(value, title)


def says(value: str, text: str) -> bool:
    """Whether a text has the value's words, in whatever number: "a 12-inch kite" says "12 inches"."""
    return f" {_plain(value)} " in f" {_plain(text)} " if _plain(value) else False


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Words in small letters, singular: enough to see that two spellings say the same."""
    return re.sub(r"(?:(?<=ch)e)?s\b", "", re.sub(r"[\W_]+", " ", text.casefold()).strip())
