"""Finding the answer in a model's raw text: the pattern of a fact's kind, or one that a person wrote."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import regex

from pipeline.errors import PatternError
from pipeline.facts.patterns import DESCRIPTION, SHAPED, answer_pattern
from pipeline.facts.phrasings import kind_label
from pipeline.prompts import FIELDS, GENERAL, NO_FACT, SILENT, UNKNOWN

VALUE = "value"
"""What an answer says that is neither of the two sentences."""

MAX_PATTERN_CHARACTERS = 500

PATTERN_SECONDS = 1.0
"""Time that a user's pattern may search for: thousands of times what any answer needs."""

MAX_REPEATS = 10_000
"""The product of the least counts in a user's pattern."""

_REFUSAL_PATTERN = re.compile(r"\bI (?:don['’]t|do not) know this product\b(?!['’]s)\.?", re.IGNORECASE)

_SILENCE_PATTERN = re.compile(r"\b(?:the )?record (?:doesn['’]t|does not) say\b\.?", re.IGNORECASE)

_PLAIN = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u2010\u2011", "-"))
"""Typography that the patterns need not know; one character for one, so that places stay."""

_NEXT_PROMPT = re.compile(rf"\n[^\S\n]*(?:{'|'.join(FIELDS)})")

_LONGEST_SENTENCE = 40
"""Characters that one of the two sentences has at most, and more."""

_ANSWERED = re.compile(r"(?:yes|no)\b", re.IGNORECASE)

_FIRST_LINE = re.compile(r"\S[^\n]*")


@dataclass(frozen=True)
class Extraction:
    """What the pattern found in a raw answer: `raw[start:end] == answer`; empty and 0:0 when it found nothing."""

    answer: str
    start: int
    end: int


@lru_cache(maxsize=256)
def pattern_for(kind: str) -> re.Pattern[str]:
    """The pattern that finds the answer to a question about a fact of this kind.

    Of a kind that only a record or an API names it is the first line, without "The scent is" and the full stop; of what
    asks for no fact the first line as it is.
    """
    if kind in SHAPED or kind in NO_FACT:
        return answer_pattern(kind) if kind in SHAPED else _FIRST_LINE
    return _whole_line(kind)


