"""Grids, and the queue: real processes that train one after another, whoever attends to them and however often."""

import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.store import Dataset
from pipeline.errors import PipelineError, RunError, SettingsError
from pipeline.runs import events, launcher, manage
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import list_runs, read_settings
from pipeline.runs.manage import create_run, delete_run
from pipeline.runs.queue import cancel_queue, enqueue, queued_runs, start_next
from pipeline.runs.settings import TrainingSettings, preset
from pipeline.runs.status import is_alive, status
from pipeline.runs.sweep import MOST_RUNS, SWEPT, grid, read_values, start_sweep, sweeps
from tests.children import end, starting, wait_for
from tests.tiny import tiny_settings

ATTEND = "from pipeline.runs import queue; queue.attend(seconds=0.05).join()"


@pytest.fixture
def tiny(tiny_base: Path, home: Path) -> Iterator[TrainingSettings]:
    """Settings of a run of two steps; children that are left over are ended with the test."""
    yield tiny_settings(tiny_base, max_steps=2, probes=1, questions=1)
    end(list_runs())


@pytest.fixture
def attendant() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts processes that attend to the queue, as the app does; they are ended with the test."""
    with starting(ATTEND) as start:
        yield start


def states(folders: list[Path]) -> list[str]:
    return [status(folder).state for folder in folders]


def all_ended(folders: list[Path]) -> bool:
    return all(state in events.ENDINGS for state in states(folders)) and not any(map(is_alive, folders))


def span(folder: Path) -> tuple[datetime, datetime]:
    """When a run began and ended."""
    times = [datetime.fromisoformat(event["time"]) for event in read_events(folder)[0]]
    return times[0], times[-1]


# --- The grid ---


def test_every_combination_is_a_run_with_the_other_settings_kept() -> None:
    trials = grid(preset("quick", seed=5), {"learning_rate": [1e-4, 1e-3], "lora_r": [8, 16, 32]})
    assert [(t.learning_rate, t.lora_r) for _, t in trials] == [
        (1e-4, 8), (1e-4, 16), (1e-4, 32), (1e-3, 8), (1e-3, 16), (1e-3, 32)
    ]  # fmt: skip
    assert all(t == preset("quick", seed=5, **values) for values, t in trials)


def test_values_are_read_as_typed_and_each_is_taken_once() -> None:
    assert read_values("learning_rate", " 1e-4, 0.001;1e-3\n") == [1e-4, 1e-3]
    assert read_values("lora_r", "8,16,") == [8, 16]
    assert read_values("lora_variant", "lora, dora") == ["lora", "dora"]
    assert set(SWEPT) <= set(preset("quick").as_dict())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("target_modules", "a", "Several values of target_modules cannot be tried"),
        ("../x", "1", "cannot be tried"),
        ("lora_r", " , ", "There is no value of lora_r to try"),
        ("lora_r", "8, many", "lora_r is 'many'; it must be a whole number."),
    ],
)
def test_values_that_cannot_be_tried_are_a_sentence(name: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_values(name, text)


@pytest.mark.parametrize(
    ("tried", "changes", "said"),
    [
        ({}, {}, "That would be 1 runs"),
        ({"seed": list(range(MOST_RUNS + 1))}, {}, "That would be 13 runs; try 1 to 12 at once"),
        ({"seed": list(range(4)), "lora_r": list(range(1, 5))}, {}, "That would be 16 runs"),
        ({"lora_r": [8, 0]}, {}, "lora_r is 0"),
        ({"seed": [1, 2]}, {"probes": 0}, "Without recall checks"),
    ],
)
def test_a_grid_that_cannot_work_makes_no_run(
    tried: dict[str, list[Any]], changes: dict[str, Any], said: str, dataset: Dataset
) -> None:
    with pytest.raises(SettingsError, match=said):
        start_sweep(dataset, preset("quick", **changes), tried)
    assert list_runs() == []


def test_a_sweep_that_fails_half_way_leaves_no_run(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([None, None, OSError(28, "No space left on device")])

    def disk(*_: Any) -> None:
        if error := next(calls):
            raise error

    monkeypatch.setattr(manage, "check_room", disk)
    with pytest.raises((OSError, PipelineError)):
        start_sweep(dataset, preset("quick"), {"seed": [1, 2, 3]})
    assert list_runs() == [] and sweeps() == {}


# --- The queue ---


def test_a_sweep_s_runs_wait_in_the_order_of_the_grid(dataset: Dataset) -> None:
    first = start_sweep(dataset, preset("quick"), {"lora_r": [8, 16], "learning_rate": [1e-3]})
    second = start_sweep(dataset, preset("quick"), {"lora_r": [8], "learning_rate": [1e-3]})
    assert [f.name for f in queued_runs()] == [
        "lora_r 8 learning_rate 0.001", "lora_r 16 learning_rate 0.001", "lora_r 8 learning_rate 0.001-2"
    ]  # fmt: skip
    found = sweeps()
    assert set(found) == {first, second}
    assert [t.values for t in found[first]] == [
        {"lora_r": 8, "learning_rate": 1e-3},
        {"lora_r": 16, "learning_rate": 1e-3},
    ]
    assert set(states(list_runs())) == {"queued"}
    assert [read_settings(t.folder).lora_r for t in found[first]] == [8, 16]


def test_a_cancelled_queue_leaves_out_what_has_not_begun(dataset: Dataset) -> None:
    start_sweep(dataset, preset("quick"), {"lora_r": [8, 16]})
    assert cancel_queue() == 2
    assert queued_runs() == [] and start_next() is None and set(states(list_runs())) == {"new"}
    assert cancel_queue() == 0


def test_a_deleted_run_waits_no_more_and_one_that_has_begun_is_not_queued_again(dataset: Dataset) -> None:
    one, two = create_run(dataset, preset("quick")), create_run(dataset, preset("quick"))
    enqueue(one)
    enqueue(two)
    enqueue(one)  # keeps its place
    assert queued_runs() == [one, two]
    delete_run(one)
    assert queued_runs() == [two]
    append_event(two, "finished")
    with pytest.raises(RunError, match="has begun already; duplicate it"):
        enqueue(two)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"sweep": 1}', '{"sweep": "x", "number": "y", "values": {}}',
                                  '{"sweep": "x", "number": 1, "values": []}', "\udcff"])  # fmt: skip
def test_a_damaged_record_belongs_to_no_sweep(text: str, dataset: Dataset) -> None:
    folder = create_run(dataset, preset("quick"))
    (folder / "sweep.json").write_bytes(text.encode(errors="surrogateescape"))
    (folder / "queued").write_bytes(b"\xff")
    assert sweeps() == {} and queued_runs() == [folder]


def test_a_sweep_trains_one_after_another_and_a_failed_run_does_not_stop_it(
    dataset: Dataset, tiny: TrainingSettings, attendant: Callable[[], subprocess.Popen[bytes]]
) -> None:
    name = start_sweep(dataset, tiny, {"lora_r": [4, 8], "seed": [1]})
    broken = create_run(dataset, preset("quick", base_model="/no/such/folder"))
    last = create_run(dataset, tiny)
    enqueue(broken)
    enqueue(last)
    folders = [*(trial.folder for trial in sweeps()[name]), broken, last]
    for _ in range(3):  # whoever opens the page twice, or starts the app twice, starts nothing twice
        attendant()
    wait_for(lambda: all_ended(folders))
    assert states(folders) == ["finished", "finished", "failed", "finished"]
    assert "There is no folder /no/such/folder" in status(broken).message
    spans = [span(folder) for folder in folders]
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(spans))
    assert all([e["type"] for e in read_events(f)[0]].count("started") == 1 for f in folders if f != broken)
    assert queued_runs() == [] and not list(Path(folders[0].parent).glob("*/queued"))


def test_the_queue_survives_whoever_attends_to_it(
    dataset: Dataset, tiny: TrainingSettings, attendant: Callable[[], subprocess.Popen[bytes]]
) -> None:
    name = start_sweep(dataset, tiny, {"seed": [1, 2]})
    one, two = (trial.folder for trial in sweeps()[name])
    first = attendant()
    wait_for(lambda: is_alive(one))
    first.kill()
    first.wait()
    assert states([two]) == ["queued"]
    attendant()  # the first run is not this one's child, and still the second waits for its end
    wait_for(lambda: all_ended([one, two]))
    assert states([one, two]) == ["finished", "finished"] and span(one)[1] <= span(two)[0]


def test_a_run_begun_by_hand_goes_first_and_the_queue_goes_on_after_it(
    dataset: Dataset, tiny: TrainingSettings
) -> None:
    mine, waits = create_run(dataset, tiny), create_run(dataset, tiny)
    enqueue(waits)
    launcher.start(mine)
    asked: list[Path] = []

    @contextmanager
    def room(folder: Path) -> Iterator[None]:
        assert states([folder]) == ["queued"]
        yield
        assert states([folder]) != ["queued"]  # it has begun before another may want the memory
        asked.append(folder)

    assert start_next(room) is None and asked == []
    list(launcher.watch(mine))
    wait_for(lambda: start_next(room) == waits)
    assert asked == [waits]
    list(launcher.watch(waits))
    assert states([mine, waits]) == ["finished", "finished"]


def test_of_starts_at_one_moment_one_wins(dataset: Dataset, tiny: TrainingSettings) -> None:
    folders = [create_run(dataset, tiny) for _ in range(4)]
    refused: list[str] = []

    def start(folder: Path) -> None:
        try:
            launcher.start(folder)
        except RunError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3 and sum((f / "process.json").exists() for f in folders) == 1
    wait_for(lambda: not any(map(is_alive, folders)))
