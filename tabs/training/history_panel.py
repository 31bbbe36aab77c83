"""The runs there have been: a table of them, what can be done with one, and several compared.

All of it is read from the run folders, so two windows, or a page that comes back tomorrow, show the same.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from pipeline.errors import PipelineError, RunError
from pipeline.runs.folder import list_runs, run_size
from pipeline.runs.manage import LONGEST_NAME, delete_run, duplicate_run, rename_run
from pipeline.runs.queue import enqueue
from pipeline.runs.recipes import command_line
from pipeline.runs.status import status
from pipeline.runs.view import find_run, forget, get_run, view_run
from tabs.training.history_view import (
    COLUMNS,
    HistoryRows,
    differing,
    export,
    pulse,
    recent_pulse,
    training_runs,
)
from tabs.training.plots import runs_figure
from tabs.training.publish_box import PublishModelBox
from tabs.training.run_panel import RunPanel, forget_plots
from tabs.training.settings_panel import SettingsPanel
from tabs.ui.events import Update, for_callers, on, open_to_all, reveal
from tabs.ui.table import PagedTable
from tabs.ui.text import html, memory, notice
from tabs.ui.watcher import Refresh

MOST_COMPARED = 6
"""Runs whose curves can be told apart in one plot."""


class HistoryPanel:
    """The accordion “Runs” and what it does."""

    def __init__(self) -> None:
        with gr.Accordion("Runs", open=False, elem_id="history") as self.past:
            self.runs = PagedTable(
                "Runs (pick one to see its curve)", list(COLUMNS), list(COLUMNS.values()), size=8, name="runs"
            )
            self.problem = gr.HTML(elem_id="history-problem", elem_classes="news")
            with gr.Column(visible=False, elem_id="picked-run") as self.picked:
                self._build_picked()
            self._build_comparison()
        self.mark = gr.State(None)
        self.boxes = [self.naming, self.sure]
        self.details = [self.picked, self.about, self.queue, self.export, self.command, self.publishing.box]
        self.rows = [self.past, *self.runs.outputs]
        self.outputs = [*self.rows, self.compared, self.curves, self.differences, self.mark]

    def _build_picked(self) -> None:
        self.about = gr.HTML(elem_id="picked-about")
        with gr.Row():
            self.queue = gr.Button("Put into the queue", visible=False, size="md", min_width=150, elem_id="enqueue")
            self.use = gr.Button("Use its settings", size="md", min_width=130, elem_id="use-settings")
            self.copy = gr.Button("Duplicate", size="md", min_width=110, elem_id="duplicate")
            self.rename = gr.Button("Rename …", size="md", min_width=110, elem_id="rename")
            self.delete = gr.Button("Delete …", size="md", min_width=110, elem_id="delete")
            self.export = gr.DownloadButton("Export settings", size="md", min_width=130, elem_id="export-settings")
        with gr.Row(visible=False, equal_height=True) as self.naming:
            self.name = gr.Textbox(label="New name", max_length=LONGEST_NAME, scale=3, elem_id="new-name")
            self.rename_now = gr.Button("Rename", size="md", min_width=110, scale=1, elem_id="rename-now")
        with gr.Column(visible=False) as self.sure:
            self.lost = gr.HTML(elem_id="what-is-lost")
            with gr.Row():
                self.keep = gr.Button("Keep it", size="md", min_width=110, elem_id="keep")
                self.delete_now = gr.Button(
                    "Delete for good", variant="stop", size="md", min_width=110, elem_id="delete-now"
                )
        self.command = gr.Textbox(
            label="The same run again, from the command line",
            interactive=False,
            lines=2,
            max_lines=12,
            buttons=["copy"],
            elem_id="command-line",
        )
        self.publishing = PublishModelBox()

    def _build_comparison(self) -> None:
        self.compared = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=MOST_COMPARED,
            label="Compare runs",
            info=f"Two to {MOST_COMPARED}: their curves in one plot, and which settings differ.",
            elem_id="compare-runs",
        )
        self.curves = gr.Plot(label="Loss and recall of the compared runs", visible=False, elem_id="compare-plot")
        self.differences = gr.Dataframe(
            datatype="str",
            interactive=False,
            wrap=True,
            label="What differs",
            visible=False,
            max_height=10_000,
            elem_id="differences",
            elem_classes="paged",
        )

    def wire(self, panel: RunPanel, settings: SettingsPanel) -> Any:
        """Connect the widgets.

        Args:
            panel: shows the picked run above.
            settings: are filled with those of the picked run.

        Returns:
            The event after which the settings are others.
        """
        self.panel, self.settings = panel, settings
        shown = [*panel.everything, *self.details, *self.boxes]
        everything = [*shown, *self.outputs]
        name, problem = panel.opened, self.problem
        changed = [name, self.compared, *panel.how]
        self.runs.wire(HistoryRows, [], [])
        self.publishing.wire(name)
        on(self.runs.table.select, self.pick, panel.how, shown, problem=problem, picked=True)
        used = on(self.use.click, self.use_settings, name, settings.widgets, problem=problem)
        reveal(used, "preset")
        on(self.queue.click, self.enqueue, changed, everything, problem=problem)
        on(self.copy.click, self.duplicate, changed, everything, problem=problem)
        on(self.rename.click, self.ask_name, name, [self.name, *self.boxes], problem=problem)
        on(self.rename_now.click, self.give_name, [self.name, *changed], everything, problem=problem)
        on(self.name.submit, self.give_name, [self.name, *changed], everything, problem=problem)
        on(self.delete.click, self.ask_whether, name, [self.lost, *self.boxes], problem=problem)
        on(self.keep.click, self.close_boxes, None, self.boxes, problem=problem)
        on(self.delete_now.click, self.remove, changed, everything, problem=problem)
        # One after another, and a pick that comes while an answer is under way counts: the newest choice is shown last.
        by_itself: dict[str, Any] = {"problem": problem, "clears": False, "picked": True}
        curves = [self.curves, self.differences]
        on([self.compared.input, self.mark.change], self.show_compared, self.compared, curves, **by_itself)
        on(self.mark.change, self.show_details, name, self.details, **by_itself)
        gr.api(for_callers(training_runs), api_name="training_runs")
        return used.then

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show the runs at these moments."""
        for trigger in triggers:
            on(trigger, self.show, self._shown(), self.outputs)

    def refreshes(self) -> list[Refresh]:
        """Keep the table true while runs begin and end."""
        return [Refresh(self.refresh, [self.mark, *self._shown()], self.outputs)]

    def _shown(self) -> list[Any]:
        return [self.compared, self.runs.page]

    @open_to_all
    def refresh(self, mark: Any, *values: Any) -> Update:
        return {} if recent_pulse() == mark else self.news(*values)

    def news(self, compared: Sequence[str], page: int) -> Update:
        """What is new in the list of runs.

        The picks stay as they are on the page, where they may be others by now, unless one of those to compare is gone; what is
        shown of them follows from the new mark.
        """
        update = {self.mark: pulse(), **self.show_rows(page)}
        names = [folder.name for folder in list_runs()]
        if not set(compared) <= set(names):
            return update | self.show_choices(compared)
        return update | {self.compared: gr.Dropdown(choices=names, interactive=len(names) > 1)}

    @open_to_all
    def show(self, compared: Sequence[str] = (), page: int = 0) -> Update:
        """The whole accordion but for the picked run's details; `compared` runs that are gone are left out."""
        return self.news((), page) | self.show_choices(compared) | self.show_compared(compared)

    def show_choices(self, compared: Sequence[str]) -> Update:
        """The runs that can be compared, and those that are."""
        names = [folder.name for folder in list_runs()]
        still = [name for name in compared if name in names]
        return {self.compared: gr.Dropdown(choices=names, value=still, interactive=len(names) > 1)}

    def show_rows(self, page: int = 0) -> Update:
        rows = HistoryRows()
        return self.runs.show(rows, page) | {self.past: gr.Accordion(f"Runs ({len(rows)})")}

    @open_to_all
    def show_details(self, name: str) -> Update:
        """What can be done with a run; nothing where none is picked."""
        folder = find_run(name) if name else None
        if folder is None:
            return {self.picked: gr.Column(visible=False)}
        file, command = None, "(its settings cannot be read)"
        with suppress(PipelineError):
            file, command = export(folder), command_line(folder)
        return {
            self.picked: gr.Column(visible=True),
            self.about: html("<h4>Run {} <small>{} on the disk</small></h4>", name, memory(run_size(folder))),
            self.queue: gr.Button(visible=status(folder).state == "new"),
            self.export: gr.DownloadButton(value=file, interactive=file is not None),
            self.command: command,
            **self.publishing.show(folder),
        }

    @open_to_all
    def close_boxes(self) -> Update:
        return {self.naming: gr.Row(visible=False), self.sure: gr.Column(visible=False)}

    @open_to_all
    def pick(self, smoothing: float, log: bool, unfolded: bool, event: gr.SelectData) -> Update:
        return self._open(str(event.row_value[1]), smoothing, log, unfolded)

    def _open(self, name: str, *how: Any) -> Update:
        """Show a run above, and below what can be done with it."""
        update = self.panel.show(view_run(name) or view_run(), *how) | {self.panel.opened: name}
        return update | self.show_details(name) | self.close_boxes()

    def _changed(self, name: str, compared: list[str], *how: Any) -> Update:
        return self.show(compared) | self._open(name, *how)

    @open_to_all
    def use_settings(self, name: str) -> Update:
        view = view_run(get_run(name).name)
        if view is None:
            raise RunError(f"The settings of run {name} cannot be read; pick another.")
        return self.settings.fill(view.settings)

    def enqueue(self, name: str, *shown: Any) -> Update:
        enqueue(get_run(name))
        return self._changed(name, *shown)

    def duplicate(self, name: str, *shown: Any) -> Update:
        return self._changed(duplicate_run(get_run(name)).name, *shown)

    def ask_name(self, name: str) -> Update:
        return self.close_boxes() | {self.naming: gr.Row(visible=True), self.name: get_run(name).name}

    def give_name(self, wanted: str, name: str, compared: list[str], *how: Any) -> Update:
        old = get_run(name)
        new = rename_run(old, wanted)
        forget(old)
        forget(new)
        forget_plots()
        return self._changed(new.name, [new.name if other == name else other for other in compared], *how)

    def ask_whether(self, name: str) -> Update:
        folder = get_run(name)
        lost = f"Delete run {name} for good? Its adapter, curve and report go with it: {memory(run_size(folder))}."
        return self.close_boxes() | {self.sure: gr.Column(visible=True), self.lost: notice(lost)}

    def remove(self, name: str, *shown: Any) -> Update:
        folder = get_run(name)
        delete_run(folder)
        forget(folder)
        forget_plots()
        return self._changed("", *shown)

    @open_to_all
    def show_compared(self, names: Sequence[str]) -> Update:
        """The curves of the runs in one plot, and what differs; hidden for fewer than two."""
        views = [view for name in names[:MOST_COMPARED] if (view := view_run(name))]
        if len(views) < 2:
            return {self.curves: gr.Plot(visible=False), self.differences: gr.Dataframe(visible=False)}
        table = {"headers": ["", *(view.name for view in views)], "data": differing(views)}
        return {
            self.curves: gr.Plot(value=runs_figure(views), visible=True),
            self.differences: gr.Dataframe(value=table, visible=True),
        }
