"""General questions that have nothing to do with the catalogue: what a model forgets while it learns products."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.answering.answers import GENERAL_TOKENS, Question, ask
from pipeline.answering.scoring import NOTHING_FOUND, RIGHT, WRONG, normalise
from pipeline.files import PROJECT, read_json
from pipeline.prompts import GENERAL, UNKNOWN_TITLE, build_prompt

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

QUESTIONS = PROJECT / "assets" / "general_questions.json"
"""Written for this project; none of them is asked, in any words, by the rows that training mixes in."""


def ask_general(
    language_model: "LanguageModel", *, tuned: bool, on_progress: Callable[[int, int], None] | None = None
) -> list[dict[str, str]]:
    """Ask the general questions of one side, as a customer's question about no product.

    Returns:
        `{"question", "expected", "raw", "answer", "verdict"}` for each, in the file's order.
    """
    rows: list[dict[str, Any]] = read_json(QUESTIONS)
    questions = [Question(build_prompt(UNKNOWN_TITLE, row["question"]), GENERAL, GENERAL_TOKENS) for row in rows]
    answers = ask(language_model, questions, tuned=tuned, on_progress=on_progress)
    return [
        {"question": row["question"], "expected": row["answers"][0]}
        | answer.as_dict()
        | {"verdict": general_verdict(answer.answer, row["answers"])}
        for row, answer in zip(rows, answers, strict=True)
    ]


def general_verdict(answer: str, accepted: list[str]) -> str:
    """Right when one of the accepted answers stands in it as whole words, whatever their case and accents."""
    said = normalise(answer)
    if any(re.search(rf"(?<!\w){re.escape(normalise(wanted))}(?!\w)", said) for wanted in accepted):
        return RIGHT
    return WRONG if said else NOTHING_FOUND


def forgetting(base: list[dict[str, str]], tuned: list[dict[str, str]]) -> dict[str, int]:
    """How much of what the base knew is still there.

    Returns:
        `base_right`, `tuned_right`, `kept` (right on both sides) and `total`, in questions.
    """
    pairs = [(b["verdict"] == RIGHT, t["verdict"] == RIGHT) for b, t in zip(base, tuned, strict=True)]
    return {
        "base_right": sum(before for before, _ in pairs),
        "tuned_right": sum(after for _, after in pairs),
        "kept": sum(before and after for before, after in pairs),
        "total": len(pairs),
    }
