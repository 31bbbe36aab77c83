"""The questions before and after: asked, counted, charted, filtered, opened one by one and changed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.answering.baseline import change_question, restore_question
from pipeline.answering.comparison import questions_now
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.report import VERDICT_WORDS, failures_html
from pipeline.answering.which_way import counted_of
from pipeline.errors import PipelineError, RunError
from pipeline.models.family import CAUSAL
from pipeline.runs.folder import BASELINE, COMPARISON, run_dataset, run_family
from pipeline.runs.view import find_run, get_trained_run, read_comparison, read_everything
from tabs.chat.asking import is_comparing, run_questions, stop_comparing
from tabs.chat.cards import SIDES, TUNED, compared_card, question_card, summary_card, which_way_card
from tabs.chat.plots import by_kind_figure, comparison_figure, ways_figure
from tabs.dataset.catalogue_view import short
from tabs.server.answering_model import MODEL
from tabs.server.gradio_internals import served
from tabs.ui.events import Update, on, open_to_all, reveal
from tabs.ui.table import PagedTable
from tabs.ui.text import count, html_of, notice
from tabs.ui.watcher import Refresh

FILTERS = [("all", "all"), ("fixed", "fixed"), ("broken", "broken"), ("not right after tuning", "wrong")]
MOST_CARDS = 50
"""Questions that a narrow page shows."""

CHANGES = {"fixed": "▲ fixed", "broken": "▼ broken", "same": "= same", "unasked": "… ask again"}

TO_BE_ASKED = (
    "The base was asked before training. Ask the tuned model the same, then every fact, unknown products "
    "and general questions: a minute or two on a CPU."
)
BEING_ASKED = (
    "The tuned model is being asked what the base was asked before training, then every fact, unknown products and general "
    "questions. The line on top says how far it is; “Stop and keep” ends it with what has been answered."
)


def questions_of(folder: Path) -> list[dict[str, Any]]:
    """The run's questions as they are now, with the answers that belong to them; none before training."""
    try:
        return questions_now(folder, read_comparison(folder))
    except PipelineError:
        return []


def filtered(run: str | None, wanted: str) -> list[dict[str, Any]]:
    """The questions of a run that pass the filter."""
    folder = find_run(run) if run else None
    passes: dict[str, Callable[[dict[str, Any]], bool]] = {
        "fixed": lambda q: q["change"] == "fixed",
        "broken": lambda q: q["change"] == "broken",
        "wrong": lambda q: bool(q[TUNED]) and q[TUNED]["verdict"] != "right",
    }
    return [q for q in (questions_of(folder) if folder else []) if passes.get(wanted, lambda _: True)(q)]


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


def _side_cell(side: dict[str, str] | None) -> str:
    return f"{VERDICT_WORDS[side['verdict']]}: {short(side['answer'] or side['raw'])}" if side else "–"


