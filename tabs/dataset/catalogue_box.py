"""Tab 1's left side: which catalogue, how it is read, and what is in it."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.answering.renewed import source_of
from pipeline.catalogue import reading, uploads
from pipeline.catalogue.cache import checksums
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.reading import PATIENCE, Reading
from pipeline.catalogue.uploads import SAMPLE_NAME, catalogue_choices, open_catalogue
from pipeline.errors import CatalogueError, ColumnsError, PipelineError
from pipeline.machine import on_space
from pipeline.runs.folder import list_runs, run_dataset
from tabs.dataset.catalogue_view import (
    catalogue_line,
    columns_line,
    marked_record,
    no_match,
    product_cells,
    product_of,
    reading_line,
    reason_choices,
    skipped_cells,
)
from tabs.dataset.columns_form import MappingForm
from tabs.dataset.generate_box import DEFAULTS
from tabs.ui.events import Update, on, open_to_all, reveal
from tabs.ui.table import PagedTable
from tabs.ui.text import count, explain, html, notice

LOOK_SECONDS = 1.0
"""Between two looks at a catalogue that is being read."""

NAMED = 3
"""Runs that are named before the others are only counted."""


class CatalogueBox:
    """The widgets where they stand, and what they do. `outputs` are what `open` may change.

    Attributes:
        catalogue: the list of catalogues, whose value the other boxes take.
    """

    def __init__(self) -> None:
        self._build_choice()
        self.form = MappingForm()
        self.counts = gr.HTML(elem_id="catalogue-counts", elem_classes="counts")
        with gr.Accordion("Why some are skipped", open=False, visible=False, elem_id="why-skipped") as self.why:
            self.reason = gr.Radio([("all of them", "")], value="", label="Reason", elem_id="skipped-reason")
            self.skipped = PagedTable(
                "Skipped rows", ["line", "title", "reason"], ["9%", "50%", "34%"], size=8, name="skipped"
            )
        with gr.Column(elem_id="shelf-products"):
            self._build_products()

    def _build_choice(self) -> None:
        with gr.Row(equal_height=True):
            self.catalogue = gr.Dropdown(
                catalogue_choices(), value=SAMPLE_NAME, label="Catalogue", filterable=False, scale=3, min_width=180,
                elem_id="catalogue",
            )  # fmt: skip
            self.upload = gr.UploadButton(
                "Upload a catalogue …", file_types=list(uploads.KNOWN_ENDINGS), scale=2, min_width=180, elem_id="upload"
            )
        gr.HTML(
            "CSV, TSV, JSON or JSON lines, also gzipped; exports of Shopify, WooCommerce, Magento, PrestaShop and Google too.",
            elem_classes="small padded",
        )
        with gr.Accordion("… or open a file on this machine", open=False, visible=not on_space(), elem_id="open-path"):
            with gr.Row(equal_height=True):
                self.path = gr.Textbox(
                    label="Full path", info="It is read where it lies and never copied, such as trn.json.gz.",
                    placeholder="/data/trn.json.gz", scale=4, min_width=200, elem_id="path", max_lines=1,
                )  # fmt: skip
                self.open_path = gr.Button("Open", scale=1, min_width=90, elem_id="path-open")
        self.told = gr.HTML(elem_id="catalogue-told", elem_classes="news")
        with gr.Row(visible=False, equal_height=False) as self.brought:
            with gr.Column(min_width=260):
                self.columns = gr.HTML(elem_id="catalogue-columns", elem_classes="small")
            self.change = gr.Button("Change columns", size="sm", scale=0, min_width=130, elem_id="columns-change")
            self.remove = gr.Button("Remove …", size="sm", scale=0, min_width=90, elem_id="catalogue-remove")
        with gr.Column(visible=False, elem_id="remove-sure", variant="panel") as self.sure:
            self.lost = gr.HTML()
            with gr.Row():
                self.really = gr.Button("Remove it", variant="stop", min_width=100, elem_id="remove-really")
                self.keep = gr.Button("Keep it", min_width=100, elem_id="remove-keep")

    def _build_products(self) -> None:
        self.words = gr.Textbox(label="Search titles", placeholder="lamp, book, tent …", elem_id="search-products")
        # The last column is the product's uid, by which a picked row is found again; the style sheet hides it.
        self.products = PagedTable(
            "Products", ["title", "content", "uid"], ["33%", "60%", "0%"], size=8, name="products"
        )
        self.record_title = gr.HTML(elem_id="record-title")
        self.record = gr.HighlightedText(
            label="The whole record, with the facts found in it",
            visible=False,
            combine_adjacent=False,
            elem_id="record",
        )
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.waits_for = gr.State("")

    def wire(self, problem: gr.HTML, teach: gr.Slider) -> None:
        """Args:
        problem: where to say what goes wrong.
        teach: how many products to teach, which a catalogue limits.
        """
        self.problem, self.teach = problem, teach
        self.outputs = [
            self.catalogue, self.told, self.brought, self.columns, self.sure, self.counts, self.why, self.reason, teach,
            self.record, self.record_title, self.timer, self.waits_for, *self.form.outputs,
            *self.skipped.outputs, *self.products.outputs,
        ]  # fmt: skip
        shown, here = self.outputs, [self.catalogue, self.words]
        on(self.catalogue.input, self.open, here, shown, problem=problem, picked=True)
        on(
            self.upload.upload, self.uploaded, [self.upload, self.words], shown, problem=problem,
            progress_on=[self.counts, self.products.table],
        )  # fmt: skip
        opened = [self.open_path.click, self.path.submit]
        on(opened, self.opened_path, [self.path, self.words], [*shown, self.path], problem=problem)
        on(self.timer.tick, self.look, [self.waits_for, self.words], shown, problem=problem, clears=False)
        self._wire_columns()
        self._wire_removal()
        self._wire_tables()

    def _wire_columns(self) -> None:
        form = self.form
        asked = on(self.change.click, form.ask_columns, self.catalogue, form.outputs, problem=self.problem)
        reveal(asked, "columns-form")
        used = [form.name, self.words, *form.chosen]
        on(form.use.click, self.use_columns, used, self.outputs, problem=self.problem)
        on(form.cancel.click, form.close, None, [form.box])

    def _wire_removal(self) -> None:
        on(self.remove.click, self.ask_to_remove, self.catalogue, [self.sure, self.lost], problem=self.problem)
        on(self.keep.click, open_to_all(lambda: gr.Column(visible=False)), None, self.sure)
        on(self.really.click, self.removed, [self.catalogue, self.words], self.outputs, problem=self.problem)

    def _wire_tables(self) -> None:
        self.skipped.wire(
            lambda name, reason: skipped_cells(open_catalogue(name), reason or ""),
            [self.catalogue, self.reason],
            [self.reason.input],
        )
        self.products.wire(product_cells, [self.catalogue, self.words], [self.words.change], _nothing)
        picked = on(
            self.products.table.select,
            self.show_record,
            self.catalogue,
            [self.record, self.record_title],
            problem=self.problem,
            picked=True,
        )
        reveal(picked, "record")

    # --- Opening ---

    def refresh(self, name: str | None, words: str) -> Update:
        """What a fresh page shows: the chosen catalogue, or the one that is being read just now."""
        on_its_way = reading.latest()
        return self._follow(on_its_way, words) if on_its_way else self.open(name, words)

    @open_to_all
    def open(self, name: str | None, words: str) -> Update:
        try:
            return self._follow(reading.follow(name or SAMPLE_NAME), words)
        except PipelineError as error:
            if not name:
                raise
            return self._show_nothing(name) | {self.problem: notice(explain(error))}

    def uploaded(self, path: str, words: str) -> Update:
        name = uploads.upload_name(Path(path))
        said = f"It replaces the {name} that was uploaded before." if (uploads.uploads_dir() / name).exists() else ""
        begun = reading.start(name, partial(uploads.take_upload, Path(path)))
        return self._follow(begun, words, said)

    def opened_path(self, typed: str, words: str) -> Update:
        before = [value for _, value in catalogue_choices()]
        name = uploads.keep_path(typed)
        is_known = name in before
        begun = reading.follow(name) if is_known else reading.start(name, partial(uploads.verify_path, name))
        return self._follow(begun, words) | {self.path: ""}

    def use_columns(self, name: str, words: str, *values: Any) -> Update:
        columns = self.form.columns(name, *values)
        begun = reading.start(name, lambda tell: uploads.use_columns(name, columns, tell), columns)
        return self._follow(begun, words)

    @open_to_all
    def look(self, name: str, words: str) -> Update:
        """How far the catalogue is that this window waits for; and all of it once it is read."""
        found = reading.find(name)
        if found is None:
            return {self.problem: gr.skip(), self.timer: gr.Timer(active=False)}
        if not found.result.done():
            return {self.counts: reading_line(found)}
        try:
            return self._follow(found, words, None)
        except Exception as error:  # what was shown of it meanwhile goes
            return self.open(SAMPLE_NAME, words) | {self.problem: notice(explain(error))}

    def _follow(self, begun: Reading, words: str, said: str | None = "") -> Update:
        """Show the catalogue if it is read within a moment, else its first rows and how far it is.

        Args:
            said: a sentence about it; None leaves the one that stands there.
        """
        told = {} if said is None else {self.told: notice(said, "done")}
        try:
            catalogue = begun.wait(PATIENCE)
        except ColumnsError as error:
            return self._ask(begun.name, words, error) | told
        if catalogue is None:
            return self._show_first(begun, words) | told
        return self._show(begun.name, catalogue, words) | told

    def _common(self, name: str) -> Update:
        brought, columns = bool(name), None
        with suppress(PipelineError):
            columns = uploads.columns_in_use(name) if brought else None
        chosen = uploads.chosen_columns(name) is not None
        read = "<span data-state='{}'>{}</span>"
        return {
            self.catalogue: gr.Dropdown(choices=catalogue_choices(), value=name),
            self.brought: gr.Row(visible=brought),
            self.columns: html(read, "chosen" if chosen else "recognised", columns_line(columns, chosen=chosen)),
            self.sure: gr.Column(visible=False),
            self.record: gr.HighlightedText(visible=False),
            self.record_title: "",
            self.timer: gr.Timer(active=False),
            self.waits_for: "",
            **self.form.close(),
        }

    def _show(self, name: str, catalogue: Catalogue, words: str) -> Update:
        usable, skipped = catalogue.usable, catalogue.skipped_total
        return self._common(name) | {
            self.counts: catalogue_line(catalogue),
            self.why: gr.Accordion(f"Why {skipped:,} are skipped", visible=skipped > 0),
            self.reason: gr.Radio(choices=reason_choices(catalogue), value=""),
            self.teach: gr.Slider(maximum=max(2, usable), value=min(DEFAULTS.products, usable), interactive=usable > 1),
            **self.skipped.show(skipped_cells(catalogue)),
            **self._products(name, words),
        }

    def _show_first(self, begun: Reading, words: str) -> Update:
        return self._common(begun.name) | {
            self.counts: reading_line(begun),
            self.why: gr.Accordion(visible=False),
            self.timer: gr.Timer(active=True),
            self.waits_for: begun.name,
            **self._products(begun.name, words),
        }

    def _show_nothing(self, name: str) -> Update:
        """A catalogue that cannot be opened: it can still be removed."""
        nothing = self.products.show([], nothing="Nothing of this catalogue can be shown.")
        return self._common(name) | {self.counts: "", self.why: gr.Accordion(visible=False), **nothing}

    def _ask(self, name: str, words: str, error: ColumnsError) -> Update:
        """The form, where a catalogue's columns must be chosen before anything of it can be shown."""
        return self._common(name) | {
            self.counts: html(
                "<b>{}</b>, and title and description are to be chosen", count(len(error.headers), "column")
            ),
            self.why: gr.Accordion(visible=False),
            **self.products.show([], nothing="The products follow when the columns are chosen."),
            **self.form.ask_columns(name),
        }

    def _products(self, name: str, words: str) -> Update:
        return self.products.show(product_cells(name, words), nothing=_nothing(name, words))

    # --- A product, and removing ---

    @open_to_all
    def show_record(self, name: str | None, event: gr.SelectData) -> Update:
        product = product_of(name, str(event.row_value[-1]))
        return {
            self.record_title: html("<h3>{}</h3><p class='small'>uid {}</p>", product.title, product.uid),
            self.record: gr.HighlightedText(value=marked_record(product), visible=True),
        }

    def ask_to_remove(self, name: str) -> Update:
        path = uploads.catalogue_path(name)
        here = path.parent == uploads.uploads_dir()
        what = (
            f"This deletes the upload {path.name} and what was prepared of it."
            if here
            else f"This takes {path} off the list and deletes what was prepared of it; the file itself stays."
        )
        return {
            self.sure: gr.Column(visible=True),
            self.lost: notice(
                f"{what} Datasets that were made of it stay as they are. {_what_runs_lose(path)}",
                state="upload" if here else "path",
            ),
        }

    def removed(self, name: str, words: str) -> Update:
        shown = uploads.catalogue_path(name).name
        if reading.under_way(name):
            raise CatalogueError(f"{shown} is being read at the moment; wait until that is done.")
        uploads.remove(name)
        return self.open(SAMPLE_NAME, words) | {self.told: notice(f"{shown} is removed.", "done")}


def _what_runs_lose(path: Path) -> str:
    """A sentence on the runs that answer from a catalogue that is removed; empty where there is none."""
    names, gone = [], checksums(path)
    for folder in list_runs():
        with suppress(PipelineError, KeyError):  # one that cannot be read answers nothing
            if source_of(run_dataset(folder)).sha256 in gone:
                names.append(folder.name)
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Runs that answer from it ({', '.join(names[:NAMED])}{more}) then know only the products that they were taught."


def _nothing(_name: str | None, words: str) -> str:
    return f"{no_match(words)}." if (words or "").strip() else ""
