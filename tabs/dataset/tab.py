"""Tab 1: catalogue → products → Generate → pairs, and exactly what the model will read."""

from typing import Any

import gradio as gr

from pipeline.catalogue.uploads import open_catalogue
from pipeline.dataset.store import MANIFEST, Dataset, latest_dataset, open_dataset
from pipeline.files import datasets_dir
from pipeline.writing import generation
from tabs.dataset.catalogue_box import CatalogueBox
from tabs.dataset.generate_box import TEMPLATES, GenerateBox, generate_dataset, is_made, make_dataset, mark
from tabs.dataset.rows_box import RowsBox
from tabs.ui.events import Update, for_callers, on, open_to_all
from tabs.ui.watcher import Refresh


class DatasetTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.problem = gr.HTML(elem_id="dataset-problem", elem_classes="news")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=360, elem_id="shelf"):
                self.shelf = CatalogueBox()
            with gr.Column(scale=2, min_width=320, elem_id="generating"):
                self.box = GenerateBox()
        self.rows = RowsBox(tabs)
        self._wire()

    def _wire(self) -> None:
        self.shelf.wire(self.problem, self.box.teach)
        self.box.wire(self.problem)
        self.rows.wire(self.problem)
        self.generated = on(
            self.box.generate.click,
            self.make,
            [self.shelf.catalogue, *self.box.settings, *self.box.api],
            [*self.rows.outputs, *self.box.job_outputs],
            problem=self.problem,
            progress_on=self.box.generate,
        )
        gr.api(for_callers(generate_dataset), api_name="generate_dataset")
        both = [*self.shelf.outputs, *self.rows.outputs, *self.box.job_outputs, *self.box.settings]
        self.refresh_outputs = list(dict.fromkeys(both))

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
        inputs = [self.shelf.catalogue, self.shelf.words]
        for trigger in triggers:
            on(trigger, self.refresh, inputs, self.refresh_outputs, problem=self.problem)

    def refreshes(self) -> list[Refresh]:
        """The job, at every tick."""
        outputs = [*self.rows.outputs, *self.box.job_outputs]
        return [Refresh(self.watch, [self.rows.name, self.box.seen], outputs, self.problem)]

    @open_to_all
    def refresh(self, name: str | None, words: str) -> Update:
        """What a fresh page shows: the catalogue, and the dataset that was made last."""
        now = generation.look()
        update = self.shelf.refresh(name, words) | self.box.show(now)
        dataset = latest_dataset()
        shown = self.rows.show(dataset, reused=False) | self.box.fill(dataset) if dataset else self.rows.empty()
        return update | shown | (self.box.fill_job(now) if _is_newer(dataset) else {})

    def make(self, progress: gr.Progress = gr.Progress(), *values: Any) -> Update:  # noqa: B008
        """By templates at once; by an API as a job that goes on by itself."""

        def on_progress(done: int, total: int) -> None:
            progress((done, total), desc="Writing questions", unit="products")

        # Gradio tells progress to the parameter whose default it is, and only before those without a name.
        catalogue, *rest = values
        wanted, writer = self.box.read(rest)
        settings = wanted.settings()
        if settings.generator != TEMPLATES and not is_made(open_catalogue(catalogue), settings):
            return self.box.start(catalogue, settings, writer.settings())
        dataset, known = make_dataset(catalogue, settings, on_progress)
        return self.rows.show(dataset, reused=known)

    @open_to_all
    def watch(self, name: str, seen: Any) -> Update:
        """What the job has come to since this window last looked; nothing while nothing is new."""
        now = generation.look()
        if mark(now) == seen:
            return {}
        update = self.box.show(now)
        if now.state == generation.DONE and now.dataset != name and seen is not None:
            update |= self.rows.show(open_dataset(datasets_dir() / now.dataset), reused=False)
        return update


def _is_newer(dataset: Dataset | None) -> bool:
    """Whether the job that is kept was last told of after the dataset was made: a finished matter sets no widgets."""
    job = generation.job_file()
    if dataset is None or not job.is_file():
        return dataset is None
    return job.stat().st_mtime > (dataset.folder / MANIFEST).stat().st_mtime
