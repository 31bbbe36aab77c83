"""Cleaning a catalogue file into Parquet files: block after block, then what only all rows together show."""

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from pipeline.catalogue import plain
from pipeline.catalogue.cleaning import (
    AMBIGUOUS,
    DAMAGED,
    DUPLICATE,
    NOT_A_PRODUCT,
    NOT_TEXT,
    SAYS_NOTHING,
    UNREADABLE,
    UNREADABLE_LINE,
    Checked,
    SkippedRow,
    checked,
    not_a_row,
)
from pipeline.catalogue.columns import PLAIN, Columns, check_columns, named_values
from pipeline.catalogue.csv_reader import csv_blocks, is_csv
from pipeline.catalogue.json_reader import Block, Lines, OnProgress, Row, blocks, head, parsed, parsed_lines
from pipeline.catalogue.shops import content_columns
from pipeline.errors import CatalogueError

PRODUCTS, SKIPPED, EMPTY = "products.parquet", "skipped.parquet", "empty.parquet"
CONTENTS, HEADS, SPILL = "contents", "heads", "spill"
MEMORY = "500MB"
FIELDS_TOLD = 100
"""Names of fields that are remembered of a block, to say which there are."""
WORTH_SQL = 200_000
"""Bytes of lines from which on SQL is faster than Python."""


