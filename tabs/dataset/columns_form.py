"""The form in which a person says which columns of a file are title and description."""

from typing import Any

import gradio as gr

from pipeline.catalogue import uploads
from pipeline.catalogue.catalogue import fields_of
from pipeline.catalogue.columns import Columns
from tabs.dataset.catalogue_view import SAMPLE_COLUMNS, samples_table, short
from tabs.ui.events import Update, open_to_all
from tabs.ui.text import html

NO_ID = ""


class MappingForm:
    """The widgets. `name` is the catalogue that it asks about, `chosen` the widgets whose values `columns` takes."""

    def __init__(self) -> None:
        self.name = gr.State("")
        with gr.Column(visible=False, elem_id="columns-form", variant="panel") as self.box:
            self.about = gr.HTML()
            with gr.Row():
                self.title = gr.Dropdown([], label="Title", elem_id="columns-title", min_width=140)
                self.contents = gr.Dropdown(
                    [], multiselect=True, label="Description", info="Several follow one another.",
                    elem_id="columns-contents", min_width=180, scale=2,
                )  # fmt: skip
                self.uid = gr.Dropdown([], label="Id", elem_id="columns-uid", min_width=140)
            self.samples = gr.HTML(elem_id="columns-samples")
            with gr.Row():
                self.use = gr.Button("Use these columns", variant="primary", elem_id="columns-use", min_width=160)
                self.cancel = gr.Button("Cancel", elem_id="columns-cancel", min_width=100)
        self.chosen = [self.title, self.contents, self.uid]
        self.outputs = [self.name, self.box, self.about, *self.chosen, self.samples]

    def ask_columns(self, name: str) -> Update:
        """Show the form for a catalogue, with what is known of its columns."""
        path = uploads.catalogue_path(name)
        fields, known = fields_of(path), uploads.columns_in_use(name)
        choices: list[Any] = [(short(field, 60), field) for field in fields]
        why = "" if known else " Their names don't tell."
        return {
            self.name: name,
            self.box: gr.Column(visible=True),
            self.about: html(
                "<h3>Which columns of {} hold the products?</h3><p class='small'>"
                "A title and a description are needed.{} Below is what the first rows hold.</p>",
                path.name,
                why,
            ),
            self.title: gr.Dropdown(choices=choices, value=known.title if known else None),
            self.contents: gr.Dropdown(
                choices=choices, value=[c for c in known.content if c in fields] if known else []
            ),
            self.uid: gr.Dropdown(
                choices=[("row number", NO_ID), *choices], value=(known.uid if known else None) or NO_ID
            ),
            self.samples: samples_table(fields, uploads.samples_of(path) if fields[:SAMPLE_COLUMNS] else []),
        }

    def columns(self, name: str, title: str | None, contents: list[str] | None, uid: str | None) -> Columns:
        return uploads.columns_chosen(uploads.catalogue_path(name), title, contents or [], uid)

    @open_to_all
    def close(self) -> Update:
        return {self.box: gr.Column(visible=False)}
