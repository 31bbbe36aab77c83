"""Fewer threads on a processor that others want too."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from pipeline.training import threads
from pipeline.training.threads import ThreadsToFit
from tests.children import wait_for


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "LOOK_SECONDS", 0.2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_beside_busy_programs_one_thread_is_left_and_later_all_are_tried_again(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting, numbers = ThreadsToFit(), torch.ones(600, 600)

    def a_step() -> int:
        fitting.on_step_begin()
        for _ in range(20):
            numbers @ numbers
        return torch.get_num_threads()

    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 2))]
    try:
        wait_for(lambda: a_step() == 1)
    finally:
        for other in others:
            other.kill()
            other.wait()
    monkeypatch.setattr(threads, "TRY_AGAIN_SECONDS", 0.5)
    wait_for(lambda: a_step() == 2)


def test_one_thread_stays_one(two_threads: None) -> None:
    torch.set_num_threads(1)
    fitting = ThreadsToFit()
    for _ in range(50):
        fitting.on_step_begin()
    assert torch.get_num_threads() == 1
