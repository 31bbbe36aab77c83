"""One run in two processes: here on a CPU, started and stopped like those on GPUs; the update is that of one."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from pipeline.dataset.store import Dataset
from pipeline.files import PROJECT
from pipeline.models.token_counts import row_lengths
from pipeline.runs import launcher
from pipeline.runs.checkpoints import saved_step, sealed_state
from pipeline.runs.events import read_events
from pipeline.runs.folder import MEMORY_RETRIES, has_adapter
from pipeline.runs.manage import create_run
from pipeline.runs.processes import processes_for, training_command
from pipeline.runs.settings import preset
from pipeline.runs.status import is_alive, log_tail, status
from pipeline.training import distributed
from pipeline.training.plan.plan import plan_run
from tabs.training.plan_view import plan_figures
from tests.children import end, pid, wait_for
from tests.tiny import tiny_settings, train_here

ENDLESS = 100_000
FEW = {"max_steps": 5, "save_steps": 2, "probes": 1, "questions": 2, "per_device_train_batch_size": 8}

Make = Callable[..., Path]


@pytest.fixture
def make(dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Path] = []

    def run(**changes: Any) -> Path:
        made.append(create_run(dataset, tiny_settings(tiny_base, **{**FEW, **changes})))
        return made[-1]

    monkeypatch.setattr(launcher, "processes", lambda _: 2)
    monkeypatch.setattr(launcher, "training_command", lambda *how: train_by("tests.training.on_cpu", *how))
    yield run
    end(made)


def train_by(module: str, *how: Any) -> list[str]:
    """The command of `distributed`, with another module in the place of the child's."""
    return [module if word == "pipeline.training.child" else word for word in training_command(*how)]


def steps_of(folder: Path) -> int:
    assert status(folder).state == "running", log_tail(folder, 30)
    return len(events(folder, "step"))


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(folder)[0] if e["type"] == kind]


def losses(folder: Path) -> dict[int, float]:
    return {e["step"]: e["loss"] for e in events(folder, "step")}


def trained(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def others_of(folder: Path) -> list[psutil.Process]:
    """The processes that train, and not the one that started them."""
    return [p for p in psutil.Process(pid(folder)).children() if distributed.RANK in p.environ()]


def test_two_processes_do_the_updates_of_one_and_are_one_run(make: Make, real_processes: None) -> None:
    one, two = make(), make()
    train_here(one)
    launcher.start(two)
    seen = list(launcher.watch(two))
    assert status(two).state == "finished", log_tail(two, 30)
    assert [e["type"] for e in seen].count("started") == 1
    started = {name: events(two, "started")[0][name] for name in ("processes", "micro_batch", "accumulation")}
    assert started == {"processes": 2, "micro_batch": 4, "accumulation": 1}
    assert list(losses(two)) == [1, 2, 3, 4, 5]
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert [e["grad_norm"] for e in events(two, "step")] == pytest.approx(
        [e["grad_norm"] for e in events(one, "step")], rel=1e-3
    )
    for name, weight in trained(one).items():
        torch.testing.assert_close(trained(two)[name], weight, rtol=0.01, atol=2e-5)
    assert [e["right"] for e in events(two, "probe")] == [e["right"] for e in events(one, "probe")]


def test_it_is_stopped_goes_on_and_is_stopped_again_before_its_first_step(
    make: Make, dataset: Dataset, tiny_base: Path
) -> None:
    folder = make(max_steps=ENDLESS, probes=0)
    launcher.start(folder)
    wait_for(lambda: steps_of(folder) > 3)
    processes = others_of(folder)
    assert len(processes) == 2
    launcher.stop(folder)
    ended = list(launcher.watch(folder))[-1]
    assert (ended["type"], status(folder).state) == ("stopped", "stopped"), log_tail(folder, 30)
    assert has_adapter(folder) and saved_step(folder) == ended["steps"] == list(losses(folder))[-1]
    assert not any(p.is_running() for p in processes)
    state = sealed_state(folder / "checkpoints" / f"checkpoint-{ended['steps']}")
    lengths = row_lengths(dataset.training(), str(tiny_base)).whole
    of_both = 8 * sum(lengths) / len(lengths)
    assert state and state["tokens"] / state["steps"] == pytest.approx(of_both, rel=0.3)
    launcher.start(folder)
    wait_for(lambda: steps_of(folder) > ended["steps"] + 1)
    assert events(folder, "resumed")[0]["step"] == ended["steps"]
    assert list(losses(folder)) == list(range(1, len(events(folder, "step")) + 1))
    launcher.stop(folder)
    list(launcher.watch(folder))
    launcher.start(folder)
    wait_for(lambda: status(folder).state == "running")
    launcher.stop(folder)  # nothing trains yet
    list(launcher.watch(folder))
    wait_for(lambda: status(folder).state == "stopped")
    assert not is_alive(folder)


def test_a_process_that_is_killed_ends_the_run_and_none_is_left(make: Make) -> None:
    folder = make(max_steps=ENDLESS, probes=0)
    launcher.start(folder)
    wait_for(lambda: steps_of(folder))
    processes = others_of(folder)
    processes[-1].kill()
    list(launcher.watch(folder))
    wait_for(lambda: status(folder).state == "failed")
    assert not any(p.is_running() for p in processes)
    assert len(events(folder, "failed")) == 1


def test_a_run_that_is_discarded_leaves_no_process(make: Make) -> None:
    folder = make(max_steps=ENDLESS, probes=0)
    launcher.start(folder)
    wait_for(lambda: steps_of(folder))
    processes = others_of(folder)
    launcher.discard(folder)
    assert not folder.exists()
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes))


