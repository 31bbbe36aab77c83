"""The answers to the question, the vote between them, how they were found, and those to earlier questions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from pipeline.answering.lookup import TaughtProducts, plain_text
from pipeline.errors import PatternError
from pipeline.facts.extraction import pattern_for
from pipeline.facts.patterns import SHAPED
from pipeline.facts.phrasings import kind_label
from pipeline.prompts import GENERAL, NO_FACT, REFUSAL, UNKNOWN
from pipeline.runs.folder import run_dataset
from pipeline.runs.view import find_run, get_trained_run
from tabs.chat.asked_before import KEPT_QUESTIONS, asked_in, forget, new_word
from tabs.chat.asking import ALIKE, vote, votes
from tabs.chat.cards import BASE, OTHER, TUNED, Exchange, exchange_card, needs_model
from tabs.ui.events import Update, on, open_in_measure, open_to_all
from tabs.ui.text import count, html, html_of, notice

"""Questions that stay listed."""


class AnswersBox:
    """The widgets of the answers.

    Attributes:
        outputs: what `show` may change.
        listed: what is kept of earlier questions, and shown of them.
    """

    def __init__(self) -> None:
        self.now = gr.HTML(elem_id="answers", elem_classes="news")
        with gr.Row(visible=False, elem_id="voting") as self.voting:
            self.better = {
                place: gr.Button(words, size="sm", min_width=120, elem_id=name)
                for place, words, name in (
                    (0, "A is better", "better-a"),
                    (-1, "Both alike", "better-none"),
                    (1, "B is better", "better-b"),
                )
            }
        self.score = gr.HTML(elem_id="score", elem_classes="news")
        with gr.Accordion("How the answer was found", open=False, visible=False, elem_id="pattern-panel") as self.how:
            self._build_pattern()
        with gr.Accordion("Asked before", open=False, visible=False, elem_id="earlier") as self.earlier:
            self.list = gr.HTML(elem_id="asked-before")
            self.clear = gr.Button("Clear the list", size="sm", elem_id="clear-asked")
        self.past = gr.State([])
        self.browser = gr.BrowserState("", storage_key="shelftalk-asked", render=False)
        self.shown = gr.State(None)
        self.outputs = [
            self.now, self.shown, self.voting, self.score, self.how, self.kind, self.finds, self.built_in,
        ]  # fmt: skip
        self.listed = [self.past, self.earlier, self.list]

    def _build_pattern(self) -> None:
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

    def wire(self, problem: gr.HTML) -> None:
        """Args:
        problem: where sentences about problems go.
        """
        for place, button in self.better.items():
            voted = open_in_measure(lambda exchange, place=place: self.count_vote(exchange, place))
            on(button.click, voted, self.shown, self.outputs, problem=problem)
        typed = [self.pattern.input, self.pattern.blur, self.kind.input]
        tried = [self.shown, self.kind, self.pattern]
        on(typed, self.try_pattern, tried, self.outputs, problem=self.finds, picked=True)
        on(self.clear.click, self.clear_past, [self.browser], self.listed, queue=False)

    @open_to_all
    def clear_past(self, browser: str) -> Update:
        """Forget what was asked; the answers on the page stay."""
        forget(browser)
        return {self.past: [], self.earlier: gr.Accordion(visible=False), self.list: ""}

    @open_to_all
    def come_back(self, browser: str) -> Update:
        """What was asked in this browser before its page was loaded; a browser that is new gets its word."""
        exchanges = asked_in(browser)
        if not exchanges:
            return {} if browser else {self.browser: new_word()}
        last, *earlier = exchanges
        last = replace(
            last, is_blind=False, is_stopped=not last.is_whole
        )  # one that was voted on is not to be voted on again
        cards = [exchange_card(replace(one, is_blind=False)) for one in earlier]
        kinds = TaughtProducts(run_dataset(folder).manifest).other_kinds if (folder := find_run(last.run)) else ()
        return self.show_new(last, last.pattern, cards, Markup(), kinds)

    def wait(self) -> Update:
        """Nothing has been said yet."""
        return {
            self.now: notice("Loading the model: a few seconds the first time …", "hint"),
            self.voting: gr.Row(visible=False),
            self.how: gr.Accordion(visible=False),
        }

    def show(self, exchange: Exchange, pattern: str | None) -> Update:
        """Whole answers with what their pattern finds; a pattern that cannot be used is said and left out."""
        said = Markup()
        try:
            exchange = replace(exchange, pattern=plain_text(pattern or ""))
            card = exchange_card(exchange)
            if exchange.pattern.strip():
                found = [exchange.found(side).answer for side in exchange.raws if needs_model(side)]
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

    def show_new(
        self, exchange: Exchange, pattern: str | None, past: list[Markup], warned: Markup, kinds: Sequence[str]
    ) -> Update:
        """The answers to a question that was just asked; those before it move into the list.

        Args:
            past: the cards of those before, the newest first.
            warned: what there is to be said before the answers.
            kinds: those that only this dataset has.
        """
        found = self.show(exchange, pattern)
        kept = [exchange_card(replace(exchange, is_blind=False)), *past][:KEPT_QUESTIONS]
        return {
            **found,
            self.kind: gr.Dropdown(choices=kind_choices(kinds), value=found[self.kind]),
            self.now: warned + found[self.now],
            self.past: kept,
            self.earlier: gr.Accordion(f"Asked before ({len(past)})", visible=bool(past)),
            self.list: html_of(kept[1:]),
        }

    @open_to_all
    def try_pattern(self, exchange: Exchange | None, kind: str | None, pattern: str | None) -> Update:
        """The answers on the page, found with another pattern or as an answer to another kind of question."""
        if exchange is None:
            return {}
        asked = exchange.asked
        if kind and kind != asked.kind:
            values = TaughtProducts(run_dataset(get_trained_run(exchange.run)).manifest).values
            expected = REFUSAL if kind in NO_FACT else values.get((asked.title, kind))
            asked = replace(asked, kind=kind, expected=expected)
        return self.show(replace(exchange, asked=asked), pattern)

    def count_vote(self, exchange: Exchange | None, place: int) -> Update:
        if exchange is None or not exchange.is_blind:
            return {}
        if folder := find_run(exchange.run):  # else it is gone, and who said what is shown all the same
            vote(folder, exchange, ALIKE if place < 0 else list(exchange.raws)[place])
        return self.show(replace(exchange, is_blind=False), exchange.pattern)


def kind_choices(others: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The kinds that a question may ask for: the project's own, those that only the dataset has, and an unknown product's."""
    return [(kind_label(kind), kind) for kind in [*SHAPED, *others, UNKNOWN]]


def score_words(folder: Path | None, against: str) -> Markup:
    """The blind votes so far, as HTML; empty when there is none."""
    counted = votes(folder, against) if folder else {}
    if not sum(counted.values()):
        return Markup()
    names = {OTHER: f"run {against}", BASE: "base", TUNED: "tuned", ALIKE: "alike"}
    told = (html("<span data-votes-of='{}'>{} {}</span>", side, names[side], n) for side, n in counted.items())
    return notice(html("Blind votes so far: {}", html_of(told, " · ")), "hint")