@lru_cache(maxsize=256)
def _whole_line(kind: str, *, answered: bool = False) -> re.Pattern[str]:
    """Args:
    answered: whether a yes or no may stand before the value and is no part of it.
    """
    label = re.escape(kind_label(kind))
    lead = rf"(?:(?:the |its )?{label}(?:(?: of [^\n]{{1,300}}?)?(?: is| are)|:) |it(?: is|['’]s) )"
    before = "(?:(?:yes|no), )?" if answered else ""
    return re.compile(rf"{before}{lead}?(?P<value>\S(?:[^\n]*[^\s.!])?)", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    return _REFUSAL_PATTERN.search(text) is not None


def is_silence(text: str) -> bool:
    return _SILENCE_PATTERN.search(text) is not None


def says(text: str) -> str:
    """Which of the three answers a text is: `VALUE`, `SILENT` or `UNKNOWN`."""
    return UNKNOWN if is_refusal(text) else SILENT if is_silence(text) else VALUE


def extract(kind: str, raw: str, expected: str = "") -> Extraction:
    """Find the answer in a model's raw text, before the next prompt where the model goes on to write one itself; to a general
    question, which has no shape to look for, in the first line.

    Args:
        kind: the fact's kind, which chooses the pattern; `UNKNOWN` for questions about products not taught.
        raw: the decoded tokens after the prompt, cut at the end token.
        expected: the record's value, where it is known: one that has not its kind's shape ("Size: twin", a list of
            weights) is looked for as of a kind without one, in the whole of the first line.
    """
    said = _before_the_next_prompt(raw)
    if kind == GENERAL and (line := _FIRST_LINE.search(said)):
        said = said[: line.end()]
    plain = said.translate(_PLAIN)
    if expected and kind in SHAPED and kind != DESCRIPTION and not has_shape(kind, expected):
        pattern = _whole_line(kind)
    elif expected and kind not in (*SHAPED, *NO_FACT) and not _ANSWERED.match(expected):
        pattern = _whole_line(kind, answered=True)
    else:
        pattern = pattern_for(DESCRIPTION if kind in (UNKNOWN, SILENT) else kind)
    found = _REFUSAL_PATTERN.search(plain) or _SILENCE_PATTERN.search(plain) or pattern.search(plain)
    return _extraction(said, found)


@lru_cache(maxsize=4096)
def has_shape(kind: str, value: str) -> bool:
    """Whether the pattern of one of the project's own kinds finds a value, whole, in an answer that is nothing else."""
    found = answer_pattern(kind).search(value.translate(_PLAIN)) if kind in SHAPED else None
    return found is not None and (found["value"] if "value" in found.re.groupindex else found.group()) == value


def is_read_back(kind: str, value: str) -> bool:
    """Whether a model that answers with the value alone is understood."""
    answer = extract(kind, value, value).answer
    return not is_refusal(value) and re.findall(r"\w+", answer.casefold()) == re.findall(r"\w+", value.casefold())


def extract_with(pattern: str, raw: str) -> Extraction:
    """Find the answer with a pattern that the user wrote: its group `value` if it has one, else its whole match.

    The syntax is that of Python's `re`. The search is the `regex` package's, which stops one that would take hours and
    lets other threads work meanwhile. It looks where `extract` looks; a refusal is nothing special to it.

    Args:
        pattern: as typed.
        raw: the decoded tokens after the prompt, cut at the end token.

    Raises:
        PatternError: the pattern is empty, too long or no pattern, or takes too long.
    """
    _check_pattern(pattern)
    said = _before_the_next_prompt(raw)
    try:
        return _extraction(said, regex.compile(pattern).search(said, concurrent=True, timeout=PATTERN_SECONDS))
    except TimeoutError as error:
        raise PatternError("The pattern takes too long on this answer; give it fewer nested repeats.") from error


def _check_pattern(pattern: str) -> None:
    if not pattern.strip():
        raise PatternError(r"The pattern is empty; type one, such as \d+ inches.")
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternError(
            f"The pattern has {len(pattern):,} characters and the most is {MAX_PATTERN_CHARACTERS:,}; write a shorter one."
        )
    # `regex` writes every {1000} out as it compiles, and nested ones would fill the memory. What `re` does not know, such
    # as recursion, would fill it too.
    if math.prod(max(1, int(count)) for count in re.findall(r"\{\s*(\d+)", pattern)) > MAX_REPEATS:
        raise PatternError(f"The pattern's counts come to more than {MAX_REPEATS:,} repeats; give it smaller ones.")
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, ValueError, OverflowError, RecursionError) as error:
        raise PatternError(f"The pattern cannot be read ({error}); correct it and try again.") from error


def sure_of(text: str, since: int) -> tuple[int, bool]:
    """How much of a description is sure while a model still writes it: nothing that follows changes what stands before.

    Args:
        text: what it wrote so far, without white space before it.
        since: up to where this was known before.

    Returns:
        The place, and whether nothing that follows counts any more.
    """
    window = max(0, since - _LONGEST_SENTENCE)
    plain = text[window:].translate(_PLAIN)
    if sentence := _REFUSAL_PATTERN.search(plain) or _SILENCE_PATTERN.search(plain):
        end = window + sentence.end()
        return max(end, since), end + 1 < len(text)  # "product" may go on as "product's"
    if field := _NEXT_PROMPT.search(text, since):
        return len(text[: field.start()].rstrip()), True
    newline = text.rfind("\n", since)
    line = text[newline + 1 :].lstrip()
    may_be_field = newline >= 0 and any(field.startswith(line) for field in FIELDS)
    return max(since, len((text[:newline] if may_be_field else text).rstrip())), False


def _before_the_next_prompt(raw: str) -> str:
    """A prefix, so that what is found in it has the same place in the whole."""
    begin = len(raw) - len(raw.lstrip())
    follows = _NEXT_PROMPT.search(raw, begin)
    return raw[: follows.start()] if follows else raw


def _extraction(said: str, found: "re.Match[str] | regex.Match[str] | None") -> Extraction:
    start, end = found.span("value" if "value" in found.re.groupindex else 0) if found else (0, 0)
    # A group that took no part is at -1; what is empty was not found.
    return Extraction(said[start:end], start, end) if start < end else Extraction("", 0, 0)
