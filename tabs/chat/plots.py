"""The third tab's plots: what the questions came to, by side and by kind."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.answering.report import VERDICT_WORDS
from pipeline.answering.scoring import INVENTED
from pipeline.answering.which_way import Counted
from pipeline.facts.phrasings import kind_label
from tabs.ui.text import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
from tabs.ui.plots import ADMITTED, NOTHING, RIGHT, VERDICT_COLOURS, WRONG, new_figure
from tabs.ui.plots import INVENTED as INVENTED_COLOUR


def verdict_counts(questions: Sequence[dict[str, Any]], side: str) -> dict[str, int]:
    verdicts = [question[side]["verdict"] for question in questions]
    return {verdict: verdicts.count(verdict) for verdict in VERDICT_WORDS}


def comparison_figure(questions: Sequence[dict[str, Any]]) -> "Figure":
    """Base and tuned as two bars, each made of its verdicts."""
    from plotly.graph_objects import Bar

    counts = {name: verdict_counts(questions, side) for name, side in (("tuned", "tuned"), ("base", "base"))}
    figure = new_figure(230)
    for verdict, words in VERDICT_WORDS.items():
        numbers = [count[verdict] for count in counts.values()]
        if verdict == INVENTED and not any(numbers):
            continue
        figure.add_trace(
            Bar(
                x=numbers,
                y=list(counts),
                orientation="h",
                name=words,
                marker={"color": VERDICT_COLOURS[verdict]},
                text=[number or "" for number in numbers],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"color": "#fff"},
            )
        )
    figure.update_layout(
        barmode="stack",
        bargap=0.35,
        xaxis={"range": [0, len(questions)], "showgrid": False, "dtick": 5},
        legend={"traceorder": "normal"},
        yaxis={"automargin": True},
    )
    return figure


def ways_figure(counted: Sequence[Counted]) -> "Figure":
    """Each way of answering as a bar, made of what its answers came to, with an answer's time."""
    from plotly.graph_objects import Bar

    counted = counted[::-1]
    names = [f"<b>{one.label}</b><br>{one.time}" for one in counted]
    parts = {
        ("✔ right", RIGHT): [one.right for one in counted],
        ("✔ admitted", ADMITTED): [one.admitted for one in counted],
        ("✘ wrong", WRONG): [one.wrong + one.unanswerable - one.admitted - one.invented for one in counted],
        ("✱ invented", INVENTED_COLOUR): [one.invented for one in counted],
    }
    figure = new_figure(48 * len(counted) + 130)
    for (words, colour), numbers in parts.items():
        figure.add_trace(
            Bar(
                x=numbers,
                y=names,
                orientation="h",
                name=words,
                marker={"color": colour},
                text=[number or "" for number in numbers],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"color": "#fff"},
            )
        )
    most = max((one.answerable + one.unanswerable for one in counted), default=1)
    figure.update_layout(
        barmode="stack",
        bargap=0.3,
        xaxis={"range": [0, most], "showgrid": False, "dtick": 5, "fixedrange": True},
        legend={"traceorder": "normal", "y": -30 / (48 * len(counted) + 60)},
        yaxis={"automargin": True, "fixedrange": True},
        margin={"t": 40, "r": 20, "b": 70},
    )
    return figure


def by_kind_figure(questions: Sequence[dict[str, Any]], everything: dict[str, Any] | None) -> "Figure":
    """The share of right answers for each kind of fact: the tuned model's of all that was asked, the base's of the questions."""
    from plotly.graph_objects import Bar

    asked = [
        (row["kind"], row["verdict"])
        for sort in ("facts", "silent", "unknown")
        for row in (everything or {}).get(sort, ())
    ]
    tuned, base = ([(q["fact_kind"], q[side]["verdict"]) for q in questions] for side in ("tuned", "base"))
    kinds = [kind for kind, _ in Counter(kind for kind, _ in asked or tuned).most_common()][::-1]
    figure = new_figure(30 * len(kinds) + 110)
    for name, colour, verdicts in (("tuned", RIGHT, asked or tuned), ("base", NOTHING, base)):
        of, right = Counter(kind for kind, _ in verdicts), Counter(kind for kind, said in verdicts if said == "right")
        figure.add_trace(
            Bar(
                x=[right[kind] / of[kind] if of[kind] else None for kind in kinds],
                y=[escape(kind_label(kind)) for kind in kinds],
                orientation="h",
                name=name,
                marker={"color": colour},
                text=[f"{right[kind]} of {of[kind]}" if of[kind] else "" for kind in kinds],
                textposition="outside",
                cliponaxis=False,
            )
        )
    figure.update_layout(
        barmode="group",
        bargap=0.25,
        xaxis={"range": [0, 1.15], "tickformat": ".0%", "tickvals": [0, 0.5, 1], "gridcolor": "rgba(128,128,128,.25)"},
        yaxis={"automargin": True},
        legend={"traceorder": "reversed", "y": -40 / (30 * len(kinds) + 60)},
        margin={"t": 30, "b": 70},
    )
    return figure
