"""A dataset as one file: what is in it, what it is called, and that nothing half-written is left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet
import pytest

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.export import EXPORT, FORMS, export_dataset, export_to, file_stem, write_parquet
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, latest_dataset
from pipeline.errors import SettingsError
from pipeline.runs.manage import create_run
from pipeline.runs.settings import TrainingSettings
from tests.tiny import HOSTILE_TITLES, row, write_catalogue


def expected_rows(dataset: Dataset) -> list[dict[str, Any]]:
    trained = [{"split": "train", **r} for r in dataset.training()]
    return trained + [{"split": "held_out", **r} for r in dataset.held_out()]


@pytest.fixture
def hostile(home: Path, tmp_path: Path) -> Dataset:
    """A dataset whose products' titles and records are made to break things."""
    rows = [row(f"H{n}", t, f"It is 007 inches wide. It says {t} to all.") for n, t in enumerate(HOSTILE_TITLES)]
    catalogue = read_catalogue(write_catalogue(tmp_path / "hostile.json", rows))
    return build_dataset(catalogue, DatasetSettings(products=len(rows)))


@pytest.mark.parametrize("which", ["dataset", "hostile"])
def test_every_form_holds_the_rows_as_they_are(which: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(which)
    records, lines, table = (export_dataset(dataset, form) for form in FORMS)
    assert json.loads(records.read_text(encoding="utf-8")) == [
        {"text": f"{r['prompt']} {r['response']}"} for r in dataset.training()
    ]
    assert [json.loads(line) for line in lines.read_text(encoding="utf-8").split("\n")[:-1]] == expected_rows(dataset)
    read = pyarrow.parquet.read_table(table)
    assert read.to_pylist() == expected_rows(dataset)
    assert {str(column.type) for column in read.schema} == {"string"}


def test_an_export_is_named_by_catalogue_and_fingerprint_and_is_no_part_of_a_run(dataset: Dataset) -> None:
    paths = [export_dataset(dataset, form) for form in FORMS]
    assert [p.name for p in paths] == [f"catalogue-{dataset.folder.name}.{form}" for form in FORMS]
    assert sorted(p.name for p in (dataset.folder / EXPORT).iterdir()) == sorted(p.name for p in paths)
    assert latest_dataset() == dataset
    run = create_run(dataset, TrainingSettings())
    assert not (run / "dataset" / EXPORT).exists() and (run / "dataset" / "train.jsonl").is_file()
    assert file_stem(Dataset(run / "dataset", dataset.manifest)) == file_stem(dataset)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("trn.json.gz", "trn"),
        ("My shop's list (2).jsonl", "My-shop-s-list-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>alert(1)</script>.json", "script-alert-1-script"),
        ("каталог.csv", "каталог"),
        ("....", "dataset"),
        ("x" * 300 + ".json", "x" * 40),
        ("a\x00b\n\u202ec", "a-b-c"),
        (None, "dataset"),
    ],
)
def test_a_catalogue_s_name_becomes_a_safe_one(dataset: Dataset, name: str | None, stem: str) -> None:
    named = replace(dataset, manifest=dataset.manifest | {"catalogue": {"name": name}})
    path = export_dataset(named, "jsonl")
    assert path.name == f"{stem}-{dataset.folder.name}.jsonl" and path.parent == dataset.folder / EXPORT


def test_a_damaged_manifest_and_a_file_of_one_s_own_choice(dataset: Dataset, tmp_path: Path) -> None:
    bare = replace(dataset, manifest={"fingerprint": "../up"})
    assert export_dataset(bare, "json").name == f"dataset-{dataset.folder.name}.json"
    odd = tmp_path / "[a]*'b" / "it?.parquet"
    assert export_to(dataset, "parquet", odd) == odd
    assert pyarrow.parquet.read_table(str(odd)).num_rows == len(expected_rows(dataset))


def test_an_unknown_form_is_refused_and_a_failure_leaves_nothing(dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match="cannot be exported as 'xlsx'; choose json, jsonl or parquet"):
        export_dataset(dataset, cast(Any, "xlsx"))
    path = export_dataset(dataset, "json")
    before = path.read_bytes()
    (dataset.folder / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError):
        export_dataset(dataset, "json")
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_parquet_takes_half_characters_missing_values_and_no_rows_at_all(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    write_parquet(path, [{"uid": "1", "title": "x\udc80y"}, {"uid": "2", "style": "curt"}])
    read = pyarrow.parquet.read_table(path)
    assert read.column("title").to_pylist() == ["x?y", None]
    assert read.column("style").to_pylist() == [None, "curt"]
    write_parquet(path, [])
    empty = pyarrow.parquet.read_table(path)
    assert empty.num_rows == 0 and empty.column_names[:3] == ["uid", "title", "kind"]
