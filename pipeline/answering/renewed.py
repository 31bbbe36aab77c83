"""The catalogue that a run answers from: the one that its dataset was made of, or since `renew` a newer one.

A shop's prices and stock change every day, and the ways that read the catalogue need no training for it. What measures a run asks
the catalogue that it was taught (`as_taught`), or answers of today would be judged by yesterday's values.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.answering.lookup import Asked
from pipeline.answering.several import kept_facts
from pipeline.catalogue.cache import RENEWED
from pipeline.catalogue.catalogue import Catalogue, Product, title_key
from pipeline.catalogue.differences import differences, have_uids
from pipeline.catalogue.finding.index import open_index
from pipeline.catalogue.uploads import catalogue_with
from pipeline.dataset.store import Dataset
from pipeline.errors import CatalogueError, PipelineError
from pipeline.facts.extract import says
from pipeline.files import read_json, write_json
from pipeline.runs.folder import DATASET, read_settings, run_dataset

_measures: ContextVar[bool] = ContextVar("measures", default=False)


@dataclass(frozen=True)
class Source:
    """A catalogue that is answered from.

    Attributes:
        name: its file's.
        since: when it was chosen (ISO 8601); empty for the one that the run was taught.
    """

    name: str
    sha256: str
    since: str = ""


@contextmanager
def as_taught() -> Iterator[None]:
    """What is asked in this block measures the run, and is answered from the catalogue that it was taught."""
    before = _measures.set(True)
    try:
        yield
    finally:
        _measures.reset(before)


def source_of(dataset: Dataset) -> Source:
    """The catalogue that a run answers from. It is looked for at each question: another process may have chosen it."""
    return (None if _measures.get() else _renewed(dataset.folder)) or _taught(dataset)


def _taught(dataset: Dataset) -> Source:
    return Source(dataset.manifest["catalogue"]["name"], dataset.manifest["catalogue"]["sha256"])


def _renewed(folder: Path) -> Source | None:
    """What was chosen; a damaged file chooses nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        chosen = read_json(folder / RENEWED)
        values = chosen["name"], chosen["sha256"], chosen["since"]
        return Source(*values) if all(value and isinstance(value, str) for value in values) else None
    return None


def renew(run: Path, catalogue: Catalogue) -> str:
    """Let a run answer from another catalogue from now on, in every process; returns in a sentence what is new in it.

    Raises:
        CatalogueError: it has none of the products that the run was taught, by title or uid.
        PipelineError: it is no run.
    """
    read_settings(run)
    dataset = run_dataset(run)
    own = _own_catalogue(dataset)
    taught = dataset.manifest["products"]
    known = _known(catalogue, own, taught)
    if not known:
        raise CatalogueError(
            f"{catalogue.name} has none of the products that run {run.name} was taught ({len(taught):,}); "
            "choose a newer file of the same shop, or make a new run of this one."
        )
    said = _what_is_new(catalogue, own, known, len(taught))
    if catalogue.sha256 == _taught(dataset).sha256:
        as_it_was(run)
        return said
    open_index(catalogue)  # made now, so that no customer's question waits for it
    since = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(run / DATASET / RENEWED, {"name": catalogue.name, "sha256": catalogue.sha256, "since": since})
    return said


def as_it_was(run: Path) -> None:
    """Let a run answer from the catalogue that it was taught again.

    Raises:
        PipelineError: it is no run.
    """
    read_settings(run)
    (run / DATASET / RENEWED).unlink(missing_ok=True)


def _own_catalogue(dataset: Dataset) -> Catalogue | None:
    with suppress(PipelineError, OSError):  # it is compared with where it is to be had
        return catalogue_with(_taught(dataset).sha256)
    return None


def _known(catalogue: Catalogue, own: Catalogue | None, taught: list[dict[str, Any]]) -> int:
    """How many of the products that were taught a catalogue has."""
    keys = catalogue.has_titles({title_key(product["title"]) for product in taught})
    uids: set[str] = set()
    if own and have_uids(own, catalogue):
        uids = {product.uid for product in catalogue.at(catalogue.numbers_of({p["uid"] for p in taught}))}
    return sum(title_key(product["title"]) in keys or product["uid"] in uids for product in taught)


def _what_is_new(catalogue: Catalogue, own: Catalogue | None, known: int, taught: int) -> str:
    usable = f"{catalogue.usable:,} product{'' if catalogue.usable == 1 else 's'}"
    with suppress(CatalogueError):  # the taught one's copy is damaged, which is no reason to answer from it any longer
        if own:
            found = differences(own, catalogue)
            changed = f"{found.changed:,} with another record than the taught catalogue's"
            return f"{usable}, {found.new:,} new, {found.gone:,} gone, {changed}."
    return f"{usable}, among them {known:,} of the {taught:,} that were taught."


def value_now(asked: Asked, product: Product) -> str | None:
    """What the record of a taught product, as it is now, says to a question; None where it says nothing of it."""
    if asked.product is None or product.content == asked.product.content:
        return asked.expected
    stated = next((fact.value for fact in kept_facts(product) if fact.kind == asked.kind), None)
    still = asked.expected if asked.expected and says(asked.expected, product.content) else None
    return stated or still
