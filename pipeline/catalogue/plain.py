"""The twin in SQL of `cleaning`, and of Python's JSON reader, for lines that hold nothing odd.

Most lines of a large catalogue are plain: strict JSON, and texts of letters that cleaning leaves as they are but for double
spaces and a boilerplate's tail. SQL says which lines are plain and cleans those; every other line is Python's.
"""

import re
from pathlib import Path

import duckdb

from pipeline.catalogue.cleaning import MAX_TITLE_CHARACTERS, NO_CONTENT, NO_TITLE, STUB, TITLE_TOO_LONG
from pipeline.catalogue.columns import Columns
from pipeline.catalogue.json_reader import Lines

LETTERS = (
    " -~\u00a1-\u00ac\u00ae-\u00de\u00e0-\u012f\u0132-\u0148\u014a-\u017e\u0180-\u01c3"  # Latin
    "\u0391-\u03a1\u03a3-\u03ce\u0400-\u0481\u048a-\u052f"  # Greek and Cyrillic
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2122\u2190-\u2328\u2460-\u2473\u2500-\u27e5"  # punctuation and signs
    "\uac00-\ud7a3"  # Korean
)
"""Ranges of characters that no step of cleaning changes, alone or side by side, and that no letter's case makes ASCII."""

_ODD = f"[^{LETTERS}]|<|&[^ ;&]"
_TAIL = " ?-{1,2} ?This (?:text|edition) refers to "
_UNTIDY = f"{_ODD}|  |^ | $|(?i:- ?This (?:text|edition) refers to )"
"""What cleaning changes, or may change."""
SIGNS = "\u00a9\u00ae\u2010-\u2027\u2030-\u205e\u2122"
"""Some that part words as ASCII's do."""
_ODD_TITLE = (
    f"[^ -~{SIGNS}]|<|&[^ ;&]|  |^ | $|(?i:- ?This (?:text|edition) refers to )|[+#]|(?:^|[^0-9A-Za-z_)\\]])-[.]?[0-9]"
)
_PLAIN_UID = "[!-%'-;=-~]+"
_NO_TEXT = (
    r"^[\[{]|^(?i:[-+0-9.e]+|true|false|-?nan|-?inf(?:inity)?"
    r"|null|none|nil|nat|undefined|#?n/a(?: n/a)?|#n/a #n/a|-?1\.#(?:ind|qnan))$"
)
"""What a value may look like that was no text in the file: DuckDB has made one of it in its own way."""
ENTITIES = {
    "&amp;": "&",
    "&quot;": '"',
    "&#39;": "'",
    "&#8217;": "’",
    "&#x2019;": "’",
    "&#8220;": "“",
    "&#8221;": "”",
    "&#x201C;": "“",
    "&#x201D;": "”",
    "&#8211;": "–",
    "&#8212;": "—",
    "&#8230;": "…",
}
"""The commonest ones, in the order in which they are replaced: an ampersand may be the beginning of another."""


def can_read(columns: Columns) -> bool:
    """Whether title and content are one field each, and all names need no escaping."""
    names = [columns.title, *columns.content, *([columns.uid] if columns.uid else [])]
    return (
        len(columns.content) == 1
        and not columns.attributes
        and len({n.lower() for n in names}) == len(names)
        and all(re.fullmatch(r"[A-Za-z_]\w*", n, re.ASCII) for n in names)
    )


def take_lines(
    connection: duckdb.DuckDBPyConnection, block: Lines, place: Path, columns: Columns
) -> list[tuple[int, bytes]] | None:
    """Make the table `part` of all lines, with the columns of `Checked` and `plain`; returns those that are not, numbered.

    Args:
        place: where to write the block for DuckDB to read; it is removed.
        columns: what `can_read` allows.

    Returns:
        None where lines cannot be told apart, or are JSON of a looser kind: nothing was taken.
    """
    if _has_loose_comma(block.data):
        return None
    place.write_bytes(block.data)
    try:
        connection.execute(_tidy(columns), {"file": str(place), "first": block.first})
    finally:
        place.unlink()
    lines = block.data.removesuffix(b"\n").split(b"\n")  # a file mostly ends with the end of a line
    odd, found = connection.execute(
        "SELECT list(line ORDER BY line) FILTER (NOT plain), count(*) FROM part"
    ).fetchall()[0]
    if found != len(lines):  # an empty line is none for DuckDB
        return None
    return [(line, lines[line - block.first]) for line in odd or []]


