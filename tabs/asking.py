"""Asking a run's model: one question, or all of its questions before and after. Torch is imported when a model is needed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.answering.lookup import Asked, Shelf
from pipeline.answering.prompts import UNKNOWN, extract
from pipeline.answering.report import write_report
from pipeline.errors import RunError
from pipeline.training.runs import run_dataset
from tabs.cards import SIDES, side_verdict
from tabs.runview import find_run, trained_runs
from tabs.status import doing

MODEL = "model"
"""All that runs the model waits in one line: the adapter's switch is global to it."""


EXAMPLES = 6


def chosen_run(name: str | None) -> Path:
    """The trained run of that name, or the newest one.

    Raises:
        RunError: there is none.
    """
    found = find_run(name) if name else next(iter(trained_runs()), None)
    if found is None:
        raise RunError("There is no trained model yet; train one in the second tab.")
    return found


def load(folder: Path) -> tuple[Any, list[str]]:
    """The run's model; torch is imported here, when a model is first needed."""
    with doing("loading the model"):
        from pipeline.answering.models import load_run

        return load_run(folder)


def answer(language_model: Any, asked: Asked, side: str) -> str:
    """One side's raw answer."""
    from pipeline.answering.answers import Question
    from pipeline.answering.answers import ask as ask_all

    with doing("answering a question"):
        return ask_all(language_model, [Question(asked.prompt, asked.kind)], tuned=side == "tuned")[0].raw


def run_questions(folder: Path, on_progress: Callable[[int, int], object]) -> dict[str, Any]:
    """Ask the tuned model the run's questions and every fact, and write the comparison and its report."""
    language_model, _ = load(folder)
    from pipeline.answering.comparison import compare as compare_run

    with doing("asking the questions before and after") as tell:

        def told(done: int, total: int) -> None:
            tell(done, total)
            on_progress(done, total)

        comparison = compare_run(language_model, folder, on_progress=told)
    write_report(folder, comparison)
    return comparison


def ask(question: str, title: str = "", run: str = "") -> dict[str, Any]:
    """Ask base and tuned one question; `title` names the product when the question does not, `run` the training run."""
    folder = chosen_run(run)
    asked = Shelf(run_dataset(folder).manifest).ask(question, title)
    language_model, warnings = load(folder)
    raws = {side: answer(language_model, asked, side) for side in SIDES}
    sides = {
        side: {"raw": raw, "answer": extract(asked.kind, raw).answer, "verdict": side_verdict(asked, raw)}
        for side, raw in raws.items()
    }
    return {"title": asked.title, "question": asked.question, "expected": asked.expected, **sides, "warnings": warnings}


def compare(run: str = "") -> dict[str, Any]:
    """Ask the run's questions after tuning (the base was asked before) and return the whole comparison."""
    return run_questions(chosen_run(run), lambda done, total: None)


def example_questions(folder: Path) -> list[str]:
    """Questions in phrasings that training never showed: of different products, one of them unknown."""
    held_out = run_dataset(folder).held_out()
    known = {
        row["uid"]: row["question"] for row in held_out if row["kind"] != UNKNOWN and row["title"] in row["question"]
    }
    unknown = [row["question"] for row in held_out if row["kind"] == UNKNOWN and row["title"] in row["question"]]
    return [*list(known.values())[: EXAMPLES - 1], *unknown[:1]]
