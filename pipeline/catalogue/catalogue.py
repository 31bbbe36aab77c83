"""Catalogue: a light handle on a file's products, which stay on disk and are read a page at a time.

A catalogue is one JSON object a line (AmazonTitles-1.3MM's `trn.json`), one JSON list of them, or CSV; plain or gzipped.
What cannot be used is skipped and counted with its reason; a file of which nothing can be used is an error.
"""

import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import duckdb

from pipeline.catalogue.build import CONTENTS, EMPTY, PRODUCTS, SKIPPED, checked_rows, database, files
from pipeline.catalogue.cache import Cached, by_checksum, cached, discard
from pipeline.catalogue.cleaning import (
    MAX_TITLE_CHARACTERS,
    UNREADABLE_LINE,
    Product,
    Skipped,
    clean,
    product_of,
    title_key,
)
from pipeline.catalogue.columns import PLAIN, Columns, guess_columns, unknown_columns
from pipeline.catalogue.csv_reader import csv_blocks, is_csv, read_headers
from pipeline.catalogue.file_types import check_file
from pipeline.catalogue.json_reader import Block, Items, OnProgress, blocks, head, nothing_to_say, parsed
from pipeline.errors import CatalogueError
from pipeline.files import ASSETS

__all__ = [
    "MAX_TITLE_CHARACTERS",
    "SAMPLE",
    "UNREADABLE_LINE",
    "Catalogue",
    "Columns",
    "Product",
    "Skipped",
    "clean",
    "find_catalogue",
    "peek",
    "read_catalogue",
    "title_key",
]

SAMPLE = ASSETS / "catalogue.json"
"""The catalogue that ships with the project."""

FEW = 200
"""Numbers that stand in a query itself."""

SMALL = 100_000
"""Usable products up to which a seeded draw shuffles them all."""
PEEK_BYTES = 500_000
PEEK_ROWS = 200
HEAD_BYTES = 60_000
"""Of a JSON file, in which its fields' names are looked for."""


