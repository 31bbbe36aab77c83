"""Asking a run's model: one question, or all of its questions before and after. Torch is imported when a model is needed."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pipeline.answering.asker import BASE, MAX_NEW_TOKENS, OTHER, TUNED
from pipeline.answering.customers import questions_in
from pipeline.answering.judging import judged, named_ways, need_model
from pipeline.answering.lookup import Asked, TaughtProducts
from pipeline.answering.put_right import with_put_right
from pipeline.answering.renewed import source_of
from pipeline.answering.report import write_report
from pipeline.answering.shop import About, shop_of
from pipeline.answering.speaker import asker_of
from pipeline.answering.ways import AUTO, BASE_OPEN, BY_RECORD, OPEN, answer_all, prompt_of
from pipeline.dataset.build import Dataset
from pipeline.dataset.examples import REPORT_1
from pipeline.facts.phrasings import kind_label
from pipeline.files import append_jsonl, read_json, read_log
from pipeline.machine import on_zero_gpu
from pipeline.models.family import Family
from pipeline.prompts import NO_FACT, UNKNOWN
from pipeline.runs.folder import COMPARISON, read_settings, run_dataset, run_family
from pipeline.runs.view import get_trained_run
from tabs.chat.cards import SIDES, Exchange, needs_model
from tabs.dataset.catalogue_view import short
from tabs.server.answering_model import loaded
from tabs.server.zerogpu import on_gpu
from tabs.ui.activity import doing
from tabs.ui.events import open_in_measure

logger = logging.getLogger(__name__)

Raws = dict[str, str | None]
"""Who was asked, and what has been said; None before anything has."""

WHO = {BASE: BASE, BASE_OPEN: BASE, TUNED: TUNED, OPEN: TUNED, OTHER: OTHER}
"""Who answers for each side that needs the model."""

ANSWER_SECONDS, COMPARE_SECONDS, SECONDS_TO_SPARE = 60, 120, 15
"""What one question, or a run's questions, may take of a GPU that is lent, with the loading of the model; what is not
answered by some seconds before the end is left out, since at the end the answers would be lost."""

EXAMPLES = 6

LISTED = 2000
"""Questions in the list that is searched: more would make the page slow."""

VOTES = "votes.jsonl"
ALIKE = "alike"

SHOW_EVERY = 0.25
"""Seconds between two looks at a growing answer: every token would keep the browser busy with drawing."""


@dataclass(frozen=True)
class Prepared:
    """A question as each side is asked it, with what needs no model answered.

    Attributes:
        prompts: what each side that needs the model is asked, in the order in which they are shown.
        exchange: the answers that are there already, and who else will answer.
    """

    prompts: dict[str, str]
    exchange: Exchange


def prepare(
    dataset: Dataset, asked: Asked, sides: Sequence[str], title: str, *, family: Family, **shown: Any
) -> Prepared:
    """Answer what needs no model: the ways that read the catalogue find the product and its sentence.

    Args:
        title: of the product, where a person picked it; else it is found in the question.
        family: what the run's base is.
        shown: further attributes of the `Exchange`.
    """
    raws: Raws = dict.fromkeys(sides)
    prompts = {side: asked.prompt for side in sides if needs_model(side)}
    is_read = any(side in BY_RECORD for side in sides)
    if family.by_heart and not is_read:
        return Prepared(prompts, Exchange(asked, raws, family=family, **shown))
    shop = shop_of(dataset)
    about = shop.about(asked.question, title)
    if is_read:  # base and tuned alone are measured, with nothing that an owner put right
        about = with_put_right(shop, asked.question, about, is_given=bool(title))
    prompts |= {side: prompt_of(side, shop, about) for side in prompts if side in BY_RECORD}
    told = answer_all(shop, [about], [side for side in sides if not needs_model(side)])[0]
    record = shop.record(about) or ""
    sources = {side: record for side in prompts if side in BY_RECORD} | {way: one.source for way, one in told.items()}
    raws |= {way: one.raw for way, one in told.items()}
    is_newer = bool(source_of(dataset).since)
    return Prepared(prompts, Exchange(asked, raws, about, sources, family=family, is_newer=is_newer, **shown))


def answering(
    folder: Path,
    prepared: Prepared,
    *,
    other: Path | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[tuple[list[str], Exchange], None, None]:
    """Ask a run's model: its warnings, and the exchange as its answers grow.

    Args:
        other: another run's folder, which answers as `OTHER`.
        stopped: asked after every token; once it is true the answers end with what has been said.
    """
    exchange = prepared.exchange
    asked = {side: (WHO[side], prompt) for side, prompt in prepared.prompts.items()}
    if exchange.family.needs_gpu:
        fetch_base(folder)
        growing = _answers_on_gpu(folder, other, asked, None, max_new_tokens, temperature)
    else:
        growing = _answers(folder, other, asked, exchange.about, max_new_tokens, temperature)
    shown = -math.inf  # the first word at once
    warnings, is_shown = [], False
    with doing("answering a question"), closing(growing):  # at once: whoever asks next waits for the model
        for warnings, raws, sources in growing:
            exchange = replace(exchange, raws=exchange.raws | raws, sources=exchange.sources | sources)
            if is_shown := stopped() or time.monotonic() - shown > SHOW_EVERY:
                yield warnings, exchange
                shown = time.monotonic()
            if stopped():
                break
        if not is_shown:
            yield warnings, exchange


def _answers(
    folder: Path,
    other: Path | None,
    asked: dict[str, tuple[str, str]],
    about: About | None,
    max_new_tokens: int,
    temperature: float,
) -> Generator[tuple[list[str], Raws, dict[str, str]], None, None]:
    """What `Asker.grow` says of the run's model, with its warnings."""
    begun = time.monotonic()
    with loaded(folder, other) as (language_model, warnings):
        asker, raws = asker_of(language_model), {}
        try:
            with closing(asker.grow(asked, about, max_new_tokens=max_new_tokens, temperature=temperature)) as growing:
                for raws, sources in growing:
                    yield warnings, raws, sources
        finally:
            seconds, tokens = round(time.monotonic() - begun, 1), asker.count([text or "" for text in raws.values()])
            said = f"Question answered: {seconds} s" + (f", {tokens} tokens" if tokens else "")
            logger.info(said, extra={"seconds": seconds, "run": folder.name} | ({"tokens": tokens} if tokens else {}))


