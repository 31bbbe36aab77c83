"""A run that the memory was not enough for keeps the user's update, whatever it goes on with."""

from pathlib import Path

import pytest

from pipeline.runs.events import append_event
from pipeline.runs.folder import MEMORY_SPLIT
from pipeline.runs.settings import preset
from pipeline.training.out_of_memory import split_as_before
from pipeline.training.plan.plan import plan_run

ROWS = [{"uid": "1", "kind": "size", "prompt": "p" * 60, "response": "r" * 20}] * 48


@pytest.mark.parametrize(("splits", "processes"), [([12], 1), ([12, 6], 3), ([6], 3), ([5], 2), ([12, 6], 4), ([1], 3)])
def test_a_run_split_for_memory_keeps_its_update_on_other_hardware(
    splits: list[int], processes: int, tmp_path: Path
) -> None:
    for split in splits:
        append_event(tmp_path, "message", text="The memory was not enough", **{MEMORY_SPLIT: split})
    settings = preset("recall", per_device_train_batch_size=24)
    planned = plan_run(settings, ROWS, gpu=True, free=10**12, processes=processes)
    plan = split_as_before(tmp_path, planned)
    assert plan.processes * plan.micro_batch * plan.accumulation == 24
    assert plan.micro_batch <= splits[-1]