def database(spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, with bounded memory; what does not fit goes to `spill`."""
    settings = {
        "memory_limit": MEMORY,
        "threads": os.cpu_count() or 2,
        "temp_directory": str(spill),
        "preserve_insertion_order": True,
        "enable_external_file_cache": False,  # the system keeps what is read often, and this would keep it once more
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    return duckdb.connect(config=settings)


def files(folder: Path) -> list[str]:
    """The Parquet files of a folder in the order of their rows."""
    return sorted(map(str, folder.glob("*.parquet")))


def build(path: Path, columns: Columns, aside: Path, on_progress: OnProgress) -> dict[str, Any]:
    """Fill the folder `aside` with the tables of a catalogue file; returns what is to be known of it.

    Raises:
        CatalogueError: nothing in the file can be used, or it is no catalogue.
    """
    for name in (CONTENTS, HEADS, SPILL):
        (aside / name).mkdir()
    with database(aside / SPILL) as connection, ThreadPoolExecutor(1) as beside:
        digest = beside.submit(checksum, path, columns)
        source = csv_blocks(path, columns, on_progress) if is_csv(path) else blocks(path, on_progress)
        connection.execute("SET threads = 1")  # each block has a thread of Python's
        fields = _write_parts(connection, source, columns, aside)
        connection.execute("RESET threads")
        about = _finish(connection, aside)
    for name in (HEADS, SPILL):
        shutil.rmtree(aside / name)
    if not about["usable"]:
        if not is_csv(path) and (fields := fields.union(*(r for _, r in head(path) if isinstance(r, dict)))):
            check_columns(path.name, columns, sorted(fields), "field")
        _refuse_useless(path.name, about["skipped"], about["unread"])
    return about | {"sha256": digest.result()}


def _write_parts(
    connection: duckdb.DuckDBPyConnection, source: Iterable[Block], columns: Columns, aside: Path
) -> set[str]:
    """Clean every block beside the others and write what it holds; returns the names of fields that were seen."""
    fields: set[str] = set()
    waiting: deque[Future[set[str]]] = deque()
    workers = os.cpu_count() or 2
    with ThreadPoolExecutor(workers) as pool:
        for number, block in enumerate(source):
            waiting.append(pool.submit(_write_part, connection.cursor(), block, columns, aside, number))
            if len(waiting) > workers:
                fields |= waiting.popleft().result()
        for part in waiting:
            fields |= part.result()
    return fields


def _write_part(
    connection: duckdb.DuckDBPyConnection, block: Block, columns: Columns, aside: Path, number: int
) -> set[str]:
    odd = None
    if isinstance(block, Lines) and len(block.data) >= WORTH_SQL and plain.can_read(columns):
        odd = plain.take_lines(connection, block, aside / SPILL / f"{number:05}.json", columns)
    fields, rows = checked_rows(parsed(block) if odd is None else parsed_lines(odd), columns)
    _put(connection, rows, new=odd is None)
    contents = "SELECT line, content, attributes FROM part WHERE plain AND reason = ''"
    _copy(connection, contents, aside / CONTENTS / f"{number:05}.parquet")
    heads = "SELECT line, uid, title, key, folded, hash(content) AS said, reason FROM part WHERE plain"
    _copy(connection, heads, aside / HEADS / f"{number:05}.parquet")
    return fields


def checked_rows(rows: Iterable[tuple[int, Row]], columns: Columns) -> tuple[set[str], list[Checked]]:
    fields: set[str] = set()
    found, contents = [], content_columns(columns)
    for line, row in rows:
        if isinstance(row, SkippedRow):
            found.append(not_a_row(line, row.reason))
            continue
        if len(fields) < FIELDS_TOLD:
            fields.update(row)
        uid = row.get(columns.uid) if columns.uid else None
        values = [row.get(name) for name in contents]
        if columns.attributes:
            values.append(named_values(row, columns))
        found.append(checked(line, uid, row.get(columns.title), values))
    return fields, found


def _put(connection: duckdb.DuckDBPyConnection, rows: list[Checked], *, new: bool) -> None:
    """Put the rows into the table `part`, or make it of them."""
    columns = list(zip(*rows, strict=True)) or [()] * len(Checked._fields)
    types = ["BIGINT", *["VARCHAR"] * (len(Checked._fields) - 1)]
    chosen = ", ".join(
        f"unnest(${n}::{kind}[]) AS {name}"
        for n, (name, kind) in enumerate(zip(Checked._fields, types, strict=True), start=1)
    )
    into = "CREATE OR REPLACE TEMP TABLE part AS" if new else "INSERT INTO part"
    connection.execute(f"{into} SELECT {chosen}, true AS plain", [list(c) for c in columns])


def _copy(connection: duckdb.DuckDBPyConnection, query: str, file: Path) -> None:
    name = str(file).replace("'", "''")
    connection.execute(f"COPY ({query}) TO '{name}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 8192)")


def _finish(connection: duckdb.DuckDBPyConnection, aside: Path) -> dict[str, Any]:
    """Find the titles that come more than once, give every product a uid of its own, and write the lists."""
    connection.execute("SET VARIABLE heads = $1", [files(aside / HEADS)])
    connection.execute(_AGAIN)
    _own_uids(connection)
    _copy(connection, _PRODUCTS, aside / PRODUCTS)
    connection.execute("SET VARIABLE products = $1", [str(aside / PRODUCTS)])
    _copy(connection, _SKIPPED, aside / SKIPPED)
    connection.execute("SET VARIABLE skipped = $1", [str(aside / SKIPPED)])
    _copy(connection, _EMPTY, aside / EMPTY)
    connection.execute("SET VARIABLE empty = $1", [str(aside / EMPTY)])
    usable, skipped, empty = connection.execute(
        "SELECT (SELECT count(*) FROM read_parquet(getvariable('products'))), "
        "(SELECT count(*) FROM read_parquet(getvariable('skipped'))), "
        "(SELECT count(*) FROM read_parquet(getvariable('empty')))"
    ).fetchall()[0]
    reasons = connection.execute(
        "SELECT reason, count(*), min(line, 6) FROM read_parquet(getvariable('skipped')) "
        "GROUP BY reason ORDER BY 2 DESC, min(line)"
    ).fetchall()
    counts = {reason: count for reason, count, _ in reasons}
    unread = {reason: first for reason, _, first in reasons if reason in UNREADABLE_LINE}
    return {"rows": usable + skipped, "usable": usable, "empty": empty, "skipped": counts, "unread": unread}


_AGAIN = f"""
CREATE TEMP VIEW passed AS SELECT line, uid, key, said FROM read_parquet(getvariable('heads')) WHERE reason = '';
CREATE TEMP TABLE again AS
WITH suspects AS (SELECT hash(key) AS h FROM passed GROUP BY h HAVING count(*) > 1),
     rows AS (SELECT line, key, said FROM passed WHERE hash(key) IN (SELECT h FROM suspects)),
     firsts AS (SELECT key, min(line) AS line, arg_min(said, line) AS said FROM rows GROUP BY key HAVING count(*) > 1)
SELECT r.line, key, CASE WHEN r.line = f.line THEN '' WHEN r.said = f.said THEN '{DUPLICATE}' ELSE '{AMBIGUOUS}' END AS reason
FROM rows r JOIN firsts f USING (key);
-- A title with two contents cannot be answered from the title: its first row goes as well.
CREATE TEMP TABLE left_out AS
SELECT line, reason FROM again WHERE reason <> ''
UNION ALL SELECT line, '{AMBIGUOUS}' FROM again
WHERE reason = '' AND key IN (SELECT key FROM again WHERE reason = '{AMBIGUOUS}');
CREATE TEMP VIEW taken AS SELECT line, uid FROM passed WHERE line NOT IN (SELECT line FROM again WHERE reason <> '');
CREATE TEMP TABLE renamed (line BIGINT, uid VARCHAR);
"""
_PRODUCTS = """
SELECT row_number() OVER () - 1 AS number, * FROM (
    SELECT line, coalesce(r.uid, h.uid) AS uid, title, key, folded
    FROM read_parquet(getvariable('heads')) h LEFT JOIN renamed r USING (line)
    WHERE reason = '' AND line NOT IN (SELECT line FROM left_out) ORDER BY line
)
"""
_SKIPPED = """
SELECT row_number() OVER () - 1 AS number, * FROM (
    SELECT line, title, key, coalesce(l.reason, h.reason) AS reason
    FROM read_parquet(getvariable('heads')) h LEFT JOIN left_out l USING (line)
    WHERE h.reason <> '' OR l.reason IS NOT NULL ORDER BY line
)
"""
_EMPTY = f"""
SELECT row_number() OVER () - 1 AS number, key, title FROM (
    SELECT key, min(line) AS line, arg_max(title, line) AS title FROM read_parquet(getvariable('skipped'))
    WHERE reason IN {SAYS_NOTHING} AND key NOT IN (SELECT key FROM read_parquet(getvariable('products')))
    GROUP BY key ORDER BY line
)
"""


def _own_uids(connection: duckdb.DuckDBPyConnection) -> None:
    """Facts are told apart by the uid: one that came before gets the number of its line appended, until it is new.

    Only rows whose uid comes twice are looked at, and those that such a new uid would meet.
    """
    twice = "SELECT hash(uid) AS h FROM taken GROUP BY h HAVING count(*) > 1"
    rows = connection.execute(f"SELECT line, uid FROM taken WHERE hash(uid) IN ({twice}) ORDER BY line").fetchall()
    while rows:
        new, tried = _renamed(rows)
        known = {line for line, _ in rows}
        met = connection.execute(
            "SELECT line, uid FROM taken WHERE uid IN (SELECT unnest($1::VARCHAR[]))", [tried]
        ).fetchall()
        if not (more := [row for row in met if row[0] not in known]):
            connection.execute(
                "INSERT INTO renamed SELECT unnest($1::BIGINT[]), unnest($2::VARCHAR[])",
                [list(new), list(new.values())],
            )
            return
        rows = sorted(rows + more)


def _renamed(rows: list[tuple[int, str]]) -> tuple[dict[int, str], list[str]]:
    """New uids by line, and every uid that was tried on the way."""
    uids: set[str] = set()
    new: dict[int, str] = {}
    tried: list[str] = []
    for line, uid in rows:
        while uid in uids:
            uid += f"-{line}"
            tried.append(uid)
            new[line] = uid
        uids.add(uid)
    return new, tried


def _refuse_useless(name: str, counts: dict[str, int], unread: dict[str, list[int]]) -> None:
    if DAMAGED in counts:
        raise CatalogueError(f"{name} is a damaged gzip file; download it again.")
    readable = sum(n for reason, n in counts.items() if reason not in (UNREADABLE, NOT_TEXT, NOT_A_PRODUCT))
    if not readable and NOT_TEXT in counts:
        raise CatalogueError(f"{name} is not UTF-8 text; save it as UTF-8 and choose it again.")
    if not readable:
        raise CatalogueError(
            f'{name} is not a catalogue: it needs one JSON object a line, as {{"title": "…", "content": "…"}}, or, if it is a '
            "table, a name that ends in .csv or .tsv."
        )
    why = ", ".join(f"{n} × {reason}{_lines(unread.get(reason, []))}" for reason, n in counts.items())
    raise CatalogueError(f"No product of {name} can be used ({why}); it needs rows with a title and a content.")


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f" (line{'s' if len(numbers) > 1 else ''} {shown}{' …' if len(numbers) > 5 else ''})" if numbers else ""


def checksum(path: Path, columns: Columns) -> str:
    """The SHA-256 of a catalogue file; of what other columns than the plain ones make of it, another one."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if columns == PLAIN:
        return digest
    return hashlib.sha256(json.dumps([digest, *asdict(columns).values()]).encode()).hexdigest()
