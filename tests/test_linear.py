"""Text that somebody else wrote is read in time that grows with its length, whatever it is made of: every pattern of the project,
and every function that takes such text apart. A pattern that only `pipeline/facts` uses is tried through what calls it, which
reads no more than so many characters of a sentence.
"""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import regex

import pipeline
import tabs
from pipeline.answering.asker import Answer
from pipeline.answering.customers import questions_in
from pipeline.answering.lookup import kind_asked
from pipeline.answering.saying import kinds_asked, named_beside, yes_or_no
from pipeline.answering.scoring import normalise, same_in_other_words, token_f1, verdict
from pipeline.catalogue.cleaning import clean, clean_record, title_key
from pipeline.catalogue.finding.measures import MEASURES, tells, wanted
from pipeline.catalogue.finding.sentences import shown
from pipeline.catalogue.finding.units import Unit, units
from pipeline.catalogue.finding.words import stems
from pipeline.dataset.grounding import all_numbers, ground, names
from pipeline.errors import PipelineError
from pipeline.facts.extract import extract_facts
from pipeline.facts.extraction import has_shape, says
from pipeline.facts.quantities import quantities

LENGTHS = (200, 1_000, 5_000, 25_000, 100_000)
"""Characters of the texts; each is five times as long as the one before (the last four times)."""

TOLD_APART = 0.1
"""Processor seconds: less is too little to say how it grows."""

AT_MOST = 14.0
"""Times the seconds for five times the text, twice in a row: 5 where they grow with the length, 25 with its square."""

REPEATED = r"""
a|A|1|é|_| |-|,|.|:|/|(|[|{|<|&|"|'|“|$|%|\|`|a |A |1 |a, |A. |1,|1.|1/|1 1/2 |1 x |$1 |1% a, |5 cm x |Ab, |by A |A & |and |the
in |of a |made of |Name: |X: y. |Dr. |he is a |1990 |http://|a@|</|<li>|&#|&amp;|a'|(a |a) |```json
"""
TEXTS = [*REPEATED.strip("\n").replace("\n", "|").split("|"), "|", "\n", "\t", " \n", "a\n", "```json\n", "• a\n"]

TOO_LONG = 2.0
"""Processor seconds after which nobody waits for five times as much."""

LIKE_ITS_LENGTH = 7.5
"""Times the seconds for five times the text, up to which nobody need look at a longer one."""

KINDS = ("price", "colour", "description", "weight", "author", "pages", "dimensions", "age")

FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "facts": lambda text: extract_facts("1", "Kite", text),
    "clean": clean,
    "clean_record": clean_record,
    "title_key": title_key,
    "units": units,
    "shown": lambda text: shown(Unit(text, 0, len(text)), "how heavy is the kite"),
    "stems": stems,
    "wanted": wanted,
    "tells": lambda text: [tells(kind, text) for kind in MEASURES],
    "kinds_asked": kinds_asked,
    "kind_asked": lambda text: kind_asked(text[:2000], "Kite"),
    "named_beside": lambda text: named_beside(text[:2000], "Kite", lambda word: True),
    "yes_or_no": lambda text: yes_or_no("is it 5 pounds?", text, text),
    "says": says,
    "has_shape": lambda text: [has_shape(kind, text) for kind in KINDS],
    "answer": lambda text: [Answer.of(kind, text) for kind in KINDS],
    "verdict": lambda text: [verdict(kind, text, "12 inches") for kind in KINDS],
    "other_words": lambda text: same_in_other_words(text, "Yes, 5 pounds."),
    "normalise": normalise,
    "token_f1": lambda text: token_f1(text, "12 inches"),
    "quantities": lambda text: quantities("dimensions", text),
    "ground": lambda text: ground("Kite", text),
    "names": lambda text: list(names(text)),
    "all_numbers": all_numbers,
    "questions": questions_in,
}


def growth(read: Callable[[str], Any], unit: str) -> str:
    """What is wrong with how the seconds grow, if anything is, twice: the first time something may be compiled."""
    return _growth(read, unit) and _growth(read, unit)


def _growth(read: Callable[[str], Any], unit: str) -> str:
    before, steep = 0.0, 0
    for length in LENGTHS:
        text = unit * (length // len(unit)) + "!"
        begun = time.thread_time()
        with suppress(PipelineError):
            read(text)
        seconds = time.thread_time() - begun
        steep = steep + 1 if seconds > TOLD_APART and seconds > AT_MOST * before else 0
        if steep > 1 or (steep and seconds > TOO_LONG):  # once it may be what is read of a text at the most
            return f"{unit!r} × {length:,}: {seconds:.2f} s, {before:.3f} s for a fifth"
        is_even = before > 0.001 and seconds < LIKE_ITS_LENGTH * before
        if is_even or seconds * (LENGTHS[-1] / length) ** 2 < TOLD_APART:
            return ""
        before = seconds
    return ""


def modules() -> Iterator[Any]:
    for package in (pipeline, tabs):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.startswith("pipeline.facts.") and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def patterns_in(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, re.Pattern | regex.Pattern):
        yield value
    elif depth < 4 and isinstance(value, dict):
        for inner in value.values():
            yield from patterns_in(inner, depth + 1)
    elif depth < 4 and isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from patterns_in(inner, depth + 1)


def all_patterns() -> dict[str, Any]:
    facts = {
        id(pattern)
        for found in pkgutil.walk_packages(pipeline.__path__, "pipeline.")
        if found.name.startswith("pipeline.facts.")
        for value in vars(importlib.import_module(found.name)).values()
        for pattern in patterns_in(value)
    }
    found: dict[str, Any] = {}
    for module in modules():
        for name, value in vars(module).items():
            for pattern in patterns_in(value):
                if isinstance(pattern.pattern, str) and id(pattern) not in facts:
                    found.setdefault(pattern.pattern, (f"{module.__name__}.{name}", pattern))
    return {f"{name}: {pattern.pattern[:60]}": pattern for name, pattern in found.values()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_reads_any_text_in_time_that_grows_with_it(name: str) -> None:
    wrong = [told for unit in TEXTS if (told := growth(FUNCTIONS[name], unit))]
    assert not wrong, "\n".join(wrong)


def test_every_pattern_does() -> None:
    every = all_patterns()
    assert len(every) > 100
    wrong = [
        f"{name}: {told}"
        for name, pattern in every.items()
        for unit in TEXTS
        if (told := growth(lambda text, pattern=pattern: [0 for _ in pattern.finditer(text)], unit))
    ]
    assert not wrong, "\n".join(wrong)
