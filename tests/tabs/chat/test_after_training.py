"""The questions are asked by themselves once a training has ended, unless somebody else does or a training comes first."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.answering import run_model
from pipeline.dataset.build import Dataset
from pipeline.files import PROJECT, read_json, write_json
from pipeline.runs import launcher
from pipeline.runs.events import append_event
from pipeline.runs.manage import create_run
from pipeline.runs.status import is_alive
from tabs.chat import after_training, asking
from tests.children import end, wait_for
from tests.tiny import tiny_settings, train_here


@pytest.fixture
def run(dataset: Dataset, tiny_base: Path) -> Iterator[Path]:
    """A run that was made and not started."""
    folder = create_run(dataset, tiny_settings(tiny_base, questions=2))
    yield folder
    end([folder])
    run_model.unload()


def test_a_run_that_trained_here_is_asked_and_reported(run: Path, real_processes: None) -> None:
    due: dict[Path, None] = {}
    launcher.start(run)
    wait_for(lambda: is_alive(run))
    after_training._once(due)
    assert list(due) == [run] and not (run / "comparison.json").exists(), "nothing is asked while it trains"
    wait_for(lambda: not is_alive(run))
    after_training._once(due)
    assert len(read_json(run / "comparison.json")["questions"]) == 2
    assert "Before and after" in (run / "report.html").read_text(encoding="utf-8")
    assert due == {} and not after_training.is_unasked(run)


def test_a_run_that_another_program_waits_for_is_left_to_it(run: Path) -> None:
    waits = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; sys.stdin.read()', sys.argv[1]])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", waits, str(run.resolve())], stdin=subprocess.PIPE, cwd=PROJECT
    ) as other:
        children = f"/proc/{other.pid}/task/{other.pid}/children"
        wait_for(lambda: Path(children).read_text().split())
        write_json(run / "process.json", {"pid": int(Path(children).read_text().split()[0])})
        append_event(run, "started", steps=6)
        due: dict[Path, None] = {}
        wait_for(lambda: is_alive(run))
        after_training._once(due)
        assert due == {}
        assert other.stdin
        other.stdin.close()


def test_what_was_answered_is_kept_when_the_next_training_begins(
    run: Path, dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_here(run) == 0
    following = create_run(dataset, tiny_settings(tiny_base))
    monkeypatch.setattr(after_training, "running_run", lambda: following)
    asking.run_questions(run, after_training.give_way)
    everything = read_json(run / "everything.json")["summary"]
    assert not everything["whole"] and (run / "report.html").is_file()


def test_a_stopped_comparison_is_not_begun_again(run: Path) -> None:
    assert train_here(run) == 0
    assert after_training.is_unasked(run)
    asked = threading.Event()

    def stop_at_once(done: int, total: int) -> None:
        assert asking.is_comparing(run)
        asking.stop_comparing()
        asked.set()

    asking.run_questions(run, stop_at_once)
    assert asked.is_set() and not asking.is_comparing(run) and not after_training.is_unasked(run)


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, after_training.OFF, "0")
    assert after_training.attend() is None
