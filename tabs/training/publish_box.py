"""Publishing a run's model from the page: made and checked, then downloaded or pushed to the Hub.

A token that is typed goes to the Hub and nowhere else; its box is emptied as soon as the button is pressed.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from markupsafe import Markup

from pipeline.answering.kept_model import make_room
from pipeline.dataset.card import LICENSES
from pipeline.runs.folder import has_adapter
from pipeline.runs.view import get_run
from tabs.dataset.download_box import SAVE, pushed_notice, pushing_token, token_box
from tabs.server.gradio_internals import served
from tabs.ui.events import Update, on
from tabs.ui.text import html, notice, progress_bar

if TYPE_CHECKING:
    from pipeline.publishing.publish import PublishingStep
    from pipeline.publishing.vllm import Commands

FORMS = {
    "The adapter: small, needs its base": "adapter",
    "The merged model: whole, for Transformers or vLLM": "merged",
    "GGUF: for llama.cpp and Ollama, also in 8 bits": "gguf",
}


class PublishModelBox:
    """The accordion “Publish this model”."""

    def __init__(self) -> None:
        with gr.Accordion("Publish this model", open=False, elem_id="publish-model") as self.box:
            gr.HTML(
                "<p>It is made, loaded again, and must answer as the run's own model does; only then is it yours to download "
                "or pushed. A card with its data, settings and figures goes along.</p>"
            )
            self.form = gr.Radio(list(FORMS.items()), value="adapter", label="What to publish", elem_id="model-form")
            with gr.Row():
                self.repo = gr.Textbox(
                    label="Name on the Hub", placeholder="user/name", info="A new one is made.", elem_id="model-repo"
                )
                self.license = gr.Dropdown(
                    list(LICENSES), value=None, label="License of the model", elem_id="model-license",
                    info="Mind the base model's license and the catalogue's.",
                )  # fmt: skip
            with gr.Row():
                self.token = token_box("model-token")
                self.private = gr.Checkbox(True, label="Private: only you can see it", elem_id="model-private")
            with gr.Row():
                self.make = gr.Button("Make and download", elem_id="model-make")
                self.push = gr.Button("Push to the Hub", elem_id="model-push")
            self.said = gr.HTML(elem_id="model-said", elem_classes="news")
            self.ready = gr.File(visible="hidden", show_label=False)

    def show(self, folder: Path) -> Update:
        """The accordion for a run; nothing where it has no adapter."""
        return {self.box: gr.Accordion(visible=has_adapter(folder))}

    def wire(self, name: gr.State) -> None:
        """Args:
        name: of the picked run.
        """
        buttons = [self.make, self.push]
        chosen = [name, self.form, self.license]
        made = on(self.make.click, self.download, chosen, [*buttons, self.ready], problem=self.said)
        saved = on(made.then, None, self.ready, js=SAVE)
        on(saved.then, lambda: None, None, self.ready)
        typed = [name, self.form, self.repo, self.license, self.token, self.private]
        on(self.push.click, self.send, typed, [*buttons, self.token], problem=self.said)

    def download(self, name: str, form: str, license: str | None) -> Iterator[Update]:
        from pipeline.publishing.publish import export_zip

        run = get_run(name)
        yield from self._following(run, form, export_zip(run, form, license=license or "unknown"))
        yield {
            self.ready: served(run / "published" / f"{run.name}-{form}.zip"),
            self.said: notice("Made, loaded again and checked; it is being downloaded.", "done"),
        }

    def send(self, name: str, form: str, repo: str, license: str | None, token: str, private: bool) -> Iterator[Update]:
        from pipeline.publishing.publish import publish_model

        yield {self.token: ""}
        run = get_run(name)
        steps = publish_model(
            run, form, repo.strip(), license=license or "", token=pushing_token(token), private=private
        )
        last = yield from self._following(run, form, steps)
        yield {self.said: pushed_notice(last.address, private) + vllm_words(last.served)}

    def _following(
        self, run: Path, form: str, steps: "Iterator[PublishingStep]"
    ) -> "Generator[Update, None, PublishingStep]":
        """Show each step; the buttons rest meanwhile. Returns the last one."""
        from pipeline.publishing.publish import PublishingStep, fits_beside

        make_room(lambda: fits_beside(run, form))
        resting, ready = (
            {button: gr.Button(interactive=on) for button in (self.make, self.push)} for on in (False, True)
        )
        step = PublishingStep("", 0, 0)
        yield resting
        try:
            for step in steps:
                yield {self.said: html("<p>{} …</p>{}", step.text, progress_bar(step.done, step.total))}
        except Exception:
            yield ready
            raise
        yield ready
        return step


def vllm_words(served: "Commands | None") -> Markup:
    """How vLLM serves what was pushed, or why it does not."""
    if served is None:
        return Markup()
    if served.why_not:
        return html("<p data-vllm='no'>{}</p>", served.why_not)
    job = html("<p>As a Job of the Hub:</p><pre>{}</pre>", served.job) if served.job else ""
    return html("<p>With vLLM:</p><pre data-vllm='yes'>{}</pre>{}", served.vllm, job)
