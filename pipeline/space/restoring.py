"""From the store to an empty disk: what is kept there and is not here comes back, the newest first, small files first.

So the history of runs is there at once, then the adapters, then the checkpoint of a run that was cut off. Nothing that is
here gives way, except a copy from the store that nobody touched since. A thing appears only when it is whole, or, a run,
with a mark that keeps it from being started before.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipeline.dataset.store import MANIFEST
from pipeline.errors import HubError
from pipeline.files import check_room, home, read_json, taken_away, write_json, write_text
from pipeline.machine import on_space
from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import ENDINGS, read_events, since_start
from pipeline.runs.folder import ADAPTER, GOING_DOWN, JOB, PROCESS, QUEUED, RESTORED, SETTINGS
from pipeline.runs.manage import alone
from pipeline.runs.status import is_alive, is_elsewhere, last_lifecycle, status
from pipeline.space.kept import (
    DATASETS,
    LIST,
    RUNS,
    SHELF,
    File,
    Listing,
    Record,
    Records,
    Thing,
    files_here,
    is_here,
    part_of,
    stamps,
    things_here,
)
from pipeline.space.shelf import bring_shelf, place_of_shelf, take_in
from pipeline.space.store import FOREIGN, MOST_LIST_BYTES, Damaged, Store, staging

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """Somebody here has begun to use what was to be brought up to date."""


Listed = tuple[Thing, str, Listing]
"""A thing of the store, its name there, and its list."""


@dataclass(frozen=True)
class Coming:
    """Something in the store that is to be here.

    Attributes:
        there: its folder in the store.
        needed: its files that are not here, or are others here.
    """

    thing: Thing
    there: str
    listing: Listing
    needed: dict[str, File]

    @property
    def parts(self) -> list[str]:
        """The part that makes it appear, then the others; the checkpoint last."""
        return ["", *sorted({part_of(name) for name in self.listing.files} - {""})]


def restore(store: Store, records: Records, head: str) -> Iterator[tuple[int, int]]:
    """Bring back what is in the store and not here; yields (things that are done, of) after every file.

    Args:
        head: the commit that it is read from, whatever is committed meanwhile.

    Raises:
        PipelineError: the disk has no room for it.
    """
    listed = list(_kept(store, head))
    coming = _coming(records, [one for one in listed if one[0].kind != SHELF])
    check_room(home(), sum(file.size for one in coming for file in one.needed.values()), "what is kept on the Hub")
    steps = [(_rank(one, part), number, part) for number, one in enumerate(coming) for part in one.parts]
    steps.append((_SHELF_RANK, len(coming), ""))
    left, lost = {number: len(one.parts) for number, one in enumerate(coming)}, set[int]()
    for rank, number, part in sorted(steps):
        if rank == _SHELF_RANK:
            for _ in _bring_shelves(store, records, head, listed):
                yield sum(not n for n in left.values()), len(coming) + 1
            continue
        one = coming[number]
        try:
            if number not in lost:
                for _ in _bring(store, records, head, one, part):
                    yield sum(not n for n in left.values()), len(coming)
        except Damaged as error:
            if not part:  # without its small files it does not appear; without an adapter or a checkpoint it does
                lost.add(number)
            logger.warning("%s of the store is damaged and was left there", error)
        except Overtaken:
            lost.add(number)
        left[number] -= 1
        if not left[number] and number not in lost:
            _settle(records, one)
    for thing in things_here():
        record = records.get(thing.key)
        if record and record.seen and not record.whole:  # the store has no more of it: nothing else will come
            _settle(records, Coming(thing, thing.there(record.name), record.seen, {}))


def restore_run(store: Store, records: Records, name: str) -> Path:
    """Bring back a single run; returns its folder.

    Raises:
        HubError: the store has none of that name.
        Damaged: a file of it is not what its list says.
    """
    thing, head = Thing(RUNS, name), store.head()
    there = thing.there(name)
    listing = store.listing(head, there, RUNS)
    if listing is None or listing is FOREIGN or listing.deleted:
        raise HubError(f"There is no run {name} in {store.repo}; look there for what it is called.")
    one = Coming(thing, there, listing, _needed(thing, listing))
    for part in one.parts:
        for _ in _bring(store, records, head, one, part):
            pass
    _settle(records, one)
    return thing.folder


_SHELF_RANK = 2


def _rank(one: Coming, part: str) -> int:
    if part:
        return 3 if part == ADAPTER else 4
    return (RUNS, DATASETS).index(one.thing.kind)


def _bring_shelves(store: Store, records: Records, head: str, listed: list[Listed]) -> Iterator[None]:
    yield from bring_shelf(store, records)
    place, _ = place_of_shelf(store, head)
    for thing, name, listing in listed:
        if thing.kind == SHELF and name != place:
            yield from take_in(store, records, head, name, listing)


def take_names(records: Records) -> None:
    """Call things here as they are called in the store, where another machine had one of the same name: then that comes, too.

    Only when an app begins: nobody looks at them yet.
    """
    for thing in things_here():
        record = records.get(thing.key)
        if thing.kind == SHELF or record is None or record.name == thing.name or not record.whole:
            continue
        to = thing.folder.with_name(record.name)
        with alone():
            if (thing.kind == RUNS and status(thing.folder).state in ("running", "queued")) or to.exists():
                continue
            thing.folder.rename(to)
            records[Thing(thing.kind, record.name).key] = records.pop(thing.key)
            records.save()


def _kept(store: Store, head: str) -> Iterator[Listed]:
    """Every thing that the store has, whole or as deleted, by its name there."""
    sizes = store.sizes(head)
    for path in (path for path in sizes if path.rpartition("/")[2] == LIST):
        with suppress(ValueError):
            thing, name = Thing.found(path)
            there = thing.there(name)
            listing = store.listing(head, there, thing.kind) if sizes[path] <= MOST_LIST_BYTES else FOREIGN
            complete = listing and all(sizes.get(f"{there}/{n}") == file.size for n, file in listing.files.items())
            if listing is None or listing is FOREIGN or not (complete or thing.kind == SHELF):
                logger.warning("Something in the store is not as this app keeps it, and was left there: %r", there)
            else:
                yield thing, name, listing


def _let_go(records: Records, kind: str, name: str) -> None:
    """Remove here what was deleted on another machine, unless it was changed here since."""
    things = (Thing(kind, key.removeprefix(f"{kind}/")) for key, record in records.items() if record.name == name)
    for thing in [thing for thing in things if records.get(thing.key)]:
        with alone():
            record, folder = records[thing.key], thing.folder
            if not folder.is_dir() or is_alive(folder) or is_elsewhere(folder) or not record.is_unchanged(thing):
                continue
            aside = folder.rename(folder.with_name(f".{uuid4().hex}.deleted"))
            del records[thing.key]
            records.save()
        shutil.rmtree(aside)
        logger.info("%s was deleted on another machine", thing.key)


def _coming(records: Records, listed: list[Listed]) -> list[Coming]:
    """What is to come, the newest first; what was deleted there goes."""
    for thing, name, listing in listed:
        if listing.deleted:
            _let_go(records, thing.kind, name)
    here = things_here()
    ours = {(thing.kind, records[thing.key].name) for thing in here if thing.key in records}
    ours |= {
        (RUNS, _name_elsewhere(thing.folder)) for thing in here if thing.kind == RUNS and is_elsewhere(thing.folder)
    }
    for key in taken_away():  # here, and not there yet; nothing else comes in its place before
        kind, _, name = key.rpartition("/")
        ours |= {(kind, name), (kind, records[key].name if key in records else name)}
    coming = [
        Coming(thing, thing.there(name), listing, _needed(thing, listing))
        for thing, name, listing in listed
        if not listing.deleted and _is_wanted(thing, name, listing, records, ours)
    ]
    return sorted(coming, key=lambda one: one.listing.newest, reverse=True)


def _name_elsewhere(folder: Path) -> str:
    """What a run that trains elsewhere is called in the store, which the records may not know yet."""
    return str(read_json(folder / JOB).get("kept", ""))


def _is_wanted(thing: Thing, name: str, listing: Listing, records: Records, ours: set[tuple[str, str]]) -> bool:
    record = records.get(thing.key)
    if not thing.folder.exists():
        return (thing.kind, name) not in ours
    if record is None or record.name != name or is_alive(thing.folder):
        return False
    if not record.whole:
        return True
    if thing.kind == RUNS and is_elsewhere(thing.folder):
        return False  # that is brought back by whoever watches the job
    return record.seen != listing and record.is_unchanged(thing)


def _needed(thing: Thing, listing: Listing) -> dict[str, File]:
    """The files that are to be fetched."""
    return {name: file for name, file in listing.files.items() if not is_here(thing.folder / name, file)}


def _bring(store: Store, records: Records, head: str, one: Coming, part: str) -> Iterator[None]:
    """Fetch a part into a hidden folder, then put it in its place."""
    names = [name for name in one.needed if part_of(name) == part]
    if part:
        if not names or not (one.thing.folder / SETTINGS).is_file():
            return  # it is here, or a person has deleted the run meanwhile
        names = [name for name in one.listing.files if part_of(name) == part]  # whole or not at all
    with staging() as aside:
        for name in names:
            store.fetch(head, f"{one.there}/{name}", one.listing.files[name], aside / name)
            yield
        with alone():
            if part:
                place_part(aside, one.thing.folder, part)
            else:
                _check_untouched(records, one.thing)
                records[one.thing.key] = Record(one.there.rpartition("/")[2], one.listing, whole=False)
                records.save()
                _place(aside, one, names)
    yield


def _check_untouched(records: Records, thing: Thing) -> None:
    record = records.get(thing.key)
    if not thing.folder.exists() or (record and not record.whole):
        return
    if record is None or is_alive(thing.folder) or not record.is_unchanged(thing):
        raise Overtaken


def _place(aside: Path, one: Coming, names: Iterable[str]) -> None:
    """Let a run or a dataset appear, or be as it is in the store. A dataset's manifest comes last."""
    folder = one.thing.folder
    if one.thing.kind == RUNS:
        write_json((folder if folder.exists() else aside) / RESTORED, {"whole": False, "message": ""})
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(folder)
        return
    for name in set(files_here(one.thing)) - set(one.listing.files):
        if not part_of(name):
            (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == MANIFEST):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(folder / name)


