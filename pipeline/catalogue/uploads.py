"""The catalogues a person brought along: uploads, and files of this machine that are read where they lie.

An upload is a file in `uploads/`. What is known of it beyond its content (the columns that were chosen, or where a file of
this machine lies) is in a hidden JSON file beside the uploads, so that every window and every later run reads it alike.
"""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.catalogue.build import checksum
from pipeline.catalogue.cache import forget
from pipeline.catalogue.catalogue import HEAD_BYTES, SAMPLE, Catalogue, fields_of, find_catalogue, read_catalogue
from pipeline.catalogue.columns import PLAIN, Columns, guess_columns, unknown_columns, with_attributes
from pipeline.catalogue.csv_reader import is_csv, read_samples
from pipeline.catalogue.file_types import check_file
from pipeline.catalogue.json_reader import OnProgress, head, nothing_to_say
from pipeline.errors import CatalogueError, ColumnsError, PipelineError
from pipeline.files import home, read_json, taking_away, write_json
from pipeline.machine import on_space

logger = logging.getLogger(__name__)

SAMPLE_NAME = ""
"""The sample's value in the list of catalogues; an upload's is its file name, and its path that of a file elsewhere."""
MAX_NAME_BYTES = 200
KNOWN_ENDINGS = (".csv", ".tsv", ".gz", ".json", ".jsonl")


def uploads_dir() -> Path:
    """Where uploaded catalogues are kept, so that a reload finds them again."""
    return home() / "uploads"


# --- Finding one ---


def catalogue_choices() -> list[tuple[str, str]]:
    files = sorted(path.name for path in _uploads())
    elsewhere = [] if on_space() else sorted(_elsewhere())
    return [
        ("Sample catalogue", SAMPLE_NAME),
        *((name, name) for name in files),
        *((f"{Path(path).name} · in {Path(path).parent}", path) for path in elsewhere),
    ]


def catalogue_path(name: str | None) -> Path:
    """The file of that name, which is looked up among those there are and never made into a path.

    Raises:
        CatalogueError: there is none.
    """
    if not name:
        return SAMPLE
    if not on_space() and name in _elsewhere():
        return Path(name)
    path = next((p for p in _uploads() if p.name == name), None)
    if path is None:
        raise CatalogueError(f"There is no uploaded catalogue {name}; upload it again.")
    return path


def open_catalogue(name: str | None, on_progress: OnProgress = nothing_to_say) -> Catalogue:
    """The sample, or the catalogue of that name.

    Raises:
        ColumnsError: its columns must be chosen.
        CatalogueError: there is none of that name, or it cannot be read.
    """
    path, columns = catalogue_path(name), chosen_columns(name)
    if columns is None:
        _check_fields(path)
    return read_catalogue(path, columns=columns, on_progress=on_progress)


def catalogue_with(sha256: str) -> Catalogue | None:
    """The catalogue with this checksum: its prepared copy, or one made again of a file in the list.

    Raises:
        CatalogueError: the file cannot be read (any more).
    """
    if (found := find_catalogue(sha256)) or (name := _name_with(sha256)) is None:
        return found
    logger.info("The catalogue %s is prepared again.", catalogue_path(name).name)
    return open_catalogue(name)


def is_at_hand(sha256: str) -> bool:
    """Whether there is a `catalogue_with` this checksum; nothing is made for it."""
    return find_catalogue(sha256) is not None or _name_with(sha256) is not None


def _name_with(sha256: str) -> str | None:
    for _, name in catalogue_choices():
        with suppress(PipelineError, OSError):  # another one may be what is looked for
            path = catalogue_path(name)
            found = path.stat()
            if _checksum(path, columns_in_use(name) or PLAIN, found.st_mtime_ns, found.st_size) == sha256:
                return name
    return None


@lru_cache(maxsize=256)
def _checksum(path: Path, columns: Columns, _changed: int, _size: int) -> str:
    return checksum(path, columns)


def _uploads() -> list[Path]:
    return [p for p in uploads_dir().glob("*") if p.is_file() and not p.name.startswith(".")]


def _elsewhere() -> set[str]:
    return {known["path"] for file in uploads_dir().glob(".*.json") if "path" in (known := _read(file))}


