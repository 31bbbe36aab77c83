"""Product, and the reading and cleaning of a catalogue file.

A catalogue is one JSON object a line (AmazonTitles-1.3MM's `trn.json`), or one JSON list of them, plain or gzipped.
What cannot be used is skipped and counted with its reason; a file of which nothing can be used is an error.
"""

import gzip
import hashlib
import html
import json
import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import CatalogueError
from pipeline.files import ASSETS

SAMPLE = ASSETS / "catalogue.json"
"""The catalogue that ships with the project."""

MAX_LINE_BYTES = 4_000_000
MAX_LIST_BYTES = 400_000_000
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

# What is opened again before it is closed is left to the last pattern, so hostile text costs linear time.
_TAG = re.compile(
    r"<(?:script|style)\b(?:(?!<(?:script|style)\b).)*?</(?:script|style)\s*>"
    r"|<!--(?:(?!<!--).)*?-->|</?[a-zA-Z][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_BOILERPLATE = re.compile(r" ?-{1,2} ?This (?:text|edition) refers to .*$", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """One product, cleaned: plain text on one line each."""

    uid: str
    title: str
    content: str


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be taught, and why. `line` counts from 1 (for a JSON list, its items do)."""

    line: int
    title: str
    reason: str


@dataclass
class Catalogue:
    """What a catalogue file holds."""

    name: str
    sha256: str
    products: list[Product] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.products) + len(self.skipped)

    def skipped_counts(self) -> dict[str, int]:
        """Reasons with their counts, the most frequent first."""
        return dict(Counter(s.reason for s in self.skipped).most_common())

    def titles_without_content(self) -> list[str]:
        """Distinct titles of rows that say nothing about their product, and that no usable product has."""
        taught = {title_key(p.title) for p in self.products}
        empty = {NO_CONTENT, STUB, CONTENT_IS_TITLE}
        titles = {title_key(s.title): s.title for s in self.skipped if s.reason in empty}
        return [title for key, title in titles.items() if key not in taught]

    def search(self, words: str) -> list[Product]:
        """Products whose title holds every one of the words, in catalogue order."""
        wanted = words.casefold().split()
        return [p for p in self.products if all(w in p.title.casefold() for w in wanted)]


def read_catalogue(path: Path) -> Catalogue:
    """Read and clean a catalogue.

    Args:
        path: `.json` or `.jsonl`, optionally gzipped (recognised by its content, whatever its name).

    Raises:
        CatalogueError: the file is missing, empty, not a catalogue, or holds no usable product.
    """
    if not path.is_file():
        raise CatalogueError(f"There is no file {path.name or path}; choose a catalogue (.json, .jsonl or .gz).")
    if path.stat().st_size == 0:
        raise CatalogueError(f"{path.name} is empty; choose a catalogue with one JSON object a line.")
    catalogue = Catalogue(path.name, _sha256(path))
    _take(_whole_rows(path, catalogue), catalogue)
    _refuse_useless(catalogue)
    return catalogue


