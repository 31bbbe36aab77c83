"""Catalogue → dataset: which products are taught, what is asked, and the files that hold it.

A dataset lives in `datasets/<fingerprint>/`. The fingerprint is a digest of everything that goes in (the catalogue's
bytes, the settings, the code that writes questions), so that the same inputs find the same dataset again.
"""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.prompts import GENERAL, NO_FACT, UNKNOWN
from pipeline.data import examples, facts
from pipeline.data.catalogue import Catalogue, Product
from pipeline.data.examples import Example, PhrasedFact
from pipeline.errors import SettingsError
from pipeline.files import datasets_dir, read_json, read_jsonl, whole_folder, write_json, write_jsonl

if TYPE_CHECKING:
    import datasets

TRAIN, HELD_OUT, RECORDS, MANIFEST = "train.jsonl", "heldout.jsonl", "dataset.json", "manifest.json"

WITH_ATTRIBUTES = 0.7
"""Share of the chosen products that should state an attribute: a description alone shows less of what was learned."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DatasetSettings:
    """What the user chooses in the first tab."""

    products: int = 15
    """How many products to teach."""
    phrasings: int = 12
    """Training questions a fact."""
    unknown_per_product: float = 3.0
    """Unknown titles to refuse, for each product taught."""
    reading: bool = False
    """Whether the prompt holds the record (the model reads) or the title alone (the model must know)."""
    generator: str = "templates"
    """Where the questions come from: `templates`, or the name of an API's model."""
    seed: int = 0
    general_share: float = 0.1
    """Rows of general knowledge, for each row about products: they keep what the model knew before."""

    def __post_init__(self) -> None:
        limits = {
            "products": (1, 100_000),
            "phrasings": (1, 40),
            "unknown_per_product": (0, 10),
            "general_share": (0, 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be between {low} and {high}.")


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk."""

    folder: Path
    manifest: dict[str, Any] = field(compare=False)

    @property
    def counts(self) -> dict[str, Any]:
        return self.manifest["counts"]

    def training(self) -> list[dict[str, Any]]:
        return list(read_jsonl(self.folder / TRAIN))

    def held_out(self) -> list[dict[str, Any]]:
        return list(read_jsonl(self.folder / HELD_OUT))


def fingerprint(catalogue: Catalogue, settings: DatasetSettings) -> str:
    """Sixteen hex digits that change when anything that goes into the dataset does."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.py")), here.parent / "answering" / "prompts.py", examples.GENERAL_ROWS]
    code = [file.read_bytes() for file in sources]
    inputs = json.dumps([catalogue.sha256, asdict(settings)], sort_keys=True).encode()
    return hashlib.sha256(b"\0".join([inputs, *code])).hexdigest()[:16]


