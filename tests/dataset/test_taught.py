"""What a person taught: rows of every dataset that has the product, until it is taught no more."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.answering.comparison import compare
from pipeline.answering.report import taught_sentence, write_report
from pipeline.answering.run_model import load_run, unload
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import Dataset, build_dataset
from pipeline.dataset.edits import Edit, keep_edit, read_edits
from pipeline.dataset.store import latest_dataset, with_every_edit
from pipeline.dataset.taught import OTHERWISE, OWN_WORDS, forget, new_lesson, taught, wordings
from pipeline.files import read_json
from pipeline.prompts import REFUSAL, SILENCE
from pipeline.runs.manage import create_run
from tests.tiny import FEW_ROWS, tiny_settings, train_here


def lesson(dataset: Dataset, question: str, answer: str, kind: str = "") -> Edit:
    product = dataset.manifest["products"][0]
    edit = new_lesson(product["uid"], product["title"], question, answer, kind)
    keep_edit(edit)
    return edit


def of(dataset: Dataset, edit: Edit) -> list[dict]:
    return [row for row in dataset.training() if row["template"].startswith("teach:") and row["title"] == edit.title]


def test_a_lesson_becomes_training_rows_in_its_wordings_and_goes_again(dataset: Dataset) -> None:
    before, tested = dataset.training(), dataset.held_out()
    edit = lesson(dataset, "Is it WARM, if I may ask?", "Yes, very.")
    changed = latest_dataset()
    assert changed and changed.folder == dataset.folder and changed.held_out() == tested
    rows = of(changed, edit)
    assert (
        [row["question"] for row in rows] == wordings(edit) == ["Is it WARM, if I may ask?", "is it warm if i may ask"]
    )
    assert {(row["response"], row["kind"]) for row in rows} == {("Yes, very.", OWN_WORDS)}
    assert not any(changed.manifest["leakage"].values())
    assert next(row for row in changed.rows() if row["question"] == edit.question)["status"] == "accepted"
    forget(edit.row)
    assert taught() == [] and with_every_edit(changed).training() == before


def test_a_lesson_of_a_known_kind_is_taught_in_the_project_s_wordings_too(dataset: Dataset) -> None:
    edit = lesson(dataset, "what would it set me back?", "$12.00", "price")
    assert len(wordings(edit)) == 8 and edit.title in wordings(edit)[3] + wordings(edit)[4]
    rows = of(with_every_edit(dataset), edit)
    assert {row["kind"] for row in rows} == {"price"} and len(rows) == 8


@pytest.mark.parametrize(("answer", "kind"), [(SILENCE, "silent"), (REFUSAL, "unknown")])
def test_a_lesson_may_be_one_of_the_two_sentences(dataset: Dataset, answer: str, kind: str) -> None:
    edit = lesson(dataset, "does it smell?", answer)
    assert {row["kind"] for row in of(with_every_edit(dataset), edit)} == {kind}


def test_a_lesson_about_a_product_that_is_not_taught_waits(dataset: Dataset) -> None:
    keep_edit(new_lesson("elsewhere", "Another Kite", "is it warm?", "Yes."))
    assert with_every_edit(dataset).training() == dataset.training()
    keep_edit(new_lesson("", "", "do you sell socks", REFUSAL))
    (own, *_) = [row for row in with_every_edit(dataset).training() if row["question"] == "do you sell socks"]
    assert own["prompt"].startswith("Context: unknown\n") and own["response"] == REFUSAL


def test_what_a_person_says_stands_before_what_was_generated_and_nothing_that_tests_is_trained(
    dataset: Dataset,
) -> None:
    product = dataset.manifest["products"][0]
    trained = next(row for row in dataset.training() if row["uid"] == product["uid"])
    tested = next(row for row in dataset.held_out() if row["uid"] == product["uid"])
    lesson(dataset, trained["question"], "Quite another thing.")
    lesson(dataset, tested["question"], "Quite another thing.")
    changed = with_every_edit(dataset)
    same = [row["response"] for row in changed.training() if row["prompt"] == trained["prompt"]]
    assert same == ["Quite another thing."]
    assert OTHERWISE in {row["reason"] for row in changed.rows()}
    assert not any(changed.manifest["leakage"].values())


def test_the_last_word_counts_and_another_kind_is_another_word(dataset: Dataset) -> None:
    edit = lesson(dataset, "is it warm?", "Yes.")
    with_every_edit(dataset)
    lesson(dataset, "is it warm?", "No.", "price")
    assert taught() == [replace(edit, response="No.", kind="price")] == list(read_edits().values())
    rows = of(latest_dataset() or dataset, edit)
    assert {row["response"] for row in rows} == {"No."} and len(rows) == 8


def test_the_next_run_s_report_says_how_many_are_right_now(dataset: Dataset, tiny_base: Path) -> None:
    lesson(dataset, "is it warm?", SILENCE)
    keep_edit(new_lesson("", "", "do you sell socks", REFUSAL))
    run = create_run(with_every_edit(dataset), tiny_settings(tiny_base, max_steps=1, probes=0))
    assert train_here(run) == 0
    compare(load_run(run)[0], run)
    unload()
    comparison = read_json(run / "comparison.json")
    found = comparison["taught"]
    assert [(q["question"], q["expected"]) for q in found["questions"]] == [
        ("is it warm?", SILENCE), ("do you sell socks", REFUSAL)
    ]  # fmt: skip
    assert found["total"] == 2 and found["tuned_right"] == sum(
        q["tuned"]["verdict"] == "right" for q in found["questions"]
    )
    said = taught_sentence(comparison)
    assert "Of 2 customers' questions that you answered and taught" in said
    write_report(run, comparison)
    assert all("do you sell socks" in (run / f"report.{form}").read_text() for form in ("html", "md"))


def test_a_product_of_which_an_answer_was_put_right_is_among_those_of_the_next_dataset(
    home: Path, catalogue_file: Path
) -> None:
    catalogue, few = read_catalogue(catalogue_file), replace(FEW_ROWS, products=2)
    before = build_dataset(catalogue, few)
    drawn = {product["uid"] for product in before.manifest["products"]}
    left_out = next(product for product in catalogue.page() if product.uid not in drawn)
    keep_edit(new_lesson(left_out.uid, left_out.title, "is it warm?", "Very warm."))
    keep_edit(new_lesson(left_out.uid, "Another shop's of this number", "is it warm?", "No."))
    after = build_dataset(catalogue, few)
    taught_now = {product["uid"] for product in after.manifest["products"]}
    assert left_out.uid in taught_now and len(taught_now) == len(drawn) and after.folder != before.folder
    assert {row["response"] for row in after.training() if row["question"] == "is it warm?"} == {"Very warm."}
    for product in catalogue.page():
        keep_edit(new_lesson(product.uid, product.title, "is it warm?", "Very warm."))
    assert len(build_dataset(catalogue, few).manifest["products"]) == catalogue.usable, "none of them is left out"
