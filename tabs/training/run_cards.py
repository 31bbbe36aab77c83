"""A run's headline, ending, messages and recall checks as HTML."""

from typing import Any

from markupsafe import Markup

from pipeline.answering.report import VERDICT_WORDS
from pipeline.runs.status import log_tail
from pipeline.runs.view import RunView
from tabs.dataset.catalogue_view import short
from tabs.training.run_words import STATE_WORDS
from tabs.ui.text import count, duration, html, html_of, notice, significant


def ending_card(view: RunView) -> Markup:
    """What came of a run and what to do next, as HTML; empty while it goes on."""
    last, said, state = view.ending, view.status.message, view.status.state
    if state == "finished":
        early = f" {said}" if said else ""
        return notice(
            f"Finished: {_figures(last)}.{early} The third tab asks the questions of before again and shows what changed.",
            "hint" if last.get("rose") else "done",
            state,
        )
    if state == "stopped":
        kept = f"Stopped as you asked: {_figures(last)}. The adapter of the last step is kept; you may resume."
        return notice(said or kept, "hint" if said else "done", state)
    if state == "failed":
        tail = log_tail(view.folder, 15)
        log = html("<details><summary>The end of the log</summary><pre>{}</pre></details>", tail) if tail else Markup()
        return notice(said or "The training failed.", state=state) + notice(_what_is_left(view), "hint") + log
    if state == "new":
        return notice("This run was made and not started yet: press “Start this run”.", "hint", state)
    if state == "queued":
        return notice("This run waits for its turn. It begins when the one before it has ended.", "hint", state)
    return Markup()


def _what_is_left(view: RunView) -> str:
    """What a failure cost, and what to press."""
    told = view.steps[-1]["step"] if view.steps else 0
    if view.checkpoint:
        lost = f", so {count(told - view.checkpoint, 'step')} must be done again" if told > view.checkpoint else ""
        return f"Everything up to step {view.checkpoint} is saved{lost}: press “Resume” once the cause is gone."
    return "No checkpoint was written yet: press “Start again” once the cause is gone." if told else ""


def _figures(ending: dict[str, Any]) -> str:
    told = [count(ending.get("steps") or 0, "step")]
    if ending.get("seconds"):
        told.append(f"{duration(ending['seconds'])} of training")
    if ending.get("first_loss") is not None and ending.get("last_loss") is not None:
        told.append(f"loss {significant(ending['first_loss'])} → {significant(ending['last_loss'])}")
    if ending.get("strength", 1) < 1:
        told.append(f"the adapter kept at {ending['strength']:.0%} of its strength, which is all it needs")
    return ", ".join(told)


def probe_cells(view: RunView | None) -> list[list[str]]:
    """The answers of the last recall check."""
    answers = view.probes[-1].get("answers", []) if view and view.probes else []
    return [
        [
            str(VERDICT_WORDS.get(a["verdict"], a["verdict"])),
            a["question"],
            short(a["expected"]),
            short(a["answer"] or a["raw"]),
        ]
        for a in answers
    ]


def message_list(view: RunView) -> Markup:
    """What the run said, as HTML."""
    return html("<ul>{}</ul>", html_of(html("<li>{}</li>", text) for text in view.messages))


def run_headline(view: RunView) -> Markup:
    """A run's name, state and settings, as HTML."""
    state = view.status.state
    about = [STATE_WORDS[state], f"preset {view.settings.preset}", view.settings.base_model]
    return html(
        "<h3 data-run='{name}' data-state='{state}'>Run {name} <small>{about}</small></h3>",
        name=view.name, state=state, about=" · ".join(about),
    )  # fmt: skip
