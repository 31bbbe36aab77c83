"""Several settings tried one after another: which, how far the queue is, and what came of it.

The runs and their queue are in the run folders; nothing here has to live for them to be trained.
"""

from dataclasses import asdict
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.dataset.store import latest_dataset
from pipeline.errors import RunError, SettingsError
from pipeline.models.embedded import EMBEDDED
from pipeline.models.encoder import ENCODER
from pipeline.models.offered import SEQ2SEQ_BASE
from pipeline.runs.queue import cancel_queue, queued_runs
from pipeline.runs.reached import Reached
from pipeline.runs.settings import TrainingSettings, default_base, settings_for
from pipeline.runs.sweep import BASE, SWEPT, Trial, grid, read_values, start_sweep, sweeps
from pipeline.runs.view import RunView, view_run
from tabs.training.history_view import pulse, recent_pulse
from tabs.training.plan_view import default_preset
from tabs.training.plots import sweep_figure
from tabs.training.run_panel import RunPanel
from tabs.training.run_words import STATE_WORDS, RunFigures
from tabs.training.settings_form import TERMS
from tabs.training.settings_panel import SettingsPanel, check_base_named
from tabs.ui.events import Update, for_callers, on, open_to_all
from tabs.ui.table import PagedTable
from tabs.ui.text import count, duration, html, memory, notice, weights
from tabs.ui.watcher import Refresh

NOTHING_ELSE = ""

EXAMPLES = {
    "base_model": f"{EMBEDDED}, {SEQ2SEQ_BASE}, {ENCODER}",
    "learning_rate": "0.0003, 0.001, 0.003",
    "lora_r": "8, 32, 128",
    "lora_alpha": "16, 32, 64",
    "num_train_epochs": "1, 2, 4",
    "max_steps": "50, 100, 200",
    "per_device_train_batch_size": "4, 8, 16",
    "lora_variant": "lora, rslora, dora",
    "loraplus_lr_ratio": "1, 4, 16",
    "lora_dropout": "0, 0.1",
    "seed": "0, 1, 2",
}
"""Values that are worth a try, put in when the setting is chosen."""

COLUMNS = {
    "values": "28%",
    "recall": "8%",
    "trust": "8%",
    "kept": "10%",
    "last loss": "8%",
    "time": "8%",
    "memory": "9%",
    "base": "8%",
    "state": "13%",
}
"""Trust: right in customers' words and admitting, as one figure; kept: general questions that base and run both have right."""

EXPLANATION = (
    "<p class='small'>Trains one run for every combination of the values, one after another, and compares their last "
    "recall check. Everything else is as set above, on the newest dataset. You may close the page meanwhile. Several bases, "
    "of any kind, bring their preset's learning rate and their 4 bits along, and are also asked after each run what they answer "
    "right in customers' words, admit and still know.</p>"
)


def tried(first: str, first_values: str, second: str = NOTHING_ELSE, second_values: str = "") -> dict[str, list[Any]]:
    """The settings to try and their values, as typed.

    Raises:
        SettingsError: a value is none, or one setting is named twice.
    """
    if first == second:
        raise SettingsError("Both settings to try are the same; choose another, or nothing else.")
    found = {first: read_values(first, first_values)}
    return found | {second: read_values(second, second_values)} if second else found


def begin_sweep(settings: TrainingSettings, values: dict[str, list[Any]]) -> str:
    """Queue a run for every combination of the values on the newest dataset; returns the sweep's name.

    Raises:
        PipelineError: there is no dataset, or the grid cannot work.
    """
    dataset = latest_dataset()
    if dataset is None:
        raise RunError("There is no dataset yet; generate one in the first tab.")
    return start_sweep(dataset, settings, values)


def start_sweep_of(
    setting: str, values: str, second_setting: str = "", second_values: str = "", preset: str = "", base_model: str = ""
) -> dict[str, Any]:
    """Train every combination of one or two settings' values (as `0.001, 0.003`), one after another, at most 12 runs."""
    settings = settings_for(preset or default_preset(), base_model or default_base())
    return sweep_status(begin_sweep(settings, tried(setting, values, second_setting, second_values)))


@open_to_all
def sweep_status(sweep: str = "") -> dict[str, Any]:
    """The runs of a sweep (the newest when none is named): their values, state, last recall check, and what they have reached."""
    found = sweeps()
    name = sweep or next(iter(found), "")
    if name not in found:
        raise RunError("There is no such sweep." if sweep else "There is no sweep yet.")
    return {"sweep": name, "runs": [_as_dict(trial, view_run(trial.folder.name)) for trial in found[name]]}


