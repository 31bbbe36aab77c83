"""The numbers and names of a text, and those that a record vouches for: what a model writes must not add any.

Knows no reasons and no facts; `checks` decides what follows.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pipeline.catalogue.catalogue import title_key
from pipeline.facts.patterns import NUMBER_WORD, TEENS_WORD, TENS_WORD, UNITS_WORD

_FIGURE = re.compile(
    r"\d+/\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?<![\w.])\.\d+|\d+(?:\.\d+)*|[\u00bc-\u00be\u2150-\u215e]"
)
_SPELLED = re.compile(rf"\b(?:{NUMBER_WORD}|dozen|hundred|thousand)\b", re.IGNORECASE)
_WORTH = {
    **{word: n for n, word in enumerate(f"{UNITS_WORD}|{TEENS_WORD}".split("|"), start=1)},
    **{word: 10 * n for n, word in enumerate(TENS_WORD.split("|"), start=2)},
    "dozen": 12,
    "hundred": 100,
    "thousand": 1_000,
}

_WORD = re.compile(r"(?<!\w)[^\W\d_][\w'’-]+")
_POSSESSIVE = re.compile(r"['’]s?\Z")
# What stands before a word that begins a sentence; initials and "Mr." end none.
_BEGINS = re.compile(
    r"(?:\A|\n|(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bProf)(?<![A-Z])[.!?…]{1,3}[\"'”’)\]]{0,2} )"
    r"[\"'“‘(\[]{0,2}\Z"
)
_NO_NAME = frozenset(
    re.findall(
        r"\S+",
        "a an and but for hello hi i i'd i'll i'm i've if in it it's its my no of ok on our please so that the these they "
        "this those to we what who yes you your mr mrs ms dr christmas easter halloween monday tuesday wednesday thursday "
        "friday saturday sunday",
    )
)


def numbers(text: str) -> set[str]:
    """The numbers in figures: 1,000 as 1000, 89.00 as 89, ½ as 1/2."""
    return {_plain(figure) for figure in _FIGURE.findall(text)}


def spelled_numbers(text: str) -> set[str]:
    """The numbers in words, from two on: "one" seldom counts anything."""
    if _WORTH.keys().isdisjoint(title_key(text).split()):  # seldom are there any, and this is the faster way to see it
        return set()
    return {str(n) for word in _SPELLED.findall(text) if (n := _worth(word.casefold())) > 1}


@lru_cache(maxsize=2048)
def all_numbers(text: str) -> frozenset[str]:
    """Both, of a short text that is looked at again and again."""
    return frozenset(numbers(text) | spelled_numbers(text))


def names(text: str) -> Iterator[str]:
    """Capitalised words that begin no sentence, without the possessive's ending."""
    for match in _WORD.finditer(text):
        if match.group()[0].isupper() and not _BEGINS.search(text, max(0, match.start() - 8), match.start()):
            word = _POSSESSIVE.sub("", match.group())
            if word.casefold().replace("’", "'") not in _NO_NAME:
                yield word


@dataclass(frozen=True)
class Ground:
    """What a product's title and record vouch for.

    Attributes:
        content: the record with its white space folded.
    """

    content: str
    words: frozenset[str]
    numbers: frozenset[str]

    def has_name(self, name: str) -> bool:
        return self.words.issuperset(title_key(name).split())


@lru_cache(maxsize=128)
def ground(title: str, content: str) -> Ground:
    """Read once a product: dozens of questions are held against it."""
    text = f"{title} {content}"
    words = frozenset(title_key(text).split())
    return Ground(" ".join(content.split()), words, frozenset(numbers(text) | spelled_numbers(text)))


def _plain(figure: str) -> str:
    figure = figure.replace(",", "")
    if not figure.isascii():
        figure = unicodedata.normalize("NFKC", figure).replace("\u2044", "/")
    if figure.count(".") != 1:
        return figure
    return f"0{figure}".rstrip("0").rstrip(".") if figure[0] == "." else figure.rstrip("0").rstrip(".")


def _worth(word: str) -> int:
    return _WORTH[word] if word in _WORTH else sum(_WORTH[part] for part in word.split("-"))
