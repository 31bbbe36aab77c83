"""The questions before training: which ones, and that they stay as they were."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pipeline.answering.baseline import (
    ask_baseline,
    change_question,
    choose_questions,
    is_as_frozen,
    read_baseline,
    restore_question,
)
from pipeline.answering.comparison import compare, questions_now
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.run_model import load_run, unload
from pipeline.answering.scoring import verdict
from pipeline.answering.speaker import taught_rows
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.customers import STYLE
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.errors import PipelineError, RunError
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import HELD_OUT
from pipeline.files import read_json, write_json
from pipeline.models.loading import load_base
from pipeline.prompts import NO_FACT, REFUSAL, REVERSE, SILENT, UNKNOWN, build_prompt, encode_example
from pipeline.runs.folder import run_dataset
from pipeline.training.watcher import probe_rows
from tests.tiny import PHRASING

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
    uses = {r["template"].split(":")[-1] for r in chosen}
    assert all(r in held_out for r in chosen) and uses >= {"report-1", "report-2"}
    assert any(use.startswith(STYLE) for use in uses) and "probe" not in uses
    assert sum(r["kind"] == SILENT for r in chosen) == 2
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
    there_are = len({(r["uid"], r["kind"]) for r in rows if r["kind"] not in NO_FACT})
    silent = min(round(count * 2 / 15), len({r["uid"] for r in rows if r["kind"] == SILENT}))
    chosen = choose_questions(rows, count, 0)
    assert 1 <= len(chosen) <= count
    assert sum(r["kind"] == SILENT for r in chosen) == silent
    assert sum(r["kind"] not in NO_FACT for r in chosen) == min(there_are, count - round(count * 2 / 15) - silent)


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
    ask_baseline(model, rows, tmp_path / "baseline.json", {"seed": 0})
    baseline = read_json(tmp_path / "baseline.json")
    assert baseline["base_model"] == str(tiny_base) and baseline["base_sha256"] == model.base_sha256
    assert [q["id"] for q in baseline["questions"]] == ["q01", "q02", "q03", "q04", "q05", "q06"]
    for question, row in zip(baseline["questions"], rows, strict=True):
        assert row.items() <= question.items()
        assert set(question["base"]) == {"raw", "answer", "verdict"}


# --- A question that is changed afterwards ---


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be written to."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_a_changed_question_waits_to_be_asked_and_the_frozen_one_can_be_had_back(run: Path) -> None:
    frozen = read_baseline(run)["questions"]
    product, other = run_dataset(run).manifest["products"][:2]
    fact = next(f for f in run_dataset(run).manifest["facts"] if f["title"] == other["title"])
    new = change_question(run, "q01", f"  What is {product['title']}? ")
    assert (new["title"], new["uid"], new["base"]) == (product["title"], product["uid"], None)
    assert new["response"] in product["content"] and new["frozen"] == frozen[0]
    assert new["prompt"] == build_prompt(product["title"], f"What is {product['title']}?")
    again = change_question(run, "q01", HELD_OUT[fact["kind"]][1].replace("{title}", "it"), other["title"])
    assert (again["title"], again["kind"], again["response"]) == (other["title"], fact["kind"], fact["value"])
    assert again["frozen"] == frozen[0]
    assert read_baseline(run)["questions"][1:] == frozen[1:] and is_as_frozen(run)
    restore_question(run, "q01")
    assert read_baseline(run)["questions"] == frozen
    assert restore_question(run, "q01") == frozen[0]  # nothing to restore


@pytest.mark.parametrize(
    ("question", "title", "expected", "kind", "response"),
    [
        ("What is the Zorblax 3000?", "Zorblax 3000", "", UNKNOWN, REFUSAL),
        ("What colour is the sky?", "", "Blue", "colour", "Blue"),
        ("Who are you?", "", "I don't know this product.", UNKNOWN, REFUSAL),
        ("How many pieces does it have?", "Zorblax 3000", " 308\npieces ", "pieces", "308 pieces"),
    ],
)
def test_what_is_expected_is_the_catalogue_s_or_one_s_own(
    question: str, title: str, expected: str, kind: str, response: str, run: Path
) -> None:
    changed = change_question(run, "q02", question, title, expected)
    assert (changed["kind"], changed["response"]) == (kind, response)


@pytest.mark.parametrize(
    ("number", "question", "title", "expected", "said"),
    [
        ("q01", " ", "", "x", "The question is empty"),
        ("q01", "why " * 3000, "", "x", "ask it shorter"),
        ("q01", "What?", "t" * 5000, "x", "The title has"),
        ("q01", "How tall is Mount Everest?", "", "", "type the expected answer"),
        ("q01", "What?", "", "x" * 2000, "the most is 1,000"),
        ("q99", "What?", "", "x", "has no question q99"),
    ],
)
def test_a_change_that_cannot_be_asked_leaves_all_as_it_was(
    number: str, question: str, title: str, expected: str, said: str, run: Path
) -> None:
    before = read_baseline(run)
    with pytest.raises(PipelineError, match=said):
        change_question(run, number, question, title, expected)
    assert read_baseline(run) == before


def test_frozen_questions_that_were_changed_by_hand_are_noticed(run: Path) -> None:
    baseline = read_baseline(run)
    assert len(baseline["sha256"]) == 64 and is_as_frozen(run)
    baseline["questions"][0]["response"] = "What the tuned model says."
    write_json(run / "baseline.json", baseline)
    assert not is_as_frozen(run)


def test_a_changed_question_is_asked_of_both_sides_with_the_next_comparison(run: Path) -> None:
    model, _ = load_run(run)
    before = compare(model, run)
    now = questions_now(run, before)
    assert [{n: v for n, v in q.items() if n != "is_changed"} for q in now] == before["questions"]
    change_question(run, "q02", "What is the Zorblax 3000?", "Zorblax 3000")
    waiting = questions_now(run, before)
    assert (waiting[1]["question"], waiting[1]["change"]) == ("What is the Zorblax 3000?", "unasked")
    assert waiting[1]["base"] is None and waiting[1]["tuned"] is None and waiting[1]["is_changed"]
    assert waiting[0] == now[0]
    after = compare(model, run)
    unload()
    assert after["questions"][1]["question"] == "What is the Zorblax 3000?"
    assert set(after["questions"][1]["base"]) == set(after["questions"][1]["tuned"]) == {"raw", "answer", "verdict"}
    assert read_baseline(run)["questions"][1]["base"] == after["questions"][1]["base"]
    assert after["questions"][0] == before["questions"][0]
    assert [q["change"] for q in questions_now(run, after)] == [q["change"] for q in after["questions"]]
    restore_question(run, "q02")
    assert questions_now(run, after)[1]["change"] == "unasked"


def test_an_expected_answer_of_one_s_own_judges_both_sides(run: Path) -> None:
    model, _ = load_run(run)
    asked = [q for q in compare(model, run)["questions"] if q["fact_kind"] not in NO_FACT]
    first = next(q for q in asked if q["tuned"]["answer"] and q["tuned"]["verdict"] != "right")
    change_question(run, first["id"], first["question"], first["title"], first["tuned"]["answer"])
    compared = next(q for q in compare(model, run)["questions"] if q["id"] == first["id"])
    unload()
    expected = verdict(first["fact_kind"], compared["tuned"]["answer"], compared["expected"])
    assert compared["expected"] == " ".join(first["tuned"]["answer"].split())
    assert compared["tuned"]["verdict"] == expected != first["tuned"]["verdict"]


def test_half_a_character_in_what_is_expected_is_left_out(run: Path) -> None:
    assert change_question(run, "q01", "What?", "", "Blue \ud800 sky")["response"] == "Blue sky"


def test_a_run_that_is_renamed_while_it_is_asked_leaves_no_ghost(run: Path) -> None:
    model, _ = load_run(run)
    with pytest.raises(RunError, match="was renamed or deleted while it was asked"):
        compare(model, run, on_progress=lambda done, of: run.rename(run.with_name("other")) if done == of else None)
    unload()
    assert not run.exists() or not list(run.iterdir())


# --- Statements, reverse questions, and kinds that only an API knows ---


def test_a_fact_is_taught_by_its_own_rows_alone(tiny_base: Path, written_dataset: Dataset) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    training, held_out = written_dataset.training(), written_dataset.held_out()
    taught = taught_rows(tokenizer, training, held_out, 10_000)
    assert taught == held_out and {r["kind"] for r in taught} >= {"mood", "material", UNKNOWN}
    assert not {r["kind"] for r in taught} & {REVERSE}
    # A reverse question about a size does not teach the size.
    reverse = [r for r in training if r["kind"] in NO_FACT]
    assert {r["kind"] for r in taught_rows(tokenizer, reverse, held_out, 10_000)} == {UNKNOWN, SILENT}
    # Where only the statement is too long, the fact is taught all the same.
    plain = [r for r in training if ":statement-" not in r["template"]]
    longest = max(len(encode_example(tokenizer, r["prompt"], r["response"])["input_ids"]) for r in plain)
    assert taught_rows(tokenizer, training, held_out, longest) == held_out


@pytest.mark.parametrize("seed", range(5))
def test_questions_of_a_written_dataset_are_about_facts_and_unknown_products(
    written_dataset: Dataset, seed: int
) -> None:
    chosen = choose_questions(written_dataset.held_out(), 15, seed)
    assert {r["kind"] for r in chosen} >= {"mood", UNKNOWN} and REVERSE not in {r["kind"] for r in chosen}
    assert len({(r["uid"], r["title"], r["kind"]) for r in chosen}) == len(chosen)
    assert all(r["kind"] != UNKNOWN for r in probe_rows(written_dataset.held_out()))


def test_every_question_of_a_written_dataset_is_asked_as_it_was_taught(written_dataset: Dataset) -> None:
    taught = TaughtProducts(written_dataset.manifest)
    rows = [r for r in (*written_dataset.training(), *written_dataset.held_out()) if ":statement-" not in r["template"]]
    for row in rows:
        if row["kind"] == REVERSE:
            asked = taught.ask(row["question"])
            assert (asked.prompt, asked.expected) == (row["prompt"], None)
        elif row["kind"] not in NO_FACT:
            asked = taught.ask(row["question"], row["title"])
            assert asked.prompt == row["prompt"]
            if PHRASING.search(row["template"]):
                assert (asked.kind, asked.expected) == (row["kind"], row["response"])