# --- Columns ---


def samples_of(path: Path, count: int = 3) -> list[dict[str, Any]]:
    """A few rows as they stand."""
    if is_csv(path):
        return list(read_samples(path, count))
    return [row for _, row in head(path, HEAD_BYTES) if isinstance(row, dict)][:count]


def chosen_columns(name: str | None) -> Columns | None:
    """The columns that a person chose for a catalogue, if they had to be."""
    with suppress(KeyError, TypeError):
        columns = _read(_beside(name))["columns"] if name else None
        return Columns.of(columns) if columns else None
    return None


def columns_in_use(name: str | None) -> Columns | None:
    """The chosen ones, else those that are recognised by their names."""
    return chosen_columns(name) or guess_columns(fields_of(catalogue_path(name)))


def use_columns(name: str, columns: Columns, on_progress: OnProgress = nothing_to_say) -> Catalogue:
    """Read a catalogue by these columns from now on, once it is known that they give products.

    Raises:
        CatalogueError: they do not; then those before are kept.
    """
    catalogue = read_catalogue(catalogue_path(name), columns=columns, on_progress=on_progress)
    _note(name, columns=asdict(columns))
    return catalogue


def columns_chosen(path: Path, title: str | None, contents: Sequence[str], uid: str | None) -> Columns:
    """What a person picked; where that is an export's own title, its rows are still put together as the export's.

    Raises:
        CatalogueError: title or content is missing.
    """
    if not title or not contents:
        raise CatalogueError("Title or description is not chosen yet; choose one column for each at least.")
    check_file(path)
    fields = fields_of(path)
    known = guess_columns(fields)
    export = known.export if known and known.title == title else ""
    return with_attributes(Columns(title, tuple(contents), uid or None, export), fields)


def _check_fields(path: Path) -> None:
    """Ask for the columns before all of a large file is read in vain."""
    check_file(path)
    fields = fields_of(path)
    if len(fields) > 1 and guess_columns(fields) is None:
        raise unknown_columns(path.name, fields)


# --- Bringing one and removing it ---


@dataclass(frozen=True)
class Placed:
    """An upload in its place, not yet known to be a catalogue."""

    name: str
    old: Path | None
    """The one of the same name that it replaces, kept until it is."""


def upload_name(path: Path) -> str:
    """What an uploaded file is called among the uploads: as it was, but for what nobody sees and a terminal or a page obeys."""
    seen = "".join(c if c.isprintable() else "-" for c in path.name)
    return _fitting(seen.lstrip(".")) or "catalogue"


def take_upload(path: Path, on_progress: OnProgress = nothing_to_say) -> Catalogue:
    """Place an uploaded file and read it, in one: whoever reads a catalogue of a name is the only one who replaces its file.

    Raises:
        CatalogueError: as `verify_upload`.
    """
    return verify_upload(place_upload(path), on_progress)


def place_upload(path: Path) -> Placed:
    """Move an uploaded file to where uploads are; see `verify_upload`."""
    uploads_dir().mkdir(parents=True, exist_ok=True)
    name = upload_name(path)
    to, new = uploads_dir() / name, uploads_dir() / f".{uuid4().hex}"
    shutil.move(path, new)
    old = to.rename(uploads_dir() / f".{uuid4().hex}") if to.exists() else None
    new.rename(to)
    return Placed(name, old)


def verify_upload(placed: Placed, on_progress: OnProgress = nothing_to_say) -> Catalogue:
    """Read a placed upload; one that is no catalogue goes again, and the one that it replaced comes back.

    Raises:
        ColumnsError: its columns must be chosen; it stays.
        CatalogueError: it cannot be used.
    """
    path = uploads_dir() / placed.name
    try:
        _drop_unfitting(placed.name, path)
        catalogue = open_catalogue(placed.name, on_progress)
    except ColumnsError:
        _discard(placed.old)
        raise
    except BaseException:
        _take_away(path)
        if placed.old:
            placed.old.rename(path)
        raise
    _discard(placed.old)
    return catalogue


