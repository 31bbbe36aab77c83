"""The questions of a run: chosen from its dataset, asked of the base before training, and frozen.

Whoever owns the run may change one afterwards: its old answers count no more, and what was frozen can be had back.
"""

import hashlib
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.answering.answers import ask_rows
from pipeline.answering.asker import RunModel
from pipeline.answering.lookup import TaughtProducts, plain_text
from pipeline.answering.scoring import RIGHT
from pipeline.answering.speaker import asker_of
from pipeline.dataset.customers import STYLE
from pipeline.dataset.examples import REPORT_1, REPORT_2
from pipeline.errors import QuestionError, RunError
from pipeline.facts.extraction import is_refusal
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import read_json, write_json
from pipeline.prompts import CHAT, MAX_QUESTION_CHARACTERS, NO_FACT, PLAIN, SILENT, UNKNOWN
from pipeline.runs.folder import BASELINE, SETTINGS, run_dataset

UNKNOWN_SHARE = SILENT_SHARE = 2 / 15
ATTRIBUTE_SHARE = 8 / 15

EDITED = "edited"
"""The template of a question that somebody wrote over a frozen one."""

_changing = threading.Lock()


def choose_questions(held_out: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Choose the questions to be asked before and after.

    Of 15, two are about unknown products, two about what a record does not say, and eight about attributes (as far as there
    are any), spread over as many products and kinds as possible, each in words that neither training nor its probes use:
    one of two phrasings, or as customers put it.

    Args:
        held_out: the dataset's held-out rows.
    """
    rng = random.Random(f"{seed}:questions")
    facts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in held_out:
        use = row["template"].split(":")[-1]
        if use in (REPORT_1, REPORT_2) or use.startswith(STYLE):
            facts.setdefault((row["uid"], row["title"], row["kind"], row["response"]), []).append(row)
    rows = [rng.choice(questions) for questions in facts.values()]
    rng.shuffle(rows)
    unknown = [r for r in rows if r["kind"] == UNKNOWN][: round(count * UNKNOWN_SHARE)]
    silent = [r for r in rows if r["kind"] == SILENT]
    attributes = [r for r in rows if r["kind"] not in (UNKNOWN, SILENT, DESCRIPTION)]
    descriptions = [r for r in rows if r["kind"] == DESCRIPTION]
    wanted = count - len(unknown) - min(len(silent), round(count * SILENT_SHARE))
    first = _spread(attributes, min(wanted, max(math.ceil(count * ATTRIBUTE_SHARE), wanted - len(descriptions))), [])
    second = _spread(descriptions, wanted - len(first), first)
    third = _spread(silent, round(count * SILENT_SHARE), first + second)
    return first + second + third + unknown


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


def ask_baseline(language_model: RunModel, rows: list[dict[str, Any]], path: Path, settings: dict[str, Any]) -> None:
    """Ask the base the chosen questions and freeze both in `baseline.json`.

    A base that has a chat template is asked both plainly and in that, so that it is not taken for weaker than it is: the way in
    which it is right more often counts, and where they are equal that of the run.

    The file holds `base_model`, `base_sha256`, `questions` (the rows with an `id` and the base's `base` answer), `asked_in` (the
    way that counts) and `right_in` (how many are right in each), `seconds` (an answer's mean time) and `sha256`, the checksum of
    the questions with their prompts and of the run's settings.

    Args:
        settings: as `settings.json` has them.
    """
    told: dict[str, tuple[list[dict[str, str]], float]] = {}
    asker = asker_of(language_model)
    for way in asker.formats():
        begun = time.perf_counter()
        told[way] = ask_rows(asker.asked_in(way), rows, tuned=False), time.perf_counter() - begun
    right = {way: sum(answer["verdict"] == RIGHT for answer in answers) for way, (answers, _) in told.items()}
    best = max(told, key=lambda way: right[way])  # the first of equals
    answers, seconds = told[best][0], round(told[best][1] / max(len(rows), 1), 4)
    questions = [
        {"id": f"q{number:02}", **row, "base": answer}
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1)
    ]
    sha256 = questions_sha256(questions, settings)
    asked = {"asked_in": best, "right_in": right}
    write_json(path, asker.origin() | asked | {"sha256": sha256, "seconds": seconds, "questions": questions})


def base_asked(baseline: dict[str, Any]) -> str:
    """How the base was asked before training, in a sentence; empty where there was one way only."""
    right = baseline.get("right_in") or {}
    if len(right) < 2:
        return ""
    best = baseline["asked_in"]
    other = next(way for way in right if way != best)
    words = {PLAIN: "the plain prompt", CHAT: "its own chat template"}
    return (
        f"Before training, the base was asked in {words[best]}, in which it had {right[best]} right; in {words[other]} it had "
        f"{right[other]}."
    )


def questions_sha256(questions: list[dict[str, Any]], settings: dict[str, Any]) -> str:
    """Checksum of the questions as they were frozen, with their prompts, and of the settings they were frozen with."""
    frozen = [q.get("frozen", q) for q in questions]
    asked = [{name: value for name, value in q.items() if name not in ("base", "frozen")} for q in frozen]
    return hashlib.sha256(json.dumps([asked, settings], sort_keys=True).encode()).hexdigest()


def read_baseline(folder: Path) -> dict[str, Any]:
    """The frozen questions and the base's answers.

    Raises:
        RunError: there are none, since training never came that far.
    """
    try:
        return read_json(folder / BASELINE)
    except (OSError, ValueError) as error:
        raise RunError(f"Run {folder.name} has no questions yet; start its training first.") from error


def is_as_frozen(folder: Path) -> bool:
    """Whether the frozen questions and the settings are those of the beginning; changed questions keep theirs."""
    baseline = read_baseline(folder)
    # As the file has them: a setting that a later version brings makes no old run another.
    found = questions_sha256(baseline["questions"], read_json(folder / SETTINGS))
    return baseline.get("sha256", found) == found


def change_question(folder: Path, number: str, question: str, title: str = "", expected: str = "") -> dict[str, Any]:
    """Put another question in the place of one of the run's; both sides are asked it with the next comparison.

    Args:
        number: the `id` of the question whose place it takes.
        title: the product it is about; recognised in the question when empty.
        expected: the right answer; what the catalogue says when empty.

    Returns:
        The question as it is in `baseline.json` now.

    Raises:
        QuestionError: it is empty or too long, or nobody knows what is right.
        RunError: the run has no such question.
    """
    taught = TaughtProducts(run_dataset(folder).manifest)
    asked = taught.ask(question, title)
    expected = " ".join(plain_text(expected).split()) or asked.expected or ""
    if not expected:
        raise QuestionError("The catalogue does not say what is right here; type the expected answer.")
    if len(expected) > MAX_QUESTION_CHARACTERS:
        raise QuestionError(
            f"The expected answer has {len(expected):,} characters and the most is {MAX_QUESTION_CHARACTERS:,}."
        )
    kind = taught.kind_asked(question, title) if asked.kind in NO_FACT else asked.kind
    row = {
        "id": number,
        "uid": asked.product.uid if asked.product else "",
        "title": asked.title,
        "kind": UNKNOWN if is_refusal(expected) else kind,
        "question": asked.question,
        "prompt": asked.prompt,
        "response": expected,
        "template": EDITED,
        "base": None,
    }
    return _replace(folder, number, lambda old: row | {"frozen": old.get("frozen", old)})


def restore_question(folder: Path, number: str) -> dict[str, Any]:
    """Put the frozen question back, with the answer that the base gave before training."""
    return _replace(folder, number, lambda old: old.get("frozen", old))


def _replace(folder: Path, number: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    with _changing:
        baseline = read_baseline(folder)
        questions = baseline["questions"]
        place = next((i for i, q in enumerate(questions) if q["id"] == number), None)
        if place is None:
            raise RunError(f"Run {folder.name} has no question {number}; reload the page.")
        questions[place] = change(questions[place])
        write_json(folder / BASELINE, baseline)
        return questions[place]


def ask_changed(language_model: RunModel, folder: Path) -> dict[str, Any]:
    """Ask the base the questions that were changed since it was asked; the baseline as it is then."""
    baseline = read_baseline(folder)
    if changed := [q for q in baseline["questions"] if q["base"] is None]:
        way = baseline.get("asked_in", PLAIN)
        answers = ask_rows(asker_of(language_model).asked_in(way), changed, tuned=False)
        for question, answer in zip(changed, answers, strict=True):
            asked = dict(question)
            question["base"] = answer
            # One that was changed again meanwhile stays as it is.
            _replace(folder, question["id"], lambda old, asked=asked, new=question: new if old == asked else old)
    return baseline
