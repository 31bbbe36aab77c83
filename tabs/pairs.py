"""Making a dataset, and its pairs as the page shows them."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.data.dataset import MANIFEST, Dataset, open_dataset
from pipeline.data.phrasings import kind_label
from pipeline.files import datasets_dir
from tabs.catalogues import reasons_line, short
from tabs.shared import count, escape


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
