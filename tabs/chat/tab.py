"""Tab 3: one question to two sides; and the questions before and after."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.answering.lookup import TaughtProducts
from pipeline.runs.folder import SETTINGS, run_dataset, run_family
from pipeline.runs.view import get_trained_run, trained_runs, view_run
from tabs.chat.answers_box import AnswersBox, score_words
from tabs.chat.asked_before import keep
from tabs.chat.asking import answering, ask, compare, judge, prepare
from tabs.chat.cards import BASE, exchange_card
from tabs.chat.comparison_panel import ComparePanel
from tabs.chat.customers_panel import CustomersPanel
from tabs.chat.question_form import Query, QuestionForm, other_side
from tabs.chat.serving_box import ServingBox
from tabs.server.answering_model import MODEL, get_ready
from tabs.ui.events import Update, for_callers, go_to, on, open_in_measure, open_to_all
from tabs.ui.text import html_of, notice
from tabs.ui.watcher import Refresh


class ChatTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.stopped: set[str | None] = set()
        """The pages that want no more of the answer that they wait for."""
        self.problem = gr.HTML(elem_id="chat-problem", elem_classes="news")
        with gr.Column(elem_id="chat-missing") as self.missing:
            self.why = gr.HTML(elem_id="why-no-chat")
            self.to_training = gr.Button("‹ Go to 2 Training", size="md", elem_id="back-to-training")
        with gr.Column(visible=False, elem_id="chat-ready") as self.ready:
            self.panel = ComparePanel(self.problem)
            gr.HTML("<h2>Ask</h2>")
            self.form = QuestionForm()
            self.answers = AnswersBox()
            self.customers = CustomersPanel(self.problem, self.form.run)
            self.panel.build_questions(self.form.run)
            self.serving = ServingBox(self.form.run)
        self.newest = gr.State("")
        self._wire(tabs)

    def _wire(self, tabs: gr.Tabs) -> None:
        one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": MODEL}
        form, answers = self.form, self.answers
        asked = on(
            [form.ask.click, form.question.submit],
            self.ask_both,
            [answers.browser, answers.past, answers.pattern, *form.fields],
            [*answers.outputs, *answers.listed, form.ask, form.stop],
            problem=self.problem,
            # The place in the line for the model and the expected wait, where the answers will be.
            progress_on=answers.now,
            show_progress="minimal",
            **one,
        )
        # Once the browser knows that the answer is whole, not with its last words: till then it sends no other question.
        on(asked.then, open_to_all(lambda: form.busy(False)), None, [form.ask, form.stop], queue=False)
        on(form.stop.click, self.stop_answering, queue=False)
        form.wire()
        answers.wire(self.problem)
        self.outputs = [
            self.missing, self.why, self.ready, *form.outputs, self.newest, answers.score, *self.customers.kept,
            *self.panel.outputs,
        ]  # fmt: skip
        self.state = [form.run, self.newest, form.against, self.panel.seen]
        picked = [form.run.input, form.against.input]
        on(picked, self.refresh, self.state, self.outputs, problem=self.problem, picked=True)
        go_to(self.to_training, tabs, "training")
        gr.api(for_callers(ask), api_name="ask", **one)
        gr.api(for_callers(compare), api_name="compare", **one)
        gr.api(for_callers(judge), api_name="judge", **one)

    def wire_refresh(self, load: Any, others: list[Any]) -> None:
        """Show what there is at these moments.

        Args:
            load: the event of a page that is opened, which also brings back what was asked in its browser.
        """
        answers = self.answers
        answers.browser.render()  # outside the tab, whose parts the browser has only once it is opened
        on(load, answers.come_back, [answers.browser], [answers.browser, *answers.outputs, *answers.listed])
        on([load, *others], self.refresh, self.state, self.outputs, problem=self.problem, clears=False)

    def wire_get_ready(self, trigger: Any) -> None:
        """Load the model at this moment."""
        on(trigger, self.get_ready, [self.form.run, self.newest])

    def refreshes(self) -> list[Refresh]:
        """Notice the first run that can be asked, and what becomes of the questions before and after."""
        return [
            Refresh(self.notice_first, self.state, self.outputs),
            *self.panel.refreshes(),
            *self.serving.refreshes(),
        ]

    @open_to_all
    def get_ready(self, run: str | None, newest: str) -> None:
        """Load the model that this page will ask before its first question."""
        if runs := trained_runs():
            get_ready(self.shown_run(runs, run, newest))

    @open_to_all
    def notice_first(self, run: str | None, newest: str, against: str, seen: str) -> Update:
        return {} if newest or not trained_runs() else self.refresh(run, newest, against, seen)

    @open_to_all
    def refresh(self, run: str | None, newest: str, against: str, seen: str) -> Update:
        """What there is to ask: the chosen run, or the newest one once there is a newer than this page knew."""
        runs = trained_runs()
        if not runs:
            return {
                self.missing: gr.Column(visible=True),
                self.ready: gr.Column(visible=False),
                self.why: self.why_not(),
            }
        folder = self.shown_run(runs, run, newest)
        against = other_side(runs, folder, against)
        return {
            self.missing: gr.Column(visible=False),
            self.ready: gr.Column(visible=True),
            **self.form.show(runs, folder, against),
            self.newest: str((runs[0] / SETTINGS).stat().st_mtime),
            self.answers.score: score_words(folder, against),
            **self.customers.show_kept(),
            # What has not changed stays as it is: a filter, a question that is being written, a comparison that is on.
            **(self.panel.show(folder) if self.panel.state_of(folder) != seen else {}),
        }

    def shown_run(self, runs: list[Path], run: str | None, newest: str) -> Path:
        """The chosen run, or the newest one where the page does not know that yet: by its time, as its name may change."""
        known = bool(newest) and (runs[0] / SETTINGS).stat().st_mtime <= float(newest)
        return next((folder for folder in runs if folder.name == run and known), runs[0])

    def why_not(self) -> Markup:
        view = view_run()
        if view and view.status.state == "running":
            return notice("The model is still training. When it has finished, you can ask it here.", "hint")
        return notice("There is no trained model yet. The second tab trains it; then you can ask it here.", "hint")

    @open_in_measure
    def ask_both(
        self, request: gr.Request, browser: str, past: list[Markup], pattern: str | None, *fields: Any
    ) -> Iterator[Update]:
        """Ask the sides that are wanted, and show their answers as they grow.

        Args:
            browser: its word, by which a page that is cut off finds again what was said.
            past: the cards of the questions before.
            fields: the values of a `Query`.
        """
        query = Query(*fields)
        self.stopped.discard(request.session_hash)
        folder = get_trained_run(query.run)
        other = get_trained_run(query.against) if query.against != BASE else None
        dataset = run_dataset(folder)
        taught = TaughtProducts(dataset.manifest)
        asked = taught.ask(query.question, query.about)
        yield self.answers.wait() | self.form.busy(True)
        names, family = {"run": folder.name, "other": other.name if other else ""}, run_family(folder)
        about, sides = query.about or "", query.sides()
        prepared = prepare(dataset, asked, sides, about, family=family, **names, is_blind=query.blind)
        exchange, warned = prepared.exchange, Markup()
        keep(browser, exchange, new=True)
        yield {self.answers.now: exchange_card(exchange)}
        try:
            growing = answering(
                folder,
                prepared,
                other=other,
                max_new_tokens=int(query.length),
                temperature=float(query.temperature),
                stopped=lambda: request.session_hash in self.stopped,
            )
            with closing(growing):
                for warnings, exchange in growing:
                    warned = html_of(map(notice, warnings))
                    keep(browser, exchange, new=False)
                    yield {self.answers.now: warned + exchange_card(exchange)}
        except Exception:
            yield {self.answers.now: ""}
            raise
        stopped = request.session_hash in self.stopped
        exchange = replace(exchange, is_whole=not stopped, is_stopped=stopped, is_blind=query.blind and not stopped)
        keep(browser, exchange, new=False)
        yield self.answers.show_new(exchange, pattern, past, warned, taught.other_kinds)

    @open_to_all
    def stop_answering(self, request: gr.Request) -> None:
        self.stopped.add(request.session_hash)
