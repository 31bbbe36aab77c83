"""The run folder: its events and their torn ends, its status, and which folders a run may have."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pipeline import files
from pipeline.dataset.store import Dataset
from pipeline.errors import PipelineError, RunError, SettingsError
from pipeline.files import read_json, write_json
from pipeline.runs import folder as runs
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import list_runs, read_settings, run_dataset, run_size
from pipeline.runs.manage import check_new, clear_run, create_run, delete_run, duplicate_run, rename_run
from pipeline.runs.settings import preset
from pipeline.runs.status import is_alive, log_tail, running_run, status
from tests.children import waiting


@pytest.fixture
def run(dataset: Dataset) -> Path:
    """A new run, not started."""
    return create_run(dataset, preset("quick"))


@pytest.fixture
def alive() -> Iterator[Callable[[Path], None]]:
    """Gives a run a living process."""
    children = []

    def give(folder: Path) -> None:
        children.append(waiting(str(folder.resolve())))
        write_json(folder / "process.json", {"pid": children[-1].pid})

    yield give
    for child in children:
        child.communicate(b"\n")


# --- Making one ---


def test_a_new_run_has_settings_and_its_own_copy_of_the_dataset(run: Path, dataset: Dataset, home: Path) -> None:
    assert run.parent == home / "runs"
    assert sorted(p.name for p in run.iterdir()) == ["dataset", "settings.json"]
    assert read_settings(run) == preset("quick")
    assert {p.name: p.read_bytes() for p in dataset.folder.iterdir()} == {
        p.name: p.read_bytes() for p in (run / "dataset").iterdir()
    }
    shutil.rmtree(dataset.folder)
    assert run_dataset(run).training()
    assert status(run).state == "new"


def test_runs_of_one_second_have_names_of_their_own(dataset: Dataset) -> None:
    made = {create_run(dataset, preset("quick")) for _ in range(4)}
    assert len(made) == 4 and set(list_runs()) == made


def test_runs_are_listed_newest_first_and_nothing_else_is(dataset: Dataset, home: Path) -> None:
    assert list_runs() == []
    old, new = create_run(dataset, preset("quick")), create_run(dataset, preset("quick"))
    os.utime(old / "settings.json", (1, 1))
    (home / "runs" / "a file").write_text("x")
    (home / "runs" / "no run").mkdir()
    (home / "runs" / ".hidden").mkdir()
    shutil.copy(new / "settings.json", home / "runs" / ".hidden")
    assert list_runs() == [new, old]


def test_a_folder_that_is_not_empty_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    assert create_run(dataset, preset("quick"), mine) == mine
    before = (mine / "settings.json").read_bytes()
    for refused in (mine, tmp_path / "catalogue.json"):
        with pytest.raises(RunError, match="is not empty; choose another folder, or pass --overwrite"):
            create_run(dataset, preset("recall"), refused)
    assert (mine / "settings.json").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"file/run cannot be made \(Not a directory\); choose another folder"):
        create_run(dataset, preset("quick"), tmp_path / "file" / "run")

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(RunError, match=r"cannot be made \(Read-only file system\)"):
        create_run(dataset, preset("quick"), tmp_path / "run")


def test_a_disk_without_room_is_refused_before_anything_is_written(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    with pytest.raises(PipelineError, match=r"The disk has 0.1 GB left and a training run needs about 0.5 GB"):
        create_run(dataset, preset("quick"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- Overwriting one ---


def test_a_run_is_emptied_and_its_folder_stays(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(run)
    (run / "outside").symlink_to(tmp_path / "catalogue.json")
    clear_run(link)
    assert list(run.iterdir()) == [] and link.is_symlink() and (tmp_path / "catalogue.json").is_file()
    clear_run(run)
    clear_run(tmp_path / "nowhere")


def test_what_is_not_a_run_is_not_overwritten(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("x")
    for refused in (photos, photos / "a.jpg"):
        with pytest.raises(RunError, match="is not a run folder, so it was not overwritten"):
            clear_run(refused)
    assert (photos / "a.jpg").is_file()


def test_a_run_that_trains_is_not_overwritten(run: Path, alive: Callable[[Path], None]) -> None:
    append_event(run, "started")
    alive(run)
    with pytest.raises(RunError, match="A training is running in"):
        clear_run(run)
    with pytest.raises(RunError, match="is not empty"):
        check_new(run)
    assert read_settings(run)


# --- Its settings ---


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"text"', '{"no": 1}', '{"lora_r": "x"}', '{"base_model": 5}',
                                  '{"target_modules": 5}', '{"target_modules": [[1]]}', "\udcff"])  # fmt: skip
def test_damaged_settings_are_a_sentence(text: str, run: Path) -> None:
    (run / "settings.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises((RunError, SettingsError)):
        read_settings(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        read_settings(tmp_path / "nowhere")


# --- Its events ---


def test_an_event_is_a_line_with_type_and_time(run: Path) -> None:
    append_event(run, "message", text="Grüße\n\u2028 aus Kräuterhof")
    append_event(run, "step", step=1, loss=0.5)
    lines = (run / "events.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 3 and lines[-1] == b""
    first = json.loads(lines[0])
    assert first["type"] == "message" and first["text"] == "Grüße\n\u2028 aus Kräuterhof"
    moment = datetime.fromisoformat(first["time"])
    assert moment.utcoffset() == timedelta(0)


def test_events_are_read_on_from_a_position(run: Path) -> None:
    assert read_events(run) == ([], 0)
    append_event(run, "started")
    events, position = read_events(run)
    assert [e["type"] for e in events] == ["started"]
    assert read_events(run, position) == ([], position)
    append_event(run, "message", text="more")
    events, end = read_events(run, position)
    assert [e["type"] for e in events] == ["message"] and end == (run / "events.jsonl").stat().st_size


def test_a_torn_last_line_is_held_back_until_it_is_whole(run: Path) -> None:
    append_event(run, "started")
    _, position = read_events(run)
    line = '{"type": "step", "time": "2026-01-01T00:00:00+00:00", "step": 1, "total": 9, "loss": 0.5, "text": "ä"}\n'.encode()
    for cut in range(1, len(line)):
        (run / "events.jsonl").open("ab").write(line[cut - 1 : cut])
        assert read_events(run, position) == ([], position)
    (run / "events.jsonl").open("ab").write(b"\n")
    assert [e["type"] for e in read_events(run, position)[0]] == ["step"]


def test_a_line_torn_by_a_crash_is_dropped_and_the_next_is_whole(run: Path) -> None:
    append_event(run, "started")
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "step", "st')
    assert [e["type"] for e in read_events(run)[0]] == ["started"]
    append_event(run, "resumed")
    assert [e["type"] for e in read_events(run)[0]] == ["started", "resumed"]


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"5", b'"started"', b'{"time": 1}', b"\xff\xfe", b"{" * 50])
def test_lines_that_are_no_events_are_passed_over(line: bytes, run: Path) -> None:
    (run / "events.jsonl").write_bytes(line + b"\n")
    append_event(run, "started")
    assert [e["type"] for e in read_events(run)[0]] == ["started"]


def test_half_characters_are_written_as_json_has_them(run: Path) -> None:
    append_event(run, "message", text="name \udcff")
    write_json(run / "x.json", {"name": "\udcff"})
    assert read_events(run)[0][0]["text"] == "name \udcff"
    assert read_json(run / "x.json") == {"name": "\udcff"}


# --- Its status ---


@pytest.mark.parametrize(
    ("events", "lives", "state"),
    [
        ([], False, "new"),
        ([], True, "running"),
        (["started"], True, "running"),
        (["started"], False, "failed"),
        (["started", "step", "probe", "message"], False, "failed"),
        (["started", "finished"], False, "finished"),
        (["started", "finished"], True, "finished"),
        (["started", "stopped"], False, "stopped"),
        (["started", "failed"], True, "failed"),
        (["started", "stopped", "resumed"], True, "running"),
        (["started", "stopped", "resumed"], False, "failed"),
        (["started", "failed", "resumed", "step", "finished"], False, "finished"),
        (["started", "finished", "message", "probe"], False, "finished"),
        (["started", "failed", "started"], True, "running"),
    ],
)
def test_an_ending_wins_else_alive_means_running_else_it_failed(
    events: list[str], lives: bool, state: str, run: Path, alive: Callable[[Path], None]
) -> None:
    for event in events:
        append_event(run, event, message="why" if event == "failed" else "")
    if lives:
        alive(run)
    found = status(run)
    assert found.state == state
    if state == "failed":
        assert found.message.startswith("why" if events[-1] == "failed" else "The training process was killed")


@pytest.fixture
def dead() -> Iterator[dict[str, Any]]:
    """The record of a process that has ended."""
    child = waiting()
    child.communicate(b"\n")
    yield {"pid": child.pid}


def test_a_process_is_known_by_its_id_and_its_command_line(
    run: Path, dead: dict[str, Any], alive: Callable[[Path], None]
) -> None:
    write_json(run / "process.json", dead)
    assert not is_alive(run)
    alive(run)
    assert is_alive(run)
    stranger = waiting(str(run.parent / "another"))  # a process that got the id of one that has ended
    write_json(run / "process.json", {"pid": stranger.pid})
    append_event(run, "started")
    assert not is_alive(run) and status(run).state == "failed"
    stranger.communicate(b"\n")


def test_a_run_that_ended_long_ago_and_begins_again_is_alive(run: Path, alive: Callable[[Path], None]) -> None:
    write_json(run / "process.json", {"pid": 2**22 + 1})
    long_ago = time.time() - 3600
    os.utime(run / "process.json", (long_ago, long_ago))
    assert not is_alive(run) and not is_alive(run)
    alive(run)
    assert is_alive(run)


def test_a_zombie_is_not_alive(run: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "", str(run.resolve())])
    process = psutil.Process(child.pid)
    write_json(run / "process.json", {"pid": child.pid})
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert not is_alive(run)
    child.wait()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "{}", '{"pid": null}', '{"pid": "1", "created": 0}', '{"pid": -1, "created": 0}'),
        *('{"pid": 1e300, "created": 0}', '{"pid": 99999999999999999999, "created": 0}', '{"pid": 1, "created": "x"}'),
    ],
)
def test_a_damaged_process_record_is_a_dead_process(text: str, run: Path) -> None:
    (run / "process.json").write_text(text)
    assert not is_alive(run)


def test_a_silent_death_is_told_with_the_log_s_end(run: Path) -> None:
    append_event(run, "started")
    (run / "train.log").write_bytes(b"first\n\n" + b"x\n" * 9000 + b"10%\r100%\n\xff Killed: out of memory\n\n")
    found = status(run)
    assert found.state == "failed" and found.message.endswith("Killed: out of memory")
    assert log_tail(run, 1) == "\ufffd Killed: out of memory" and "first" not in found.message


def test_only_a_living_run_is_the_running_one(dataset: Dataset, alive: Callable[[Path], None]) -> None:
    one, two = create_run(dataset, preset("quick")), create_run(dataset, preset("quick"))
    assert running_run() is None
    append_event(one, "started")
    assert running_run() is None
    alive(two)
    append_event(two, "started")
    assert running_run() == two
    append_event(two, "finished")
    assert running_run() is None


def test_a_run_with_the_mark_waits_until_it_has_begun(run: Path, alive: Callable[[Path], None]) -> None:
    (run / "queued").touch()
    assert status(run).state == "queued"
    append_event(run, "started")
    alive(run)
    assert status(run).state == "running"


# --- Renaming, deleting, duplicating, and its size ---


@pytest.mark.parametrize(
    "name", ["a", "Rank 8, no: rank-8_v1.2".replace(",", "").replace(":", ""), "Küche 日本", "x" * 60]
)
def test_a_run_gets_another_name_and_keeps_all_it_has(name: str, run: Path) -> None:
    before = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    renamed = rename_run(run, f"  {name} ")
    assert renamed == run.parent / name and list_runs() == [renamed]
    assert {p.relative_to(renamed): p.read_bytes() for p in renamed.rglob("*") if p.is_file()} == before
    assert rename_run(renamed, name) == renamed


HOSTILE_NAMES = [
    *(
        "",
        "   ",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc",
        ".hidden",
        "dots...",
        "x" * 61,
        "x" * 300,
        "<script>",
        "a\0b",
    ),
    *("a\nb", "$(id)", "a;b", "a|b", "*", "~", "%2e%2e", "x\u202ey", "🪁", "a\tb", '"', "CON:"),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_never_a_path_or_markup(name: str, run: Path) -> None:
    with pytest.raises(RunError, match=r"A run's name .*; choose another"):
        rename_run(run, name)
    assert list_runs() == [run]


def test_a_name_that_is_taken_is_refused(dataset: Dataset, run: Path) -> None:
    other = create_run(dataset, preset("quick"))
    (run.parent / "photos").mkdir()
    for name in (other.name, "photos"):
        with pytest.raises(RunError, match=f"The name {name} is taken; choose another"):
            rename_run(run, name)
    assert set(list_runs()) == {run, other}


def test_a_run_that_trains_or_waits_keeps_its_name(run: Path, alive: Callable[[Path], None]) -> None:
    (run / "queued").touch()
    with pytest.raises(RunError, match="waits for its turn; cancel what is waiting first"):
        rename_run(run, "mine")
    append_event(run, "started")
    alive(run)
    with pytest.raises(RunError, match="is still training; stop it first, then rename it"):
        rename_run(run, "mine")
    assert list_runs() == [run]


def test_a_deleted_run_is_gone_and_nothing_else_is(dataset: Dataset, run: Path, tmp_path: Path) -> None:
    other = create_run(dataset, preset("quick"))
    (run / "checkpoints").symlink_to(tmp_path)  # what a link points to is not the run's
    delete_run(run)
    assert list_runs() == [other] and sorted(p.name for p in run.parent.iterdir()) == [".lock", other.name]
    assert (tmp_path / "catalogue.json").is_file() and run_dataset(other).training()


def test_a_half_deleted_run_is_never_listed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(shutil, "rmtree", fails)
    with pytest.raises(PermissionError):
        delete_run(run)
    assert list_runs() == [] and not run.exists()


def test_what_trains_or_is_no_run_is_not_deleted(run: Path, tmp_path: Path, alive: Callable[[Path], None]) -> None:
    alive(run)
    with pytest.raises(RunError, match="is still training; stop it first, then delete it"):
        delete_run(run)
    for nothing in (tmp_path, tmp_path / "nowhere", run.parent):
        with pytest.raises(RunError, match=r"is not a run \(any more\), so there is nothing to delete"):
            delete_run(nothing)
    assert list_runs() == [run] and (tmp_path / "catalogue.json").is_file()


def test_a_run_that_is_a_link_is_unlinked(run: Path, tmp_path: Path) -> None:
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(tmp_path / "elsewhere")
    delete_run(run)
    assert list_runs() == [] and read_settings(tmp_path / "elsewhere")


def test_a_duplicate_has_the_settings_and_the_dataset_and_was_never_started(run: Path) -> None:
    append_event(run, "finished")
    (run / "queued").touch()
    write_json(run / "sweep.json", {})
    twin = duplicate_run(run)
    assert twin != run and status(twin).state == "new"
    assert sorted(p.name for p in twin.iterdir()) == ["dataset", "settings.json"]
    assert read_settings(twin) == read_settings(run)
    delete_run(run)
    assert run_dataset(twin).training()


def test_a_run_s_size_is_that_of_all_its_files(run: Path, tmp_path: Path) -> None:
    before = run_size(run)
    assert before == sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) > 1000
    (run / "adapter" / "deep").mkdir(parents=True)
    (run / "adapter" / "deep" / "weights").write_bytes(b"x" * 5000)
    (run / "link").symlink_to(tmp_path)
    assert run_size(run) == before + 5000 + (run / "link").lstat().st_size
    assert run_size(tmp_path / "nowhere") == 0


def test_the_names_are_the_contract_s() -> None:
    assert (runs.SETTINGS, runs.EVENTS, runs.LOG, runs.BASELINE, runs.COMPARISON, runs.CHECKPOINTS, runs.ADAPTER) == (
        "settings.json", "events.jsonl", "train.log", "baseline.json", "comparison.json", "checkpoints", "adapter"
    )  # fmt: skip
