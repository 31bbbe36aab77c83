"""Which files are no catalogue, by their first bytes, and what to do with each instead."""

import zipfile
from contextlib import suppress
from pathlib import Path

from pipeline.errors import CatalogueError


def check_file(path: Path) -> None:
    """Refuse what is no file or empty.

    Raises:
        CatalogueError: it is.
    """
    if not path.is_file():
        raise CatalogueError(f"There is no file {path.name or path}; choose a catalogue (.json, .jsonl, .csv or .gz).")
    if said := _no_catalogue(path):
        raise CatalogueError(f"{path.name} is {said}; {_HOW_TO_EXPORT.get(said, _EXPORT_IT)} and choose that file.")
    if path.stat().st_size == 0:
        raise CatalogueError(f"{path.name} is empty; choose a catalogue with one JSON object a line.")


_SIGNATURES = {
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls)",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "a SQLite database",
    b"ARROW1": "an Arrow file",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x28\xb5\x2f\xfd": "a file packed by Zstandard",
    b"BZh": "a file packed by bzip2",
    b"\xfd7zXZ": "a file packed by xz",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
_MARKUP = {"<?xml": "XML", "<rss": "an XML feed", "<!doctype html": "a web page", "<html": "a web page"}


_EXPORT_IT = "export it as CSV or JSON"
_SHEET = "save the sheet of products as CSV in UTF-8 (File, Save As)"
_UNPACK = "unpack the catalogue in it"
_HOW_TO_EXPORT = {
    "an Excel workbook": _SHEET,
    "an Excel workbook (.xls)": _SHEET,
    "an OpenDocument spreadsheet": _SHEET,
    "a Parquet file": "write it as CSV, in Python by pandas.read_parquet(…).to_csv(…, index=False),",
    "an Arrow file": "write it as CSV, in Python by pandas.read_feather(…).to_csv(…, index=False),",
    "a ZIP archive": _UNPACK,
    "a RAR archive": _UNPACK,
    "a 7-Zip archive": _UNPACK,
    "a file packed by Zstandard": _UNPACK,
    "a file packed by bzip2": _UNPACK,
    "a file packed by xz": _UNPACK,
}
"""What to do with a file that is no catalogue, where there is something better to say than to export it."""


def _no_catalogue(path: Path) -> str:
    """What a file is by its first bytes, where that is nothing that can be read as rows."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower().decode(errors="replace")
    known = [said for mark, said in _SIGNATURES.items() if head.startswith(mark)]
    return (known + [said for mark, said in _MARKUP.items() if text.startswith(mark)] + [""])[0]


def _zipped(path: Path) -> str:
    names: list[str] = []
    with suppress(zipfile.BadZipFile, OSError, ValueError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook"
    if "content.xml" in names:
        return "an OpenDocument spreadsheet"
    return "a ZIP archive"
