"""The shop of a run: of its whole catalogue as long as that is to be had, and what is said where it is not."""

import shutil
from pathlib import Path

import pytest

from pipeline.answering.shop import missing_catalogue, shop_of
from pipeline.catalogue import uploads
from pipeline.catalogue.cache import cache_dir
from pipeline.dataset.build import build_dataset
from pipeline.dataset.store import Dataset
from tests.tiny import FEW_ROWS, ROWS, write_catalogue


def upload(folder: Path, rows: list[dict[str, str]] = ROWS) -> None:
    uploads.take_upload(write_catalogue(folder / "shop.json", rows))


@pytest.fixture
def dataset(home: Path, tmp_path: Path) -> Dataset:
    """Four products of the eight of an upload."""
    upload(tmp_path)
    return build_dataset(uploads.open_catalogue("shop.json"), FEW_ROWS)


def known(dataset: Dataset) -> int:
    return shop_of(dataset).catalogue.usable


def test_another_upload_of_the_name_leaves_a_run_its_own_catalogue(dataset: Dataset, tmp_path: Path) -> None:
    opened = shop_of(dataset)
    upload(tmp_path, ROWS[:5])
    assert shop_of(dataset) is opened and known(dataset) == 8 and not missing_catalogue(dataset)
    assert {opened.about(f"what is {row['title']}").product is not None for row in ROWS} == {True}


def test_a_fresh_disk_with_the_upload_has_the_catalogue(dataset: Dataset) -> None:
    shutil.rmtree(cache_dir())
    assert not missing_catalogue(dataset) and known(dataset) == 8


def test_where_the_file_is_gone_the_sentence_names_it_and_the_same_file_ends_that(
    dataset: Dataset, tmp_path: Path
) -> None:
    uploads.remove("shop.json")
    assert missing_catalogue(dataset) == (
        "The catalogue of this run, shop.json, is not on this machine any more, so only the products that it taught (4) are "
        "known; upload the same file in the first tab."
    )
    assert known(dataset) == 4
    upload(tmp_path)
    assert not missing_catalogue(dataset) and known(dataset) == 8


def test_where_the_file_has_changed_a_new_run_is_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    shutil.rmtree(cache_dir())
    upload(tmp_path, ROWS[:5])
    assert missing_catalogue(dataset) == (
        "The catalogue of this run, shop.json, has changed since the run was made, so only the products that it taught (4) are "
        "known; make a new run of it."
    )
    assert known(dataset) == 4
