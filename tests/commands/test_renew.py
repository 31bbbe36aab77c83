"""`renew`: a run answers from another file from then on, in what is asked next; and goes back."""

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.commands import inputs
from pipeline.dataset.build import build_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.settings import default_base, settings_for
from tests.tiny import FEW_ROWS, ROWS, row, write_catalogue

QUESTION = "How heavy is the Harrow Lane Lamp?"


@pytest.fixture
def run(home: Path, catalogue_file: Path) -> Path:
    dataset = build_dataset(read_catalogue(catalogue_file), FEW_ROWS)
    return create_run(dataset, settings_for("quick", default_base()), home / "runs" / "one")


def judged(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    file = folder / "questions.json"
    file.write_text(json.dumps([{"question": QUESTION}]))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "auto"]) == 0
    return json.loads(capsys.readouterr().out)[0]["ways"]["auto"]["answer"]


def test_a_run_answers_from_a_newer_file_by_its_name_or_its_folder_and_goes_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heavier = [r | {"content": r["content"].replace("2 pounds", "3 pounds")} for r in ROWS[1:]]
    newer = write_catalogue(tmp_path / "newer.json", heavier)
    assert judged(run, tmp_path, capsys) == "2 pounds."
    monkeypatch.setattr(inputs, "TELL_EVERY", -1.0)
    assert main(["renew", "one", str(newer)]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "newer.json: 0 of 0 MB are read." in said.err
    assert (
        "Run one answers from newer.json now: 7 products, 0 new, 1 gone, 1 with another record than the taught catalogue's."
        in said.err
    )
    assert judged(run, tmp_path, capsys) == "3 pounds."
    assert main(["renew", str(run), "--back"]) == 0
    assert "answers from the catalogue that it was taught" in capsys.readouterr().err
    assert judged(run, tmp_path, capsys) == "2 pounds."


def test_its_columns_can_be_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "newer.csv"
    file.write_text(
        "was,tut\nHarrow Lane Lamp,A lamp for reading late. It weighs 4 pounds.\nX,Another thing of brass.\n"
    )
    assert main(["renew", "one", str(file)]) == 2
    capsys.readouterr()
    assert main(["renew", "one", str(file), "--title-column", "was", "--content-column", "tut"]) == 0
    assert judged(run, tmp_path, capsys) == "4 pounds."


def test_what_cannot_be_is_refused_in_a_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_catalogue(tmp_path / "other.json", [row("X", "Marble Top", "It is 3 inches wide.")])
    for words, sentence in (
        (["one", str(other)], "other.json has none of the products that run one was taught (4)"),
        (["one"], "Name either a CATALOGUE to answer from, or --back."),
        (["one", str(other), "--back"], "Name either a CATALOGUE to answer from, or --back."),
        (["two", str(other)], "is not a run folder"),
        (["one", str(tmp_path / "none.json")], "none.json"),
    ):
        assert main(["renew", *words]) == 2
        said = capsys.readouterr()
        assert said.out == "" and sentence in said.err and "Traceback" not in said.err
