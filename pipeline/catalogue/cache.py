"""A catalogue's Parquet files: made once from the file that a person has, and read ever after.

A cache is a folder `cache/catalogues/<path>-<state>/` that is there whole or not at all: `products.parquet` (the usable
products in order, without their contents), `contents/` (by line), `skipped.parquet`, `empty.parquet` (titles of rows that say
nothing) and `catalogue.json`. Its name changes with the file's path, size and time, the columns and this code.
"""

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.catalogue.build import build
from pipeline.catalogue.columns import Columns
from pipeline.catalogue.json_reader import OnProgress
from pipeline.errors import CatalogueError
from pipeline.files import home, locked, read_json, whole_folder, write_json

ABOUT = "catalogue.json"
_CODE = ("cleaning", "plain", "json_reader", "columns", "csv_reader", "shops", "build", "cache")
"""The modules that have a say in what a cache holds."""


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
    """A whole cache of a catalogue with this checksum, wherever its file was."""
    for folder in sorted(cache_dir().glob("*-*")):
        if not folder.name.startswith(".") and (found := _whole(folder)) and found.about.get("sha256") == sha256:
            return found
    return None


def remove_outdated(place: str = "") -> None:
    """Remove the caches of files that are gone or changed, and what a killed builder left.

    Args:
        place: the beginning of the names that are locked; only there may something be left by a builder that is gone.
    """
    for folder in cache_dir().glob("*-*"):
        if folder.is_dir() and not folder.name.startswith(".") and not _up_to_date(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for left in cache_dir().glob(f".{place}*-*.*") if place else ():
        shutil.rmtree(left, ignore_errors=True)


def forget(path: Path) -> None:
    """Remove the caches of a catalogue file, whether it is still there or not."""
    place = _digest(str(path.resolve()))
    with locked(cache_dir() / f".lock-{place[0]}"):
        for folder in cache_dir().glob(f"{place}-*"):
            discard(folder)


def discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


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


def _up_to_date(folder: Path) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        about = read_json(folder / ABOUT)
        source = Path(about["source"]).stat()
        return about["state"][:2] == [source.st_size, source.st_mtime_ns] and about["state"][3] == _code()
    return False
