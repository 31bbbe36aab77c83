"""A Space that trains does not fall asleep, and sleeps again after it, whatever happens between."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.store import Dataset
from pipeline.files import read_json, write_json
from pipeline.runs import launcher
from pipeline.runs.folder import list_runs
from pipeline.runs.manage import create_run
from pipeline.runs.queue import cancel_queue, enqueue
from pipeline.runs.status import status
from pipeline.space import awake
from pipeline.space.settings import read_space
from tests.children import end, starting, wait_for
from tests.servers.hub import TOKEN, Repository
from tests.servers.hub_spaces import Space, SpacesHub
from tests.tiny import tiny_settings

SPACE = "mira/shelftalk"
ATTEND = """
from pipeline.files import home
from pipeline.space import awake
attending = awake.attend(seconds=0.05, grace=0.2)
(home() / "attending").touch()
attending.join()
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[SpacesHub]:
    """The Hub with this Space on it, which sleeps after half an hour."""
    with SpacesHub() as server:
        for name, value in {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "SPACE_ID": SPACE}.items():
            monkeypatch.setenv(name, value)
        server.repositories[f"spaces/{SPACE}"] = Repository(private=False)
        server.spaces[SPACE] = Space(hardware="l4x1", sleep_time=1800, stages=["RUNNING"])
        yield server
    awake.warn("")
    end(list_runs())


@pytest.fixture
def attendant() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts processes that look after the sleep time, as the app does; they are ended with the test."""
    with starting(ATTEND) as start:
        yield start


def queued(dataset: Dataset) -> Path:
    """A run that waits for its turn, which nobody gives it."""
    folder = create_run(dataset, tiny_settings(Path("nowhere")))
    enqueue(folder)
    return folder


def calls(hub: SpacesHub) -> list[str]:
    return [request.rpartition("/")[2] for request in hub.requests if request.startswith("POST")]


def test_it_stays_awake_during_a_run_and_sleeps_after_it_also_when_it_crashed_between(
    dataset: Dataset, tiny_base: Path, hub: SpacesHub, attendant: Callable[[], subprocess.Popen[bytes]], home: Path
) -> None:
    space = hub.spaces[SPACE]
    folder = create_run(dataset, tiny_settings(tiny_base, max_steps=200))
    first = attendant()
    wait_for((home / "attending").exists)  # else the run may have ended before anybody looks
    launcher.start(folder)
    wait_for(lambda: space.sleep_times == [-1])
    assert read_json(home / awake.REMEMBERED) == {"space": SPACE, "sleep_time": 1800}
    first.kill()
    first.wait()
    list(launcher.watch(folder))
    assert status(folder).state == "finished" and space.sleep_time is None
    attendant()
    wait_for(lambda: not (home / awake.REMEMBERED).exists())
    assert space.sleep_times == [-1, 1800] and space.sleep_time == 1800


def test_a_run_that_waits_counts_too_and_nothing_is_asked_twice(dataset: Dataset, hub: SpacesHub) -> None:
    attending, space = awake.Attendant(SPACE, grace=0), hub.spaces[SPACE]
    queued(dataset)
    for _ in range(3):
        attending.attend()
    assert space.sleep_times == [-1] and len(hub.requests) == 2
    cancel_queue()
    for _ in range(3):
        attending.attend()
    assert space.sleep_times == [-1, 1800] and len(hub.requests) == 4


def test_what_a_run_made_has_time_to_be_kept(dataset: Dataset, hub: SpacesHub) -> None:
    attending = awake.Attendant(SPACE, grace=3600)
    queued(dataset)
    attending.attend()
    cancel_queue()
    attending.attend()
    assert hub.spaces[SPACE].sleep_times == [-1]
    queued(dataset)  # the next run begins meanwhile, and what was before it is not forgotten
    attending.attend()
    cancel_queue()
    awake.Attendant(SPACE, grace=0).attend()
    assert hub.spaces[SPACE].sleep_times == [-1, 1800]


def test_a_time_that_somebody_has_set_meanwhile_stays(dataset: Dataset, hub: SpacesHub, home: Path) -> None:
    attending = awake.Attendant(SPACE, grace=0)
    queued(dataset)
    attending.attend()
    hub.spaces[SPACE].sleep_time = 7200
    cancel_queue()
    attending.attend()
    assert hub.spaces[SPACE].sleep_times == [-1] and not (home / awake.REMEMBERED).exists()


def test_a_crash_that_took_the_disk_along_leaves_no_space_that_never_sleeps(hub: SpacesHub) -> None:
    hub.spaces[SPACE].sleep_time = None
    awake.Attendant(SPACE).attend()
    assert hub.spaces[SPACE].sleep_times == [read_space().sleep_time] == [3600]


@pytest.mark.parametrize("record", [{"space": "ada/other", "sleep_time": 60}, {"space": SPACE, "sleep_time": "x"}, []])
def test_what_another_space_left_or_a_damaged_record_says_nothing(record: Any, hub: SpacesHub, home: Path) -> None:
    hub.spaces[SPACE].sleep_time = None
    write_json(home / awake.REMEMBERED, record)
    awake.Attendant(SPACE).attend()
    assert hub.spaces[SPACE].sleep_times == [3600] and not (home / awake.REMEMBERED).exists()


@pytest.mark.parametrize(("hardware", "sleep_time"), [("cpu-basic", None), ("zero-a10g", 172800), ("l4x1", None)])
def test_where_nothing_can_or_need_be_lifted_nothing_is_called(
    hardware: str, sleep_time: int | None, dataset: Dataset, hub: SpacesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.spaces[SPACE] = Space(hardware=hardware, sleep_time=sleep_time, stages=["RUNNING"])
    queued(dataset)
    for token in (TOKEN, ""):
        monkeypatch.setenv("HF_TOKEN", token)
        awake.Attendant(SPACE).attend()
        assert calls(hub) == [] and awake.warning() == ""


@pytest.mark.parametrize(
    ("token", "status", "why"),
    [
        ("", 0, "it has no HF_TOKEN to change its sleep time with"),
        (TOKEN, 403, "its HF_TOKEN may not change its sleep time"),
        (TOKEN, 500, "the Hub cannot be asked now to change its sleep time"),
        ("hf_a token", 0, "its HF_TOKEN may not change its sleep time"),
    ],
)
def test_what_is_in_the_way_is_told_once_and_tried_again(
    token: str,
    status: int,
    why: str,
    dataset: Dataset,
    hub: SpacesHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(awake, "RETRY_SECONDS", 0)
    monkeypatch.setenv("HF_TOKEN", token)
    if status:
        hub.failures["/sleeptime"] = status
    attending = awake.Attendant(SPACE, grace=0)
    queued(dataset)
    for _ in range(3):
        attending.attend()
    assert awake.warning().startswith(f"This Space may fall asleep while it trains, since {why}; keep this page open")
    assert caplog.text.count("may fall asleep") == 1 and TOKEN not in caplog.text
    hub.failures.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    attending.attend()
    assert awake.warning() == "" and hub.spaces[SPACE].sleep_times == [-1]
    hub.failures["/sleeptime"] = 500
    cancel_queue()
    for _ in range(2):
        attending.attend()
    assert caplog.text.count("The Space never sleeps, since the Hub cannot be asked now") == 1
    hub.failures.clear()
    attending.attend()
    assert hub.spaces[SPACE].sleep_times == [-1, 1800]


def test_without_a_token_and_without_a_run_nothing_is_asked(hub: SpacesHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    awake.Attendant(SPACE).attend()
    assert hub.requests == []


def test_off_a_space_nobody_attends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert awake.attend() is None