def _has_loose_comma(data: bytes) -> bool:
    """Whether there is a comma at the end of a list, which DuckDB's reader takes and Python's refuses; within texts too."""
    for end in b"]", b"}":
        at = data.find(end)
        while at > 0:
            before = at - 1
            while before > 0 and data[before] in b" \t\r":
                before -= 1
            if data[before] == ord(","):
                return True
            at = data.find(end, at + 1)
    return False


def _tidy(columns: Columns) -> str:
    """The fields of every line, its content cleaned as if it were plain.

    Whatever cleaning a step here leaves undone is seen by the pattern for untidy text, and left to Python. A line that is
    no JSON object has no title here.
    """
    names = [columns.title, columns.content[0], *([columns.uid] if columns.uid else [])]
    types = ", ".join(f"\"{name}\": 'VARCHAR'" for name in names)
    uid = f'"{columns.uid}"' if columns.uid else "NULL::VARCHAR"
    return rf"""
CREATE OR REPLACE TEMP TABLE part AS
WITH texts AS (
    SELECT row_number() OVER () + $first - 1 AS line, {uid} AS uid,
        {_titled(f'"{columns.title}"')} AS title, coalesce("{columns.content[0]}", '') AS text
    FROM read_json($file, format = 'newline_delimited', columns = {{{types}}}, ignore_errors = true,
        compression = 'uncompressed')
), looked AS (
    SELECT *, regexp_matches(text, '{_quoted(_UNTIDY)}') AS untidy FROM texts
), unescaped AS (
    SELECT * REPLACE (CASE WHEN untidy AND contains(text, '&') THEN {_unescaped("text")} ELSE text END AS text)
    FROM looked
), folded AS (
    SELECT * REPLACE (CASE WHEN untidy AND contains(text, '  ') THEN {_folded("text")} ELSE text END AS text)
    FROM unescaped
), cut AS (
    SELECT * REPLACE (
        CASE WHEN untidy AND regexp_matches(text, '(?i)refers to') THEN {_without_tail("text")} ELSE text END AS text
    ) FROM folded
), trimmed AS (
    SELECT line, coalesce(uid, line::VARCHAR) AS uid, title, untidy,
        CASE WHEN untidy AND (starts_with(text, ' ') OR ends_with(text, ' ')) THEN trim(text, ' ') ELSE text END AS content
    FROM cut
), judged AS (
    SELECT line, uid, title, content,
        CASE WHEN regexp_full_match(title, '[A-Za-z0-9_ ]*') THEN lower(title)
        ELSE trim(regexp_replace(lower(title), '[^a-z0-9_]+', ' ', 'g'), ' ') END AS key,
        (regexp_full_match(uid, '[0-9]{{1,18}}')
            OR regexp_full_match(uid, '{_quoted(_PLAIN_UID)}') AND NOT regexp_matches(uid, '{_quoted(_NO_TEXT)}'))
        AND NOT regexp_matches(title, '{_quoted(_ODD_TITLE)}')
        AND CASE WHEN untidy THEN NOT regexp_matches(content, '{_quoted(_UNTIDY)}') ELSE true END
        AND NOT regexp_matches(title, '{_quoted(_NO_TEXT)}') AND NOT regexp_matches(content, '{_quoted(_NO_TEXT)}') AS tidy
    FROM trimmed
)
-- Whether a content that begins as its title does says more than the title is for Python to see.
SELECT line, uid, title, content, key, NULL::VARCHAR AS folded,
    CASE WHEN key = '' THEN '{NO_TITLE}' WHEN length(title) > {MAX_TITLE_CHARACTERS} THEN '{TITLE_TOO_LONG}'
    WHEN content = '' THEN '{NO_CONTENT}' WHEN NOT regexp_matches(content, '^[^ ]+ [^ ]+ [^ ]+ [^ ]') THEN '{STUB}'
    ELSE '' END AS reason, '' AS attributes,
    coalesce(tidy AND (
        content = '' OR NOT starts_with(key, lower(regexp_extract(content[:60], '[A-Za-z0-9_]+')))
    ), false) AS plain
FROM judged
"""


def _titled(title: str) -> str:
    return f"CASE WHEN contains({title}, '&') THEN {_unescaped(title)} ELSE {title} END"


def _unescaped(text: str) -> str:
    for entity, character in ENTITIES.items():
        text = f"replace({text}, '{_quoted(entity)}', '{_quoted(character)}')"
    return text


def _folded(text: str) -> str:
    return f"replace(replace({text}, '  ', ' '), '  ', ' ')"


def _without_tail(text: str) -> str:
    return f"regexp_replace({text}, '(?i){_TAIL}.*$', '')"


def _quoted(text: str) -> str:
    return text.replace("'", "''")
