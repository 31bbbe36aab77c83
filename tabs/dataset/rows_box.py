"""The lower half of tab 1: what came out of generating, every row of it, the row that was picked, and taking it along.

A dataset on disk is the truth here as a run's folder is in tab 2: the box shows one, and what a person changes is written
at once. Tab 2 trains on the dataset that was made or chosen last.
"""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import gradio as gr

from pipeline.dataset.examples import REJECTED
from pipeline.dataset.store import MANIFEST, Dataset, with_every_edit
from pipeline.runs.settings import TrainingSettings
from tabs.dataset.download_box import PublishBox
from tabs.dataset.plots import facts_figure, kinds_figure, tokens_figure
from tabs.dataset.row_panel import RowPanel
from tabs.dataset.rows_view import (
    Filters,
    about_dataset,
    dataset_choices,
    dataset_named,
    fact_cells,
    filter_choices,
    nothing_found,
    row_of,
)
from tabs.dataset.token_counts import token_counts
from tabs.server.gradio_internals import Drawn, written
from tabs.server.identity import serves_owner
from tabs.ui.events import Update, go_to, on, open_to_all, reveal
from tabs.ui.table import PagedTable
from tabs.ui.text import notice

PAGE = 25
COLUMNS = {
    "kind": "18%", "product": "27%", "answer": "27%", "phrasings": "21%", "key": "0%",
}  # fmt: skip
"""The table's columns; the last one is the key of a fact's first row, which the style sheet hides."""

NAMES = ("split", "kind", "status", "reason")


# The pictures are drawn once, however many windows are opened.


@lru_cache(maxsize=8)
def _kinds(numbers: tuple[tuple[str, int], ...]) -> Drawn:
    return written(kinds_figure(dict(numbers)))


@lru_cache(maxsize=8)
def _facts(counts: tuple[int, ...]) -> Drawn:
    return written(facts_figure(counts))


@lru_cache(maxsize=8)
def _tokens(lengths: tuple[int, ...], max_length: int, rows: int, counted: bool) -> Drawn:
    return written(tokens_figure(lengths, max_length, rows=rows, counted=counted))


