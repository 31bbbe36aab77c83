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

from pipeline.answering.answers import MAX_NEW_TOKENS
from pipeline.answering.customers import questions_in
from pipeline.answering.judging import judged, named_ways, need_model
from pipeline.answering.lookup import Asked, TaughtProducts
from pipeline.answering.put_right import with_put_right
from pipeline.answering.report import write_report
from pipeline.answering.shop import shop_of
from pipeline.answering.ways import AUTO, BASE_OPEN, BY_RECORD, OPEN, answer_all, prompt_of
from pipeline.dataset.build import Dataset
from pipeline.dataset.examples import REPORT_1
from pipeline.facts.phrasings import kind_label
from pipeline.files import append_jsonl, read_json, read_log
from pipeline.machine import on_zero_gpu
from pipeline.prompts import NO_FACT, UNKNOWN, encode_prompt
from pipeline.runs.folder import COMPARISON, is_reader_run, read_settings, run_dataset
from pipeline.runs.view import get_trained_run
from tabs.chat.cards import BASE, OTHER, SIDES, TUNED, Exchange, needs_model
from tabs.dataset.catalogue_view import short
from tabs.server.answering_model import loaded
from tabs.server.zerogpu import on_gpu
from tabs.ui.activity import doing
from tabs.ui.events import open_in_measure

logger = logging.getLogger(__name__)

Raws = dict[str, str | None]
"""Who was asked, and what has been said; None before anything has."""


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


def prepare(dataset: Dataset, asked: Asked, sides: Sequence[str], title: str, **shown: Any) -> Prepared:
    """Answer what needs no model: the ways that read the catalogue find the product and its sentence.

    Args:
        title: of the product, where a person picked it; else it is found in the question.
        shown: further attributes of the `Exchange`.
    """
    raws: Raws = dict.fromkeys(sides)
    prompts = {side: asked.prompt for side in sides if needs_model(side)}
    if not any(side in BY_RECORD for side in sides):
        return Prepared(prompts, Exchange(asked, raws, **shown))
    shop = shop_of(dataset)
    about = with_put_right(shop, asked.question, shop.about(asked.question, title), is_given=bool(title))
    prompts |= {side: prompt_of(side, shop, about) for side in prompts if side in BY_RECORD}
    told = answer_all(shop, [about], [side for side in sides if not needs_model(side)])[0]
    record = shop.record(about) or ""
    sources = {side: record for side in prompts if side in BY_RECORD} | {way: one.source for way, one in told.items()}
    raws |= {way: one.raw for way, one in told.items()}
    return Prepared(prompts, Exchange(asked, raws, about, sources, **shown))


def read_out(
    dataset: Dataset, folder: Path, prepared: Prepared, title: str, other: Path | None
) -> tuple[list[str], Exchange]:
    """A reader's run answers at once: its warnings, and the exchange with every answer and the sentences that they stand in.

    Args:
        title: of the product, where a person picked it; else it is found in the question.
        other: another run's folder, whose reader answers as `OTHER`.
    """
    begun = time.monotonic()
    exchange = prepared.exchange
    about = exchange.about or shop_of(dataset).about(exchange.asked.question, title)
    own = replace(about, put_right=None)  # the sides' own answers
    with doing("answering a question"), loaded(folder, other) as (run, warnings):
        who = {BASE: BASE, BASE_OPEN: BASE, TUNED: TUNED, OPEN: TUNED, OTHER: OTHER}
        told = {side: run.tell([own], who[side])[0] for side in prepared.prompts}
    took = round(time.monotonic() - begun, 1)
    logger.info("Question answered: %s s", took, extra={"run": folder.name, "seconds": took})
    raws = exchange.raws | {side: one.answer for side, one in told.items()}
    sources = exchange.sources | {side: one.source for side, one in told.items()}
    return warnings, replace(exchange, raws=raws, sources=sources, about=about, is_reader=True)


def answering(
    folder: Path,
    prompts: dict[str, str],
    *,
    other: Path | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[tuple[list[str], Raws], None, None]:
    """Ask a run's model: its warnings, and each side's raw answer as it grows.

    Args:
        prompts: what each side is asked, in the order of the result.
        other: another run's folder, whose adapter answers as `OTHER`.
        stopped: asked after every token; once it is true the answers end with what has been said.
    """
    fetch_base(folder)
    shown = -math.inf  # the first word at once
    warnings, raws, is_shown = [], {}, False
    growing = _answers(folder, other, prompts, max_new_tokens, temperature)
    with doing("answering a question"), closing(growing):  # at once: whoever asks next waits for the model
        for warnings, raws in growing:
            if is_shown := stopped() or time.monotonic() - shown > SHOW_EVERY:
                yield warnings, raws
                shown = time.monotonic()
            if stopped():
                break
        if not is_shown:
            yield warnings, raws


@on_gpu(ANSWER_SECONDS)
def _answers(
    folder: Path,
    other: Path | None,
    prompts: dict[str, str],
    max_new_tokens: int,
    temperature: float,
) -> Generator[tuple[list[str], Raws], None, None]:
    """After every token: those that get the same prompt together, one prompt after the other."""
    begun = time.monotonic()
    with loaded(folder, other) as (language_model, warnings):
        from pipeline.models.language_model import BASE as PLAIN
        from pipeline.models.language_model import OTHER as ANOTHER
        from pipeline.models.language_model import TUNED as ADAPTED

        answers_as = {BASE: PLAIN, BASE_OPEN: PLAIN, TUNED: ADAPTED, OPEN: ADAPTED, OTHER: ANOTHER}
        options = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        raws: Raws = dict.fromkeys(prompts)
        try:
            for prompt in dict.fromkeys(prompts.values()):
                group = [side for side, own in prompts.items() if own == prompt]
                tokens = [encode_prompt(language_model.tokenizer, prompt)] * len(group)
                growing = language_model.stream(tokens, by=[answers_as[side] for side in group], **options)
                with closing(growing):
                    for texts in growing:
                        raws = raws | {side: text or None for side, text in zip(group, texts, strict=True)}
                        yield warnings, raws
                raws = raws | {side: raws[side] or "" for side in group}
                yield warnings, raws
        finally:
            encode = language_model.tokenizer.encode
            said = sum(len(encode(raw or "", add_special_tokens=False)) for raw in raws.values())
            took = {"seconds": round(time.monotonic() - begun, 1), "tokens": said}
            logger.info(
                "Question answered: {seconds} s, {tokens} tokens".format_map(took), extra=took | {"run": folder.name}
            )


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
    if is_reader_run(folder):
        warnings, exchange = read_out(dataset, folder, prepare(dataset, asked, list(SIDES), title), title, None)
        raws, exchange = exchange.raws, replace(exchange, is_whole=True)
    else:
        *_, (warnings, raws) = answering(folder, dict.fromkeys(SIDES, asked.prompt))
        exchange = Exchange(asked, raws, is_whole=True)
    sides = {
        side: {"raw": raw, "answer": exchange.found(side).answer, "verdict": exchange.verdict(side)}
        for side, raw in raws.items()
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