class ComparePanel:
    """The widgets of “Before and after” and what they do: the result stands on top of the tab, its questions below.

    Args:
        problem: where a problem is said.
    """

    def __init__(self, problem: gr.HTML) -> None:
        self.problem = problem
        self.summary = gr.HTML(elem_id="summary", elem_classes="news")
        with gr.Row(visible=False) as self.charts:
            self.chart = gr.Plot(label="What was said before and after", elem_id="comparison-plot", min_width=320)
            self.kinds = gr.Plot(label="Right answers by kind of fact", elem_id="kinds-plot", min_width=320)
        with gr.Row():
            self.go = gr.Button("Ask the questions", min_width=200, elem_id="run-questions")
            self.enough = gr.Button("Stop and keep", variant="stop", visible=False, elem_id="stop-questions")
            self.report_html = gr.DownloadButton("Download report.html", visible=False, elem_id="report-html")
            self.report_md = gr.DownloadButton("Download report.md", visible=False, elem_id="report-md")

    def build_questions(self, run: gr.Dropdown) -> None:
        """The questions one by one, and what all of it does.

        Args:
            run: the chosen run's name.
        """
        self.run = run
        with gr.Column(visible=False) as self.compared:
            gr.HTML("<h2>The questions before and after</h2>")
            self.filter = gr.Radio(FILTERS, value="all", label="Show", elem_id="filter")
            with gr.Column(elem_classes="wide-only"):
                self.table = PagedTable(
                    "The questions (pick one to read both answers, or to change it)",
                    ["question", "about", "expected", "base", "tuned", "change"],
                    ["23%", "15%", "15%", "17%", "14%", "9%"],
                    size=15,
                    name="questions",
                )
            with gr.Column(elem_classes="narrow-only"):
                self.cards = gr.HTML(elem_id="question-cards")
                self.pick = gr.Dropdown(
                    [], label="Pick a question to read both answers, or to change it", elem_id="pick-question"
                )
            self.detail = gr.HTML(elem_id="detail", elem_classes="news")
            with gr.Accordion("Change this question", open=False, visible=False, elem_id="editing") as self.editing:
                self.new_question = gr.Textbox(label="Question", elem_id="new-question")
                with gr.Row():
                    self.new_title = gr.Textbox(
                        label="About",
                        info="The product's title; empty: recognised in the question.",
                        min_width=220,
                        elem_id="new-title",
                    )
                    self.new_expected = gr.Textbox(
                        label="Expected answer",
                        info="Empty: what the catalogue says.",
                        min_width=220,
                        elem_id="new-expected",
                    )
                with gr.Row():
                    self.save = gr.Button("Replace question", size="sm", elem_id="save-question")
                    self.restore = gr.Button("Back to the frozen question", size="sm", elem_id="restore-question")
            with gr.Accordion("What it gets wrong", open=False, visible=False, elem_id="failures") as self.failed:
                self.failures = gr.HTML()
        self.opened = gr.State("")
        self.seen = gr.State("")
        self.outputs = [
            self.summary,
            self.charts,
            self.compared,
            self.chart,
            self.kinds,
            self.detail,
            self.editing,
            self.report_html,
            self.report_md,
            self.go,
            self.enough,
            self.failed,
            self.failures,
            self.filter,
            self.cards,
            self.pick,
            self.seen,
            *self.table.outputs,
        ]
        self._wire()

    def _wire(self) -> None:
        problem = self.problem
        asked = on(
            self.go.click, self.run_all, self.run, self.outputs,
            problem=problem, progress_on=self.summary, concurrency_limit=1, concurrency_id=MODEL,
        )  # fmt: skip
        # Of the run that is chosen by then.
        on(asked.then, self.show_chosen, self.run, self.outputs, problem=problem, clears=False)
        on(self.enough.click, stop_comparing, queue=False)
        chosen = [self.run, self.filter]
        self.table.wire(question_cells, chosen, [self.filter.input])
        on(self.filter.input, self.show_cards, chosen, [self.cards, self.pick], picked=True)
        words = [self.new_question, self.new_title, self.new_expected]
        editor = [self.detail, self.editing, self.opened, *words, self.restore]
        opened = on(self.table.table.select, self.open, chosen, editor, problem=problem, picked=True)
        picked = on(self.pick.input, self.open_picked, [self.run, self.pick], editor, problem=problem, picked=True)
        for event in (opened, picked):
            reveal(event, "detail")
        on(self.save.click, self.change, [self.run, self.opened, *words], self.outputs, problem=problem)
        on(self.restore.click, self.go_back, [self.run, self.opened], self.outputs, problem=problem)

    def run_all(self, run: str, progress: gr.Progress = gr.Progress()) -> Iterator[Update]:  # noqa: B008
        folder = get_trained_run(run)
        yield {
            self.summary: '<div class="room"></div>',
            self.charts: gr.Row(visible=False),
            self.compared: gr.Column(visible=False),
            self.enough: gr.Button(visible=True),
        }
        progress(0.0, desc="Loading the model")
        run_questions(folder, lambda done, of: progress((done, of), desc="Asking the tuned model", unit="questions"))

    @open_to_all
    def show_chosen(self, run: str) -> Update:
        return self.show(get_trained_run(run))

    def state_of(self, folder: Path) -> str:
        """Changes whenever there is something else to show about a run."""
        times = [p.stat().st_mtime_ns if (p := folder / name).is_file() else 0 for name in (BASELINE, COMPARISON)]
        return f"{folder.name} {times} {is_comparing(folder)}"

    def show(self, folder: Path) -> Update:
        """What is known about a run."""
        questions, comparison = questions_of(folder), read_comparison(folder)
        label = f"Ask the {count(len(questions), 'question')}{' again' if comparison else ''}"
        asking = is_comparing(folder)
        update: Update = {
            self.go: gr.Button(label, interactive=bool(questions) and not asking),
            self.enough: gr.Button(visible=asking),
            self.detail: "",
            self.editing: gr.Accordion(visible=False),
            self.compared: gr.Column(visible=bool(questions)),
            self.filter: "all",
            self.seen: self.state_of(folder),
            **self.table.show(question_cells(folder.name, "all")),
            **self.as_cards(folder, questions),
        }
        reports = {self.report_html: folder / "report.html", self.report_md: folder / "report.md"}
        for button, path in reports.items():
            update[button] = gr.DownloadButton(value=served(path) if path.is_file() else None, visible=path.is_file())
        if comparison is None:
            hint = BEING_ASKED if asking else TO_BE_ASKED
            return update | {
                self.summary: notice(hint, "hint"),
                self.charts: gr.Row(visible=False),
                self.failed: gr.Accordion(visible=False),
            }
        everything = read_everything(folder)
        failures = failures_html(everything, short)
        return update | {
            self.summary: which_way_card(comparison)
            + summary_card(comparison, everything)
            + self.what_changed(questions),
            self.failed: gr.Accordion(visible=bool(failures)),
            self.failures: failures,
            self.charts: gr.Row(visible=True),
            self.chart: self.picture(comparison),
            self.kinds: by_kind_figure(comparison["questions"], everything),
        }

    def picture(self, comparison: dict[str, Any]) -> gr.Plot:
        """The ways to answer; of a comparison that did not count them, base and tuned."""
        if counted := counted_of(comparison, "questions"):
            label = (
                f"What {count(len(comparison['questions']), 'question')} came to, by way, with the time an answer takes"
            )
            return gr.Plot(ways_figure(counted), label=label)
        return gr.Plot(comparison_figure(comparison["questions"]), label="What was said before and after")

    @open_to_all
    def show_cards(self, run: str | None, wanted: str) -> Update:
        return self.as_cards(find_run(run) if run else None, filtered(run, wanted))

    def as_cards(self, folder: Path | None, questions: Sequence[dict[str, Any]]) -> Update:
        """The same questions for a narrow page: a card each, and a list to pick from."""
        more = len(questions) - MOST_CARDS
        family = run_family(folder) if folder else CAUSAL
        cards = html_of(question_card(q, CHANGES[q["change"]], family) for q in questions[:MOST_CARDS])
        if more > 0:
            cards += notice(f"{count(more, 'more question')} in report.html, or on a wider page.", "hint")
        return {
            self.cards: cards or notice("No question is of this sort.", "hint"),
            self.pick: gr.Dropdown(choices=[(q["question"], q["id"]) for q in questions], value=None),
        }

    def what_changed(self, questions: list[dict[str, Any]]) -> Markup:
        waiting = sum(q["change"] == "unasked" for q in questions)
        if not waiting:
            return Markup()
        were = "was" if waiting == 1 else "were"
        said = f"{count(waiting, 'question')} {were} changed since, and the figures are of the old ones: ask again."
        return notice(said, "hint", "changed")

    def refreshes(self) -> list[Refresh]:
        """Notice that questions are being asked, or have been, whoever asks them."""
        return [Refresh(self.show_news, [self.run, self.seen], self.outputs)]

    @open_to_all
    def show_news(self, run: str | None, seen: str) -> Update:
        folder = find_run(run) if run else None
        return {} if folder is None or self.state_of(folder) == seen else self.show(folder)

    @open_to_all
    def open(self, run: str, wanted: str, event: gr.SelectData) -> Update:
        asked, title = event.row_value[1:3]
        return self._opened(run, (q for q in filtered(run, wanted) if (q["question"], q["title"]) == (asked, title)))

    @open_to_all
    def open_picked(self, run: str, number: str) -> Update:
        return self._opened(run, (q for q in filtered(run, "all") if q["id"] == number))

    def _opened(self, run: str, found: Iterator[dict[str, Any]]) -> Update:
        question = next(found, None)
        if question is None:
            raise RunError("The questions have changed meanwhile; reload the page.")
        return {
            self.detail: compared_card(question, run_family(get_trained_run(run))),
            self.editing: gr.Accordion(visible=True),
            self.opened: question["id"],
            self.new_question: question["question"],
            self.new_title: question["title"],
            self.new_expected: question["expected"],
            self.restore: gr.Button(interactive=question["is_changed"]),
        }

    def change(self, run: str, number: str, question: str, title: str, expected: str) -> Update:
        folder = get_trained_run(run)
        before = next((q for q in questions_of(folder) if q["id"] == number), None)
        if before and (question, title) != (before["question"], before["title"]):
            taught = TaughtProducts(run_dataset(folder).manifest)
            if expected == taught.ask(before["question"], before["title"]).expected:
                expected = ""  # that was what the catalogue says to the old question
        change_question(folder, number, question, title, expected)
        return self.show(folder)

    def go_back(self, run: str, number: str) -> Update:
        folder = get_trained_run(run)
        restore_question(folder, number)
        return self.show(folder)
