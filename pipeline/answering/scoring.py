"""An answer and the expected text → a verdict.

What is measured is compared as numbers with units, names as names, anything else as words; a description by its overlap.
"""

import math
import re
import string
import unicodedata
from collections import Counter

from pipeline.facts.extraction import VALUE, says
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.quantities import NO_SYSTEM, Quantity, quantities
from pipeline.prompts import SILENT, UNKNOWN

RIGHT, PARTIAL, WRONG, NOTHING_FOUND = "right", "partial", "wrong", "nothing_found"
INVENTED = "invented"
"""A value where the record says nothing, or of a product that nobody taught."""

DESCRIPTION_RIGHT, PARTLY_RIGHT = 0.9, 0.5
"""Token F1 from which a description counts as right, and from which it counts as partial."""

YES_OR_NO = ("yes", "no")

MEASURED = {
    "size", "dimensions", "weight", "capacity", "pieces", "pages", "year", "running_time", "price", "power", "warranty",
}  # fmt: skip
NAMES = {"author", "publisher", "country"}


def verdict(kind: str, answer: str, expected: str) -> str:
    """Score an extracted answer.

    Args:
        kind: the fact's kind, or `UNKNOWN` or `SILENT`.
        answer: what the pattern found; empty when it found nothing.
        expected: the record's own words, or one of the two sentences.

    Returns:
        `right`, `partial`, `wrong`, `nothing_found` or `invented`: a value where one of the two sentences is right. Either
        sentence in the place of the other, or of a value, is wrong.
        Partial is an answer that is true as far as it goes: a number without its unit, one of two authors, "steel" for
        "stainless steel"; or one that says more than the record.
    """
    if not answer:
        return NOTHING_FOUND
    said, wanted = says(answer), {UNKNOWN: UNKNOWN, SILENT: SILENT}.get(kind, says(expected))
    if said != VALUE or wanted != VALUE:
        return RIGHT if said == wanted else INVENTED if said == VALUE else WRONG
    if answer.casefold() == expected.casefold():
        return RIGHT
    if expected.casefold() in YES_OR_NO:  # "No, it is not." says no
        return RIGHT if _words(answer)[:1] == [expected.casefold()] else WRONG
    if kind == DESCRIPTION:
        overlap = token_f1(answer, expected)
        return RIGHT if overlap >= DESCRIPTION_RIGHT else PARTIAL if overlap >= PARTLY_RIGHT else WRONG
    if kind == "age":
        return _compare_ages(answer, expected)
    if kind in MEASURED and (wanted := quantities(kind, expected)):
        return _compare_quantities(quantities(kind, answer), wanted)
    return _compare_parts(_parts(kind, answer), _parts(kind, expected))


MAX_WORDS = 40
"""Of an answer to a customer: a longer one recites."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def same_in_other_words(answer: str, expected: str) -> bool | None:
    """Whether an answer says what a person's own answer says, neither being in the record's words.

    Yes and no must agree where both say so; then it has the person's numbers, or half of the words of both (token F1).

    Returns:
        None where the words do not decide it.
    """
    said, wanted = (next(iter(_words(text)), "") for text in (answer, expected))
    if said in YES_OR_NO and wanted in YES_OR_NO and said != wanted:
        return False
    if len(answer.split()) > MAX_WORDS:
        return False
    numbers = _numbers(expected)
    if (numbers and numbers <= _numbers(answer)) or token_f1(answer, expected) >= PARTLY_RIGHT:
        return True
    return None


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


# --- Words ---

_ARTICLE = re.compile(r"^(?:an?|the)\s+")


def normalise(text: str) -> str:
    """Lower case, without accents, leading article, or punctuation at the ends; spaces folded."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = " ".join(re.sub("[-‐‑–]", " ", plain).replace("’", "'").split()).strip(string.punctuation + " ")
    return _ARTICLE.sub("", plain)


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of word precision and recall, as in SQuAD's evaluation (Rajpurkar et al., 2016)."""
    got, wanted = Counter(_words(answer)), Counter(_words(expected))
    shared = sum((got & wanted).values())
    return 2 * shared / (got.total() + wanted.total()) if shared else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalise(text))


# --- Names, and what else is made of words ---

_NO_PART_OF_A_NAME = {"dr", "mr", "mrs", "ms", "sir", "dame", "prof", "rev", "jr", "sr", "inc", "ltd", "llc"}
_NO_PART_OF_A_WARRANTY = {"warranty", "guarantee", "manufacturer", "s"}
_SPELLINGS = {
    "grey": "gray",
    "aluminium": "aluminum",
    "fibre": "fiber",
    "microfibre": "microfiber",
    "anodised": "anodized",
}
_FLIPPED = re.compile(r"\A((?:[a-z]+ )*[^\s,]+), ([^,]+)")
_SAME = {
    "unitedstates": "us",
    "unitedstatesofamerica": "us",
    "usa": "us",
    "america": "us",
    "unitedkingdom": "uk",
    "greatbritain": "uk",
    "britain": "uk",
    "hardback": "hardcover",
    "vhstape": "vhs",
    "vhscassette": "vhs",
}
"""What is called by two names; keys and values without spaces, as `_key` makes them."""

Part = tuple[str, ...]
"""The words of one name, colour, material …"""


