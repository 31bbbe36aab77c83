"""Which columns of a file are a product's title, content and uid: chosen by a person, or recognised by their names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.catalogue.cleaning import clean
from pipeline.errors import ColumnsError

SHOPIFY, WOOCOMMERCE = "Shopify export", "WooCommerce export"

TITLES = ("title", "name", "product name", "product title", "item name", "item title", "product")
CONTENTS = (
    "content",
    "short description",
    "description",
    "product description",
    "long description",
    "item description",
    "body html",
    "body",
    "text",
    "details",
    "features",
)
UIDS = ("uid", "id", "sku", "product id", "item id", "handle", "asin", "isbn", "ean", "gtin")


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns, or of its rows' fields where it is JSON."""

    title: str
    content: tuple[str, ...]
    """Their texts follow one another."""
    uid: str | None = None
    """None: the number of the row is its uid."""
    export: str = ""
    """The shop system whose export it is: several of its rows are one product, and more columns say something."""

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Columns":
        """From what `asdict` gave once it has been JSON.

        Raises:
            KeyError, TypeError: it is something else.
        """
        values: dict[str, Any] = kept | {"content": tuple(kept["content"])}
        return cls(**values)


PLAIN = Columns("title", ("content",), "uid")
"""The names that this project's own catalogue has, and AmazonTitles-1.3MM's."""


def guess_columns(headers: Sequence[str]) -> Columns | None:
    """The columns by their names, or None where title or content is not to be recognised."""
    if {"Handle", "Title", "Body (HTML)"} <= set(headers):
        return Columns("Title", ("Body (HTML)",), "Handle", SHOPIFY)
    if {"Type", "SKU", "Name", "Description"} <= set(headers):
        contents = tuple(name for name in ("Short description", "Description") if name in headers)
        return Columns("Name", contents, "ID" if "ID" in headers else "SKU", WOOCOMMERCE)
    if {"title", "content"} <= set(headers):
        return PLAIN
    by_name = {_plain(header): header for header in reversed(headers)}
    title, uid = (next((by_name[n] for n in names if n in by_name), None) for names in (TITLES, UIDS))
    contents = tuple(by_name[name] for name in CONTENTS if name in by_name)
    return Columns(title, contents, uid) if title and contents else None


def check_columns(name: str, columns: Columns, headers: Iterable[str], kind: str = "column") -> None:
    """Refuse columns of which title or content are not there.

    Raises:
        ColumnsError: the title is missing, or all contents are.
    """
    found = list(headers)
    missing = [] if columns.title in found else [columns.title]
    missing += [] if set(columns.content) & set(found) else columns.content
    if missing:
        raise ColumnsError(
            f"{name} has no {kind} named {_told(missing, ' or ')} (its {kind}s are {_told(found[:6], ', ')}); "
            "say which are its title and its content, or rename them.",
            found,
        )


def unknown_columns(name: str, headers: Sequence[str]) -> ColumnsError:
    """What to raise where nothing can be guessed."""
    found = _told(headers[:12], ", ")
    return ColumnsError(
        f"{name} has the columns {found}; choose which is the title and which the description.", headers
    )


def _told(names: Sequence[str], joint: str) -> str:
    return clean(joint.join(names))[:200]


def _plain(header: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", header.casefold()))
