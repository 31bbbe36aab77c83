"""Exports of shop systems, whose rows are not yet products: what several rows and columns say becomes one row.

Every column that says something about the product is added to its content as a sentence, "Colour: Red.", in which its
facts are then found as in any other text.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pipeline.catalogue.columns import SHOPIFY, WOOCOMMERCE, Columns

Record = dict[str, str]
Numbered = tuple[int, Record]

DETAILS = "details"
"""The column that is added."""
VARIATION = "a variation of the product above it"

_METAFIELD = re.compile(r"(.+) \((?:product|variant)\.metafields\..+\)")
_UNIT = re.compile(r"\((\w+)\)")
_BREAK = re.compile(r"(?:\\r)?\\n")


def products_of(rows: Iterable[Numbered], columns: Columns) -> Iterator[tuple[int, Record | str]]:
    """One row for each product, with the sentences in the column `details`; or why a row is none."""
    if columns.export == SHOPIFY:
        return _shopify(rows)
    return _woocommerce(rows) if columns.export == WOOCOMMERCE else iter(rows)


def content_columns(columns: Columns) -> tuple[str, ...]:
    """The columns that the content comes from once the rows are products."""
    return (*columns.content, DETAILS) if columns.export else columns.content


@dataclass
class _Options:
    """Names of options and the values that the variants of a product have."""

    values: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        if name and value and value != "Default Title":
            self.values.setdefault(name, {})[value] = None

    def sentences(self) -> str:
        return " ".join(_sentence(name, list(values)) for name, values in self.values.items())


def _sentence(name: str, values: Sequence[str]) -> str:
    """`Colour: Red, Green and Blue.`"""
    *most, last = (value.strip().rstrip(".") for value in values)
    return f"{name.strip()}: {', '.join(most)}{' and ' if most else ''}{last}."


def _shopify(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record]]:
    """The rows of one handle follow one another; the first has the title, the others add variants and pictures."""
    for _, group in groupby(rows, key=lambda numbered: numbered[1].get("Handle", "")):
        variants = list(group)
        number, first = variants[0]
        first = next((row for _, row in variants if row.get("Title")), first)
        yield number, first | {DETAILS: _shopify_details(first, [row for _, row in variants])}


def _shopify_details(first: Record, variants: list[Record]) -> str:
    told = _Options()
    for name in ("Vendor", "Type"):
        told.add(name, first.get(name, ""))
    for n in (1, 2, 3):
        name = first.get(f"Option{n} Name", "")
        for row in variants:
            told.add(name, row.get(f"Option{n} Value", ""))
    for header, value in first.items():
        if field_name := _METAFIELD.fullmatch(header):
            for part in value.split(";"):
                told.add(field_name[1], part.strip())
    grams = {row.get("Variant Grams", "") for row in variants} - {"", "0", "0.0"}
    if len(grams) == 1:
        told.add("Weight", f"{grams.pop().removesuffix('.0')} g")
    return told.sentences()


def _woocommerce(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record | str]]:
    """A product lists the values that its variations have, so a variation's own row adds nothing."""
    for number, row in rows:
        if row.get("Type", "").strip().lower().startswith("variation"):
            yield number, VARIATION
        else:
            texts = {name: _BREAK.sub(" ", value) for name, value in row.items()}
            yield number, texts | {DETAILS: _woocommerce_details(texts)}


def _woocommerce_details(row: Record) -> str:
    told = _Options()
    told.add("Brand", row.get("Brands", ""))
    for n in range(1, 100):
        if f"Attribute {n} name" not in row:
            break
        for value in row.get(f"Attribute {n} value(s)", "").split(","):
            told.add(row[f"Attribute {n} name"], value.strip())
    measures = {header.partition(" (")[0]: (value, _unit(header)) for header, value in row.items() if value.strip()}
    if weight := measures.get("Weight"):
        told.add("Weight", " ".join(weight).strip())
    sides = [measures[name] for name in ("Length", "Width", "Height") if name in measures]
    if len(sides) == 3:
        told.add("Dimensions", f"{' x '.join(value for value, _ in sides)} {sides[0][1]}".strip())
    return told.sentences()


def _unit(header: str) -> str:
    found = _UNIT.search(header)
    return found[1] if found else ""
