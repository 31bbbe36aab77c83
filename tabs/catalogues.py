"""The catalogues a person can choose from, and their products and skipped rows as the page shows them."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

from pipeline.data import facts
from pipeline.data.catalogue import SAMPLE, Catalogue, Product, read_catalogue
from pipeline.data.catalogue_cache import move_source
from pipeline.errors import CatalogueError
from pipeline.files import home
from tabs.shared import count, escape

SAMPLE_NAME = ""
"""The sample's value in the list of catalogues; an upload's is its file name."""


PREVIEW = 90
"""Characters of a content shown in the list; a picked row shows all of it."""


def uploads_dir() -> Path:
    """Where uploaded catalogues are kept, so that a reload finds them again."""
    return home() / "uploads"


def catalogue_choices() -> list[tuple[str, str]]:
    files = sorted(p.name for p in uploads_dir().glob("*") if p.is_file() and not p.name.startswith("."))
    return [("Sample catalogue", SAMPLE_NAME), *((name, name) for name in files)]


def open_catalogue(name: str | None) -> Catalogue:
    """The sample, or the upload of that name (looked up among those there are, never made into a path).

    Raises:
        CatalogueError: there is none of that name, or it cannot be read.
    """
    return read_catalogue(catalogue_path(name))


def catalogue_path(name: str | None) -> Path:
    """The file of that name, see above."""
    if not name:
        return SAMPLE
    path = next((p for p in uploads_dir().glob("*") if p.name == name), None)
    if path is None:
        raise CatalogueError(f"There is no uploaded catalogue {name}; upload it again.")
    return path


def keep_upload(path: Path) -> str:
    """Keep an uploaded catalogue once it is known to be one; returns its name in the list.

    Raises:
        CatalogueError: it cannot be used.
    """
    uploads_dir().mkdir(parents=True, exist_ok=True)
    name = path.name.lstrip(".") or "catalogue"
    with tempfile.TemporaryDirectory(dir=uploads_dir(), prefix=".") as aside:
        copy = Path(shutil.copyfile(path, Path(aside) / name))
        read_catalogue(copy)
        move_source(copy, uploads_dir() / name)
    return name


def catalogue_line(catalogue: Catalogue) -> str:
    return (
        f"<b>{count(catalogue.rows, 'product')}</b> · <b>{catalogue.usable:,}</b> usable · "
        f"<b>{catalogue.skipped_total:,}</b> skipped"
    )


class Cells(Sequence[list[str]]):
    """Rows of a table that are read when a page of them is shown."""

    def __init__(self, total: int, read: Callable[[int, int], list[list[str]]]) -> None:
        self.total = total
        self.read = read

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int) -> list[str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[str]]: ...
    def __getitem__(self, index: int | slice) -> list[str] | list[list[str]]:
        wanted = range(self.total)[index]
        if isinstance(wanted, int):
            return self.read(wanted, 1)[0]
        return self.read(wanted.start, len(wanted)) if wanted else []


def product_cells(name: str | None, words: str) -> Cells:
    catalogue, words = open_catalogue(name), words or ""
    return Cells(
        catalogue.matching(words),
        lambda start, count: [[p.title, short(p.content)] for p in catalogue.page(start, count, words)],
    )


def short(text: str, most: int = PREVIEW) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def skipped_cells(catalogue: Catalogue) -> Cells:
    return Cells(
        catalogue.skipped_total,
        lambda start, count: [[str(s.line), s.title, s.reason] for s in catalogue.skipped(start, count)],
    )


def reasons_line(skipped: dict[str, int]) -> str:
    return " · ".join(f"{number} × {escape(reason)}" for reason, number in skipped.items()) or "none"


def marked_record(product: Product) -> list[tuple[str, str | float | None]]:
    """The record with the facts found in it marked by their kind: the pieces of its text, in order."""
    found = [f for f in facts.extract_facts(product.uid, product.title, product.content) if f.kind != facts.DESCRIPTION]
    spans = sorted(((product.content.find(f.value), f) for f in found), key=lambda s: (s[0], -len(s[1].value)))
    pieces: list[tuple[str, str | float | None]] = []
    position = 0
    for start, fact in spans:
        if start < position:
            continue
        pieces += [(product.content[position:start], None), (fact.value, fact.kind.replace("_", " "))]
        position = start + len(fact.value)
    return [piece for piece in [*pieces, (product.content[position:], None)] if piece[0]]