def place_part(aside: Path, folder: Path, part: str) -> None:
    """Put an adapter or a checkpoint, whole, from a staging folder into its run."""
    if not (folder / SETTINGS).is_file():
        return
    target = folder / part
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.replace(aside / "old")
    (aside / part).replace(target)


def _settle(records: Records, one: Coming) -> None:
    """Everything of it has come: from now on it is kept like what was made here."""
    thing, name = one.thing, one.there.rpartition("/")[2]
    with alone():
        record = records[thing.key] = Record(name, one.listing)
        if thing.folder.exists():  # or a person has deleted it meanwhile, and so it shall be in the store
            if thing.kind == RUNS:
                _mark(thing.folder, one.listing)
            record.stamps = stamps(files_here(thing))
        records.save()


def _mark(folder: Path, listing: Listing) -> None:
    """Say of a run how it was cut off, and go on with what waited or was taken down, if this Space wrote it.

    Another machine does not train what that one may be training itself.
    """
    restarted = bool(listing.space) and listing.space == os.environ.get("SPACE_ID")
    if restarted:
        queue_again(folder)
    else:
        (folder / QUEUED).unlink(missing_ok=True)
    if last_lifecycle(folder).get("type", "") in ("", *ENDINGS):
        (folder / RESTORED).unlink(missing_ok=True)
        return
    step = saved_step(folder)
    press = f"press Resume to go on after step {step}" if step else "no checkpoint was kept yet, so start it again"
    what = "The Space was restarted" if restarted else "The machine that trained it is gone or was restarted"
    write_json(folder / RESTORED, {"whole": True, "message": f"{what} while this run was training; {press}."})


def queue_again(folder: Path) -> None:
    """Let a run that was stopped since its Space went down go on by itself, before all others that wait.

    One that died without a word does not: it might take its machine down again.
    """
    at_work = is_alive(folder) or is_elsewhere(folder)
    if not on_space() or at_work or last_lifecycle(folder).get("type") != "stopped":
        return
    if any(event.get(GOING_DOWN) for event in since_start(read_events(folder)[0])):
        (folder / PROCESS).unlink(missing_ok=True)
        write_text(folder / QUEUED, "0\n")
