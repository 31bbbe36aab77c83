"""The accordion by which the chosen run answers from a newer catalogue than it was taught, and goes back."""

from collections.abc import Iterator

import gradio as gr
from markupsafe import Markup

from pipeline.answering.renewed import Source, as_it_was, renew, source_of
from pipeline.answering.shop import missing_catalogue
from pipeline.catalogue import reading
from pipeline.catalogue.reading import PATIENCE, Reading
from pipeline.catalogue.uploads import catalogue_choices
from pipeline.dataset.store import Dataset
from pipeline.errors import CatalogueError
from pipeline.runs.folder import run_dataset
from pipeline.runs.view import get_trained_run
from tabs.ui.events import Update, on
from tabs.ui.text import html, notice, progress_bar


class NewerBox:
    """The widgets of the choice.

    Attributes:
        lost: where it is said that the catalogue is not at hand.
        outputs: what `show` may change.
    """

    def __init__(self, lost: gr.HTML) -> None:
        self.lost = lost
        with gr.Accordion("Answer from a newer catalogue", open=False, elem_id="newer"):
            gr.HTML("<p>Prices and stock of today, at once and without training: here, and wherever it is served.</p>")
            self.state = gr.HTML(elem_id="newer-state")
            with gr.Row(equal_height=True):
                self.catalogue = gr.Dropdown(
                    catalogue_choices(), value=None, label="Catalogue", info="Those of the first tab.", filterable=False,
                    scale=3, min_width=220, elem_id="newer-catalogue",
                )  # fmt: skip
                self.use = gr.Button("Answer from it", scale=1, min_width=140, elem_id="newer-use")
                self.back = gr.Button(
                    "Back to the taught one", scale=1, min_width=140, visible=False, elem_id="newer-back"
                )
            self.said = gr.HTML(elem_id="newer-said", elem_classes="news")
        self.outputs = [lost, self.state, self.catalogue, self.back]

    def wire(self, run: gr.Dropdown) -> None:
        """Args:
        run: the chosen run's name.
        """
        on(self.use.click, self.renew, [run, self.catalogue], self.outputs, problem=self.said)
        on(self.back.click, self.go_back, run, self.outputs, problem=self.said)

    def renew(self, run: str, name: str | None) -> Iterator[Update]:
        if name is None:
            raise CatalogueError("No catalogue is chosen; choose one, or upload it in the first tab.")
        folder, begun = get_trained_run(run), reading.follow(name)
        while (catalogue := begun.wait(PATIENCE)) is None:
            yield {self.said: _how_far(begun)}
        said = renew(folder, catalogue)
        yield {self.said: notice(said, "done"), **self.show(run_dataset(folder))}

    def go_back(self, run: str) -> Update:
        folder = get_trained_run(run)
        as_it_was(folder)
        return self.show(run_dataset(folder))

    def show(self, dataset: Dataset) -> Update:
        """Which catalogue a run answers from, and which others there are."""
        source = source_of(dataset)
        return {
            self.lost: notice(missing_catalogue(dataset)),
            self.state: _words(source),
            self.catalogue: gr.Dropdown(choices=catalogue_choices()),
            self.back: gr.Button(visible=bool(source.since)),
        }


def _words(source: Source) -> Markup:
    if not source.since:
        return html("<p data-state='taught'>Answers from <b>{}</b>, which it was taught.</p>", source.name)
    since = source.since[:16].replace("T", " ")
    return html("<p data-state='newer'>Answers from <b>{}</b> since {} UTC.</p>", source.name, since)


def _how_far(begun: Reading) -> Markup:
    return html("{}<span data-state='reading'>It is being read.</span>", progress_bar(begun.done, begun.total))
