"""The one prompt format, used for the training row and for asking, and the extraction of the answer.

Nothing else in the project may build a prompt or put tokens together: the surest way to spoil a fine-tuned model is to
ask it in another format than it was taught in.
"""

import re
from dataclasses import dataclass
from typing import Any

from pipeline.data.facts import ANSWER_PATTERNS, DESCRIPTION

UNKNOWN_TITLE = "unknown"
"""The context when nobody can tell which product a question is about."""

REFUSAL = "I don't know this product."
"""The only right answer about a product that the model was not taught."""

UNKNOWN = "unknown"
"""The kind of a question whose right answer is the refusal."""

MAX_QUESTION_CHARACTERS = 1000

_REFUSAL_PATTERN = re.compile(r"I (?:don['’]t|do not) know this product\.?", re.IGNORECASE)
_FIRST_LINE = re.compile(r"\S[^\n]*")


def build_prompt(title: str, question: str, record: str | None = None) -> str:
    """The text a model reads before it answers.

    Args:
        title: the product's title, or `UNKNOWN_TITLE`.
        question: the customer's question.
        record: the product's content, given only in reading mode (the model then reads the answer, it need not know it).
    """
    context = title if record is None else f"{title}. {record}"
    return f"Context: {_one_line(context)}\nInstruction: {_one_line(question)}\nResponse:"


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
    text = tokenizer(f" {response}", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    answered = [*text, tokenizer.eos_token_id]
    return {"input_ids": asked + answered, "completion_mask": [0] * len(asked) + [1] * len(answered)}


@dataclass(frozen=True)
class Extraction:
    """What the pattern found in a raw answer: `raw[start:end] == answer`; empty and 0:0 when it found nothing."""

    answer: str
    start: int
    end: int


def pattern_for(kind: str) -> re.Pattern[str]:
    """The pattern that finds the answer to a question about a fact of this kind; the first line for kinds unknown."""
    return ANSWER_PATTERNS.get(kind, _FIRST_LINE)


def is_refusal(text: str) -> bool:
    return _REFUSAL_PATTERN.search(text) is not None


def extract(kind: str, raw: str) -> Extraction:
    """Find the answer in a model's raw text.

    Args:
        kind: the fact's kind, which chooses the pattern; `UNKNOWN` for questions about products not taught.
        raw: the decoded tokens after the prompt, cut at the end token.
    """
    refused = _REFUSAL_PATTERN.search(raw)
    if refused:
        return Extraction(refused.group(), refused.start(), refused.end())
    found = pattern_for(DESCRIPTION if kind == UNKNOWN else kind).search(raw)
    if not found:
        return Extraction("", 0, 0)
    group = "value" if "value" in found.re.groupindex else 0
    return Extraction(found.group(group), found.start(group), found.end(group))