def _as_dict(trial: Trial, view: RunView | None) -> dict[str, Any]:
    probe = view.probes[-1] if view and view.probes else {}
    state = view.status.state if view else "damaged"
    recall = {"right": probe.get("right"), "asked": probe.get("total")}
    reached = {"reached": asdict(Reached.of(view))} if view else {}
    return {"run": trial.folder.name, "values": trial.values, "state": state, **recall, **reached}


def cancel_sweep() -> dict[str, Any]:
    """Take all runs that have not begun out of the queue; the one that trains goes on. Returns how many there were."""
    return {"cancelled": cancel_queue()}


def trial_rows(trials: list[Trial]) -> list[list[str]]:
    """A row for each run of a sweep: its values, how far it is, and what it recalls."""
    return [_row(trial, view_run(trial.folder.name)) for trial in trials]


def _row(trial: Trial, view: RunView | None) -> list[str]:
    values = ", ".join(f"{TERMS[name]} {value}" for name, value in trial.values.items())
    if view is None:
        return [values, *["–"] * (len(COLUMNS) - 2), "✘ damaged"]
    run, reached = RunFigures.of(view), Reached.of(view)
    return [
        values,
        run.recall,
        "–" if reached.trust is None else f"{reached.trust:.0%}",
        "{} of {}".format(*reached.kept) if reached.kept else "–",
        run.loss,
        "–" if reached.seconds is None else duration(reached.seconds),
        memory(reached.memory) if reached.memory else "–",
        weights(reached.weights),
        run.state,
    ]


def sweep_choices() -> list[tuple[str, str]]:
    """The sweeps there are, the newest first: `23 Nov 01:02 · 6 runs · learning_rate × lora_r`."""
    return [(f"{_when(n)} · {count(len(t), 'run')} · {' × '.join(t[0].values)}", n) for n, t in sweeps().items()]


def _when(name: str) -> str:
    """The time in a sweep's name, `20261123-010203-ab12`, as one reads it."""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]}"


