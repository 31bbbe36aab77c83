"""Tab 2: settings → will it learn? → Start → the curve, as the run folder tells it."""

import shutil
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.dataset.store import Dataset, latest_dataset
from pipeline.errors import RunError, SettingsError
from pipeline.machine import on_zero_gpu
from pipeline.models.embedded import EMBEDDED
from pipeline.runs import launcher
from pipeline.runs.events import append_event
from pipeline.runs.folder import list_runs, read_settings, run_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.recipes import read_recipe
from pipeline.runs.settings import TrainingSettings, default_base, gpu_name, settings_for
from pipeline.runs.view import get_run, get_view, view_run
from pipeline.training.plan.plan import fits_beside, plan_run
from tabs.dataset.rows_view import dataset_line
from tabs.server import answering_model
from tabs.server.identity import serves_owner
from tabs.training.history_panel import HistoryPanel
from tabs.training.jobs_panel import AwayPanel
from tabs.training.plan_view import default_preset, training_rows, will_it_learn
from tabs.training.run_panel import RunPanel, stop_training
from tabs.training.settings_form import (
    base_choices,
    make_controls,
    preset_choices,
    preset_sentence,
    settings_from,
    values_of,
)
from tabs.training.sweep_panel import SweepPanel
from tabs.ui.events import PICKED, QUIET, Update, for_callers, go_to, guarded, open_to_all
from tabs.ui.text import explain, notice
from tabs.ui.watcher import Refresh

_starting = threading.Lock()