_answers_on_gpu = on_gpu(ANSWER_SECONDS)(_answers)


def fetch_base(folder: Path) -> None:
    """On ZeroGPU, have the run's base model on the disk before a GPU is lent: its seconds are not for downloads.

    Raises:
        PipelineError: the run cannot be read, or there is no such base.
    """
    if on_zero_gpu():
        from pipeline.models.bases import checksum, find_base

        checksum(find_base(read_settings(folder).base_model))


_stop_comparing = get_context("fork").Event()
"""Of the kind that a worker process sees too."""


_one_comparison = threading.Lock()
_compared_now: Path | None = None


def is_comparing(folder: Path) -> bool:
    """Whether this process asks the run's questions before and after just now."""
    return _compared_now == folder


def stop_comparing() -> None:
    """Let the comparison that is on end with what has been answered."""
    _stop_comparing.set()


def run_questions(folder: Path, on_progress: Callable[[int, int], object]) -> dict[str, Any]:
    """Ask the tuned model the run's questions and everything else, and write the comparison and its report.

    One comparison at a time: another one waits.
    """
    global _compared_now
    fetch_base(folder)
    with _one_comparison:
        _stop_comparing.clear()
        begun, _compared_now = time.monotonic(), folder
        try:
            with doing("asking the questions before and after") as tell, closing(_compared(folder)) as growing:
                for done, total in growing:
                    tell(done, total)
                    on_progress(done, total)
            comparison = read_json(folder / COMPARISON)
            write_report(folder, comparison)
        finally:
            _compared_now = None
    took = round(time.monotonic() - begun, 1)
    logger.info("Questions before and after asked: %s s", took, extra={"run": folder.name, "seconds": took})
    return comparison


@on_gpu(COMPARE_SECONDS)
def _compared(folder: Path) -> Generator[tuple[int, int], None, None]:
    """Write the run's comparison; meanwhile say how many questions have been answered, of how many."""
    until = time.monotonic() + COMPARE_SECONDS - SECONDS_TO_SPARE
    from pipeline.answering.comparison import compare as compare_run

    def stopped() -> bool:
        return _stop_comparing.is_set() or (on_zero_gpu() and time.monotonic() > until)

    news: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    with loaded(folder) as (language_model, _), ThreadPoolExecutor(1) as thread:
        work = thread.submit(
            compare_run,
            language_model,
            folder,
            on_progress=lambda done, total: news.put((done, total)),
            stopped=stopped,
        )
        work.add_done_callback(lambda _: news.put(None))
        yield from iter(news.get, None)
        work.result()


@open_in_measure
def ask(question: str, title: str = "", run: str = "") -> dict[str, Any]:
    """Ask base and tuned one question; `title` names the product when the question does not, `run` the training run."""
    folder = get_trained_run(run)
    dataset = run_dataset(folder)
    asked = TaughtProducts(dataset.manifest).ask(question, title)
    prepared = prepare(dataset, asked, SIDES, title, family=run_family(folder))
    *_, (warnings, exchange) = answering(folder, prepared)
    exchange = replace(exchange, is_whole=True)
    sides = {
        side: {"raw": raw, "answer": exchange.found(side).answer, "verdict": exchange.verdict(side)}
        for side, raw in exchange.raws.items()
    }
    return {"title": asked.title, "question": asked.question, "expected": asked.expected, **sides, "warnings": warnings}


def judge(questions: str, run: str = "", ways: str = AUTO) -> list[dict[str, Any]]:
    """Answer customers' questions: JSON, JSON lines, CSV or one a line. Ways: base, base_open, closed, open, extractive, auto."""
    folder, items = get_trained_run(run), questions_in(questions, "What was sent")
    names = named_ways(folder, ways, logger.info)
    if not need_model(names):
        return judged(folder, items, names, _no_model, logger.info)
    with doing("answering questions"), loaded(folder) as (language_model, _):
        return judged(folder, items, names, lambda: language_model, logger.info)


def _no_model() -> Any:
    raise AssertionError("no way needs a model")


def compare(run: str = "") -> dict[str, Any]:
    """Ask the run's questions after tuning (the base was asked before) and return the whole comparison."""
    return run_questions(get_trained_run(run), lambda done, total: None)


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
        rows = [row["better"] for row in read_log(folder / VOTES) if row["against"] == against]
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