@dataclass(frozen=True)
class Catalogue:
    """What a catalogue file holds; its rows are in the cache's `folder`."""

    name: str
    sha256: str
    rows: int
    usable: int
    folder: Path = field(repr=False)
    empty: int
    """Distinct titles of rows that say nothing about their product, and that no usable product has."""
    reasons: dict[str, int] = field(default_factory=dict)
    source: Path = Path()
    """The file, which may be gone."""
    uid: str | None = None
    """The name of its column of uids, if it was looked for."""

    @property
    def skipped_total(self) -> int:
        return self.rows - self.usable

    @cached_property
    def has_uids(self) -> bool:
        """Whether its products have uids of their own, and not merely the numbers of their lines, which no page knows."""
        if self._rows("SELECT 1 FROM read_parquet($file) WHERE uid <> line::VARCHAR LIMIT 1", PRODUCTS):
            return True
        with suppress(OSError, CatalogueError):  # or they count 1, 2, 3 … themselves
            return self.uid in fields_of(self.source)
        return False

    def skipped_counts(self) -> dict[str, int]:
        """Reasons with their counts, the most frequent first."""
        return dict(self.reasons)

    def skipped(self, start: int = 0, count: int | None = None, *, reasons: Sequence[str] = ()) -> list[Skipped]:
        """The rows that cannot be taught (for one of `reasons`, if given), in the order of their lines."""
        if reasons:
            query = (
                "SELECT line, title, reason FROM read_parquet($file) WHERE reason IN (SELECT unnest($reasons)) "
                "ORDER BY number LIMIT $count OFFSET $start"
            )
            limits = {"start": start, "count": self.rows if count is None else count}
            return [Skipped(*row) for row in self._rows(query, SKIPPED, reasons=list(reasons), **limits)]
        query = (
            "SELECT line, title, reason FROM read_parquet($file) WHERE number BETWEEN $first AND $last ORDER BY number"
        )
        return [Skipped(*row) for row in self._rows(query, SKIPPED, **_between(start, count))]

    def page(self, start: int = 0, count: int | None = None, words: str = "") -> list[Product]:
        """Usable products in catalogue order; with `words`, those whose title holds every one of them."""
        if words.split():
            condition, values = _holds(words)
            values |= {"start": start, "count": self.usable if count is None else count}
            condition += " ORDER BY number LIMIT $count OFFSET $start"
        else:
            condition, values = "number BETWEEN $first AND $last ORDER BY number", _between(start, count)
        query = f"SELECT number, line, uid, title FROM read_parquet($file) WHERE {condition}"
        return self._with_contents(self._rows(query, PRODUCTS, **values))

    def matching(self, words: str = "") -> int:
        """How many products `page` has in all."""
        if not words.split():
            return self.usable
        condition, values = _holds(words)
        return self._rows(f"SELECT count(*) FROM read_parquet($file) WHERE {condition}", PRODUCTS, **values)[0][0]

    def at(self, numbers: Sequence[int]) -> list[Product]:
        """The products with these numbers (0 is the catalogue's first usable one), in this order."""
        chosen, values = _among("number", numbers)
        found = self._rows(
            f"SELECT number, line, uid, title FROM read_parquet($file) WHERE {chosen}", PRODUCTS, **values
        )
        products = dict(zip((row[0] for row in found), self._with_contents(found), strict=True))
        return [products[number] for number in numbers]

    def saying(self, groups: Sequence[Collection[str]], count: int, *, in_title: bool = False) -> list[Product]:
        """The first usable products whose title or record has a word of every group; a word stands for all that begin so.

        Args:
            in_title: whether their titles have to have them.
        """
        patterns = ["|".join(re.escape(word) for word in sorted(group)) for group in groups]
        text = "title" if in_title else "concat_ws(' ', title, content, attributes)"
        condition = " AND ".join(f"regexp_matches({text}, $group{n}, 'i')" for n in range(len(patterns))) or "true"
        query = (
            "SELECT number, line, uid, title FROM read_parquet($file) AS heads JOIN read_parquet($contents) AS said USING (line) "
            f"WHERE {condition} ORDER BY number LIMIT $count"
        )
        values = {f"group{n}": rf"\b(?:{pattern})" for n, pattern in enumerate(patterns)}
        contents = files(self.folder / CONTENTS)
        return self._with_contents(self._rows(query, PRODUCTS, contents=contents, count=count, **values))

    def order(self, count: int | None, seed: int | str) -> list[int]:
        """Numbers of products in a seeded order: all of them, or the first `count`."""
        return self.drawn(self.usable, count, seed)

    def drawn(self, total: int, count: int | None, seed: int | str) -> list[int]:
        """Distinct numbers below `total`, drawn with a seed; of a large catalogue no more are shuffled than are wanted."""
        rng, count = random.Random(seed), total if count is None else min(count, total)
        if self.usable > SMALL:
            return rng.sample(range(total), count)
        everything = list(range(total))
        rng.shuffle(everything)
        return everything[:count]

    def sample(self, count: int, seed: int | str, words: str = "") -> list[Product]:
        """Products drawn with a seed."""
        if not words.split():
            return self.at(self.order(count, seed))
        condition, values = _holds(words)
        query = f"SELECT number FROM read_parquet($file) WHERE {condition} ORDER BY number"
        found = [number for (number,) in self._rows(query, PRODUCTS, **values)]
        return self.at([found[n] for n in self.drawn(len(found), count, seed)])

    def titles(self, numbers: Sequence[int]) -> list[str]:
        """The titles of products, without reading more of them."""
        return self._titles(PRODUCTS, numbers)

    def all_titles(self) -> list[str]:
        """The titles of all usable products, in catalogue order: only for a small catalogue."""
        return [title for (title,) in self._rows("SELECT title FROM read_parquet($file) ORDER BY number", PRODUCTS)]

    def numbers_of(self, uids: Iterable[str]) -> list[int]:
        """The numbers of products by their uids, rising."""
        query = "SELECT number FROM read_parquet($file) WHERE uid IN (SELECT unnest($uids::VARCHAR[])) ORDER BY number"
        return [number for (number,) in self._rows(query, PRODUCTS, uids=list(uids))]

    def titles_without_content(self, count: int | None = None, seed: int | str = 0) -> list[str]:
        """Distinct titles of rows that say nothing about their product, and that no usable product has.

        Args:
            count: so many of them, drawn with `seed`; None: all, in the order of their lines.
        """
        if count is None:
            return [title for (title,) in self._rows("SELECT title FROM read_parquet($file) ORDER BY number", EMPTY)]
        return self.empty_titles(self.drawn(self.empty, count, seed))

    def empty_titles(self, numbers: Sequence[int]) -> list[str]:
        """Some of the titles without content, by their place among them."""
        return self._titles(EMPTY, numbers)

    def has_titles(self, keys: Iterable[str]) -> set[str]:
        """Which of these `title_key`s are the catalogue's, of a usable product or of a row without content."""
        query = "SELECT DISTINCT key FROM read_parquet($file) WHERE key IN (SELECT unnest($keys::VARCHAR[]))"
        wanted = list(keys)
        return {k for file in (PRODUCTS, EMPTY) for (k,) in self._rows(query, file, keys=wanted)}

    def _titles(self, file: str, numbers: Sequence[int]) -> list[str]:
        chosen, values = _among("number", numbers)
        titles = dict(self._rows(f"SELECT number, title FROM read_parquet($file) WHERE {chosen}", file, **values))
        return [titles[number] for number in numbers]

    def _with_contents(self, found: list[tuple[int, int, str, str]]) -> list[Product]:
        """Products from their number, line, uid and title."""
        lines = [line for _, line, _, _ in found]
        if not lines:
            return []
        chosen, values = _among("line", lines)
        query = (
            "SELECT line, content, attributes FROM read_parquet($files) WHERE line BETWEEN $first AND $last "
            f"AND {chosen}"
        )
        rows = self._rows(query, CONTENTS, first=min(lines), last=max(lines), **values)
        contents = {line: (content, attributes) for line, content, attributes in rows}
        return [product_of(uid, title, *contents[line]) for _, line, uid, title in found]

    def _rows(self, query: str, file: str, **values: Any) -> list[Any]:
        """Ask a file of the cache.

        Raises:
            CatalogueError: the cache was damaged or removed meanwhile; it is made again when the catalogue is opened.
        """
        place = self.folder / file
        source = {"files": files(place)} if file == CONTENTS else {"file": str(place)}
        try:
            with _reader(self.folder.parent).cursor() as cursor:
                return cursor.execute(query, source | values).fetchall()
        except duckdb.Error as error:
            discard(self.folder)
            raise CatalogueError(
                f"The prepared copy of {self.name} cannot be read; open the catalogue again."
            ) from error


