"""Tab 1's right side: what to generate and with whose help, and the job that does it as its file tells it."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import gradio as gr

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.uploads import SAMPLE_NAME, catalogue_path, chosen_columns, open_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.fingerprint import fingerprint
from pipeline.dataset.settings import TEMPLATE_PHRASINGS, TEMPLATES, DatasetSettings
from pipeline.dataset.store import Dataset, open_dataset
from pipeline.errors import GenerationError, SettingsError
from pipeline.files import datasets_dir
from pipeline.writing import generation
from pipeline.writing.api import DEFAULT_MODEL, MAX_WORKERS, OPENAI_URL, ApiSettings, Price, list_models, price_of
from pipeline.writing.generation import Look
from pipeline.writing.steps import Job, generator_name, key_for
from tabs.dataset.generation_card import estimate_words, job_card, price_words
from tabs.ui.events import Update, on, open_to_all

API = "api"
DEFAULTS = DatasetSettings()
PHRASINGS_AT_LEAST, PHRASINGS_AT_MOST = 5, 40

CONTEXTS = {
    "The title only: the model must know the answer (recall)": (False, 0.0),
    "The title only, and every fourth row is about a part of another product's record: it must know, and can read": (
        False,
        0.3,
    ),
    "The title with the record: the model reads the answer (reading)": (True, 0.0),
}
"""What `reading` and `open_book` are."""

SERVERS = [
    ("OpenAI", OPENAI_URL),
    ("Hugging Face router", "https://router.huggingface.co/v1"),
    ("llama.cpp on this machine", "http://localhost:8080/v1"),
    ("vLLM on this machine", "http://localhost:8000/v1"),
    ("Ollama on this machine", "http://localhost:11434/v1"),
]
WORDS = {TEMPLATES: "Generate the dataset", API: "Try the first 5 products"}


def make_dataset(
    catalogue: str | None, settings: DatasetSettings, on_progress: Any = lambda done, total: None
) -> tuple[Dataset, bool]:
    """Make a dataset by templates; also tells whether the same one was there already.

    Raises:
        PipelineError: it cannot be made.
    """
    read = open_catalogue(catalogue)
    known = is_made(read, settings)
    return build_dataset(read, settings, on_progress=on_progress), known


def is_made(catalogue: Catalogue, settings: DatasetSettings) -> bool:
    with suppress(SettingsError):
        return bool(open_dataset(datasets_dir() / fingerprint(catalogue, settings)))
    return False


def generate_dataset(
    products: int = DEFAULTS.products,
    phrasings: int = DEFAULTS.phrasings,
    unknown_per_product: float = DEFAULTS.unknown_per_product,
    reading: bool = DEFAULTS.reading,
    seed: int = DEFAULTS.seed,
) -> dict[str, Any]:
    """Make a dataset from the sample catalogue; returns its name, its counts, and whether it was there already."""
    settings = DatasetSettings(products, phrasings, unknown_per_product, reading, TEMPLATES, seed=seed)
    dataset, known = make_dataset(SAMPLE_NAME, settings)
    return {"dataset": dataset.folder.name, "counts": dataset.counts, "reused": known}


class Wanted(NamedTuple):
    """The values of the widgets that say what is to be generated, in their order."""

    products: float
    phrasings: float
    unknown: float
    context: str
    seed: float | None
    source: str
    url: str | None
    model: str | None
    judge: bool

    def settings(self) -> DatasetSettings:
        """Raises:
        PipelineError: a box is empty, or a value cannot be one.
        """
        if self.seed is None:
            raise SettingsError("The seed is empty; type a whole number.")
        by_api = self.source == API
        if by_api and not (self.model or "").strip():
            raise GenerationError("No model is named for the questions; press “Find models” or type its name.")
        reading, open_book = CONTEXTS.get(self.context, (False, 0.0))
        return DatasetSettings(
            products=int(self.products),
            phrasings=int(self.phrasings) if by_api else min(int(self.phrasings), TEMPLATE_PHRASINGS),
            unknown_per_product=float(self.unknown),
            reading=reading,
            open_book=open_book,
            generator=generator_name(self.model or "", self.url or "") if by_api else TEMPLATES,
            judge=by_api and self.judge,
            seed=int(self.seed),
        )


class Writer(NamedTuple):
    """The values of the widgets that say which API writes, in their order."""

    url: str | None
    model: str | None
    key: str | None
    workers: float
    cap: float | None
    price_in: float | None
    price_out: float | None

    def settings(self) -> ApiSettings:
        """Raises:
        SettingsError: only one of the two prices is given.
        """
        url, model = self.url or "", self.model or ""
        # An empty number box becomes 0 once it has been shown: no cap and no price is of 0.
        if bool(self.price_in) != bool(self.price_out):
            raise SettingsError("Only one of the two prices is given; give both, or neither.")
        price = Price(self.price_in, self.price_out) if self.price_in and self.price_out else None
        return ApiSettings(
            model.strip(), url.strip(), key_for(url, self.key or ""), int(self.workers), self.cap or None, price
        )


class GenerateBox:
    """The settings, the orange button, and the card of the job with its buttons.

    Attributes:
        settings: the widgets of a `Wanted`.
        api: the widgets of a `Writer`.
    """

    def __init__(self) -> None:
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
        self.source = gr.Radio(
            [("Templates: no key needed", TEMPLATES), ("A language model: an API or a server of yours", API)],
            value=TEMPLATES,
            label="Questions come from",
            elem_id="source",
        )
        self._build_api()
        self.generate = gr.Button(WORDS[TEMPLATES], variant="primary", elem_id="generate")
        self._build_job()
        self._build_more()
        self.settings = [
            self.teach, self.phrasings, self.unknown, self.context, self.seed, self.source, self.url, self.model, self.judge,
        ]  # fmt: skip
        self.api = [self.url, self.model, self.key, self.workers, self.cap, self.price_in, self.price_out]
        self.job_outputs = [self.generate, self.card, self.stop, self.more, self.batch, self.off, self.seen]

    def _build_api(self) -> None:
        with gr.Group(visible=False) as self.api_group:
            self.url = gr.Dropdown(
                SERVERS,
                value=os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
                allow_custom_value=True,
                label="Address of the API",
                info="base_url · Any that speaks OpenAI's chat completions.",
                elem_id="api-url",
            )
            has_key = bool(os.environ.get("OPENAI_API_KEY"))
            self.key = gr.Textbox(
                label="Key",
                type="password",
                info="Used for these requests only and kept in no file; a server on this machine needs none.",
                placeholder="taken from OPENAI_API_KEY" if has_key else "",
                elem_id="api-key",
            )
            with gr.Row(equal_height=True):
                self.model = gr.Dropdown(
                    [DEFAULT_MODEL],
                    value=DEFAULT_MODEL,
                    allow_custom_value=True,
                    label="Model",
                    info="Type a name, or list the account's.",
                    elem_id="api-model",
                    scale=3,
                    min_width=180,
                )
                self.find = gr.Button("Find models", size="sm", scale=1, min_width=100, elem_id="find-models")
            self.price = gr.HTML(
                price_words(DEFAULT_MODEL, OPENAI_URL), elem_id="api-price", elem_classes="small padded"
            )
        with gr.Accordion("Cost, speed and checks", open=False, visible=False, elem_id="api-more") as self.api_more:
            self.cap = gr.Number(
                value=None, minimum=0, label="Spending limit (USD)", elem_id="api-cap",
                info="cap · It stops cleanly before the next request could pass it. Empty or 0: no limit.",
            )  # fmt: skip
            with gr.Row():
                self.price_in = gr.Number(
                    value=None, minimum=0, label="Price of a million input tokens, USD", min_width=140
                )
                self.price_out = gr.Number(value=None, minimum=0, label="… output tokens, USD", min_width=140)
            self.workers = gr.Slider(
                1, MAX_WORKERS, value=8, step=1, label="Requests at once", buttons=[], elem_id="api-workers",
                info="workers · At most; fewer while the server asks for it.",
            )  # fmt: skip
            self.judge = gr.Checkbox(
                False, label="Let the model check its rows", elem_id="judge",
                info="judge · A third call a product reads the record again and rejects what it does not support.",
            )  # fmt: skip

    def _build_job(self) -> None:
        self.card = gr.HTML(elem_id="job", elem_classes="news")
        with gr.Row():
            self.stop = gr.Button("Stop", visible=False, elem_id="job-stop", min_width=100)
            self.more = gr.Button("Go on", visible=False, variant="primary", elem_id="job-more", min_width=160)
            self.batch = gr.Button("… as a batch", visible=False, elem_id="job-batch", min_width=160)
            self.off = gr.Button("Cancel batch", visible=False, elem_id="job-off", min_width=120)
        self.seen = gr.State(None)

    def _build_more(self) -> None:
        with gr.Accordion("More settings", open=False, elem_id="more-settings"):
            self.phrasings = gr.Slider(
                PHRASINGS_AT_LEAST,
                TEMPLATE_PHRASINGS,
                value=DEFAULTS.phrasings,
                step=1,
                label="Rows for each fact",
                info="phrasings · Ways to ask for it in training; three more are held out to test it.",
                buttons=[],
                elem_id="phrasings",
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

    def wire(self, problem: gr.HTML) -> None:
        """What the box does by itself; the tab wires `generate`, whose result is not the box's."""
        by_source = [self.api_group, self.api_more, self.generate, self.phrasings]
        on(self.source.change, self.follow_source, [self.source, self.phrasings], by_source)
        on(
            self.find.click, self.find_models, [self.url, self.key], self.model, problem=problem,
            progress_on=self.model,
        )  # fmt: skip
        prices = [self.model, self.url, self.price_in, self.price_out]
        on([each.change for each in prices], price_words, prices, self.price, picked=True)
        on(self.stop.click, self.stop_job, None, self.job_outputs, problem=problem)
        for button, batch in ((self.more, False), (self.batch, True)):
            on(button.click, self.go_on(batch), [self.seen, *self.api], self.job_outputs, problem=problem)
        on(self.off.click, self.call_off, self.api, self.job_outputs, problem=problem)

    @open_to_all
    def follow_source(self, source: str, phrasings: float) -> Update:
        most = PHRASINGS_AT_MOST if source == API else TEMPLATE_PHRASINGS
        return {
            self.api_group: gr.Group(visible=source == API),
            self.api_more: gr.Accordion(visible=source == API),
            self.generate: gr.Button(WORDS[source]),
            self.phrasings: gr.Slider(maximum=most, value=min(phrasings, most)),
        }

    def find_models(self, url: str | None, key: str | None) -> Update:
        models = list_models((url or "").strip(), key_for(url or "", key or ""))
        preferred = DEFAULT_MODEL if DEFAULT_MODEL in models else models[0] if models else None
        return {self.model: gr.Dropdown(choices=models, value=preferred)}

    def read(self, values: Sequence[Any]) -> tuple[Wanted, Writer]:
        """What the widgets say.

        Args:
            values: of `settings`, then of `api`.
        """
        return Wanted(*values[: len(self.settings)]), Writer(*values[len(self.settings) :])

    def start(self, catalogue: str | None, settings: DatasetSettings, api: ApiSettings) -> Update:
        """Begin the job with its pilot."""
        generation.start(Job(catalogue_path(catalogue), settings, api, columns=chosen_columns(catalogue)))
        return self.show(generation.look())

    def stop_job(self) -> Update:
        generation.stop()
        return self.show(generation.look())

    def go_on(self, batch: bool) -> Callable[..., Update]:
        def handler(seen: Seen | None, *values: Any) -> Update:
            generation.go_on(Writer(*values).settings(), batch=batch, begun=seen[0] if seen else "")
            return self.show(generation.look())

        return handler

    def call_off(self, *values: Any) -> Update:
        generation.call_off(Writer(*values).settings())
        return self.show(generation.look())

    def show(self, now: Look) -> Update:
        """The card of the job and the buttons that fit it."""
        going, waits = now.state in generation.UNDER_WAY, now.state == generation.ESTIMATED
        resumable = now.state in (generation.STOPPED, generation.FAILED)
        in_batch = bool(now.job.get("batch"))
        return {
            # One orange button at a time: the next step's.
            self.generate: gr.Button(variant="secondary" if waits or resumable else "primary", interactive=not going),
            self.card: job_card(now),
            self.stop: gr.Button(
                "Stop watching (the batch continues)" if now.state == generation.WAITING else "Stop", visible=going
            ),
            self.more: gr.Button(
                "Go on" if resumable else estimate_words(now.estimate), visible=waits or (resumable and not in_batch)
            ),
            self.batch: gr.Button(
                "Go on with the batch" if resumable else estimate_words(now.estimate, batch=True),
                visible=(waits and offers_batches(now)) or (resumable and in_batch),
            ),
            self.off: gr.Button(visible=in_batch and (now.state == generation.WAITING or resumable)),
            self.seen: mark(now),
        }

    def fill(self, dataset: Dataset) -> Update:
        """The widgets as they were when the dataset was made, so that a reload forgets nothing."""
        said = dataset.manifest["settings"]
        by_api = said["generator"] != TEMPLATES
        most = PHRASINGS_AT_MOST if by_api else TEMPLATE_PHRASINGS
        return {
            self.phrasings: gr.Slider(maximum=most, value=min(max(said["phrasings"], PHRASINGS_AT_LEAST), most)),
            self.unknown: said["unknown_per_product"],
            self.context: _context_words(said["reading"], said.get("open_book", 0.0)),
            self.seed: said["seed"],
            self.source: API if by_api else TEMPLATES,
            self.judge: bool(said.get("judge")),
        }

    def fill_job(self, now: Look) -> Update:
        """The widgets as the job has them that can be gone on with."""
        if now.state in ("", generation.DONE):
            return {}
        api = now.job["api"]
        return {
            self.source: API,
            self.url: api["base_url"],
            self.model: api["model"],
            self.judge: now.job["settings"]["judge"],
        }


def _context_words(reading: bool, open_book: float) -> str:
    return next(
        words for words, (reads, share) in CONTEXTS.items() if (reads, bool(share)) == (reading, bool(open_book))
    )


def offers_batches(now: Look) -> bool:
    """Whether the API is one that is known to take batches."""
    return price_of(DEFAULT_MODEL, now.job.get("api", {}).get("base_url", "")) is not None


Seen = tuple[str, ...]
"""What a window shows of the job; the job's own name comes first."""


def mark(now: Look) -> Seen:
    """What changes when there is something new to show."""
    counts = [now.progress.get(name) for name in ("done", "asked", "waiting", "in_flight")]
    counts += [now.batch.get(name) for name in ("completed", "spent")]
    return now.begun, now.state, now.text, now.dataset, str(now.stopping), *map(str, counts)
