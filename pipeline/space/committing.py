"""From this home to the store: each thing that changed in a commit of its own, over what this machine has seen of it.

Where another machine has written a thing meanwhile, both stay, under two names. Only what a person deleted here is deleted
there: what is missing on a disk is no wish.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import HubError
from pipeline.files import KEEPING, forget_taken_away, home, locked, locked_folder, read_json, taken_away, write_json
from pipeline.publishing.hub import http_status
from pipeline.runs.folder import CHECKPOINTS
from pipeline.runs.status import is_alive, is_elsewhere
from pipeline.space.kept import (
    DATASETS,
    LIST,
    MOST_TRAIL,
    RUNS,
    SHELF,
    File,
    Listing,
    Record,
    Records,
    Thing,
    belongs,
    files_here,
    is_name,
    stamps,
    things_here,
)
from pipeline.space.shelf import Shelf
from pipeline.space.store import FOREIGN, Moved, Pinned, Store, pinned

CHECKPOINT_SECONDS = 300
"""Between two checkpoints of a run that trains, at least: each stays in the store's history, which is not for nothing."""

CHECKPOINT_BYTES = 1_000_000
"""A second, at most, that checkpoints may add to that history on average: large ones are sent less often."""

TRIES = 6
"""To commit on top of the newest commit, while others commit too."""


