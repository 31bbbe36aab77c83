"""The questions before and after: what training fixed, what it broke, and recall over everything that was taught."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from pipeline.answering.answers import ask_expecting, ask_rows, score, thinned
from pipeline.answering.asker import Answer, RunModel
from pipeline.answering.baseline import EDITED, ask_changed, base_asked, read_baseline
from pipeline.answering.everything import FACTS, measure, report_rows
from pipeline.answering.general import QUESTIONS as GENERAL_QUESTIONS
from pipeline.answering.general import ask_general
from pipeline.answering.renewed import as_taught
from pipeline.answering.scoring import RIGHT
from pipeline.answering.shop import shop_of
from pipeline.answering.speaker import asker_of
from pipeline.answering.ways import AUTO, BASE, BASE_OPEN, CLOSED, EXTRACTIVE, OPEN, RECORD_WAYS, WAYS, Said
from pipeline.answering.which_way import Counted, count_ways, counted_of
from pipeline.dataset.examples import REPORT_2
from pipeline.dataset.taught import is_own_wording
from pipeline.errors import PipelineError, RunError
from pipeline.facts.extraction import says
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import read_json, write_json
from pipeline.prompts import SILENT, UNKNOWN
from pipeline.runs.events import read_events
from pipeline.runs.folder import ADAPTER, COMPARISON, EVERYTHING, SETTINGS, has_adapter, read_settings, run_dataset
from pipeline.runs.tracking import tell_afterwards

logger = logging.getLogger(__name__)

PART = 64
"""Questions between two moments at which the asking can be stopped."""

MOST_BY_WAY = 400
"""Of everything that was taught, the questions that the ways without a model answer, too: some ten seconds on two cores."""

TRAINING_NUMBERS = (
    "steps",
    "first_loss",
    "last_loss",
    "seconds",
    "probe_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
)


@as_taught()
def compare(
    language_model: RunModel,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Ask the tuned model the run's frozen questions, and then everything else that can be measured.

    That is every trained fact in both of its report phrasings and in customers' styles, what records do not say, unknown
    products that training never named, and general questions of both sides. It goes into `everything.json`; the questions
    and recall go into `comparison.json`.

    Args:
        language_model: the run's, with what it trained. One that knows nothing by heart is asked no general questions.
        folder: the run folder; both files are written there.
        on_progress: called with (questions answered, of).
        stopped: asked now and then; once it says so, what has been answered is all there will be. The frozen questions
            are always asked.

    Returns:
        The contents of `comparison.json`.

    Raises:
        RunError: the run has no baseline or no adapter yet.
    """
    read_baseline(folder)
    if not has_adapter(folder):
        raise RunError(f"Run {folder.name} has no adapter yet; finish its training first.")
    baseline = ask_changed(language_model, folder)
    questions = baseline["questions"]
    by_heart = asker_of(language_model).by_heart
    asked_rows = report_rows(language_model, folder)
    # One list, asked once: a question of the fifteen is also a fact's report phrasing.
    rows = list({row["prompt"]: row for row in [*questions, *chain.from_iterable(asked_rows.values())]}.values())
    rows[len(questions) :] = sorted(
        rows[len(questions) :], key=lambda row: row["prompt"]
    )  # what begins alike, together
    general_total = 2 * len(read_json(GENERAL_QUESTIONS)) if by_heart else 0
    asked_total = len(rows) + general_total
    answers: dict[str, dict[str, str]] = {}
    seconds = 0.0

    def told(done: int) -> None:
        if on_progress:
            on_progress(done, asked_total + 2 * len(questions))

    for start, end in pairwise([0, *range(len(questions), len(rows), PART), len(rows)]):
        if start and stopped():
            break
        part, begun = rows[start:end], time.perf_counter()
        ask = (
            ask_expecting if start else ask_rows
        )  # an answer's time is that of one that was decoded, as the base's was
        asked = ask(language_model, part, tuned=True, on_progress=lambda done, _, before=start: told(before + done))
        answers |= {row["prompt"]: answer for row, answer in zip(part, asked, strict=True)}
        seconds = seconds or (time.perf_counter() - begun) / len(part)
    general: dict[str, list[dict[str, str]]] = {}
    for before, side in ((0, "base"), (general_total // 2, "tuned")):
        if by_heart and not stopped():
            general[side] = ask_general(
                language_model,
                tuned=side == "tuned",
                on_progress=lambda done, _, before=before: told(len(rows) + before + done),
            )
    everything = measure(
        {
            sort: [row | answers[row["prompt"]] for row in some if row["prompt"] in answers]
            for sort, some in asked_rows.items()
        },
        general if len(general) == 2 else None,
    )
    # A question that somebody wrote is judged by what they expect: a fact with the same prompt may expect another answer.
    compared = [
        _compared(
            q,
            score(q, Answer.of(q["kind"], answers[q["prompt"]]["raw"], q["response"]))
            if q["template"] == EDITED
            else answers[q["prompt"]],
        )
        for q in questions
    ]
    comparison = {
        "base_model": baseline["base_model"],
        "base_sha256": baseline["base_sha256"],
        "adapter": ADAPTER,
        "questions": compared,
        "summary": {
            "base_right": sum(q["base"]["verdict"] == RIGHT for q in compared),
            "tuned_right": sum(q["tuned"]["verdict"] == RIGHT for q in compared),
            "total": len(compared),
            "recall": everything["summary"]["recall"],
            "facts": len({(row["uid"], row["kind"]) for row in asked_rows[FACTS]}),
        },
        "training": training_numbers(folder),
        **({"base_asked": said} if (said := base_asked(baseline)) else {}),
    }
    comparison |= _taught_by_a_person(language_model, folder)
    times = {BASE: baseline.get("seconds", 0.0), CLOSED: seconds}
    comparison |= _by_way(
        language_model,
        folder,
        compared,
        [
            row | {"closed": answers[row["prompt"]]}
            for row in chain.from_iterable(asked_rows.values())
            if row["prompt"] in answers
        ],
        times,
        lambda done: told(asked_total + done),
        stopped,
    )
    if not (folder / SETTINGS).is_file():
        raise RunError(f"Run {folder.name} was renamed or deleted while it was asked, so its answers are not kept.")
    everything["summary"]["whole"] = len(answers) == len(rows) and not (by_heart and everything["general"] is None)
    write_json(folder / EVERYTHING, everything)
    write_json(folder / COMPARISON, comparison)
    trust = {f"trust/{one.way}": one.trust for one in counted_of(comparison, "everything")}
    measured = {"recall/whole": everything["summary"]["recall"], **trust}
    tell_afterwards(folder, read_settings(folder), comparison["training"]["steps"] or 0, measured)
    return comparison


def _taught_by_a_person(language_model: RunModel, folder: Path) -> dict[str, Any]:
    """`taught` of `comparison.json`: customers' questions that a person answered, asked of both sides in the customers' words."""
    rows = [row for row in run_dataset(folder).training() if is_own_wording(row)]
    if not rows:
        return {}
    sides = {side: ask_rows(language_model, rows, tuned=side == "tuned") for side in ("base", "tuned")}
    questions = [
        {"title": row["title"], "question": row["question"], "expected": row["response"], "base": base, "tuned": tuned}
        for row, base, tuned in zip(rows, sides["base"], sides["tuned"], strict=True)
    ]
    right = {f"{side}_right": sum(q[side]["verdict"] == RIGHT for q in questions) for side in sides}
    return {"taught": {**right, "total": len(questions), "questions": questions}}


def _by_way(
    language_model: RunModel,
    folder: Path,
    compared: list[dict[str, Any]],
    taught: list[dict[str, Any]],
    times: dict[str, float],
    on_progress: Callable[[int], None],
    stopped: Callable[[], bool],
) -> dict[str, Any]:
    """`ways` of `comparison.json`: what each way of answering comes to, with the answers that there are already.

    The questions are asked in all ways; everything else that was taught, in the ways that need no model.

    Args:
        compared: entries of `comparison.json`.
        taught: the rows of `report_rows`, with the tuned model's answer as `closed`.
        times: seconds of an answer of the base and of the tuned model.
        on_progress: called with how many more questions the model has answered.

    Returns:
        Nothing where the catalogue cannot be read: the comparison is worth keeping without.
    """
    whole = not stopped()
    by_heart = asker_of(language_model).by_heart
    tuned = CLOSED if by_heart else OPEN
    dataset = run_dataset(folder)
    kinds = dataset.kinds
    told = {
        BASE: [_as_said(q["base"], times[BASE]) for q in compared],
        tuned: [_as_said(q["tuned"], times[CLOSED]) for q in compared],
    }
    taught_by_heart = WAYS if whole else [way for way in WAYS if way not in (BASE_OPEN, OPEN)]
    ways = taught_by_heart if by_heart else RECORD_WAYS
    some = [row for row in taught if row["kind"] == SILENT or not row["template"].endswith(REPORT_2)] if whole else []
    some = thinned(some, MOST_BY_WAY)
    rows = [{"fact_kind": row["kind"], "expected": row["response"], **row} for row in some]
    closed = {tuned: [_as_said(row["closed"], times[CLOSED]) for row in some]}

    def counted(way: str, done: int, _: int) -> None:
        on_progress(done + (len(compared) if way == OPEN else 0))

    try:
        shop = shop_of(dataset)
        by_way = {
            "questions": count_ways(shop, compared, ways, language_model, kinds, counted, told),
            "everything": count_ways(shop, rows, (tuned, EXTRACTIVE, AUTO), told=closed) if rows else [],
        }
    except (PipelineError, OSError) as error:
        logger.warning("Ways to answer were not counted. %s", error, extra={"run": folder.name})
        return {}
    return {"ways": {name: _as_dicts(found) for name, found in by_way.items()}}


def _as_said(answer: dict[str, str], seconds: float) -> Said:
    return Said(answer["raw"], answer["answer"], says(answer["answer"]), seconds=seconds)


def _as_dicts(counted: Sequence[Counted]) -> list[dict[str, Any]]:
    return [one.as_dict() for one in counted]


def questions_now(folder: Path, comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The run's questions as they are now, with the answers that still belong to them.

    Returns:
        Entries like those of `comparison.json`. What was not asked after training, or was changed since, has no `tuned`
        answer and the change "unasked"; a changed one, of which the base was not asked either, has no `base` answer.
    """
    answered = {(q["id"], *_asked(q)): q for q in (comparison or {"questions": []})["questions"]}
    now = []
    for question in read_baseline(folder)["questions"]:
        entry = _compared(question, None)
        now.append(answered.get((question["id"], *_asked(entry)), entry) | {"is_changed": "frozen" in question})
    return now


def _asked(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["question"], entry["title"], entry["expected"]


def training_numbers(folder: Path) -> dict[str, Any]:
    """The training's own figures, out of its last ending event."""
    ending = training_end(folder)
    return {name: ending.get(name) for name in TRAINING_NUMBERS}


def training_end(folder: Path) -> dict[str, Any]:
    """The event with which the training ended last, with all its figures; empty where there is none."""
    return next((e for e in reversed(read_events(folder)[0]) if "peak_memory_bytes" in e and "steps" in e), {})


def _compared(question: dict[str, Any], tuned: dict[str, str] | None) -> dict[str, Any]:
    base = question["base"]
    before, after = (side is not None and side["verdict"] == RIGHT for side in (base, tuned))
    changed = "fixed" if after and not before else "broken" if before and not after else "same"
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
        "change": changed if tuned else "unasked",
    }
