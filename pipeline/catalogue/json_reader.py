"""The rows of a JSON catalogue file: one object a line, one list of objects, or an object around it; plain or gzipped.

Lines come in blocks of bytes, so that a file of any size is read in little memory; what the lines say is decided in
`parsed`, by Python's own JSON reader.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip
from isal.igzip_lib import IsalError

from pipeline.catalogue import cleaning
from pipeline.catalogue.cleaning import DAMAGED, LINE_TOO_LONG, NOT_A_PRODUCT, NOT_TEXT, UNREADABLE, SkippedRow, as_json
from pipeline.catalogue.columns import guess_columns
from pipeline.errors import CatalogueError

BLOCK_BYTES = 16_000_000
"""Of decompressed lines: what one worker cleans at once."""
MAX_ITEM_CHARACTERS = 64_000_000
"""Of one item of a list: a fault at its beginning must not bring all that follows into memory."""
ITEMS = 10_000
"""Items of a list in a block."""

BOM = b"\xef\xbb\xbf"
DAMAGE: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
_FAST_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, cast(type[Exception], IsalError))
_CHUNK = 1 << 20
_OF_PRODUCTS = frozenset(("title", "name", "product_name"))
"""An object that has one of these before a list is a product, and the list is its own."""
_LISTS = frozenset(("products", "items", "data", "results", "rows", "records", "entries", "catalog", "catalogue"))
_WRAPPED = re.compile(rb'\{\s*"[^"]{1,60}"\s*:\s*\[\s*\{')
_SPACE = re.compile(r"[ \t\r\n]*")

Row = dict[str, Any] | SkippedRow
"""What a line holds: its fields, or why it is no row."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Lines:
    """Whole lines of a file, the first of which has the number `first`."""

    first: int
    data: bytes


@dataclass(frozen=True)
class Items:
    """Rows that are parsed already, each with its number."""

    rows: list[tuple[int, Row]]


Block = Lines | Items


def nothing_to_say(done: int, total: int) -> None:
    """The progress of someone who does not want to know."""


def blocks(path: Path, on_progress: OnProgress = nothing_to_say, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """All of the file, in order; where a gzip file is damaged, the last block says so.

    Args:
        on_progress: called with the bytes of the file that are read, and how many there are.
        size: about so many bytes of lines in a block.

    Raises:
        CatalogueError: it is UTF-16, or a list that is too long, breaks off or is not UTF-8.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        chunks = _watched(decompressed(file), lambda: on_progress(min(file.tell(), total), total))
        try:
            head = next(chunks, b"")
        except DAMAGE:
            yield Items([(1, SkippedRow(DAMAGED))])
            return
        if utf16 := utf16_of(head):
            chunks, head = recoded(chain([head], chunks), utf16), b""
            head = next(chunks, b"")
        if is_nested(head):
            yield from _nested_blocks(path.name, chain([head], chunks))
        else:
            yield from _line_blocks(chain([head], chunks), size)


def head(path: Path, size: int = 500_000) -> list[tuple[int, Row]]:
    """The first rows of a file, as many as its first bytes hold; nothing where they hold none."""
    data = bytearray()
    with path.open("rb") as file, suppress(*DAMAGE):
        for chunk in decompressed(file):
            data += chunk
            if len(data) > size:
                break
    if utf16 := utf16_of(bytes(data[:200])):
        data = bytearray(data.decode(utf16, errors="ignore").encode(errors="replace"))
    if is_nested(bytes(data)):
        items: list[tuple[int, Row]] = []
        with suppress(ValueError, RecursionError):  # where it is cut
            for number, item in enumerate(Documents([data.decode("utf-8-sig", errors="ignore")]).items(), start=1):
                items.append((number, item if isinstance(item, dict) else SkippedRow(NOT_A_PRODUCT)))
        return items
    return list(parsed(Lines(1, bytes(data[: data.rfind(b"\n")] if len(data) > size else data))))


def decompressed(file: BinaryIO) -> Iterator[bytes]:
    """The file's bytes in chunks, unpacked if they are gzipped, whatever the file's name."""
    magic = file.read(2)
    file.seek(0)
    if magic != b"\x1f\x8b":
        while chunk := file.read(_CHUNK):
            yield chunk
        return
    done = 0
    try:
        with igzip.open(file) as unpacked:
            while chunk := cast(gzip.GzipFile, unpacked).read1(_CHUNK):
                done += len(chunk)
                yield chunk
    except _FAST_DAMAGE:
        file.seek(0)
        yield from _up_to_the_damage(file, done)


def _up_to_the_damage(file: BinaryIO, done: int) -> Iterator[bytes]:
    """What Python's own slower reader still finds after the first `done` bytes, and then its error."""
    with gzip.open(file) as unpacked:
        while chunk := cast(gzip.GzipFile, unpacked).read1(_CHUNK):
            yield chunk[max(0, done) :]
            done -= len(chunk)


def parsed(block: Block) -> Iterator[tuple[int, Row]]:
    """Every row of a block that is not an empty line, with its number."""
    if isinstance(block, Items):
        yield from block.rows
    else:
        yield from parsed_lines(enumerate(block.data.split(b"\n"), start=block.first))


def parsed_lines(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Row]]:
    """The same for some lines, each with its number."""
    for number, line in lines:
        if len(line) >= cleaning.MAX_LINE_BYTES:
            yield number, SkippedRow(LINE_TOO_LONG)
        elif line.strip():
            yield number, parsed_line(line)


