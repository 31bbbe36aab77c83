"""The shelf where two write at the same moment, where its copy in the store is damaged, and as earlier versions left it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.catalogue import uploads
from pipeline.catalogue.columns import Columns
from pipeline.files import append_jsonl, home, read_jsonl, write_text
from pipeline.space.committing import Writer
from pipeline.space.keeping import Keeper
from pipeline.space.kept import LIST, Records
from tests.servers.hub_store import REPO
from tests.servers.memory_store import Commits, MemoryStore

OnDisk = Callable[[str], Path]


class Machines:
    """Homes with one store, each with a keeper that is used again."""

    def __init__(self, on_disk: OnDisk) -> None:
        self.on_disk, self.commits = on_disk, Commits()
        self.keepers: dict[str, Keeper] = {}

    def at(self, name: str) -> Keeper:
        """Makes this process work at a machine."""
        self.on_disk(name).mkdir(exist_ok=True)
        if name not in self.keepers:
            self.keepers[name] = keeper = Keeper(REPO)
            writer = Writer(MemoryStore(self.commits), Records(REPO))
            keeper._writer = writer  # pyright: ignore[reportPrivateUsage]
        return self.keepers[name]

    def store(self, name: str) -> MemoryStore:
        store = self.at(name).writer.store
        assert isinstance(store, MemoryStore)
        return store


@pytest.fixture
def machines(on_disk: OnDisk) -> Machines:
    return Machines(on_disk)


def upload(text: str, name: str = "x.csv") -> None:
    write_text(home() / "uploads" / name, text)


def here() -> dict[str, str]:
    return {path.name: path.read_text() for path in uploads.uploads_dir().glob("[!.]*")}


def marked(text: str) -> str:
    return f"x-{hashlib.sha256(text.encode()).hexdigest()[:8]}.csv"


def when_fetched(store: MemoryStore, awaited: str, happens: Callable[[], None]) -> None:
    """Let something happen while that file is on its way."""
    download = store._download  # pyright: ignore[reportPrivateUsage]

    def meanwhile(head: str, path: str, to: Path) -> Path:
        found = download(head, path, to)
        if path == awaited:
            store._download = download  # pyright: ignore[reportPrivateUsage]
            happens()
        return found

    store._download = meanwhile  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("known", [False, True])
def test_an_upload_made_while_another_of_its_name_comes_stays_beside_it(machines: Machines, *, known: bool) -> None:
    first, second = machines.at("first"), machines.at("second")
    machines.at("first")
    upload("the first")
    first.round()
    if known:
        machines.at("second").round()
        machines.at("first")
        upload("the first, changed")
        first.round()
    machines.at("second")
    when_fetched(machines.store("second"), "shelf/uploads/x.csv", lambda: upload("the second's"))
    for _ in range(3):
        second.round()
    expected = {"x.csv": "the first, changed" if known else "the first", marked("the second's"): "the second's"}
    assert here() == expected
    machines.at("first").round()
    machines.at("third").round()
    assert here() == expected


def test_what_is_said_while_edits_come_is_kept(machines: Machines) -> None:
    machines.at("first")
    append_jsonl(home() / "edits.jsonl", {"time": "1", "row": "a"})
    machines.at("first").round()
    second = machines.at("second")
    path = home() / "edits.jsonl"
    when_fetched(machines.store("second"), "shelf/edits.jsonl", lambda: append_jsonl(path, {"time": "2", "row": "b"}))
    second.round()
    machines.at("third").round()
    assert {line["row"] for line in read_jsonl(home() / "edits.jsonl")} == {"a", "b"}


def test_what_changes_while_the_two_are_united_is_not_written_over_the_others(machines: Machines) -> None:
    for name in ("first", "second"):
        machines.at(name)
        if name == "first":
            upload("old")
            append_jsonl(home() / "edits.jsonl", {"time": "1", "row": "a"})
        machines.at(name).round()
    machines.at("first")
    upload("changed by the first")
    append_jsonl(home() / "edits.jsonl", {"time": "2", "row": "b"})
    machines.at("first").round()
    second = machines.at("second")
    append_jsonl(home() / "edits.jsonl", {"time": "3", "row": "c"})
    when_fetched(machines.store("second"), "shelf/edits.jsonl", lambda: upload("by the second"))
    second.writer.keep()
    machines.at("third").round()
    assert here() == {"x.csv": "changed by the first", marked("by the second"): "by the second"}
    assert {line["row"] for line in read_jsonl(home() / "edits.jsonl")} == {"a", "b", "c"}


def test_an_upload_that_gives_way_takes_its_columns_along(machines: Machines) -> None:
    for name, column in (("first", "What"), ("second", "Name")):
        machines.at(name)
        upload(f"{column},Story\na,b\n")
        uploads._note("x.csv", columns={"title": column, "content": ["Story"]})  # pyright: ignore[reportPrivateUsage]
    machines.at("first").round()
    machines.at("second").round()
    machines.at("third").round()
    assert uploads.chosen_columns("x.csv") == Columns("What", ("Story",))
    assert uploads.chosen_columns(marked("Name,Story\na,b\n")) == Columns("Name", ("Story",))


def test_an_upload_and_its_columns_that_are_removed_on_one_machine_go_from_the_other(machines: Machines) -> None:
    machines.at("first")
    upload("What,Story\na,b\n")
    uploads._note("x.csv", columns={"title": "What", "content": ["Story"]})  # pyright: ignore[reportPrivateUsage]
    upload("stays", "y.csv")
    machines.at("first").round()
    machines.at("second").round()
    machines.at("first")
    uploads.remove("x.csv")
    machines.at("first").round()
    machines.at("second").round()
    assert [path.name for path in uploads.uploads_dir().iterdir()] == ["y.csv"]


def test_uploads_that_a_disk_lost_come_back(machines: Machines) -> None:
    machines.at("first")
    upload("here")
    append_jsonl(home() / "edits.jsonl", {"time": "1", "row": "a"})
    machines.at("first").round()
    (home() / "uploads" / "x.csv").unlink()  # by no person in the app
    append_jsonl(home() / "edits.jsonl", {"time": "2", "row": "b"})
    machines.at("first").writer.keep()
    assert machines.commits.newest["shelf/uploads/x.csv"] == b"here"
    machines.at("first").round()
    assert here() == {"x.csv": "here"}


def listed(files: dict[str, bytes]) -> bytes:
    told = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest(), "time": 1.0} for n, d in files.items()}
    return json.dumps({"writer": "x", "revision": 1, "files": told}).encode()


def test_the_second_shelf_of_an_earlier_version_is_put_into_the_first(machines: Machines) -> None:
    one = {"uploads/x.csv": b"one", "edits.jsonl": b'{"time": "1", "row": "a"}\n'}
    two = {"uploads/x.csv": b"two", "uploads/y.csv": b"y", "edits.jsonl": b'{"time": "2", "row": "b"}\n'}
    for name, files in (("shelf", one), ("shelf-ab12", two)):
        machines.commits.newest.update({f"{name}/{inside}": data for inside, data in files.items()})
        machines.commits.newest[f"{name}/{LIST}"] = listed(files)
    for _ in range(2):
        machines.at("first").round()
    assert here() == {"x.csv": "one", marked("two"): "two", "y.csv": "y"}
    assert {path.split("/")[0] for path in machines.commits.newest} == {"shelf"}
    uploads.remove("y.csv")
    machines.at("first").round()
    machines.at("second").round()
    assert here() == {"x.csv": "one", marked("two"): "two"}
    assert {line["row"] for line in read_jsonl(home() / "edits.jsonl")} == {"a", "b"}


def test_beside_a_damaged_shelf_another_is_kept(machines: Machines, caplog: pytest.LogCaptureFixture) -> None:
    damaged = b'{"writer": "x", "revision": 1, "deleted": true}'
    machines.commits.newest[f"shelf/{LIST}"] = damaged
    for name in ("first", "second"):
        machines.at(name)
        upload(name, f"{name}.csv")
        machines.at(name).round()
    machines.at("first").round()
    assert here() == {"first.csv": "first", "second.csv": "second"}
    assert machines.commits.newest[f"shelf/{LIST}"] == damaged and "was left there" in caplog.text
    assert {path.split("/")[0] for path in machines.commits.newest} == {"shelf", "shelf-0"}


def test_a_file_that_is_damaged_in_the_store_holds_nothing_up(machines: Machines) -> None:
    machines.at("first")
    upload("here")
    upload("whole", "y.csv")
    machines.at("first").round()
    machines.commits.newest["shelf/uploads/x.csv"] = b"hexe"
    machines.at("second")
    append_jsonl(home() / "edits.jsonl", {"time": "1", "row": "a"})
    machines.at("second").round()
    assert here() == {"y.csv": "whole"}
    assert {"shelf/uploads/x.csv", "shelf/edits.jsonl"} <= machines.commits.newest.keys()
