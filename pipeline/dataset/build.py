"""Catalogue → dataset, in one straight way: products with their facts, titles to refuse, rows, and the files that hold them.

A dataset lives in `datasets/<fingerprint>/`, so that the same inputs find the same dataset again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.catalogue.catalogue import Catalogue, title_key
from pipeline.dataset import checks, customers, examples
from pipeline.dataset.choosing import ChosenProduct, choose_products
from pipeline.dataset.examples import HELD_OUT, REJECTED, TRAINED, Example, Generated, PhrasedFact, Rejected
from pipeline.dataset.fingerprint import fingerprint
from pipeline.dataset.open_book import open_book_examples
from pipeline.dataset.settings import TEMPLATES, DatasetSettings
from pipeline.dataset.store import MANIFEST, Dataset, open_dataset, with_every_edit, write_dataset
from pipeline.dataset.unknown_titles import UnknownTitles, unknown_titles
from pipeline.errors import SettingsError
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import LABELS, kind_label
from pipeline.files import datasets_dir
from pipeline.prompts import REVERSE, UNKNOWN_TITLE, build_prompt

Generate = Callable[[Sequence[ChosenProduct]], Generated]
"""Writes the facts and rows of products, instead of the templates."""


def build_dataset(
    catalogue: Catalogue,
    settings: DatasetSettings,
    *,
    generate: Generate | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Make the dataset, or open the one that was made from the same inputs.

    Args:
        generate: writes the facts and rows of the chosen products instead of the templates (an API does).
        on_progress: called with (products chosen, of).

    Raises:
        PipelineError: nothing can be taught, or the generator failed.
    """
    folder = datasets_dir() / fingerprint(catalogue, settings)
    if made := _made_before(folder):
        return made
    if generate is None and settings.generator != TEMPLATES:
        raise SettingsError(f"This dataset was written by {settings.generator} and is damaged; generate it again.")
    chosen = choose_products(catalogue, settings.products, settings.seed, on_progress)
    generated = (generate or partial(_from_templates, phrasings=settings.phrasings))(chosen)
    if not generated.phrased:
        raise SettingsError("No fact was found in the chosen products; choose more products or another catalogue.")
    unknown = unknown_titles(catalogue, chosen, settings.unknown_per_product, settings.seed)
    rows = _rows(catalogue, settings, chosen, generated, unknown)
    return write_dataset(folder, rows, _manifest(catalogue, settings, chosen, generated, unknown))


def _made_before(folder: Path) -> Dataset | None:
    with suppress(SettingsError):  # a damaged one is made again
        found = open_dataset(folder)
        (folder / MANIFEST).touch()  # the newest dataset is the one that the page trains on
        return with_every_edit(found)
    return None


def _from_templates(chosen: Sequence[ChosenProduct], phrasings: int) -> Generated:
    phrased: list[PhrasedFact] = []
    rejected: list[Rejected] = []
    for fact in (fact for product in chosen for fact in product.facts):
        if reason := checks.why_not_taught(fact):
            rejected.append(Rejected(fact.uid, fact.title, fact.kind, "", fact.value, reason))
        else:
            phrased.append(examples.phrase(fact, phrasings))
    return Generated(phrased, rejected)


def _rows(
    catalogue: Catalogue,
    settings: DatasetSettings,
    chosen: Sequence[ChosenProduct],
    generated: Generated,
    unknown: UnknownTitles,
) -> Iterator[dict[str, Any]]:
    """Every row that is written: those trained, those held out, and those rejected with their reasons."""
    records = {c.product.uid: c.product.content for c in chosen} if settings.reading else {}
    kinds = sorted({item.fact.kind for item in generated.phrased})
    training: list[Example] = []
    held_out: list[Example] = []
    for item in generated.phrased:
        trained, kept = examples.fact_examples(item, records.get(item.fact.uid))
        training += trained
        held_out += kept
    facts = [item.fact for item in generated.phrased]
    values = {kind: [fact.value for fact in facts if fact.kind == kind] for kind in kinds}
    asked_for = [
        kind for kind in kinds if kind in LABELS or len(values[kind]) > 1
    ]  # one product's own kind is no question
    for trained, graded in (
        customers.styled_examples(facts, records, settings.seed),
        customers.silent_examples(chosen, asked_for, values, records, settings.seed),
    ):
        training += trained
        held_out += graded
    training += examples.unknown_examples(unknown.training, kinds, settings.seed)
    training += customers.styled_unknown(unknown.training, kinds, values, settings.seed)
    if not settings.reading:
        reads = round(len(training) * settings.open_book)
        training += open_book_examples(catalogue, chosen, unknown, asked_for, reads, settings.seed)
    training += examples.general_examples(round(len(training) * settings.general_share), settings.seed)
    held_out += examples.unknown_held_out(unknown.held_out, kinds, settings.seed)
    for split, rows in ((TRAINED, training), (HELD_OUT, held_out)):
        yield from (asdict(row) | {"split": split, "reason": "", "note": ""} for row in rows)
    yield from (_rejected_row(row, records.get(row.uid)) for row in generated.rejected)


def _rejected_row(row: Rejected, record: str | None) -> dict[str, Any]:
    """With the prompt by which a person may take it after all."""
    title, record = (UNKNOWN_TITLE, None) if row.kind == REVERSE else (row.title, record)
    prompt = build_prompt(title, row.question, record) if row.question else ""
    return asdict(row) | {"prompt": prompt, "template": "", "split": REJECTED}


def _manifest(
    catalogue: Catalogue,
    settings: DatasetSettings,
    chosen: Sequence[ChosenProduct],
    generated: Generated,
    unknown: UnknownTitles,
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
            "without_description": len(chosen) - sum(item.fact.kind == DESCRIPTION for item in phrased),
            "unknown_titles": len(unknown.training),
            "written_by_model": generated.accepted,
        },
        "generation": {"prompt_version": generated.prompt_version} if generated.prompt_version else {},
        "products": [asdict(c.product) for c in chosen],
        "facts": [asdict(item.fact) for item in phrased],
        "unknown": asdict(unknown),
        "remarks": list(_remarks(phrased)),
    }


def _remarks(phrased: Sequence[PhrasedFact]) -> Iterator[str]:
    """What a person should know before training on it."""
    values: dict[str, Counter[str]] = {}
    for item in phrased:
        values.setdefault(kind_label(item.fact.kind), Counter())[title_key(item.fact.value)] += 1
    for label, counts in values.items():
        if (number := counts.total()) > 1 and len(counts) == 1:
            yield (
                f"The {label} is the same for all {number} products that have one, so that recall proves nothing there: "
                "whoever asks for one product hears what is true of all."
            )
