"""The page's plots, drawn by Plotly: fixed axes, few points, colours with one meaning.

Text is left to the style sheet, which gives it the colour that suits the light or the dark page.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

T = TypeVar("T")

RIGHT, PARTIAL, WRONG, NOTHING, LOSS, ORANGE = "#1a9850", "#e0a100", "#d73027", "#8c96a3", "#4575b4", "#ea6a12"
INVENTED, ADMITTED = "#8e44ad", "#2c7fb8"
VERDICT_COLOURS = {"right": RIGHT, "partial": PARTIAL, "wrong": WRONG, "invented": INVENTED, "nothing_found": NOTHING}

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
