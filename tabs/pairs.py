"""Making a dataset, and its pairs as the page shows them."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.data.dataset import (
    MANIFEST,
    Dataset,
    DatasetSettings,
    build_dataset,
    fingerprint,
    open_dataset,
)
from pipeline.data.phrasings import kind_label
from pipeline.errors import GenerationError
from pipeline.files import datasets_dir
from tabs.catalogues import SAMPLE_NAME, open_catalogue, reasons_line, short
from tabs.shared import count, escape

TEMPLATES, API = "templates", "api"
DEFAULTS = DatasetSettings()
DEFAULT_URL = "https://api.openai.com/v1"


@lru_cache(maxsize=4)
def _pairs(folder: str, _changed: int) -> list[dict[str, Any]]:
    dataset = open_dataset(Path(folder))
    trained = [row | {"split": "train"} for row in dataset.training()]
    return trained + [row | {"split": "held out"} for row in dataset.held_out()]


def pairs_of(dataset: Dataset) -> list[dict[str, Any]]:
    return _pairs(str(dataset.folder), (dataset.folder / MANIFEST).stat().st_mtime_ns)


def chosen_pairs(name: str, split: str, kind: str, words: str) -> list[dict[str, Any]]:
    """The pairs of a dataset that pass the filters."""
    if not name:
        return []
    wanted = (words or "").casefold().split()
    return [
        row
        for row in pairs_of(open_dataset(datasets_dir() / name))
        if (not split or row["split"] == split)
        and (not kind or row["kind"] == kind)
        and all(word in f"{row['title']} {row['question']} {row['response']}".casefold() for word in wanted)
    ]


def pair_cells(name: str, split: str, kind: str, words: str) -> list[list[str]]:
    return [
        [r["split"], kind_label(r["kind"]), r["question"], short(r["response"])]
        for r in chosen_pairs(name, split, kind, words)
    ]


def what_the_model_reads(row: dict[str, Any]) -> list[tuple[str, str | float | None]]:
    """A pair's prompt and response, as `HighlightedText` takes them; what is learned is marked."""
    part = "learned" if row["split"] == "train" else "expected, never trained"
    return [(row["prompt"] + " ", None), (row["response"], part)]


def dataset_line(dataset: Dataset) -> str:
    """What came out, in numbers."""
    c = dataset.counts
    unknown = f"{count(c['unknown_titles'], 'unknown product')} ({count(c['unknown_training'], 'pair')})"
    general = [count(c["general_training"], "pair") + " of general knowledge"] if c.get("general_training") else []
    numbers = [
        count(c["products"], "product"),
        count(c["facts"], "fact"),
        count(c["training"], "training pair"),
        f"{c['held_out']:,} held out",
        unknown,
        *general,
    ]
    return "<b>" + "</b> · <b>".join(numbers) + "</b>"


def about_dataset(dataset: Dataset) -> str:
    catalogue, settings = dataset.manifest["catalogue"], dataset.manifest["settings"]
    context = "the title with the record" if settings["reading"] else "the title only"
    return (
        f"<p>{dataset_line(dataset)}</p><p class='small'>From {escape(catalogue['name'])} · context: {context} · "
        f"questions from {escape(settings['generator'])} · seed {settings['seed']} · skipped in the catalogue: "
        f"{reasons_line(catalogue['skipped'])}</p>"
    )


def make_dataset(
    catalogue: str | None,
    products: float,
    phrasings: float,
    unknown: float,
    reading: bool,
    seed: float,
    source: str = TEMPLATES,
    api: tuple[str, str, str] = ("", "", ""),
    on_progress: Any = lambda done, total: None,
) -> tuple[Dataset, bool]:
    """Make a dataset from what the widgets say; also tells whether the same one was there already.

    Args:
        api: base URL, model and key, for questions that an API writes.

    Raises:
        PipelineError: it cannot be made.
    """
    read = open_catalogue(catalogue)
    url, model, key = (text.strip() for text in api)
    generator = f"{model} at {url}" if source == API else TEMPLATES
    settings = DatasetSettings(int(products), int(phrasings), float(unknown), reading, generator, int(seed))
    known = (datasets_dir() / fingerprint(read, settings) / MANIFEST).is_file()
    generate = None if known or source != API else _api_generator(url, model, key, settings.phrasings)
    return build_dataset(read, settings, generate=generate, on_progress=on_progress), known


def _api_generator(url: str, model: str, key: str, phrasings: int) -> Any:
    if not model:
        raise GenerationError("No model is named for the questions; press “Find models” or type its name.")
    from pipeline.data.openai_generator import ApiSettings, generator

    return generator(ApiSettings(base_url=url, model=model, api_key=api_key(url, key), phrasings=phrasings))


def api_key(url: str, typed: str) -> str:
    """The key that was typed, else the environment's, which goes to the environment's own API and to no other."""
    own = os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    return typed or (os.environ.get("OPENAI_API_KEY", "") if url.rstrip("/") == own.rstrip("/") else "")


def generate_dataset(
    products: int = DEFAULTS.products,
    phrasings: int = DEFAULTS.phrasings,
    unknown_per_product: float = DEFAULTS.unknown_per_product,
    reading: bool = DEFAULTS.reading,
    seed: int = DEFAULTS.seed,
) -> dict[str, Any]:
    """Make a dataset from the sample catalogue; returns its name, its counts, and whether it was there already."""
    dataset, known = make_dataset(SAMPLE_NAME, products, phrasings, unknown_per_product, reading, seed)
    return {"dataset": dataset.folder.name, "counts": dataset.counts, "reused": known}
