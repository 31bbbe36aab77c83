"""What is kept of this home: which files belong to it, their list with sizes and checksums, and what was kept last.

A thing that is kept is a run, a dataset, or the *shelf*: what else lies in the home and cannot be made again (uploads, what
a person changed, replies that were paid for, the generation under way). Other caches, locks and process ids stay behind.

What comes from a store is judged by the same rules: a name that this file would not keep is never written to the disk.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.dataset.store import MANIFEST
from pipeline.errors import RunError
from pipeline.files import KEEPING, home, read_json, write_json
from pipeline.runs.checkpoints import last_checkpoint
from pipeline.runs.folder import ADAPTER, CHECKPOINTS, DATASET, EVENTS, PROCESS, QUEUED, SETTINGS
from pipeline.runs.manage import check_name

RUNS, DATASETS, SHELF = "runs", "datasets", "shelf"

LIST = ".kept.json"
"""In the store, beside a thing's files: the list of them. It is written with them, in one commit."""

TEXTS = {".json", ".jsonl", ".md", ".html", ".txt", ".log", ".jinja"}
WEIGHTS = {".safetensors", ".model"}
TRAINERS = {"optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "training_args.bin"}
"""Pickles of the trainer in a checkpoint, by their whole names. It reads the first four as weights only, the last never."""
CATALOGUES = {".csv", ".tsv", ".gz", ".json", ".jsonl"}

MOST_FILES = 10_000
"""Of one thing: a list with more is not ours."""

LARGEST = 1 << 50
"""Bytes of one file, far more than any disk has: a list that tells of a larger one is not ours."""

MOST_TRAIL = 20
"""The lists before it that a list remembers."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHECKPOINT = re.compile(r"checkpoint-\d{1,9}")


@dataclass(frozen=True)
class File:
    """Attributes:
    size: bytes.
    time: when it was last changed, in seconds since 1970; runs and datasets are ordered by it.
    """

    size: int
    sha256: str
    time: float = field(compare=False)


@dataclass(frozen=True)
class Listing:
    """What the store has of a thing, as whoever wrote it last says.

    Attributes:
        writer: names the process that wrote it.
        revision: how often the thing has been written, whoever did it.
        space: the Space that wrote it; empty for another machine.
        trail: the lists that it was written over, as `identity` has them, the newest last.
        deleted: whether a person took the thing away; the list stays, without files, so that every machine learns it.
    """

    writer: str
    revision: int
    files: dict[str, File]
    space: str = ""
    trail: tuple[str, ...] = ()
    deleted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What is written. An earlier version takes a list without `files` for somebody else's, and leaves it alone."""
        without = "files" if self.deleted else "deleted"
        return {name: value for name, value in asdict(self).items() if name != without}

    @property
    def identity(self) -> str:
        return f"{self.writer} {self.revision}"

    def holds(self, other: "Listing | None") -> bool:
        """Whether it is that list, or was written by somebody who had seen that."""
        return other is not None and other.identity in (*self.trail, self.identity)

    @property
    def newest(self) -> float:
        return max((file.time for file in self.files.values()), default=0.0)

    @classmethod
    def read(cls, data: bytes, kind: str) -> "Listing":
        """The list in a file of the store.

        Raises:
            ValueError: it is not one, or names a file that does not belong to such a thing.
        """
        try:
            return cls.of(json.loads(data), kind)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a list of kept files") from error

    @classmethod
    def of(cls, value: dict[str, Any], kind: str) -> "Listing":
        deleted, trail = value.get("deleted", False), value.get("trail", ())
        if (deleted is not False and (deleted is not True or kind == SHELF)) or not isinstance(trail, list | tuple):
            raise ValueError("not a list of kept files")
        files = {} if deleted else {str(name): File(**file) for name, file in value["files"].items()}
        sound = len(files) <= MOST_FILES and all(belongs(kind, name) and _sound(f) for name, f in files.items())
        if not sound:
            raise ValueError("a file that is not kept")
        writer, space = str(value["writer"])[:64], str(value.get("space", ""))[:200]
        before = tuple(str(one)[:100] for one in trail[-MOST_TRAIL:])
        return cls(writer, int(value["revision"]), files, space, before, deleted)


def _sound(file: File) -> bool:
    size = type(file.size) is int and 0 <= file.size <= LARGEST
    time = isinstance(file.time, int | float) and math.isfinite(file.time)
    return size and time and bool(_SHA256.fullmatch(file.sha256))


@dataclass(frozen=True)
class Thing:
    """A run, a dataset or the shelf, by its name here."""

    kind: str
    name: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def folder(self) -> Path:
        return home() / self.kind / self.name if self.kind != SHELF else home()

    def there(self, name: str) -> str:
        """The folder in the store of what has that name there."""
        return f"{self.kind}/{name}" if self.kind != SHELF else name

    @classmethod
    def found(cls, path: str) -> "tuple[Thing, str]":
        """The thing whose list a path of the store is, and its name there.

        Raises:
            ValueError: it is none.
        """
        *kind, name, last = path.split("/")
        shelf = not kind and re.fullmatch(rf"{SHELF}(-[0-9a-f]+)?", name)
        if last != LIST or not (shelf or (kind in ([RUNS], [DATASETS]) and is_name(name))):
            raise ValueError("no list")
        return (cls(SHELF), name) if shelf else (cls(kind[0], name), name)


def is_name(name: str) -> bool:
    with suppress(RunError):
        check_name(name)
        return name == name.strip()
    return False


def belongs(kind: str, name: str) -> bool:
    """Whether a file of that name, a path inside the thing's folder, is one of those that are kept."""
    *folders, last = parts = name.split("/")
    if not all(_plain(part) for part in parts):
        return False
    suffix = Path(last).suffix.lower()
    hidden = any(part.startswith(".") for part in parts)
    if kind == SHELF:
        by_folder = {"uploads": CATALOGUES, "replies": {".jsonl"}, "batches": {".json"}}
        if not folders:
            return last in ("edits.jsonl", "generation.json")
        described = folders == ["uploads"] and suffix == ".json"  # the columns that were chosen, beside an upload
        return len(folders) == 1 and suffix in by_folder.get(folders[0], ()) and (described or not hidden)
    if hidden:
        return False
    if kind == DATASETS:
        return not folders and suffix in TEXTS
    if not folders:
        return (suffix in TEXTS or last == QUEUED) and last != PROCESS
    if folders == [DATASET]:
        return suffix in TEXTS
    if folders == [ADAPTER]:
        return suffix in TEXTS | WEIGHTS
    inside = len(folders) == 2 and folders[0] == CHECKPOINTS and bool(_CHECKPOINT.fullmatch(folders[1]))
    return inside and (suffix in TEXTS | WEIGHTS or last in TRAINERS)


def _plain(part: str) -> bool:
    """A single name: nothing that leads elsewhere, nothing that cannot be written everywhere."""
    if part in ("", ".", "..") or len(part.encode(errors="replace")) > 250:
        return False
    return part.isprintable() and not set(part) & set('\\:*?"<>|')


def part_of(name: str) -> str:
    """`adapter`, or a checkpoint's folder: what is whole together or not at all. Empty for a file that counts by itself."""
    folder = name.rpartition("/")[0]
    return folder if folder.split("/")[0] in (ADAPTER, CHECKPOINTS) else ""


def things_here() -> list[Thing]:
    """All that can be kept of this home, what was changed last first; the shelf comes last, since uploads may be large."""
    found: list[tuple[float, Thing]] = []
    for kind, mark in ((RUNS, SETTINGS), (DATASETS, MANIFEST)):
        for path in (home() / kind).glob(f"*/{mark}"):
            with suppress(OSError):  # it was just removed
                if is_name(path.parent.name) and not path.parent.is_symlink():
                    touched = (path, path.parent, path.with_name(EVENTS))
                    changed = max(p.stat().st_mtime for p in touched if p.exists())
                    found.append((changed, Thing(kind, path.parent.name)))
    return [thing for _, thing in sorted(found, key=lambda pair: pair[0], reverse=True)] + [Thing(SHELF)]


def files_here(thing: Thing) -> dict[str, Path]:
    """A thing's files that are kept: whole ones, and files that only grow. Of checkpoints the newest whole one."""
    folder = thing.folder
    if thing.kind == SHELF:
        inside = [folder, folder / "uploads", folder / "replies", folder / "batches"]
    elif thing.kind == RUNS:
        inside = [folder, folder / DATASET, folder / ADAPTER]
        inside += [checkpoint] if (checkpoint := last_checkpoint(folder)) else []
    else:
        inside = [folder]
    paths = {path.relative_to(folder).as_posix(): path for place in inside for path in _plain_files(place)}
    return {name: path for name, path in paths.items() if belongs(thing.kind, name)}


def _plain_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir() and not folder.is_symlink():
        yield from (path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink())


def stamps(files: dict[str, Path]) -> dict[str, list[int]]:
    """Size and time of each file: changes when anything was written.

    Raises:
        OSError: one has just gone.
    """
    return {name: stamp_of(path) for name, path in files.items()}


def stamp_of(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def is_here(path: Path, file: File) -> bool:
    """Whether a file lies here as it is in the store."""
    return path.is_file() and path.stat().st_size == file.size and sha256_of(path) == file.sha256


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Record:
    """What this machine knows of a thing in the store.

    Attributes:
        name: its name there; another than here where two machines had one of the same name.
        seen: the list that was written or read last; the thing is written only over that one. Of the shelf the files of
            which this machine has had what the store has.
        sent: the list of a commit that was begun, and of which nobody knows whether it arrived.
        stamps: of the files here, as they were when they were last the same as there.
        whole: whether everything of it has come, where it comes from the store.
        saved: when a checkpoint was last sent, in seconds since 1970.
    """

    name: str
    seen: Listing | None = None
    sent: Listing | None = None
    stamps: dict[str, list[int]] = field(default_factory=dict)
    whole: bool = True
    saved: float = 0.0

    def is_unchanged(self, thing: Thing) -> bool:
        """Whether the thing is here as it was when it was last the same as in the store."""
        return not self.whole or self.stamps == stamps(files_here(thing))

    def known_before(self, there: Listing, files: dict[str, File]) -> Listing | None:
        """The list of these files that was known to whoever has written `there` over it; none if they are new there."""
        sent = [self.sent] if self.sent and there.holds(self.sent) else []
        seen = [self.seen] if self.seen else []
        return next((known for known in sent + seen if known.files == files), None)


class Records(dict[str, Record]):
    """The records by the things' keys, in a file of this home: a fresh disk has none, and so has nothing to delete there.

    Attributes:
        second_shelves: what earlier versions left in the store beside the shelf, and is in this home's now.
    """

    def __init__(self, repo: str) -> None:
        super().__init__()
        self.repo = repo
        self.second_shelves: dict[str, Listing] = {}
        self.path = home() / KEEPING / "records.json"
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = read_json(self.path)
            if kept["repo"] == repo:
                self |= {key: self._of(key, value) for key, value in kept["things"].items()}

    def _of(self, key: str, value: dict[str, Any]) -> Record:
        kind = key.split("/")[0]
        record = Record(**value)
        record.seen, record.sent = (Listing.of(value[n], kind) if value[n] else None for n in ("seen", "sent"))
        return record

    def save(self) -> None:
        write_json(self.path, {"repo": self.repo, "things": {key: asdict(record) for key, record in self.items()}})