class Writer:
    """Attributes:
    last: when something was committed last, in seconds since 1970; 0 when nothing was.
    known: the store's commit of which everything is here that is to be.
    behind: whether there is more to come, though the store has no newer commit.
    """

    def __init__(self, store: Store, records: Records, name: str = "") -> None:
        """Args:
        name: what it signs its lists with; one of its own when empty.
        """
        self.store, self.records = store, records
        self.name = name or uuid4().hex
        self.last = 0.0
        self.known = ""
        self.behind = False
        self.hurry = False

    def keep(self, *, hurry: bool = False) -> None:
        """Commit what has changed here, and delete there what a person deleted here.

        Args:
            hurry: whether there will be no other round, so that a checkpoint goes along, however new it is.

        Raises:
            Exception: the Hub, the network or the disk; the rest waits for the next round.
        """
        self.hurry = hurry
        refused: Exception | None = None
        for thing in things_here():
            try:
                self._keep_own(thing)
            except Exception as error:
                if http_status(error) not in (400, 413, 422):
                    raise
                refused = error  # this thing alone, which must not hold up the others
        self._delete_gone()
        if refused:
            raise refused

    def _keep_own(self, thing: Thing) -> None:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_folder(thing.folder))
            except FileNotFoundError:
                return  # it was just removed
            if thing.kind == SHELF:
                self._keep_shelf(thing)
            elif thing.kind != RUNS or not is_elsewhere(thing.folder):
                self.keep_thing(thing)  # otherwise it is the other machine's until that has ended

    def keep_thing(self, thing: Thing) -> None:
        """Commit a thing, if it has changed here.

        Whoever calls this holds the lock of its folder, and read the records since: of two that commit a thing of this home at
        once each would find that another has written, and both would stay, under two names.

        Raises:
            Exception: as `keep` does.
        """
        record = self.records.get(thing.key) or Record(thing.name)
        if not record.whole:
            return
        with ExitStack() as stack:
            try:
                files = files_here(thing)
                stays = self._earlier_checkpoint(thing, record, files)
                now = stamps(files)
                if not files or now == record.stamps:
                    return
                pins = stack.enter_context(pinned(files))
            except FileNotFoundError:
                return  # it changes at this very moment: the next round has it
            earlier = _checkpoint(record.seen.files if record.seen else ())
            on_the_newest(partial(self._write, thing, record, pins, stays))
        record.stamps = now
        if record.seen and _checkpoint(record.seen.files) - earlier:
            record.saved = time.time()
        self.records[thing.key] = record
        self.records.save()
        self.last = time.time()

    def _earlier_checkpoint(self, thing: Thing, record: Record, files: dict[str, Path]) -> dict[str, File]:
        """The files of the checkpoint that stays in the store as it is, since a newer one is sent only now and then."""
        seen = record.seen.files if record.seen else {}
        old, new = _checkpoint(seen), _checkpoint(files)
        pause = max(CHECKPOINT_SECONDS, sum(seen[name].size for name in old) / CHECKPOINT_BYTES)
        late = self.hurry or time.time() - record.saved > pause
        if not old or not new or old == new or late or not is_alive(thing.folder):
            return {}
        for name in new:
            del files[name]
        return {name: seen[name] for name in old}

    def _write(self, thing: Thing, record: Record, pins: dict[str, Pinned], stays: dict[str, File]) -> None:
        """Commit a thing over what this machine has seen of it, or over the note that it was deleted.

        Raises:
            Moved: somebody else committed meanwhile.
        """
        store = self.store
        head = store.head()
        stored = store.listing(head, thing.there(record.name), thing.kind)
        files = {name: pin.file for name, pin in pins.items()} | stays
        if stored is not None and stored.files == files:
            record.seen = stored
            return
        if stored is not None and stored not in (record.seen, record.sent) and stored.writer != starter():
            older = None if stored is FOREIGN else record.known_before(stored, files)
            if older:
                record.seen, record.sent = older, None
                self.behind = True  # nothing was changed here, but there: that is brought
                return
            if not stored.deleted:
                record.name, record.seen, stored = self._other_name(thing, head), None, None
        record.sent = self._list_over(stored, files)
        self.records[thing.key] = record
        self.records.save()  # should the answer to the commit be lost, it is known again as ours
        self._send(head, thing.there(record.name), stored, record.sent, pins)
        record.seen, record.sent = record.sent, None

    def _list_over(self, stored: Listing | None, files: dict[str, File], *, deleted: bool = False) -> Listing:
        """What comes to stand in a list's place."""
        revision, trail = (stored.revision, (*stored.trail, stored.identity)) if stored else (0, ())
        return Listing(self.name, revision + 1, files, os.environ.get("SPACE_ID", ""), trail[-MOST_TRAIL:], deleted)

    def _send(
        self, head: str, folder: str, stored: Listing | None, listing: Listing, pins: Mapping[str, Pinned]
    ) -> None:
        """Commit the files that differ from what is stored, with their list."""
        had = stored.files if stored else {}
        added: dict[str, Any] = {
            f"{folder}/{name}": pin.content
            for name, pin in pins.items()
            if listing.files.get(name) == pin.file != had.get(name)
        }
        added[f"{folder}/{LIST}"] = json.dumps(listing.as_dict(), ensure_ascii=False).encode()
        dropped = {f"{folder}/{name}" for name in had.keys() - listing.files.keys()}
        dropped &= self.store.sizes(head, folder).keys() if dropped else dropped
        self._commit(head, f"{'Delete' if listing.deleted else 'Keep'} {folder}", added, sorted(dropped))

    def _commit(self, head: str, message: str, added: dict[str, Any], deleted: list[str]) -> None:
        new = self.store.commit(head, message, added, deleted)
        if self.known == head:  # nobody else committed between
            self.known = new

    def _other_name(self, thing: Thing, head: str) -> str:
        """A name that is free in the store, for a thing that another machine has written as well."""
        marks = chain((self.name[:4], self.name[:8]), (uuid4().hex[:8] for _ in count()))
        names = (f"{thing.name[: 59 - len(mark)]}-{mark}" for mark in marks)
        return next(name for name in names if self.store.listing(head, thing.there(name), thing.kind) is None)

    # --- The shelf ---

    def _keep_shelf(self, thing: Thing) -> None:
        """Commit what has changed of the shelf, laid over what others have changed of it."""
        record, files = self.records.get(thing.key), files_here(thing)
        wished = {path for path in taken_away() if belongs(SHELF, path)}
        with suppress(FileNotFoundError):  # it changes at this very moment: the next round has it
            as_kept = record and not record.sent and not wished and stamps(files) == record.stamps
            if not self.records.second_shelves and (as_kept or not (record or files)):
                return
            on_the_newest(self._write_shelf)
            forget_taken_away(wished)

    def _write_shelf(self) -> None:
        shelf = Shelf(self.store, self.records, self.store.head())
        shelf.unite()
        record, stored = shelf.record, shelf.stored
        files = files_here(Thing(SHELF))
        now = stamps(files)
        with pinned({name: path for name, path in files.items() if now[name] != record.stamps.get(name)}) as pins:
            changed = {name: pin.file for name, pin in pins.items() if pin.file != shelf.both.get(name)}
            if any(stored.get(name) != shelf.both.get(name) for name in changed):
                raise Moved  # it was changed here since the two were united
            merged = {name: file for name, file in stored.items() if name in files or shelf.is_missed(name)} | changed
            both = {name: file for name, file in shelf.both.items() if name in files or name in merged} | changed
            if merged != stored:
                listing = self._list_over(shelf.there, merged)
                record.sent = replace(listing, files=both)
                self.records.save()
                self._send(shelf.head, shelf.name, shelf.there, listing, pins)
                record.seen, record.sent = record.sent, None
                self.last = time.time()
            else:
                record.seen = replace(shelf.there, files=both) if shelf.there else None
                self._drop_second_shelves(shelf)
        record.stamps = now
        self.records.save()
        if both != merged or merged.keys() - files.keys():
            self.behind = True  # something is to be brought

    def _drop_second_shelves(self, shelf: Shelf) -> None:
        """Delete in the store what stands in the shelf as well by now, unless it has been written since."""
        seconds = self.records.second_shelves
        same = [name for name, seen in seconds.items() if self.store.listing(shelf.head, name, SHELF) == seen]
        if same:
            self._commit(shelf.head, f"Put {', '.join(same)} into {shelf.name}", {}, [f"{name}/" for name in same])
        seconds.clear()

    # --- What a person took away ---

    def _delete_gone(self) -> None:
        """Delete in the store what a person deleted or renamed here, unless another machine has written it since."""
        gone = {key for key in taken_away() if key.startswith((f"{RUNS}/", f"{DATASETS}/"))}
        for key in gone:
            kind, name = key.split("/", 1)
            record = self.records.get(key) or Record(name)
            if is_name(name):
                on_the_newest(partial(self._delete, Thing(kind, name), record))
            if record.name != name:
                self.behind = True  # another machine's of that name may come now
            self.records.pop(key, None)
            self.records.save()
        forget_taken_away(gone)

    def _delete(self, thing: Thing, record: Record) -> None:
        head, folder = self.store.head(), thing.there(record.name)
        stored = self.store.listing(head, folder, thing.kind)
        if stored is None or stored.deleted:
            return
        if stored in (record.seen, record.sent) or stored.writer == starter():
            self._send(head, folder, stored, self._list_over(stored, {}, deleted=True), {})
        else:
            self.behind = True  # what another machine has made of it comes back


def starter() -> str:
    """What this home signs a run with that it sends to a job, beside whoever keeps it: a list with that name is its own, too."""
    path = home() / KEEPING / "starter.json"
    with locked(path.with_suffix(".lock")):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return str(read_json(path)["name"])
        write_json(path, {"name": uuid4().hex})
        return str(read_json(path)["name"])


def _checkpoint(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{CHECKPOINTS}/")}


def on_the_newest(commit: Callable[[], None]) -> None:
    """Commit, and again where somebody else was quicker.

    Raises:
        HubError: somebody else was quicker every time.
    """
    for _ in range(TRIES):
        try:
            commit()
            return
        except Moved:
            continue
    raise HubError("Others write to the store all the time.")