def clean(text: str) -> str:
    """Unescape entities (twice where they were escaped twice), drop tags and boilerplate, fold white space."""
    for _ in range(3):
        unescaped = html.unescape(text)
        if unescaped == text:
            break
        text = unescaped
    text = " ".join(_TAG.sub(" ", text).split())
    text = _BOILERPLATE.sub("", text)
    # Invisible characters (zero-width, direction marks, controls) would make equal texts differ.
    text = "".join(c if c.isspace() or unicodedata.category(c)[0] != "C" else "" for c in text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def title_key(title: str) -> str:
    """What makes two titles the same: letters and digits, without case."""
    return " ".join(re.findall(r"\w+", title.casefold()))


def _whole_rows(path: Path, catalogue: Catalogue) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows, up to where a gzip file is damaged."""
    number = 0
    try:
        for number, row in _rows(path, catalogue):
            yield number, row
    except (gzip.BadGzipFile, EOFError, zlib.error):
        catalogue.skipped.append(Skipped(number + 1, "", DAMAGED))


def _rows(path: Path, catalogue: Catalogue) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as plain:
        magic = plain.read(2)
    with cast(BinaryIO, gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb")) as file:
        head = file.read(4096)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise CatalogueError(f"{path.name} is UTF-16 text; save it as UTF-8 and choose it again.")
        file.seek(0)
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            yield from _list_rows(path.name, file, catalogue)
        else:
            yield from _line_rows(file, catalogue)


def _line_rows(file: BinaryIO, catalogue: Catalogue) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            catalogue.skipped.append(Skipped(number, "", LINE_TOO_LONG))
        elif line.strip():
            yield from _parsed(number, line, catalogue)


def _parsed(number: int, line: bytes, catalogue: Catalogue) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        catalogue.skipped.append(Skipped(number, "", NOT_TEXT))
    except (ValueError, RecursionError):
        catalogue.skipped.append(Skipped(number, "", UNREADABLE))
    else:
        if isinstance(row, dict):
            yield number, row
        else:
            catalogue.skipped.append(Skipped(number, "", NOT_A_PRODUCT))


def _list_rows(name: str, file: BinaryIO, catalogue: Catalogue) -> Iterator[tuple[int, dict[str, Any]]]:
    data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise CatalogueError(f"{name} is one JSON list of over 400 MB; save it as one JSON object a line.")
    try:
        rows = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        line = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CatalogueError(f"{name} is a JSON list that breaks off{line}; save it again as valid JSON.") from error
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield number, row
        else:
            catalogue.skipped.append(Skipped(number, "", NOT_A_PRODUCT))


def _take(rows: Iterator[tuple[int, dict[str, Any]]], catalogue: Catalogue) -> None:
    """Fill `catalogue` with what each row is good for."""
    fields: Counter[str] = Counter()
    taken: list[tuple[int, Product]] = []
    first_content: dict[str, str] = {}
    ambiguous: set[str] = set()
    uids: set[str] = set()
    for number, row in rows:
        fields.update(row.keys())
        title, content = (_text(row.get(name)) for name in ("title", "content"))
        reason, key = _reason_to_skip(title, content), title_key(title)
        if not reason and key in first_content:
            reason = DUPLICATE if first_content[key] == content else AMBIGUOUS
            if reason == AMBIGUOUS:
                ambiguous.add(key)
        if reason:
            catalogue.skipped.append(Skipped(number, title[:MAX_TITLE_CHARACTERS], reason))
        else:
            first_content[key] = content
            uid = _text(row.get("uid")) or str(number)
            while uid in uids:  # facts are told apart by it
                uid += f"-{number}"
            uids.add(uid)
            taken.append((number, Product(uid, title, content)))
    _refuse_other_fields(catalogue.name, fields)
    # A title with two contents cannot be answered from the title: its first row goes as well.
    for number, product in taken:
        if title_key(product.title) in ambiguous:
            catalogue.skipped.append(Skipped(number, product.title, AMBIGUOUS))
        else:
            catalogue.products.append(product)


def _refuse_other_fields(name: str, fields: Counter[str]) -> None:
    missing = [needed for needed in ("title", "content") if fields and needed not in fields]
    if missing:
        found = clean(", ".join(sorted(fields)[:6]))[:200]
        raise CatalogueError(
            f"{name} has no field named {' or '.join(missing)} (its fields are {found}); rename its columns."
        )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return clean(" ".join(str(v) for v in value if _is_plain(v)))
    return clean(str(value)) if _is_plain(value) else ""


def _is_plain(value: Any) -> bool:
    """Text or a number; pandas writes what is missing as NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _reason_to_skip(title: str, content: str) -> str:
    if not title_key(title):
        return NO_TITLE
    if len(title) > MAX_TITLE_CHARACTERS:
        return TITLE_TOO_LONG
    if not content:
        return NO_CONTENT
    if title_key(content) == title_key(title):
        return CONTENT_IS_TITLE
    return STUB if len(content.split()) < MIN_CONTENT_WORDS else ""


def _refuse_useless(catalogue: Catalogue) -> None:
    if catalogue.products:
        return
    counts = catalogue.skipped_counts()
    if DAMAGED in counts:
        raise CatalogueError(f"{catalogue.name} is a damaged gzip file; download it again.")
    readable = sum(n for reason, n in counts.items() if reason not in (UNREADABLE, NOT_TEXT, NOT_A_PRODUCT))
    if not readable and NOT_TEXT in counts:
        raise CatalogueError(f"{catalogue.name} is not UTF-8 text; save it as UTF-8 and choose it again.")
    if not readable:
        raise CatalogueError(
            f'{catalogue.name} is not a catalogue: it needs one JSON object a line, as {{"title": "…", "content": "…"}}.'
        )
    why = ", ".join(f"{n} × {reason}" for reason, n in counts.items())
    raise CatalogueError(
        f"No product of {catalogue.name} can be used ({why}); it needs rows with a title and a content."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
