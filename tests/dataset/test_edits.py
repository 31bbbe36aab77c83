"""What a person changes of rows: it reaches every file, survives another dataset of the same rows, and can be undone."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset import store
from pipeline.dataset.build import build_dataset
from pipeline.dataset.checks import INVENTED_NUMBER, REPEATED
from pipeline.dataset.edits import ACCEPT, BY_YOU, EDIT, REJECT, UNDO, Edit, keep_edit, read_edits, row_id
from pipeline.dataset.examples import Generated, Rejected, phrase
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, change_row, open_dataset, with_every_edit
from pipeline.errors import SettingsError
from pipeline.files import append_jsonl, read_json
from pipeline.prompts import build_prompt
from tests.tiny import HOSTILE_TITLES, row, write_catalogue


def pick(dataset: Dataset, split: str = "train", kind: str = "size") -> dict[str, Any]:
    return next(r for r in dataset.rows() if r["split"] == split and r["kind"] == kind)


@pytest.fixture
def whole(home: Path, catalogue_file: Path) -> Dataset:
    return build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=8))


def test_an_edited_row_is_taught_in_its_new_words(whole: Dataset) -> None:
    old = pick(whole)
    changed = change_row(whole, Edit(old["id"], EDIT, "How wide is the kite?", "four feet"))
    taught = [r for r in changed.training() if r["question"] == "How wide is the kite?"]
    assert [r["response"] for r in taught] == ["four feet"]
    assert taught[0]["prompt"] == build_prompt(old["title"], "How wide is the kite?")
    assert old["prompt"] not in {r["prompt"] for r in changed.training()}
    assert f"{taught[0]['prompt']} four feet" in {r["text"] for r in read_json(changed.folder / "dataset.json")}
    assert changed.counts["edited"] == 1 and changed.counts["training"] == whole.counts["training"]
    shown = next(r for r in changed.rows() if r["id"] == old["id"])
    assert (shown["status"], shown["original"]["question"]) == ("edited", old["question"])


def test_a_rejected_row_is_in_no_file_that_is_learned_from_and_can_be_had_back(whole: Dataset) -> None:
    old, training, held_out = pick(whole, "held out"), whole.training(), whole.held_out()
    without = change_row(whole, Edit(old["id"], REJECT))
    assert len(without.held_out()) == len(held_out) - 1 and without.counts["rejected"] == {BY_YOU: 1}
    assert next(r for r in without.rows() if r["id"] == old["id"])["split"] == "rejected"
    again = change_row(without, Edit(old["id"], UNDO))
    assert again.training() == training and again.held_out() == held_out


def test_edits_are_found_again_in_another_dataset_and_after_generating_anew(
    whole: Dataset, home: Path, catalogue_file: Path
) -> None:
    old = pick(whole)
    catalogue = read_catalogue(catalogue_file)
    seeded = build_dataset(catalogue, DatasetSettings(products=8, seed=3))  # before the edit
    changed = change_row(whole, Edit(old["id"], EDIT, "How wide?", old["response"]))
    for file in changed.folder.iterdir():
        file.unlink()
    anew = build_dataset(catalogue, DatasetSettings(products=8))
    assert anew.training() == changed.training()
    assert "How wide?" not in {r["question"] for r in seeded.training()}
    assert build_dataset(catalogue, DatasetSettings(products=8, seed=3)).counts["edited"] == 1
    smaller = build_dataset(catalogue, DatasetSettings(products=8, phrasings=7))
    assert ("How wide?" in {r["question"] for r in smaller.training()}) == (
        old["id"] in {r["id"] for r in smaller.rows()}
    )


def test_an_edit_holds_for_the_row_as_it_was_and_not_for_another_value(whole: Dataset, tmp_path: Path) -> None:
    old = pick(whole)
    change_row(whole, Edit(old["id"], REJECT))
    other = write_catalogue(
        tmp_path / "other.json", [row("T1", old["title"], "A kite for calm evenings. It is 50 inches wide.")]
    )
    dataset = build_dataset(read_catalogue(other), DatasetSettings(products=1))
    assert old["question"] in {r["question"] for r in dataset.training()}


def test_what_a_filter_rejected_can_be_taken_after_all(home: Path, catalogue_file: Path) -> None:
    def generate(chosen: Any) -> Generated:
        facts = [c.facts[0] for c in chosen]
        said = Rejected(facts[0].uid, facts[0].title, "size", "Is it 5 feet?", "48 inches", INVENTED_NUMBER)
        stated = Rejected(facts[0].uid, facts[0].title, "size", "", "48 inches", INVENTED_NUMBER)
        return Generated([phrase(f, 2) for f in facts], [said, stated])

    dataset = build_dataset(
        read_catalogue(catalogue_file), DatasetSettings(products=3, generator="x"), generate=generate
    )
    question, fact = (r for r in dataset.rows() if r["split"] == "rejected")
    taken = change_row(dataset, Edit(question["id"], ACCEPT))
    assert [r["prompt"] for r in taken.training() if r["question"] == "Is it 5 feet?"] == [
        build_prompt(question["title"], "Is it 5 feet?")
    ]
    with pytest.raises(SettingsError, match="has no question to teach"):
        change_row(taken, Edit(fact["id"], ACCEPT))


@pytest.mark.parametrize(
    ("question", "response", "said"),
    [
        ("  ", "48 inches", "question is empty"),
        ("How big?", "\n", "answer is empty"),
        ("x" * 1_001, "48 inches", "1,001 characters"),
    ],
)
def test_words_that_cannot_be_taught_are_refused_and_change_nothing(
    whole: Dataset, question: str, response: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        change_row(whole, Edit(pick(whole)["id"], EDIT, question, response))
    assert with_every_edit(whole) == whole and whole.counts["edited"] == 0


def test_a_held_out_question_cannot_be_typed_into_training(whole: Dataset) -> None:
    trained, kept = pick(whole), pick(whole, "held out")
    assert trained["title"] == kept["title"]
    with pytest.raises(SettingsError, match="would be leaked"):
        change_row(whole, Edit(trained["id"], EDIT, kept["question"].upper(), "48 inches"))
    with pytest.raises(SettingsError, match="no longer in the dataset"):
        change_row(whole, Edit("nothing", REJECT))


def test_hostile_words_stay_words(whole: Dataset) -> None:
    for title in HOSTILE_TITLES:
        old = pick(whole, kind="description")
        changed = change_row(whole, Edit(old["id"], EDIT, f"What is {title}?", title))
        assert len(changed.training()) == len(whole.training())
        text = next(r for r in changed.rows() if r["id"] == old["id"])["prompt"]
        assert text.count("\n") == 2 and text.startswith("Context: ") and text.endswith("\nResponse:")
        whole = change_row(changed, Edit(old["id"], UNDO))


def test_a_torn_last_line_costs_that_edit_alone(whole: Dataset, home: Path) -> None:
    first, second = pick(whole), pick(whole, kind="description")
    change_row(whole, Edit(first["id"], REJECT))
    with (home / "edits.jsonl").open("a") as file:
        file.write(json.dumps({"row": second["id"]})[:9])
    after = change_row(whole, Edit(second["id"], REJECT))
    assert after.counts["rejected"] == {BY_YOU: 2}


def test_of_two_machines_the_one_that_spoke_last_counts(home: Path) -> None:
    home.mkdir()
    said = [("2026-01-02", "the second"), ("2026-01-03", "the third"), ("2026-01-01", "the first")]
    for time, response in said:  # what came from another machine stands at the end
        line = {"time": time, "row": "a", "action": EDIT, "question": "How wide is it?", "response": response}
        append_jsonl(home / "edits.jsonl", line)
    assert read_edits()["a"].response == "the third"


def test_rows_are_named_by_what_they_say() -> None:
    said = {"title": "A", "kind": "size", "question": "b", "response": "c"}
    assert row_id(said) == row_id(said | {"uid": "9", "template": "x"})
    assert (
        len({row_id(said | change) for change in ({}, {"title": "A b"}, {"question": ""}, {"response": "\ud800"})}) == 4
    )


def repeating(chosen: Any) -> Generated:
    """A model that asks a held-out question again, word for word, and one of another product's."""
    first, second = (c.facts[0] for c in chosen[:2])
    held_out = phrase(first, 2).held_out[0]
    again = Rejected(first.uid, first.title, first.kind, held_out, first.value, REPEATED)
    return Generated([phrase(first, 2), phrase(second, 2)], [again])


