"""The picked row: exactly what the model reads of it, its words to change, and what was said of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from pipeline.dataset.edits import ACCEPT, ACCEPTED, BY_YOU, EDIT, EDITED, REJECT, UNDO, Edit, read_edits
from pipeline.dataset.examples import HELD_OUT, REJECTED
from pipeline.dataset.store import Dataset, change_row
from pipeline.errors import SettingsError
from pipeline.facts.phrasings import kind_label
from pipeline.models.token_counts import LEARNED, TOO_LONG, masked_tokens, row_tokens
from pipeline.prompts import GENERAL
from pipeline.runs.settings import default_base
from tabs.dataset.rows_view import dataset_named, phrasings_of, row_of
from tabs.ui.events import Update, on, open_to_all
from tabs.ui.text import count, html, html_of, notice

EXPECTED = "expected, never trained"

KEPT = (
    "This row teaches nothing new: it keeps what the base model knew before. Training puts the base's own answer here, unless "
    "you write one."
)

DONE = {
    EDIT: "Saved in your words.",
    REJECT: "Rejected.",
    ACCEPT: "It is used now.",
    UNDO: "It is as it was generated.",
}
NEXT = " The next run learns from this; a run that is there keeps its own copy."


def what_the_model_reads(row: dict[str, Any], max_length: int) -> list[tuple[str, str | float | None]]:
    """A row in pieces as `HighlightedText` takes them; what is learned is marked, its end token too."""
    if not row["prompt"]:
        return []
    pieces = masked_tokens(default_base(), row["prompt"], row["response"], max_length)
    never = row["split"] != "train"
    return [(text, EXPECTED if label == LEARNED and never else label) for text, label in pieces]


def tokens_line(row: dict[str, Any], max_length: int) -> str:
    """How long the row is, as HTML."""
    tokens = row_tokens(default_base(), row["prompt"], row["response"]) if row["prompt"] else None
    if tokens is None:
        return ""
    long = len(tokens) > max_length
    learned = sum(token.learned for token in tokens)
    end = "too long, so training leaves it out" if long else f"of which {learned} are the answer with its end"
    line = "<p class='small' data-most='{most}'>{tokens} of {most:,}, {end}.</p>"
    return html(line, tokens=count(len(tokens), "token"), most=max_length, end=end)


def about_row(row: dict[str, Any]) -> str:
    """Which row it is, and why it is not used or in other words than it was generated, as HTML."""
    state = {REJECTED: f"✘ {row['reason']}", EDITED: "edited"}.get(row["status"], "")
    facts = [kind_label(row["kind"]), row["split"] if row["status"] != REJECTED else "", state, f"uid {row['uid']}"]
    told = html("<h3>{}</h3><p class='small'>{}</p>", row["title"], html_of(filter(None, facts), " · "))
    if row["note"]:
        told += html("<p class='small'>{}</p>", row["note"])
    if first := row.get("original"):
        told += html("<p class='small'>As generated: {} → {}</p>", first["question"], first["response"])
    if row["kind"] == GENERAL and row["status"] == ACCEPTED:
        told += html("<p class='small'>{}</p>", KEPT)
    if not row["prompt"]:
        told += html("<p>A fact for which no question was written: {}</p>", row["response"])
    return told


class RowPanel:
    """The panel beside the table. `done` is called after a change, for everything else that follows from it."""

    def __init__(self) -> None:
        self.key = gr.State("")
        with gr.Column(elem_id="picked-row"):
            self.about = gr.HTML(elem_id="row-about")
            self.phrasings = gr.Radio([], label="Phrasings", visible=False, elem_id="phrasings-of")
            self.reads = gr.HighlightedText(
                label="Exactly what the model reads; it learns the marked part",
                color_map={LEARNED: "#ea6a12", EXPECTED: "#8c96a3", TOO_LONG: "#d73027"},
                elem_id="reads",
                show_whitespaces=True,
            )
            self.tokens = gr.HTML(elem_id="row-tokens")
            self.question = gr.Textbox(label="Question", lines=2, max_lines=4, elem_id="row-question")
            self.response = gr.Textbox(label="Answer", lines=2, max_lines=8, elem_id="row-answer")
            with gr.Row():
                self.save = gr.Button("Save", size="md", min_width=80, elem_id="row-save")
                self.reject = gr.Button("Reject", size="md", min_width=80, elem_id="row-reject")
                self.accept = gr.Button("Use it anyway", size="md", min_width=110, visible=False, elem_id="row-accept")
                self.undo = gr.Button("Undo", size="md", min_width=80, visible=False, elem_id="row-undo")
            self.said = gr.HTML(elem_id="row-said", elem_classes="news")
        self.buttons = [self.save, self.reject, self.accept, self.undo]
        self.outputs = [
            self.key, self.about, self.phrasings, self.reads, self.tokens, self.question, self.response, self.said, *self.buttons,
        ]  # fmt: skip

    def show(self, dataset: Dataset, key: str, max_length: float, said: str = "", done: str = "") -> Update:
        """The update that shows a row.

        Args:
            said: a sentence about what was `done` with it.
        """
        row = row_of(dataset, key)
        length, rejected = int(max_length), row["status"] == REJECTED
        yours = row["id"] in read_edits()
        has_question = bool(row["prompt"])
        return self.read(row, length) | {
            self.key: key,
            self.about: about_row(row),
            self.phrasings: self._phrasings(dataset, key),
            self.question: gr.Textbox(value=row["question"], interactive=has_question),
            self.response: gr.Textbox(value=row["response"], interactive=has_question),
            self.save: gr.Button(visible=has_question),
            self.reject: gr.Button(visible=not rejected),
            self.accept: gr.Button(visible=rejected and has_question and row["reason"] != BY_YOU),
            self.undo: gr.Button(visible=yours),
            self.said: notice(said, "done", done),
        }

    def read(self, row: dict[str, Any], max_length: int) -> Update:
        return {self.reads: what_the_model_reads(row, max_length), self.tokens: tokens_line(row, max_length)}

    def _phrasings(self, dataset: Dataset, key: str) -> gr.Radio:
        choices = phrasings_of(dataset, key)
        label = f"Its {count(len(choices), 'phrasing')}"
        return gr.Radio(choices=choices, value=key, label=label, visible=len(choices) > 1)

    @open_to_all
    def pick_phrasing(self, name: str, key: str | None, max_length: float) -> Update:
        return self.show(dataset_named(name), key or "", max_length)

    def clear(self) -> Update:
        nothing: Update = {
            self.about: "",
            self.reads: [],
            self.tokens: "",
            self.question: "",
            self.response: "",
            self.said: "",
        }
        nothing[self.phrasings] = gr.Radio(choices=[], value=None, visible=False)
        return {self.key: "", **nothing} | {button: gr.Button(visible=False) for button in self.buttons}

    def wire(
        self,
        name: gr.State,
        max_length: gr.Slider,
        others: list[Any],
        follow: Callable[..., Update],
        outputs: list[Any],
    ) -> None:
        """Args:
        name: the dataset's.
        others: inputs of `follow`, which gets the changed dataset before them and tells what else changes.
        outputs: what `follow` may change.
        """
        on(
            self.phrasings.input, self.pick_phrasing, [name, self.phrasings, max_length], self.outputs,
            problem=self.said, picked=True,
        )  # fmt: skip
        inputs = [name, self.key, max_length, self.question, self.response, *others]
        for action, button in ((EDIT, self.save), (REJECT, self.reject), (ACCEPT, self.accept), (UNDO, self.undo)):
            change = partial(self._change, action, follow)
            on(button.click, change, inputs, [*self.outputs, *outputs], problem=self.said)

    def _change(
        self, action: str, follow: Callable[..., Update], name: str, key: str, max_length: float, question: str,
        response: str, *others: Any,
    ) -> Update:  # fmt: skip
        if not key:
            raise SettingsError("No row is picked; pick one in the table.")
        dataset = dataset_named(name)
        row = row_of(dataset, key)
        edit = _edit(action, row, question.strip(), response.strip())
        if edit is None:
            return {self.said: notice("Nothing is different: change the words first.", "hint", "same")}
        changed = change_row(dataset, edit)
        said = DONE[edit.action] + (NEXT if row["split"] != HELD_OUT else NEXT.replace("learns from", "is tested with"))
        return self.show(changed, key, max_length, said, edit.action) | follow(changed, *others)


def _edit(action: str, row: dict[str, Any], question: str, response: str) -> Edit | None:
    """What is to be kept; nothing where the words are those that stand. A row's first words again are an undo."""
    if action != EDIT:
        return Edit(row["id"], action)
    if not row["prompt"]:
        raise SettingsError("A rejected fact has no question to change.")
    first = row.get("original", row)
    if (question, response) == (first["question"], first["response"]):
        return Edit(row["id"], UNDO) if row["status"] == EDITED else None
    if (question, response) == (row["question"], row["response"]):
        return None
    return Edit(row["id"], EDIT, question, response)
