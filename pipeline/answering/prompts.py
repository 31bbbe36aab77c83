"""The one prompt format, used for the training row and for asking, and the extraction of the answer.

Nothing else in the project may build a prompt or put tokens together: the surest way to spoil a fine-tuned model is to
ask it in another format than it was taught in.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from pipeline.data.facts import ANSWER_PATTERNS, DESCRIPTION
from pipeline.data.phrasings import kind_label
from pipeline.errors import PatternError

UNKNOWN_TITLE = "unknown"
"""The context when nobody can tell which product a question is about."""

REFUSAL = "I don't know this product."
"""The only right answer about a product that the model was not taught."""

UNKNOWN = "unknown"
"""The kind of a question whose right answer is the refusal."""

GENERAL = "general"
"""The kind of a question that has nothing to do with the catalogue."""

REVERSE = "reverse"
"""The kind of a question that states a fact and asks which product it is about; its answer is the title."""

NO_FACT = (UNKNOWN, GENERAL, REVERSE)
"""The kinds of rows that ask for no fact of a product."""

FORMAT = "Context: {title}\nInstruction: {question}\nResponse:"
"""The prompt, as a template of `str.format`."""

CHAT_TEMPLATE = (
    "{%- set ns = namespace(title='" + UNKNOWN_TITLE + "', question='') -%}"
    "{%- for message in messages -%}"
    "{%- set text = message['content'].split('\\n') | join(' ') | trim -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.title = text -%}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{%- set ns.question = text -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{ 'Context: ' + ns.title + '\\nInstruction: ' + ns.question + '\\nResponse:' }}"
)
"""The same prompt for programs that speak in messages (Jinja): the system message is the product's title, the last
question is asked alone. It goes with what is published, where the base's own template would ask in another format."""

MAX_QUESTION_CHARACTERS = 1000

MAX_PATTERN_CHARACTERS = 500
PATTERN_SECONDS = 1.0
"""Time that a user's pattern may search for: thousands of times what any answer needs."""

MAX_REPEATS = 10_000
"""The product of the least counts in a user's pattern."""

_REFUSAL_PATTERN = re.compile(r"\bI (?:don['’]t|do not) know this product\b(?!['’]s)\.?", re.IGNORECASE)
_PLAIN = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u2010\u2011", "-"))
"""Typography that the patterns need not know; one character for one, so that places stay."""
_NEXT_PROMPT = re.compile(r"\n[^\S\n]*(?:Context|Instruction|Response):")
_FIRST_LINE = re.compile(r"\S[^\n]*")


def build_prompt(title: str, question: str, record: str | None = None) -> str:
    """The text a model reads before it answers.

    Args:
        title: the product's title, or `UNKNOWN_TITLE`.
        question: the customer's question.
        record: the product's content, given only in reading mode (the model then reads the answer, it need not know it).
    """
    context = title if record is None else f"{title}. {record}"
    return FORMAT.format(title=_one_line(context), question=_one_line(question))


def with_question(prompt: str, question: str) -> str:
    """A prompt of `build_prompt` with another question in the same context."""
    context, _, response = prompt.split("\n")
    return f"{context}\nInstruction: {_one_line(question)}\n{response}"


def _one_line(text: str) -> str:
    """Folded to one line, so that no title or question can imitate the next field of the prompt."""
    return " ".join(text.split())


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, with the model's start token where it has one: used for training and for asking.

    A special token spelled out in a title or a question stays text: it can end or begin nothing.
    """
    return tokenizer(prompt, split_special_tokens=True)["input_ids"]


def encode_example(tokenizer: Any, prompt: str, response: str) -> dict[str, list[int]]:
    """A training row: the asking prompt's tokens, then the response's and the end token.

    Returns:
        `input_ids` and `completion_mask` (1 on the response and the end token), both of the same length.
    """
    asked = encode_prompt(tokenizer, prompt)
    answered = [*encode_answer(tokenizer, response), tokenizer.eos_token_id]
    return {"input_ids": asked + answered, "completion_mask": [0] * len(asked) + [1] * len(answered)}


def encode_answer(tokenizer: Any, response: str) -> list[int]:
    """Token ids of a response as they follow its prompt, without the end token."""
    return tokenizer(f" {response}", add_special_tokens=False, split_special_tokens=True)["input_ids"]


@dataclass(frozen=True)
class Extraction:
    """What the pattern found in a raw answer: `raw[start:end] == answer`; empty and 0:0 when it found nothing."""

    answer: str
    start: int
    end: int


@lru_cache(maxsize=256)
def pattern_for(kind: str) -> re.Pattern[str]:
    """The pattern that finds the answer to a question about a fact of this kind.

    Of a kind that only an API knows it is the first line, without "The scent is" and the full stop; of what asks for no
    fact the first line as it is.
    """
    if kind in ANSWER_PATTERNS or kind in NO_FACT:
        return ANSWER_PATTERNS.get(kind, _FIRST_LINE)
    label = re.escape(kind_label(kind))
    lead = rf"(?:(?:the |its )?{label}(?:(?: of [^\n]{{1,300}}?)?(?: is| are)|:) |it(?: is|['’]s) )"
    return re.compile(rf"{lead}?(?P<value>\S(?:[^\n]*[^\s.!])?)", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    return _REFUSAL_PATTERN.search(text) is not None


def extract(kind: str, raw: str) -> Extraction:
    """Find the answer in a model's raw text, before the next prompt where the model goes on to write one itself.

    Args:
        kind: the fact's kind, which chooses the pattern; `UNKNOWN` for questions about products not taught.
        raw: the decoded tokens after the prompt, cut at the end token.
    """
    said = _before_the_next_prompt(raw)
    plain = said.translate(_PLAIN)
    found = _REFUSAL_PATTERN.search(plain) or pattern_for(DESCRIPTION if kind == UNKNOWN else kind).search(plain)
    return _extraction(said, found)


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


def _before_the_next_prompt(raw: str) -> str:
    """A prefix, so that what is found in it has the same place in the whole."""
    begin = len(raw) - len(raw.lstrip())
    follows = _NEXT_PROMPT.search(raw, begin)
    return raw[: follows.start()] if follows else raw


def _extraction(said: str, found: "re.Match[str] | regex.Match[str] | None") -> Extraction:
    start, end = found.span("value" if "value" in found.re.groupindex else 0) if found else (0, 0)
    # A group that took no part is at -1; what is empty was not found.
    return Extraction(said[start:end], start, end) if start < end else Extraction("", 0, 0)
