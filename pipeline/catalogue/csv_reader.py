"""CSV and TSV files as they come, plain or gzipped: headers, sample values, and rows. Everything is a string.

A row is read by the rules of CSV. Where it breaks them (a stray or unclosed quote, a quote behind a backslash), it is read
in the way that gives as many values as there are columns; where none does, the row is named and the next one is read.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from pipeline.catalogue import cleaning
from pipeline.catalogue.cleaning import DAMAGED, LINE_TOO_LONG, TOO_FEW_VALUES, TOO_MANY_VALUES, SkippedRow
from pipeline.catalogue.columns import Columns, check_columns
from pipeline.catalogue.json_reader import (
    DAMAGE,
    ITEMS,
    Block,
    Items,
    Row,
    decompressed,
    nothing_to_say,
    recoded,
    utf16_of,
)
from pipeline.catalogue.shops import Record, products_of
from pipeline.errors import CatalogueError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LOOKED_AT = 50
"""Lines by which the delimiter is found."""
LONGEST_VALUE_LINES = 2_000
"""A value of more lines began with a quote that was none."""

Line = list[str] | SkippedRow
"""The values of a row, or why there are none."""


def is_csv(path: Path) -> bool:
    """Whether the name says so: `.csv`, `.tsv`, also with `.gz` after it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix in DELIMITERS


def read_headers(path: Path) -> list[str]:
    """The names of a CSV file's columns; each is there once and has a name.

    Raises:
        CatalogueError: it has none, or is no text.
    """
    with path.open("rb") as file:
        return _table(path, decompressed(file)).headers


def read_samples(path: Path, count: int = 3) -> list[Record]:
    """The first rows of a CSV file as they stand, to show what its columns hold.

    Raises:
        CatalogueError: it has no columns, or is no text.
    """
    with path.open("rb") as file:
        records = _table(path, decompressed(file)).records()
        return list(islice((row for _, row in records if isinstance(row, dict)), count))


