"""The process that waits for a run with everything imported. Real processes throughout."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.dataset.store import Dataset
from pipeline.files import PROJECT
from pipeline.runs import launcher, standby
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.runs.status import is_alive, status
from tests.children import end, pid, running, starting, wait_for
from tests.tiny import tiny_settings

FEW = {"probes": 0, "questions": 1, "max_steps": 2}


@pytest.fixture(autouse=True)
def nobody_waits_afterwards() -> Iterator[None]:
    yield
    standby.take({})


def waits(number: int | None) -> bool:
    """Whether a process lives that has a run to come."""
    return bool(number) and psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def test_a_run_is_trained_by_the_process_that_waited(dataset: Dataset, tiny_base: Path) -> None:
    launcher.prepare()
    waiting = standby.waiting_pid()
    assert waits(waiting) and standby.waiting_pid() == waiting
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW))
    launcher.start(folder)
    assert pid(folder) == waiting and is_alive(folder) and status(folder).state == "running"
    assert standby.waiting_pid() is None  # nobody else gets it
    list(launcher.watch(folder))
    assert status(folder).state == "finished", status(folder).message
    assert [e["step"] for e in read_events(folder)[0] if e["type"] == "step"] == [1, 2]
    assert "Smoke answer" in (folder / "train.log").read_text(encoding="utf-8")


def test_it_can_be_stopped_as_any_other(dataset: Dataset, tiny_base: Path) -> None:
    launcher.prepare()
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000}))
    launcher.start(folder)
    try:
        wait_for(lambda: any(e["type"] == "step" for e in read_events(folder)[0]))
        launcher.stop(folder)
        wait_for(lambda: not is_alive(folder))
        assert status(folder).state == "stopped"
    finally:
        end([folder])


def test_stopped_before_it_has_heard_of_its_run_is_stopped(dataset: Dataset, tiny_base: Path) -> None:
    launcher.prepare()
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000}))
    launcher.start(folder)
    try:
        launcher.stop(folder)
        wait_for(lambda: not is_alive(folder) and status(folder).state != "failed")
        assert status(folder).state == "stopped"
    finally:
        end([folder])


def test_sigterm_from_elsewhere_before_it_has_heard_of_its_run_is_a_stop(dataset: Dataset, tiny_base: Path) -> None:
    """As a Space that goes down sends it, or another app on the same runs."""
    launcher.prepare()
    number = standby.waiting_pid()
    assert number
    wait_for(lambda: hears_sigterm(number))
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000}))
    launcher.start(folder)
    os.kill(number, signal.SIGTERM)
    try:
        wait_for(lambda: not is_alive(folder))
        assert status(folder).state == "stopped"
    finally:
        end([folder])


def hears_sigterm(number: int) -> bool:
    caught = next(line for line in Path(f"/proc/{number}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_without_enough_memory_it_goes_on_in_smaller_pieces(dataset: Dataset, tiny_base: Path) -> None:
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 4, "per_device_train_batch_size": 4}))
    code = (
        "import sys; from pipeline.training import child, trainers; from tests.training.small_memory import SmallMemory;"
        "SmallMemory.most = 2; trainers.CountingCollator = SmallMemory; sys.exit(child.main())"
    )
    told = json.dumps(str(folder.resolve())).encode()
    subprocess.run(running(code, standby.WAIT, "word"), input=told, cwd=PROJECT, check=True)
    assert status(folder).state == "finished", status(folder).message
    assert any("memory was not enough" in e.get("text", "") for e in read_events(folder)[0])


def test_a_copy_of_a_run_that_trains_does_not(dataset: Dataset, tiny_base: Path) -> None:
    launcher.prepare()
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000}))
    launcher.start(folder)
    try:
        copied = Path(shutil.copytree(folder, folder.with_name("copy")))
        assert is_alive(folder) and not is_alive(copied)
    finally:
        end([folder])


def test_where_a_run_takes_several_processes_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "gpus", lambda: [{"name": "NVIDIA L4"}] * 2)
    launcher.prepare()
    assert standby.waiting_pid() is None


def test_two_looks_at_the_page_begin_one_process() -> None:
    launcher.prepare()
    first = standby.waiting_pid()
    launcher.prepare()
    assert standby.waiting_pid() == first


def test_one_that_died_is_replaced_and_its_run_trained_anyway(dataset: Dataset, tiny_base: Path) -> None:
    launcher.prepare()
    dead = standby.waiting_pid()
    assert dead
    psutil.Process(dead).kill()
    wait_for(lambda: not waits(dead))
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW))
    launcher.start(folder)
    assert pid(folder) != dead
    list(launcher.watch(folder))
    assert status(folder).state == "finished", status(folder).message


def test_what_began_in_another_environment_is_not_used(
    dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher.prepare()
    stale = standby.waiting_pid()
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW))
    launcher.start(folder)
    assert pid(folder) != stale and not waits(stale)
    list(launcher.watch(folder))
    assert status(folder).state == "finished", status(folder).message


def test_nobody_waits_while_a_run_trains(dataset: Dataset, tiny_base: Path) -> None:
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000}))
    launcher.start(folder)
    try:
        launcher.prepare()
        assert standby.waiting_pid() is None
    finally:
        end([folder])


def test_a_run_whose_libraries_come_in_another_order_begins_anew_in_the_same_process(
    dataset: Dataset, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Unsloth is installed beside a GPU, and this run needs it: it must be imported before Transformers. Because of
    `PYTHONPATH` the process that waits is started as anywhere else, and not forked (`tests/forks.py`)."""
    told = {"memory.free": "20000", "name,": "NVIDIA L4, 23034 MiB, 580.1, 8.9"}
    cases = "\n".join(f'*{asked}*) echo "{said}";;' for asked, said in told.items())
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\nesac\n')
    smi.chmod(0o755)
    (tmp_path / "unsloth.py").write_text("raise ImportError('There is no GPU here.')")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher.prepare()
    waiting = standby.waiting_pid()
    folder = create_run(dataset, tiny_settings(tiny_base, **FEW | {"max_steps": 100_000, "lora_dropout": 0.1}))
    launcher.start(folder)
    try:
        wait_for(lambda: any(e["type"] == "step" for e in read_events(folder)[0]))
        assert pid(folder) == waiting and is_alive(folder)
        assert psutil.Process(pid(folder)).cmdline()[-1] == str(folder.resolve())
        launcher.stop(folder)
        wait_for(lambda: not is_alive(folder))
        assert status(folder).state == "stopped"
    finally:
        end([folder])


def test_it_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = (
        "import time; from pathlib import Path; from pipeline.runs import launcher, standby;"
        f"launcher.prepare(); Path({str(told)!r}).write_text(str(standby.waiting_pid())); time.sleep(1000)"
    )
    with starting(code) as start:
        program = start()
        wait_for(lambda: told.is_file() and told.read_text())
        waiting = int(told.read_text())
        assert waits(waiting) and os.getsid(waiting) == waiting
        program.kill()
        wait_for(lambda: not waits(waiting))


def test_with_little_memory_none_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "ROOM_TO_WAIT", psutil.virtual_memory().total)
    launcher.prepare()
    assert standby.waiting_pid() is None
