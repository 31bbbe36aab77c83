"""The bases of the list: their sizes are those of the models, and the docs say the same as the page."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from pipeline.files import PROJECT
from pipeline.models import gpu as gpu_libraries
from pipeline.models.bases import GPU_BASE
from pipeline.models.config import LLAMA_3_8B, base_shape
from pipeline.models.embedded import EMBEDDED
from pipeline.models.family import EXTRACTIVE, SEQ2SEQ, family_of, family_of_base
from pipeline.models.layers import kinds_of
from pipeline.models.offered import OFFERED, SEQ2SEQ_BASE, Offered
from pipeline.runs.settings import preset, settings_for
from pipeline.training.plan.plan import least_bytes
from tabs.training.settings_form import base_choices

ALSO: dict[str, dict[str, Any]] = {
    "granitemoehybrid": {"layer_types": ["attention"] * 40, "num_local_experts": 0, "shared_intermediate_size": 8192},
    "phi3": {"pad_token_id": 0},
}


def built(one: Offered) -> Any:
    """The model without its weights."""
    kind = one.config["model_type"]
    sizes = {name: value for name, value in one.config.items() if name not in ("model_type", "quantization_config")}
    config = AutoConfig.for_model(kind, **sizes | ALSO.get(kind, {}))
    with torch.device("meta"):
        return family_of(config).auto_class.from_config(config)


@pytest.mark.parametrize("one", OFFERED, ids=lambda one: one.name)
def test_a_base_has_the_weights_that_its_shape_and_its_card_say(one: Offered) -> None:
    model, shape = built(one), base_shape(one.name)
    assert shape
    own_output = shape.vocabulary * shape.hidden if one.name == SEQ2SEQ_BASE else 0  # built, a T5 ties it
    weights = sum(p.numel() for p in model.parameters()) + one.beside + own_output
    assert shape.weights == pytest.approx(weights, rel=1e-3)
    assert weights == pytest.approx(one.weights * 1e9, rel=0.01)
    assert shape.linear_weights == sum(kind.weights for kind in kinds_of(model))


def test_the_default_on_a_gpu_is_what_it_was() -> None:
    assert base_shape(GPU_BASE) == LLAMA_3_8B


def test_the_list_has_each_once_with_its_memory_and_marks_what_is_gated() -> None:
    words = {name: words for words, name in base_choices()}
    assert len(words) == len(base_choices()) == len(OFFERED) + 1
    assert {family_of_base(name) for name in words} >= {EXTRACTIVE, SEQ2SEQ}
    for one in OFFERED:
        assert one.license in words[one.name] and one.size in words[one.name] and "trains " in words[one.name]
        assert ("gated" in words[one.name]) == one.gated
    here = [one for one in OFFERED if not one.needs_gpu]
    sizes = [least_bytes(preset("quick", base_model=one.name, precision="fp32"), gpu=False) for one in here]
    assert all(size and size > 4e9 * one.weights for size, one in zip(sizes, here, strict=True))


def test_the_docs_have_the_same_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_libraries, "find_spec", lambda name: name)  # what a machine with a GPU has
    lines = [line for line in (PROJECT / "docs" / "BASES.md").read_text().splitlines() if line.startswith("| `")]
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for one in OFFERED:
        row = next(row for row in told if row[0] == f"`{one.name}`")
        assert row[1:3] == [one.size, one.license + (", gated" if one.gated else "")]
        assert (row[3] == "–") == one.needs_gpu
        for cell, gpu in ((row[3], False), (row[4], True))[one.needs_gpu :]:
            settings = settings_for("recall" if gpu else "quick", one.name, precision="auto" if gpu else "fp32")
            needed = least_bytes(settings, gpu=gpu)
            assert needed and cell == f"{needed / 1e9:.1f} GB", (one.name, needed)
    assert EMBEDDED in lines[0]
