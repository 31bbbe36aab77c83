"""The shelf, put together from what is here and what the store has: file by file, by what both had when they last met.

What changed on one side alone is taken over on the other, a deletion too. What a person took away here goes there, if it is
there as it was. Where both changed a file, a journal gets the lines of both, an upload gives way to the one in the store and
stays beside it under another name, and of anything else this machine's counts.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.catalogue.cache import forget
from pipeline.catalogue.uploads import marked, set_aside
from pipeline.errors import HubError
from pipeline.files import check_room, home, taken_away
from pipeline.space.kept import SHELF, File, Listing, Record, Records, Thing, is_here, sha256_of, stamp_of
from pipeline.space.store import FOREIGN, Damaged, Store, staging

logger = logging.getLogger(__name__)

KEY = Thing(SHELF).key

PLACES = (SHELF, *(f"{SHELF}-{number}" for number in range(10)))
"""The first of these in the store that is not somebody else's has the shelf."""


def place_of_shelf(store: Store, head: str) -> tuple[str, Listing | None]:
    """The shelf's folder in the store, and its list.

    Raises:
        HubError: it has no place there.
    """
    for name in PLACES:
        if (listing := store.listing(head, name, SHELF)) is not FOREIGN:
            return name, listing
    raise HubError(f"The shelves in {store.repo} are damaged; delete them there.")


class Shelf:
    """The shelf here and in the store, as they are at one commit.

    Attributes:
        name: its folder in the store.
        there: its list in the store, which has `stored`.
        record: what this machine knows of that.
        both: the files as both had them when they last met.
    """

    def __init__(self, store: Store, records: Records, head: str) -> None:
        self.store, self.records, self.head = store, records, head
        self.name, self.there = place_of_shelf(store, head)
        self.stored = self.there.files if self.there else {}
        self.record = records.get(KEY) or Record(self.name)
        if self.there is None or self.record.name != self.name:  # another store, or an earlier version's second shelf
            self.record = Record(self.name)
        records[KEY] = self.record
        if self.record.sent and self.there and self.there.holds(self.record.sent):
            self.record.seen, self.record.sent = self.record.sent, None
        self.both = dict(self.record.seen.files) if self.record.seen else {}
        self.wished = taken_away()

    def is_missed(self, name: str) -> bool:
        """Whether a file that the store has and this machine has not is to be here: nobody took it away, or somebody has
        written it since."""
        ended = name == "generation.json" or name.startswith("batches/")  # they go by themselves
        return self.stored[name] != self.both.get(name) or not (name in self.wished or ended)

    def is_coming(self, name: str) -> bool:
        return name in self.stored and not (home() / name).exists() and self.is_missed(name)

    def unite(self) -> None:
        """Settle what both have changed, so that what is here can be written over what is there."""
        for name in self._others():
            if (home() / name).is_file() and not self._is_unchanged(name):
                self._settle(name)
        self._note()

    def bring(self) -> Iterator[None]:
        """Have all here that the store has: settle what both have changed, and take over what was changed there alone."""
        check_room(home(), sum(f.size for n, f in self.stored.items() if self.is_coming(n)), "what is kept on the Hub")
        for name in self._others():
            here = (home() / name).is_file()
            if here and not self._is_unchanged(name):
                self._settle(name)
            elif here or name not in self.stored:
                self._take_over(name)
            if self.is_coming(name):
                self._take_over(name)
            self._note()
            yield

    def _others(self) -> list[str]:
        """The files that are not there as they were, or not here. What is noted of an upload comes after it."""
        names = self.stored.keys() | self.both.keys()
        others = [name for name in names if self.stored.get(name) != self.both.get(name) or self.is_coming(name)]
        return sorted(others, key=lambda name: ("/." in name, name))

    def _is_unchanged(self, name: str) -> bool:
        """Whether a file is here as it was when both last met."""
        path, known = home() / name, self.both.get(name)
        if known is None or not path.is_file():
            return False
        return self.record.stamps.get(name) == stamp_of(path) or is_here(path, known)

    def _settle(self, name: str) -> None:
        """Put together a file that is here and that both have changed."""
        path, file = home() / name, self.stored.get(name)
        if file and not is_here(path, file):
            if is_upload(name):
                set_aside(path.name, sha256_of(path)[:8])
                return  # the name is free for the one in the store
            if is_journal(name):
                self._add(path, name, file)
        self._met(name)

    def _take_over(self, name: str) -> None:
        """Have a file here as it is in the store, or not at all."""
        path, file = home() / name, self.stored.get(name)
        if file is None:
            path.unlink(missing_ok=True)
            if is_upload(name):
                forget(path)
        elif is_journal(name):
            self._add(path, name, file)
        elif fetched(self.store, self.head, f"{self.name}/{name}", file, path):
            self.record.stamps[name] = stamp_of(path)
        else:
            return
        self._met(name)

    def _add(self, path: Path, name: str, file: File) -> None:
        stamp = added(self.store, self.head, f"{self.name}/{name}", file, path)
        if stamp:
            self.record.stamps[name] = stamp

    def _met(self, name: str) -> None:
        if name in self.stored:
            self.both[name] = self.stored[name]
        else:
            self.both.pop(name, None)

    def _note(self) -> None:
        self.record.seen = replace(self.there, files=dict(self.both)) if self.there else None
        self.records.save()


