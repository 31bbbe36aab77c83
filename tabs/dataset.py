"""Tab 1: catalogue → products → Generate → pairs, and exactly what the model will read."""

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.data import generation
from pipeline.data.dataset import (
    latest_dataset,
    open_dataset,
)
from pipeline.files import datasets_dir
from tabs.catalogues import (
    SAMPLE_NAME,
    catalogue_choices,
    catalogue_line,
    keep_upload,
    marked_record,
    open_catalogue,
    product_cells,
    reasons_line,
    skipped_cells,
)
from tabs.generating import DEFAULTS, TEMPLATES, GenerateBox, generate_dataset, is_made, make_dataset, mark
from tabs.rows import RowsBox
from tabs.shared import PagedTable, Update, escape, for_callers, guarded, picked, reveal


class DatasetTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.problem = gr.HTML(elem_id="dataset-problem", elem_classes="news")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=360):
                self._build_catalogue()
            with gr.Column(scale=2, min_width=320):
                self.box = GenerateBox()
        self.rows = RowsBox(tabs)
        self._wire()

    def _build_catalogue(self) -> None:
        with gr.Row(equal_height=True):
            self.catalogue = gr.Dropdown(
                catalogue_choices(), value=SAMPLE_NAME, label="Catalogue", filterable=False, scale=3, min_width=180
            )
            self.upload = gr.UploadButton(
                "Upload a catalogue …",
                file_types=[".json", ".jsonl", ".csv", ".tsv", ".gz"],
                scale=2,
                min_width=180,
                elem_id="upload",
            )
        self.counts = gr.HTML(elem_id="catalogue-counts", elem_classes="counts")
        with gr.Accordion("Why some are skipped", open=False, visible=False) as self.why:
            self.reasons = gr.HTML(elem_classes="small")
            self.skipped = PagedTable(
                "Skipped rows", ["line", "title", "reason"], ["9%", "50%", "34%"], size=8, name="skipped"
            )
        self.words = gr.Textbox(label="Search titles", placeholder="lamp, book, tent …", elem_id="search-products")
        self.products = PagedTable("Products", ["title", "content"], ["33%", "60%"], size=8, name="products")
        self.record_title = gr.HTML(elem_id="record-title")
        self.record = gr.HighlightedText(
            label="The whole record, with the facts found in it",
            visible=False,
            combine_adjacent=False,
            elem_id="record",
        )

    def _wire(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [
            self.problem,
            self.catalogue,
            self.counts,
            self.why,
            self.reasons,
            self.box.teach,
            self.record,
            self.record_title,
        ]
        shown += [*self.skipped.outputs, *self.products.outputs]
        self.catalogue.input(guarded(self.problem, self.open), [self.catalogue, self.words], shown, **quiet)
        self.upload.upload(
            guarded(self.problem, self.uploaded), [self.upload, self.words], shown, api_visibility="private"
        )
        self.skipped.wire(lambda name: skipped_cells(open_catalogue(name)), [self.catalogue], [])
        self.products.wire(product_cells, [self.catalogue, self.words], [self.words.change])
        shown_record = self.products.table.select(
            guarded(self.problem, self.show_record),
            [self.catalogue, self.words],
            [self.problem, self.record, self.record_title],
            **quiet,
        )
        reveal(shown_record, "record")
        self.box.wire(self.problem, self.catalogue)
        self.rows.wire(self.problem)
        self.generated = self.box.generate.click(
            guarded(self.problem, self.make),
            [self.catalogue, *self.box.settings, *self.box.api],
            [self.problem, *self.rows.outputs, *self.box.job_outputs],
            show_progress_on=self.box.generate,
            api_visibility="private",
        )
        gr.api(for_callers(generate_dataset), api_name="generate_dataset")
        both = [*shown, *self.rows.outputs, *self.box.job_outputs, *self.box.settings]
        self.refresh_outputs = list(dict.fromkeys(both))

    def wire_refresh(self, triggers: list[Any], timer: gr.Timer) -> None:
        """Show what there is at these moments, and the job at every tick."""
        timer.tick(
            guarded(self.problem, self.watch, clears=False),
            [self.rows.name, self.box.seen],
            [self.problem, *self.rows.outputs, *self.box.job_outputs],
            show_progress="hidden",
            api_visibility="private",
        )
        for trigger in triggers:
            trigger(
                guarded(self.problem, self.refresh),
                [self.catalogue, self.words],
                self.refresh_outputs,
                show_progress="hidden",
                api_visibility="private",
            )

    def refresh(self, name: str | None, words: str) -> Update:
        """What a fresh page shows: the catalogue, and the dataset that was made last."""
        update = self.open(name, words) | self.box.show(generation.look())
        dataset = latest_dataset()
        return update | (
            self.rows.show(dataset, reused=False) | self.box.fill(dataset) if dataset else self.rows.empty()
        )

    def open(self, name: str | None, words: str) -> Update:
        catalogue = open_catalogue(name)
        usable = catalogue.usable
        return {
            self.catalogue: gr.Dropdown(choices=catalogue_choices(), value=name or SAMPLE_NAME),
            self.counts: catalogue_line(catalogue),
            self.why: gr.Accordion(f"Why {catalogue.skipped_total:,} are skipped", visible=catalogue.skipped_total > 0),
            self.reasons: reasons_line(catalogue.skipped_counts()),
            self.box.teach: gr.Slider(
                maximum=max(2, usable), value=min(DEFAULTS.products, usable), interactive=usable > 1
            ),
            self.record: gr.HighlightedText(visible=False),
            self.record_title: "",
            **self.skipped.show(skipped_cells(catalogue)),
            **self.products.show(product_cells(name, words)),
        }

    def uploaded(self, path: str, words: str) -> Update:
        return self.open(keep_upload(Path(path)), words)

    def show_record(self, name: str | None, words: str, event: gr.SelectData) -> Update:
        product = open_catalogue(name).page(picked(event), 1, words or "")[0]
        return {
            self.record_title: f"<h3>{escape(product.title)}</h3><p class='small'>uid {escape(product.uid)}</p>",
            self.record: gr.HighlightedText(value=marked_record(product), visible=True),
        }

    def make(self, progress: gr.Progress = gr.Progress(), *values: Any) -> Update:  # noqa: B008
        """By templates at once; by an API as a job that goes on by itself."""

        def on_progress(done: int, total: int) -> None:
            progress((done, total), desc="Writing questions", unit="products")

        # Gradio tells progress to the parameter whose default it is, and only before those without a name.
        catalogue, *rest = values
        settings = self.box.dataset_settings(*rest[: len(self.box.settings)])
        if settings.generator != TEMPLATES and not is_made(catalogue, settings):
            return self.box.start(catalogue, settings, self.box.api_settings(*rest[len(self.box.settings) :]))
        dataset, known = make_dataset(catalogue, settings, on_progress)
        return self.rows.show(dataset, reused=known)

    def watch(self, name: str, seen: Any) -> Update:
        """What the job has come to since this window last looked; nothing while nothing is new."""
        now = generation.look()
        if mark(now) == seen:
            return {self.problem: gr.skip()}
        update = self.box.show(now)
        if now.state == generation.DONE and now.dataset != name and seen is not None:
            update |= self.rows.show(open_dataset(datasets_dir() / now.dataset), reused=False)
        return update