def parsed_line(line: bytes) -> Row:
    text = ""
    try:
        text = line.decode("utf-8-sig")
        row = json.loads(text, object_pairs_hook=_first_of_a_name)
    except UnicodeDecodeError:
        return SkippedRow(NOT_TEXT)
    except (ValueError, RecursionError):
        return _python_row(text)
    return row if isinstance(row, dict) else SkippedRow(NOT_A_PRODUCT)


def _python_row(line: str) -> Row:
    """A dictionary as Python writes it, {'title': 'Kite'}: older files of Amazon's products have one a line."""
    if re.match(r"\s*\{\s*'", line):
        with suppress(ValueError, RecursionError):
            row = json.loads(as_json(line), object_pairs_hook=_first_of_a_name)
            return row if isinstance(row, dict) else SkippedRow(NOT_A_PRODUCT)
    return SkippedRow(UNREADABLE)


def _first_of_a_name(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As DuckDB reads a name that comes twice; in the file's order."""
    return dict(reversed(dict(reversed(pairs)).items()))


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_a_name)


def utf16_of(head: bytes) -> str:
    """The name of the UTF-16 that a file begins in, by its mark or by the zeros of its Latin letters; or nothing."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    pairs = head[:200]
    if len(pairs) >= 4 and pairs[1::2].count(0) * 5 > len(pairs) and not pairs[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if len(pairs) >= 4 and pairs[::2].count(0) * 5 > len(pairs) and not pairs[1::2].count(0) else ""


def recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same text as UTF-8; what is no text in it becomes \ufffd."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _watched(chunks: Iterator[bytes], tell: Callable[[], None]) -> Iterator[bytes]:
    for chunk in chunks:
        tell()
        yield chunk


def _line_blocks(chunks: Iterator[bytes], size: int) -> Iterator[Block]:
    """Cut at line ends; a line that never ends is cut down to one byte too many, by which it is known later."""
    first, waiting, tail = 1, list[bytes](), b""
    try:
        for chunk in chunks:
            end = chunk.rfind(b"\n")
            if end < 0:
                tail = (tail + chunk)[: cleaning.MAX_LINE_BYTES + 1]
                continue
            waiting.append(_shortened(tail, chunk[:end]))
            tail = chunk[end + 1 :]
            if sum(map(len, waiting)) >= size:
                block = Lines(first, b"\n".join(waiting))
                yield block
                first += block.data.count(b"\n") + 1
                waiting.clear()
    except DAMAGE:
        block = Lines(first, b"\n".join(waiting))
        yield block
        yield Items([(first + (block.data.count(b"\n") + 1 if waiting else 0), SkippedRow(DAMAGED))])
        return
    yield Lines(first, b"\n".join([*waiting, tail]))


def _shortened(tail: bytes, lines: bytes) -> bytes:
    """The end of a line that is too long already says nothing."""
    if len(tail) <= cleaning.MAX_LINE_BYTES:
        return tail + lines
    end = lines.find(b"\n")
    return tail + lines[end:] if end >= 0 else tail


def _nested_blocks(name: str, chunks: Iterator[bytes]) -> Iterator[Block]:
    """The items of a list, or of the list that an object has under some name."""
    documents = Documents(_texts(chunks))
    try:
        items = (item if isinstance(item, dict) else SkippedRow(NOT_A_PRODUCT) for item in documents.items())
        numbered = enumerate(items, start=1)
        some = list(islice(numbered, ITEMS))
        yield Items(some)
        while some := list(islice(numbered, ITEMS)):
            yield Items(some)
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{name} is not UTF-8 text (after line {documents.line()}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        at = f" at line {documents.line()}"
        raise CatalogueError(f"{name} is JSON that breaks off{at}; save it again as valid JSON.") from error
    except DAMAGE:
        yield Items([(1, SkippedRow(DAMAGED))])


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def is_nested(head: bytes) -> bool:
    """Whether a file that begins so is one list, or an object over several lines or around lists, and no object a line."""
    text = head.removeprefix(BOM).lstrip()
    if not text.startswith(b"{"):
        return text.startswith(b"[")
    first, broken, _ = text.partition(b"\n")
    if not broken and _WRAPPED.match(text):
        return True
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        # An object that goes on in the next line; one that is cut within a text is a damaged line.
        return bool(broken) and re.search(rb"[{\[,:]\s*$", first) is not None
    inner = [v for value in row.values() if isinstance(value, dict) for v in value.values()]
    lists = [v for v in [*row.values(), *inner] if isinstance(v, list) and v and isinstance(v[0], dict)]
    return bool(lists) and guess_columns(list(row)) is None


class Documents:
    """JSON in pieces of text, read value after value: of a list of any length one item is in memory at a time.

    Args:
        texts: the file's pieces, in order.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._text, self._at, self._lines = "", 0, 0

    def line(self) -> int:
        """Where it is read, from 1."""
        return self._lines + self._text.count("\n", 0, self._at) + 1

    def items(self) -> Iterator[Any]:
        """The items of a list; of an object those of the list of products in it; of objects in a row each that is one.

        Raises:
            ValueError: it is no JSON, or breaks off.
        """
        while self._peek():
            yield from self._within()

    def _within(self) -> Iterator[Any]:
        if self._peek() == "[":
            yield from self._list_items()
        elif self._peek() == "{":
            yield from self._of_object()
        else:
            yield self._value()

    def _list_items(self) -> Iterator[Any]:
        self._take("[")
        while self._peek() != "]":
            yield self._value()
            if self._peek() != "]":
                self._take(",")
                if self._peek() == "]":
                    raise ValueError("A comma before the end of a list.")
        self._take("]")

    def _of_object(self) -> Iterator[Any]:
        """The fields of an object that is a product itself, or the items of the lists within."""
        fields: dict[str, Any] = {}
        found = False
        self._take("{")
        while self._peek() != "}":
            name = self._value()
            if not isinstance(name, str):
                raise ValueError("A name is no text.")
            self._take(":")
            if self._peek() in "[{" and not fields.keys() & _OF_PRODUCTS:
                for item in self._list_or_object(name, fields):
                    found = True
                    yield item
            else:
                fields.setdefault(name, self._value())
            if self._peek() != "}":
                self._take(",")
        self._take("}")
        if not found and fields:
            yield fields

    def _list_or_object(self, name: str, fields: dict[str, Any]) -> Iterator[Any]:
        """The items of a list of objects; any other value is one of the fields."""
        if self._peek() == "{":
            value = self._value()
            inner = next((v for k, v in value.items() if isinstance(v, list) and _are_products(v)), None)
            if inner is None:
                fields.setdefault(name, value)
            yield from inner or ()
            return
        items = self._list_items()
        first = list(islice(items, 1))
        if first and isinstance(first[0], dict) and (_are_products(first) or name.lower() in _LISTS):
            yield first[0]
            yield from items
        else:
            fields.setdefault(name, [*first, *items])

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value
            except ValueError:
                if len(self._text) - self._at > MAX_ITEM_CHARACTERS or not self._more():
                    raise

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._at = _past_space(self._text, self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"{character} is missing.")
        self._at += 1

    def _more(self) -> bool:
        """Read on, at least as much again as is waiting; what is behind is let go."""
        pieces, wanted = [self._text[self._at :]], max(1, len(self._text) - self._at)
        while wanted > 0 and (text := next(self._texts, None)) is not None:
            pieces.append(text)
            wanted -= len(text)
        self._lines += self._text.count("\n", 0, self._at)
        more = len(pieces) > 1
        self._text, self._at = "".join(pieces), 0
        return more


def _are_products(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], dict) and guess_columns(list(items[0])) is not None


def _past_space(text: str, at: int) -> int:
    return cast(re.Match[str], _SPACE.match(text, at)).end()