class SweepPanel:
    """The accordion “Try several settings” and what it does."""

    def __init__(self) -> None:
        choices = [(f"{TERMS[name]} ({name})", name) for name in SWEPT]
        with gr.Accordion("Try several settings", open=False, elem_id="sweep") as self.accordion:
            gr.HTML(EXPLANATION)
            with gr.Row():
                self.first = gr.Dropdown(choices, value="learning_rate", label="Setting to try", elem_id="sweep-first")
                self.first_values = gr.Textbox(
                    EXAMPLES["learning_rate"], label="Its values, with commas between", elem_id="sweep-first-values"
                )
            with gr.Row():
                self.second = gr.Dropdown(
                    [("nothing else", NOTHING_ELSE), *choices],
                    value="lora_r",
                    label="Together with",
                    elem_id="sweep-second",
                )
                self.second_values = gr.Textbox(
                    "8, 32", label="Its values, with commas between", elem_id="sweep-second-values"
                )
            self.problem = gr.HTML(elem_id="sweep-problem", elem_classes="news")
            with gr.Row():
                self.go = gr.Button("Train 6 runs", min_width=150, size="md", elem_id="start-sweep")
                self.cancel = gr.Button(
                    "Cancel queued runs", interactive=False, min_width=150, size="md", elem_id="cancel-sweep"
                )
            self.refused = gr.HTML(elem_id="sweep-refused", elem_classes="news")
            self.which = gr.Dropdown([], label="Results of", visible=False, elem_id="sweep-which")
            self.said = gr.HTML(elem_id="sweep-said", elem_classes="news")
            self.plot = gr.Plot(label="Recall by setting", visible=False, elem_id="sweep-plot")
            with gr.Column(visible=False) as self.results:
                self.table = PagedTable(
                    "Runs of this sweep (pick one to see its curve)",
                    list(COLUMNS),
                    list(COLUMNS.values()),
                    size=12,
                    name="sweep-runs",
                )
        self.mark = gr.State(None)
        self.outputs = [self.cancel, self.which, self.mark]

    def wire(self, panel: RunPanel, settings: SettingsPanel) -> None:
        """Connect the widgets.

        Args:
            panel: shows the picked run above.
            settings: of every run, but for what is tried.
        """
        self.panel, self.settings = panel, settings
        typed = [self.first, self.first_values, self.second, self.second_values]
        for box, values in ((self.first, self.first_values), (self.second, self.second_values)):
            filled = on(box.input, open_to_all(lambda name: EXAMPLES.get(name, "")), box, values, picked=True)
            on(filled.then, self.count, typed, self.go, problem=self.problem)
        # Leaving the box counts, too: Gradio passes over the first thing that is typed into one in an accordion.
        moved = [event for box in (self.first_values, self.second_values) for event in (box.input, box.blur)]
        on(moved, self.count, typed, self.go, problem=self.problem, picked=True)
        on(
            self.go.click, self.begin, [*typed, *settings.widgets], self.outputs,
            problem=self.refused, progress_on=self.go, concurrency_limit=1,
        )  # fmt: skip
        on(self.cancel.click, self.end, self.which, self.outputs, problem=self.refused)
        # One after another, and a pick that comes while an answer is under way counts: the newest choice is shown last.
        on(
            [self.which.input, self.mark.change],
            self.show_results,
            self.which,
            [self.said, self.plot, self.results, *self.table.outputs],
            problem=self.problem,
            clears=False,
            picked=True,
        )
        self.table.wire(lambda name: trial_rows(sweeps().get(name, [])), [self.which], [])
        picks = [self.which, *panel.how]
        on(self.table.table.select, self.pick, picks, panel.everything, problem=self.problem, picked=True)
        gr.api(for_callers(start_sweep_of), api_name="start_sweep")
        gr.api(for_callers(sweep_status), api_name="sweep_status")
        gr.api(for_callers(cancel_sweep), api_name="cancel_sweep")

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
        for trigger in triggers:
            on(trigger, self.show, self.which, self.outputs)

    def refreshes(self) -> list[Refresh]:
        """Show what is new whenever a run begins, ends or has measured its recall."""
        return [Refresh(self.refresh, [self.mark, self.which], self.outputs)]

    @open_to_all
    def refresh(self, mark: Any, name: str | None) -> Update:
        return {} if recent_pulse() == mark else self.news(name)

    @open_to_all
    def count(self, *typed: str) -> Update:
        """How many runs the values make, on the button; what cannot be tried is told at once."""
        size = len(grid(settings_for(default_preset(), default_base()), tried(*typed)))
        return {self.go: gr.Button(f"Train {count(size, 'run')}")}

    def begin(self, first: str, first_values: str, second: str, second_values: str, *widgets: Any) -> Update:
        values = tried(first, first_values, second, second_values)
        for base in values.get(BASE, ()):
            check_base_named(base)
        return self.show(begin_sweep(self.settings.read(*widgets), values))

    def end(self, name: str) -> Update:
        cancel_queue()
        return self.show(name)

    @open_to_all
    def pick(self, name: str, smoothing: float, log: bool, unfolded: bool, event: gr.SelectData) -> Update:
        trial = sweeps()[name][int(event.row_value[0]) - 1]
        view = view_run(trial.folder.name)
        return self.panel.show(view, smoothing, log, unfolded) | {self.panel.opened: trial.folder.name} if view else {}

    def news(self, name: str | None) -> Update:
        """What is new of the queue and the list of sweeps.

        The pick stays as it is on the page, where it may be another by now, unless it is gone; its results follow from the new
        mark.
        """
        return {**self._queue(), self.which: gr.Dropdown(choices=sweep_choices())} if name in sweeps() else self.show()

    @open_to_all
    def show(self, name: str | None = None) -> Update:
        """The sweep of that name, or the newest one; its results follow from the new mark."""
        choices = sweep_choices()
        names = [value for _, value in choices]
        name = name if name in names else next(iter(names), None)
        return {**self._queue(), self.which: gr.Dropdown(choices=choices, value=name, visible=bool(name))}

    def _queue(self) -> Update:
        waiting = len(queued_runs())
        words = f"Cancel {count(waiting, 'queued run')}" if waiting else "Cancel queued runs"
        return {self.mark: pulse(), self.cancel: gr.Button(words, interactive=bool(waiting))}

    @open_to_all
    def show_results(self, name: str | None) -> Update:
        """What came of the sweep of that name, or of the newest one."""
        found = sweeps()
        trials = found.get(name or "") or next(iter(found.values()), [])
        views = [view_run(trial.folder.name) for trial in trials]
        return {
            self.said: _progress(views)
            if trials
            else notice("No sweep yet: choose what to try, and press “Train”.", "hint"),
            self.plot: gr.Plot(value=sweep_figure(trials, views), visible=True) if trials else gr.Plot(visible=False),
            self.results: gr.Column(visible=bool(trials)),
            **self.table.show(trial_rows(trials)),
        }


def _progress(views: list[RunView | None]) -> Markup:
    """How far a sweep is, and the best of it so far, as HTML."""
    states = [view.status.state if view else "damaged" for view in views]
    told = [f"{states.count(state)} {STATE_WORDS[state].split(' ', 1)[1]}" for state in STATE_WORDS if state in states]
    measured = [view for view in views if view and view.probes and view.probes[-1]["right"]]
    best = max(measured, key=lambda v: v.probes[-1]["right"] / v.probes[-1]["total"], default=None)
    if best:
        told.append(f"best so far: {best.name} ({best.probes[-1]['right']} of {best.probes[-1]['total']} right)")
    return html("<p data-finished='{}'>{}</p>", states.count("finished"), " · ".join(told))
