"""Tab 2: settings → will it learn? → Start → the curve, as the run folder tells it."""

from typing import Any

import gradio as gr

from pipeline.dataset.store import latest_dataset
from pipeline.machine import on_zero_gpu
from pipeline.runs import launcher
from pipeline.runs.settings import default_base, settings_for
from pipeline.runs.view import get_view, view_run
from pipeline.training.start import resume_run, start_run
from tabs.dataset.rows_view import dataset_line
from tabs.server.identity import serves_owner
from tabs.training.history_panel import HistoryPanel
from tabs.training.jobs_panel import AwayPanel
from tabs.training.plan_view import default_preset, will_it_learn
from tabs.training.run_panel import RunPanel, stop_training
from tabs.training.settings_panel import SettingsPanel
from tabs.training.sweep_panel import SweepPanel
from tabs.ui.events import Update, for_callers, go_to, on, open_to_all
from tabs.ui.text import explain, html, notice
from tabs.ui.watcher import Refresh


def start_training(preset: str = "", base_model: str = "") -> dict[str, Any]:
    """Train on the newest dataset with a preset (quick, recall, original); returns the run's name."""
    settings = settings_for(preset or default_preset(), base_model or default_base())
    return {"run": start_run(settings, latest_dataset()).name}


@open_to_all
def training_status(run: str = "") -> dict[str, Any]:
    """The state of a run (the newest when none is named): its step, loss, recall and how it ended."""
    view = get_view(run)
    last = view.steps[-1] if view.steps else {}
    probe = view.probes[-1] if view.probes else {}
    return {
        "run": view.name, "state": view.status.state, "message": view.status.message, "step": last.get("step", 0),
        "total": view.total, "loss": last.get("loss"), "right": probe.get("right"), "asked": probe.get("total"),
    }  # fmt: skip


def resume_training(run: str = "") -> dict[str, Any]:
    """Go on with a run after its last checkpoint (the newest run when none is named)."""
    return {"run": resume_run(get_view(run).name).name}


class TrainingTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.problem = gr.HTML(elem_id="training-problem", elem_classes="news")
        with gr.Column(visible=False, elem_id="training-missing") as self.missing:
            gr.HTML(notice("There is no dataset yet. The first tab makes it from your catalogue.", "hint"))
            self.to_dataset = gr.Button("‹ Go to 1 Dataset", size="md", elem_id="go-dataset")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=330):
                self.settings = SettingsPanel()
            with gr.Column(scale=3, min_width=330, elem_id="run-side"):
                self._build_run(tabs)
        self.sweep = SweepPanel()
        self.history = HistoryPanel()
        self._wire(tabs)

    def _build_run(self, tabs: gr.Tabs) -> None:
        self.data = gr.HTML(elem_id="training-data", elem_classes="news")
        self.plan = gr.HTML(elem_id="plan", elem_classes=["plan", "news"])
        self.start = gr.Button("Start training", variant="primary", elem_id="start")
        self.away = AwayPanel()
        self.panel = RunPanel(tabs)

    def _wire(self, tabs: gr.Tabs) -> None:
        panel, widgets = self.panel, self.settings.widgets
        plan = [self.missing, self.data, self.plan, self.start]
        self.outputs = [*plan, *panel.outputs, panel.more, panel.opened, *self.history.rows]
        moved = [widget.input for widget in self.settings.controls.values()]
        on(moved, self.show_plan, widgets, plan, problem=self.problem, picked=True)
        on(
            self.start.click, self.begin, widgets, self.outputs,
            problem=self.problem, progress_on=self.start, concurrency_limit=1,
        )  # fmt: skip
        panel.wire(self.problem, self.history.show_rows, self.history.rows)
        for filled in [*self.settings.wire(self.problem), self.history.wire(panel, self.settings)]:
            on(filled, self.show_plan, widgets, plan, problem=self.problem, clears=False)  # a file's own sentence stays
        self.sweep.wire(panel, self.settings)
        self.away.wire(panel, self.settings)
        go_to(self.to_dataset, tabs, "dataset")
        gr.api(for_callers(start_training), api_name="start_training")
        gr.api(for_callers(training_status), api_name="training_status")
        gr.api(for_callers(stop_training), api_name="stop_training")
        gr.api(for_callers(resume_training), api_name="resume_training")

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
        shown = [*self.settings.widgets, self.panel.opened, *self.panel.how]
        for trigger in triggers:
            on(trigger, self.refresh, shown, self.outputs, problem=self.problem, clears=False)
        self.history.wire_refresh(triggers)
        self.sweep.wire_refresh(triggers)

    def refreshes(self) -> list[Refresh]:
        """The run that is shown, the sweep, and the runs there are."""
        return [*self.panel.refreshes(), *self.sweep.refreshes(), *self.history.refreshes()]

    @open_to_all
    def get_ready(self) -> None:
        """Have a process import what a run needs, while somebody who may start one looks at the settings."""
        if serves_owner() and latest_dataset():
            launcher.prepare()

    @open_to_all
    def show_plan(self, *values: Any) -> Update:
        dataset = latest_dataset()
        newest = "<p class='small' data-products='{}'>The newest dataset: {}</p>"
        said = html(newest, dataset.counts["products"], dataset_line(dataset)) if dataset else ""
        update = {
            self.missing: gr.Column(visible=dataset is None),
            self.start: gr.Button(interactive=dataset is not None and not on_zero_gpu()),
            self.data: said,
        }
        if dataset is None:
            return update | {self.plan: ""}
        return update | {self.plan: will_it_learn(self.settings.read(*values), dataset)}

    def begin(self, *values: Any) -> Update:
        start_run(self.settings.read(*values), latest_dataset())
        return self.panel.show(view_run()) | self.history.show_rows() | {self.panel.opened: ""}

    @open_to_all
    def refresh(self, *values: Any) -> Update:
        *widgets, opened, smoothing, log, unfolded = values
        update = self.panel.show(view_run(opened) or view_run(), smoothing, log, unfolded)
        try:
            return update | self.show_plan(*widgets)
        except Exception as error:
            return update | {self.problem: notice(explain(error))}
