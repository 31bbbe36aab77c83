"""The rows of a JSON catalogue file: one object a line, or one list of objects; plain or gzipped.

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
from pipeline.catalogue.cleaning import DAMAGED, LINE_TOO_LONG, NOT_A_PRODUCT, NOT_TEXT, UNREADABLE
from pipeline.errors import CatalogueError

BLOCK_BYTES = 16_000_000
"""Of decompressed lines: what one worker cleans at once."""
MAX_LIST_BYTES = 400_000_000
ITEMS = 10_000
"""Items of a list in a block."""

BOM = b"\xef\xbb\xbf"
DAMAGE: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
_FAST_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, cast(type[Exception], IsalError))
_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")

Row = dict[str, Any] | str
"""What a line holds: its fields, or the reason why it is no row."""
Progress = Callable[[int, int], None]


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


def blocks(path: Path, on_progress: Progress = nothing_to_say, size: int = BLOCK_BYTES) -> Iterator[Block]:
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
            yield Items([(1, DAMAGED)])
            return
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CatalogueError(f"{path.name} is UTF-16 text; save it as UTF-8 and choose it again.")
        is_list = head.removeprefix(BOM).lstrip().startswith(b"[")
        yield from (_list_blocks if is_list else _line_blocks)(path.name, chain([head], chunks), size)


def head(path: Path, size: int = 500_000) -> list[tuple[int, Row]]:
    """The first rows of a file, as many as its first bytes hold; nothing where they hold none."""
    data = bytearray()
    with path.open("rb") as file, suppress(*DAMAGE):
        for chunk in decompressed(file):
            data += chunk
            if len(data) > size:
                break
    if data.removeprefix(BOM).lstrip().startswith(b"["):
        items: list[tuple[int, Row]] = []
        with suppress(ValueError, RecursionError):  # where it is cut
            text = data.decode("utf-8-sig", errors="ignore")
            for number, item in enumerate(_list_items(text), start=1):
                items.append((number, item if isinstance(item, dict) else NOT_A_PRODUCT))
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
            yield number, LINE_TOO_LONG
        elif line.strip():
            yield number, parsed_line(line)


def parsed_line(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_first_of_a_name)
    except UnicodeDecodeError:
        return NOT_TEXT
    except (ValueError, RecursionError):
        return UNREADABLE
    return row if isinstance(row, dict) else NOT_A_PRODUCT


def _first_of_a_name(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As DuckDB reads a name that comes twice; in the file's order."""
    return dict(reversed(dict(reversed(pairs)).items()))


def _watched(chunks: Iterator[bytes], tell: Callable[[], None]) -> Iterator[bytes]:
    for chunk in chunks:
        tell()
        yield chunk


def _line_blocks(_name: str, chunks: Iterator[bytes], size: int) -> Iterator[Block]:
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
        yield Items([(first + (block.data.count(b"\n") + 1 if waiting else 0), DAMAGED)])
        return
    yield Lines(first, b"\n".join([*waiting, tail]))


def _shortened(tail: bytes, lines: bytes) -> bytes:
    """The end of a line that is too long already says nothing."""
    if len(tail) <= cleaning.MAX_LINE_BYTES:
        return tail + lines
    end = lines.find(b"\n")
    return tail + lines[end:] if end >= 0 else tail


def _list_blocks(name: str, chunks: Iterator[bytes], _size: int) -> Iterator[Block]:
    try:
        items = _list_items(_list_text(name, chunks))
        numbered = enumerate((item if isinstance(item, dict) else NOT_A_PRODUCT for item in items), start=1)
        some = list(islice(numbered, ITEMS))
        yield Items(some)
        while some := list(islice(numbered, ITEMS)):
            yield Items(some)
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        line = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CatalogueError(f"{name} is a JSON list that breaks off{line}; save it again as valid JSON.") from error
    except DAMAGE:
        yield Items([(1, DAMAGED)])


def _list_text(name: str, chunks: Iterator[bytes]) -> str:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_LIST_BYTES:
            raise CatalogueError(f"{name} is one JSON list of over 400 MB; save it as one JSON object a line.")
    return data.decode("utf-8-sig")


def _list_items(text: str) -> Iterator[Any]:
    """The items of a JSON list, of which only one is in memory at a time."""
    decode, at = json.JSONDecoder().raw_decode, _past_space(text, text.index("[") + 1)
    more = text[at : at + 1] != "]"
    while more:
        item, at = decode(text, at)
        yield item
        at = _past_space(text, at)
        more = text[at : at + 1] == ","
        if more:
            at = _past_space(text, at + 1)
    if text[at : at + 1] != "]" or _past_space(text, at + 1) < len(text):
        raise json.JSONDecodeError("Expecting the end of the list", text, at)


def _past_space(text: str, at: int) -> int:
    return cast(re.Match[str], _SPACE.match(text, at)).end()
