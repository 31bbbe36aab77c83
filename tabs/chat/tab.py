"""Tab 3: one question to two sides; and the questions before and after."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.answering.answers import MAX_NEW_TOKENS
from pipeline.answering.lookup import Shelf, plain_text
from pipeline.errors import PatternError
from pipeline.facts.extraction import pattern_for
from pipeline.facts.patterns import ANSWER_PATTERNS
from pipeline.facts.phrasings import kind_label
from pipeline.prompts import GENERAL, NO_FACT, REFUSAL, UNKNOWN
from pipeline.runs.folder import SETTINGS, run_dataset
from pipeline.runs.view import before_after, find_run, get_trained_run, trained_runs, view_run
from tabs.chat.asking import ALIKE, all_questions, answering, ask, compare, example_questions, vote, votes
from tabs.chat.cards import BASE, OTHER, RECORD, TUNED, Exchange, exchange_card
from tabs.chat.comparison_panel import ComparePanel
from tabs.server.answering_model import MODEL, get_ready
from tabs.ui.events import PICKED, QUIET, Update, for_callers, go_to, guarded, open_in_measure, open_to_all
from tabs.ui.text import count, notice
from tabs.ui.watcher import Refresh

RECOGNISED = ""
"""Value of “about” that leaves it to the question's own words."""

