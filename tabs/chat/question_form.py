"""The question: its words, what it is about, who answers it, and how."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from pipeline.answering.asker import MAX_NEW_TOKENS
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.ways import AUTO
from pipeline.answering.which_way import LABELS
from pipeline.runs.folder import run_dataset, run_family
from pipeline.runs.view import before_after, view_run
from tabs.chat.asking import all_questions, example_questions
from tabs.chat.cards import BASE, BESIDE, OTHER, TUNED
from tabs.chat.newer_box import NewerBox
from tabs.ui.events import Update, on, open_to_all

RECOGNISED = ""
"""Value of “about” that leaves it to the question's own words."""


@dataclass(frozen=True)
class Query:
    """What the form asks for.

    Attributes:
        about: a product's title, or `RECOGNISED`.
        run: whose adapter is the tuned side.
        against: the run that answers instead of the base, or `BASE`.
        ways: which of `BESIDE` answer, too.
        blind: whether it is hidden which side is which.
        length: tokens of the longest answer.
    """

    question: str
    about: str | None
    run: str
    against: str
    ways: list[str]
    blind: bool
    temperature: float
    length: float

    def sides(self) -> list[str]:
        """Who answers, in the order in which it is shown."""
        sides = [BASE if self.against == BASE else OTHER, TUNED]
        if self.blind:
            random.shuffle(sides)
            return sides
        return sides + [way for way in BESIDE if way in self.ways]


class QuestionForm:
    """The widgets of a question.

    Attributes:
        fields: those whose values are a `Query`, in its order.
        outputs: what `show` may change.
    """

    def __init__(self) -> None:
        with gr.Row(equal_height=True):
            self.question = gr.Textbox(
                label="Question", placeholder="Ask about a product …", scale=5, min_width=260, elem_id="question"
            )
            self.ask = gr.Button("Ask", variant="primary", scale=1, min_width=140, elem_id="ask")
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=140, visible=False, elem_id="stop-answer")
        self.suggested = gr.Textbox(elem_classes="unseen", show_label=False)
        self.ways = gr.CheckboxGroup(
            [(LABELS[way], way) for way in BESIDE],
            value=[AUTO],
            label="Beside base and tuned",
            info="Other ways to answer, which read the catalogue. Auto is the one to give a customer.",
            elem_id="ways",
        )
        self.lost = gr.HTML(elem_id="catalogue-lost", elem_classes="news")
        self._build_choices()
        self.newer = NewerBox(self.lost)
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self._build_advanced()
        self.examples = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[["…"]],
            label="Examples, in words that training never used",
            type="values",
            elem_id="examples",
        )
        self.fields = [
            self.question, self.about, self.run, self.against, self.ways, self.blind, self.temperature, self.length,
        ]  # fmt: skip
        self.outputs = [
            *self.newer.outputs, self.run, self.against, self.about, self.find, self.suggested, self.examples,
        ]  # fmt: skip

    def _build_choices(self) -> None:
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

    def _build_advanced(self) -> None:
        with gr.Row():
            self.against = gr.Dropdown(
                [("Base", BASE)],
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
                8, 256, MAX_NEW_TOKENS, step=8, label="Longest answer", info="In tokens; about ¾ of a word each.",
                elem_id="longest-answer",
            )  # fmt: skip
        with gr.Row():
            self.blind = gr.Checkbox(
                False,
                label="Hide which side is which until I have voted",
                info="Two answers in random order, without names and verdicts. Votes are counted for the run.",
                elem_id="blind",
            )

    def wire(self) -> None:
        """Put examples and questions that were found into the box, and another catalogue behind the run."""
        self.newer.wire(self.run)
        place = [self.question, self.about]
        on(self.examples.click, open_to_all(lambda sample: (sample[0], RECOGNISED)), self.examples, place)
        found = open_to_all(lambda found: json.loads(found) if found else (gr.skip(), gr.skip()))
        on(self.find.input, found, self.find, place, picked=True)
        # In the browser, which knows what stands in the box now: an answer of the server may come after the first typing.
        keep = "(typed, suggested) => typed || suggested"
        on(self.suggested.change, None, [self.question, self.suggested], self.question, js=keep)

    def show(self, runs: list[Path], folder: Path, against: str) -> Update:
        """What can be asked of a run, and beside which others of `runs`.

        Args:
            against: the other side (see `other_side`).
        """
        dataset = run_dataset(folder)
        held_out = dataset.held_out()
        examples = example_questions(held_out)
        titles = [(title, title) for title in TaughtProducts(dataset.manifest).products]
        base = f"Base ({run_family(folder).answers_by[BASE]})"
        beside = [(base, BASE), *((run_words(f), f.name) for f in others_of(runs, folder))]
        return {
            **self.newer.show(dataset),
            self.run: gr.Dropdown(choices=[(run_words(f), f.name) for f in runs], value=folder.name),
            self.against: gr.Dropdown(choices=beside, value=against),
            self.about: gr.Dropdown(choices=[("recognised in the question", RECOGNISED), *titles]),
            self.find: gr.Dropdown(choices=all_questions(held_out), value=None),
            self.suggested: next(iter(examples), ""),
            self.examples: gr.Dataset(samples=[[example] for example in examples]),
        }

    def busy(self, on: bool) -> Update:
        """The button that stops the answers in the place of the one that asks, and back."""
        return {self.ask: gr.Button(visible=not on), self.stop: gr.Button(visible=on)}


def others_of(runs: list[Path], folder: Path) -> list[Path]:
    """The runs that can answer beside a run: those that were trained on its base."""
    return [other for other in runs if other != folder and base_of(other) == base_of(folder)]


def other_side(runs: list[Path], folder: Path, wanted: str) -> str:
    """The run that answers instead of the base, or `BASE` where the one that is wanted cannot."""
    return wanted if wanted in [other.name for other in others_of(runs, folder)] else BASE


def base_of(folder: Path) -> str:
    view = view_run(folder.name)
    return view.settings.base_model if view else ""


def run_words(folder: Path) -> str:
    """A run in the list of runs: its name, its preset, and how it did where that is known."""
    view = view_run(folder.name)
    did = before_after(folder)
    return " · ".join([folder.name, view.settings.preset if view else "?", *([did] if did != "–" else [])])
