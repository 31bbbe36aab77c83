"""Where things are kept, and the two ways of writing them: append a line, or write aside and rename.

Whatever is read back after a crash was therefore either there or not there, never half there.
"""

import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import PipelineError
from pipeline.machine import free_disk, on_space

PROJECT = Path(__file__).resolve().parent.parent
ASSETS = PROJECT / "assets"

HALF_CHARACTERS = "backslashreplace"
"""File names may hold bytes that are no text; inside JSON they are written as the escapes that JSON has for them."""


VOLUME = Path("/data")
"""Where a Space's own storage is mounted, if it has any."""


def home() -> Path:
    """The folder that holds `runs/` and `datasets/`: `SHELFTALK_HOME`, else a Space's own storage, else the project's."""
    return Path(os.environ.get("SHELFTALK_HOME") or (VOLUME if on_volume() else PROJECT))


def on_volume() -> bool:
    """Whether this is a Space with storage of its own, which outlives a restart."""
    return on_space() and VOLUME.is_dir() and os.access(VOLUME, os.W_OK)


def runs_dir() -> Path:
    return home() / "runs"


def datasets_dir() -> Path:
    return home() / "datasets"


def models_dir() -> Path:
    """Converted base models: a cache of the machine, the same for every home."""
    return PROJECT / "models"


KEEPING = ".kept"
"""In a home that is kept elsewhere too: what is known of that. In `gone.jsonl` what a person took away here."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a temporary file that takes the name `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file so that a reader sees the old one or the new one."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8", errors=HALF_CHARACTERS)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def parse_json(text: str | bytes) -> Any:
    """JSON of which nobody knows who wrote it.

    Raises:
        ValueError: it is none, or nested deeper than any of ours.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def read_json(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8"))


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file that was written whole; a last line that was cut off is dropped."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield parse_json(line)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file that is only appended to. A line torn by a crash is dropped, wherever it stands: the next row ends it."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError):
                row = parse_json(line)
                if isinstance(row, dict):
                    yield row


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one row with a single write, ending a line that an earlier crash left torn."""
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode(errors=HALF_CHARACTERS)
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)


_HERE, _EXCHANGE = -100, 2
"""Linux's numbers for: paths are looked up as usual; both names are swapped."""


def _exchange(new: Path, old: Path) -> bool:
    """Let two folders swap names at once, so that a process killed in between leaves neither name empty; tells whether it did.

    Only Linux can, and not on every kind of disk.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _EXCHANGE) == 0


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that takes the name `path` only when the block ends well; an older `path` gives way."""
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    aside.mkdir(parents=True)
    try:
        yield aside
        if path.is_dir() and not path.is_symlink() and _exchange(aside, path):
            return
        if path.exists():
            old = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
            path.replace(old)
            aside.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuse work for which the disk has no room.

    Args:
        folder: a folder on the disk in question; it need not exist yet.
        needed: bytes.
        purpose: what the bytes are for, as in "a training run".

    Raises:
        PipelineError: there is less room than `needed`.
    """
    free = free_disk(folder)
    if free < needed:
        raise PipelineError(
            f"The disk has {free / 1e9:.1f} GB left and {purpose} needs about {needed / 1e9:.1f} GB. "
            "Delete old runs or free some room, then try again."
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one at a time in, among all threads and processes of this machine.

    The lock belongs to the open file, so it ends with the block or, whatever happens to it, with the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_folder(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """As `locked`, by a folder that is there: the lock goes where the folder goes, and leaves no file behind.

    Raises:
        FileNotFoundError: it has just gone.
        BlockingIOError: somebody holds it, and `wait` is false.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def work_folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new folder that goes when the block ends; held, so that `clear_work_folders` leaves it alone."""
    with ExitStack() as held:
        folder = _held_folder(parent, prefix, held)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _held_folder(parent: Path, prefix: str, held: ExitStack) -> Path:
    while True:
        folder = parent / f"{prefix}{uuid4().hex}"
        folder.mkdir(parents=True)
        with suppress(FileNotFoundError):  # whoever clears may have taken it for one that was left
            held.enter_context(locked_folder(folder))
            if folder.is_dir():
                return folder


def clear_work_folders(parent: Path, prefix: str = "") -> None:
    """Remove the folders of those who were killed; a process that lives holds its own."""
    for left in parent.glob(f"{prefix}{'[0-9a-f]' * 32}/"):
        with suppress(FileNotFoundError, BlockingIOError), locked_folder(left, wait=False):
            shutil.rmtree(left, ignore_errors=True)


# --- What a person took away ---


@contextmanager
def taking_away(path: Path) -> Iterator[None]:
    """The block removes or renames what is not wanted any more: whoever keeps this home elsewhere learns that it was not lost
    with a disk."""
    keeping, place = (home() / KEEPING).absolute(), path.absolute()
    if not keeping.is_dir() or not place.is_relative_to(keeping.parent):
        yield
        return
    with _journal() as journal:
        append_jsonl(journal, {"gone": place.relative_to(keeping.parent).as_posix()})
        yield


def taken_away() -> set[str]:
    """The paths inside this home that were taken away and are not there again."""
    return _wishes(()) if _gone_file().is_file() else set()


def forget_taken_away(paths: Collection[str]) -> None:
    """Those are gone elsewhere, too."""
    if paths:
        _wishes(paths)


def _wishes(done: Collection[str]) -> set[str]:
    """What the journal says, once it says nothing any more of what is done or there again."""
    with _journal() as journal:
        wished = {_gone(line) for line in read_log(journal)}
        left = {path for path in wished if path not in done and not (home() / path).exists()}
        if left != wished:
            write_jsonl(journal, [{"gone": path} for path in sorted(left)])
        return left


def _gone_file() -> Path:
    return home() / KEEPING / "gone.jsonl"


@contextmanager
def _journal() -> Iterator[Path]:
    """Whoever looks for what was taken away waits for whoever is about to take something away."""
    with locked(_gone_file().with_suffix(".lock")):
        yield _gone_file()


def _gone(line: dict[str, Any]) -> str:
    return str(line.get("gone") or f"runs/{line.get('run')}")  # the second is an earlier version's
