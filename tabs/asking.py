"""Asking a run's model: one question, or all of its questions before and after. Torch is imported when a model is needed."""

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from pipeline.answering.lookup import Asked, Shelf
from pipeline.answering.prompts import NO_FACT, UNKNOWN, build_prompt, encode_prompt, extract
from pipeline.answering.report import write_report
from pipeline.errors import RunError
from pipeline.training.runs import run_dataset
from tabs.cards import RECORD, SIDES, side_verdict
from tabs.runview import find_run, trained_runs
from tabs.status import doing

MODEL = "model"
"""All that runs the model waits in one line: the adapter's switch is global to it."""


EXAMPLES = 6

SHOW_EVERY = 0.25
"""Seconds between two looks at a growing answer: every token would keep the browser busy with drawing."""


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


def stream(
    language_model: Any,
    asked: Asked,
    *,
    record: bool = False,
    max_new_tokens: int = 96,
    temperature: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[dict[str, str | None], None, None]:
    """Each side's raw answer as it grows; base and tuned together, then the base that reads the record.

    Args:
        record: ask the base once more with the product's record in its prompt, where there is one.
        stopped: asked after every token; once it is true the answers end with what has been said.
    """
    options = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    raws: dict[str, str | None] = dict.fromkeys(SIDES)
    groups = [([asked.prompt] * len(SIDES), list(SIDES))]
    if record and asked.product:
        raws[RECORD] = None
        groups.append(([build_prompt(asked.title, asked.question, asked.product.content)], [RECORD]))
    with doing("answering a question"):
        for prompts, sides in groups:
            tokens = [encode_prompt(language_model.tokenizer, prompt) for prompt in prompts]
            growing = language_model.stream(tokens, tuned=[side == "tuned" for side in sides], **options)
            shown = 0.0
            try:
                for texts in growing:
                    raws = raws | dict(zip(sides, texts, strict=True))
                    if time.monotonic() - shown > SHOW_EVERY:
                        yield raws
                        shown = time.monotonic()
                    if stopped():
                        break
            finally:
                growing.close()  # at once, not when it is collected: whoever asks next waits for the model
            yield raws
            if stopped():
                return


_stop_comparing = threading.Event()


def stop_comparing() -> None:
    """Let the comparison that is on end with what has been answered."""
    _stop_comparing.set()


def run_questions(folder: Path, on_progress: Callable[[int, int], object]) -> dict[str, Any]:
    """Ask the tuned model the run's questions and everything else, and write the comparison and its report."""
    _stop_comparing.clear()
    language_model, _ = load(folder)
    from pipeline.answering.comparison import compare as compare_run

    with doing("asking the questions before and after") as tell:

        def told(done: int, total: int) -> None:
            tell(done, total)
            on_progress(done, total)

        comparison = compare_run(language_model, folder, on_progress=told, stopped=_stop_comparing.is_set)
    write_report(folder, comparison)
    return comparison


def ask(question: str, title: str = "", run: str = "") -> dict[str, Any]:
    """Ask base and tuned one question; `title` names the product when the question does not, `run` the training run."""
    folder = chosen_run(run)
    asked = Shelf(run_dataset(folder).manifest).ask(question, title)
    language_model, warnings = load(folder)
    *_, raws = stream(language_model, asked)
    sides = {
        side: {"raw": raw, "answer": extract(asked.kind, raw).answer, "verdict": side_verdict(asked, raw)}
        for side, raw in ((side, raw or "") for side, raw in raws.items())
    }
    return {"title": asked.title, "question": asked.question, "expected": asked.expected, **sides, "warnings": warnings}


def compare(run: str = "") -> dict[str, Any]:
    """Ask the run's questions after tuning (the base was asked before) and return the whole comparison."""
    return run_questions(chosen_run(run), lambda done, total: None)


def example_questions(folder: Path) -> list[str]:
    """Questions in phrasings that training never showed: of different products, one of them unknown."""
    held_out = run_dataset(folder).held_out()
    known = {
        row["uid"]: row["question"]
        for row in held_out
        if row["kind"] not in NO_FACT and row["title"] in row["question"]
    }
    unknown = [row["question"] for row in held_out if row["kind"] == UNKNOWN and row["title"] in row["question"]]
    return [*list(known.values())[: EXAMPLES - 1], *unknown[:1]]