def bring_shelf(store: Store, records: Records) -> Iterator[None]:
    """Have the shelf here as it is in the store; begins anew where it was kept meanwhile."""
    whole = False
    while not whole:
        shelf, whole = Shelf(store, records, store.head()), True
        for _ in shelf.bring():
            seen = shelf.record.seen
            yield
            if records.get(KEY) is not shelf.record or shelf.record.seen is not seen:
                whole = False
                break


def take_in(store: Store, records: Records, head: str, name: str, listing: Listing) -> Iterator[None]:
    """Add a second shelf to this one, as earlier versions made them; it goes from the store when this one is kept."""
    wished = taken_away()
    for inside, file in listing.files.items():
        path = home() / inside
        if path.exists() and is_upload(inside) and not is_here(path, file):
            path = path.with_name(marked(path.name, file.sha256[:8]))
        if is_journal(inside):
            added(store, head, f"{name}/{inside}", file, path)
        elif not path.exists() and inside not in wished:
            fetched(store, head, f"{name}/{inside}", file, path)
        yield
    records.second_shelves[name] = listing


def is_upload(name: str) -> bool:
    return name.startswith("uploads/") and not name.startswith("uploads/.")


def is_journal(name: str) -> bool:
    """Whether it is only appended to, at any time, by whatever process."""
    return name.endswith(".jsonl") and not is_upload(name)


def fetched(store: Store, head: str, there: str, file: File, path: Path) -> bool:
    """Put a file of the store in its place, unless it is damaged there, or a person puts another in that place meanwhile."""
    before = _stamp(path)
    with staging() as aside:
        if not _download(store, head, there, file, aside / path.name) or _stamp(path) != before:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        (aside / path.name).replace(path)
    return True


def added(store: Store, head: str, there: str, file: File, path: Path) -> list[int] | None:
    """Append the lines that a journal of the store has besides; returns the stamp if nothing is here that is not there."""
    with staging() as aside:
        if not _download(store, head, there, file, aside / path.name):
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return add_lines(path, (aside / path.name).read_bytes())


def add_lines(path: Path, more: bytes) -> list[int] | None:
    """Append lines in one write, since somebody may be writing too.

    Returns:
        The file's stamp if it has nothing now that `more` has not.
    """
    path.touch()
    before, here, there = stamp_of(path), path.read_bytes(), _lines(more)
    own = _lines(here).keys()
    lines = b"".join(line + b"\n" for line in there if line not in own)
    if lines:
        lines = lines if here.endswith(b"\n") or not here else b"\n" + lines
        with path.open("ab", buffering=0) as file:
            file.write(lines)
    after = stamp_of(path)
    alone = before[0] == len(here) and after[0] == len(here) + len(lines)
    return after if alone and own <= there.keys() else None


def _lines(data: bytes) -> dict[bytes, None]:
    return {line: None for line in data.split(b"\n") if line.strip()}


def _stamp(path: Path) -> list[int] | None:
    return stamp_of(path) if path.is_file() else None


def _download(store: Store, head: str, there: str, file: File, to: Path) -> bool:
    try:
        store.fetch(head, there, file, to)
    except Damaged as error:
        logger.warning("%s of the store is damaged and was left there", error)
        return False
    return True