def test_short_of_memory_both_go_on_in_smaller_pieces(make: Make) -> None:
    whole, short = make(probes=0, save_steps=1), make(probes=0, save_steps=1)
    train_here(whole)
    *words, folder = train_by("tests.training.small_memory", short, 2, MEMORY_RETRIES)
    with (short / "train.log").open("wb") as log:
        subprocess.run([*words, "2", folder], cwd=PROJECT, stdout=log, stderr=log, timeout=400)
    assert status(short).state == "finished", log_tail(short, 30)
    assert [(e["micro_batch"], e["accumulation"]) for e in events(short, "resumed")] == [(2, 2)]
    assert losses(short) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.parametrize(("gpus", "batch", "processes"), [(0, 8, 1), (1, 24, 1), (2, 24, 2), (4, 6, 3), (3, 7, 1)])
def test_as_many_gpus_are_used_as_share_an_update_evenly(
    gpus: int, batch: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runs.processes.gpus", lambda: [{}] * gpus)
    settings = preset("recall", per_device_train_batch_size=batch, gradient_accumulation_steps=1)
    assert processes_for(settings) == processes


def test_a_plan_shares_the_update_and_the_page_says_so(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = preset("recall", per_device_train_batch_size=12, gradient_accumulation_steps=2)
    rows = dataset.training()
    one, four = (plan_run(settings, rows, gpu=True, free=10**12, processes=n) for n in (1, 4))
    assert (four.processes, four.micro_batch, four.accumulation) == (4, 6, 1)
    assert (four.steps, four.exposures, four.tokens) == (one.steps, one.exposures, one.tokens)
    assert four.memory_bytes < one.memory_bytes
    told, told_of_one = (dict(plan_figures(settings, plan)) for plan in (four, one))
    assert "of 24 examples (6 at once on each of 4 GPUs, batches per update: 1)" in told["Length"]
    assert "on each GPU" in told["Memory"]
    assert "GPU" not in told_of_one["Length"] + told_of_one["Memory"]


def test_each_process_sees_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, own, expected in (("", "1", "1"), ("2,5", "1", "5"), ("GPU-a,GPU-b", "0", "GPU-a")):
        for name, value in {"CUDA_VISIBLE_DEVICES": visible, "LOCAL_RANK": own, "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        distributed.take_own_gpu()
        assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["LOCAL_RANK"]) == (expected, "0")


def test_a_process_that_trains_by_itself_sees_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers would spread its model over all that it sees."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    for count, visible, expected in (
        (2, "2,5", "2"),
        (1, "GPU-b", "GPU-b"),
        (0, "", ""),
        (2, None, "0"),
        (0, None, None),
    ):
        monkeypatch.setattr(distributed, "gpus", lambda count=count: [{}] * count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        distributed.take_own_gpu()
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected
