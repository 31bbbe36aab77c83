"""Asking a run's model: one question, or all of its questions before and after. Torch is imported when a model is needed."""

import json
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.answering.answers import MAX_NEW_TOKENS
from pipeline.answering.lookup import Asked, Shelf
from pipeline.answering.prompts import NO_FACT, UNKNOWN, build_prompt, encode_prompt
from pipeline.answering.report import write_report
from pipeline.data.examples import REPORT_1
from pipeline.data.phrasings import kind_label
from pipeline.errors import RunError
from pipeline.files import append_jsonl, read_jsonl
from pipeline.training.plan import answering_bytes, room_left
from pipeline.training.runs import read_settings, run_dataset
from pipeline.training.settings import gpu_name
from tabs.cards import BASE, OTHER, RECORD, SIDES, TUNED, Exchange
from tabs.catalogues import short
from tabs.runview import find_run, look, seconds_left, trained_runs
from tabs.shared import duration, memory, open_in_measure
from tabs.status import doing

MODEL = "model"
"""All that runs the model waits in one line: the adapter's switch is global to it."""


EXAMPLES = 6

LISTED = 2000
"""Questions in the list that is searched: more would make the page slow."""

VOTES = "votes.jsonl"
ALIKE = "alike"

SHOW_EVERY = 0.25
"""Seconds between two looks at a growing answer: every token would keep the browser busy with drawing."""


def chosen_run(name: str | None) -> Path:
    """The trained run of that name, or the newest one.

    Raises:
        RunError: there is none.
    """
    found = find_run(name) if name else next(iter(trained_runs()), None)
    if found is None and name:
        raise RunError(f"Run {name} is gone: it was renamed or deleted. Reload the page and choose another.")
    if found is None:
        raise RunError("There is no trained model yet; train one in the second tab.")
    return found


def load(folder: Path, other: Path | None = None) -> tuple[Any, list[str]]:
    """The run's model, with another run's adapter beside it; torch is imported here, when a model is first needed.

    Raises:
        PipelineError: it cannot be loaded, or a training has the memory that it needs.
    """
    check_room(folder)
    with doing("loading the model"):
        from pipeline.answering.models import load_run

        return load_run(folder, other)


def check_room(folder: Path) -> None:
    """Refuse to load a model into memory that a training has, or will have by its peak.

    Raises:
        RunError: it does not fit beside the run that is training.
    """
    view, models = look(), sys.modules.get("pipeline.answering.models")
    if view is None or view.status.state != "running" or (models and models.is_loaded()):
        return  # one that is there was kept because both fit (see `tabs.training.make_room`)
    used = max((step["memory_bytes"] for step in view.steps_since_start), default=0)
    asked, gpu = read_settings(folder), bool(gpu_name())
    needed = answering_bytes(asked, gpu=gpu)
    left = room_left(view.settings, run_dataset(view.folder).training(), used, gpu=gpu)
    if needed is None or left is None or needed <= left:
        return
    seconds = seconds_left(view)
    when = f"in about {duration(seconds)}" if seconds else "when it has ended"
    raise RunError(
        f"The chat is paused while run {view.name} trains: the model needs about {memory(needed)} and "
        f"{memory(max(left, 0))} are free beside the training; ask again {when}."
    )


def stream(
    language_model: Any,
    asked: Asked,
    sides: Sequence[str] = tuple(SIDES),
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[dict[str, str | None], None, None]:
    """Each side's raw answer as it grows: those that get the same prompt together, then the base that reads the record.

    Args:
        sides: who is asked, in the order of the result; `RECORD` is left out where the product is not known.
        stopped: asked after every token; once it is true the answers end with what has been said.
    """
    from pipeline.answering.models import BASE as PLAIN
    from pipeline.answering.models import OTHER as ANOTHER
    from pipeline.answering.models import TUNED as ADAPTED

    answers_as = {BASE: PLAIN, RECORD: PLAIN, TUNED: ADAPTED, OTHER: ANOTHER}
    options = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    without = [side for side in sides if side != RECORD]
    groups = [([asked.prompt] * len(without), without)]
    if RECORD in sides and asked.product:
        groups.append(([build_prompt(asked.title, asked.question, asked.product.content)], [RECORD]))
    raws: dict[str, str | None] = {side: None for side in sides if any(side in group for _, group in groups)}
    with doing("answering a question"):
        for prompts, group in groups:
            tokens = [encode_prompt(language_model.tokenizer, prompt) for prompt in prompts]
            growing = language_model.stream(tokens, by=[answers_as[side] for side in group], **options)
            shown = 0.0
            try:
                for texts in growing:
                    raws = raws | {side: text or None for side, text in zip(group, texts, strict=True)}
                    if time.monotonic() - shown > SHOW_EVERY:
                        yield raws
                        shown = time.monotonic()
                    if stopped():
                        break
            finally:
                growing.close()  # at once, not when it is collected: whoever asks next waits for the model
            if stopped():
                yield raws
                return
            raws = raws | {side: raws[side] or "" for side in group}
            yield raws


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


@open_in_measure
def ask(question: str, title: str = "", run: str = "") -> dict[str, Any]:
    """Ask base and tuned one question; `title` names the product when the question does not, `run` the training run."""
    folder = chosen_run(run)
    asked = Shelf(run_dataset(folder).manifest).ask(question, title)
    language_model, warnings = load(folder)
    *_, raws = stream(language_model, asked)
    exchange = Exchange(asked, raws, is_whole=True)
    sides = {
        side: {"raw": raw, "answer": exchange.found(side).answer, "verdict": exchange.verdict(side)}
        for side, raw in raws.items()
    }
    return {"title": asked.title, "question": asked.question, "expected": asked.expected, **sides, "warnings": warnings}


def compare(run: str = "") -> dict[str, Any]:
    """Ask the run's questions after tuning (the base was asked before) and return the whole comparison."""
    return run_questions(chosen_run(run), lambda done, total: None)


def all_questions(held_out: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """A question for every fact and unknown title of a run, in a phrasing that training never showed.

    Args:
        held_out: the held-out rows of the run's dataset.

    Returns:
        (what is listed, the question and its product's title as JSON); at most `LISTED` of them.
    """
    rows = [row for row in held_out if row["template"].endswith(REPORT_1)]
    rows.sort(key=lambda row: (row["kind"] in NO_FACT, row["title"].casefold()))
    return [
        (
            f"{short(row['title'])} · {kind_label(row['kind'])} · {row['question']}",
            json.dumps([row["question"], row["title"]]),
        )
        for row in rows[:LISTED]
    ]


def vote(folder: Path, exchange: Exchange, better: str) -> None:
    """Keep which of two hidden answers somebody found better (a side, or `ALIKE`), in the run's `votes.jsonl`."""
    append_jsonl(
        folder / VOTES,
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "title": exchange.asked.title,
            "question": exchange.asked.question,
            "against": exchange.other or BASE,
            "better": better,
            "answers": exchange.raws,
        },
    )


def votes(folder: Path, against: str) -> dict[str, int]:
    """How often each side was found better, of those that answered beside `against` (the base or another run)."""
    try:
        rows = [row["better"] for row in read_jsonl(folder / VOTES) if row["against"] == against]
    except (OSError, ValueError, KeyError):
        rows = []
    return {side: rows.count(side) for side in (TUNED, BASE if against == BASE else OTHER, ALIKE)}


def example_questions(held_out: list[dict[str, Any]]) -> list[str]:
    """Questions in phrasings that training never showed: of different products, one of them unknown."""
    known = {
        row["uid"]: row["question"]
        for row in held_out
        if row["kind"] not in NO_FACT and row["title"] in row["question"]
    }
    unknown = [row["question"] for row in held_out if row["kind"] == UNKNOWN and row["title"] in row["question"]]
    return [*list(known.values())[: EXAMPLES - 1], *unknown[:1]]
