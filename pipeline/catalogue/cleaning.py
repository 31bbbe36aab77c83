"""What makes a row a product: the text of its fields, cleaned, and the reasons for which it cannot be taught.

This is the exact rule for every row. `plain.py` is its twin in SQL for rows that hold nothing odd; it must never say
anything else.
"""

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_LINE_BYTES = 4_000_000
MAX_TITLE_CHARACTERS = 300
MIN_CONTENT_WORDS = 4

NO_TITLE = "no title"
TITLE_TOO_LONG = f"title over {MAX_TITLE_CHARACTERS} characters"
NO_CONTENT = "no content"
STUB = f"content under {MIN_CONTENT_WORDS} words"
CONTENT_IS_TITLE = "content only repeats the title"
DUPLICATE = "the same product again"
AMBIGUOUS = "one title with different contents"
UNREADABLE = "line is not JSON"
NOT_TEXT = "line is not UTF-8 text"
LINE_TOO_LONG = f"line over {MAX_LINE_BYTES // 1_000_000} MB"
NOT_A_PRODUCT = "line is not a product"
DAMAGED = "the gzip file is damaged from here on"
UNREADABLE_LINE = (UNREADABLE, NOT_TEXT, LINE_TOO_LONG, NOT_A_PRODUCT, DAMAGED)
"""Reasons that say something about the file, not about a product."""
SAYS_NOTHING = (NO_CONTENT, STUB, CONTENT_IS_TITLE)
"""Reasons of rows that have a title and nothing to say about it."""

# What is opened again before it is closed is left to the last pattern, so hostile text costs linear time.
_TAG = re.compile(
    r"<(?:script|style)\b(?:(?!<(?:script|style)\b).)*?</(?:script|style)\s*>"
    r"|<!--(?:(?!<!--).)*?-->|</?[a-zA-Z][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_BOILERPLATE = re.compile(r" ?-{1,2} ?This (?:text|edition) refers to .*$", re.IGNORECASE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Product:
    """One product, cleaned: plain text on one line each."""

    uid: str
    title: str
    content: str
    attributes: tuple[tuple[str, str], ...] = ()
    """Names and values that the catalogue gives apart from its text; the content ends with them as "Name: value."."""

    def __post_init__(self) -> None:
        # A manifest has lists, and one of an earlier version has none.
        object.__setattr__(self, "attributes", tuple((name, value) for name, value in self.attributes))


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be taught, and why. `line` counts from 1 (for a JSON list, its items do; for CSV, its rows)."""

    line: int
    title: str
    reason: str


class Checked(NamedTuple):
    """A row as it stands by itself: whether another row has the same title is not known yet."""

    line: int
    uid: str
    title: str
    content: str
    key: str
    folded: str | None
    """The title as searching sees it, where that is not merely its ASCII letters in lower case."""
    reason: str
    attributes: str = ""
    """JSON, a list of names and values; empty where there is none."""

    def product(self) -> Product:
        return product_of(self.uid, self.title, self.content, self.attributes)


def product_of(uid: str, title: str, content: str, attributes: str) -> Product:
    """A product from what is stored of it."""
    return Product(uid, title, content, json.loads(attributes) if attributes else ())


def clean(text: str) -> str:
    """Unescape entities (twice where they were escaped twice), drop tags and boilerplate, fold white space."""
    for _ in range(3):
        unescaped = html.unescape(text)
        if unescaped == text:
            break
        text = unescaped
    if "<" in text:
        text = _TAG.sub(" ", text)
    printable = text.isprintable()  # then a space is its only white space
    text = text.strip(" ") if printable and "  " not in text else " ".join(text.split())
    if "-" in text and "refers to" in text.casefold():
        text = _BOILERPLATE.sub("", text)
    if not printable and not text.isprintable():
        # Invisible characters (zero-width, direction marks, controls) would make equal texts differ.
        text = " ".join("".join(c for c in text if unicodedata.category(c)[0] != "C").split())
    return unicodedata.normalize("NFC", text).strip()


def title_key(title: str) -> str:
    """What makes two titles the same: letters and digits, without case."""
    return " ".join(_WORD.findall(title.casefold()))


def checked(line: int, uid: Any, title: Any, contents: Sequence[Any]) -> Checked:
    """A row from the values of its fields; several contents become one text, and a mapping among them its attributes."""
    name = text_of(title)
    content = " ".join(filter(None, map(text_of, contents)))
    attributes = _attributes(pair for value in contents if isinstance(value, Mapping) for pair in value.items())
    row = judged(line, text_of(uid) or str(line), name, _with_attributes(content, attributes))
    return row._replace(attributes=json.dumps(attributes, ensure_ascii=False)) if attributes else row


def _attributes(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """Names and values, cleaned; of a list the whole of it is the value."""
    found: dict[str, str] = {}
    for name, value in pairs:
        parts = [text_of(part) for part in value] if isinstance(value, list | tuple) else [text_of(value)]
        told, label = ", ".join(filter(None, parts)).rstrip(" ."), text_of(name).strip(" .:")
        if label and told:
            found.setdefault(label, told)
    return list(found.items())


def _with_attributes(content: str, attributes: Sequence[tuple[str, str]]) -> str:
    """The record as it is read, by a person or a model: its text, then "Name: value." for each attribute."""
    text = f"{content}." if content and attributes and content[-1].isalnum() else content
    return " ".join([*([text] if text else []), *(f"{name}: {value}." for name, value in attributes)])


def judged(line: int, uid: str, title: str, content: str) -> Checked:
    """The same, from texts that are clean already."""
    key = title_key(title)
    reason = _reason_to_skip(title, key, content)
    folded = None if title.isascii() else title.casefold()
    return Checked(line, uid, title, content, key, folded, reason)


def not_a_row(line: int, reason: str) -> Checked:
    return Checked(line, "", "", "", "", None, reason)


def text_of(value: Any) -> str:
    if isinstance(value, list):
        return clean(" ".join(str(v) for v in value if _is_plain(v)))
    return clean(str(value)) if _is_plain(value) else ""


def _is_plain(value: Any) -> bool:
    """Text or a number; pandas writes what is missing as NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _reason_to_skip(title: str, key: str, content: str) -> str:
    if not key:
        return NO_TITLE
    if len(title) > MAX_TITLE_CHARACTERS:
        return TITLE_TOO_LONG
    if not content:
        return NO_CONTENT
    if _only_repeats(key, content):
        return CONTENT_IS_TITLE
    return "" if len(content.split(None, MIN_CONTENT_WORDS - 1)) == MIN_CONTENT_WORDS else STUB


def _only_repeats(key: str, content: str) -> bool:
    """Whether the content's key is `key`; most contents show with their first word that it is not."""
    first = _WORD.search(content[:100].casefold())
    return (first is None or key.startswith(first.group())) and title_key(content) == key