def keep_path(typed: str) -> str:
    """Remember a file of this machine, which is read where it lies; returns its name in the list.

    Raises:
        CatalogueError: there is no such catalogue file, or the app serves others too.
    """
    if on_space():
        raise CatalogueError("Files of the server can be opened only where the app runs for you alone; upload yours.")
    text = typed.strip().strip("\"'")
    if not text:
        raise CatalogueError("No path is given; type the file's full path, such as /data/trn.json.gz.")
    path = _existing(text)
    if path is None:
        raise CatalogueError(f"There is no file {_shown(text)}; type its full path, such as /data/trn.json.gz.")
    if not path.name.lower().endswith(KNOWN_ENDINGS):
        raise CatalogueError(f"{_shown(path.name)} is no catalogue by its name; it must end in {_ENDINGS}.")
    check_file(path)
    if path.parent.resolve() == uploads_dir().resolve() and path in _uploads():
        return path.name
    uploads_dir().mkdir(parents=True, exist_ok=True)
    _note(str(path), path=str(path))
    return str(path)


def verify_path(name: str, on_progress: OnProgress = nothing_to_say) -> Catalogue:
    """Read a file that `keep_path` has just remembered; one that is no catalogue is forgotten again.

    Raises:
        ColumnsError, CatalogueError: as `verify_upload`.
    """
    try:
        return open_catalogue(name, on_progress)
    except ColumnsError:
        raise
    except BaseException:
        remove(name)
        raise


def remove(name: str) -> None:
    """Remove an upload, or forget a file elsewhere (which stays), with what was prepared and noted of it.

    Raises:
        CatalogueError: there is none of that name.
    """
    path = catalogue_path(name)
    if path == SAMPLE:
        raise CatalogueError("The sample catalogue belongs to the app and stays.")
    if name not in _elsewhere():
        _take_away(path)
    _take_away(_beside(name))
    forget(path)


def set_aside(name: str, mark: str) -> None:
    """Let an upload give way to another of its name: it takes a name with that mark, and its columns go along."""
    new = marked(name, mark)
    for old, to in ((uploads_dir() / name, uploads_dir() / new), (_beside(name), _beside(new))):
        if old.is_file():
            old.replace(to)
    if _beside(new).is_file():
        _note(new)


def marked(name: str, mark: str) -> str:
    """An upload's name with a mark before its endings."""
    stem, dot, endings = name.partition(".")
    return _fitting(f"{stem}-{mark}{dot}{endings}")


def _take_away(path: Path) -> None:
    with taking_away(path):
        path.unlink(missing_ok=True)


_ENDINGS = f"{', '.join(KNOWN_ENDINGS[:-1])} or {KNOWN_ENDINGS[-1]}"


def _existing(text: str) -> Path | None:
    """The file of a full path that was typed; None for whatever else was."""
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(text).expanduser()
        return path if path.is_absolute() and path.is_file() else None
    return None


def _drop_unfitting(name: str, path: Path) -> None:
    """Columns that were chosen for an older upload of this name serve the new one if it has them."""
    columns = chosen_columns(name)
    if columns and not {columns.title, *columns.content} <= set(fields_of(path)):
        _take_away(_beside(name))


def _fitting(name: str) -> str:
    """The name, shortened so that its ending stays where it is too long for a file."""
    data = name.encode(errors="replace")
    return name if len(data) <= MAX_NAME_BYTES else data[-MAX_NAME_BYTES:].decode(errors="ignore").lstrip(".")


def _shown(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + " …"


def _discard(path: Path | None) -> None:
    if path:
        path.unlink(missing_ok=True)


def _beside(name: str | None) -> Path:
    """The hidden file that says more about a catalogue; its name is short whatever the catalogue's is."""
    digest = hashlib.sha256((name or "").encode(errors="surrogateescape")).hexdigest()[:16]
    return uploads_dir() / f".{digest}.json"


def _read(file: Path) -> dict[str, Any]:
    """What a hidden file says; one that is damaged says nothing."""
    with suppress(OSError, ValueError):
        known = read_json(file)
        return known if isinstance(known, dict) else {}
    return {}


def _note(name: str, **known: Any) -> None:
    write_json(_beside(name), _read(_beside(name)) | {"name": name} | known)