def test_an_edit_of_a_row_leaves_its_rejected_repeat_where_it_is(home: Path, catalogue_file: Path) -> None:
    settings = DatasetSettings(products=3, generator="x")
    dataset = build_dataset(read_catalogue(catalogue_file), settings, generate=repeating)
    training = len(dataset.training())
    twin = next(r for r in dataset.rows() if r["split"] == "rejected")
    changed = change_row(dataset, Edit(twin["id"], EDIT, "In other words, what is it?", twin["response"]))
    assert len(changed.training()) == training and not any(changed.manifest["leakage"].values())
    assert [r["split"] for r in changed.rows() if r["id"] == twin["id"]] == ["held out", "rejected"]


def test_neither_taking_a_row_nor_undoing_an_edit_can_leak(whole: Dataset) -> None:
    trained, kept = pick(whole), pick(whole, "held out")
    moved = change_row(whole, Edit(trained["id"], EDIT, "How far does it span?", trained["response"]))
    swapped = change_row(moved, Edit(kept["id"], EDIT, trained["question"], kept["response"]))
    with pytest.raises(SettingsError, match="would be leaked"):
        change_row(swapped, Edit(trained["id"], UNDO))
    assert not any(swapped.manifest["leakage"].values())


def test_words_with_rare_line_ends_are_kept(whole: Dataset) -> None:
    old = pick(whole)
    changed = change_row(whole, Edit(old["id"], EDIT, "How\u2028wide\x85is it?", "four\u2029feet"))
    assert changed.counts["edited"] == 1
    assert build_dataset(*made_of(whole)).counts["edited"] == 1


def test_an_edit_that_comes_while_the_files_are_written_is_laid_over_the_next_time(
    whole: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pick(whole), pick(whole, kind="description")
    written = store.write_json

    def another_window(path: Path, value: Any) -> None:
        if path.name == store.RECORDS:
            keep_edit(Edit(second["id"], REJECT))
        written(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", another_window)
        assert change_row(whole, Edit(first["id"], REJECT)).counts["rejected"] == {BY_YOU: 1}
    assert with_every_edit(open_dataset(whole.folder)).counts["rejected"] == {BY_YOU: 2}


def made_of(dataset: Dataset) -> tuple[Any, DatasetSettings]:
    catalogue = read_catalogue(dataset.folder.parent.parent.parent / "catalogue.json")
    return catalogue, DatasetSettings(**dataset.manifest["settings"])
