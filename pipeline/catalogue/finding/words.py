"""Text → words as finding compares them: lower case, without endings; and which words say nothing.

The endings go by rule and not by a dictionary, so that a brand's name, a misspelling and another language survive.
"""

import html
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

WORD = re.compile(r"[^\W_]+(?:\.\d+)?")

_ENDINGS = ("ings", "ing", "edly", "ies", "ied", "es", "ed", "ly", "s")
_APOSTROPHE = re.compile(r"['’]s\b|['’]")

_STOP = """
a an the is are was were be been being am do does did done doing have has had having i me my mine we us our you your
he she it its they them their this that these those there here what which who whom whose when where why how will would
can could should shall may might must of in on at to for from by with about as into out up down over under off if or
and but not no nor so than too very just only also any some all both each other such own same im ive id dont doesnt
isnt arent wont cant didnt isn doesn aren won didn don wasn hasn haven hi hello please thanks thank know tell anyone
someone get got go goes going need want use used using one ones product item t re ll d m s be come comes came let make
sure am
"""
STOP = frozenset(_STOP.split())
"""Words that are in every question; what is asked seldom depends on them."""


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A word in small letters without its ending: "Weighs" and "weighing" are one word."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
            break
    if len(word) > 3 and word[-1] == "e":
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word


def plain_words(text: str) -> list[str]:
    """The words of a text in small letters, as they are spelled; "mug's" is "mug", "don't" is "dont"."""
    return WORD.findall(_APOSTROPHE.sub("", html.unescape(text).casefold()))


def stems(text: str) -> list[str]:
    return [stem(word) for word in plain_words(text)]


class Weights:
    """How telling a word is: the logarithm of how few of the catalogue's records have it (idf)."""

    def __init__(self, counts: Mapping[str, int], records: int) -> None:
        """
        Args:
            counts: in how many of `records` records each stem stands.
        """
        self.counts, self.records = counts, max(records, 1)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Weights":
        counts: dict[str, int] = {}
        records = 0
        for text in texts:
            records += 1
            for word in set(stems(text)):
                counts[word] = counts.get(word, 0) + 1
        return cls(counts, records)

    def __getitem__(self, word: str) -> float:
        return math.log(1 + self.records / self.counts.get(word, 0.5))
