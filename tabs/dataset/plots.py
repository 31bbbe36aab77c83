"""The first tab's pictures of a dataset: kinds of facts, facts a product, tokens a row.

They look as `tabs/ui/plots.py` makes them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.facts.phrasings import kind_label
from tabs.ui.plots import NOTHING, ORANGE, WRONG, new_figure
from tabs.ui.text import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

KIND_BARS = 30
"""Kinds with a bar of their own; records may name hundreds."""
TOKEN_BARS = 40
"""Bars of the rows' lengths at most."""


def kinds_figure(kinds: dict[str, int]) -> "Figure":
    """How many facts there are of each kind."""
    from plotly.graph_objects import Bar

    shown = dict(list(kinds.items())[:KIND_BARS])
    names = [escape(kind_label(kind)) for kind in shown]
    numbers = list(shown.values())
    if len(kinds) > len(shown):
        names.append(escape(f"{len(kinds) - len(shown)} other kinds"))
        numbers.append(sum(kinds.values()) - sum(numbers))
    names, numbers = names[::-1], numbers[::-1]
    figure = new_figure(max(160, 24 * len(names) + 50))
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


def tokens_figure(
    lengths: Sequence[int], max_length: int, *, rows: int | None = None, counted: bool = True
) -> "Figure":
    """How many rows have how many tokens, and which of them `max_length` would leave out.

    Args:
        lengths: tokens of each row.
        max_length: the longest row that a training takes.
        rows: how many there are, where `lengths` are those of a sample.
        counted: whether `lengths` were counted, or estimated.
    """
    from plotly.graph_objects import Bar

    width = 2 ** max(0, math.ceil(math.log2(max(lengths, default=1) / TOKEN_BARS)))
    bars = Counter((length - 1) // width for length in lengths)  # ends at a multiple of the width, as max_length is
    places = sorted(bars)
    figure = new_figure(280)
    figure.add_trace(
        Bar(
            x=[(place + 0.5) * width for place in places],
            y=[bars[place] for place in places],
            width=width,
            marker={"color": [ORANGE if place * width < max_length else WRONG for place in places]},
            customdata=[f"{place * width + 1}–{(place + 1) * width} tokens" for place in places],
            hovertemplate="%{customdata}: %{y:,} rows<extra></extra>",
        )
    )
    longest = max(lengths, default=0)
    far = max_length > 3 * longest  # the line would leave the bars no room
    if not far:
        figure.add_shape(
            type="line", x0=max_length, x1=max_length, y0=0, y1=1, yref="paper", line={"color": NOTHING, "dash": "dash"}
        )
    figure.add_annotation(
        text=tokens_words(lengths, max_length, rows, counted), x=0, y=1.02, xref="paper", yref="paper", showarrow=False,
        xanchor="left", yanchor="bottom", align="left",
    )  # fmt: skip
    figure.update_layout(
        showlegend=False,
        bargap=0,
        xaxis={
            "title": "tokens in a row",
            "range": [0, 1.05 * max(longest, 0 if far else max_length, 1)],
            "showgrid": False,
        },
        yaxis={"title": "rows", "gridcolor": "rgba(128,128,128,.25)", "nticks": 5, "tickformat": ",d"},
        margin={"t": 75, "b": 45, "r": 20},
    )
    return figure


def tokens_words(lengths: Sequence[int], max_length: int, rows: int | None = None, counted: bool = True) -> str:
    """What `max_length` would do to rows of these lengths, in two short lines."""
    long = sum(length > max_length for length in lengths)
    total = f"{len(lengths):,} rows"
    end = "" if rows in (None, len(lengths)) else f" ({len(lengths):,} of {rows:,} rows were looked at)"
    end += "" if counted else " (estimated)"
    if not long:
        fits = f"Nothing is left out: the longest of {total}"
        return f"{fits}<br>has {max(lengths, default=0):,} of {max_length:,} tokens{end}"
    are = "is" if long == 1 else "are"
    return f"{long:,} of {total} {are} longer than {max_length:,} tokens<br>and would be left out{end}"


def facts_figure(counts: Mapping[str, int] | Sequence[int]) -> "Figure":
    """How many products have how many facts.

    Args:
        counts: the facts of each product, by its uid or in any order.
    """
    from plotly.graph_objects import Bar

    products = Counter(counts.values() if isinstance(counts, Mapping) else counts)
    facts = range(min(products, default=1), max(products, default=0) + 1)
    numbers = [products[number] for number in facts]
    figure = new_figure(230)
    figure.add_trace(
        Bar(
            x=[str(number) for number in facts],
            y=numbers,
            text=[f"{number:,}" if number else "" for number in numbers],
            textposition="outside",
            marker={"color": ORANGE},
            cliponaxis=False,
            hovertemplate="%{y:,} products with %{x}<extra></extra>",
        )
    )
    figure.update_layout(
        showlegend=False,
        bargap=0.25,
        xaxis={
            "title": "facts a product",
            "type": "category",
            "showgrid": False,
            "range": [-0.5, max(len(numbers), 6) - 0.5],
        },
        yaxis={"visible": False, "range": [0, 1.15 * max(numbers, default=1)]},
        margin={"t": 30, "b": 45, "l": 20, "r": 20},
    )
    return figure
