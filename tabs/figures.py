"""The page's plots, drawn by Plotly: fixed axes, few points, colours with one meaning.

Text is left to the style sheet, which gives it the colour that suits the light or the dark page.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.answering.report import VERDICT_WORDS
from pipeline.data.phrasings import kind_label
from tabs.runview import RunView
from tabs.shared import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

T = TypeVar("T")

RIGHT, PARTIAL, WRONG, NOTHING, LOSS, ORANGE = "#1a9850", "#e0a100", "#d73027", "#8c96a3", "#4575b4", "#ea6a12"
VERDICT_COLOURS = {"right": RIGHT, "partial": PARTIAL, "wrong": WRONG, "nothing_found": NOTHING}

MOST_POINTS = 400
"""Points a curve has at most: more cannot be seen, and every update sends them all."""

SMOOTHING = 0.9


def thin(points: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """Evenly chosen points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def smooth(values: Sequence[float], weight: float = SMOOTHING) -> list[float]:
    """Exponential moving average, corrected for its start as in Adam (Kingma and Ba, 2015)."""
    smoothed, average = [], 0.0
    for number, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**number))
    return smoothed


def axis_top(values: Sequence[float]) -> float:
    """A round number above all values, so that the axis moves seldom."""
    most = max(values, default=1.0)
    return float(math.ceil(most * 1.02)) if most > 1 else 1.0


def training_figure(view: RunView) -> "Figure":
    """Loss on the left axis, recall on the right one, over the whole length of the run."""
    from plotly.graph_objects import Scatter

    steps = view.steps
    losses = [float(e["loss"]) for e in steps]
    curve = thin(list(zip([e["step"] for e in steps], losses, smooth(losses), strict=True)))
    x = [point[0] for point in curve]
    recall = [(e["step"], 100 * e["right"] / e["total"], f"{e['right']} of {e['total']}") for e in view.probes]
    figure = _figure(400)
    figure.add_trace(Scatter(x=x, y=[p[1] for p in curve], name="loss", line={"color": LOSS, "width": 1}, opacity=0.45))
    figure.add_trace(Scatter(x=x, y=[p[2] for p in curve], name="loss, smoothed", line={"color": LOSS, "width": 3}))
    figure.add_trace(
        Scatter(
            x=[r[0] for r in recall],
            y=[r[1] for r in recall],
            text=[r[2] for r in recall],
            name="recall on questions it never saw",
            mode="lines+markers+text",
            textposition=["top center" if r[1] < 90 else "bottom center" for r in recall],
            line={"color": RIGHT, "width": 2, "dash": "dot"},
            marker={"size": 10},
            yaxis="y2",
            cliponaxis=False,
        )
    )
    figure.update_layout(
        uirevision=view.name,
        xaxis={"title": "step", "range": [0, max(view.total, 1) * 1.03], "showgrid": False},
        yaxis={"title": "loss", "range": [0, axis_top(losses)], "gridcolor": "rgba(128,128,128,.25)"},
        yaxis2={
            "title": "recall",
            "range": [0, 105],
            "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 %"],
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "tickvals": [0, 25, 50, 75, 100],
        },
    )
    return figure


def kinds_figure(kinds: dict[str, int]) -> "Figure":
    """How many facts there are of each kind."""
    from plotly.graph_objects import Bar

    names = [escape(kind_label(kind)) for kind in kinds][::-1]
    numbers = list(kinds.values())[::-1]
    figure = _figure(max(160, 24 * len(kinds) + 50))
    figure.add_trace(
        Bar(
            x=numbers,
            y=names,
            orientation="h",
            text=numbers,
            textposition="outside",
            marker={"color": ORANGE},
            cliponaxis=False,
        )
    )
    figure.update_layout(
        showlegend=False,
        xaxis={"visible": False, "range": [0, max(numbers, default=1) * 1.1]},
        yaxis={"automargin": True},
        margin={"t": 30, "b": 10},
        bargap=0.25,
    )
    return figure


def verdict_counts(questions: Sequence[dict[str, Any]], side: str) -> dict[str, int]:
    verdicts = [question[side]["verdict"] for question in questions]
    return {verdict: verdicts.count(verdict) for verdict in VERDICT_WORDS}


def comparison_figure(questions: Sequence[dict[str, Any]]) -> "Figure":
    """Base and tuned as two bars, each made of its verdicts."""
    from plotly.graph_objects import Bar

    counts = {name: verdict_counts(questions, side) for name, side in (("tuned", "tuned"), ("base", "base"))}
    figure = _figure(230)
    for verdict, words in VERDICT_WORDS.items():
        numbers = [count[verdict] for count in counts.values()]
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


def _figure(height: int) -> "Figure":
    from plotly.graph_objects import Figure

    return Figure(
        layout={
            "template": "none",
            "height": height,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 50, "r": 60, "t": 50, "b": 50},
            "legend": {"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0},
            "font": {"family": "system-ui, sans-serif", "size": 13},
            "hovermode": "closest",
        }
    )
