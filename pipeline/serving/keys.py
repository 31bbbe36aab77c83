"""The keys that callers of the API have: shown once, kept as hashes in a file that its owner alone can read, revocable."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import ServingError
from pipeline.files import home, locked, read_json, whole_file

BEGIN = "sk-shelftalk-"
"""What every key begins with: logs mask it, and scanners for leaked secrets know its like."""

LONGEST_NAME = 60
PER_MINUTE, WAITING = 300, 64
"""What a key may have where nothing is said: requests a minute, and questions that wait at once."""
MOST_OF_EITHER = 100_000


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Attributes:
        id: by which it is revoked.
        name: whose it is, as the owner says.
        sha256: of the key itself, which has 256 random bits: no guess finds it from that.
        made: the day.
        per_minute, waiting: how many requests it may make a minute, and how many questions may wait at once.
    """

    id: str
    name: str
    sha256: str
    made: str
    per_minute: int = PER_MINUTE
    waiting: int = WAITING


def keys_file() -> Path:
    return home() / "serving" / "keys.json"


def add_key(name: str, *, per_minute: int = PER_MINUTE, waiting: int = WAITING) -> tuple[str, Key]:
    """Make a key.

    Returns:
        The key itself, which nobody can find again, and what is kept of it.

    Raises:
        ServingError: the name or a limit cannot be one, or the name is taken.
    """
    name = " ".join(name.split())
    if not name.isprintable() or not 1 <= len(name) <= LONGEST_NAME:
        raise ServingError(f"A key's name has 1 to {LONGEST_NAME} printable characters; say whose it is.")
    for what, limit in (("requests a minute", per_minute), ("waiting questions", waiting)):
        if not 1 <= limit <= MOST_OF_EITHER:
            raise ServingError(f"{limit} {what} is no limit; give 1 to {MOST_OF_EITHER:,}.")
    secret = BEGIN + secrets.token_urlsafe(32)
    with _changing() as keys:
        if any(key.name == name for key in keys):
            raise ServingError(f"There is a key named {name} already; choose another name, or revoke that one first.")
        key = Key(_new_id(keys), name, _hash(secret), datetime.now(UTC).date().isoformat(), per_minute, waiting)
        keys.append(key)
    return secret, key


def revoke_key(which: str) -> Key:
    """Take a key away, by its id or its name; a server that runs refuses it from its next request on.

    Raises:
        ServingError: there is none.
    """
    with _changing() as keys:
        found = next((key for key in keys if which in (key.id, key.name)), None)
        if found is None:
            raise ServingError(f"There is no key {which[:LONGEST_NAME]}; `python -m pipeline keys list` shows them.")
        keys.remove(found)
    return found


def list_keys() -> list[Key]:
    """The keys there are, the oldest first.

    Raises:
        ServingError: the file cannot be read.
    """
    file = keys_file()
    try:
        return [Key(**row) for row in read_json(file)["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ServingError(
            f"{file} cannot be read, so no key is known; mend it, or delete it and make new keys."
        ) from error


class KeyRing:
    """The keys as a server knows them: read again once their file has changed."""

    def __init__(self) -> None:
        self._mark: object = ()
        self._keys: dict[str, Key] = {}

    def find(self, secret: str) -> Key | None:
        """The key that somebody brought, if it is one.

        Raises:
            ServingError: the file cannot be read.
        """
        if self._mark != (mark := _mark()):
            self._keys = {}  # a file that cannot be read leaves nobody in
            self._mark = None
            self._keys = {key.sha256: key for key in list_keys()}
            self._mark = mark
        return self._keys.get(_hash(secret))


def without_hash(key: Key) -> dict[str, str | int]:
    """A key as it is listed."""
    return {name: value for name, value in asdict(key).items() if name != "sha256"}


def _mark() -> object:
    """Changes with the file."""
    try:
        found = keys_file().stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _new_id(keys: list[Key]) -> str:
    taken = {word for key in keys for word in (key.id, key.name)}
    return next(word for word in iter(lambda: secrets.token_hex(3), "") if word not in taken)


@contextmanager
def _changing() -> Iterator[list[Key]]:
    """The keys, written back when the block ends well; one process at a time."""
    file = keys_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock")):
        keys = list_keys()
        yield keys
        text = json.dumps({"keys": [asdict(key) for key in keys]}, ensure_ascii=False, indent=1) + "\n"
        with whole_file(file) as aside:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
                written.write(text)
