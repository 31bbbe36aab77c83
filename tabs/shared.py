"""What every tab needs: text made safe and readable, problems shown as sentences, and a table in pages."""

import functools
import hashlib
import html
import inspect
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.utils import get_upload_folder

from pipeline.errors import PipelineError, disk_problem
from pipeline.files import whole_file
from pipeline.machine import on_space as on_space

logger = logging.getLogger(__name__)

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""For events of the page's own: nothing spins, and no other program sees an endpoint.

Progress is shown on no component, not only hidden: else the browser would tell every output, and all outputs of earlier events,
of every state that the event goes through."""

PICKED: dict[str, Any] = QUIET | {"trigger_mode": "always_last"}
"""… and for what a person picks: a pick that comes while the answer to an earlier one is under way is answered after it. By
Gradio's default it would be dropped, and the page would show something else than what is picked."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

Update = dict[Any, Any]
"""Components and what becomes of them; what is not named stays as it is."""

UNEXPECTED = (
    "Something went wrong that should not have ({name}). Nothing was lost; try again, or look at the app's log."
)


def escape(text: object) -> str:
    """Text of a catalogue, a model or a user, for use inside HTML."""
    return html.escape(str(text), quote=True)


def notice(text: str, kind: str = "problem") -> str:
    """A sentence to be seen: `problem`, `done` or `hint`; nothing for an empty text."""
    icon = {"problem": "⚠", "done": "✔", "hint": "→"}[kind]
    role = "alert" if kind == "problem" else "status"
    return f'<div class="notice {kind}" role="{role}">{icon} {escape(text)}</div>' if text else ""


def explain(error: Exception) -> str:
    """What to say about an error: its own sentence, or one that admits a mistake of ours (the log has the rest)."""
    if isinstance(error, PipelineError):
        return str(error)
    if said := disk_problem(error):
        return said
    logger.error("Unexpected error", exc_info=error)
    return UNEXPECTED.format(name=type(error).__name__)


def guarded(place: gr.HTML, handler: Callable[..., Any], *, clears: bool = True) -> Callable[..., Any]:
    """Make a handler show its problems in `place` as a sentence, and clear `place` when there is none.

    The handler returns (or yields) an `Update`, so that after a problem everything else stays as it was.

    Args:
        clears: off for what happens by itself: on a busy machine it may come after a button's sentence and wipe it away.
    """
    fine = {place: ""} if clears else {}

    @functools.wraps(handler)
    def once(*args: Any, **kwargs: Any) -> Update:
        try:
            return fine | handler(*args, **kwargs)
        except Exception as error:
            return {place: notice(explain(error))}

    @functools.wraps(handler)
    def several(*args: Any, **kwargs: Any) -> Iterator[Update]:
        try:
            for update in handler(*args, **kwargs):
                yield fine | update
        except Exception as error:
            yield {place: notice(explain(error))}

    return several if inspect.isgeneratorfunction(handler) else once


def for_callers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an API endpoint answer a problem with its sentence."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise gr.Error(explain(error), print_exception=False) from error

    return call


def open_to_all(handler: Handler) -> Handler:
    """Mark a handler that a Space's visitors may call, since it only shows what there is; all others are the owner's.

    `tabs.gate` looks for the mark, and `functools.wraps` keeps it.
    """
    handler.open_to_all = True  # pyright: ignore[reportFunctionMemberAccess]
    return handler


def open_in_measure(handler: Handler) -> Handler:
    """Mark one that visitors may call a few times a minute: it asks the model, or keeps something."""
    handler.in_measure = True  # pyright: ignore[reportFunctionMemberAccess]
    return open_to_all(handler)


def served(path: Path) -> str:
    """A copy of a file among Gradio's own, which are all that the page may hand out: what else is in a run's folder or a
    dataset's (logs, checkpoints) has no address."""
    copy = Path(get_upload_folder()) / "served" / hashlib.sha256(str(path).encode()).hexdigest()[:16] / path.name
    if not copy.is_file() or stamp(copy)[1:] != stamp(path)[1:]:
        with whole_file(copy) as aside:
            shutil.copy2(path, aside)
    return str(copy)


def go_to(button: gr.Button, tabs: gr.Tabs, tab: str) -> None:
    """Make a button open another tab."""
    button.click(open_to_all(lambda: gr.Tabs(selected=tab)), None, tabs, queue=False, api_visibility="private")


def count(number: int, word: str) -> str:
    """`1 fact`, `1,200 facts`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time as one would say it: `40 s`, `4 min`, `2 h 10 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress_bar(done: int, total: int) -> str:
    """A bar that says how far something is, also to a screen reader; empty while `total` is not known."""
    share = round(100 * done / total) if total else 0
    return (
        f"<div class='bar' role='progressbar' aria-valuenow='{share}' aria-valuemin='0' aria-valuemax='100' "
        f"aria-label='Progress'><span style='width:{share}%'></span></div>"
    )


def memory(number: float) -> str:
    """Bytes as `2.1 GB`, `730 MB` or `12 kB`."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def significant(number: float) -> str:
    """A number with the digits that mean something: 4.32, 0.0021."""
    return f"{number:.3g}" if abs(number) >= 1 else f"{number:.2g}"


def stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: the key for keeping what was read from it."""
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size


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
            self.previous = gr.Button("‹ Previous", size="sm", min_width=90, scale=0)
            self.where = gr.HTML(elem_id=f"{name}-where", elem_classes="where")
            self.following = gr.Button("Next ›", size="sm", min_width=90, scale=0)
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
        shown = [[n, *row] for n, row in enumerate(rows[first : first + self.size], start=first + 1)]
        return {
            self.table: gr.Dataframe(value=shown),
            self.previous: gr.Button(interactive=page > 0),
            self.where: escape(nothing)
            if nothing and not rows
            else f"Page {page + 1:,} of {pages:,} · {count(len(rows), 'row')}",
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

        self.previous.click(turn(-1), [self.page, *inputs], self.outputs, **QUIET)
        self.following.click(turn(+1), [self.page, *inputs], self.outputs, **QUIET)
        self.jump.submit(go, [self.jump, self.page, *inputs], [self.jump, *self.outputs], **QUIET)
        if triggers:
            gr.on(triggers, first, inputs, self.outputs, trigger_mode="always_last", **QUIET)


def reveal(event: Any, name: str) -> None:
    """After an event, bring the element of that id into view."""
    script = f"() => document.getElementById('{name}')?.scrollIntoView({{behavior: 'smooth', block: 'nearest'}})"
    event.then(None, None, None, js=script)


def picked(event: gr.SelectData) -> int:
    """The index of the row that was picked in a `PagedTable`."""
    return int(event.row_value[0]) - 1
