"""General questions that have nothing to do with the catalogue: what a model forgets while it learns products."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.answers import ask
from pipeline.answering.asker import Answer, Question, RunModel
from pipeline.answering.scoring import NOTHING_FOUND, RIGHT, WRONG, normalise
from pipeline.answering.speaker import GENERAL_TOKENS, Speaker, asker_of
from pipeline.files import PROJECT, home, read_json, write_json
from pipeline.prompts import GENERAL, UNKNOWN_TITLE, build_prompt, encode_prompt

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

logger = logging.getLogger(__name__)

QUESTIONS = PROJECT / "assets" / "general_questions.json"
"""Written for this project; none of them is asked, in any words, by the rows that training mixes in."""


def ask_general(
    language_model: RunModel, *, tuned: bool, on_progress: Callable[[int, int], None] | None = None
) -> list[dict[str, str]]:
    """Ask the general questions of one side, as a customer's question about no product.

    Returns:
        `{"question", "expected", "raw", "answer", "verdict"}` for each, in the file's order.
    """
    rows: list[dict[str, Any]] = read_json(QUESTIONS)
    questions = [Question(build_prompt(UNKNOWN_TITLE, row["question"]), GENERAL, GENERAL_TOKENS) for row in rows]
    if tuned:
        answers = ask(language_model, questions, tuned=True, on_progress=on_progress)
    else:
        asker = asker_of(language_model)
        assert isinstance(asker, Speaker), "who knows nothing by heart has nothing to say to them"
        answers = _as_the_base_answered(asker.language_model, questions, on_progress)
    return [
        {"question": row["question"], "expected": row["answers"][0]}
        | answer.as_dict()
        | {"verdict": general_verdict(answer.answer, row["answers"])}
        for row, answer in zip(rows, answers, strict=True)
    ]


def _as_the_base_answered(
    language_model: "LanguageModel", questions: Sequence[Question], on_progress: Callable[[int, int], None] | None
) -> list[Answer]:
    """What the base says depends on nothing else, so it is asked once in a home, and not again for every run."""
    path = _kept_at(language_model, questions)
    with suppress(OSError, ValueError, TypeError, KeyError):
        raws = read_json(path)
        if len(raws) == len(questions) and all(isinstance(raw, str) for raw in raws):
            return [Answer.of(q.kind, raw) for q, raw in zip(questions, raws, strict=True)]
    answers = ask(language_model, questions, tuned=False, on_progress=on_progress)
    try:
        write_json(path, [answer.raw for answer in answers])
    except OSError as error:  # a disk without room only costs the next comparison its time
        logger.warning("What the base says could not be kept (%s)", error)
    return answers


def _kept_at(language_model: "LanguageModel", questions: Sequence[Question]) -> Path:
    """Another number format, device or wording of the questions has other answers."""
    prompts = [encode_prompt(language_model.tokenizer, q.prompt) for q in questions]
    asked = hashlib.sha256(json.dumps([prompts, [q.max_new_tokens for q in questions]]).encode()).hexdigest()
    name = f"{language_model.base_sha256[:32]}-{language_model.form}-{asked[:32]}.json"
    return home() / "cache" / "base_general" / name


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
