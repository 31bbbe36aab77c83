"""The second tab's plots: the run that is on, its details, runs compared, a sweep."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.runs.sweep import Trial, shown_value
from pipeline.runs.view import RunView
from tabs.training.run_words import STATE_WORDS
from tabs.training.settings_form import TERMS
from tabs.ui.text import escape, html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
from tabs.ui.plots import (
    LOSS,
    MOST_POINTS,
    RECALL_AXIS,
    RIGHT,
    SMOOTHING,
    axis_top,
    log_range,
    new_figure,
    rounded,
    smooth,
    thin,
)


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
    "memory_bytes": ("Peak memory (GB)", 1e-9),
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
    columns = list(dict.fromkeys(shown_value(t.values.get(across, "")) for t in trials))
    rows = list(dict.fromkeys(shown_value(t.values.get(down, "")) for t in trials))
    colours: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    words = [[""] * len(columns) for _ in rows]
    for trial, view in zip(trials, views, strict=True):
        row, column = (
            rows.index(shown_value(trial.values.get(down, ""))),
            columns.index(shown_value(trial.values.get(across, ""))),
        )
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
    going_on = html("<br>{}", STATE_WORDS["running"]) if view.status.state == "running" else ""
    return percent, html("<b>{:.0f} %</b><br>{} of {}{}", percent, last["right"], last["total"], going_on)
