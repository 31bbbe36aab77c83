"""A table in pages, whose rows are made when they are shown."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from tabs.ui.events import Update, on, open_to_all
from tabs.ui.text import count, html


class LazyRows(Sequence[list[Any]]):
    """Rows for a `PagedTable` that are made when they are shown, a page at a time.

    Args:
        total: how many there are.
        page: the rows from one position up to another.
    """

    def __init__(self, total: int, page: Callable[[int, int], list[list[Any]]]) -> None:
        self._total, self._page = total, page

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(self._total)
            return self._page(start, stop)
        return self._page(index, index + 1)[0]


class PagedTable:
    """A table of which the server sends one page at a time, so that a large catalogue costs no more than a small one.

    Its first column is the row's number, by which a picked row is found again however the reader has sorted the page. Of
    the rows only their number and one slice are asked for (see `LazyRows`).

    Args:
        jump: whether there is a box for the number of a page.
    """

    def __init__(
        self, label: str, headers: Sequence[str], widths: Sequence[str], *, size: int, name: str, jump: bool = False
    ) -> None:
        self.size = size
        self.table = gr.Dataframe(
            headers=["#", *headers],
            column_widths=["7%", *widths],
            datatype="str",
            type="array",
            interactive=False,
            wrap=True,
            label=label,
            max_height=10_000,
            elem_id=name,
            elem_classes="paged",
        )
        with gr.Row(elem_classes="pager"):
            self.previous = gr.Button("‹ Previous", size="sm", min_width=90, scale=0, elem_id=f"{name}-previous")
            self.where = gr.HTML(elem_id=f"{name}-where", elem_classes="where")
            self.following = gr.Button("Next ›", size="sm", min_width=90, scale=0, elem_id=f"{name}-next")
            self.jump = gr.Textbox(
                label="Go to page", show_label=False, placeholder="page …", container=False, min_width=80, scale=0,
                visible=jump, elem_id=f"{name}-jump",
            )  # fmt: skip
        self.page = gr.State(0)
        self.outputs = [self.table, self.previous, self.where, self.following, self.page]

    def show(self, rows: Sequence[Sequence[Any]], page: int = 0, nothing: str = "") -> Update:
        """The update that shows a page of `rows`; a page that is not there becomes the nearest.

        Args:
            nothing: what to say where there are no rows.
        """
        pages = max(1, math.ceil(len(rows) / self.size))
        page = min(max(page, 0), pages - 1)
        first = page * self.size
        said = nothing if nothing and not rows else f"Page {page + 1:,} of {pages:,} · {count(len(rows), 'row')}"
        told = "<span data-page='{}' data-pages='{}' data-rows='{}'>{}</span>"
        shown = [[n, *row] for n, row in enumerate(rows[first : first + self.size], start=first + 1)]
        return {
            self.table: gr.Dataframe(value=shown),
            self.previous: gr.Button(interactive=page > 0),
            self.where: html(told, page + 1, pages, len(rows), said),
            self.following: gr.Button(interactive=page < pages - 1),
            self.page: page,
        }

    def wire(
        self,
        cells: Callable[..., Sequence[Sequence[Any]]],
        inputs: list[Any],
        triggers: list[Any],
        nothing: Callable[..., str] = lambda *values: "",
    ) -> None:
        """Turn pages, and start at the first one whenever a filter changes.

        Args:
            cells: the rows for the inputs' values.
            triggers: events after which the rows are others.
            nothing: what to say where the inputs' values leave no row.
        """

        @open_to_all
        def first(*values: Any) -> Update:
            return self.show(cells(*values), nothing=nothing(*values))

        def turn(step: int) -> Callable[..., Update]:
            return open_to_all(lambda page, *values: self.show(cells(*values), page + step, nothing(*values)))

        @open_to_all
        def go(typed: str, page: int, *values: Any) -> Update:
            page = int(typed) - 1 if typed.strip().isdecimal() and len(typed) < 10 else page
            return {self.jump: "", **self.show(cells(*values), page, nothing(*values))}

        on(self.previous.click, turn(-1), [self.page, *inputs], self.outputs)
        on(self.following.click, turn(+1), [self.page, *inputs], self.outputs)
        on(self.jump.submit, go, [self.jump, self.page, *inputs], [self.jump, *self.outputs])
        if triggers:
            on(triggers, first, inputs, self.outputs, picked=True)


def picked(event: gr.SelectData) -> int:
    """The index of the row that was picked in a `PagedTable`."""
    return int(event.row_value[0]) - 1