def _parts(kind: str, text: str) -> set[Part]:
    """The names, colours, materials … that a text lists; their order in the list says nothing."""
    text = text.replace("&", " and ")
    if kind == "publisher":
        pieces = [text]
    elif kind == "author":
        pieces = [name for piece in re.split(r"(?i)\band\b|;", text) for name in _names(piece.strip(" ,."))]
    else:
        pieces = re.split(r"(?i),|/(?!\d)|;|\band\b", text)
    return {part for piece in pieces if (part := _part(kind, piece))}


def _names(text: str) -> list[str]:
    """A list of names; in "Last, First" alone the comma separates none."""
    flipped = _FLIPPED.fullmatch(text)
    return [f"{flipped[2]} {flipped[1]}"] if flipped else text.split(",")


def _part(kind: str, text: str) -> Part:
    words = _unrepeated(_words(text))
    if kind in NAMES:
        return tuple(word for word in words if word not in _NO_PART_OF_A_NAME)
    if kind == "warranty":
        words = [word for word in words if word not in _NO_PART_OF_A_WARRANTY]
    singular = [re.sub(r"(?<=\w\w[^s])s$", "", word) for word in words]
    return tuple(_SPELLINGS.get(word, word) for word in singular)


def _unrepeated(words: list[str]) -> list[str]:
    """What a model that repeats itself says over and over; two equal words may be a name."""
    for length in range(1, len(words) // 2 + 1):
        if len(words) > 2 and words[length:] == words[:-length]:
            return words[:length]
    return words


def _key(part: Part) -> str:
    """Without spaces: "J. R." is "J.R.", and an "audio book" an "audiobook"."""
    joined = "".join(part)
    return _SAME.get(joined, joined)


def _compare_parts(got: set[Part], wanted: set[Part]) -> str:
    if {_key(part) for part in got} == {_key(part) for part in wanted}:
        return RIGHT
    if {_key(part) for part in got} & {_key(part) for part in wanted}:
        return PARTIAL
    return PARTIAL if any(_within(a, b) or _within(b, a) for a in got for b in wanted) else WRONG


def _within(some: Part, more: Part) -> bool:
    """Whether `more` only adds words to `some`, or writes its initials out."""
    return any(len(word) > 1 and word in more for word in some) and all(
        word in more or (len(word) == 1 and any(other.startswith(word) for other in more)) for word in some
    )


# --- Measures ---

CONVERTED = 0.01
"""Relative error that the rounding of a conversion between metric and other units may make."""
NEARLY = 0.05
"""… and up to which a conversion was at least meant: 30 cm for 12 inches."""
WRITTEN = 0.001
"""… and of a conversion within one system: 5.67 feet are 68 inches, but 62.5 inches are not 5 feet 2 inches."""
EXACT = 1e-9


def _compare_quantities(got: list[Quantity], wanted: list[Quantity]) -> str:
    """All of them in order are right; some of them, or all in another order, are partial, if none is wrong."""
    if len(got) == len(wanted):
        grades = [_compare(a, b) for a, b in zip(got, wanted, strict=True)]
        if WRONG not in grades:
            return PARTIAL if PARTIAL in grades else RIGHT
    few, many = sorted(([*got], [*wanted]), key=len)
    for one in few:
        other = next((other for other in many if _compare(one, other) != WRONG), None)
        if other is None:
            return WRONG
        many.remove(other)
    return PARTIAL if few else WRONG


def _compare(got: Quantity, wanted: Quantity) -> str:
    a, b = got.unit, wanted.unit
    if not a.measure or not b.measure:
        return WRONG if got.number != wanted.number else RIGHT if a == b else PARTIAL
    if a.measure != b.measure:
        return WRONG
    if a.system != b.system:
        tolerance = CONVERTED
    else:
        tolerance = EXACT if a == b or a.system == NO_SYSTEM else WRITTEN
    mine, theirs = got.number * a.per_base, wanted.number * b.per_base
    if math.isclose(mine, theirs, rel_tol=tolerance):
        return RIGHT
    return PARTIAL if a.system != b.system and math.isclose(mine, theirs, rel_tol=NEARLY) else WRONG


# --- Ages ---

_OPEN = re.compile(r"\+|&|\b(?:up|upwards?|older|over|above|from|at least)\b")
_UP_TO = re.compile(r"\b(?:under|up to|younger)\b")

_MONTHS = {"months": 1, "days": 12 / 365, "": 12}
"""A measure's base unit in months; an age without a unit is in years."""


def _compare_ages(answer: str, expected: str) -> str:
    """Both ends of the range are right; one of them is partial."""
    got, wanted = _age_range(answer), _age_range(expected)
    if not got or not wanted:
        return _compare_parts(_parts("age", answer), _parts("age", expected))
    ends = [math.isclose(a, b) for a, b in zip(got, wanted, strict=True)]
    # Two ranges that are both open above have nothing in common for that.
    shared = [same for same, end in zip(ends, wanted, strict=True) if math.isfinite(end)]
    return RIGHT if all(ends) else PARTIAL if any(shared) else WRONG


def _age_range(text: str) -> tuple[float, float] | None:
    """The youngest and the oldest age, in months; no end is infinite."""
    text = re.sub(r"\bbirth\b", "0", text.casefold())
    found = quantities("age", text)
    if not found or any(q.unit.measure not in _MONTHS for q in found):
        return None
    months = [q.number * q.unit.per_base * _MONTHS[q.unit.measure] for q in found]
    if _UP_TO.search(text) and len(months) == 1:
        return 0, months[0]
    return months[0], math.inf if len(months) == 1 and _OPEN.search(text) else months[-1]
