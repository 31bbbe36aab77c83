"""Exports of shop systems, whose rows are not yet products: what several rows and columns say becomes one row.

Every column that says something about the product becomes an attribute with a name and its whole value.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from pipeline.catalogue.cleaning import SkippedRow
from pipeline.catalogue.columns import MAGENTO, PRESTASHOP, SHOPIFY, WOOCOMMERCE, Columns, label_of

Record = dict[str, Any]
Numbered = tuple[int, Record]
Attributes = dict[str, list[str]]
"""Names, and the values that a product, or its variants, have."""

DETAILS = "details"
"""The column that is added: the attributes."""
VARIATION = "a variation of the product above it"
STORE_VIEW = "the words of another store view"

_METAFIELD = re.compile(r"\A(.+) \((?:product|variant)\.metafields\..+\)")
_UNIT = re.compile(r"\((\w+)\)")
_BREAK = re.compile(r"(?:\\r)?\\n")
_SHORTCODE = re.compile(
    r"\[/[a-z][\w-]*\]|\[[a-z][a-z0-9]{0,12}\](?=[^\[\]]{0,2000}\[/)|\[[a-z][a-z0-9]*[_-][\w-]*(?:\s[^\[\]]*)?/?\]|\[[a-z][a-z0-9]*\s+[\w-]+=[^\[\]]*\]",
    re.IGNORECASE,
)
"""WordPress's marks for what its plugins draw: [vc_row …], [gallery ids="1,2"], [/caption]."""
_CODE = re.compile(r",(?=[A-Za-z]\w*=)")


def products_of(rows: Iterable[Numbered], columns: Columns) -> Iterator[tuple[int, Record | SkippedRow]]:
    """One row for each product, with the attributes in the column `details`; or why a row is none."""
    readers = {SHOPIFY: _shopify, WOOCOMMERCE: _woocommerce, MAGENTO: _magento, PRESTASHOP: _prestashop}
    return readers[columns.export](rows) if columns.export in readers else iter(rows)


def content_columns(columns: Columns) -> tuple[str, ...]:
    """The columns that the content comes from once the rows are products."""
    return (*columns.content, DETAILS) if columns.export else columns.content


def _add(told: Attributes, name: str, *values: str) -> None:
    for value in map(str.strip, values):
        if name.strip() and value and value != "Default Title" and value not in told.setdefault(name.strip(), []):
            told[name.strip()].append(value)


def _shopify(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record]]:
    """The rows of one handle follow one another; the first has the title, the others add variants and pictures."""
    for _, group in groupby(rows, key=lambda numbered: numbered[1].get("Handle", "")):
        variants = list(group)
        number, first = variants[0]
        first = next((row for _, row in variants if row.get("Title")), first)
        yield number, first | {DETAILS: _shopify_details(first, [row for _, row in variants])}


def _shopify_details(first: Record, variants: list[Record]) -> Attributes:
    told: Attributes = {}
    for name in ("Vendor", "Type"):
        _add(told, name, first.get(name, ""))
    for n in (1, 2, 3):
        name = next((row[f"Option{n} Name"] for row in variants if row.get(f"Option{n} Name")), "")
        _add(told, name, *(row.get(f"Option{n} Value", "") for row in variants))
    for header, value in first.items():
        if field_name := _METAFIELD.fullmatch(header):
            _add(told, field_name[1], *value.split(";"))
    grams = {row.get("Variant Grams", "") for row in variants} - {"", "0", "0.0"}
    if len(grams) == 1 and "Weight" not in told:
        _add(told, "Weight", f"{grams.pop().removesuffix('.0')} g")
    return told


def _woocommerce(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record | SkippedRow]]:
    """A product lists the values that its variations have, so a variation's own row adds nothing."""
    for number, row in rows:
        if row.get("Type", "").strip().lower().startswith("variation"):
            yield number, SkippedRow(VARIATION)
        else:
            texts = {name: _SHORTCODE.sub(" ", _BREAK.sub("\n", value)) for name, value in row.items()}
            yield number, texts | {DETAILS: _woocommerce_details(row)}


def _woocommerce_details(row: Record) -> Attributes:
    told: Attributes = {}
    _add(told, "Brand", row.get("Brands", ""))
    for n in range(1, 100):
        if f"Attribute {n} name" not in row:
            break
        values = re.split(r"(?<!\\),", _BREAK.sub(" ", row.get(f"Attribute {n} value(s)", "")))
        _add(told, row[f"Attribute {n} name"], *(value.replace("\\,", ",") for value in values))
    measures = {header.partition(" (")[0]: (value, _unit(header)) for header, value in row.items() if value.strip()}
    if (weight := measures.get("Weight")) and weight[1]:
        _add(told, "Weight", " ".join(weight))
    sides = [measures[name] for name in ("Length", "Width", "Height") if name in measures]
    if len(sides) == 3 and sides[0][1]:
        _add(told, "Dimensions", f"{' x '.join(value for value, _ in sides)} {sides[0][1]}")
    return told


def _unit(header: str) -> str:
    found = _UNIT.search(header)
    return found[1] if found else ""


def _magento(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record | SkippedRow]]:
    """A store view's row says in its own words what the row without one says; only that one has all."""
    for number, row in rows:
        if row.get("store_view_code", "").strip().lower() not in ("", "default", "admin", "all"):
            yield number, SkippedRow(STORE_VIEW)
            continue
        told: Attributes = {}
        for part in _CODE.split(row.get("additional_attributes", "")):
            name, _, value = part.strip().strip('"').partition("=")
            _add(told, label_of(name), *value.strip('"').split("|"))
        yield number, row | {DETAILS: told}


def _prestashop(rows: Iterable[Numbered]) -> Iterator[tuple[int, Record]]:
    """`Feature (Name:Value:Position)`: several in one value, each with its name."""
    for number, row in rows:
        told: Attributes = {}
        header = next((name for name in row if re.match(r"features?\s*\(\s*name\s*:", name, re.IGNORECASE)), "")
        for part in re.split(r",(?=[^,:]+:(?!\d*(?::\d*)?(?:,|$)))", row.get(header, "")):
            name, _, rest = part.partition(":")
            # Behind the value stand its position, and whether it is the product's own: figures.
            _add(told, name, re.sub(r"(?::\d*){1,2}$", "", rest))
        brand = next((name for name in ("Manufacturer", "Brand") if row.get(name)), "")
        _add(told, brand, row.get(brand, ""))
        yield number, row | {DETAILS: told}
