"""A record's sentences: where they end, which of them describe the product, and the one that a value stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator

DESCRIPTION_LIMIT = 240
"""Characters; a small model learns descriptions of this length whole (benchmarks/RESULTS.md)."""

_STOP = re.compile(
    r"[.!?…]{1,4}[\"'”’)\]]{0,3}"
    r"(?: (?=[\"'“‘(\[]{0,2}[A-Z0-9À-ÞŒŠŽ$£€])|(?<=[a-z\d)][.!?])(?=[A-Z][a-z]))"  # the second: "glued.Together"
)

_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|St|Prof|Rev|Sr|Jr|Inc|Ltd|Co|Vol|vs|approx|ca|cf|e\.g|i\.e|ed|eds|pp|Lt|Col|Gen|Capt|Sgt|Mt|"
    r"Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|U\.S|U\.K|U\.S\.A|a\.m|p\.m)"
    r"|(?<![\w'’])[A-Z]|\.[A-Z]|\d ?(?:in|oz|lbs?|ft))$"
)


def sentence_ends(content: str) -> Iterator[int]:
    """Offsets just after each sentence's last character."""
    for stop in _STOP.finditer(content):
        before, after = content[max(0, stop.start() - 12) : stop.start()], content[stop.end() : stop.end() + 1]
        numbered = after.isdigit() and re.search(r"\b[Nn]os?$", before)
        if stop.group().strip() != "." or not (_ABBREVIATION.search(before) or numbered):
            yield stop.start() + len(stop.group().rstrip())
    yield len(content)


def description(content: str) -> str:
    """The record's leading whole sentences, at most 240 characters; a longer first sentence is cut at a clause."""
    ends = [end for end in sentence_ends(content) if end <= DESCRIPTION_LIMIT]
    return content[: ends[-1]].rstrip() if ends else _cut(content)


def _cut(sentence: str) -> str:
    """The longest beginning that ends with a clause, if that keeps half of what fits, else with a word."""
    fitting = sentence[: DESCRIPTION_LIMIT + 1]
    clause = max((match.start() for match in re.finditer(r"[,;:]? [–—-]{1,2} |[,;:] |--|—", fitting)), default=0)
    end = clause if clause >= DESCRIPTION_LIMIT // 2 else fitting.rfind(" ")
    return sentence[: end if end > 0 else DESCRIPTION_LIMIT].rstrip(" ,;:-–—")


def quote(content: str, start: int, end: int) -> str:
    """The sentence around the value, or, where that is very long, the clause."""
    ends = list(sentence_ends(content))
    left = max((stop for stop in ends if stop <= start), default=0)
    right = min(stop for stop in ends if stop >= end)
    if right - left > 2 * DESCRIPTION_LIMIT:
        left = max(left, content.rfind("; ", left, start) + 1, content.rfind(", ", left, start) + 1)
        right = min([right, *(at for mark in (";", ", ") if (at := content.find(mark, end, right)) >= 0)])
    return content[left:right].strip()
