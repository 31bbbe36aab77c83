"""What people asked: kept only where the owner wants it, without who asked, sorted by doubt; and what is deleted is gone."""

import json
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.answering.customers import read_questions
from pipeline.answering.shop import About
from pipeline.answering.ways import Said
from pipeline.catalogue.catalogue import Product
from pipeline.errors import ServingError
from pipeline.serving import asked
from pipeline.serving.asked import asked_questions, count_questions, file_of_questions, forget_questions, keep
from pipeline.serving.desk import Reply
from tests.serving.conftest import copied_run, serving

LAMP = Product("T5", "Harrow Lane Lamp", "It weighs 2 pounds.")


def reply(question: str, doubt: float = 0.5, product: Product | None = LAMP) -> Reply:
    return Reply(question, About(question, product), Said("2 pounds.", "2 pounds.", "value"), "auto", doubt)


def test_questions_are_kept_by_their_doubt_and_counted(home: Path) -> None:
    keep([reply("sure?", 0.1), reply("how  heavy is it", 0.9), reply("half", 0.5)], 7)
    keep([reply("how heavy is it", 0.9), reply("half", 0.5, None)], 7)
    found = [(one.question, one.title, one.says, one.doubt, one.times) for one in asked_questions()]
    assert found == [
        ("how heavy is it", "Harrow Lane Lamp", "value", 0.9, 2),
        ("half", "", "value", 0.5, 1),
        ("half", "Harrow Lane Lamp", "value", 0.5, 1),
        ("sure?", "Harrow Lane Lamp", "value", 0.1, 1),
    ]
    assert stat.S_IMODE(file_of_questions().stat().st_mode) == 0o600


def test_what_tells_who_asked_is_not_kept(home: Path) -> None:
    keep([reply("write to anna.b@example.com"), reply("call me at 555-010-4477"), reply("how heavy is it")], 7)
    assert [one.question for one in asked_questions()] == ["how heavy is it"]
    with sqlite3.connect(file_of_questions()) as store:
        columns = {row[1] for row in store.execute("PRAGMA table_info(questions)")}
    assert columns == {"day", "until", "question", "title", "says", "doubt", "times"}


def test_what_is_deleted_has_left_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(200):
        keep([reply(f"is the zanzibar number {number} in it")], 7)
    assert b"zanzibar" in file_of_questions().read_bytes()
    assert main(["questions", "forget"]) == 0
    assert "200 questions are deleted" in capsys.readouterr().err
    assert asked_questions() == [] and count_questions() == 0 and forget_questions() == 0
    assert not any(b"zanzibar" in file.read_bytes() for file in file_of_questions().parent.iterdir())


def test_what_s_time_has_come_is_gone_as_soon_as_anybody_looks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = asked._today()
    keep([reply("is the zanzibar old")], 2)
    keep([reply("is it newer")], 5)
    monkeypatch.setattr(asked, "_today", lambda: today + timedelta(days=2))
    assert len(asked_questions()) == count_questions() == 2
    monkeypatch.setattr(asked, "_today", lambda: today + timedelta(days=3))
    assert [one.question for one in asked_questions()] == ["is it newer"]
    assert b"zanzibar" not in file_of_questions().read_bytes()
    monkeypatch.setattr(asked, "_today", lambda: today + timedelta(days=6))
    keep([], 5)
    assert b"is it newer" not in file_of_questions().read_bytes()


def test_a_file_that_is_damaged_costs_nobody_an_answer(home: Path) -> None:
    keep([reply("how heavy is it")], 7)
    file_of_questions().write_bytes(b"nonsense" * 1000)
    keep([reply("how heavy is it")], 7)
    for look in (asked_questions, forget_questions):
        with pytest.raises(ServingError, match="delete it to begin anew"):
            look()


def test_a_day_s_questions_do_not_fill_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "MOST_KEPT", 3)
    for number in range(6):
        keep([reply(f"number {number}")], 7)
    assert len(asked_questions()) == 3


@pytest.mark.parametrize("days", ["-1", "366"])
def test_days_that_cannot_be_are_refused(home: Path, days: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "one", "--keep-questions", days]) == 2
    assert "cannot be kept for" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--keep-questions", "3")])
def test_a_server_keeps_them_only_where_that_is_wanted(
    finished_run: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    with serving(copied_run(finished_run, home), *words) as served:
        served.client().completions.create(
            model=served.run.name, prompt=["what does the Harrow Lane Lamp weigh", "how heavy is the iphone"]
        )
    monkeypatch.setenv("SHELFTALK_HOME", str(home))
    assert main(["questions", "list"]) == 0
    listed = capsys.readouterr().out
    assert sorted((row["question"], row["title"]) for row in map(json.loads, listed.splitlines())) == (
        [("how heavy is the iphone", ""), ("what does the Harrow Lane Lamp weigh", "Harrow Lane Lamp")] if words else []
    )
    if words:  # `judge` reads what is listed
        file = tmp_path / "asked.jsonl"
        file.write_text(listed)
        assert len(read_questions(file)) == 2
