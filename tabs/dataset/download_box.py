"""Taking a dataset along: a file of it, made when it is asked for, or a push to the Hub.

A token that is typed goes to the Hub and nowhere else; its box is emptied as soon as the button is pressed.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.dataset.card import LICENSES, dataset_card
from pipeline.dataset.export import EXPORT, Form, export_dataset, file_stem, write_lines
from pipeline.dataset.store import Dataset
from pipeline.errors import HubError
from pipeline.files import whole_file
from pipeline.machine import on_space
from tabs.dataset.rows_view import Filters, dataset_named, filtered_rows
from tabs.server.gradio_internals import served
from tabs.ui.events import Update, on, open_to_all
from tabs.ui.text import html

FILES: dict[Form, str] = {"json": "JSON", "jsonl": "JSON lines", "parquet": "Parquet"}
SAVE = """(file) => { if (!file) return; const link = document.createElement('a');
  link.href = file.url; link.download = file.orig_name; link.click(); }"""
"""Saves a file that has just been made, as a click on a link to it would."""


def export_rows(dataset: Dataset, filters: Filters) -> Path:
    """Write the rows that pass as JSON lines, with their status and reason."""
    path = dataset.folder / EXPORT / f"{file_stem(dataset)}-filtered.jsonl"
    with whole_file(path) as aside:
        write_lines(aside, filtered_rows(dataset, filters))
    return path


def pushing_token(typed: str) -> str:
    """The token to push with. On a Space it is the visitor's own, never the server's.

    Raises:
        HubError: on a Space, none was typed.
    """
    if on_space() and not typed.strip():
        raise HubError(
            "Type a token of your own with write access: what this Space holds is not used for its visitors."
        )
    return typed.strip()


def token_box(name: str) -> gr.Textbox:
    """The box for the token to push with."""
    held = not on_space() and bool(os.environ.get("HF_TOKEN"))
    return gr.Textbox(
        label="Token with write access", type="password", elem_id=name,
        info="Used for this push only and kept in no file.", placeholder="taken from HF_TOKEN" if held else "hf_…",
    )  # fmt: skip


def pushed_notice(address: str, private: bool) -> Markup:
    """What to say of a push that went well, with a link to what was pushed."""
    return html(
        '<div class="notice done" role="status">✔ Pushed {}: '
        '<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a></div>',
        "privately" if private else "for everybody to see",
        address=address,
    )


class PublishBox:
    """Downloads, and the form for a push."""

    def __init__(self) -> None:
        gr.HTML(
            "<p><b>JSON</b> has the training rows as one text each (<code>Context: … Instruction: … Response: …</code>). "
            "<b>JSON lines</b> and <b>Parquet</b> have the held-out rows too, in columns.</p>"
        )
        with gr.Row():
            self.files: dict[Form, gr.Button] = {
                form: gr.Button(
                    f"Download {words}", elem_id="download-dataset" if form == "json" else f"download-{form}"
                )
                for form, words in FILES.items()
            }
            self.filtered = gr.Button("Download the filtered rows", elem_id="download-filtered")
        self.ready = gr.File(visible="hidden", show_label=False)
        self.said = gr.HTML(elem_id="publish-said", elem_classes="news")
        with gr.Accordion("Push to the Hugging Face Hub", open=False, elem_id="push"):
            self._build_push()

    def _build_push(self) -> None:
        with gr.Row():
            self.repo = gr.Textbox(
                label="Name on the Hub", placeholder="user/name", info="A new one is made.", elem_id="push-repo"
            )
            self.license = gr.Dropdown(
                list(LICENSES), value=None, label="License of the catalogue's words", elem_id="push-license",
                info="What its publisher says. Only you can know.",
            )  # fmt: skip
        with gr.Row():
            self.source = gr.Textbox(
                label="Where the catalogue comes from", placeholder="https://…", info="A link for the card, if you like.",
                elem_id="push-source",
            )  # fmt: skip
            self.token = token_box("push-token")
        self.private = gr.Checkbox(True, label="Private: only you can see it", elem_id="push-private")
        with gr.Accordion("The card that goes with it", open=False, elem_id="card-panel"):
            self.card = gr.Textbox(
                show_label=False,
                label="The dataset's card",
                lines=14,
                max_lines=14,
                interactive=False,
                elem_id="push-card",
            )
            self.card_problem = gr.HTML(elem_id="card-problem", elem_classes="news")
        self.push = gr.Button("Push to the Hub", elem_id="push-now")
        self.pushed = gr.HTML(elem_id="pushed", elem_classes="news")

    def wire(self, name: gr.State, filters: list[Any]) -> None:
        """Args:
        name: the dataset's.
        filters: of the table, in the order of `Filters`.
        """
        for form, button in self.files.items():
            self._wire_file(button, partial(self._make, form), [name])
        self._wire_file(self.filtered, self._make_filtered, [name, *filters])
        described = [self.license.input, self.source.blur, name.change]
        on(
            described, self.preview, [name, self.license, self.source], self.card,
            problem=self.card_problem, picked=True,
        )  # fmt: skip
        typed = [name, self.repo, self.license, self.token, self.private, self.source]
        on(
            self.push.click, self.send, typed, [self.push, self.token], problem=self.pushed, progress_on=self.pushed
        )  # fmt: skip

    def _wire_file(self, button: gr.Button, make: Any, inputs: list[Any]) -> None:
        made = on(button.click, make, inputs, self.ready, problem=self.said, progress_on=button)
        saved = on(made.then, None, self.ready, js=SAVE)
        on(saved.then, lambda: None, None, self.ready)

    def _make(self, form: Form, name: str) -> Update:
        return {self.ready: served(export_dataset(dataset_named(name), form))}

    def _make_filtered(self, name: str, *filters: str) -> Update:
        return {self.ready: served(export_rows(dataset_named(name), Filters(*(value or "" for value in filters))))}

    @open_to_all
    def preview(self, name: str, license: str | None, source: str) -> Update:
        if not name or not license:
            return {self.card: "Choose a license to see the card."}
        return {self.card: dataset_card(dataset_named(name), license, source_url=source.strip())}

    def send(
        self, name: str, repo: str, license: str | None, token: str, private: bool, source: str
    ) -> Iterator[Update]:
        from pipeline.publishing.hub import push_dataset  # the Hub's client takes half a second

        yield {self.token: "", self.push: gr.Button("Pushing …", interactive=False)}
        again = {self.push: gr.Button("Push to the Hub", interactive=True)}
        try:
            address = push_dataset(
                dataset_named(name), repo.strip(), license=license or "", token=pushing_token(token), private=private,
                source_url=source.strip(),
            )  # fmt: skip
        except Exception:
            yield again
            raise
        yield again | {self.pushed: pushed_notice(address, private)}
