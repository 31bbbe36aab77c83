"""Tab 2: settings → will it learn? → Start → the curve, as the run folder tells it."""

import shutil
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.answering.embedded import EMBEDDED
from pipeline.data.dataset import Dataset, latest_dataset
from pipeline.errors import RunError
from pipeline.training import launcher
from pipeline.training.plan import plan_run
from pipeline.training.runs import create_run, has_adapter, running_run
from pipeline.training.settings import TrainingSettings, default_base, gpu_name, settings_for
from tabs.cards import ending_card, message_list, probe_cells, run_headline
from tabs.controls import (
    base_choices,
    make_controls,
    preset_choices,
    preset_sentence,
    settings_from,
    values_of,
)
from tabs.figures import training_figure
from tabs.pairs import dataset_line
from tabs.plans import default_preset, training_rows, will_it_learn
from tabs.runview import RunView, history, look, pace_line
from tabs.shared import (
    PagedTable,
    Update,
    escape,
    explain,
    for_callers,
    go_to,
    guarded,
    notice,
)

TICK_SECONDS = 1


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
        models = sys.modules.get("pipeline.answering.models")
        if models:
            models.unload()
        try:
            launcher.start(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


@lru_cache(maxsize=8)
def _figure(mark: tuple[str, int, str]) -> Any:
    """The plot of a run as it was at `mark`: drawn once, however many windows are watching."""
    view = look(mark[0])
    return training_figure(view) if view else None


def start_training(preset: str = "", base_model: str = "") -> dict[str, Any]:
    """Train on the newest dataset with a preset (quick, recall, original); returns the run's name."""
    settings = settings_for(preset or default_preset(), base_model or default_base())
    return {"run": start_run(settings, latest_dataset()).name}


def training_status(run: str = "") -> dict[str, Any]:
    """The state of a run (the newest when none is named): its step, loss, recall and how it ended."""
    view = look(run)
    if view is None:
        raise RunError("There is no such run." if run else "There is no run yet.")
    last = view.steps[-1] if view.steps else {}
    probe = view.probes[-1] if view.probes else {}
    return {
        "run": view.name, "state": view.status.state, "message": view.status.message, "step": last.get("step", 0),
        "total": view.total, "loss": last.get("loss"), "right": probe.get("right"), "asked": probe.get("total"),
    }  # fmt: skip


def stop_training() -> dict[str, Any]:
    """Stop the run that is training after the step it is in; its adapter is kept."""
    folder = running_run()
    if folder is None:
        raise RunError("No training is running, so there is nothing to stop.")
    launcher.stop(folder)
    return {"run": folder.name}


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
                self._build_run()
        self._build_history()
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

    def _build_run(self) -> None:
        self.data = gr.HTML(elem_id="training-data", elem_classes="news")
        self.plan = gr.HTML(elem_id="plan", elem_classes=["plan", "news"])
        with gr.Row():
            self.start = gr.Button("Start training", variant="primary", elem_id="start", min_width=150)
            self.stop = gr.Button(
                "Stop and keep", variant="secondary", interactive=False, elem_id="stop", min_width=150
            )
        self.headline = gr.HTML(elem_id="run-headline", elem_classes="news")
        self.plot = gr.Plot(label="Loss, and recall on questions it never saw", visible=False, elem_id="training-plot")
        self.pace = gr.HTML(elem_id="pace", elem_classes="news")
        self.ending = gr.HTML(elem_id="ending", elem_classes="news")
        self.to_chat = gr.Button("Go on to 3 Chat and compare ›", visible=False, size="md", elem_id="go-chat")
        with gr.Accordion("Last recall check", open=False, visible=False) as self.probe:
            self.answers = PagedTable(
                "Answers of the last recall check",
                ["verdict", "question", "expected", "answer"],
                ["15%", "38%", "20%", "20%"],
                size=10,
                name="probe-answers",
            )
        with gr.Accordion("What it said", open=False, visible=False) as self.said:
            self.messages = gr.HTML(elem_id="messages")

    def _build_history(self) -> None:
        with gr.Accordion("Runs", open=False) as self.past:
            self.runs = PagedTable(
                "Runs (pick one to see its curve)",
                ["run", "preset", "base model", "steps", "last loss", "recall", "before → after", "state"],
                ["16%", "9%", "20%", "11%", "8%", "8%", "10%", "11%"],
                size=8,
                name="runs",
            )
        self.opened = gr.State("")
        self.seen = gr.State(None)
        self.timer = gr.Timer(TICK_SECONDS, active=False)

    def _wire(self, tabs: gr.Tabs) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        widgets = [self.preset, self.base, *self.controls.values()]
        self.run_outputs = [
            self.headline,
            self.plot,
            self.pace,
            self.ending,
            self.to_chat,
            self.probe,
            *self.answers.outputs,
            self.said,
            self.messages,
            self.stop,
            self.timer,
            self.seen,
        ]
        plan = [self.missing, self.data, self.plan, self.start]
        self.all_outputs = [self.problem, *plan, *self.run_outputs, *self.runs.outputs, self.past, self.opened]
        planned = guarded(self.problem, self.show_plan)
        self.preset.input(self.use_preset, [self.preset, self.base], [*widgets], **quiet).then(
            planned, widgets, [self.problem, *plan], **quiet
        )
        self.base.input(self.use_base, self.base, [self.controls["load_in_4bit"], self.base], **quiet).then(
            planned, widgets, [self.problem, *plan], **quiet
        )
        moved = [widget.input for widget in self.controls.values()]
        gr.on(moved, planned, widgets, [self.problem, *plan], trigger_mode="always_last", **quiet)
        self.start.click(
            guarded(self.problem, self.begin),
            widgets,
            self.all_outputs,
            show_progress_on=self.start,
            concurrency_limit=1,
            api_visibility="private",
        )
        self.stop.click(guarded(self.problem, self.end), None, [self.problem, self.stop], **quiet)
        self.timer.tick(
            self.tick, [self.opened, self.seen], [*self.run_outputs, *self.runs.outputs, self.past], **quiet
        )
        self.answers.wire(lambda name: probe_cells(look(name)), [self.opened], [])
        self.runs.wire(history, [], [])
        self.runs.table.select(self.open, None, [*self.run_outputs, self.opened], **quiet)
        go_to(self.to_dataset, tabs, "dataset")
        go_to(self.to_chat, tabs, "chat")
        gr.api(for_callers(start_training), api_name="start_training")
        gr.api(for_callers(training_status), api_name="training_status")
        gr.api(for_callers(stop_training), api_name="stop_training")

    def wire_refresh(self, triggers: list[Any], timer: gr.Timer) -> None:
        """Show what there is at these moments; `timer` notices a run that another window started."""
        widgets = [self.preset, self.base, *self.controls.values()]
        for trigger in triggers:
            trigger(
                guarded(self.problem, self.refresh),
                [*widgets, self.opened],
                self.all_outputs,
                show_progress="hidden",
                api_visibility="private",
            )
        timer.tick(self.notice_run, None, self.timer, show_progress="hidden", api_visibility="private")

    def use_preset(self, preset: str, base: str) -> list[Any]:
        settings = settings_for(preset, base or default_base())
        radio = gr.Radio(value=preset, info=preset_sentence(preset))
        return [radio, settings.base_model, *values_of(settings, self.names)]

    def use_base(self, base: str) -> list[Any]:
        return [base != EMBEDDED and bool(gpu_name()), base]

    def settings(self, preset: str, base: str, *values: Any) -> TrainingSettings:
        return settings_from(preset, base, dict(zip(self.names, values, strict=True)))

    def show_plan(self, *values: Any) -> Update:
        dataset = latest_dataset()
        update = {
            self.missing: gr.Column(visible=dataset is None),
            self.start: gr.Button(interactive=dataset is not None),
            self.data: f"<p class='small'>The newest dataset: {dataset_line(dataset)}</p>" if dataset else "",
        }
        if dataset is None:
            return update | {self.plan: ""}
        return update | {self.plan: will_it_learn(self.settings(*values), dataset)}

    def begin(self, *values: Any) -> Update:
        start_run(self.settings(*values), latest_dataset())
        return self.show_run(look()) | self.show_history() | {self.opened: ""}

    def end(self) -> Update:
        stop_training()
        return {self.stop: gr.Button("Stopping after this step …", interactive=False)}

    def refresh(self, *values: Any) -> Update:
        *widgets, opened = values
        update = self.show_run(look(opened) or look()) | self.show_history()
        try:
            return update | self.show_plan(*widgets)
        except Exception as error:
            return update | {self.problem: notice(explain(error))}

    def notice_run(self) -> Any:
        return gr.Timer(active=True) if running_run() else gr.skip()

    def tick(self, opened: str, seen: Any) -> Any:
        """New events become a new plot; without any, nothing is sent."""
        view = look(opened) or look()
        if view is None or view.mark == seen:
            return gr.skip()
        ended = view.status.state != "running"
        return self.show_run(view) | (self.show_history() if ended else {})

    def open(self, event: gr.SelectData) -> Update:
        name = str(event.row_value[1])
        return self.show_run(look(name) or look()) | {self.opened: name}

    def show_history(self) -> Update:
        rows = history()
        return self.runs.show(rows) | {self.past: gr.Accordion(f"Runs ({len(rows)})")}

    def show_run(self, view: RunView | None) -> Update:
        running = running_run() is not None
        always = {
            self.stop: gr.Button("Stop and keep", interactive=running),
            self.timer: gr.Timer(active=running),
        }
        if view is None:
            hint = "No run yet. Press “Start training”: the curve grows here, and you may close the page meanwhile."
            return always | {self.headline: notice(hint, "hint"), self.seen: None, self.plot: gr.Plot(visible=False)}
        return always | self._shown(view)

    def _shown(self, view: RunView) -> Update:
        probes = view.probes
        last = f"Last recall check: {probes[-1]['right']} of {probes[-1]['total']} right" if probes else ""
        trained = has_adapter(view.folder) and view.status.state != "running"
        return {
            self.headline: run_headline(view),
            self.plot: gr.Plot(value=_figure(view.mark), visible=True),
            self.pace: f"<p class='pace'>{escape(pace_line(view))}</p>"
            if view.status.state == "running" or view.steps
            else "",
            self.ending: ending_card(view),
            self.to_chat: gr.Button(visible=trained),
            self.probe: gr.Accordion(last, visible=bool(probes)),
            **self.answers.show(probe_cells(view)),
            self.said: gr.Accordion(visible=bool(view.messages)),
            self.messages: message_list(view),
            self.seen: view.mark,
        }
