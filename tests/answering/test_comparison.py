"""Before and after: the comparison's contract, what was fixed and what broke, and recall over every fact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from pipeline.answering import comparison as module
from pipeline.answering.comparison import compare, training_numbers
from pipeline.answering.everything import FACTS, STYLED, report_rows
from pipeline.answering.general import forgetting, general_verdict
from pipeline.answering.renewed import renew
from pipeline.answering.report import ways_in_lines
from pipeline.answering.run_model import load_run, unload
from pipeline.answering.scoring import verdict
from pipeline.answering.speaker import Speaker
from pipeline.answering.ways import AUTO, BASE, CLOSED, EXTRACTIVE, WAYS
from pipeline.answering.which_way import counted_of, sentence
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.errors import RunError
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import read_json, write_json
from pipeline.models.language_model import LanguageModel
from pipeline.prompts import NO_FACT, REFUSAL, SILENCE, SILENT, UNKNOWN, encode_example
from pipeline.runs.events import append_event
from pipeline.runs.folder import run_dataset
from tests.tiny import ROWS, write_catalogue

Row = dict[str, Any]
Answers = Callable[[Row], str]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be written to."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def speaker(tokenizer: Any) -> Speaker:
    """Who can encode a question, and answers none."""
    return Speaker(SimpleNamespace(tokenizer=tokenizer))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def answering(run: Path, speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], Row]:
    """Compares with a tuned model that answers as told."""

    def with_answers(answers: Answers, **options: Any) -> Row:
        def ask_rows(_: Any, rows: list[Row], *, tuned: bool, on_progress: Any = None) -> list[Row]:
            assert tuned and len({r["prompt"] for r in rows}) == len(rows)
            said = [answers(r) for r in rows]
            scored = [verdict(r["kind"], a, r["response"]) for r, a in zip(rows, said, strict=True)]
            return [{"raw": a, "answer": a, "verdict": v} for a, v in zip(said, scored, strict=True)]

        def ask_general(_: Any, *, tuned: bool, on_progress: Any = None) -> list[Row]:
            return [{"question": "?", "expected": "", "raw": "", "answer": "", "verdict": "wrong"}] * 3

        monkeypatch.setattr(module, "ask_rows", ask_rows)
        monkeypatch.setattr(module, "ask_expecting", ask_rows)
        monkeypatch.setattr(module, "ask_general", ask_general)
        monkeypatch.setattr(module, "_by_way", lambda *_: {})  # which would ask the model that is not there
        return compare(speaker, run, **options)

    return with_answers


def set_base(run: Path, *verdicts: str) -> None:
    """Change the frozen verdicts of the base."""
    baseline = read_json(run / "baseline.json")
    for question, base in zip(baseline["questions"], verdicts, strict=False):
        question["base"]["verdict"] = base
    write_json(run / "baseline.json", baseline)


def test_the_file_has_exactly_the_contract_s_keys(run: Path) -> None:
    model, _ = load_run(run)
    returned = compare(model, run)
    unload()
    found = read_json(run / "comparison.json")
    assert found == json.loads(json.dumps(returned))
    assert list(found) == ["base_model", "base_sha256", "adapter", "questions", "summary", "training", "ways"]
    assert found["base_model"] == read_json(run / "settings.json")["base_model"] and found["adapter"] == "adapter"
    assert len(found["base_sha256"]) == 64
    keys = ["id", "kind", "fact_kind", "uid", "title", "question", "expected", "base", "tuned", "change"]
    for q in found["questions"]:
        assert list(q) == keys
        assert all(isinstance(q[k], str) for k in keys if k not in ("base", "tuned"))
        assert q["kind"] in ("attribute", "description", "unknown") and q["change"] in ("fixed", "broken", "same")
        for side in (q["base"], q["tuned"]):
            assert set(side) == {"raw", "answer", "verdict"} and all(isinstance(v, str) for v in side.values())
            assert side["verdict"] in ("right", "partial", "wrong", "invented", "nothing_found")
            assert (side["verdict"] == "nothing_found") == (side["answer"] == "")
    assert list(found["summary"]) == ["base_right", "tuned_right", "total", "recall", "facts"]
    assert list(found["training"]) == [
        "steps", "first_loss", "last_loss", "seconds", "probe_seconds", "tokens_per_second", "peak_memory_bytes"
    ]  # fmt: skip
    assert all(isinstance(v, int | float) for v in [*found["training"].values(), *found["summary"].values()])


def test_the_questions_and_what_was_taught_are_counted_by_way(run: Path) -> None:
    compare(load_run(run)[0], run)
    unload()
    found, everything = read_json(run / "comparison.json"), read_json(run / "everything.json")
    questions, taught = (counted_of(found, name) for name in ("questions", "everything"))
    assert [one.way for one in questions] == list(WAYS) and [one.way for one in taught] == [CLOSED, EXTRACTIVE, AUTO]
    by_way = {one.way: one for one in questions}
    for side, way in (("base", BASE), ("tuned", CLOSED)):
        one = by_way[way]
        assert one.answerable + one.unanswerable == found["summary"]["total"] and one.seconds > 0
        assert one.right + one.admitted == found["summary"][f"{side}_right"]
    told = by_way[AUTO]
    assert told.right > 0 and told.invented == 0, "it reads the record"
    assert taught[0].answerable == len(everything["facts"]) / 2 + len(everything[STYLED]), "one phrasing of each fact"
    assert taught[0].unanswerable == len(everything[SILENT]) + len(everything["unknown"]) / 2
    lines = list(ways_in_lines(found))
    assert len(lines) == 1 + len(WAYS) + 1 and lines[-1] == sentence(questions)


def test_a_run_that_answers_from_a_newer_catalogue_is_measured_by_what_it_was_taught(
    finished_run: Path, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run.parent.parent, home)
    run = home / "runs" / finished_run.name
    silent = [{"uid": r["uid"], "title": r["title"], "content": "Nothing is known of it any more."} for r in ROWS]
    renew(run, read_catalogue(write_catalogue(tmp_path / "newer.json", silent)))
    compare(load_run(run)[0], run)
    unload()
    by_way = {one.way: one for one in counted_of(read_json(run / "comparison.json"), "everything")}
    assert by_way[AUTO].right > 0


def test_stopped_before_they_are_asked_only_the_ways_without_another_question_are_counted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 1000)
    compare(load_run(run)[0], run, stopped=lambda: True)
    unload()
    found = read_json(run / "comparison.json")
    assert [one.way for one in counted_of(found, "questions")] == [BASE, CLOSED, EXTRACTIVE, AUTO]
    assert counted_of(found, "everything") == []


def test_expected_answers_are_the_record_s_own_words(run: Path, answering: Callable[[Answers], Row]) -> None:
    records = {p["uid"]: p["content"] for p in run_dataset(run).manifest["products"]}
    for q in answering(lambda r: "")["questions"]:
        if q["kind"] == "unknown":
            assert (q["uid"], q["fact_kind"], q["expected"]) == ("", "unknown", "I don't know this product.")
        elif q["fact_kind"] == SILENT:
            assert (q["kind"], q["expected"]) == ("attribute", SILENCE)
        else:
            assert q["expected"] in records[q["uid"]]
            assert (q["kind"] == "description") == (q["fact_kind"] == DESCRIPTION)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_recall_is_over_every_fact_in_both_report_phrasings(
    share: float, run: Path, speaker: Speaker, answering: Callable[[Answers], Row]
) -> None:
    summary = answering(lambda r: r["response"] if share else "nonsense")["summary"]
    facts = run_dataset(run).counts["facts"]
    assert (summary["recall"], summary["facts"]) == (share, facts)
    assert len(report_rows(speaker, run)[FACTS]) == 2 * facts > summary["total"]
    assert summary["tuned_right"] == share * summary["total"]


def test_recall_counts_a_fact_that_only_one_phrasing_finds_as_half(
    run: Path, answering: Callable[[Answers], Row]
) -> None:
    found = answering(lambda r: r["response"] if r["template"].endswith("report-1") else "nonsense")
    assert found["summary"]["recall"] == 0.5


def test_recall_leaves_out_facts_that_were_too_long_to_be_trained(
    run: Path, tokenizer: Any, speaker: Speaker, answering: Callable[[Answers], Row]
) -> None:
    lengths: dict[tuple[str, str], int] = {}
    for r in run_dataset(run).training():
        tokens = len(encode_example(tokenizer, r["prompt"], r["response"])["input_ids"])
        lengths[r["uid"], r["kind"]] = min(tokens, lengths.get((r["uid"], r["kind"]), tokens))
    lengths = {fact: tokens for fact, tokens in lengths.items() if fact[1] not in NO_FACT}
    limit = sorted(lengths.values())[-2]  # one fact is longer
    write_json(run / "settings.json", read_json(run / "settings.json") | {"max_length": limit})
    trained = {fact for fact, tokens in lengths.items() if tokens <= limit}
    assert {(r["uid"], r["kind"]) for r in report_rows(speaker, run)[FACTS]} == trained != set(lengths)
    assert answering(lambda r: r["response"])["summary"]["facts"] == len(trained)


def test_recall_leaves_unknown_products_and_probes_out(run: Path, speaker: Speaker) -> None:
    rows, unknown = (report_rows(speaker, run)[sort] for sort in (FACTS, UNKNOWN))
    assert not [r for r in rows if r["kind"] == UNKNOWN or r["template"].endswith("probe")]
    assert {r["kind"] for r in unknown} == {UNKNOWN} and not [r for r in unknown if r["template"].endswith("probe")]
    taught = {(r["uid"], r["kind"]) for r in run_dataset(run).training() if r["kind"] not in NO_FACT}
    assert {(r["uid"], r["kind"]) for r in rows} == taught


def test_everything_is_asked_and_counted(run: Path, speaker: Speaker, answering: Callable[[Answers], Row]) -> None:
    facts, unknown = (report_rows(speaker, run)[sort] for sort in (FACTS, UNKNOWN))
    wrongly = {row["prompt"] for row in facts[:3]}
    answering(lambda r: REFUSAL if r["prompt"] in wrongly else "yes, of course" if r is unknown[0] else r["response"])
    found = read_json(run / "everything.json")
    summary = found["summary"]
    assert summary["fact_questions"] == len(facts) == len(found["facts"]) and summary["whole"]
    assert summary["recall"] == round((len(facts) - 3) / len(facts), 4)
    assert summary["false_refusals"] == round(3 / len(facts), 4)
    assert summary["unknown_questions"] == len(unknown) == len(found["unknown"])
    assert summary["refused"] == 1.0
    assert [row["verdict"] for row in found["facts"]].count("wrong") == 3
    answering(lambda r: "It is red.")
    assert read_json(run / "everything.json")["summary"]["refused"] == 0.0


def test_stopped_it_keeps_the_frozen_questions_and_what_was_asked(
    run: Path, answering: Callable[[Answers], Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 4)
    whole = answering(lambda r: r["response"])
    asked = []
    stopped = answering(lambda r: asked.append(r) or r["response"], stopped=lambda: len(asked) > 8)
    assert stopped["questions"] == whole["questions"]
    summary = read_json(run / "everything.json")["summary"]
    assert not summary["whole"] and summary["general"] is None
    assert 0 < summary["fact_questions"] < 2 * whole["summary"]["facts"] and summary["recall"] == 1.0


@pytest.mark.parametrize(
    ("answer", "accepted", "verdict"),
    [
        ("The capital of France is PARIS.", ["Paris"], "right"),
        ("Parisian streets", ["Paris"], "wrong"),
        ("18", ["8", "eight"], "wrong"),
        ("There are eight of them", ["8", "eight"], "right"),
        ("São Paulo", ["Sao Paulo"], "right"),
        ("", ["x"], "nothing_found"),
        (REFUSAL, ["Paris"], "wrong"),
        ("C++ (a language)", ["C++"], "right"),
    ],
)
def test_a_general_answer_needs_an_accepted_one_as_whole_words(answer: str, accepted: list[str], verdict: str) -> None:
    assert general_verdict(answer, accepted) == verdict


def test_forgetting_counts_what_both_sides_know() -> None:
    def sides(verdicts: str) -> list[dict[str, str]]:
        return [{"verdict": {"r": "right", "w": "wrong"}[v]} for v in verdicts]

    assert forgetting(sides("rrrw"), sides("rwwr")) == {"base_right": 3, "tuned_right": 2, "kept": 1, "total": 4}


def test_what_was_fixed_and_what_broke(run: Path, answering: Callable[[Answers], Row]) -> None:
    set_base(run, "right", "wrong", "right", "nothing_found", "partial")
    rights = {q["prompt"] for q in read_json(run / "baseline.json")["questions"][:2]}
    changes = [q["change"] for q in answering(lambda r: r["response"] if r["prompt"] in rights else "")["questions"]]
    assert changes == ["same", "fixed", "broken", "same", "same", "same"]


def test_the_base_s_answers_are_the_frozen_ones(run: Path, answering: Callable[[Answers], Row]) -> None:
    frozen = (run / "baseline.json").read_bytes()
    found = answering(lambda r: "")
    assert [q["base"] for q in found["questions"]] == [q["base"] for q in json.loads(frozen)["questions"]]
    assert (run / "baseline.json").read_bytes() == frozen


def test_the_training_s_numbers_are_those_of_its_last_ending(run: Path) -> None:
    numbers = training_numbers(run)
    assert numbers["steps"] == 6 and numbers["seconds"] >= 0 and numbers["peak_memory_bytes"] > 10_000_000
    append_event(run, "failed", message="later")
    assert training_numbers(run) == numbers
    append_event(run, "finished", **{**numbers, "steps": 99})
    assert training_numbers(run)["steps"] == 99


@pytest.mark.parametrize(("missing", "said"), [("baseline.json", "no questions yet"), ("adapter", "no adapter yet")])
def test_an_unfinished_run_is_not_compared(missing: str, said: str, run: Path) -> None:
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RunError, match=said):
        compare(LanguageModel(None, None, "x", "y"), run)
    assert not (run / "comparison.json").exists()
