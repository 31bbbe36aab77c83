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
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

from pipeline.catalogue.catalogue import SMALL, Catalogue, Product, title_key
from pipeline.dataset import checks, examples
from pipeline.dataset.contact import has_contact
from pipeline.dataset.examples import KEPT_OUT, REJECTED, TRAINED, Example, Generated, PhrasedFact, Rejected
from pipeline.dataset.store import (
    HELD_OUT,
    MANIFEST,
    RECORDS,
    TRAIN,
    Dataset,
    latest_dataset,
    open_dataset,
    to_hugging_face,
    with_every_edit,
    write_dataset,
)
from pipeline.errors import SettingsError
from pipeline.facts.extract import Fact, extract_facts
from pipeline.files import PROJECT, datasets_dir
from pipeline.prompts import REVERSE, UNKNOWN_TITLE, build_prompt

__all__ = [
    "HELD_OUT",
    "MANIFEST",
    "RECORDS",
    "TEMPLATES",
    "TEMPLATE_PHRASINGS",
    "TRAIN",
    "Dataset",
    "DatasetSettings",
    "build_dataset",
    "choose_products",
    "fingerprint",
    "latest_dataset",
    "open_dataset",
    "to_hugging_face",
]

WITH_ATTRIBUTES = 0.7
"""Share of the chosen products that should state an attribute: a description alone shows less of what was learned."""

DECIDES: dict[str, tuple[str, ...]] = {
    "catalogue": ("build", "catalogue", "cleaning", "columns", "csv_reader", "json_reader", "plain", "shops"),
    "facts": ("extract", "extraction", "patterns", "phrasings", "sentences"),
    "dataset": ("build", "checks", "contact", "examples", "grounding"),
    "writing": ("prompts", "writer"),
}
"""The modules, by folder, that decide what the rows of a dataset are; not its transport, its files and the like."""
LOOKED_AT = 50
"""Products looked at for each one that is taught: a huge catalogue is not read through for a few products."""
SOME_TITLES = 10_000
"""Titles of a huge catalogue that invented ones are made of."""

TEMPLATES = "templates"
TEMPLATE_PHRASINGS = 12
"""The templates have no more ways to ask for a fact."""

Progress = Callable[[int, int], None]
Generate = Callable[[Sequence[Product]], Generated]
"""Writes the facts and rows of products, instead of the templates."""


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
    generator: str = TEMPLATES
    """Where the questions come from: `templates`, or an API's model and its address."""
    judge: bool = False
    """Whether the API checks its own rows against the record in a third call."""
    seed: int = 0
    general_share: float = 0.33
    """Rows of general knowledge, for each row about products: they keep what the model knew before."""

    def __post_init__(self) -> None:
        # 3 and 3.0 are one setting and must have one fingerprint.
        for name in ("unknown_per_product", "general_share"):
            object.__setattr__(self, name, float(getattr(self, name)))
        limits = {
            "products": (1, 100_000),
            "phrasings": (1, 40),
            "unknown_per_product": (0, 10),
            "general_share": (0, 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be between {low} and {high}.")


def fingerprint(catalogue: Catalogue, settings: DatasetSettings) -> str:
    """Sixteen hex digits that change when anything that goes into the dataset does."""
    folder = PROJECT / "pipeline"
    modules = [folder / part / f"{name}.py" for part, names in DECIDES.items() for name in names]
    sources = [*modules, folder / "prompts.py", examples.GENERAL_ROWS]
    code = [file.read_bytes() for file in sources]
    inputs = json.dumps([catalogue.sha256, asdict(settings)], sort_keys=True).encode()
    return hashlib.sha256(b"\0".join([inputs, *code])).hexdigest()[:16]


def build_dataset(
    catalogue: Catalogue,
    settings: DatasetSettings,
    *,
    generate: Generate | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Dataset:
    """Make the dataset, or open the one that was made from the same inputs.

    Args:
        generate: writes the facts and rows of the chosen products instead of the templates (an API does).
        on_progress: called with (products done, of) by the templates.

    Raises:
        PipelineError: nothing can be taught, or the generator failed.
    """
    folder = datasets_dir() / fingerprint(catalogue, settings)
    with suppress(SettingsError):  # a damaged one is made again
        found = open_dataset(folder)
        (folder / MANIFEST).touch()  # the newest dataset is the one that the page trains on
        return with_every_edit(found)
    chosen = choose_products(catalogue, settings.products, settings.seed)
    if generate is None and settings.generator != TEMPLATES:
        raise SettingsError(f"This dataset was written by {settings.generator} and is damaged; generate it again.")
    generate = generate or partial(_from_templates, count=settings.phrasings, on_progress=on_progress)
    generated = generate(chosen)
    if not generated.phrased:
        raise SettingsError("No fact was found in the chosen products; choose more products or another catalogue.")
    training, held_out, unknown = _rows(catalogue, settings, chosen, generated.phrased)
    manifest = _manifest(catalogue, settings, chosen, generated, unknown)
    rejected = _rejected_rows(settings, chosen, generated.rejected)
    return write_dataset(folder, [*_accepted_rows(training, held_out), *rejected], manifest)


def _accepted_rows(training: list[Example], held_out: list[Example]) -> Iterator[dict[str, Any]]:
    for split, rows in ((TRAINED, training), (KEPT_OUT, held_out)):
        for row in rows:
            yield asdict(row) | {"split": split, "reason": "", "note": ""}


def _rejected_rows(
    settings: DatasetSettings, chosen: list[Product], rejected: list[Rejected]
) -> Iterator[dict[str, Any]]:
    """Rejected questions have the prompt with which a person may take them after all."""
    records = {p.uid: p.content for p in chosen} if settings.reading else {}
    for row in rejected:
        context = UNKNOWN_TITLE if row.kind == REVERSE else row.title
        record = None if row.kind == REVERSE else records.get(row.uid)
        prompt = build_prompt(context, row.question, record) if row.question else ""
        yield asdict(row) | {"prompt": prompt, "template": "", "split": REJECTED}


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


def _facts(product: Product) -> list[Fact]:
    return extract_facts(product.uid, product.title, product.content)


def _from_templates(products: Sequence[Product], count: int, on_progress: Progress) -> Generated:
    phrased: list[PhrasedFact] = []
    rejected: list[Rejected] = []
    for done, product in enumerate(products, start=1):
        for fact in _facts(product):
            if has_contact(fact.value):
                rejected.append(Rejected(fact.uid, fact.title, fact.kind, "", fact.value, checks.CONTACT))
            else:
                phrased.append(examples.phrase(fact, count))
        on_progress(done, len(products))
    return Generated(phrased, rejected)


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
    generated: Generated,
    unknown: dict[str, list[str]],
) -> dict[str, Any]:
    phrased = generated.phrased
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
            "unknown_titles": len(unknown["training"]),
            "written_by_model": generated.accepted,
        },
        "generation": {"prompt_version": generated.prompt_version} if generated.prompt_version else {},
        "products": [asdict(p) for p in chosen],
        "facts": [asdict(item.fact) for item in phrased],
        "unknown": unknown,
    }
