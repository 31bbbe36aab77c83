"""Everything beside a run's own questions that is asked of it, by sorts, and what the answers come to (`everything.json`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.answering.answers import thinned
from pipeline.answering.asker import RunModel
from pipeline.answering.general import forgetting
from pipeline.answering.scoring import INVENTED, RIGHT
from pipeline.answering.speaker import asker_of
from pipeline.dataset.customers import STYLE, style_of
from pipeline.dataset.examples import REPORT_1, REPORT_2
from pipeline.facts.extraction import is_refusal
from pipeline.prompts import SILENT, UNKNOWN
from pipeline.runs.folder import read_settings, run_dataset

FACTS, STYLED = "facts", "styled"
"""Sorts of questions in `everything.json`, beside `SILENT` and `UNKNOWN`."""

MOST_ASKED = {STYLED: 400, SILENT: 200}
"""Of each sort, which every product has several of: enough to know a share to within five points. No more than there are
facts either, so that asking a few products takes no longer than it did."""


def report_rows(language_model: RunModel, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows that neither training nor its probes show, by their sort (see `measure`): every trained fact in two
    phrasings and, evenly thinned where there are many, in customers' styles; silent records; unknown products."""
    dataset, max_length = run_dataset(folder), read_settings(folder).max_length
    return by_sort(asker_of(language_model).graded(dataset.training(), dataset.held_out(), max_length))


def by_sort(held_out: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The held-out rows that a report asks, by their sort."""
    sorts: dict[str, list[dict[str, Any]]] = {FACTS: [], STYLED: [], SILENT: [], UNKNOWN: []}
    for row in held_out:
        use = row["template"].split(":")[-1]
        if row["kind"] == SILENT:
            sorts[SILENT].append(row)
        elif use in (REPORT_1, REPORT_2):
            sorts[UNKNOWN if row["kind"] == UNKNOWN else FACTS].append(row)
        elif use.startswith(STYLE):
            sorts[STYLED].append(row)
    facts = max(1, len(sorts[FACTS]) // 2)
    for sort, most in MOST_ASKED.items():
        sorts[sort] = list(thinned(sorts[sort], min(most, facts)))
    return sorts


def measure(
    answered: dict[str, list[dict[str, Any]]], general: dict[str, list[dict[str, str]]] | None
) -> dict[str, Any]:
    """What the answers to everything come to.

    Args:
        answered: rows (`raw`, `answer`, `verdict` beside the row's own fields) by the sort of question: `FACTS` in phrasings
            like those of training, `STYLED` in customers' words, `SILENT` about what a record does not say, `UNKNOWN` about
            products that training never named.
        general: both sides' answers to the general questions, or None where they were not asked.

    Returns:
        `summary` with `recall`, `styled`, `admitted` and `refused` (shares of 1), `invented` (of the silent rows),
        `false_refusals` (of the facts' rows), how many rows each stands for, `styles` ([right, of] of each), and `general`
        (see `forgetting`); and the rows themselves, shortened, under their sorts.
    """
    facts, styled, silent = answered[FACTS], answered[STYLED], answered[SILENT]
    styles: dict[str, list[int]] = {}
    for row in styled:
        counted = styles.setdefault(style_of(row["template"]), [0, 0])
        counted[0] += row["verdict"] == RIGHT
        counted[1] += 1
    return {
        "summary": {
            "recall": _right(facts),
            "fact_questions": len(facts),
            "styled": _right(styled),
            "styled_questions": len(styled),
            "styles": styles,
            "admitted": _right(silent),
            "invented": _share(sum(row["verdict"] == INVENTED for row in silent), len(silent)),
            "silent_questions": len(silent),
            "refused": _right(answered[UNKNOWN]),
            "unknown_questions": len(answered[UNKNOWN]),
            "false_refusals": _share(sum(is_refusal(row["answer"]) for row in facts), len(facts)),
            "general": forgetting(general["base"], general["tuned"]) if general else None,
        },
        **{sort: [_shown(row) for row in rows] for sort, rows in answered.items()},
        "general": general,
    }


def failures(everything: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the tuned model gets wrong of everything it was asked, by the sort of failure; only sorts that there are."""
    general = everything["general"] or {"base": [], "tuned": []}
    sorts = {
        "Facts it does not know": [row for row in everything["facts"] if row["verdict"] != RIGHT],
        "Customers' words it does not understand": [r for r in everything.get(STYLED, ()) if r["verdict"] != RIGHT],
        "What the record does not say, and it does": [r for r in everything.get(SILENT, ()) if r["verdict"] != RIGHT],
        "Unknown products it does not refuse": [row for row in everything["unknown"] if row["verdict"] != RIGHT],
        "General questions that only the base answers right": [
            tuned
            for base, tuned in zip(general["base"], general["tuned"], strict=True)
            if base["verdict"] == RIGHT != tuned["verdict"]
        ],
    }
    return {name: rows for name, rows in sorts.items() if rows}


def _right(rows: list[dict[str, Any]]) -> float:
    return _share(sum(row["verdict"] == RIGHT for row in rows), len(rows))


def _share(count: int, total: int) -> float:
    return round(count / total, 4) if total else 0.0


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": row["title"],
        "kind": row["kind"],
        "question": row["question"],
        "expected": row["response"],
        **{name: row[name] for name in ("raw", "answer", "verdict")},
    }
