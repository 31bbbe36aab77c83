"""Tab 2's right side: one run as its folder tells it, and what can be done with it: stop, resume, discard."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.errors import RunError
from pipeline.runs import launcher
from pipeline.runs.folder import has_adapter
from pipeline.runs.status import running_run
from pipeline.runs.view import RunView, get_view, view_run
from pipeline.space import awake
from pipeline.training.start import resume_run
from tabs.server.gradio_internals import written
from tabs.training.plots import details_figure, training_figure
from tabs.training.run_cards import ending_card, message_list, probe_cells, run_headline
from tabs.training.run_words import pace_line
from tabs.ui.events import Update, go_to, on, open_to_all
from tabs.ui.plots import SMOOTHING
from tabs.ui.table import PagedTable
from tabs.ui.text import count, html, notice
from tabs.ui.watcher import Refresh, recently

_recent_look = recently(lambda name: view_run(name) or view_run())
"""At the run of that name, or else at the one that is shown when none is named."""


@lru_cache(maxsize=16)
def _figure(mark: tuple[str, int, str], smoothing: float, log: bool) -> Any:
    """The plot of a run as it was at `mark`: drawn and written out once, however many windows are watching."""
    view = view_run(mark[0])
    return written(training_figure(view, smoothing, log)) if view else None


@lru_cache(maxsize=4)
def _details(mark: tuple[str, int, str]) -> Any:
    """The small plots, as above."""
    view = view_run(mark[0])
    return written(details_figure(view)) if view else None


def forget_plots() -> None:
    """Draw all plots anew: a run's name, by which they are kept, has become another's."""
    _figure.cache_clear()
    _details.cache_clear()


def stop_training() -> dict[str, Any]:
    """Stop the run that is training after the step it is in; it keeps a checkpoint and its adapter."""
    folder = running_run()
    if folder is None:
        raise RunError("No training is running, so there is nothing to stop.")
    launcher.stop(folder)
    return {"run": folder.name}


@dataclass(frozen=True)
class Seen:
    """What a window shows of a run."""

    name: str
    state: str
    steps: int
    probes: int
    messages: int
    mark: tuple[str, int, str]

    @classmethod
    def of(cls, view: RunView) -> "Seen":
        return cls(view.name, view.status.state, len(view.steps), len(view.probes), len(view.messages), view.mark)


class RunPanel:
    """The widgets that show a run, and its buttons.

    Attributes:
        opened: the name of the run that the user picked; empty for the one that is training, or the newest.
        outputs: what `show` may change, but for the curves that are folded away.
        everything: that, too, and which run is picked.
    """

    def __init__(self, tabs: gr.Tabs) -> None:
        with gr.Row():
            self.stop = gr.Button("Stop and keep", interactive=False, elem_id="stop", min_width=120)
            self.resume = gr.Button("Resume", visible=False, elem_id="resume", min_width=120)
            self.discard = gr.Button("Discard …", visible=False, elem_id="discard", min_width=120)
        with gr.Column(visible=False) as self.question:
            self.asked = gr.HTML(elem_id="discard-question")
            with gr.Row():
                self.yes = gr.Button("Yes, delete it", variant="stop", elem_id="discard-yes", min_width=120)
                self.no = gr.Button("No, keep it", elem_id="discard-no", min_width=120)
        self.headline = gr.HTML(elem_id="run-headline", elem_classes="news")
        self.ending = gr.HTML(elem_id="ending", elem_classes="news")
        self.to_chat = gr.Button("Go on to 3 Chat and compare ›", visible=False, size="md", elem_id="go-chat")
        self.pace = gr.HTML(elem_id="pace", elem_classes="news")
        self.plot = gr.Plot(label="Loss, and recall on questions it never saw", visible=False, elem_id="training-plot")
        self._build_more()
        self.opened = gr.State("")
        self.seen = gr.State(None)
        self.unfolded = gr.State(False)
        self.how = [self.smoothing, self.log, self.unfolded]
        self.outputs = [
            self.stop, self.resume, self.discard, self.question, self.headline, self.ending, self.to_chat, self.pace,
            self.plot, self.looks, self.details, self.probe, *self.answers.outputs, self.said, self.messages,
            self.seen,
        ]  # fmt: skip
        self.everything = [*self.outputs, self.more, self.opened]
        go_to(self.to_chat, tabs, "chat")

    def _build_more(self) -> None:
        with gr.Row(visible=False) as self.looks:
            self.smoothing = gr.Slider(
                0, 0.98, value=SMOOTHING, step=0.02, label="Smoothing of the loss", elem_id="smoothing", buttons=[]
            )
            self.log = gr.Checkbox(
                label="Logarithmic loss axis", info="Shows how a small loss goes on falling.", elem_id="log-axis"
            )
        with gr.Accordion(
            "Learning rate, gradient norm, speed and memory", open=False, visible=False, elem_id="run-details"
        ) as self.details:
            self.more = gr.Plot(label="More curves", elem_id="details-plot")
        with gr.Accordion("Last recall check", open=False, visible=False, elem_id="last-check") as self.probe:
            self.answers = PagedTable(
                "Answers of the last recall check",
                ["verdict", "question", "expected", "answer"],
                ["15%", "38%", "20%", "20%"],
                size=10,
                name="probe-answers",
            )
        with gr.Accordion("What it said", open=False, visible=False) as self.said:
            self.messages = gr.HTML(elem_id="messages")

    def wire(self, problem: gr.HTML, after: Callable[[], Update], others: list[Any]) -> None:
        """Make the buttons work.

        Args:
            problem: where sentences about problems go.
            after: what else on the page changes when a run began or ended, among the components `others`.
        """
        everything, run = [*self.everything, *others], [self.opened, *self.how]

        def going_on(name: str, *how: Any) -> Update:
            return self.go_on(name, *how) | after()

        def thrown_away(name: str, *how: Any) -> Update:
            return self.throw_away(name, *how) | after()

        on(self.stop.click, self.end, None, self.stop, problem=problem)
        on(
            self.resume.click, going_on, run, everything,
            problem=problem, progress_on=self.resume, concurrency_limit=1,
        )  # fmt: skip
        on(self.discard.click, self.ask_to_discard, self.opened, [self.question, self.asked], problem=problem)
        on(self.no.click, open_to_all(lambda: gr.Column(visible=False)), None, self.question)
        on(self.yes.click, thrown_away, run, everything, problem=problem)
        redrawn = [self.plot, self.more]
        on([self.smoothing.input, self.log.input], self.redraw, run, redrawn, picked=True)
        unfolded = on(self.details.expand, open_to_all(lambda: True), None, self.unfolded)
        on(unfolded.then, self.redraw, run, redrawn)
        on(self.details.collapse, open_to_all(lambda: False), None, self.unfolded)
        self.answers.wire(lambda name: probe_cells(view_run(name)), [self.opened], [])

    def refreshes(self) -> list[Refresh]:
        return [Refresh(self.refresh, [self.opened, self.seen, *self.how], [*self.outputs, self.more])]

    @open_to_all
    def refresh(self, opened: str, seen: "Seen | None", *how: Any) -> Update:
        """New events become a new plot.

        An answer that was under way while another run was picked, or this one discarded, may come to the page late; `seen` then
        tells what the page shows, and the next tick puts it right.
        """
        view = _recent_look(opened)
        if (view.mark if view else None) == (seen.mark if seen else None):
            return {}
        return self.news(view, seen, *how) if view else self.show(None)

    def end(self) -> Update:
        stop_training()
        return {self.stop: gr.Button("Stopping after this step …", interactive=False)}

    def go_on(self, opened: str, *how: Any) -> Update:
        name = get_view(opened).name
        resume_run(name)
        return self.show(view_run(name), *how)

    def ask_to_discard(self, opened: str) -> Update:
        view = get_view(opened)
        lost = "its curve, its checkpoints and its adapter" if has_adapter(view.folder) else "its curve and checkpoints"
        training = " It is training now and is ended at once." if view.status.state == "running" else ""
        said = f"Discard run {view.name}?{training} This deletes {lost} ({count(len(view.steps), 'step')} told)."
        return {self.question: gr.Column(visible=True), self.asked: notice(said, state=view.status.state)}

    def throw_away(self, opened: str, *how: Any) -> Update:
        launcher.discard(get_view(opened).folder)
        return self.show(view_run(), *how) | {self.opened: "", self.question: gr.Column(visible=False)}

    @open_to_all
    def redraw(self, opened: str, smoothing: float, log: bool, unfolded: bool) -> Update:
        view = view_run(opened) or view_run()
        return self._curves(view, smoothing, log, unfolded) if view else gr.skip()

    def news(self, view: RunView, seen: "Seen | None", *how: Any) -> Update:
        """What has changed since the last look: drawing a table or a plot anew takes time from the training."""
        now = Seen.of(view)
        if seen is None or (seen.name, seen.state) != (now.name, now.state):
            return self.show(view, *how)
        update = {self.pace: self._pace(view), self.seen: now}
        if view.steps:
            update |= {self.looks: gr.Row(visible=True), self.details: gr.Accordion(visible=True)}
        if (seen.steps, seen.probes) != (now.steps, now.probes):
            update |= self._curves(view, *how)
        if seen.probes != now.probes:
            update |= self._probes(view)
        if seen.messages != now.messages:
            update |= self._messages(view)
        return update

    def _curves(self, view: RunView, smoothing: float, log: bool, unfolded: bool) -> Update:
        more = {self.more: gr.Plot(value=_details(view.mark))} if unfolded else {}
        return {self.plot: gr.Plot(value=_figure(view.mark, smoothing, log), visible=True)} | more

    def _pace(self, view: RunView) -> Markup:
        told = view.status.state == "running" or view.steps
        asleep = notice(awake.warning(), "hint") if view.status.state == "running" else ""
        last = view.steps[-1] if view.steps else {"step": 0, "total": view.total}
        line = "<p class='pace' data-step='{}' data-total='{}'>{}</p>{}"
        return html(line, last["step"], last["total"], pace_line(view), asleep) if told else Markup()

    def _probes(self, view: RunView) -> Update:
        probes = view.probes
        last = f"Last recall check: {probes[-1]['right']} of {probes[-1]['total']} right" if probes else ""
        return {self.probe: gr.Accordion(last, visible=bool(probes)), **self.answers.show(probe_cells(view))}

    def _messages(self, view: RunView) -> Update:
        return {self.said: gr.Accordion(visible=bool(view.messages)), self.messages: message_list(view)}

    def show(
        self, view: RunView | None, smoothing: float = SMOOTHING, log: bool = False, unfolded: bool = True
    ) -> Update:
        """The update that shows a run, or says that there is none."""
        running = running_run() is not None
        always = {self.stop: gr.Button("Stop and keep", interactive=running)}
        if view is None:
            hint = "No run yet. Press “Start training”: the curve grows here, and you may close the page meanwhile."
            hidden = {
                part: type(part)(visible=False)
                for part in (self.plot, self.looks, self.details, self.probe, self.said, self.resume, self.discard)
            }
            return (
                always | hidden | {self.headline: notice(hint, "hint"), self.seen: None, self.pace: "", self.ending: ""}
            )
        return always | self._buttons(view, running) | self._shown(view, smoothing, log, unfolded)

    def _buttons(self, view: RunView, running: bool) -> Update:
        """What can be done with the run next."""
        words = f"Resume after step {view.checkpoint}" if view.checkpoint else "Start again from the beginning"
        if view.status.state == "new":
            words = "Start this run"
        return {
            self.resume: gr.Button(words, visible=view.can_go_on, interactive=not running),
            self.discard: gr.Button(visible=True),
            self.to_chat: gr.Button(visible=has_adapter(view.folder) and view.status.state != "running"),
        }

    def _shown(self, view: RunView, *how: Any) -> Update:
        return {
            self.headline: run_headline(view),
            self.looks: gr.Row(visible=bool(view.steps)),
            self.details: gr.Accordion(visible=bool(view.steps)),
            self.pace: self._pace(view),
            self.ending: ending_card(view),
            self.seen: Seen.of(view),
            **self._curves(view, *how),
            **self._probes(view),
            **self._messages(view),
        }
