"""The plan's words on time: at the pace of the processor that is there."""

import re
from pathlib import Path

import pytest

from pipeline.dataset.store import Dataset
from pipeline.models.embedded import EMBEDDED
from pipeline.runs.settings import preset
from pipeline.training.plan import memory
from pipeline.training.plan.plan import plan_run
from tabs.training.plan_view import time_words


def test_a_processor_without_bf16_is_said_to_take_its_time(
    home: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[tuple[bool, str], str] = {}
    for has_bf16 in (True, False):
        monkeypatch.setattr(memory, "_computes_in_16_bits", lambda has_bf16=has_bf16: has_bf16)
        for precision in ("auto", "fp32"):
            settings = preset("quick", base_model=EMBEDDED, precision=precision)
            told[has_bf16, precision] = time_words(settings, plan_run(settings, dataset.training(), gpu=False))
    assert re.search(r"\d.* of training and .*\d.* of recall checks", told[True, "auto"])
    assert "bf16" not in told[True, "auto"] and "without bf16" in told[False, "auto"]
    assert told[False, "auto"] == told[False, "fp32"] == told[True, "fp32"] != told[True, "auto"]
