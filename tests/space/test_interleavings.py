"""Machines that share a store, in random order: write, change, delete, rename, restart, a cut connection, each other's rounds.

Whatever the order, once every connection is whole all machines come to have the same: nothing that was deleted, all else that
was ever written, and no copy that nobody asked for.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from pipeline.catalogue import uploads
from pipeline.dataset.store import delete_dataset
from pipeline.errors import PipelineError
from pipeline.files import append_jsonl, write_text
from pipeline.runs.manage import delete_run, rename_run
from pipeline.space.committing import Writer
from pipeline.space.keeping import Keeper
from pipeline.space.kept import LIST, Records
from pipeline.space.restoring import take_names
from pipeline.space.store import Store
from tests.servers.hub_store import REPO, Hub
from tests.servers.memory_store import Commits, Lost, MemoryStore

Content = tuple[int, ...]
"""The numbers of the writings that a thing has in it, the last one last; no two writings have the same number."""

PATHS = ("runs/a", "runs/b", "datasets/d", "uploads/x.csv", "uploads/y.csv")
"""What is written first; the fewer of them, the more machines meet at one."""

ENOUGH = 15
"""Passes over all machines after which they have to agree."""


class Machine:
    """A home with its keeper, and a person who does things at it."""

    def __init__(self, world: "World", home: Path) -> None:
        self.world, self.home = world, home
        self.restart()

    def restart(self) -> None:
        with self.at_home():
            self.keeper = Keeper(REPO)
            self.store = self.world.connect()
            records = Records(REPO)
            take_names(records)
            self.keeper._writer = Writer(self.store, records)  # pyright: ignore[reportPrivateUsage]

    @contextmanager
    def at_home(self) -> Iterator[None]:
        before = os.environ.get("SHELFTALK_HOME", "")
        os.environ["SHELFTALK_HOME"] = str(self.home)
        try:
            self.home.mkdir(exist_ok=True)
            yield
        finally:
            os.environ["SHELFTALK_HOME"] = before

    def round(self) -> None:
        with self.at_home():
            self.keeper.round(self.world.random.choice((0, 60)))  # with 0 it keeps between any two files that come

    def things(self) -> dict[str, Content]:
        """Everything here by its path, but for what was said of rows, which is one line each."""
        found = {f"runs/{p.parent.name}": tokens(p.read_bytes()) for p in self.home.glob("runs/[!.]*/events.jsonl")}
        found |= {
            f"datasets/{p.parent.name}": tokens(p.read_bytes()) for p in self.home.glob("datasets/[!.]*/rows.jsonl")
        }
        return found | {f"uploads/{p.name}": tokens(p.read_bytes()) for p in self.home.glob("uploads/[!.]*")}

    def edits(self) -> set[int]:
        path = self.home / "edits.jsonl"
        return set(tokens(path.read_bytes())) if path.is_file() else set()


def tokens(data: bytes) -> Content:
    return tuple(json.loads(line)["n"] for line in data.splitlines())


class World:
    """Some machines, their store, and what is known of all that happened."""

    def __init__(self, seed: int, folder: Path, connect: Callable[[], Store]) -> None:
        self.random = random.Random(seed)
        self.connect = connect
        self.machines = [Machine(self, folder / name) for name in "ABC"[: self.random.choice((2, 2, 3))]]
        self.done: list[str] = [f"seed {seed}"]
        self.paths = self.random.sample(PATHS, self.random.choice((1, 2, 2, 3)))
        self.number = 0
        self.may_be_gone: set[int] = set()
        self.deleted: list[tuple[Machine, str, Content]] = []
        self.copied: set[Content] = set()

    def stored(self) -> dict[str, Content]:
        """Everything in the store by its path."""
        raise NotImplementedError

    # --- What happens ---

    def act(self) -> None:
        machine, does = self.random.choice(self.machines), self.random.random()
        if does < 0.4:
            self.act_by_hand(machine)
            return
        action = self.restart if does < 0.45 else self.lose_disk if does < 0.5 else self.keep
        self.note(machine, action.__name__)
        action(machine)

    def act_by_hand(self, machine: Machine) -> None:
        hand = (self.write, self.say, self.delete, self.rename)
        action = self.random.choices(hand, (6, 2, 4, 2))[0]
        self.note(machine, action.__name__)
        with machine.at_home(), suppress(PipelineError):  # a run that is still on its way back, perhaps
            action(machine)

    def note(self, machine: Machine, what: str) -> None:
        self.done.append(f"{machine.home.name} {what}")

    def line(self) -> str:
        self.number += 1
        return json.dumps({"n": self.number, "type": "message", "pad": "." * self.number}) + "\n"

    def write(self, machine: Machine) -> None:
        """Make a thing, or change one."""
        path = self.random.choice((*self.paths, *machine.things()))
        place = machine.home / path
        self.done[-1] += f" {path} {self.number + 1}"
        if path.startswith("uploads/"):
            if place.is_file():
                self.may_be_gone |= set(tokens(place.read_bytes()))  # an upload takes the place of the one before
            write_text(place, self.line())
            return
        inside, mark = (
            ("events.jsonl", "settings.json") if path.startswith("runs/") else ("rows.jsonl", "manifest.json")
        )
        before = (place / inside).read_text() if (place / inside).is_file() else ""
        write_text(place / inside, before + self.line())
        if not (place / mark).is_file():
            write_text(place / mark, "{}")

    def say(self, machine: Machine) -> None:
        self.number += 1
        self.done[-1] += f" {self.number}"
        append_jsonl(machine.home / "edits.jsonl", {"time": f"2026-01-01T{self.number:06}", "n": self.number})

    def delete(self, machine: Machine) -> None:
        things = machine.things()
        if not things:
            return
        path = self.random.choice(sorted(things))
        self.done[-1] += f" {path} {things[path]}"
        kind, name = path.split("/")
        remove = {"runs": delete_run, "datasets": delete_dataset}.get(kind, lambda place: uploads.remove(place.name))
        remove(machine.home / kind / name)
        self.may_be_gone |= set(things[path])
        self.deleted.append((machine, kind, things[path]))

    def rename(self, machine: Machine) -> None:
        runs = [path for path in machine.things() if path.startswith("runs/")]
        if runs:
            path, name = self.random.choice(sorted(runs)), self.random.choice("abc")
            self.done[-1] += f" {path} to {name}"
            content = machine.things()[path]
            if rename_run(machine.home / path, name).name != path.removeprefix("runs/"):
                self.copied.add(content)

    def restart(self, machine: Machine) -> None:
        machine.restart()

    def lose_disk(self, machine: Machine) -> None:
        kept = self.stored()
        there = {number for content in kept.values() for number in content}
        here = machine.edits() | {number for content in machine.things().values() for number in content}
        self.may_be_gone |= here - there
        self.deleted = [one for one in self.deleted if one[0] is not machine or not self.is_in(one[2], kept.values())]
        shutil.rmtree(machine.home)
        machine.restart()

    def is_in(self, content: Content, things: Iterable[Content]) -> bool:
        return any(content[: len(thing)] == thing for thing in things)

    def keep(self, machine: Machine) -> None:
        """A round, in which the connection may be cut, and others may do something."""
        self.disturb(machine)
        with suppress(Lost, OSError, httpx.HTTPError):
            machine.round()
        self.calm(machine)

    def disturb(self, machine: Machine) -> None:
        raise NotImplementedError

    def calm(self, machine: Machine) -> None:
        raise NotImplementedError

    # --- What has to be ---

    def settle(self) -> None:
        """Let all machines do rounds, and start again before every other, until nothing changes any more."""
        self.done.append("settle")
        still = 0
        for number in range(ENOUGH):
            before = self.everything()
            for machine in self.machines:
                if number % 2:
                    machine.restart()
                machine.round()
            still = still + 1 if self.everything() == before else 0
            if still == 2:  # what was deleted in the first may make room for something in the second
                return
        raise AssertionError("They never come to an end.")

    def everything(self) -> object:
        return [(machine.things(), machine.edits()) for machine in self.machines], self.stored()

    def check(self) -> None:
        things, edits = self.machines[0].things(), self.machines[0].edits()
        for machine in self.machines:
            assert machine.things() == things and machine.edits() == edits, f"{machine.home.name} has something else"
            names = {path.name for path in (machine.home / ".kept").iterdir()}
            assert names <= {"records.json", "gone.jsonl", "gone.lock", "starter.json", "starter.lock"}
        stored = {path: content for path, content in self.stored().items() if path != "edits.jsonl"}
        assert stored == things
        there = edits | {number for content in things.values() for number in content}
        lost = set(range(1, self.number + 1)) - there - self.may_be_gone
        assert not lost, f"{lost} is lost"
        for _, kind, content in self.deleted:
            same = [c for path, c in things.items() if path.startswith(kind) and content[: len(c)] == c]
            assert not [c for c in same if not self.is_copied(c)], f"{content} was deleted and is there"
        for path, content in things.items():
            others = [c for p, c in things.items() if p != path and content[: len(c)] == c]
            assert not [c for c in others if not self.is_copied(c)], f"{path} is there twice"

    def is_copied(self, content: Content) -> bool:
        return any(content[: len(copied)] == copied or copied[: len(content)] == content for copied in self.copied)


class InMemory(World):
    def __init__(self, seed: int, folder: Path) -> None:
        self.commits = Commits()
        super().__init__(seed, folder, lambda: MemoryStore(self.commits))

    def stored(self) -> dict[str, Content]:
        return contents(self.commits.newest)

    def disturb(self, machine: Machine) -> None:
        store, how = machine.store, self.random.random()
        assert isinstance(store, MemoryStore)
        if how < 0.15:
            store.cut = self.random.randrange(20)
            self.done[-1] += f", cut after {store.cut} requests"
        elif how < 0.4:
            store.lose = self.random.choice((0, 0, 1))
            self.done[-1] += f", cut in the answer to commit {store.lose}"
        if self.random.random() < 0.3:
            other = self.random.choice(self.machines)
            happens = self.act_by_hand if other is machine else self.keep_meanwhile
            store.meanwhile = (self.random.randrange(15), lambda: happens(other))

    def keep_meanwhile(self, machine: Machine) -> None:
        self.note(machine, "keeps meanwhile")
        with suppress(Lost):
            machine.round()

    def calm(self, machine: Machine) -> None:
        assert isinstance(machine.store, MemoryStore)
        machine.store.make_whole()


class OverHttp(World):
    def __init__(self, seed: int, folder: Path, hub: Hub) -> None:
        self.hub = hub
        super().__init__(seed, folder, lambda: Store(REPO))
        self.machines[0].store.open()

    def stored(self) -> dict[str, Content]:
        return contents(self.hub.store.files)

    def disturb(self, machine: Machine) -> None:
        self.hub.lost = int(self.random.random() < 0.3)
        self.done[-1] += ", cut in the answer" * self.hub.lost

    def calm(self, machine: Machine) -> None:
        self.hub.lost = 0


def contents(files: dict[str, bytes]) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for path, data in files.items():
        if path.endswith(LIST):
            continue
        kind, _, inside = path.partition("/")
        assert kind in ("runs", "datasets", "shelf"), path
        if kind == "shelf":
            found[inside] = tokens(data)
        elif path.endswith(("events.jsonl", "rows.jsonl")):
            found[path.rpartition("/")[0]] = tokens(data)
    return found


def play(world: World) -> None:
    try:
        for _ in range(world.random.randrange(5, 20)):
            world.act()
        world.settle()
        world.check()
    except BaseException:
        print("\n".join(world.done))
        raise


@pytest.mark.parametrize("hundred", range(10))
def test_a_hundred_random_orders_end_alike(hundred: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    for seed in range(100 * hundred, 100 * hundred + 100):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        play(InMemory(seed, folder))
        shutil.rmtree(folder)


def test_random_orders_over_http_end_alike(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    for seed in range(30):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        hub.repositories.clear()
        play(OverHttp(seed, folder, hub))
