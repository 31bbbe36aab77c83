"""Customers' own questions: uploaded or pasted, answered, the doubtful ones first, and put right one by one."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.answering.customers import (
    MOST_BY_MODEL,
    Answered,
    CustomerQuestion,
    about_asked,
    answer_by_model,
    answer_each,
    correction,
    likely_kind,
    questions_in,
    read_questions,
    worst_first,
)
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.shop import Shop, shop_of
from pipeline.answering.ways import AUTO, BY_MODEL
from pipeline.answering.which_way import LABELS
from pipeline.dataset.edits import Edit, keep_edit
from pipeline.dataset.store import latest_dataset
from pipeline.dataset.taught import fits, forget, taught, wordings
from pipeline.errors import QuestionError, ServingError
from pipeline.prompts import REFUSAL, SILENCE, UNKNOWN
from pipeline.runs.folder import run_dataset
from pipeline.runs.view import get_trained_run
from pipeline.serving.asked import asked_questions, count_questions, forget_questions
from tabs.chat.answers_box import kind_choices
from tabs.chat.asking import fetch_base
from tabs.chat.customers_view import Shown, cells, counts_table, question_card
from tabs.dataset.catalogue_view import short
from tabs.server.answering_model import MODEL, loaded
from tabs.server.identity import serves_owner
from tabs.server.zerogpu import on_gpu
from tabs.ui.activity import doing
from tabs.ui.events import Update, on, open_to_all, reveal
from tabs.ui.table import PagedTable, picked
from tabs.ui.text import count, html, html_of, notice, progress_bar

FILE_TYPES = [".csv", ".tsv", ".json", ".jsonl", ".txt"]

TELL_EVERY = 0.5
"""Seconds between two looks at how far it is."""

GPU_SECONDS = 120

OWN_WORDS_ONLY = ""

TYPE_IT = Markup('<p class="small">Type the right answer to see what it teaches.</p>')


class CustomersPanel:
    """The widgets of customers' own questions.

    Args:
        problem: where a problem is said.
        run: the chosen run's name.
    """

    def __init__(self, problem: gr.HTML, run: gr.Dropdown) -> None:
        self.run = run
        self.stopped: set[str | None] = set()
        """The pages that want no more answers."""
        with gr.Accordion("Your customers' own questions", open=False, elem_id="customers"):
            self._build_asking()
            self.table = PagedTable(
                "The wrong and the doubtful come first (pick one to read it, or to put it right)",
                ["question", "about", "answer", "right, or how doubtful"],
                ["32%", "20%", "27%", "14%"],
                size=10,
                name="customer-questions",
                jump=True,
            )
            self.detail = gr.HTML(elem_id="customer-detail", elem_classes="news")
            with gr.Group(visible=False, elem_id="teaching") as self.teaching:
                self._build_teaching()
            self.said = gr.HTML(elem_id="teach-said", elem_classes="news")
            with gr.Accordion("What you taught", open=False, visible=False, elem_id="taught") as self.taught:
                self.lessons = gr.Dropdown(
                    [], label="Said first from now on, and trained in the next run", elem_id="lessons"
                )
                self.forget = gr.Button("Teach it no more", size="sm", elem_id="forget-lesson")
        self.shown = gr.State(None)
        self.picked = gr.State(-1)
        self.results = [self.counted, self.progress, self.stop, self.ask, self.shown, *self.table.outputs]
        self.editor = [self.detail, self.teaching, self.picked, self.title, self.answer, self.kind, self.preview]
        self.kept = [self.taught, self.lessons, self.asked, self.use_asked]
        self._wire(problem)

    def _build_asking(self) -> None:
        gr.HTML(
            "<p>Upload or paste what customers asked: CSV, JSON, JSON lines, or one question a line; with columns "
            "<code>question</code> and, where known, <code>title</code> or <code>uid</code> and <code>answer</code>. "
            "Nothing of it is kept or trained but what you put right and teach.</p>"
        )
        self.text = gr.Textbox(
            label="Questions", lines=3, max_lines=8, placeholder="one a line …", elem_id="customers-text"
        )
        self.ways = gr.CheckboxGroup(
            [(LABELS[way], way) for way in LABELS],
            value=[AUTO],
            label="Answered by",
            info=f"Auto and extractive need no model; the others answer at most {MOST_BY_MODEL} questions.",
            elem_id="customers-ways",
        )
        with gr.Row():
            self.ask = gr.Button("Answer them", min_width=160, elem_id="customers-ask")
            self.upload = gr.UploadButton(
                "Upload a file …", file_types=FILE_TYPES, min_width=160, elem_id="customers-file"
            )
            self.stop = gr.Button("Stop", variant="stop", min_width=160, visible=False, elem_id="customers-stop")
        with gr.Row(visible=False) as self.asked:
            self.use_asked = gr.Button(min_width=160, elem_id="customers-asked")
            self.forget_asked = gr.Button("Delete what people asked, for good", min_width=160, elem_id="forget-asked")
        self.progress = gr.HTML(elem_id="customers-progress", elem_classes="news")
        self.counted = gr.HTML(elem_id="customers-counts", elem_classes="news")

    def _build_teaching(self) -> None:
        with gr.Row():
            self.title = gr.Textbox(
                label="About", info="The product's title; empty where you do not sell it.", min_width=220,
                elem_id="teach-title",
            )  # fmt: skip
            self.answer = gr.Textbox(
                label="Right answer",
                info=f"Short; or “{SILENCE}” or “{REFUSAL}”",
                min_width=220,
                elem_id="teach-answer",
            )
            self.kind = gr.Dropdown(
                [("the customer's words only", OWN_WORDS_ONLY)],
                value=OWN_WORDS_ONLY,
                label="Taught in the wordings for",
                info="What the question asks for.",
                min_width=220,
                elem_id="teach-kind",
            )
        self.teach = gr.Button("Teach this answer", elem_id="teach-it")
        # Below the button, which would else move away from under the pointer when a box is left to press it.
        self.preview = gr.HTML(elem_id="teach-preview", elem_classes="padded")

    def _wire(self, problem: gr.HTML) -> None:
        asked: list[tuple[Any, Any, Any]] = [
            (self.ask.click, self.answer_text, self.text),
            (self.upload.upload, self.answer_file, self.upload),
            (self.use_asked.click, self.answer_asked, self.text),
        ]
        for event, handler, source in asked:
            quick = on(event, handler, [source, self.ways, self.run], self.results, problem=problem)
            slow = on(
                quick.then, self.ask_model, [self.shown, self.run], self.results,
                problem=problem, clears=False, concurrency_limit=1, concurrency_id=MODEL,
            )  # fmt: skip
            # What a problem or a closed page left of the buttons.
            on(slow.then, self.idle, None, [self.stop, self.ask, self.progress], queue=False)
        on(self.stop.click, self.stop_answering, queue=False)
        on(self.forget_asked.click, self.delete_asked, None, [self.counted, *self.kept], problem=problem)
        self.table.wire(cells, [self.shown], [])
        opened = on(
            self.table.table.select, self.open, [self.shown, self.run], self.editor, problem=problem, picked=True
        )
        reveal(opened, "customer-detail")
        words = [self.shown, self.picked, self.title, self.answer, self.kind, self.run]
        typed = [self.title.blur, self.answer.blur, self.kind.input]
        on(typed, self.show_wordings, words, self.preview, problem=self.preview, picked=True)
        on(self.teach.click, self.keep, words, [self.said, *self.kept], problem=self.said)
        on(self.forget.click, self.drop, self.lessons, self.kept, problem=problem)

    # --- Answering ---

    def answer_text(self, request: gr.Request, text: str, ways: list[str], run: str) -> Iterator[Update]:
        yield from self._answer(request, questions_in(text, "What you pasted"), ways, run)

    def answer_file(self, request: gr.Request, file: str, ways: list[str], run: str) -> Iterator[Update]:
        path = Path(file)
        try:
            questions = read_questions(path)
        finally:
            with suppress(OSError):  # nothing of it is kept
                path.unlink()
        yield from self._answer(request, questions, ways, run)

    def answer_asked(self, request: gr.Request, text: str, ways: list[str], run: str) -> Iterator[Update]:
        """What people asked where a run was served, in the place of what was typed."""
        questions = [CustomerQuestion(one.question, one.title) for one in asked_questions()]
        if not questions:
            raise QuestionError("None of what people asked is kept any more; its time has come, or it was deleted.")
        yield from self._answer(request, questions, ways, run)

    def delete_asked(self) -> Update:
        gone = forget_questions()
        return {self.counted: notice(f"{count(gone, 'question')} deleted.", "done"), **self.show_kept()}

    def _answer(
        self, request: gr.Request, questions: list[CustomerQuestion], ways: list[str], run: str
    ) -> Iterator[Update]:
        """The ways that need no model, of every question, until it is stopped."""
        ways = [way for way in LABELS if way in ways]
        if not ways:
            raise QuestionError("No way to answer is chosen; tick one.")
        self.stopped.discard(request.session_hash)
        yield {
            self.progress: progress_bar(0, 1),
            self.stop: gr.Button(visible=True),
            self.ask: gr.Button(visible=False),
        }
        shop = shop_of(run_dataset(get_trained_run(run)))
        answered: list[Answered] = []
        told = time.monotonic()
        with doing("answering customers' questions") as tell:
            for one in answer_each(shop, questions, ways):
                answered.append(one)
                if request.session_hash in self.stopped:
                    break
                if time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    tell(len(answered), len(questions))
                    yield {self.progress: _how_far(len(answered), len(questions))}
        whole = len(answered) == len(questions)
        yield self.show(Shown(worst_first(answered), ways), "" if whole else _stopped(answered, questions))

    def ask_model(self, request: gr.Request, shown: Shown | None, run: str) -> Iterator[Update]:
        """The ways that need the model, where any was chosen, of the first questions."""
        if shown is None or not any(way in BY_MODEL for way in shown.ways) or request.session_hash in self.stopped:
            yield {}
            return
        folder = get_trained_run(run)
        fetch_base(folder)
        asked = shown.answered[:MOST_BY_MODEL]
        answered: list[Answered] = []
        with doing("answering customers' questions") as tell, closing(_by_model(folder, asked, shown.ways)) as growing:
            for part in growing:
                answered += part
                tell(len(answered), len(asked))
                yield {self.progress: _how_far(len(answered), len(asked))}
                if request.session_hash in self.stopped:
                    break
        rest = shown.answered[len(answered) :]
        said = f"The model answered {count(len(answered), 'question')}, those that come first." if rest else ""
        yield self.show(Shown(worst_first(answered + rest), shown.ways), said)

    @open_to_all
    def stop_answering(self, request: gr.Request) -> None:
        self.stopped.add(request.session_hash)

    @open_to_all
    def idle(self) -> Update:
        return {self.stop: gr.Button(visible=False), self.ask: gr.Button(visible=True), self.progress: ""}

    def show(self, shown: Shown, said: str = "") -> Update:
        return {
            self.shown: shown,
            self.counted: notice(said, "hint") + counts_table(shown),
            **self.table.show(cells(shown)),
        }

    # --- Putting right ---

    @open_to_all
    def open(self, shown: Shown | None, run: str, event: gr.SelectData) -> Update:
        number = picked(event)
        one = shown.answered[number] if shown and number < len(shown.answered) else None
        if one is None:
            raise QuestionError("The questions have changed meanwhile; pick one again.")
        dataset = run_dataset(get_trained_run(run))
        kind = likely_kind(shop_of(dataset), one.asked.asked, one.title)
        kinds = [(name, k) for name, k in kind_choices(TaughtProducts(dataset.manifest).other_kinds) if k != UNKNOWN]
        answer = next(iter(one.asked.answers), "")
        return {
            self.detail: question_card(one),
            self.teaching: gr.Group(visible=True),
            self.picked: number,
            self.title: one.title or one.asked.title,
            self.answer: answer,
            self.kind: gr.Dropdown(choices=[("the customer's words only", OWN_WORDS_ONLY), *kinds], value=kind),
            self.preview: TYPE_IT,
        }

    @open_to_all
    def show_wordings(
        self, shown: Shown | None, number: int, title: str, answer: str, kind: str | None, run: str
    ) -> Update:
        if not answer.strip():
            return {self.preview: TYPE_IT}
        try:
            edit = correction(_shop(run), _asked(shown, number).asked, title, answer, kind or OWN_WORDS_ONLY)
        except QuestionError as error:  # no alarm: the boxes are still being filled
            return {self.preview: html('<p class="small">{}</p>', error)}
        asked = html_of(html("<li>{}</li>", wording) for wording in wordings(edit))
        about = edit.title or "no product"
        return {
            self.preview: html(
                "<p>These train, about <b>{}</b>, with the answer “{}”:</p><ul>{}</ul>", about, edit.response, asked
            )
        }

    def keep(self, shown: Shown | None, number: int, title: str, answer: str, kind: str | None, run: str) -> Update:
        edit = correction(_shop(run), _asked(shown, number).asked, title, answer, kind or OWN_WORDS_ONLY)
        keep_edit(edit)
        dataset = latest_dataset()
        said = f"“{short(edit.question)}” is answered “{short(edit.response)}” from now on{_where(shown, number, edit, run)}."
        said += f" It trains in {count(len(wordings(edit)), 'wording')} with the next "
        is_taught = dataset is not None and fits(edit, dataset.manifest)
        said += "run." if is_taught else "dataset, which teaches this product too; make one in the first tab."
        return {self.said: notice(said, "done"), **self.show_kept()}

    def drop(self, row: str | None) -> Update:
        if row:
            forget(row)
            latest_dataset()
        return self.show_kept()

    def show_kept(self) -> Update:
        lessons = taught()[::-1]
        choices = [
            (f"{short(edit.question)} · {edit.title or 'no product'} · {short(edit.response)}", edit.row)
            for edit in lessons
        ]
        return {
            self.taught: gr.Accordion(f"What you taught ({len(lessons)})", visible=bool(lessons)),
            self.lessons: gr.Dropdown(choices=choices, value=None),
            **self._show_asked(),
        }

    def _show_asked(self) -> Update:
        """What people asked is the owner's to see, where there is any."""
        try:
            kept = count_questions() if serves_owner() else 0
            words = f"Answer what people asked ({kept:,})"
        except ServingError:  # which is said to whoever wants them
            kept, words = 1, "Answer what people asked"
        return {self.asked: gr.Row(visible=kept > 0), self.use_asked: gr.Button(words)}


@on_gpu(GPU_SECONDS)
def _by_model(folder: Path, asked: list[Answered], ways: list[str]) -> Generator[list[Answered], None, None]:
    dataset = run_dataset(folder)
    with loaded(folder) as (language_model, _):
        yield from answer_by_model(shop_of(dataset), asked, ways, language_model, dataset.kinds)


def _shop(run: str) -> Shop:
    return shop_of(run_dataset(get_trained_run(run)))


def _asked(shown: Shown | None, number: int) -> CustomerQuestion:
    if shown is None or not 0 <= number < len(shown.answered):
        raise QuestionError("The questions have changed meanwhile; pick one again.")
    return shown.answered[number].asked


def _where(shown: Shown | None, number: int, edit: Edit, run: str) -> str:
    """Where a question is answered so that does not say by itself which product it is about."""
    if about_asked(_shop(run), _asked(shown, number)).put_right:
        return ""
    return f" where the product is known to be {edit.title}" if edit.title else " where no product is given"


def _how_far(done: int, total: int) -> Markup:
    return progress_bar(done, total) + html('<p class="small">{} of {} answered</p>', f"{done:,}", f"{total:,}")


def _stopped(answered: Sequence[Answered], questions: Sequence[CustomerQuestion]) -> str:
    return f"Stopped: {len(answered):,} of {count(len(questions), 'question')} were answered."
