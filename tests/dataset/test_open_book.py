"""Rows that teach to read: what stands in the prompt, what is answered, and about which products."""

from pathlib import Path

import pytest

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.open_book import LONGEST, PARTS
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.prompts import OPEN, SILENCE, build_prompt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(tmp_path_factory.mktemp("home")))
        return build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=6, open_book=0.3))


@pytest.fixture(scope="module")
def rows(made: Dataset) -> list[dict[str, str]]:
    return [row for row in made.training() if row["kind"] == OPEN]


def test_they_are_a_share_of_the_rows_about_products_and_counted(made: Dataset, rows: list[dict[str, str]]) -> None:
    counts = made.counts
    of_products = sum(counts[f"{sort}training"] for sort in ("", "unknown_", "silent_"))
    assert counts["open_book_training"] == len(rows)
    assert 0.25 * of_products < len(rows) <= round(0.3 * of_products)


def test_they_are_about_products_that_are_neither_taught_nor_kept_to_grade(
    made: Dataset, rows: list[dict[str, str]]
) -> None:
    kept = {p["title"] for p in made.manifest["products"]} | set(made.manifest["unknown"]["held_out"])
    assert rows and not kept & {row["title"] for row in rows}


def test_the_answer_stands_in_what_is_read_or_the_record_does_not_say(rows: list[dict[str, str]]) -> None:
    catalogue = read_catalogue(SAMPLE)
    records = {p.title: p.content for p in catalogue.at(range(catalogue.usable))}
    silent = 0
    for row in rows:
        context = row["prompt"].split("\n")[0]
        read = context.removeprefix(f"Context: {row['title']}. ")
        assert row["prompt"] == build_prompt(row["title"], row["question"], read)
        parts = [part for part in read.split(". ") if part]
        assert 1 <= len(parts) <= 3 * PARTS and all(part.rstrip(".") in records[row["title"]] for part in parts)
        assert len(row["response"].split()) <= LONGEST
        if row["response"] == SILENCE:
            silent += 1
        else:
            assert row["response"] in read
    assert 0.1 * len(rows) < silent < 0.4 * len(rows)


def test_without_being_asked_for_there_are_none(home: Path, dataset: Dataset) -> None:
    assert not dataset.counts["open_book_training"]
    assert OPEN not in {row["kind"] for row in dataset.training()}


def test_in_reading_mode_every_row_reads_already(home: Path) -> None:
    made = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=3, reading=True, open_book=0.3))
    assert OPEN not in {row["kind"] for row in made.training()}
