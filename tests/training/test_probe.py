"""The recall check before the first step is the base's, whatever the kind of LoRA."""

from pathlib import Path

import pytest

from pipeline.answering.answers import ask_expecting
from pipeline.dataset.store import Dataset
from pipeline.models.loading import load_base
from pipeline.runs.events import read_events
from pipeline.runs.folder import CHECKPOINTS
from pipeline.training.distributed import Team
from pipeline.training.lora import add_lora
from pipeline.training.plan.plan import plan_run
from pipeline.training.watcher import PROBE_SPARE_TOKENS, Watcher, probe_rows
from tests.tiny import tiny_settings


@pytest.mark.parametrize("variant", ["lora", "pissa"])
def test_the_first_check_asks_the_true_base(variant: str, dataset: Dataset, tiny_base: Path, tmp_path: Path) -> None:
    """PiSSA takes its part out of the base, so that with the adapter off it is another one."""
    settings, model = tiny_settings(tiny_base, lora_variant=variant), load_base(str(tiny_base), precision="fp32")
    rows = probe_rows(dataset.held_out())[:4]
    asked = {"tuned": False, "spare_tokens": PROBE_SPARE_TOKENS, "on_progress": None}
    base = [answer["raw"] for answer in ask_expecting(model, rows, **asked)]
    (tmp_path / CHECKPOINTS).mkdir()
    add_lora(model, settings, tmp_path)
    off = [answer["raw"] for answer in ask_expecting(model, rows, **asked)]
    assert (off == base) == (variant == "lora")
    plan = plan_run(settings, dataset.training(), gpu=False)
    Watcher(tmp_path, model, rows, plan, settings, Team(cpu=True))._ask_probe(0)
    [told] = [event for event in read_events(tmp_path)[0] if event["type"] == "probe"]
    assert [answer["raw"] for answer in told["answers"]] == base
