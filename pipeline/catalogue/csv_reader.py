"""CSV and TSV files, plain or gzipped: headers, sample values, and rows. Text is UTF-8; everything is a string."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from pipeline.catalogue import cleaning
from pipeline.catalogue.cleaning import DAMAGED, LINE_TOO_LONG
from pipeline.catalogue.columns import Columns, check_columns
from pipeline.catalogue.json_reader import DAMAGE, ITEMS, Block, Items, Progress, Row, decompressed, nothing_to_say
from pipeline.catalogue.shops import Record, products_of
from pipeline.errors import CatalogueError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
HEAD_BYTES = 200_000

Line = list[str] | str
"""The values of a row, or why there are none."""


def is_csv(path: Path) -> bool:
    """Whether the name says so: `.csv`, `.tsv`, also with `.gz` after it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix in DELIMITERS


def read_headers(path: Path) -> list[str]:
    """The names of a CSV file's columns; each is there once and has a name.

    Raises:
        CatalogueError: it has none, or is not UTF-8 text.
    """
    with path.open("rb") as file:
        return _headers(path, _lines(path, decompressed(file)))


def read_samples(path: Path, count: int = 3) -> list[Record]:
    """The first rows of a CSV file as they stand, to show what its columns hold.

    Raises:
        CatalogueError: it has no columns, or is not UTF-8 text.
    """
    with path.open("rb") as file:
        lines = _lines(path, decompressed(file))
        headers = _headers(path, lines)
        return [row for _, row in islice(_records(lines, headers), count) if isinstance(row, dict)]


def csv_blocks(
    path: Path, columns: Columns, on_progress: Progress = nothing_to_say, size: int = ITEMS
) -> Iterator[Block]:
    """All products of the file, in order. A row's number is the one that a spreadsheet shows: the headers are row 1.

    Raises:
        CatalogueError: it is not UTF-8 text, or has not these columns.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        lines = _lines(path, decompressed(file))
        headers = _headers(path, lines)
        check_columns(path.name, columns, headers)
        products = _products(_records(lines, headers), columns)
        while some := list(islice(products, size)):
            yield Items(some)
            on_progress(min(file.tell(), total), total)
        yield Items([])


def _products(records: Iterator[tuple[int, Record | str]], columns: Columns) -> Iterator[tuple[int, Row]]:
    """The products, and then the rows that could not be read."""
    unread: list[tuple[int, Row]] = []

    def readable() -> Iterator[tuple[int, Record]]:
        for number, record in records:
            if isinstance(record, str):
                unread.append((number, record))
            else:
                yield number, record

    yield from products_of(readable(), columns)
    yield from unread


def _headers(path: Path, lines: Iterator[Line]) -> list[str]:
    first = next(lines, None)
    if first == DAMAGED:
        raise CatalogueError(f"{path.name} is a damaged gzip file; download it again.")
    first = [] if isinstance(first, str) else first
    names: list[str] = []
    for place, header in enumerate(first or [], start=1):
        name = header.strip() or f"column {place}"
        names.append(name if name not in names else f"{name} (column {place})")
    if len(names) < 2:
        raise CatalogueError(
            f"{path.name} has no columns; it needs a first line as title,description and rows after it."
        )
    return names


def _records(lines: Iterable[Line], headers: list[str]) -> Iterator[tuple[int, Record | str]]:
    for number, line in enumerate(lines, start=2):
        if isinstance(line, str):
            yield number, line
        elif any(value.strip() for value in line):
            yield number, dict(zip(headers, line, strict=False))


def _lines(path: Path, chunks: Iterator[bytes]) -> Iterator[Line]:
    """The file's rows, the headers first; where a gzip file is damaged, the last one says so."""
    csv.field_size_limit(cleaning.MAX_LINE_BYTES)
    reader = csv.reader(_text_lines(path, chunks), **_dialect(path))
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield LINE_TOO_LONG
        except DAMAGE:
            yield DAMAGED
            return


def _text_lines(path: Path, chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines with their ends, which the csv module puts together where a value has several."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    tail = ""
    try:
        for chunk in chunks:
            if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise CatalogueError(f"{path.name} is UTF-16 text; save it as UTF-8 and choose it again.")
            *lines, tail = (tail + decoder.decode(chunk)).split("\n")
            yield from (line + "\n" for line in lines)
        yield tail + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{path.name} is not UTF-8 text; save it as UTF-8 and choose it again.") from error


def _dialect(path: Path) -> dict[str, Any]:
    """Delimiter, quote and escape as DuckDB finds them; where they don't part the headers, by the file's name."""
    with path.open("rb") as file:
        first_line = next(decompressed(file), b"").split(b"\n")[0].decode(errors="replace")
        packed = file.seek(0) == 0 and file.read(2) == b"\x1f\x8b"
    query = "SELECT Delimiter, Quote, Escape FROM sniff_csv($1, all_varchar = true, compression = $2)"
    try:
        with duckdb.connect() as connection:
            found = connection.execute(query, [str(path), "gzip" if packed else "none"]).fetchall()
    except duckdb.Error:
        found = []
    delimiter, quote, escape = found[0] if found and found[0][0] in first_line else ("", "", "")
    if len(delimiter) != 1:
        delimiter = DELIMITERS[Path(path.name.lower().removesuffix(".gz")).suffix]
    dialect = {"delimiter": delimiter, "quotechar": quote if len(quote) == 1 else '"'}
    return dialect | ({"escapechar": escape, "doublequote": False} if escape == "\\" else {})