class RowsBox:
    """The widgets where they stand, and what they do. `outputs` are what `show` and `empty` may change."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.tabs = tabs
        self.name = gr.State("")
        self.nothing = gr.HTML(notice("No dataset yet. Press “Generate the dataset”: it takes a second.", "hint"))
        with gr.Column(visible=False, elem_id="dataset-result") as self.result:
            self._build_result()
            with gr.Tabs(elem_id="dataset-views", overflow_behavior="wrap"):
                with gr.Tab("Every fact", id="rows"):
                    self._build_rows()
                with gr.Tab("In pictures", id="pictures") as self.pictures:
                    self._build_pictures()
                with gr.Tab("Download or push", id="publish"):
                    self.publish = PublishBox()
        self.outputs = [
            self.name, self.nothing, self.result, self.reused, self.chooser, self.about, *self.filters, self.kinds,
            self.facts, self.lengths, self.max_length, *self.table.outputs, *self.panel.outputs,
        ]  # fmt: skip

    def _build_result(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(min_width=310):
                gr.HTML("<h2>What the model is taught</h2>")
            self.onward = gr.Button(
                "Go on to 2 Training ›", variant="primary", scale=0, min_width=260, elem_id="go-training"
            )
        self.reused = gr.HTML(elem_id="reused", elem_classes="news")
        self.chooser = gr.Dropdown(
            [], label="Dataset", info="The one that is shown is the one that 2 Training uses.", filterable=False,
            elem_id="datasets",
        )  # fmt: skip
        self.about = gr.HTML(elem_id="dataset-counts")

    def _build_rows(self) -> None:
        self.reason = gr.Radio([("everything", "")], value="", label="Left out at each filter", elem_id="lost")
        with gr.Row():
            self.split = gr.Dropdown(
                [("all", "")], value="", label="Split", filterable=False, min_width=120, elem_id="pairs-split"
            )
            self.kind = gr.Dropdown(
                [("every kind", "")],
                value="",
                label="Kind of fact",
                filterable=False,
                min_width=120,
                elem_id="pairs-kind",
            )
            self.status = gr.Dropdown(
                [("any", "")], value="", label="Status", filterable=False, min_width=120, elem_id="pairs-status"
            )
            self.words = gr.Textbox(
                label="Search rows", placeholder="title, question, answer or uid", min_width=180, scale=2,
                elem_id="search-pairs",
            )  # fmt: skip
        self.filters = [self.split, self.kind, self.status, self.reason, self.words]
        with gr.Row(equal_height=False):
            with gr.Column(scale=9, min_width=340):
                self.table = PagedTable(
                    "A fact a row (pick one to see its phrasings and what the model reads)",
                    list(COLUMNS),
                    list(COLUMNS.values()),
                    size=PAGE,
                    name="pairs",
                    jump=True,
                )
            with gr.Column(scale=5, min_width=320, elem_id="beside"):
                self.panel = RowPanel()

    def _build_pictures(self) -> None:
        self.max_length = gr.Slider(
            32,
            4096,
            value=TrainingSettings().max_length,
            step=32,
            label="Longest example, in tokens",
            info="max_length · Only to look: 2 Training has its own, and leaves longer rows out.",
            buttons=[],
            elem_id="look-length",
        )
        with gr.Row():
            self.lengths = gr.Plot(label="Tokens in a row", elem_id="lengths", min_width=300)
            self.kinds = gr.Plot(label="Facts of each kind", elem_id="kinds", min_width=300)
            self.facts = gr.Plot(label="Facts a product", elem_id="facts", min_width=300)

    def wire(self, problem: gr.HTML) -> None:
        """Args:
        problem: where to say what goes wrong with what is shown; a row's and a push's problems are said beside them.
        """
        go_to(self.onward, self.tabs, "training")
        filters = [self.name, *self.filters]
        changes = [self.kind.input, self.words.change]
        self.table.wire(self._cells, filters, changes, self._nothing)
        for changed, handler in (
            (self.reason.input, self.by_reason),
            (self.split.input, self.by_state),
            (self.status.input, self.by_state),
        ):
            on(changed, handler, filters, [*self.filters, *self.table.outputs], problem=problem, picked=True)
        shown = on(
            self.table.table.select,
            self.pick,
            [self.name, self.max_length],
            self.panel.outputs,
            problem=self.panel.said,
            picked=True,
        )
        reveal(shown, "picked-row")
        follows = [self.chooser, self.about, *self.filters, *self.table.outputs]
        self.panel.wire(self.name, self.max_length, [self.table.page, *self.filters], self.follow, follows)
        on(self.chooser.input, self.choose, self.chooser, self.outputs, problem=self.reused, picked=True)
        on(
            [self.max_length.change, self.pictures.select],
            self.measure,
            [self.name, self.max_length, self.panel.key],
            [self.lengths, self.panel.reads, self.panel.tokens],
            problem=problem,
            picked=True,
        )
        self.publish.wire(self.name, self.filters)

    def empty(self) -> Update:
        """What is shown before there is a dataset."""
        return {self.result: gr.Column(visible=False), self.name: ""}

    def show(self, dataset: Dataset, *, reused: bool) -> Update:
        """A dataset, from its first row on.

        Args:
            reused: whether one was asked for that was there already.
        """
        dataset = with_every_edit(dataset)
        name, length = dataset.folder.name, TrainingSettings().max_length
        cells = fact_cells(name, Filters())
        text = "The same dataset was there already, so it is used again." if reused else ""
        per_product = Counter(fact["uid"] for fact in dataset.manifest["facts"])
        return {
            self.name: name,
            self.nothing: "",
            self.result: gr.Column(visible=True),
            self.reused: notice(text, "done", "reused"),
            **self._standing(dataset, Filters())[0],
            self.words: "",
            self.max_length: length,
            self.kinds: _kinds(tuple(dataset.counts["kinds"].items())),
            self.facts: _facts(tuple(per_product[p["uid"]] for p in dataset.manifest["products"])),
            self.lengths: self._lengths(dataset, length),
            **self.table.show(cells),
            **(self.panel.show(dataset, cells[0][-1], length) if len(cells) else self.panel.clear()),
        }

    def _standing(self, dataset: Dataset, filters: Filters) -> tuple[Update, Filters]:
        """What follows from the rows as they stand, and the filters; one whose last row is gone lets all through."""
        choices = filter_choices(dataset)
        kept = {n: v if (v := getattr(filters, n)) in [value for _, value in choices[n]] else "" for n in NAMES}
        update: Update = {
            self.chooser: gr.Dropdown(choices=dataset_choices(), value=dataset.folder.name),
            self.about: about_dataset(dataset),
            self.reason: gr.Radio(choices=choices["reason"], value=kept["reason"]),
        }
        for name in ("split", "kind", "status"):
            update[getattr(self, name)] = gr.Dropdown(choices=choices[name], value=kept[name])
        return update, replace(filters, **kept)

    @open_to_all
    def choose(self, name: str) -> Update:
        """Look at an older dataset again, which makes it the one that tab 2 trains on; a visitor only looks."""
        dataset = dataset_named(name)
        if not serves_owner():
            return self.show(dataset, reused=False)
        (dataset.folder / MANIFEST).touch()
        return self.show(dataset, reused=False) | {
            self.reused: notice("This dataset is shown now, and 2 Training uses it.", "done", "chosen")
        }

    def _cells(self, name: str, *filters: str | None) -> Any:
        return fact_cells(name, _filters(*filters))

    def _nothing(self, name: str, *filters: str | None) -> str:
        return nothing_found(_filters(*filters))

    @open_to_all
    def by_reason(self, name: str, *values: str | None) -> Update:
        """A reason for leaving rows out shows those, whatever the split and the status said."""
        f = _filters(*values)
        return self._filtered(name, Filters("", f.kind, "", f.reason, f.words) if f.reason else f)

    @open_to_all
    def by_state(self, name: str, *values: str | None) -> Update:
        """A split or status in which nothing is left out ends the look at what was."""
        f = _filters(*values)
        kept = {f.split, f.status} <= {"", REJECTED}
        return self._filtered(name, f if kept else Filters(f.split, f.kind, f.status, "", f.words))

    def _filtered(self, name: str, filters: Filters) -> Update:
        states = {self.split: filters.split, self.status: filters.status, self.reason: filters.reason}
        return states | self.table.show(fact_cells(name, filters), nothing=nothing_found(filters))

    @open_to_all
    def pick(self, name: str, max_length: float, event: gr.SelectData) -> Update:
        return self.panel.show(dataset_named(name), str(event.row_value[-1]), max_length)

    def follow(self, dataset: Dataset, page: int, *values: str | None) -> Update:
        """After a change of a row: counts and table, on the same page."""
        update, filters = self._standing(dataset, _filters(*values))
        cells = fact_cells(dataset.folder.name, filters)
        return update | self.table.show(cells, page, nothing_found(filters))

    @open_to_all
    def measure(self, name: str, max_length: float, key: str) -> Update:
        if not name:
            return {}
        dataset = dataset_named(name)
        row = self.panel.read(row_of(dataset, key), int(max_length)) if key else {}
        return {self.lengths: self._lengths(dataset, int(max_length)), **row}

    def _lengths(self, dataset: Dataset, max_length: int) -> Any:
        tokens = token_counts(dataset)
        return _tokens(tokens.lengths, max_length, tokens.rows, tokens.counted)


def _filters(split: str | None, kind: str | None, status: str | None, reason: str | None, words: str | None) -> Filters:
    return Filters(split or "", kind or "", status or "", reason or "", words or "")
