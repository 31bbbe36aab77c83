"""Dataset → one file to take along: JSON, JSON lines or Parquet.

The files lie in the dataset's folder under `export/`, which no run copies.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from pipeline.dataset.examples import TRAINED, Example
from pipeline.dataset.store import RECORDS, Dataset
from pipeline.errors import SettingsError
from pipeline.files import whole_file

Form = Literal["json", "jsonl", "parquet"]
FORMS: tuple[Form, ...] = get_args(Form)

EXPORT = "export"
"""The folder for exports inside a dataset's."""

SPLIT, HELD_OUT_COLUMN = "split", "held_out"
"""The column that an export has besides the rows' own, and what it says of held-out rows: a word for it, as programs like it."""

LONGEST_STEM = 40
LARGEST_ROW = 64_000_000
"""Bytes: a prompt may hold a whole record, and its escapes take up to six bytes a character."""


def export_dataset(dataset: Dataset, form: Form, folder: Path | None = None) -> Path:
    """Write a dataset as one file, whose name tells the catalogue and the fingerprint.

    Args:
        form: `json` has the training records as `dataset.json` does; `jsonl` and `parquet` all rows, with their split.
        folder: where; `export/` in the dataset's folder when not given.
    """
    return export_to(dataset, form, (folder or dataset.folder / EXPORT) / f"{file_stem(dataset)}.{form}")


def export_to(dataset: Dataset, form: Form, path: Path) -> Path:
    """Write a dataset as this file; a file of that name gives way once the new one is whole.

    Raises:
        SettingsError: there is no such form.
    """
    if form not in FORMS:
        raise SettingsError(f"A dataset cannot be exported as {form!r}; choose {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    with whole_file(path) as aside:
        if form == "json":
            shutil.copyfile(dataset.folder / RECORDS, aside)
        elif form == "jsonl":
            write_lines(aside, split_rows(dataset))
        else:
            write_parquet(aside, split_rows(dataset), (SPLIT,))
    return path


def file_stem(dataset: Dataset) -> str:
    """`<catalogue>-<fingerprint>`, in characters that a file's name can have anywhere."""
    catalogue = re.sub(r"(?:\.(?:jsonl?|csv|tsv|gz|parquet))+$", "", _text(dataset.manifest.get("catalogue"), "name"))
    words = re.sub(r"\W+", "-", catalogue)[:LONGEST_STEM].strip("-_") or "dataset"
    return f"{words}-{fingerprint_of(dataset)}"


def fingerprint_of(dataset: Dataset) -> str:
    """A run's copy of a dataset tells it in its manifest; a manifest without one leaves the folder's name."""
    said = _text(dataset.manifest, "fingerprint")
    return said if re.fullmatch(r"[0-9a-f]{8,64}", said) else re.sub(r"\W+", "-", dataset.folder.name)


def _text(table: Any, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def split_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """All rows, each with its split as the first column."""
    for split, rows in ((TRAINED, dataset.training()), (HELD_OUT_COLUMN, dataset.held_out())):
        yield from ({SPLIT: split, **row} for row in rows)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> list[str]:
    """Write JSON lines; returns the columns that the rows have, in the order of their first use."""
    columns: dict[str, None] = {}
    # Half a character, which a model's reply may hold, is none in UTF-8: readers would refuse the whole file.
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for row in rows:
            columns |= dict.fromkeys(row)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return list(columns)


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], first: tuple[str, ...] = ()) -> None:
    """Write rows as a Parquet file, every column a string as it stands in the dataset.

    Args:
        first: columns that go before a row's own.
    """
    import duckdb

    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        lines = Path(folder) / "rows.jsonl"
        found = write_lines(lines, rows)
        names = dict.fromkeys([*first, *(f.name for f in fields(Example)), *found])
        table = connection.read_json(
            str(lines),
            format="newline_delimited",
            columns=dict.fromkeys(names, "VARCHAR"),  # a guess would make numbers of answers like "007"
            maximum_object_size=LARGEST_ROW,
        )
        table.write_parquet(str(path), compression="zstd")
