"""The questions of a run: chosen from its dataset, asked of the base before training, and frozen."""

import math
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.answers import ask_rows
from pipeline.answering.prompts import UNKNOWN, encode_example
from pipeline.data.examples import REPORT_1, REPORT_2
from pipeline.data.facts import DESCRIPTION
from pipeline.files import write_json

if TYPE_CHECKING:
    from pipeline.answering.models import LanguageModel

UNKNOWN_SHARE = 2 / 15
ATTRIBUTE_SHARE = 8 / 15


def taught_rows(
    tokenizer: Any, training: list[dict[str, Any]], held_out: list[dict[str, Any]], max_length: int
) -> list[dict[str, Any]]:
    """The held-out rows of facts that a training row of at most `max_length` tokens teaches, and of unknown products."""
    taught: set[tuple[str, str]] = set()
    for row in training:
        fact = row["uid"], row["kind"]
        if fact not in taught:
            tokens = encode_example(tokenizer, row["prompt"], row["response"])["input_ids"]
            taught |= {fact} if len(tokens) <= max_length else set()
    return [row for row in held_out if row["kind"] == UNKNOWN or (row["uid"], row["kind"]) in taught]


def choose_questions(held_out: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Choose the questions to be asked before and after.

    Of 15, two are about unknown products and eight about attributes (as far as there are any), spread over as many
    products and kinds as possible, each in one of the two phrasings that neither training nor its probes use.

    Args:
        held_out: the dataset's held-out rows.
    """
    rng = random.Random(f"{seed}:questions")
    facts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in held_out:
        if row["template"].endswith((REPORT_1, REPORT_2)):
            facts.setdefault((row["uid"], row["title"], row["kind"], row["response"]), []).append(row)
    rows = [rng.choice(phrasings) for phrasings in facts.values()]
    rng.shuffle(rows)
    unknown = [r for r in rows if r["kind"] == UNKNOWN][: round(count * UNKNOWN_SHARE)]
    attributes = [r for r in rows if r["kind"] not in (UNKNOWN, DESCRIPTION)]
    descriptions = [r for r in rows if r["kind"] == DESCRIPTION]
    wanted = count - len(unknown)
    first = _spread(attributes, min(wanted, max(math.ceil(count * ATTRIBUTE_SHARE), wanted - len(descriptions))), [])
    second = _spread(descriptions, wanted - len(first), first)
    return first + second + unknown


def _spread(rows: list[dict[str, Any]], count: int, taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pick rows whose product and kind were picked least so far."""
    chosen: list[dict[str, Any]] = []
    products, kinds = Counter(r["uid"] for r in taken), Counter(r["kind"] for r in taken)
    left = list(rows)
    while left and len(chosen) < count:
        best = min(left, key=lambda r: (products[r["uid"]], kinds[r["kind"]]))
        left.remove(best)
        chosen.append(best)
        products[best["uid"]] += 1
        kinds[best["kind"]] += 1
    return chosen


def ask_baseline(language_model: "LanguageModel", rows: list[dict[str, Any]], path: Path) -> None:
    """Ask the base the chosen questions and freeze both in `baseline.json`.

    The file holds `base_model`, `base_sha256` and `questions`: the rows with an `id` and the base's `base` answer.
    """
    answers = ask_rows(language_model, rows, tuned=False)
    questions = [
        {"id": f"q{number:02}", **row, "base": answer}
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1)
    ]
    origin = {"base_model": language_model.base_model, "base_sha256": language_model.base_sha256}
    write_json(path, origin | {"questions": questions})
