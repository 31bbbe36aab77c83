"""`judge`: files of every form, one sentence for what is wrong, and JSON alone on stdout."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.answering.customers import read_questions
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import DatasetSettings, build_dataset
from pipeline.errors import QuestionError
from pipeline.models import encoder
from pipeline.runs.manage import create_run
from pipeline.runs.settings import default_base, settings_for


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run without an adapter, of three products of the sample."""
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=3))
    return create_run(dataset, settings_for("quick", default_base()), tmp_path / "runs" / "one")


QUESTIONS = [
    {"question": "how heavy is the torvald drill"},
    {"question": "what colour is it", "title": "Torvald Palm Sander", "answers": ["dark green"], "answerable": True},
    {"question": "who wrote the owl book"},
]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_every_form_is_answered_in_its_order_for_taught_products_and_others(
    run: Path, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"questions.{form}"
    if form == "csv":
        file.write_text("Title,Question\n" + "".join(f"{q.get('title', '')},{q['question']}\n" for q in QUESTIONS))
    else:
        rows = [json.dumps(q) for q in QUESTIONS]
        file.write_text(f"[{','.join(rows)}]" if form == "json" else "\n".join(rows))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "extractive,auto"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["question"] for one in found] == [q["question"] for q in QUESTIONS]
    assert [one["title"] for one in found] == ["Torvald Cordless Drill Driver", "Torvald Palm Sander", ""]
    assert [list(one["ways"]) for one in found] == [["extractive", "auto"]] * 3
    assert [one["ways"]["auto"]["says"] for one in found] == ["value", "value", "unknown"]
    assert found[1]["ways"]["auto"]["answer"] == "Dark green."


def test_a_catalogue_that_is_gone_leaves_the_taught_products(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(SAMPLE, tmp_path / "shop.json"))
    with file.open("a") as more:
        more.write('\n{"title": "Kettle", "content": "It holds 2 litres of water"}\n')
    dataset = build_dataset(read_catalogue(file), DatasetSettings(products=3))
    run = create_run(dataset, settings_for("quick", default_base()), home / "runs" / "one")
    file.unlink()
    shutil.rmtree(home / "cache")
    title = json.loads((run / "dataset" / "manifest.json").read_text())["products"][0]["title"]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{"question": f"what is {title}"}]))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "auto"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["title"] == title
    assert "only the products that it taught" in said.err
    assert "shop.json" in said.err and "in the first tab" in said.err


def test_an_emptied_cache_is_filled_again_of_the_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "cache")
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(QUESTIONS))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "auto"]) == 0
    said = capsys.readouterr()
    assert [one["ways"]["auto"]["says"] for one in json.loads(said.out)] == ["value", "value", "unknown"]
    assert "taught" not in said.err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "", "no question"),
        ("a.json", "[]", "no question"),
        ("a.json", "nonsense", "cannot be read as JSON"),
        ("a.json", '[{"q": "x"}]', "Row 1"),
        ("a.json", '[{"question": "fine"}, {"question": "  "}]', "Row 2"),
        ("a.csv", "frage,titel\nx,y\n", "Row 1 .* has no `question`, only frage, titel"),
        ("a.csv", "question\n" + "x" * 200_000, "cannot be read as a table"),
        ("a.json", '{"questions": []}', "Row 1 .* only questions"),
        ("a.json", "<html><body>how big is it</body></html>", "cannot be read as JSON"),
        ("a.csv", "question\n", "no question"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path: Path, name: str, text: str, says: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(QuestionError, match=says):
        read_questions(file)


def test_a_hundred_thousand_rows_with_html_and_long_questions_are_read(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text((json.dumps({"question": "<b>how big</b> " + "x" * 2000}) + "\n") * 100_000)
    found = read_questions(file)
    assert len(found) == 100_000 and len(found[0].question) == 2015


def test_of_a_question_that_is_too_long_the_beginning_is_asked_and_that_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "how heavy is the torvald drill " + "and again " * 1000
    file = tmp_path / "q.json"
    file.write_text(json.dumps([{"question": long}, {"question": "how heavy is the torvald drill"}]))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "auto"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["question"] == long.strip()
    assert "Of 1 of 2 questions only the first 1,000 characters are asked." in said.err


ROWS = [{"question": "how big is it"}, {"question": "is it red"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"written": ROWS[:1], "with typos": ROWS[1:]}),
        json.dumps({"uid": "7", "title": "Lamp", "content": "Red.", "questions": ROWS}),
        json.dumps({"uid": "7", "title": "Lamp", "questions": ROWS[:1]}) + "\n" + json.dumps({"questions": ROWS[1:]}),
    ],
)
def test_lists_within_an_object_and_the_questions_of_products_are_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "q.json"
    file.write_text(text)
    found = read_questions(file)
    assert [one.question for one in found] == ["how big is it", "is it red"]
    assert found[0].uid == ("7" if "uid" in text else "")


@pytest.mark.parametrize("ways", ["", "guess", "auto,guess"])
def test_ways_that_there_are_not_are_refused(
    run: Path, ways: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.json"
    file.write_text('[{"question": "how big is it"}]')
    assert main(["judge", str(run), "--questions", str(file), "--ways", ways]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "choose of base" in said.err


def test_a_models_way_needs_the_adapter(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "q.json"
    file.write_text('[{"question": "how big is it"}]')
    assert main(["judge", str(run), "--questions", str(file)]) == 2
    assert "has no adapter" in capsys.readouterr().err


def test_without_the_encoder_words_answer_and_that_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_WHEEL", "no-such-wheel")
    file = tmp_path / "q.json"
    file.write_text(json.dumps(QUESTIONS))
    assert main(["judge", str(run), "--questions", str(file), "--ways", "auto"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[1]["ways"]["auto"]["answer"] == "Dark green."
    assert "words alone decide" in said.err
