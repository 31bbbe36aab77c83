"""The page's plots, drawn by Plotly: fixed axes, few points, colours with one meaning.

Text is left to the style sheet, which gives it the colour that suits the light or the dark page.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gradio.components.plot import PlotData

from pipeline.answering.report import VERDICT_WORDS
from pipeline.data.phrasings import kind_label
from pipeline.training.sweep import Trial
from tabs.controls import TERMS
from tabs.runview import STATE_WORDS, RunView
from tabs.shared import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

T = TypeVar("T")

RIGHT, PARTIAL, WRONG, NOTHING, LOSS, ORANGE = "#1a9850", "#e0a100", "#d73027", "#8c96a3", "#4575b4", "#ea6a12"
VERDICT_COLOURS = {"right": RIGHT, "partial": PARTIAL, "wrong": WRONG, "nothing_found": NOTHING}

MOST_POINTS = 300
"""Points a curve has at most: more cannot be seen, and every update sends them all."""

SMOOTHING = 0.9

RECALL_AXIS: dict[str, Any] = {
    "title": "recall",
    "range": [0, 105],
    "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 %"],
    "overlaying": "y",
    "side": "right",
    "showgrid": False,
    "tickvals": [0, 25, 50, 75, 100],
}


def written(figure: Any) -> PlotData:
    """A figure as the browser gets it. Gradio would write it out anew for every window, while all others wait."""
    return PlotData(type="plotly", plot=figure.to_json())


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


def log_range(values: Sequence[float]) -> list[float]:
    """Whole powers of ten around all positive values, as exponents."""
    positive = [v for v in values if v > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return [low, max(high, low + 1)]


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Four digits: more cannot be seen, and every update sends them all."""
    return [None if value is None else float(f"{value:.4g}") for value in values]


def training_figure(view: RunView, smoothing: float = SMOOTHING, log: bool = False) -> "Figure":
    """Loss on the left axis, recall on the right one, over the whole length of the run."""
    from plotly.graph_objects import Scatter

    steps = view.steps
    losses = [float(e["loss"]) for e in steps]
    curve = thin(list(zip([e["step"] for e in steps], losses, smooth(losses, smoothing), strict=True)))
    x = [point[0] for point in curve]
    recall = [(e["step"], 100 * e["right"] / e["total"], f"{e['right']} of {e['total']}") for e in view.probes]
    figure = new_figure(400)
    raw, smoothed = (rounded([p[n] for p in curve]) for n in (1, 2))
    figure.add_trace(Scatter(x=x, y=raw, name="loss", line={"color": LOSS, "width": 1}, opacity=0.45))
    figure.add_trace(Scatter(x=x, y=smoothed, name="loss, smoothed", line={"color": LOSS, "width": 3}))
    figure.add_trace(
        Scatter(
            x=[r[0] for r in recall],
            y=[r[1] for r in recall],
            text=[r[2] for r in recall],
            name="recall on questions it never saw",
            mode="lines+markers+text" if len(recall) < 12 else "lines+markers",
            textposition=["top center" if r[1] < 90 else "bottom center" for r in recall],
            line={"color": RIGHT, "width": 2, "dash": "dot"},
            marker={"size": 10},
            yaxis="y2",
            cliponaxis=False,
        )
    )
    loss_axis = {"type": "log", "range": log_range(losses)} if log else {"range": [0, axis_top(losses)]}
    figure.update_layout(
        uirevision=f"{view.name} logarithmic" if log else view.name,
        xaxis={"title": "step", "range": [0, max(view.total, 1) * 1.03], "showgrid": False},
        yaxis={"title": "loss", "gridcolor": "rgba(128,128,128,.25)", **loss_axis},
        yaxis2=RECALL_AXIS,
    )
    return figure


DETAILS = {
    "learning_rate": ("How strongly it learns (learning rate)", 1.0),
    "grad_norm": ("Size of the corrections (gradient norm)", 1.0),
    "tokens_per_second": ("Speed (tokens a second)", 1.0),
    "memory_bytes": ("Memory at most (GB)", 1e-9),
}
"""What else each step tells: its title, and what the number is multiplied by."""


