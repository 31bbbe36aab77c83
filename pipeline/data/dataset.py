"""Catalogue → dataset: which products are taught, what is asked, and the files that hold it.

A dataset lives in `datasets/<fingerprint>/`. The fingerprint is a digest of everything that goes in (the catalogue's
bytes, the settings, the code that writes questions), so that the same inputs find the same dataset again.
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.prompts import GENERAL, NO_FACT, UNKNOWN
from pipeline.data import examples, facts
from pipeline.data.catalogue import SMALL, Catalogue, Product, title_key
from pipeline.data.examples import Example, PhrasedFact
from pipeline.errors import SettingsError
from pipeline.files import datasets_dir, read_json, read_jsonl, whole_folder, write_json, write_jsonl

if TYPE_CHECKING:
    import datasets

TRAIN, HELD_OUT, RECORDS, MANIFEST = "train.jsonl", "heldout.jsonl", "dataset.json", "manifest.json"

WITH_ATTRIBUTES = 0.7
"""Share of the chosen products that should state an attribute: a description alone shows less of what was learned."""

LOOKED_AT = 50
"""Products looked at for each one that is taught: a huge catalogue is not read through for a few products."""
SOME_TITLES = 10_000
"""Titles of a huge catalogue that invented ones are made of."""

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
    order = catalogue.order(count * LOOKED_AT, seed)
    if count >= catalogue.usable:
        return catalogue.at(order)
    wanted, rich = math.ceil(count * WITH_ATTRIBUTES), set[int]()
    for place, product in enumerate(_in_turn(catalogue, order, count)):
        if len(_facts(product)) > 1:
            rich.add(place)
        if len(rich) == wanted:
            break
    others = (place for place in range(len(order)) if place not in rich)
    chosen = sorted([*rich, *islice(others, count - len(rich))])
    return catalogue.at([order[place] for place in chosen])


def _in_turn(catalogue: Catalogue, order: Sequence[int], count: int) -> Iterator[Product]:
    """Products in this order, read some at a time: mostly a few more than `count` are looked at."""
    start, end = 0, 2 * count
    while start < len(order):
        yield from catalogue.at(order[start:end])
        start, end = end, 3 * end


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
    # A third of them is invented, so that refusing does not lean on what the catalogue happens to hold.
    real = _real_titles(catalogue, chosen, held_out + math.ceil(count * 2 / 3), f"{settings.seed}:titles")
    pool = real + _invented_titles(catalogue, held_out + count - len(real), settings.seed)
    return {"held_out": pool[:held_out], "training": pool[held_out:]}


def _real_titles(catalogue: Catalogue, chosen: list[Product], count: int, seed: str) -> list[str]:
    """Titles drawn from those of products that are not taught and of rows without content, taken as one list."""
    taught = catalogue.numbers_of(p.uid for p in chosen)
    others = catalogue.usable - len(taught)
    drawn = catalogue.drawn(others + catalogue.empty, count, seed)
    # The products' part of the list has no gaps where the taught ones are: each number moves past those before it.
    gaps = [number - place for place, number in enumerate(taught)]
    numbers = {n: n + bisect_right(gaps, n) for n in drawn if n < others}
    of_products = dict(zip(numbers, catalogue.titles(list(numbers.values())), strict=True))
    empty = [n for n in drawn if n >= others]
    titles = of_products | dict(zip(empty, catalogue.empty_titles([n - others for n in empty]), strict=True))
    return [titles[n] for n in drawn]


def _invented_titles(catalogue: Catalogue, count: int, seed: int) -> list[str]:
    if catalogue.usable + catalogue.empty <= SMALL:
        return examples.invented_titles([*catalogue.all_titles(), *catalogue.titles_without_content()], count, seed)
    some = catalogue.titles(catalogue.order(SOME_TITLES, f"{seed}:halves"))
    invented = examples.invented_titles(some, 2 * count, seed)  # some of them may be the catalogue's after all
    taken = catalogue.has_titles(map(title_key, invented))
    return [title for title in invented if title_key(title) not in taken][:count]


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
            "usable": catalogue.usable,
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
