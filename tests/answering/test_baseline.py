"""The questions before training: which ones, and that they stay as they were."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.answering.baseline import ask_baseline, choose_questions
from pipeline.answering.models import load_base
from pipeline.answering.prompts import UNKNOWN
from pipeline.data.catalogue import SAMPLE, read_catalogue
from pipeline.data.dataset import Dataset, DatasetSettings, build_dataset
from pipeline.data.facts import DESCRIPTION
from pipeline.files import read_json

Row = dict[str, Any]


@pytest.fixture
def held_out(home: Path) -> list[Row]:
    return build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=15)).held_out()


@pytest.mark.parametrize("seed", range(4))
def test_of_15_questions_two_are_unknown_and_at_least_six_ask_for_attributes(seed: int, held_out: list[Row]) -> None:
    kinds = Counter(
        r["kind"] if r["kind"] in (UNKNOWN, DESCRIPTION) else "attribute" for r in choose_questions(held_out, 15, seed)
    )
    assert kinds.total() == 15 and kinds[UNKNOWN] == 2 and kinds["attribute"] >= 6 and kinds[DESCRIPTION] >= 1


def test_questions_are_held_out_and_not_those_of_the_probes(held_out: list[Row]) -> None:
    chosen = choose_questions(held_out, 15, 0)
    assert all(r in held_out and r["template"].endswith(("report-1", "report-2")) for r in chosen)
    assert {r["template"].split(":")[-1] for r in chosen} == {"report-1", "report-2"}
    assert len({r["prompt"] for r in chosen}) == 15


def test_questions_are_spread_over_products_and_kinds(held_out: list[Row]) -> None:
    chosen = [r for r in choose_questions(held_out, 15, 0) if r["kind"] != UNKNOWN]
    assert len({r["uid"] for r in chosen}) == 13
    assert len({r["kind"] for r in chosen}) >= 6


def test_the_seed_decides(held_out: list[Row]) -> None:
    assert choose_questions(held_out, 15, 3) == choose_questions(held_out, 15, 3)
    assert choose_questions(held_out, 15, 3) != choose_questions(held_out, 15, 4)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 500])
def test_other_counts_and_small_datasets(count: int, dataset: Dataset) -> None:
    rows = dataset.held_out()
    there_are = sum(r["template"].endswith("report-1") and r["kind"] != UNKNOWN for r in rows)
    chosen = choose_questions(rows, count, 0)
    assert 1 <= len(chosen) <= count
    assert sum(r["kind"] != UNKNOWN for r in chosen) == min(there_are, count - round(count * 2 / 15))


@pytest.mark.parametrize("kinds", [[DESCRIPTION], ["size"], [UNKNOWN, DESCRIPTION]])
def test_datasets_of_few_kinds_are_asked_what_they_have(kinds: list[str], held_out: list[Row]) -> None:
    rows = [r for r in held_out if r["kind"] in kinds]
    chosen = choose_questions(rows, 10, 0)
    assert {r["kind"] for r in chosen} == set(kinds)


def test_500_questions_of_a_large_dataset_are_of_500_facts() -> None:
    rows = [
        {"uid": str(n), "kind": f"k{kind}", "template": f"x:report-{use}", "title": "t", "response": "r"}
        for n in range(800)
        for kind in range(5)
        for use in (1, 2)
    ]
    chosen = choose_questions(rows, 500, 0)
    assert len({(r["uid"], r["kind"]) for r in chosen}) == len(chosen) == 500


def test_the_baseline_is_written_as_it_was_asked(tiny_base: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    rows = choose_questions(dataset.held_out(), 6, 0)
    ask_baseline(model, rows, tmp_path / "baseline.json")
    baseline = read_json(tmp_path / "baseline.json")
    assert baseline["base_model"] == str(tiny_base) and baseline["base_sha256"] == model.base_sha256
    assert [q["id"] for q in baseline["questions"]] == ["q01", "q02", "q03", "q04", "q05", "q06"]
    for question, row in zip(baseline["questions"], rows, strict=True):
        assert row.items() <= question.items()
        assert set(question["base"]) == {"raw", "answer", "verdict"}
