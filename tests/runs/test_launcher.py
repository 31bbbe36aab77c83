"""The child process: it trains, stops, survives who started it, and its death is told. Real processes throughout."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from pipeline.dataset.store import Dataset
from pipeline.errors import RunError
from pipeline.files import PROJECT, read_json
from pipeline.models.embedded import EMBEDDED
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.folder import has_adapter
from pipeline.runs.manage import create_run
from pipeline.runs.settings import preset
from pipeline.runs.status import is_alive, running_run, status
from pipeline.training.plan.plan import plan_run
from tests.children import PATIENCE, end, pid, running, wait_for
from tests.tiny import tiny_settings

ENDLESS = 100_000
"""Steps that no test waits for."""


@pytest.fixture
def run(dataset: Dataset, tiny_base: Path) -> Iterator[Callable[..., Path]]:
    """Makes runs under `runs/`; a child that is left over is ended with the test."""
    made: list[Path] = []

    def make(**changes: Any) -> Path:
        made.append(create_run(dataset, tiny_settings(tiny_base, **{"probes": 0, "questions": 1, **changes})))
        return made[-1]

    yield make
    end(made)


def steps(folder: Path) -> list[dict[str, Any]]:
    return [e for e in read_events(folder)[0] if e["type"] == "step"]


def test_the_embedded_model_is_trained_in_a_child_with_the_planned_memory_and_its_weights_move(
    dataset: Dataset, real_processes: None
) -> None:
    settings = preset("quick", base_model=EMBEDDED, max_steps=2, probes=0, questions=2)
    planned = plan_run(settings, dataset.training(), gpu=False)
    folder = create_run(dataset, settings)
    launcher.start(folder)
    process = psutil.Process(pid(folder))
    assert process.pid != os.getpid() and process.environ()["WANDB_DISABLED"] == "true"
    for descriptor in (1, 2):
        assert os.readlink(f"/proc/{process.pid}/fd/{descriptor}") == str((folder / "train.log").resolve())
    seen = list(launcher.watch(folder))
    assert status(folder).state == "finished", status(folder).message
    assert seen == read_events(folder)[0]
    assert [e["step"] for e in steps(folder)] == [1, 2]
    assert planned.memory_bytes == pytest.approx(seen[-1]["peak_memory_bytes"], rel=0.15)
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    moved = [w.abs().max() for name, w in weights.items() if "lora_B" in name]  # LoRA's B begins at zero
    assert len(moved) == 30 * 7 and all(most > 0 for most in moved)
    answers = read_json(folder / "baseline.json")["questions"]
    assert len(answers) == 2 and all(a["base"]["raw"].strip() for a in answers)
    assert "Smoke answer" in (folder / "train.log").read_text(encoding="utf-8")


def test_stop_ends_after_a_step_with_a_usable_adapter(run: Callable[..., Path]) -> None:
    folder = run(max_steps=ENDLESS)
    launcher.start(folder)
    wait_for(lambda: steps(folder))
    assert running_run() == folder
    launcher.stop(folder)
    ended = list(launcher.watch(folder))[-1]
    assert (ended["type"], status(folder).state) == ("stopped", "stopped")
    assert 0 < ended["steps"] == steps(folder)[-1]["step"] < ENDLESS
    assert has_adapter(folder) and running_run() is None


def test_stop_before_the_first_step_leaves_no_adapter_and_says_so(run: Callable[..., Path]) -> None:
    folder = run(questions=500)
    launcher.start(folder)
    wait_for(lambda: read_events(folder)[0])
    launcher.stop(folder)
    list(launcher.watch(folder))
    assert status(folder).state == "stopped" and not has_adapter(folder)
    assert "before the first step" in status(folder).message


def test_one_run_at_a_time(run: Callable[..., Path]) -> None:
    first, second = run(max_steps=ENDLESS), run()
    launcher.start(first)
    for folder in (first, second):
        with pytest.raises(RunError, match=f"Run {first.name} is still training"):
            launcher.start(folder)
    assert not (second / "process.json").exists()


def test_a_run_survives_the_program_that_started_it(run: Callable[..., Path]) -> None:
    folder = run(max_steps=100)
    script = (
        "import sys; from pathlib import Path; from pipeline.runs import launcher; launcher.start(Path(sys.argv[1]))"
    )
    subprocess.run(running(script, folder), cwd=PROJECT, check=True, timeout=PATIENCE)
    assert is_alive(folder)
    assert os.getsid(pid(folder)) == pid(folder)  # closing a terminal does not reach it
    list(launcher.watch(folder))
    assert status(folder).state == "finished" and has_adapter(folder)


def test_a_killed_child_failed_and_leaves_no_process(run: Callable[..., Path]) -> None:
    folder = run(max_steps=ENDLESS)
    launcher.start(folder)
    wait_for(lambda: steps(folder))
    os.kill(pid(folder), signal.SIGKILL)
    list(launcher.watch(folder))
    wait_for(lambda: not psutil.pid_exists(pid(folder)))  # no zombie either
    wait_for(lambda: read_events(folder)[0][-1]["type"] == "failed")
    assert status(folder).state == "failed" and "was killed" in status(folder).message
    assert not has_adapter(folder)
    launcher.stop(folder)  # nothing to stop is no error
