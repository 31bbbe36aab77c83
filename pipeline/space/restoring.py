"""From the store to an empty disk: what is kept there and is not here comes back, the newest first, small files first.

So the history of runs is there at once, then the adapters, then the checkpoint of a run that was cut off. Nothing that is
here gives way, except a copy from the store that nobody touched since. A thing appears only when it is whole, or, a run,
with a mark that keeps it from being started before.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.store import MANIFEST
from pipeline.errors import HubError
from pipeline.files import check_room, home, read_json, read_log, write_json, write_text
from pipeline.machine import on_space
from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import ENDINGS, read_events, since_start
from pipeline.runs.folder import ADAPTER, GOING_DOWN, JOB, KEEPING, PROCESS, QUEUED, RESTORED, SETTINGS
from pipeline.runs.manage import alone
from pipeline.runs.status import is_alive, is_elsewhere, last_lifecycle
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
    part_of,
    stamps,
    things_here,
)
from pipeline.space.store import FOREIGN, MOST_LIST_BYTES, Damaged, Store, sha256_of, staging

logger = logging.getLogger(__name__)

EDITS = "edits.jsonl"


class Overtaken(Exception):
    """Somebody here has begun to use what was to be brought up to date."""


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
    coming = list(_coming(store, records, head))
    check_room(home(), sum(file.size for one in coming for file in one.needed.values()), "what is kept on the Hub")
    steps = [(_rank(one, part), number, part) for number, one in enumerate(coming) for part in one.parts]
    left, lost = {number: len(one.parts) for number, one in enumerate(coming)}, set[int]()
    for _, number, part in sorted(steps):
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
    if listing in (None, FOREIGN):
        raise HubError(f"There is no run {name} in {store.repo}; look there for what it is called.")
    one = Coming(thing, there, listing, _needed(thing, listing))
    for part in one.parts:
        for _ in _bring(store, records, head, one, part):
            pass
    _settle(records, one)
    return thing.folder


def _rank(one: Coming, part: str) -> int:
    if part:
        return 3 if part == ADAPTER else 4
    return (RUNS, DATASETS, SHELF).index(one.thing.kind)


def gone_runs() -> set[str]:
    """The runs that a person deleted or renamed here, and that the store may still have."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return {str(line["run"]) for line in read_log(home() / KEEPING / "gone.jsonl")}
    return set()


def _coming(store: Store, records: Records, head: str) -> Iterator[Coming]:
    """What is to come, the newest first."""
    sizes = store.sizes(head)
    found: list[Coming] = []
    here = things_here()
    ours = {(thing.kind, records[thing.key].name) for thing in here if thing.key in records}
    ours |= {
        (RUNS, _name_elsewhere(thing.folder)) for thing in here if thing.kind == RUNS and is_elsewhere(thing.folder)
    }
    for path in (path for path in sizes if path.rpartition("/")[2] == LIST):
        with suppress(ValueError):
            thing, name = Thing.found(path)
            there = thing.there(name)
            listing = store.listing(head, there, thing.kind) if sizes[path] <= MOST_LIST_BYTES else FOREIGN
            complete = listing and all(sizes.get(f"{there}/{n}") == file.size for n, file in listing.files.items())
            if listing in (None, FOREIGN) or not complete:
                logger.warning("Something in the store is not as this app keeps it, and was left there: %r", there)
            elif thing.kind == SHELF or _is_wanted(thing, name, listing, records, ours):
                found.append(Coming(thing, there, listing, _needed(thing, listing)))
    yield from sorted(found, key=lambda one: one.listing.newest, reverse=True)


def _name_elsewhere(folder: Path) -> str:
    """What a run that trains elsewhere is called in the store, which the records may not know yet."""
    return str(read_json(folder / JOB).get("kept", ""))


def _is_wanted(thing: Thing, name: str, listing: Listing, records: Records, ours: set[tuple[str, str]]) -> bool:
    record = records.get(thing.key)
    if not thing.folder.exists():
        return (thing.kind, name) not in ours and not (thing.kind == RUNS and thing.name in gone_runs())
    if record is None or record.name != name or is_alive(thing.folder):
        return False
    if not record.whole:
        return True
    if thing.kind == RUNS and is_elsewhere(thing.folder):
        return False  # that is brought back by whoever watches the job
    return record.seen != listing and record.stamps == stamps(files_here(thing))


def _needed(thing: Thing, listing: Listing) -> dict[str, File]:
    """The files that are to be fetched. Of the shelf, where a person's own files lie, only those that are not here."""
    needed: dict[str, File] = {}
    for name, file in listing.files.items():
        path = thing.folder / name
        here = path.exists() if thing.kind == SHELF and name != EDITS else is_here(path, file)
        if not here:
            needed[name] = file
    return needed


def is_here(path: Path, file: File) -> bool:
    """Whether a file lies here as it is in the store."""
    return path.is_file() and path.stat().st_size == file.size and sha256_of(path) == file.sha256


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
            elif one.thing.kind == SHELF:
                _merge(aside, names)
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
    if record is None or is_alive(thing.folder) or record.stamps != stamps(files_here(thing)):
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


def _merge(aside: Path, names: Iterable[str]) -> None:
    """Add to the shelf what is not there. Of what a person said of rows every line stays, in the order of its time."""
    for name in names:
        target = home() / name
        if name == EDITS and target.is_file():
            lines = {line: None for path in (target, aside / name) for line in _lines(path)}
            write_text(target, "".join(f"{line}\n" for line in sorted(lines, key=_said_at)))
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (aside / name).replace(target)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]


def _said_at(line: str) -> str:
    """The time that a line begins with; lines without one keep their order, at the front."""
    return line[:40] if line.startswith('{"time": "') else ""


def _settle(records: Records, one: Coming) -> None:
    """Everything of it has come: from now on it is kept like what was made here."""
    thing, name = one.thing, one.there.rpartition("/")[2]
    if thing.kind == SHELF:
        names = one.listing.files.keys() - {EDITS}
        same = all(is_here(thing.folder / name, one.listing.files[name]) for name in names)
        known = thing.key in records and records[thing.key].name != name
        if same and not known and (thing.key not in records or records[thing.key].seen != one.listing):
            records[thing.key] = Record(name, one.listing)  # no stamps: what this shelf has besides is still to be kept
        records.save()
        return
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