def start_run(settings: TrainingSettings, dataset: Dataset | None) -> Path:
    """Make a run and start it; a chat model in memory makes room for it.

    Raises:
        PipelineError: there is no dataset, another run is training, or the disk is full.
    """
    if dataset is None:
        raise RunError("There is no dataset yet; generate one in the first tab.")
    with _starting:
        launcher.check_idle()
        plan_run(settings, training_rows(dataset), gpu=bool(gpu_name()))
        folder = create_run(dataset, settings)
        try:
            make_room(folder)
            launcher.start(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def make_room(folder: Path) -> None:
    """Give the chat's model up where it and the training do not fit into the memory together, and say so."""

    def fits() -> bool:
        return fits_beside(read_settings(folder), run_dataset(folder).training(), gpu=bool(gpu_name()))

    if answering_model.make_room(fits):
        text = "The chat's model was unloaded to make room; it is loaded again when asked."
        append_event(folder, "message", text=text)


def resume_run(name: str) -> Path:
    """Go on with a run that was stopped or failed, or start one that was made and never started.

    Raises:
        PipelineError: there is no such run, it has finished, or another one is training.
    """
    folder = get_run(name)
    with _starting:
        launcher.check_idle()
        make_room(folder)
        launcher.start(folder)
    return folder


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
        settings = settings_for(default_preset(), default_base())
        self.problem = gr.HTML(elem_id="training-problem", elem_classes="news")
        with gr.Column(visible=False) as self.missing:
            gr.HTML(notice("There is no dataset yet. The first tab makes it from your catalogue.", "hint"))
            self.to_dataset = gr.Button("‹ Go to 1 Dataset", size="md", elem_id="go-dataset")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=330):
                self._build_settings(settings)
            with gr.Column(scale=3, min_width=330, elem_id="run-side"):
                self._build_run(tabs)
        self.sweep = SweepPanel()
        self.history = HistoryPanel()
        self._wire(tabs)

    def _build_settings(self, settings: TrainingSettings) -> None:
        self.preset = gr.Radio(
            preset_choices(),
            value=settings.preset,
            label="Preset",
            info=preset_sentence(settings.preset),
            elem_id="preset",
        )
        self.base = gr.Dropdown(
            base_choices(),
            value=settings.base_model,
            allow_custom_value=True,
            label="Base model",
            elem_id="base-model",
            info="base_model · Or type a Hugging Face Hub id, or a folder on this machine.",
        )
        self.controls = make_controls(settings)
        self.names = list(self.controls)
        self.load = gr.UploadButton("Load settings …", file_types=[".yaml", ".yml"], size="md", elem_id="load-settings")

    def _build_run(self, tabs: gr.Tabs) -> None:
        self.data = gr.HTML(elem_id="training-data", elem_classes="news")
        self.plan = gr.HTML(elem_id="plan", elem_classes=["plan", "news"])
        self.start = gr.Button("Start training", variant="primary", elem_id="start")
        self.away = AwayPanel()
        self.panel = RunPanel(tabs, resume_run)

    def _wire(self, tabs: gr.Tabs) -> None:
        widgets = [self.preset, self.base, *self.controls.values()]
        plan = [self.missing, self.data, self.plan, self.start]
        panel = self.panel
        past = self.history.rows
        self.all_outputs = [self.problem, *plan, *panel.outputs, panel.more, panel.opened, *past]
        planned = guarded(self.problem, self.show_plan)
        self.preset.input(self.use_preset, [self.preset, self.base], [*widgets], **PICKED).then(
            planned, widgets, [self.problem, *plan], **QUIET
        )
        self.base.input(self.use_base, self.base, [self.controls["load_in_4bit"], self.base], **PICKED).then(
            planned, widgets, [self.problem, *plan], **QUIET
        )
        moved = [widget.input for widget in self.controls.values()]
        gr.on(moved, planned, widgets, [self.problem, *plan], **PICKED)
        self.start.click(
            guarded(self.problem, self.begin),
            widgets,
            self.all_outputs,
            show_progress_on=self.start,
            concurrency_limit=1,
            api_visibility="private",
        )
        panel.wire(self.problem, self.history.show_rows, past)
        self.load.upload(
            guarded(self.problem, lambda path: self.fill(read_recipe(Path(path)))),
            self.load,
            [self.problem, *widgets],
            **QUIET,
        ).then(planned, widgets, [self.problem, *plan], **QUIET)
        filled = (self.fill, [*widgets], planned, [self.problem, *plan])
        self.history.wire(panel, *filled)
        self.sweep.wire(panel, self.settings, widgets)
        self.away.wire(panel, self.settings, widgets)
        go_to(self.to_dataset, tabs, "dataset")
        gr.api(for_callers(start_training), api_name="start_training")
        gr.api(for_callers(training_status), api_name="training_status")
        gr.api(for_callers(stop_training), api_name="stop_training")
        gr.api(for_callers(resume_training), api_name="resume_training")

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
        widgets = [self.preset, self.base, *self.controls.values()]
        for trigger in triggers:
            trigger(
                guarded(self.problem, self.refresh, clears=False),
                [*widgets, self.panel.opened, *self.panel.how],
                self.all_outputs,
                **QUIET,
            )
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
    def use_preset(self, preset: str, base: str) -> list[Any]:
        settings = settings_for(preset, base or default_base())
        radio = gr.Radio(value=preset, info=preset_sentence(preset))
        return [radio, settings.base_model, *values_of(settings, self.names)]

    @open_to_all
    def use_base(self, base: str) -> list[Any]:
        return [base != EMBEDDED and bool(gpu_name()), base]

    def settings(self, preset: str, base: str, *values: Any) -> TrainingSettings:
        if not serves_owner() and base not in known_bases():
            raise SettingsError("Only this Space's owner can name another base model; choose one of the list.")
        return settings_from(preset, base, dict(zip(self.names, values, strict=True)))

    @open_to_all
    def show_plan(self, *values: Any) -> Update:
        dataset = latest_dataset()
        update = {
            self.missing: gr.Column(visible=dataset is None),
            self.start: gr.Button(interactive=dataset is not None and not on_zero_gpu()),
            self.data: f"<p class='small'>The newest dataset: {dataset_line(dataset)}</p>" if dataset else "",
        }
        if dataset is None:
            return update | {self.plan: ""}
        return update | {self.plan: will_it_learn(self.settings(*values), dataset)}

    def begin(self, *values: Any) -> Update:
        start_run(self.settings(*values), latest_dataset())
        return self.panel.show(view_run()) | self.history.show_rows() | {self.panel.opened: ""}

    @open_to_all
    def refresh(self, *values: Any) -> Update:
        *widgets, opened, smoothing, log, unfolded = values
        update = self.panel.show(view_run(opened) or view_run(), smoothing, log, unfolded)
        try:
            return update | self.show_plan(*widgets)
        except Exception as error:
            return update | {self.problem: notice(explain(error))}

    def fill(self, settings: TrainingSettings) -> Update:
        """Show settings in the widgets; a slider makes room for a value beyond its ends."""
        update: Update = {
            self.preset: gr.Radio(value=settings.preset, info=preset_sentence(settings.preset)),
            self.base: settings.base_model,
        }
        for widget, value in zip(self.controls.values(), values_of(settings, self.names), strict=True):
            update[widget] = value
            if isinstance(widget, gr.Slider):
                least, most = min(widget.minimum, value), max(widget.maximum, value)
                update[widget] = gr.Slider(value=value, minimum=least, maximum=most)
        return update


def known_bases() -> set[str]:
    """The base models of the list and those of the runs there are: a visitor's page asks for no other, which could be a
    folder of this machine."""
    return {*base_choices(), *(view.settings.base_model for folder in list_runs() if (view := view_run(folder.name)))}
