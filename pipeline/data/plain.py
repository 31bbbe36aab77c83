"""The twin in SQL of `cleaning`, and of Python's JSON reader, for lines that hold nothing odd.

Most lines of a large catalogue are plain: strict JSON, and texts of letters that cleaning leaves as they are but for double
spaces and a boilerplate's tail. SQL says which lines are plain and cleans those; every other line is Python's.
"""

import re

import duckdb

from pipeline.data import cleaning
from pipeline.data.cleaning import MAX_TITLE_CHARACTERS, NO_CONTENT, NO_TITLE, STUB, TITLE_TOO_LONG
from pipeline.data.columns import Columns

LETTERS = (
    " -~\u00a1-\u00ac\u00ae-\u00de\u00e0-\u012f\u0132-\u0148\u014a-\u017e\u0180-\u01c3"  # Latin
    "\u0391-\u03a1\u03a3-\u03ce\u0400-\u0481\u048a-\u052f"  # Greek and Cyrillic
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2122\u2190-\u2328\u2460-\u2473\u2500-\u27e5"  # punctuation and signs
    "\u3001-\u3020\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"  # Japanese, Chinese and Korean
)
"""Ranges of characters that no step of cleaning changes, alone or side by side, and that no letter's case makes ASCII."""

_ODD = f"[^{LETTERS}]|<|&[^ ;&]"
_TAIL = " ?-{1,2} ?This (?:text|edition) refers to "
_UNTIDY = f"{_ODD}|  |^ | $|(?i:- ?This (?:text|edition) refers to )"
"""What cleaning changes, or may change."""
_ODD_TITLE = "[^ -~]|<|&[^ ;&]|  |^ | $|(?i:- ?This (?:text|edition) refers to )"
_PLAIN_UID = "[!-%'-;=-~]+"
ENTITIES = {"&amp;": "&", "&quot;": '"', "&#39;": "'", "&#8217;": "’", "&#8212;": "—", "&#8220;": "“", "&#8221;": "”"}
"""The commonest ones, in the order in which they are replaced: an ampersand may be the beginning of another."""


def can_read(columns: Columns) -> bool:
    """Whether title and content are one field each, and all names need no escaping."""
    names = [columns.title, *columns.content, *([columns.uid] if columns.uid else [])]
    return len(columns.content) == 1 and all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in names)


def take_lines(
    connection: duckdb.DuckDBPyConnection, lines: bytes, first: int, columns: Columns
) -> list[tuple[int, str]]:
    """Make the table `part` with the columns of `Checked`, filled from the plain lines; returns the others, numbered.

    Args:
        lines: UTF-8 text, of which `first` is the number of the first line.
        columns: what `can_read` allows.

    Raises:
        duckdb.ConversionException: it is not UTF-8.
    """
    connection.execute(_tidy(columns), {"lines": lines, "first": first, "most": cleaning.MAX_LINE_BYTES})
    connection.execute(_PART)
    return connection.execute("SELECT line, raw FROM tidy WHERE NOT plain ORDER BY line").fetchall()


def _tidy(columns: Columns) -> str:
    """The fields of every line, its content cleaned as if it were plain; `raw` is kept of the lines that are not.

    Whatever cleaning a step here leaves undone is seen by the pattern for untidy text, and left to Python.
    """
    names = [columns.title, columns.content[0], *([columns.uid] if columns.uid else [])]
    paths = ", ".join(f"'$.{name}'" for name in names)
    uid = "CASE WHEN t[3] IN ('VARCHAR', 'UBIGINT') THEN v[3] WHEN v[3] IS NULL THEN line::VARCHAR END"
    return rf"""
CREATE OR REPLACE TEMP TABLE tidy AS
WITH lines AS (
    SELECT unnest(l) AS raw, unnest(range($first, $first + len(l))) AS line
    FROM (SELECT string_split(decode($lines), chr(10)) AS l)
), found AS (
    SELECT line, raw, TRY(json_extract_string(raw, [{paths}])) AS v, TRY(json_type(raw, [{paths}])) AS t FROM lines
), texts AS (
    SELECT line, raw, {uid if columns.uid else "line::VARCHAR"} AS uid, v[1] AS title, coalesce(v[2], '') AS text,
        -- DuckDB's reader would take a comma at the end of a list.
        t[1] = 'VARCHAR' AND coalesce(t[2], 'VARCHAR') = 'VARCHAR' AND strlen(raw) < $most
        AND NOT regexp_matches(raw, ',\s*[\]}}]') AS strict
    FROM found
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
        CASE WHEN untidy AND contains(lower(text), 'refers to') THEN {_without_tail("text")} ELSE text END AS text
    ) FROM folded
), trimmed AS (
    SELECT line, raw, uid, title, strict, untidy, CASE WHEN untidy THEN trim(text, ' ') ELSE text END AS content
    FROM cut
), judged AS (
    SELECT line, raw, uid, title, content,
        CASE WHEN regexp_full_match(title, '[A-Za-z0-9_ ]*') THEN lower(title)
        ELSE trim(regexp_replace(lower(title), '[^a-z0-9_]+', ' ', 'g'), ' ') END AS key,
        strict AND regexp_full_match(uid, '{_quoted(_PLAIN_UID)}')
        AND NOT regexp_matches(title, '{_quoted(_ODD_TITLE)}')
        AND CASE WHEN untidy THEN NOT regexp_matches(content, '{_quoted(_UNTIDY)}') ELSE true END AS tidy
    FROM trimmed
), told AS (
    -- Whether a content that begins as its title does says more than the title is for Python to see.
    SELECT *, coalesce(tidy AND (
        content = '' OR NOT starts_with(key, lower(regexp_extract(content[:60], '[A-Za-z0-9_]+')))
    ), false) AS plain
    FROM judged
)
SELECT line, uid, title, content, key, plain, CASE WHEN NOT plain THEN raw END AS raw FROM told
"""


def _unescaped(text: str) -> str:
    for entity, character in ENTITIES.items():
        text = f"replace({text}, '{_quoted(entity)}', '{_quoted(character)}')"
    return text


def _folded(text: str) -> str:
    return f"replace(replace({text}, '  ', ' '), '  ', ' ')"


def _without_tail(text: str) -> str:
    return f"regexp_replace({text}, '(?i){_TAIL}.*$', '')"


_PART = f"""
CREATE OR REPLACE TEMP TABLE part AS
SELECT line, uid, title, content, key, NULL::VARCHAR AS folded,
    CASE WHEN key = '' THEN '{NO_TITLE}' WHEN strlen(title) > {MAX_TITLE_CHARACTERS} THEN '{TITLE_TOO_LONG}'
    WHEN content = '' THEN '{NO_CONTENT}' WHEN NOT regexp_matches(content, '^[^ ]+ [^ ]+ [^ ]+ [^ ]') THEN '{STUB}'
    ELSE '' END AS reason
FROM tidy WHERE plain
"""


def _quoted(text: str) -> str:
    return text.replace("'", "''")
