"""Tab 3: one question to base and tuned, side by side; and the questions before and after."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.answering.comparison import read_baseline
from pipeline.answering.lookup import Shelf
from pipeline.answering.report import VERDICT_WORDS
from pipeline.errors import PipelineError
from pipeline.training.runs import run_dataset
from tabs.asking import (
    MODEL,
    ask,
    chosen_run,
    compare,
    example_questions,
    load,
    run_questions,
    stop_comparing,
    stream,
)
from tabs.cards import SIDES, compared_card, failures_card, question_card, summary_card
from tabs.catalogues import short
from tabs.figures import comparison_figure
from tabs.runview import before_after, find_run, look, read_comparison, read_everything, trained_runs
from tabs.shared import PagedTable, Update, count, for_callers, go_to, guarded, notice, picked, reveal

RECOGNISED = ""
"""Value of “about” that leaves it to the question's own words."""

MAX_NEW_TOKENS = 96
"""Tokens an answer may have at first: enough for any description."""

KEPT_QUESTIONS = 20
"""Questions that stay listed."""

FILTERS = [("all", "all"), ("fixed", "fixed"), ("broken", "broken"), ("not right after tuning", "wrong")]
CHANGES = {"fixed": "▲ fixed", "broken": "▼ broken", "same": "= same"}


def filtered(run: str | None, wanted: str) -> list[dict[str, Any]]:
    """The questions of a run's comparison that pass the filter."""
    folder = find_run(run) if run else None
    comparison = read_comparison(folder) if folder else None
    questions = comparison["questions"] if comparison else []
    passes: dict[str, Callable[[dict[str, Any]], bool]] = {
        "fixed": lambda q: q["change"] == "fixed",
        "broken": lambda q: q["change"] == "broken",
        "wrong": lambda q: q["tuned"]["verdict"] != "right",
    }
    return [q for q in questions if passes.get(wanted, lambda _: True)(q)]


def question_cells(run: str | None, wanted: str) -> list[list[str]]:
    return [
        [
            q["question"],
            q["title"],
            short(q["expected"]),
            *(_side_cell(q[side]) for side in SIDES),
            CHANGES[q["change"]],
        ]
        for q in filtered(run, wanted)
    ]


def _side_cell(side: dict[str, str]) -> str:
    return f"{VERDICT_WORDS[side['verdict']]}: {short(side['answer'] or side['raw'])}"


class ChatTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.stopped: set[str | None] = set()
        """The pages that want no more of the answer that they wait for."""
        self.problem = gr.HTML(elem_id="chat-problem", elem_classes="news")
        with gr.Column(elem_id="chat-missing") as self.missing:
            self.why = gr.HTML()
            self.to_training = gr.Button("‹ Go to 2 Training", size="md", elem_id="back-to-training")
        with gr.Column(visible=False, elem_id="chat-ready") as self.ready:
            self._build_ask()
            self._build_compare()
        self._wire(tabs)

    def _build_ask(self) -> None:
        with gr.Row(equal_height=True):
            self.question = gr.Textbox(
                label="Question", placeholder="Ask about a product …", scale=5, min_width=260, elem_id="question"
            )
            self.ask = gr.Button("Ask both", variant="primary", scale=1, min_width=140, elem_id="ask")
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=140, visible=False, elem_id="stop-answer")
        self.suggested = gr.Textbox(elem_classes="unseen", show_label=False)
        with gr.Row():
            self.about = gr.Dropdown(
                [("recognised in the question", RECOGNISED)],
                value=RECOGNISED,
                allow_custom_value=True,
                label="About",
                info="The product's title as the model is told it. Choose another, or type one.",
                min_width=220,
                elem_id="about",
            )
            self.run = gr.Dropdown(
                [],
                label="Trained run",
                info="Whose adapter answers on the tuned side: run · preset · right before → after.",
                filterable=False,
                min_width=220,
                elem_id="run",
            )
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self.record = gr.Checkbox(
                False,
                label="Also ask the base with the record in its prompt",
                info="What one would do instead of fine-tuning: the model reads the answer, it need not know it.",
                elem_id="with-record",
            )
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 1.5, 0, step=0.1, label="Temperature", info="0 says the likeliest; above, tokens are drawn."
                )
                self.length = gr.Slider(
                    8, 256, MAX_NEW_TOKENS, step=8, label="Longest answer", info="In tokens; about ¾ of a word each."
                )
        self.examples = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[["…"]],
            label="Examples, in words that training never used",
            type="values",
        )
        self.now = gr.HTML(elem_id="answers", elem_classes="news")
        with gr.Accordion("Asked before", open=False, visible=False) as self.earlier:
            self.list = gr.HTML(elem_id="asked-before")
            self.clear = gr.Button("Clear the list", size="sm", elem_id="clear-asked")
        self.past = gr.State([])
        self.newest = gr.State("")

    def _build_compare(self) -> None:
        gr.HTML("<h2>Before and after</h2>")
        with gr.Row():
            self.go = gr.Button("Ask the questions", min_width=200, elem_id="run-questions")
            self.enough = gr.Button("Stop and keep", variant="stop", visible=False, elem_id="stop-questions")
            self.report_html = gr.DownloadButton("Download report.html", visible=False, elem_id="report-html")
            self.report_md = gr.DownloadButton("Download report.md", visible=False, elem_id="report-md")
        self.summary = gr.HTML(elem_id="summary", elem_classes="news")
        with gr.Column(visible=False) as self.compared:
            self.chart = gr.Plot(label="Verdicts before and after", elem_id="comparison-plot")
            self.filter = gr.Radio(FILTERS, value="all", label="Show", elem_id="filter")
            self.table = PagedTable(
                "The questions (pick one to read both answers)",
                ["question", "about", "expected", "base", "tuned", "change"],
                ["23%", "15%", "15%", "17%", "14%", "9%"],
                size=15,
                name="questions",
            )
            self.detail = gr.HTML(elem_id="detail", elem_classes="news")
            with gr.Accordion("What it gets wrong", open=False, visible=False, elem_id="failures") as self.failed:
                self.failures = gr.HTML()

    def _wire(self, tabs: gr.Tabs) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": MODEL}
        buttons = [self.ask, self.stop]
        asking = [self.problem, self.now, self.past, self.earlier, self.list, *buttons]
        asked = gr.on(
            [self.ask.click, self.question.submit],
            guarded(self.problem, self.ask_both),
            [self.question, self.about, self.run, self.past, self.record, self.temperature, self.length],
            asking,
            **quiet,
            **one,
        )
        # Once the browser knows that the answer is whole, not with its last words: till then it sends no other question.
        asked.then(lambda: (gr.Button(visible=True), gr.Button(visible=False)), None, buttons, queue=False, **quiet)
        self.stop.click(self.stop_answering, None, None, queue=False, **quiet)
        self.clear.click(
            lambda: ([], gr.Accordion(visible=False), ""),
            None,
            [self.past, self.earlier, self.list],
            queue=False,
            **quiet,
        )
        self.examples.click(lambda sample: (sample[0], RECOGNISED), self.examples, [self.question, self.about], **quiet)
        self.result_outputs = [
            self.summary,
            self.compared,
            self.chart,
            self.detail,
            self.report_html,
            self.report_md,
            self.go,
            self.enough,
            self.failed,
            self.failures,
            self.filter,
            *self.table.outputs,
        ]
        # In the browser, which knows what stands in the box now: an answer of the server may come after the first typing.
        self.suggested.change(
            None, [self.question, self.suggested], self.question, js="(typed, suggested) => typed || suggested"
        )
        self.go.click(
            guarded(self.problem, self.run_all),
            self.run,
            [self.problem, *self.result_outputs],
            show_progress_on=self.summary,
            api_visibility="private",
            **one,
        )
        self.enough.click(stop_comparing, None, None, queue=False, **quiet)
        self.table.wire(question_cells, [self.run, self.filter], [self.filter.input])
        opened = self.table.table.select(
            guarded(self.problem, self.open), [self.run, self.filter], [self.problem, self.detail], **quiet
        )
        reveal(opened, "detail")
        self.outputs = [
            self.problem,
            self.missing,
            self.why,
            self.ready,
            self.run,
            self.about,
            self.suggested,
            self.examples,
            self.newest,
            *self.result_outputs,
        ]
        self.state = [self.run, self.newest]
        self.run.input(guarded(self.problem, self.refresh), self.state, self.outputs, **quiet)
        go_to(self.to_training, tabs, "training")
        gr.api(for_callers(ask), api_name="ask", **one)
        gr.api(for_callers(compare), api_name="compare", **one)

    def wire_refresh(self, triggers: list[Any], timer: gr.Timer) -> None:
        """Show what there is at these moments; `timer` notices the first run that can be asked."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        gr.on(triggers, guarded(self.problem, self.refresh, clears=False), self.state, self.outputs, **quiet)
        timer.tick(self.notice_first, self.state, self.outputs, **quiet)

    def notice_first(self, run: str | None, newest: str) -> Any:
        return gr.skip() if newest or not trained_runs() else self.refresh(run, newest)

    def refresh(self, run: str | None, newest: str) -> Update:
        """What there is to ask: the chosen run, or the newest one once there is a newer than this page knew."""
        runs = trained_runs()
        if not runs:
            return {
                self.missing: gr.Column(visible=True),
                self.ready: gr.Column(visible=False),
                self.why: self.why_not(),
            }
        known = runs[0].name == newest
        folder = next((f for f in runs if f.name == run and known), runs[0])
        examples = example_questions(folder)
        titles = [(title, title) for title in Shelf(run_dataset(folder).manifest).products]
        return {
            self.missing: gr.Column(visible=False),
            self.ready: gr.Column(visible=True),
            self.run: gr.Dropdown(choices=[(run_words(f), f.name) for f in runs], value=folder.name),
            self.about: gr.Dropdown(choices=[("recognised in the question", RECOGNISED), *titles]),
            self.suggested: next(iter(examples), ""),
            self.examples: gr.Dataset(samples=[[example] for example in examples]),
            self.newest: runs[0].name,
            **self.show_result(folder),
        }

    def why_not(self) -> str:
        view = look()
        if view and view.status.state == "running":
            return notice("The model is still training. When it has finished, you can ask it here.", "hint")
        return notice("There is no trained model yet. The second tab trains it; then you can ask it here.", "hint")

    def ask_both(
        self,
        question: str,
        about: str | None,
        run: str,
        past: list[str],
        record: bool,
        temperature: float,
        length: float,
        request: gr.Request,
    ) -> Iterator[Update]:
        self.stopped.discard(request.session_hash)
        folder = chosen_run(run)
        asked = Shelf(run_dataset(folder).manifest).ask(question, about)
        waiting = notice("Loading the model: a few seconds the first time …", "hint")
        yield {self.now: waiting, self.ask: gr.Button(visible=False), self.stop: gr.Button(visible=True)}
        raws: dict[str, str | None] = dict.fromkeys(SIDES)
        try:
            language_model, warnings = load(folder)
            warned = "".join(notice(warning) for warning in warnings)
            yield {self.now: warned + question_card(asked, raws, whole=False)}
            growing = stream(
                language_model,
                asked,
                record=record,
                max_new_tokens=int(length),
                temperature=float(temperature),
                stopped=lambda: request.session_hash in self.stopped,
            )
            with closing(growing):
                for raws in growing:
                    yield {self.now: warned + question_card(asked, raws, whole=False)}
        except Exception:
            yield {self.now: ""}
            raise
        card = question_card(asked, raws)
        kept = [card, *past][:KEPT_QUESTIONS]
        yield {
            self.now: warned + card,
            self.past: kept,
            self.earlier: gr.Accordion(f"Asked before ({len(past)})", visible=bool(past)),
            self.list: "".join(kept[1:]),
        }

    def stop_answering(self, request: gr.Request) -> None:
        self.stopped.add(request.session_hash)

    def run_all(self, run: str, progress: gr.Progress = gr.Progress()) -> Iterator[Update]:  # noqa: B008
        folder = chosen_run(run)
        room = '<div class="room"></div>'
        yield {
            self.summary: room,
            self.compared: gr.Column(visible=False),
            self.enough: gr.Button(visible=True),
        }
        progress(0.0, desc="Loading the model")
        try:
            run_questions(
                folder, lambda done, of: progress((done, of), desc="Asking the tuned model", unit="questions")
            )
        except Exception:
            yield self.show_result(folder)
            raise
        yield self.show_result(folder)

    def show_result(self, folder: Path) -> Update:
        try:
            number = len(read_baseline(folder)["questions"])
        except PipelineError:
            number = 0
        comparison = read_comparison(folder)
        label = f"Ask the {count(number, 'question')}{' again' if comparison else ''}"
        update: Update = {
            self.go: gr.Button(label, interactive=number > 0),
            self.enough: gr.Button(visible=False),
            self.detail: "",
        }
        reports = {self.report_html: folder / "report.html", self.report_md: folder / "report.md"}
        for button, path in reports.items():
            update[button] = gr.DownloadButton(value=str(path) if path.is_file() else None, visible=path.is_file())
        if comparison is None:
            hint = (
                "The base was asked before training. Ask the tuned model the same, then every fact, unknown products "
                "and general questions: a minute or two on a CPU."
            )
            return update | {self.summary: notice(hint, "hint"), self.compared: gr.Column(visible=False)}
        everything = read_everything(folder)
        failures = failures_card(everything)
        return update | {
            self.summary: summary_card(comparison, everything),
            self.failed: gr.Accordion(visible=bool(failures)),
            self.failures: failures,
            self.compared: gr.Column(visible=True),
            self.chart: comparison_figure(comparison["questions"]),
            self.filter: "all",
            **self.table.show(question_cells(folder.name, "all")),
        }

    def open(self, run: str, wanted: str, event: gr.SelectData) -> Update:
        return {self.detail: compared_card(filtered(run, wanted)[picked(event)])}


def run_words(folder: Path) -> str:
    """A run in the list of runs: its name, its preset, and how it did where that is known."""
    view = look(folder.name)
    did = before_after(folder)
    return " · ".join([folder.name, view.settings.preset if view else "?", *([did] if did != "–" else [])])
