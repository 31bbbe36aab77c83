"""Tab 1: catalogue → products → Generate → pairs, and exactly what the model will read."""

import os
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.answering.prompts import UNKNOWN
from pipeline.data.dataset import (
    RECORDS,
    Dataset,
    latest_dataset,
)
from pipeline.data.phrasings import kind_label
from pipeline.errors import SettingsError
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
from tabs.figures import kinds_figure
from tabs.pairs import (
    API,
    DEFAULT_URL,
    DEFAULTS,
    TEMPLATES,
    about_dataset,
    api_key,
    chosen_pairs,
    generate_dataset,
    make_dataset,
    pair_cells,
    pairs_of,
    what_the_model_reads,
)
from tabs.shared import PagedTable, Update, escape, for_callers, go_to, guarded, notice, picked, reveal

CONTEXTS = {
    "The title only: the model must know the answer (recall)": False,
    "The title with the record: the model reads the answer (reading)": True,
}
SPLITS = [("all", ""), ("trained", "train"), ("held out", "held out")]


class DatasetTab:
    """The widgets of the tab and what they do."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.problem = gr.HTML(elem_id="dataset-problem", elem_classes="news")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=360):
                self._build_catalogue()
            with gr.Column(scale=2, min_width=320):
                self._build_generate()
                self._build_result()
        self._build_pairs()
        self._wire(tabs)

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

    def _build_generate(self) -> None:
        self.teach = gr.Slider(
            1,
            51,
            value=DEFAULTS.products,
            step=1,
            label="Products to teach",
            elem_id="teach",
            buttons=[],
            info="More products need more training: each fact must be seen about 16 times.",
        )
        self.generate = gr.Button("Generate the dataset", variant="primary", elem_id="generate")
        with gr.Accordion("More settings", open=False):
            self.phrasings = gr.Slider(
                1,
                12,
                value=DEFAULTS.phrasings,
                step=1,
                label="Ways to ask for a fact",
                info="phrasings · Each is a training pair.",
                buttons=[],
            )
            self.unknown = gr.Slider(
                0,
                10,
                value=DEFAULTS.unknown_per_product,
                step=0.1,
                label="Unknown products for each one taught",
                buttons=[],
                info="unknown_per_product · Titles it learns to answer with “I don't know this product.”",
            )
            self.context = gr.Radio(
                list(CONTEXTS), value=next(iter(CONTEXTS)), label="What the model is given with a question"
            )
            self.seed = gr.Number(
                value=0, precision=0, minimum=0, label="Seed", info="seed · Another one draws other products."
            )
            self.source = gr.Radio(
                [("templates (no key needed)", TEMPLATES), ("an API", API)],
                value=TEMPLATES,
                label="Questions come from",
            )
            with gr.Group(visible=False) as self.api:
                self.url = gr.Textbox(
                    os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL, label="Address of the API", info="base_url"
                )
                has_key = bool(os.environ.get("OPENAI_API_KEY"))
                self.key = gr.Textbox(
                    label="Key",
                    type="password",
                    info="Used for this request only and kept in no file.",
                    placeholder="taken from OPENAI_API_KEY" if has_key else "",
                )
                self.model = gr.Dropdown(
                    [], value=None, allow_custom_value=True, label="Model", info="Type a name, or find them."
                )
                self.find = gr.Button("Find models", size="sm")

    def _build_result(self) -> None:
        self.nothing = gr.HTML(notice("No dataset yet. Press “Generate the dataset”: it takes a second.", "hint"))
        with gr.Column(visible=False, elem_id="dataset-result") as self.result:
            self.reused = gr.HTML(elem_id="reused", elem_classes="news")
            self.about = gr.HTML(elem_id="dataset-counts")
            with gr.Row():
                self.download = gr.DownloadButton("Download dataset.json", size="md", elem_id="download-dataset")
                self.onward = gr.Button("Go on to 2 Training ›", size="md", elem_id="go-training")
            self.kinds = gr.Plot(label="Facts of each kind", elem_id="kinds")

    def _build_pairs(self) -> None:
        self.name = gr.State("")
        with gr.Column(visible=False) as self.preview:
            gr.HTML("<h2>What the model is taught</h2>")
            with gr.Row():
                self.split = gr.Dropdown(SPLITS, value="", label="Show pairs", filterable=False, min_width=120)
                self.kind = gr.Dropdown(
                    [("every kind", "")], value="", label="Kind of fact", filterable=False, min_width=120
                )
                self.pair_words = gr.Textbox(label="Search pairs", min_width=160, elem_id="search-pairs")
            self.pairs = PagedTable(
                "Pairs (pick one to see what the model reads)",
                ["split", "kind", "question", "response"],
                ["9%", "13%", "38%", "33%"],
                size=8,
                name="pairs",
            )
            self.reads = gr.HighlightedText(
                label="Exactly what the model reads; the marked part is what it learns to say",
                color_map={"learned": "orange", "expected, never trained": "gray"},
                elem_id="reads",
            )

    def _wire(self, tabs: gr.Tabs) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [
            self.problem,
            self.catalogue,
            self.counts,
            self.why,
            self.reasons,
            self.teach,
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
        self.source.change(lambda source: gr.Group(visible=source == API), self.source, self.api, **quiet)
        self.find.click(
            guarded(self.problem, self.find_models),
            [self.url, self.key],
            [self.problem, self.model],
            api_visibility="private",
        )
        self._wire_result(quiet)
        go_to(self.onward, tabs, "training")
        gr.api(for_callers(generate_dataset), api_name="generate_dataset")
        self.refresh_outputs = list(dict.fromkeys([*shown, *self.result_outputs]))

    def _wire_result(self, quiet: dict[str, Any]) -> None:
        self.result_outputs = [
            self.problem,
            self.nothing,
            self.result,
            self.preview,
            self.reused,
            self.about,
            self.download,
            self.kinds,
            self.name,
            self.kind,
            self.split,
            self.pair_words,
            self.reads,
            *self.pairs.outputs,
        ]
        settings = [self.catalogue, self.teach, self.phrasings, self.unknown, self.context, self.seed, self.source]
        self.generated = self.generate.click(
            guarded(self.problem, self.make),
            [*settings, self.url, self.model, self.key],
            self.result_outputs,
            show_progress_on=self.generate,
            api_visibility="private",
        )
        filters = [self.name, self.split, self.kind, self.pair_words]
        self.pairs.wire(pair_cells, filters, [self.split.input, self.kind.input, self.pair_words.change])
        shown_pair = self.pairs.table.select(
            guarded(self.problem, self.show_pair), filters, [self.problem, self.reads], **quiet
        )
        reveal(shown_pair, "reads")

    def wire_refresh(self, triggers: list[Any]) -> None:
        """Show what there is at these moments."""
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
        update = self.open(name, words)
        dataset = latest_dataset()
        return update | (self.show(dataset, reused=False) if dataset else {})

    def open(self, name: str | None, words: str) -> Update:
        catalogue = open_catalogue(name)
        usable = catalogue.usable
        return {
            self.catalogue: gr.Dropdown(choices=catalogue_choices(), value=name or SAMPLE_NAME),
            self.counts: catalogue_line(catalogue),
            self.why: gr.Accordion(f"Why {catalogue.skipped_total:,} are skipped", visible=catalogue.skipped_total > 0),
            self.reasons: reasons_line(catalogue.skipped_counts()),
            self.teach: gr.Slider(maximum=max(2, usable), value=min(DEFAULTS.products, usable), interactive=usable > 1),
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

    def find_models(self, url: str, key: str) -> Update:
        from pipeline.data.openai_generator import list_models

        models = list_models(url.strip(), api_key(url.strip(), key.strip()))
        return {self.model: gr.Dropdown(choices=models, value=models[0] if models else None)}

    def make(
        self, catalogue: str, products: float, phrasings: float, unknown: float, context: str, seed: float | None,
        source: str, url: str, model: str | None, key: str, progress: gr.Progress = gr.Progress()  # noqa: B008
    ) -> Update:  # fmt: skip
        def on_progress(done: int, total: int) -> None:
            progress((done, total), desc="Writing questions", unit="products")

        if seed is None:
            raise SettingsError("The seed is empty; type a whole number.")
        api = (url or "", model or "", key or "")
        reading = CONTEXTS.get(context, False)
        dataset, known = make_dataset(catalogue, products, phrasings, unknown, reading, seed, source, api, on_progress)
        return self.show(dataset, reused=known)

    def show(self, dataset: Dataset, *, reused: bool) -> Update:
        name = dataset.folder.name
        kinds = dict(dataset.counts["kinds"])
        text = "The same dataset was there already, so it is used again." if reused else ""
        pairs = pairs_of(dataset)
        return {
            self.nothing: "",
            self.result: gr.Column(visible=True),
            self.preview: gr.Column(visible=True),
            self.reused: notice(text, "done"),
            self.about: about_dataset(dataset),
            self.download: gr.DownloadButton(value=str(dataset.folder / RECORDS)),
            self.kinds: kinds_figure(kinds),
            self.name: name,
            self.kind: gr.Dropdown(
                choices=[("every kind", ""), *((kind_label(k), k) for k in [*kinds, UNKNOWN])], value=""
            ),
            self.split: "",
            self.pair_words: "",
            self.reads: what_the_model_reads(pairs[0]) if pairs else [],
            **self.pairs.show(pair_cells(name, "", "", "")),
        }

    def show_pair(self, name: str, split: str, kind: str, words: str, event: gr.SelectData) -> Update:
        return {self.reads: what_the_model_reads(chosen_pairs(name, split, kind, words)[picked(event)])}
