"""An answer and the expected text → a verdict."""

import re
import string
import unicodedata
from collections import Counter

from pipeline.answering.prompts import UNKNOWN, is_refusal
from pipeline.data.facts import DESCRIPTION

RIGHT, PARTIAL, WRONG, NOTHING_FOUND = "right", "partial", "wrong", "nothing_found"

DESCRIPTION_RIGHT, PARTLY_RIGHT = 0.9, 0.5
"""Token F1 from which a description counts as right, and from which any answer counts as partial."""

_ARTICLE = re.compile(r"^(?:an?|the)\s+")


def verdict(kind: str, answer: str, expected: str) -> str:
    """Score an extracted answer.

    Args:
        kind: the fact's kind, or `UNKNOWN`.
        answer: what the pattern found; empty when it found nothing.
        expected: the record's own words, or the refusal.

    Returns:
        `right`, `partial`, `wrong` or `nothing_found`. A refusal is right for an unknown product and wrong for a known one.
    """
    if not answer:
        return NOTHING_FOUND
    if kind == UNKNOWN or is_refusal(answer):
        return RIGHT if kind == UNKNOWN and is_refusal(answer) else WRONG
    if normalise(answer) == normalise(expected):
        return RIGHT
    overlap = token_f1(answer, expected)
    if kind == DESCRIPTION:
        return RIGHT if overlap >= DESCRIPTION_RIGHT else PARTIAL if overlap >= PARTLY_RIGHT else WRONG
    return PARTIAL if overlap >= PARTLY_RIGHT and _numbers(answer) == _numbers(expected) else WRONG


def normalise(text: str) -> str:
    """Lower case, without accents, leading article, or punctuation at the ends; spaces folded."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = " ".join(plain.replace("-", " ").replace("’", "'").split()).strip(string.punctuation + " ")
    return _ARTICLE.sub("", plain)


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of word precision and recall, as in SQuAD's evaluation (Rajpurkar et al., 2016)."""
    got, wanted = Counter(_words(answer)), Counter(_words(expected))
    shared = sum((got & wanted).values())
    return 2 * shared / (got.total() + wanted.total()) if shared else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalise(text))


def _numbers(text: str) -> list[str]:
    """An attribute's numbers must agree even for a partial verdict: 12 inches and 14 inches share a word, not an answer."""
    return sorted(re.findall(r"\d+(?:\.\d+)?", text))