def csv_blocks(
    path: Path, columns: Columns, on_progress: Callable[[int, int], None] = nothing_to_say, size: int = ITEMS
) -> Iterator[Block]:
    """All products of the file, in order. A row's number is the one that a spreadsheet shows: the headers are row 1.

    Raises:
        CatalogueError: it is no text, or has not these columns.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        table = _table(path, decompressed(file))
        check_columns(path.name, columns, table.headers)
        products = _products(table.records(), columns)
        while some := list(islice(products, size)):
            yield Items(some)
            on_progress(min(file.tell(), total), total)
        yield Items([])


def _products(records: Iterator[tuple[int, Row]], columns: Columns) -> Iterator[tuple[int, Row]]:
    """The products, and then the rows that could not be read."""
    unread: list[tuple[int, Row]] = []

    def readable() -> Iterator[tuple[int, Record]]:
        for number, record in records:
            if isinstance(record, SkippedRow):
                unread.append((number, record))
            else:
                yield number, record

    yield from products_of(readable(), columns)
    yield from unread


@dataclass(frozen=True)
class _Table:
    headers: list[str]
    lines: Iterator[Line]
    first: int
    """The number of the row after the headers."""

    def records(self) -> Iterator[tuple[int, Row]]:
        width = len(self.headers)
        for number, line in enumerate(self.lines, start=self.first):
            if isinstance(line, SkippedRow):
                yield number, line
            elif any(value.strip() for value in line):
                while len(line) > width and not line[-1].strip():
                    line.pop()
                if len(line) == width:
                    yield number, dict(zip(self.headers, line, strict=True))
                else:
                    yield number, SkippedRow(TOO_MANY_VALUES if len(line) > width else TOO_FEW_VALUES)


def _table(path: Path, chunks: Iterator[bytes]) -> _Table:
    """The file's columns, found below empty lines and a line `sep=;`, and its rows.

    Raises:
        CatalogueError: it has none.
    """
    texts, before, told = _text_lines(path, chunks), 0, ""
    looked: list[str] = []
    damaged = False
    try:
        for text in texts:
            if sep := re.fullmatch(r'"?sep=(.)"?\s*', text, re.IGNORECASE) if not looked else None:
                told = sep[1]
            elif text.strip(" \t\n,;|") or looked:
                looked.append(text)
            before += not looked
            if len(looked) == LOOKED_AT:
                break
    except DAMAGE:
        damaged = True
    if not looked and damaged:
        raise CatalogueError(f"{path.name} is a damaged gzip file; download it again.")
    delimiter = told or _delimiter(looked, DELIMITERS[Path(path.name.lower().removesuffix(".gz")).suffix])
    quote = "'" if _is_quoted(looked, "'", delimiter) and not _is_quoted(looked, '"', delimiter) else '"'
    lines = _Rows(chain(looked, _damaged() if damaged else texts), delimiter, quote)
    headers = _headers(path, next(lines, []))
    return _Table(headers, lines, before + 2)


def _damaged() -> Iterator[str]:
    raise EOFError
    yield ""


def _headers(path: Path, first: Line) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for place, header in enumerate([] if isinstance(first, SkippedRow) else first, start=1):
        name = header.strip() or f"column {place}"
        names.append(name if name not in taken else f"{name} (column {place})")
        taken.add(names[-1])
    while len(names) > 2 and re.fullmatch(r"column \d+", names[-1]):
        names.pop()  # spreadsheets end every row with the delimiters of columns that are empty
    if len(names) < 2:
        raise CatalogueError(
            f"{path.name} has no columns; it needs a first line as title,description and rows after it."
        )
    return names


def _delimiter(lines: list[str], usual: str) -> str:
    """The one that parts the headers, and most lines into as many values."""

    def score(delimiter: str) -> tuple[int, int, bool]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        width = widths[0] if widths else 0
        return (Counter(widths)[width] if width > 1 else 0, width, delimiter == usual)

    try:
        return max((usual, *",;\t|"), key=score)
    except csv.Error:
        return usual


def _is_quoted(lines: list[str], quote: str, delimiter: str) -> bool:
    """Whether a value of the first lines begins and ends with this quote."""
    q, d = re.escape(quote), re.escape(delimiter)
    return any(re.search(rf"(?:^|{d}){q}[^{q}\n]*(?:{q}(?:{d}|\r?\n|$)|$)", line) for line in lines)


class _Rows(Iterator[Line]):
    """Rows from lines of text: of as many lines as their quotes hold together."""

    def __init__(self, texts: Iterator[str], delimiter: str, quote: str) -> None:
        self._texts, self._delimiter, self._quote = texts, delimiter, quote
        self._again: list[str] = []  # lines that did not belong together after all, the next one last
        self._width = 0
        d, q = re.escape(delimiter), re.escape(quote)
        self._value = re.compile(rf"(?:^|{d})(?:{q}((?:[^{q}]|{q}(?!{d}|$))*){q}(?={d}|$)|([^{d}]*))")

    def __next__(self) -> Line:
        try:
            first = self._line()
        except DAMAGE:
            self._texts = iter(())
            return SkippedRow(DAMAGED)
        if len(first) > cleaning.MAX_LINE_BYTES:
            return SkippedRow(LINE_TOO_LONG)
        values = first.rstrip("\n").split(self._delimiter) if self._quote not in first else self._quoted(first)
        if not self._width and not isinstance(values, SkippedRow):
            self._width = len(values)
        return values

    def _line(self) -> str:
        return self._again.pop() if self._again else next(self._texts)

    def _quoted(self, first: str) -> Line:
        """A row with quotes: with the lines after it as long as one is open, if that gives a row."""
        if (values := self._parsed(first)) and self._fits(values):
            return values
        lines, size = [first], len(first)
        is_open = first.count(self._quote) % 2 == 1
        try:
            while is_open and len(lines) < LONGEST_VALUE_LINES and size <= cleaning.MAX_LINE_BYTES:
                lines.append(self._line())
                size += len(lines[-1])
                is_open ^= lines[-1].count(self._quote) % 2 == 1
        except StopIteration:
            pass
        except DAMAGE:
            self._texts = _damaged()
        if len(lines) > 1:
            if not is_open and (values := self._parsed("".join(lines))) and self._fits(values):
                return values
            self._again += reversed(lines[1:])
        if is_open and size > cleaning.MAX_LINE_BYTES and len(first) * 2 > size:
            return SkippedRow(LINE_TOO_LONG)
        values = self._leniently(first)
        return values if self._fits(values) else self._parsed(first) or values

    def _fits(self, values: list[str]) -> bool:
        return not self._width or len(values) == self._width

    def _parsed(self, text: str) -> list[str]:
        """By the rules, then with quotes behind backslashes; nothing where it breaks both."""
        found = self._strictly(text)
        if found and (self._fits(found) or "\\" not in text):
            return found
        return (self._strictly(text, escapechar="\\") if f"\\{self._quote}" in text else []) or found

    def _strictly(self, text: str, escapechar: str | None = None) -> list[str]:
        form = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self._delimiter,
            quotechar=self._quote,
            escapechar=escapechar,
            strict=True,
        )
        try:
            found = [*form]
        except csv.Error:
            return []
        return found[0] if len(found) == 1 else []

    def _leniently(self, line: str) -> list[str]:
        """A quote ends a value only before a delimiter; one that is never closed is a character as any other."""
        return [
            (m[1] if m[1] is not None else m[2]).replace(self._quote * 2, self._quote)
            for m in self._value.finditer(line.rstrip("\n"))
        ]


def _text_lines(path: Path, chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines with their ends, which a value may have several of."""
    first = next(chunks, b"")
    chunks = chain([first], chunks)
    if utf16 := utf16_of(first):
        chunks = recoded(chunks, utf16)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    tail, number, chunk = "", 1, b""
    try:
        for chunk in chunks:
            *lines, tail = (tail + decoder.decode(chunk)).split("\n")
            number += len(lines)
            yield from (line + "\n" for line in lines)
        if tail := tail + decoder.decode(b"", final=True):
            yield tail
    except UnicodeDecodeError as error:
        raise CatalogueError(_not_utf8(path, error, number)) from error


def _not_utf8(path: Path, error: UnicodeDecodeError, number: int) -> str:
    """Says what the file most probably is, and how it would read: only a person can tell whether that is right."""
    from charset_normalizer import from_bytes

    number += error.object.count(b"\n", 0, error.start)
    around = error.object[max(0, error.start - 1_000_000) : error.start + 100_000]
    guess = from_bytes(around).best()
    if guess is None or b"\0" in around:
        return f"{path.name} is not UTF-8 text (line {number}); save it as UTF-8 and choose it again."
    start = error.object.rfind(b"\n", 0, error.start) + 1
    line = error.object[max(start, error.start - 30) : error.start + 30].split(b"\n")[0]
    shown = cleaning.clean(line.decode(guess.encoding, errors="replace"))
    return (
        f"{path.name} is not UTF-8 text; as {guess.encoding} line {number} would read “{shown}”: "
        "if that is right, open it so, save it as UTF-8 and choose it again."
    )