def details_figure(view: RunView) -> "Figure":
    """Learning rate, gradient norm, speed and memory, each in a small plot of its own over the same steps."""
    from plotly.graph_objects import Scatter

    figure = new_figure(420)
    steps = thin(view.steps, MOST_POINTS // 2)
    for number, (name, (title, unit)) in enumerate(DETAILS.items(), start=1):
        row, column = divmod(number - 1, 2)
        left, bottom = 0.55 * column, 0.6 * (1 - row)
        values = rounded([None if e.get(name) is None else e[name] * unit for e in steps])
        figure.add_trace(
            Scatter(
                x=[e["step"] for e in steps],
                y=values,
                name=title,
                line={"color": LOSS, "width": 1.5},
                xaxis=f"x{number}",
                yaxis=f"y{number}",
            )
        )
        figure.update_layout(
            {
                f"xaxis{number}": {
                    "domain": [left, left + 0.45],
                    "anchor": f"y{number}",
                    "range": [0, max(view.total, 1) * 1.03],
                    "showgrid": False,
                },
                f"yaxis{number}": {
                    "domain": [bottom, bottom + 0.34],
                    "anchor": f"x{number}",
                    "rangemode": "tozero",
                    "nticks": 4,
                    "gridcolor": "rgba(128,128,128,.25)",
                },
            }
        )
        figure.add_annotation(
            text=title, x=left, y=bottom + 0.36, xref="paper", yref="paper", showarrow=False, xanchor="left",
            yanchor="bottom", font={"size": 12},
        )  # fmt: skip
    figure.update_layout(showlegend=False, uirevision=f"{view.name} details", margin={"t": 30, "b": 30, "r": 20})
    return figure


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


def by_kind_figure(questions: Sequence[dict[str, Any]], everything: dict[str, Any] | None) -> "Figure":
    """The share of right answers for each kind of fact: the tuned model's of all that was asked, the base's of the questions."""
    from plotly.graph_objects import Bar

    asked = (
        [(row["kind"], row["verdict"]) for row in (*everything["facts"], *everything["unknown"])] if everything else []
    )
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


def new_figure(height: int) -> "Figure":
    """An empty figure as all of them look; height in pixels."""
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


RUN_COLOURS = ("#4575b4", "#ea6a12", "#1a9850", "#b04ab0", "#a08000", "#d73027")
RUN_MARKS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""A run is told by its mark, too, where colours cannot be."""

COMPARED_POINTS = 200
"""Points of each curve among several."""


def runs_figure(views: Sequence[RunView]) -> "Figure":
    """The smoothed loss (lines) and recall (dotted, with marks) of several runs, a colour and a mark for each run."""
    from plotly.graph_objects import Scatter

    figure, tops = new_figure(440), [1.0]
    for view, colour, mark in zip(views, RUN_COLOURS, RUN_MARKS, strict=False):
        smoothed = smooth([float(e["loss"]) for e in view.steps])
        curve = thin(list(zip([e["step"] for e in view.steps], smoothed, strict=True)), COMPARED_POINTS)
        tops.append(max((loss for _, loss in curve), default=1.0))
        same: dict[str, Any] = {"name": escape(view.name), "legendgroup": view.name}
        figure.add_trace(
            Scatter(
                x=[step for step, _ in curve] or [None],  # a curve without a point would be missing in the legend
                y=rounded([loss for _, loss in curve]) or [None],
                line={"color": colour, "width": 2},
                mode="lines",
                hovertemplate="loss %{y}",
                **same,
            )
        )
        figure.add_trace(
            Scatter(
                x=[e["step"] for e in view.probes],
                y=rounded([100 * e["right"] / e["total"] for e in view.probes]),
                text=[f"{e['right']} of {e['total']}" for e in view.probes],
                mode="lines+markers",
                line={"color": colour, "width": 1.5, "dash": "dot"},
                marker={"size": 9, "symbol": mark},
                hovertemplate="recall %{text}",
                yaxis="y2",
                cliponaxis=False,
                showlegend=False,
                **same,
            )
        )
    longest = max((view.total for view in views), default=1)
    figure.update_layout(
        uirevision="|".join(view.name for view in views),
        xaxis={"title": "step", "range": [0, max(longest, 1) * 1.03], "showgrid": False},
        yaxis={"title": "loss (lines)", "range": [0, axis_top(tops)], "gridcolor": "rgba(128,128,128,.25)"},
        yaxis2=RECALL_AXIS | {"title": "recall (dotted)"},
    )
    return figure


def sweep_figure(trials: Sequence[Trial], views: Sequence[RunView | None]) -> "Figure":
    """Recall of a sweep's runs: a heat map over two settings or a row of cells over one, the figures in the cells.

    The darker, the more it recalls. A run without a recall check has a cell without colour that says its state.
    """
    from plotly.graph_objects import Heatmap

    names = list(trials[0].values) if trials else []
    across, down = [*names, "", ""][:2]
    columns = list(dict.fromkeys(str(t.values.get(across, "")) for t in trials))
    rows = list(dict.fromkeys(str(t.values.get(down, "")) for t in trials))
    colours: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    words = [[""] * len(columns) for _ in rows]
    for trial, view in zip(trials, views, strict=True):
        row, column = rows.index(str(trial.values.get(down, ""))), columns.index(str(trial.values.get(across, "")))
        colours[row][column], words[row][column] = _sweep_cell(view)
    figure = new_figure(120 + 70 * len(rows))
    figure.add_trace(
        Heatmap(
            x=columns, y=rows, z=[rounded(line) for line in colours], zmin=0, zmax=100, xgap=3, ygap=3,
            text=words, texttemplate="%{text}", hovertemplate="%{text}<extra></extra>", showscale=False,
            colorscale=[[0, "rgba(26,152,80,.06)"], [1, "rgba(26,152,80,.65)"]],
        )
    )  # fmt: skip
    figure.update_layout(
        margin={"t": 40, "r": 20},
        xaxis={"title": TERMS.get(across, ""), "type": "category", "showgrid": False, "zeroline": False},
        yaxis={
            "title": TERMS.get(down, ""),
            "type": "category",
            "showgrid": False,
            "automargin": True,
            "visible": bool(down),
        },
    )
    return figure


def _sweep_cell(view: RunView | None) -> tuple[float | None, str]:
    if view is None or not view.probes:
        return None, STATE_WORDS[view.status.state] if view else "✘ damaged"
    last = view.probes[-1]
    percent = 100 * last["right"] / last["total"]
    going_on = f"<br>{STATE_WORDS['running']}" if view.status.state == "running" else ""
    return percent, f"<b>{percent:.0f} %</b><br>{last['right']} of {last['total']}{going_on}"
