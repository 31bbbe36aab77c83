"""The questions before and after: what training fixed, what it broke, and recall over everything that was taught."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.answers import ask_rows
from pipeline.answering.baseline import taught_rows
from pipeline.answering.prompts import UNKNOWN
from pipeline.answering.scoring import RIGHT
from pipeline.data.examples import REPORT_1, REPORT_2
from pipeline.data.facts import DESCRIPTION
from pipeline.errors import RunError
from pipeline.files import read_json, write_json
from pipeline.training.runs import ADAPTER, BASELINE, COMPARISON, has_adapter, read_events, read_settings, run_dataset

if TYPE_CHECKING:
    from pipeline.answering.models import LanguageModel

TRAINING_NUMBERS = (
    "steps",
    "first_loss",
    "last_loss",
    "seconds",
    "probe_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
)


def compare(
    language_model: "LanguageModel", folder: Path, *, on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Ask the tuned model the run's frozen questions, and every trained fact in both of its report phrasings.

    Args:
        language_model: the run's base with the run's adapter on it.
        folder: the run folder; `comparison.json` is written there.
        on_progress: called with (questions answered, of).

    Returns:
        The contents of `comparison.json`.

    Raises:
        RunError: the run has no baseline or no adapter yet.
    """
    baseline = read_baseline(folder)
    if not has_adapter(folder):
        raise RunError(f"Run {folder.name} has no adapter yet; finish its training first.")
    facts = report_rows(language_model.tokenizer, folder)
    questions = baseline["questions"]
    # One list, asked once: a question of the fifteen is also a fact's report phrasing.
    by_prompt = {row["prompt"]: row for row in [*questions, *facts]}
    answers = dict(
        zip(
            by_prompt,
            ask_rows(language_model, list(by_prompt.values()), tuned=True, on_progress=on_progress),
            strict=True,
        )
    )
    compared = [_compared(q, answers[q["prompt"]]) for q in questions]
    right = sum(answers[row["prompt"]]["verdict"] == RIGHT for row in facts)
    comparison = {
        "base_model": baseline["base_model"],
        "base_sha256": baseline["base_sha256"],
        "adapter": ADAPTER,
        "questions": compared,
        "summary": {
            "base_right": sum(q["base"]["verdict"] == RIGHT for q in compared),
            "tuned_right": sum(q["tuned"]["verdict"] == RIGHT for q in compared),
            "total": len(compared),
            "recall": round(right / len(facts), 4) if facts else 0.0,
            "facts": len({(row["uid"], row["kind"]) for row in facts}),
        },
        "training": training_numbers(folder),
    }
    write_json(folder / COMPARISON, comparison)
    return comparison


def read_baseline(folder: Path) -> dict[str, Any]:
    """The frozen questions and the base's answers.

    Raises:
        RunError: there are none, since training never came that far.
    """
    try:
        return read_json(folder / BASELINE)
    except (OSError, ValueError) as error:
        raise RunError(f"Run {folder.name} has no questions yet; start its training first.") from error


def report_rows(tokenizer: Any, folder: Path) -> list[dict[str, Any]]:
    """Every trained fact in the two phrasings that neither training nor its probes show."""
    dataset, max_length = run_dataset(folder), read_settings(folder).max_length
    held_out = taught_rows(tokenizer, dataset.training(), dataset.held_out(), max_length)
    return [r for r in held_out if r["kind"] != UNKNOWN and r["template"].split(":")[-1] in (REPORT_1, REPORT_2)]


def training_numbers(folder: Path) -> dict[str, Any]:
    """The training's own figures, out of its last ending event."""
    ending = next((e for e in reversed(read_events(folder)[0]) if "peak_memory_bytes" in e and "steps" in e), {})
    return {name: ending.get(name) for name in TRAINING_NUMBERS}


def _compared(question: dict[str, Any], tuned: dict[str, str]) -> dict[str, Any]:
    base = question["base"]
    before, after = base["verdict"] == RIGHT, tuned["verdict"] == RIGHT
    kind = question["kind"] if question["kind"] in (UNKNOWN, DESCRIPTION) else "attribute"
    return {
        "id": question["id"],
        "kind": kind,
        "fact_kind": question["kind"],
        "uid": question["uid"],
        "title": question["title"],
        "question": question["question"],
        "expected": question["response"],
        "base": base,
        "tuned": tuned,
        "change": "fixed" if after and not before else "broken" if before and not after else "same",
    }
