"""A catalogue's Parquet files: made once from the file that a person has, and read ever after.

A cache is a folder `cache/catalogues/<path>-<state>/` that is there whole or not at all: `products.parquet` (the usable
products in order, without their contents), `contents/` (by line), `skipped.parquet`, `empty.parquet` (titles of rows that say
nothing) and `catalogue.json`. Its name changes with the file's path, size and time, the columns and this code.

An outdated one stays while a dataset or a run was made of that catalogue, or a run answers from it: the file as it was then may
be nowhere else.
"""

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from pipeline.catalogue.build import CONTENTS, EMPTY, PRODUCTS, SKIPPED, build, database, files
from pipeline.catalogue.columns import Columns
from pipeline.catalogue.json_reader import OnProgress
from pipeline.errors import CatalogueError
from pipeline.files import datasets_dir, home, locked, read_json, runs_dir, whole_folder, write_json

ABOUT = "catalogue.json"
RENEWED = "renewed.json"
"""Beside the manifest of a run's dataset: the newer catalogue that the run answers from (`pipeline.answering.renewed`)."""
_CODE = ("cleaning", "plain", "json_reader", "columns", "csv_reader", "shops", "build", "cache")
"""The modules that have a say in what a cache holds."""
_KNOWN = {"sha256", "rows", "usable", "empty", "skipped", "source"}
_COLUMNS = {
    PRODUCTS: "number, line, uid, title, key, folded",
    CONTENTS: "line, content, attributes",
    SKIPPED: "number, line, title, reason",
    EMPTY: "number, title, key",
}
"""What is read of a cache, whichever code made it."""
_readable: set[Path] = set()
"""Caches that are known to have that."""


@dataclass(frozen=True)
class Cached:
    """A whole cache and what is known of it."""

    folder: Path
    about: dict[str, Any]


def cache_dir() -> Path:
    return home() / "cache" / "catalogues"


def cached(path: Path, columns: Columns, on_progress: OnProgress) -> Cached:
    """The cache of a catalogue file, made now if there is none or it is damaged.

    Raises:
        CatalogueError: nothing in the file can be used, or it is no catalogue.
    """
    place, state = _digest(str(path.resolve())), _state(path, columns)
    folder = cache_dir() / f"{place}-{_digest(json.dumps(state))}"
    if found := _whole(folder):
        return found
    with locked(cache_dir() / f".lock-{place[0]}"):
        if found := _whole(folder):  # made by another while this one waited
            return found
        remove_outdated(place[0])
        with whole_folder(folder) as aside:
            about = build(path, columns, aside, on_progress)
            if _state(path, columns) != state:
                raise CatalogueError(f"{path.name} changed while it was read; choose it again when it is complete.")
            sizes = {str(f.relative_to(aside)): f.stat().st_size for f in aside.rglob("*") if f.is_file()}
            write_json(aside / ABOUT, about | {"source": str(path.resolve()), "state": state, "files": sizes})
    return Cached(folder, read_json(folder / ABOUT))


def by_checksum(sha256: str) -> Cached | None:
    """A whole cache of a catalogue with this checksum, wherever its file was: one that is up to date before others."""
    every = [found for folder in _folders() if (found := _whole(folder)) and found.about.get("sha256") == sha256]
    every.sort(key=lambda found: not _up_to_date(found.folder))
    return next((found for found in every if _can_be_read(found.folder)), None)


def remove_outdated(place: str = "") -> None:
    """Remove the caches of files that are gone or changed, but for one of each catalogue that a dataset or a run names, and what
    a killed builder left.

    Args:
        place: the beginning of the names that are locked; only there may something be left by a builder that is gone.
    """
    if outdated := [folder for folder in _folders() if not _up_to_date(folder)]:
        needed = {found.folder for sha256 in _named() if (found := by_checksum(sha256))}
        for folder in outdated:
            if folder not in needed:
                discard(folder)
    for left in cache_dir().glob(f".{place}*-*.*") if place else ():
        shutil.rmtree(left, ignore_errors=True)


def forget(path: Path) -> None:
    """Remove the caches of a catalogue file, whether it is still there or not."""
    place = _digest(str(path.resolve()))
    with locked(cache_dir() / f".lock-{place[0]}"):
        for folder in _folders(place):
            discard(folder)


def checksums(path: Path) -> set[str]:
    """The checksums of a catalogue file, as it is and as it was, of which there are caches."""
    every = map(_whole, _folders(_digest(str(path.resolve()))))
    return {str(found.about.get("sha256")) for found in every if found}


def discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _folders(place: str = "*") -> list[Path]:
    return sorted(f for f in cache_dir().glob(f"{place}-*") if f.is_dir() and not f.name.startswith("."))


def _named() -> set[str]:
    """The checksums of the catalogues that the datasets and runs here were made of, and that runs answer from."""
    named: set[str] = set()
    for manifest in [*datasets_dir().glob("*/manifest.json"), *runs_dir().glob("*/dataset/manifest.json")]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            named.add(read_json(manifest)["catalogue"]["sha256"])
    for renewed in runs_dir().glob(f"*/dataset/{RENEWED}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            named.add(read_json(renewed)["sha256"])
    return named


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _state(path: Path, columns: Columns) -> list[Any]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, list(asdict(columns).values()), _code()]


@cache
def _code() -> str:
    """A digest of this code, which stays the same while it runs."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in _CODE]
    return hashlib.sha256(b"\0".join(s.read_bytes() for s in sources)).hexdigest()[:16]


def _whole(folder: Path) -> Cached | None:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = read_json(folder / ABOUT)
        if all((folder / name).stat().st_size == size for name, size in about["files"].items()):
            return Cached(folder, about)
    return None


def _can_be_read(folder: Path) -> bool:
    """Whether a whole cache has what this code asks for, also where other code made it."""
    if folder in _readable:
        return True
    with suppress(OSError, ValueError, duckdb.Error), database(folder) as connection:
        for file, columns in _COLUMNS.items():
            place = folder / file
            parts = files(place) if file == CONTENTS else [str(place)]
            connection.execute(f"SELECT {columns} FROM read_parquet($1) LIMIT 0", [parts])
        if read_json(folder / ABOUT).keys() >= _KNOWN:
            _readable.add(folder)
    return folder in _readable


def _up_to_date(folder: Path) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        about = read_json(folder / ABOUT)
        source = Path(about["source"]).stat()
        return about["state"][:2] == [source.st_size, source.st_mtime_ns] and about["state"][3] == _code()
    return False
