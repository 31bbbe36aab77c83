"""A catalogue's products, skipped rows and columns as the page shows them."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pipeline.catalogue import reading
from pipeline.catalogue.catalogue import Catalogue, Product
from pipeline.catalogue.columns import Columns
from pipeline.catalogue.reading import Reading
from pipeline.catalogue.uploads import open_catalogue
from pipeline.errors import CatalogueError
from pipeline.facts.extract import extract_facts
from pipeline.facts.patterns import DESCRIPTION
from tabs.ui.table import LazyRows
from tabs.ui.text import count, html, html_of, memory, progress_bar

PREVIEW = 90
"""Characters of a content shown in the list; a picked row shows all of it."""
SAMPLE_CHARACTERS, SAMPLE_COLUMNS = 80, 30
"""Of a file whose columns are to be chosen: so much of a value, and so many columns."""


def catalogue_line(catalogue: Catalogue) -> Markup:
    return html(
        "<span data-products='{rows}' data-usable='{usable}' data-skipped='{skipped}'>"
        "<b>{products}</b> · <b>{usable:,}</b> usable · <b>{skipped:,}</b> skipped</span>",
        rows=catalogue.rows, products=count(catalogue.rows, "product"), usable=catalogue.usable,
        skipped=catalogue.skipped_total,
    )  # fmt: skip


def reading_line(reading: Reading) -> Markup:
    """How far a reading is."""
    percent = round(100 * reading.done / reading.total) if reading.total else 0
    size = f" of {memory(reading.total)}" if reading.total else ""
    doing = "putting it in order" if percent == 100 else f"{percent}%{size} read"
    return html(
        "{}<span data-state='reading'><b>{}</b> · these are its first rows; the rest and the counts follow. The page can be "
        "left meanwhile.</span>",
        progress_bar(reading.done, reading.total),
        doing,
    )


def product_cells(name: str | None, words: str) -> Sequence[list[str]]:
    """Title, content and uid of the products; of a catalogue that is still being read, the first ones."""
    words = words or ""
    if on_its_way := reading.under_way(name):
        return [_cells(p) for p in on_its_way.first_rows() if all(w in p.title.casefold() for w in _split(words))]
    catalogue = open_catalogue(name)
    return LazyRows(
        catalogue.matching(words), lambda start, stop: [_cells(p) for p in catalogue.page(start, stop - start, words)]
    )


def product_of(name: str | None, uid: str) -> Product:
    """The product that was picked, whatever the list shows by now.

    Raises:
        CatalogueError: the catalogue has none of that uid any more.
    """
    if on_its_way := reading.under_way(name):
        found = [p for p in on_its_way.first_rows() if p.uid == uid]
    else:
        catalogue = open_catalogue(name)
        found = catalogue.at(catalogue.numbers_of([uid]))
    if not found:
        raise CatalogueError("This product is not in the catalogue that is shown now; pick it again.")
    return found[0]


def _cells(product: Product) -> list[str]:
    return [product.title, short(product.content), product.uid]


def _split(words: str) -> list[str]:
    return words.casefold().split()


def short(text: str, most: int = PREVIEW) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def no_match(words: str) -> str:
    """What to say where a search finds nothing."""
    return f"Nothing matches “{short(words.strip())}”"


def skipped_cells(catalogue: Catalogue, reason: str = "") -> Sequence[list[str]]:
    """Line, title and reason of the rows that are left out, of all of them or for one reason."""
    reasons = [reason] if reason else []
    return LazyRows(
        catalogue.skipped_counts().get(reason, 0) if reason else catalogue.skipped_total,
        lambda start, stop: [
            [str(s.line), s.title, s.reason] for s in catalogue.skipped(start, stop - start, reasons=reasons)
        ],
    )


def reason_choices(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Every reason with its count, for a person to look at its rows."""
    return [("all of them", ""), *((f"{n:,} × {reason}", reason) for reason, n in catalogue.skipped_counts().items())]


def columns_line(columns: Columns | None, *, chosen: bool) -> str:
    """How the columns are read, in one line (text)."""
    if columns is None:
        return ""
    contents = " and ".join(f"“{short(name, 60)}”" for name in columns.content)
    told = f"title from “{short(columns.title, 60)}”, description from {contents}"
    if columns.export:
        return f"Recognised as a {columns.export}: {told}, and what its other columns tell."
    return f"{'Chosen' if chosen else 'Recognised'}: {told}."


def samples_table(fields: Sequence[str], samples: Sequence[dict[str, Any]]) -> Markup:
    """What the columns of a file hold, each with its first values."""
    rows = html_of(
        html(
            "<tr><th>{}</th><td>{}</td></tr>",
            short(name, SAMPLE_CHARACTERS),
            html_of((short(_flat(row.get(name)), SAMPLE_CHARACTERS) or "–" for row in samples), "<br>"),
        )
        for name in fields[:SAMPLE_COLUMNS]
    )
    more = len(fields) - SAMPLE_COLUMNS
    rest = html("<p class='small'>… and {}.</p>", count(more, "more column")) if more > 0 else ""
    return html("<table class='samples'>{}</table>{}", rows, rest)


def _flat(value: Any) -> str:
    return " ".join(("" if value is None else str(value)).split())


def marked_record(product: Product) -> list[tuple[str, str | float | None]]:
    """The record with the facts found in it marked by their kind: the pieces of its text, in order."""
    found = [
        f
        for f in extract_facts(product.uid, product.title, product.content, product.attributes)
        if f.kind != DESCRIPTION
    ]
    spans = sorted(((product.content.find(f.value), f) for f in found), key=lambda s: (s[0], -len(s[1].value)))
    pieces: list[tuple[str, str | float | None]] = []
    position = 0
    for start, fact in spans:
        if start < position:
            continue
        pieces += [(product.content[position:start], None), (fact.value, fact.kind.replace("_", " "))]
        position = start + len(fact.value)
    return [piece for piece in [*pieces, (product.content[position:], None)] if piece[0]]