KEPT_QUESTIONS = 20
"""Questions that stay listed."""


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
            self.panel = ComparePanel(self.problem)
            gr.HTML("<h2>Ask</h2>")
            self._build_question()
            self._build_answers()
            self.panel.build_questions(self.run)
        self._wire(tabs)

    def _build_question(self) -> None:
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
                elem_id="about-product",
            )
            self.find = gr.Dropdown(
                [],
                label="Find a question",
                info="Every fact and some unknown products; type a few letters of a title or a kind.",
                min_width=220,
                elem_id="find",
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
            with gr.Row():
                self.against = gr.Dropdown(
                    [("Base (adapter off)", BASE)],
                    value=BASE,
                    label="The other side",
                    info="The base, or another run that was trained on it.",
                    filterable=False,
                    min_width=220,
                    elem_id="against",
                )
                self.temperature = gr.Slider(
                    0, 1.5, 0, step=0.1, label="Temperature", info="0 says the likeliest; above, tokens are drawn."
                )
                self.length = gr.Slider(
                    8, 256, MAX_NEW_TOKENS, step=8, label="Longest answer", info="In tokens; about ¾ of a word each."
                )
            with gr.Row():
                self.record = gr.Checkbox(
                    False,
                    label="Also ask the base with the record in its prompt",
                    info="What one would do instead of fine-tuning: the model reads the answer, it need not know it.",
                    elem_id="with-record",
                )
                self.blind = gr.Checkbox(
                    False,
                    label="Hide which side is which until I have voted",
                    info="Two answers in random order, without names and verdicts. Votes are counted for the run.",
                    elem_id="blind",
                )
        self.examples = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[["…"]],
            label="Examples, in words that training never used",
            type="values",
        )

    def _build_answers(self) -> None:
        self.now = gr.HTML(elem_id="answers", elem_classes="news")
        with gr.Row(visible=False, elem_id="voting") as self.voting:
            self.better = {
                place: gr.Button(words, size="sm", min_width=120)
                for place, words in ((0, "A is better"), (-1, "Both alike"), (1, "B is better"))
            }
        self.score = gr.HTML(elem_id="score", elem_classes="news")
        with gr.Accordion("How the answer was found", open=False, visible=False, elem_id="pattern-panel") as self.how:
            with gr.Row():
                self.kind = gr.Dropdown(
                    kind_choices(),
                    label="The question asks for",
                    info="Recognised in its words; it chooses the pattern and what the catalogue says.",
                    min_width=220,
                    elem_id="kind",
                )
                self.pattern = gr.Textbox(
                    label="Your own pattern (regular expression)",
                    placeholder=r"(?P<value>\d+) pieces",
                    info="Tried as you type: its group “value”, else its whole match, is the answer. Empty: the built-in one.",
                    min_width=300,
                    scale=2,
                    elem_id="own-pattern",
                )
            self.finds = gr.HTML(elem_id="finds", elem_classes="news")
            self.built_in = gr.Textbox(
                label="The built-in pattern", lines=3, max_lines=6, interactive=False, elem_id="built-in-pattern"
            )
        with gr.Accordion("Asked before", open=False, visible=False) as self.earlier:
            self.list = gr.HTML(elem_id="asked-before")
            self.clear = gr.Button("Clear the list", size="sm", elem_id="clear-asked")
        self.past = gr.State([])
        self.shown = gr.State(None)
        self.newest = gr.State("")

    def _wire(self, tabs: gr.Tabs) -> None:
        one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": MODEL}
        buttons = [self.ask, self.stop]
        options = [self.record, self.blind, self.temperature, self.length]
        answers = [self.now, self.shown, self.voting, self.score, self.how, self.kind, self.finds, self.built_in]
        listed = [self.past, self.earlier, self.list]
        asked = gr.on(
            [self.ask.click, self.question.submit],
            guarded(self.problem, self.ask_both),
            [self.question, self.about, self.run, self.against, self.past, self.pattern, *options],
            [self.problem, *answers, *listed, *buttons],
            # The place in the line for the model and the expected wait, where the answers will be.
            show_progress="minimal",
            show_progress_on=self.now,
            api_visibility="private",
            **one,
        )
        # Once the browser knows that the answer is whole, not with its last words: till then it sends no other question.
        done = open_to_all(lambda: (gr.Button(visible=True), gr.Button(visible=False)))
        asked.then(done, None, buttons, queue=False, **QUIET)
        self.stop.click(self.stop_answering, None, None, queue=False, **QUIET)
        for place, button in self.better.items():
            button.click(
                guarded(self.problem, open_in_measure(lambda exchange, place=place: self.count_vote(exchange, place))),
                self.shown,
                [self.problem, *answers],
                **QUIET,
            )
        gr.on(
            [self.pattern.input, self.pattern.blur, self.kind.input],
            guarded(self.problem, self.try_pattern),
            [self.shown, self.kind, self.pattern],
            [self.problem, *answers],
            **PICKED,
        )
        cleared = open_to_all(lambda: ([], gr.Accordion(visible=False), ""))
        self.clear.click(cleared, None, listed, queue=False, **QUIET)
        place = [self.question, self.about]
        self.examples.click(open_to_all(lambda sample: (sample[0], RECOGNISED)), self.examples, place, **QUIET)
        found = open_to_all(lambda found: json.loads(found) if found else (gr.skip(), gr.skip()))
        self.find.input(found, self.find, place, **PICKED)
        # In the browser, which knows what stands in the box now: an answer of the server may come after the first typing.
        self.suggested.change(
            None, [self.question, self.suggested], self.question, js="(typed, suggested) => typed || suggested"
        )
        self.outputs = [
            self.problem,
            self.missing,
            self.why,
            self.ready,
            self.run,
            self.against,
            self.about,
            self.find,
            self.suggested,
            self.examples,
            self.newest,
            self.score,
            *self.panel.outputs,
        ]
        self.state = [self.run, self.newest, self.against, self.panel.seen]
        gr.on(
            [self.run.input, self.against.input],
            guarded(self.problem, self.refresh),
            self.state,
            self.outputs,
            **PICKED,
        )
        go_to(self.to_training, tabs, "training")
        gr.api(for_callers(ask), api_name="ask", **one)
        gr.api(for_callers(compare), api_name="compare", **one)

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
        gr.on(triggers, guarded(self.problem, self.refresh, clears=False), self.state, self.outputs, **QUIET)

    def refreshes(self) -> list[Refresh]:
        """Notice the first run that can be asked, and what becomes of the questions before and after."""
        return [Refresh(self.notice_first, self.state, self.outputs), *self.panel.refreshes()]

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
        folder, stamp = self.shown_run(runs, run, newest), (runs[0] / SETTINGS).stat().st_mtime
        others = [other for other in runs if other != folder and base_of(other) == base_of(folder)]
        against = next((other.name for other in others if other.name == against), BASE)
        dataset = run_dataset(folder)
        held_out = dataset.held_out()
        examples = example_questions(held_out)
        titles = [(title, title) for title in Shelf(dataset.manifest).products]
        return {
            self.missing: gr.Column(visible=False),
            self.ready: gr.Column(visible=True),
            self.run: gr.Dropdown(choices=[(run_words(f), f.name) for f in runs], value=folder.name),
            self.against: gr.Dropdown(
                choices=[("Base (adapter off)", BASE), *((run_words(f), f.name) for f in others)], value=against
            ),
            self.about: gr.Dropdown(choices=[("recognised in the question", RECOGNISED), *titles]),
            self.find: gr.Dropdown(choices=all_questions(held_out), value=None),
            self.suggested: next(iter(examples), ""),
            self.examples: gr.Dataset(samples=[[example] for example in examples]),
            self.newest: str(stamp),
            self.score: score_words(folder, against),
            # What has not changed stays as it is: a filter, a question that is being written, a comparison that is on.
            **(self.panel.show(folder) if self.panel.state_of(folder) != seen else {}),
        }

    def shown_run(self, runs: list[Path], run: str | None, newest: str) -> Path:
        """The chosen run, or the newest one where the page does not know that yet: by its time, as its name may change."""
        known = bool(newest) and (runs[0] / SETTINGS).stat().st_mtime <= float(newest)
        return next((folder for folder in runs if folder.name == run and known), runs[0])

    def why_not(self) -> str:
        view = view_run()
        if view and view.status.state == "running":
            return notice("The model is still training. When it has finished, you can ask it here.", "hint")
        return notice("There is no trained model yet. The second tab trains it; then you can ask it here.", "hint")

    @open_in_measure
    def ask_both(
        self,
        question: str,
        about: str | None,
        run: str,
        against: str,
        past: list[str],
        pattern: str | None,
        record: bool,
        blind: bool,
        temperature: float,
        length: float,
        request: gr.Request,
    ) -> Iterator[Update]:
        self.stopped.discard(request.session_hash)
        folder = get_trained_run(run)
        other = get_trained_run(against) if against != BASE else None
        shelf = Shelf(run_dataset(folder).manifest)
        asked = shelf.ask(question, about)
        sides = [OTHER if other else BASE, TUNED]
        if blind:
            random.shuffle(sides)
        elif record:
            sides.append(RECORD)
        exchange = Exchange(asked, dict.fromkeys(sides), folder.name, other.name if other else "", is_blind=blind)
        waiting = notice("Loading the model: a few seconds the first time …", "hint")
        yield {
            self.now: waiting,
            self.voting: gr.Row(visible=False),
            self.how: gr.Accordion(visible=False),
            self.ask: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
        }
        warned = ""
        try:
            growing = answering(
                folder,
                asked,
                sides,
                other=other,
                max_new_tokens=int(length),
                temperature=float(temperature),
                stopped=lambda: request.session_hash in self.stopped,
            )
            with closing(growing):
                for warnings, raws in growing:
                    warned = "".join(notice(warning) for warning in warnings)
                    exchange = replace(exchange, raws=raws)
                    yield {self.now: warned + exchange_card(exchange)}
        except Exception:
            yield {self.now: ""}
            raise
        stopped = request.session_hash in self.stopped
        exchange = replace(exchange, is_whole=not stopped, is_stopped=stopped, is_blind=blind and not stopped)
        found = self.show_answers(exchange, pattern)
        kept = [exchange_card(replace(exchange, is_blind=False)), *past][:KEPT_QUESTIONS]
        yield {
            **found,
            self.kind: gr.Dropdown(choices=kind_choices(shelf.other_kinds), value=found[self.kind]),
            self.now: warned + found[self.now],
            self.past: kept,
            self.earlier: gr.Accordion(f"Asked before ({len(past)})", visible=bool(past)),
            self.list: "".join(kept[1:]),
        }

    @open_to_all
    def stop_answering(self, request: gr.Request) -> None:
        self.stopped.add(request.session_hash)

    def show_answers(self, exchange: Exchange, pattern: str | None) -> Update:
        """Whole answers with what their pattern finds; a pattern that cannot be used is said and left out."""
        said = ""
        try:
            exchange = replace(exchange, pattern=plain_text(pattern or ""))
            card = exchange_card(exchange)
            if exchange.pattern.strip():
                found = [exchange.found(side).answer for side in exchange.raws]
                said = notice(f"Your pattern finds {count(sum(map(bool, found)), 'answer')} of {len(found)}.", "hint")
        except PatternError as error:
            exchange = replace(exchange, pattern="")
            card, said = exchange_card(exchange), notice(str(error))
        kind = exchange.asked.kind
        return {
            self.now: card,
            self.shown: exchange,
            self.voting: gr.Row(visible=exchange.is_blind),
            self.score: score_words(find_run(exchange.run), exchange.other or BASE),
            self.how: gr.Accordion(visible=not exchange.is_blind),
            self.kind: None if kind == GENERAL else kind,
            self.finds: said,
            self.built_in: pattern_for(kind).pattern,
        }

    @open_to_all
    def try_pattern(self, exchange: Exchange | None, kind: str | None, pattern: str | None) -> Update:
        """The answers on the page, found with another pattern or as an answer to another kind of question."""
        if exchange is None:
            return {}
        asked = exchange.asked
        if kind and kind != asked.kind:
            values = Shelf(run_dataset(get_trained_run(exchange.run)).manifest).values
            expected = REFUSAL if kind in NO_FACT else values.get((asked.title, kind))
            asked = replace(asked, kind=kind, expected=expected)
        return self.show_answers(replace(exchange, asked=asked), pattern)

    def count_vote(self, exchange: Exchange | None, place: int) -> Update:
        if exchange is None or not exchange.is_blind:
            return {}
        if folder := find_run(exchange.run):  # else it is gone, and who said what is shown all the same
            vote(folder, exchange, ALIKE if place < 0 else list(exchange.raws)[place])
        return self.show_answers(replace(exchange, is_blind=False), exchange.pattern)


def kind_choices(others: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The kinds that a question may ask for: the project's own, those that only the dataset has, and an unknown product's."""
    return [(kind_label(kind), kind) for kind in [*ANSWER_PATTERNS, *others, UNKNOWN]]


def base_of(folder: Path) -> str:
    view = view_run(folder.name)
    return view.settings.base_model if view else ""


def score_words(folder: Path | None, against: str) -> str:
    """The blind votes so far, as HTML; empty when there is none."""
    counted = votes(folder, against) if folder else {}
    if not sum(counted.values()):
        return ""
    names = {OTHER: f"run {against}", BASE: "base", TUNED: "tuned", ALIKE: "alike"}
    told = " · ".join(f"{names[side]} {number}" for side, number in counted.items())
    return notice(f"Blind votes so far: {told}", "hint")


def run_words(folder: Path) -> str:
    """A run in the list of runs: its name, its preset, and how it did where that is known."""
    view = view_run(folder.name)
    did = before_after(folder)
    return " · ".join([folder.name, view.settings.preset if view else "?", *([did] if did != "–" else [])])
