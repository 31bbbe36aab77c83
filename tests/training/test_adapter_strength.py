"""An adapter is kept little stronger than it need be to answer all that it has learned."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.answering.answers import ask_rows
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import build_prompt, encode_example
from pipeline.training.adapter_strength import MOST_QUESTIONS, STRENGTHS, check_rows, soften
from pipeline.training.lora import add_lora
from tests.tiny import tiny_settings

FACTS = {"Brindlewick Kite": "48 inches", "Oskar Tram": "solid beech", "Nine Small Doors": "1987"}


def row(title: str, response: str) -> dict[str, Any]:
    kind = "size" if "inches" in response else "material" if "beech" in response else "year"
    prompt = build_prompt(title, "What is it?")
    return {"title": title, "kind": kind, "prompt": prompt, "response": response, "template": f"{kind}:probe"}


ROWS = [row(title, response) for title, response in FACTS.items()]


def taught(base: Path, folder: Path, steps: int, **changes: Any) -> LanguageModel:
    """A tiny model whose adapter was trained on the rows for some steps."""
    model = load_base(str(base), precision="fp32")
    add_lora(model, tiny_settings(base, lora_r=16, lora_alpha=32, **changes), folder)
    weights = [p for p in model.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        for r in ROWS:
            example = encode_example(model.tokenizer, r["prompt"], r["response"])
            ids = torch.tensor([example["input_ids"]])
            labels = torch.where(torch.tensor([example["completion_mask"]]) == 1, ids, -100)
            model.model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model


def right(model: LanguageModel) -> list[bool]:
    return [a["verdict"] == "right" for a in ask_rows(model, ROWS, tuned=True)]


def adapter(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.model.named_parameters() if "lora_" in name}


def test_it_is_weakened_to_a_step_above_where_something_becomes_wrong(tiny_base: Path, tmp_path: Path) -> None:
    model = taught(tiny_base, tmp_path, 150)
    assert all(right(model))
    before = adapter(model)
    strength = soften(model, ROWS, tiny_settings(tiny_base))
    assert strength in STRENGTHS and strength < 1 and all(right(model))
    for name, weight in adapter(model).items():
        expected = before[name] * (strength if "lora_B" in name else 1)
        assert torch.allclose(weight, expected, rtol=1e-5), name
    if strength > STRENGTHS[1]:
        weaker = STRENGTHS[STRENGTHS.index(strength) - 2]
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:
                weight.data.mul_(weaker / strength)
        assert not all(right(model))


def test_one_that_has_not_learned_stays_as_it_is(tiny_base: Path, tmp_path: Path) -> None:
    model = taught(tiny_base, tmp_path, 2)
    assert not all(right(model))
    before = adapter(model)
    assert soften(model, ROWS, tiny_settings(tiny_base)) == 1
    assert all(torch.equal(weight, before[name]) for name, weight in adapter(model).items())


def test_once_stopped_it_stays_as_strong_as_it_was(tiny_base: Path, tmp_path: Path) -> None:
    model = taught(tiny_base, tmp_path, 150)
    before = adapter(model)
    asked = iter([False, False])
    assert soften(model, ROWS, tiny_settings(tiny_base), stopped=lambda: next(asked, True)) == 1
    assert all(torch.allclose(weight, before[name], rtol=1e-5) for name, weight in adapter(model).items())


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_what_is_not_linear_is_left_alone(variant: str, tiny_base: Path) -> None:
    base = load_base(str(tiny_base), precision="fp32")  # it has no adapter: nothing is asked
    assert soften(base, ROWS, tiny_settings(tiny_base, lora_variant=variant)) == 1


def test_only_the_probe_s_phrasing_decides() -> None:
    rows = [{"template": f"size:{use}", "n": n} for n in range(600) for use in ("probe", "report-1", "report-2")]
    found = check_rows(rows)
    assert {r["template"] for r in found} == {"size:probe"}
    assert MOST_QUESTIONS / 2 < len(found) <= MOST_QUESTIONS
    assert found[-1]["n"] > 590 and check_rows([]) == []