@lru_cache(maxsize=1)
def _reader(spill: Path) -> duckdb.DuckDBPyConnection:
    """The one connection by which this process reads caches: to open one takes longer than most queries.

    Its cursors are connections of their own, so that any number of threads may ask at once.
    """
    return database(spill)


def read_catalogue(
    path: Path, *, columns: Columns | None = None, on_progress: OnProgress = nothing_to_say
) -> Catalogue:
    """Open a catalogue: clean it once into the cache, and from then on use that.

    Args:
        path: JSON, or by its name `.csv` or `.tsv`; optionally gzipped (recognised by its content, whatever its name).
        columns: which fields are title and content, where their names don't tell.
        on_progress: called with the bytes of the file that are read, and how many there are.

    Raises:
        ColumnsError: title or content is not to be recognised among the columns.
        CatalogueError: the file is missing, empty, not a catalogue, or holds no usable product.
    """
    check_file(path)
    return _of(cached(path, columns or _columns_of(path), on_progress), path.name)


def find_catalogue(sha256: str) -> Catalogue | None:
    """A catalogue that was read before, by its checksum; None where its prepared copy is gone."""
    found = by_checksum(sha256)
    if found is None:
        return None
    return _of(found, Path(found.about["source"]).name)


def _of(found: Cached, name: str) -> Catalogue:
    about = found.about
    _, _, uid, *_ = about["state"][2]
    return Catalogue(
        name,
        about["sha256"],
        about["rows"],
        about["usable"],
        found.folder,
        about["empty"],
        about["skipped"],
        Path(about["source"]),
        uid,
    )


def peek(path: Path, count: int = 25, *, columns: Columns | None = None) -> list[Product]:
    """The first usable rows of a file, at once: before it is read as a whole, so one of them may turn out to be ambiguous.

    Raises:
        CatalogueError: the file is missing, empty or no catalogue.
    """
    check_file(path)
    columns = columns or _columns_of(path)
    found: dict[str, Product] = {}
    for block in csv_blocks(path, columns, size=PEEK_ROWS) if is_csv(path) else _peeked(path):
        for one in checked_rows(parsed(block), columns)[1]:
            if not one.reason:
                found.setdefault(one.key, one.product())
            if len(found) == count:
                return list(found.values())
    return list(found.values())


def _peeked(path: Path) -> Iterator[Block]:
    """A list's first items, which are not worth reading the whole of it; or all lines."""
    first = Items(head(path, PEEK_BYTES))
    yield first
    if len(first.rows) < PEEK_ROWS:
        yield from blocks(path, size=PEEK_BYTES)


def _columns_of(path: Path) -> Columns:
    """The columns as far as their names tell; where a JSON file's don't, the plain ones, which it is then refused for.

    Raises:
        ColumnsError: it is CSV, and they must be chosen.
    """
    fields = fields_of(path)
    columns = guess_columns(fields)
    if columns is None and is_csv(path):
        raise unknown_columns(path.name, fields)
    return columns or PLAIN


def fields_of(path: Path) -> list[str]:
    """The names of a file's columns, or of the fields of its first rows where it is JSON; read once while it is the same.

    Raises:
        CatalogueError: it is CSV without columns, or not UTF-8 text.
    """
    found = path.stat()
    return list(_fields_of(path, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=32)
def _fields_of(path: Path, _changed: int, _size: int) -> tuple[str, ...]:
    if is_csv(path):
        return tuple(read_headers(path))
    rows = (row for _, row in head(path, HEAD_BYTES) if isinstance(row, dict))
    return tuple({name: None for row in rows for name in row})


def _between(start: int, count: int | None) -> dict[str, Any]:
    return {"first": start, "last": 1 << 62 if count is None else start + count - 1}


def _among(column: str, numbers: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """The condition that a column has one of these numbers, and its values.

    A few stand in the query itself: DuckDB then skips the row groups that have none of them, so that finding a product takes no
    longer in a large catalogue.
    """
    if len(numbers) <= FEW:
        return f"{column} IN ({', '.join(str(int(number)) for number in numbers) or 'NULL'})", {}
    return f"{column} IN (SELECT unnest(${column}s::BIGINT[]))", {f"{column}s": list(numbers)}


def _holds(words: str) -> tuple[str, dict[str, Any]]:
    """The condition that a title holds every word, and its values."""
    values: dict[str, Any] = {f"word{n}": word for n, word in enumerate(words.casefold().split())}
    return " AND ".join(f"contains(coalesce(folded, lower(title)), ${name})" for name in values), values
