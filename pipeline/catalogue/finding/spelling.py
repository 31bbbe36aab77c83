"""Misspellings: which word a slip of the fingers was meant for."""

import re
from collections.abc import Callable, Collection, Iterable

from rapidfuzz import process
from rapidfuzz.distance import OSA

from pipeline.catalogue.finding.words import WORD

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLACE = {letter: (row, at) for row, letters in enumerate(_ROWS) for at, letter in enumerate(letters)}

LONG = 8
"""Letters from which on a word may hold two slips."""


def meant(word: str, known: Iterable[str]) -> str:
    """The known word that a misspelled one stands for, or nothing where none is one slip away (of a long one, two).

    Of several as near, one with two letters swapped goes before one with a letter more or less, and that before one with
    another letter; then the earlier one.
    """
    if len(word) < 3:
        return ""
    best, fewest = "", (3, 0)
    # A slip is at least one edit, which the library counts a hundred times as fast.
    near = process.extract(word, list(known), scorer=OSA.distance, score_cutoff=2, limit=None)
    for other, _, _ in sorted(near, key=lambda one: one[2]):
        if len(other) < 3:
            continue
        slips = slips_between(word, other, min(fewest[0], 2 if len(other) >= LONG else 1))
        if slips is not None and (rank := (slips, _unlikely(word, other))) < fewest:
            best, fewest = other, rank
    return best


def _unlikely(word: str, other: str) -> int:
    return 0 if sorted(word) == sorted(other) else 1 if len(word) != len(other) else 2


def mended(
    text: str,
    known: Collection[str],
    name: Collection[str],
    is_word: Callable[[str], bool],
    correct: Callable[[str], str],
) -> str:
    """A text with its misspelled words as they were meant.

    Args:
        known: words in small letters that the text may mean, the likelier first.
        name: those of them that are the product's: even a short word of the language may be a slip for one ("hoe", "hose").
        is_word: whether a string is a word of the language, which is left as it is.
        correct: the word of the language that a string may be a slip for, or nothing.
    """

    def one(found: "re.Match[str]") -> str:
        word = found[0].casefold()
        if len(word) < 3 or word in known or not word.isalpha():
            return found[0]
        if is_word(word):
            return (meant(word, name) if len(word) < 5 else "") or found[0]
        return meant(word, name) or meant(word, known) or correct(word) or found[0]

    return WORD.sub(one, text)


def slips_between(word: str, other: str, most: int) -> int | None:
    """How many slips make one word of the other, if no more than `most`: two letters swapped, one left out, one too many, or
    the key beside the right one."""
    if word == other:
        return 0
    if most <= 0:
        return None
    start = 0
    while start < min(len(word), len(other)) and word[start] == other[start]:
        start += 1
    a, b = word[start:], other[start:]
    tries = [(a[1:], b)] if a else []
    tries += [(a, b[1:])] if b else []
    if a and b and _are_neighbours(a[0], b[0]):
        tries.append((a[1:], b[1:]))
    if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
        tries.append((a[2:], b[2:]))
    found = [rest for one, two in tries if (rest := slips_between(one, two, most - 1)) is not None]
    return 1 + min(found) if found else None


def _are_neighbours(a: str, b: str) -> bool:
    """Whether two keys touch, or two vowels are confused."""
    if a in "aeiouy" and b in "aeiouy":
        return True
    if a not in _PLACE or b not in _PLACE:
        return False
    (row, at), (other_row, other_at) = _PLACE[a], _PLACE[b]
    return abs(row - other_row) <= 1 and abs(at - other_at) <= 1