def build_dataset(
    catalogue: Catalogue,
    settings: DatasetSettings,
    *,
    generate: Callable[[Sequence[Product], Progress], list[PhrasedFact]] | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Dataset:
    """Make the dataset, or open the one that was made from the same inputs.

    Args:
        generate: writes the facts and questions of products instead of the templates (an API does); it is called
            with the products and a callback for its progress, and may count in `rejected` what it threw away and why.
        on_progress: called with (products done, of).

    Raises:
        PipelineError: nothing can be taught, or the generator failed.
    """
    folder = datasets_dir() / fingerprint(catalogue, settings)
    with suppress(SettingsError):  # a damaged one is made again
        found = open_dataset(folder)
        (folder / MANIFEST).touch()  # the newest dataset is the one that the page trains on
        return found
    chosen = choose_products(catalogue, settings.products, settings.seed)
    if generate:
        phrased = generate(chosen, on_progress)
    else:
        phrased = _from_templates(chosen, settings.phrasings, on_progress)
    if not phrased:
        raise SettingsError("No fact was found in the chosen products; choose more products or another catalogue.")
    training, held_out, unknown = _rows(catalogue, settings, chosen, phrased)
    manifest = _manifest(catalogue, settings, chosen, phrased, training, held_out, unknown)
    manifest["counts"]["rejected"] = dict(getattr(generate, "rejected", {}))
    with whole_folder(folder) as aside:
        write_json(aside / RECORDS, [{"text": f"{row.prompt} {row.response}"} for row in training])
        write_jsonl(aside / TRAIN, map(asdict, training))
        write_jsonl(aside / HELD_OUT, map(asdict, held_out))
        write_json(aside / MANIFEST, manifest | {"fingerprint": folder.name})
    return open_dataset(folder)


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset's folder.

    Raises:
        SettingsError: it is not a whole dataset.
    """
    problem = f"There is no whole dataset in {folder}; generate it again in the first tab."
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError) as error:
        raise SettingsError(problem) from error
    if not isinstance(manifest, dict) or not all((folder / name).is_file() for name in (RECORDS, TRAIN, HELD_OUT)):
        raise SettingsError(problem)
    return Dataset(folder, manifest)


def latest_dataset() -> Dataset | None:
    """The dataset that was generated or asked for last, if any."""
    manifests = [m for m in datasets_dir().glob("*/" + MANIFEST) if not m.parent.name.startswith(".")]
    return open_dataset(max(manifests, key=lambda m: m.stat().st_mtime).parent) if manifests else None


def to_hugging_face(dataset: Dataset) -> "datasets.Dataset":
    """The training rows as a Hugging Face Dataset, with the whole text of each in a column `text`."""
    import datasets as hugging_face

    rows = [row | {"text": f"{row['prompt']} {row['response']}"} for row in dataset.training()]
    return hugging_face.Dataset.from_list(rows)


def choose_products(catalogue: Catalogue, count: int, seed: int) -> list[Product]:
    """Draw the products to teach; most of them, where the catalogue allows, state an attribute.

    Returns:
        At most `count` products in a seeded order; fewer where the catalogue has fewer.
    """
    shuffled = list(catalogue.products)
    random.Random(seed).shuffle(shuffled)
    if count >= len(shuffled):
        return shuffled
    wanted, rich = math.ceil(count * WITH_ATTRIBUTES), set()
    for product in shuffled[: count * 50]:  # a huge catalogue is not read through for a few products
        if len(rich) == wanted:
            break
        if len(_facts(product)) > 1:
            rich.add(product.uid)
    first = [p for p in shuffled if p.uid in rich]
    rest = [p for p in shuffled if p.uid not in rich]
    chosen = {p.uid for p in (first + rest)[:count]}
    return [p for p in shuffled if p.uid in chosen][:count]


def _facts(product: Product) -> list[facts.Fact]:
    return facts.extract_facts(product.uid, product.title, product.content)


def _from_templates(products: Sequence[Product], count: int, on_progress: Progress) -> list[PhrasedFact]:
    phrased = []
    for done, product in enumerate(products, start=1):
        phrased += [examples.phrase(fact, count) for fact in _facts(product)]
        on_progress(done, len(products))
    return phrased


def _rows(
    catalogue: Catalogue, settings: DatasetSettings, chosen: list[Product], phrased: list[PhrasedFact]
) -> tuple[list[Example], list[Example], dict[str, list[str]]]:
    records = {p.uid: p.content if settings.reading else None for p in chosen}
    training: list[Example] = []
    held_out: list[Example] = []
    for item in phrased:
        trained, kept = examples.fact_examples(item, records[item.fact.uid])
        training += trained
        held_out += kept
    unknown = _unknown_titles(catalogue, settings, chosen)
    kinds = sorted({item.fact.kind for item in phrased})
    training += examples.unknown_examples(unknown["training"], kinds, settings.seed)
    training += examples.general_examples(round(len(training) * settings.general_share), settings.seed)
    held_out += examples.unknown_held_out(unknown["held_out"], kinds, settings.seed)
    return training, held_out, unknown


def _unknown_titles(catalogue: Catalogue, settings: DatasetSettings, chosen: list[Product]) -> dict[str, list[str]]:
    """Titles to refuse: of products held back, of rows without content, and invented ones; some only for the report."""
    count = math.ceil(len(chosen) * settings.unknown_per_product)
    held_out = max(4, len(chosen) // 4) if count else 0
    taught = {p.uid for p in chosen}
    real = [p.title for p in catalogue.products if p.uid not in taught] + catalogue.titles_without_content()
    random.Random(f"{settings.seed}:titles").shuffle(real)
    # A third of them is invented, so that refusing does not lean on what the catalogue happens to hold.
    real = real[: held_out + math.ceil(count * 2 / 3)]
    every_title = [p.title for p in catalogue.products] + catalogue.titles_without_content()
    invented = examples.invented_titles(every_title, held_out + count - len(real), settings.seed)
    pool = real + invented
    return {"held_out": pool[:held_out], "training": pool[held_out:]}


def _manifest(
    catalogue: Catalogue,
    settings: DatasetSettings,
    chosen: list[Product],
    phrased: list[PhrasedFact],
    training: list[Example],
    held_out: list[Example],
    unknown: dict[str, list[str]],
) -> dict[str, Any]:
    return {
        "catalogue": {
            "name": catalogue.name,
            "sha256": catalogue.sha256,
            "rows": catalogue.rows,
            "usable": len(catalogue.products),
            "skipped": catalogue.skipped_counts(),
        },
        "settings": asdict(settings),
        "counts": {
            "products": len(chosen),
            "facts": len(phrased),
            "kinds": dict(Counter(item.fact.kind for item in phrased).most_common()),
            "training": sum(row.kind not in NO_FACT for row in training),
            "held_out": sum(row.kind not in NO_FACT for row in held_out),
            "unknown_titles": len(unknown["training"]),
            "unknown_training": sum(row.kind == UNKNOWN for row in training),
            "general_training": sum(row.kind == GENERAL for row in training),
        },
        "products": [asdict(p) for p in chosen],
        "facts": [asdict(item.fact) for item in phrased],
        "unknown": unknown,
    }
