"""From this home to the store: each thing that changed in a commit of its own, over what this machine has seen of it.

Where another machine has written a thing meanwhile, both stay, under two names. Only what a person deleted here is deleted
there: what is missing on a disk is no wish.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import HubError
from pipeline.files import home, locked, locked_folder, read_json, read_log, write_json, write_jsonl
from pipeline.publishing.hub import http_status
from pipeline.runs.folder import CHECKPOINTS, KEEPING
from pipeline.runs.manage import alone
from pipeline.runs.status import is_alive, is_elsewhere
from pipeline.space.kept import (
    LIST,
    RUNS,
    SHELF,
    File,
    Listing,
    Record,
    Records,
    Thing,
    files_here,
    stamps,
    things_here,
)
from pipeline.space.restoring import gone_runs
from pipeline.space.store import Moved, Pinned, Store, pinned

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
    """

    def __init__(self, store: Store, records: Records, name: str = "") -> None:
        """Args:
        name: what it signs its lists with; one of its own when empty.
        """
        self.store, self.records = store, records
        self.name = name or uuid4().hex
        self.last = 0.0
        self.known = ""
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
        self._drop_gone()
        if refused:
            raise refused

    def _keep_own(self, thing: Thing) -> None:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_folder(thing.folder))
            except FileNotFoundError:
                return  # it was just removed
            if thing.kind != RUNS or not is_elsewhere(thing.folder):
                self.keep_thing(thing)  # otherwise it is the other machine's until that has ended

    def keep_thing(self, thing: Thing) -> None:
        """Commit a thing, if it has changed here.

        Whoever calls this holds the lock of its folder, and read the records since: of two that commit a thing of this home at
        once each would find that another has written, and both would stay, under two names.

        Raises:
            Exception: as `keep` does.
        """
        record = self.records.get(thing.key) or Record(thing.name or SHELF)
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
        """Commit a thing over what this machine has seen of it.

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
        own = stored is None or stored in (record.seen, record.sent) or stored.writer == starter()
        if not own:
            record.name, record.seen, stored = self._other_name(thing, head), None, None
        folder = thing.there(record.name)
        revision = stored.revision + 1 if stored else 1
        listing = Listing(self.name, revision, files, os.environ.get("SPACE_ID", ""))
        record.sent = listing
        self.records[thing.key] = record
        self.records.save()  # should the answer to the commit be lost, it is known again as ours
        had = stored.files if stored else {}
        added: dict[str, Any] = {f"{folder}/{n}": pin.content for n, pin in pins.items() if had.get(n) != pin.file}
        added[f"{folder}/{LIST}"] = json.dumps(listing.as_dict(), ensure_ascii=False).encode()
        dropped = {f"{folder}/{name}" for name in had.keys() - files.keys()}
        dropped &= store.sizes(head, folder).keys() if dropped else dropped
        self._commit(head, f"Keep {folder}", added, sorted(dropped))
        record.seen, record.sent = listing, None

    def _commit(self, head: str, message: str, added: dict[str, Any], deleted: list[str]) -> None:
        new = self.store.commit(head, message, added, deleted)
        if self.known == head:  # nobody else committed between
            self.known = new

    def _other_name(self, thing: Thing, head: str) -> str:
        """A name that is free in the store, for a thing that another machine has written as well."""
        marks = (self.name[:digits] for digits in (4, 8, 16))
        names = (f"{thing.name[: 59 - len(mark)] or SHELF}-{mark}" for mark in marks)
        return next(name for name in names if self.store.listing(head, thing.there(name), thing.kind) is None)

    def _drop_gone(self) -> None:
        """Delete in the store what a person deleted or renamed here, unless another machine has written it since."""
        gone = gone_runs()
        for name in gone:
            thing = Thing(RUNS, name)
            if thing.key in self.records and not thing.folder.exists():
                on_the_newest(partial(self._delete, thing))
                del self.records[thing.key]
                self.records.save()
        if gone:
            journal = home() / KEEPING / "gone.jsonl"
            with alone():  # whoever deletes another one now waits
                write_jsonl(journal, [line for line in read_log(journal) if line.get("run") not in gone])

    def _delete(self, thing: Thing) -> None:
        record, store = self.records[thing.key], self.store
        folder = thing.there(record.name)
        head = store.head()
        stored = store.listing(head, folder, thing.kind)
        if stored is not None and stored in (record.seen, record.sent):
            self._commit(head, f"Delete {folder}", {}, [f"{folder}/"])


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
