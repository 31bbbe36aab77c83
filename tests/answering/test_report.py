"""The report as a page and as Markdown, of text from strangers."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from pipeline.answering.baseline import change_question
from pipeline.answering.everything import measure
from pipeline.answering.report import headline, write_report
from pipeline.files import read_json, write_json
from pipeline.runs.events import append_event
from tests.tiny import HOSTILE_TITLES

HOSTILE = [
    *HOSTILE_TITLES,
    "</td></tr></table><h1>Mine</h1>",
    "[click](javascript:alert(1)) <https://example.com> https://example.com www.example.com",
    "a\n\n# Heading\n\n| x | y |\n|---|---|\n- item\n1. item\n```\ncode\n```",
    "&lt;b&gt; &amp;",
    "*a* _b_ `c` ~d~ \\ !",
]


class Tags(HTMLParser):
    """Collects what a browser would make elements of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def comparison(text: str = "Kite", verdict: str = "wrong") -> dict[str, Any]:
    side = {"raw": f"It is {text}!", "answer": text, "verdict": verdict}
    nothing = {"raw": text, "answer": "", "verdict": "nothing_found"}
    names = ("uid", "title", "question", "expected", "fact_kind")
    question = {
        "id": "q01",
        "kind": "attribute",
        **dict.fromkeys(names, text),
        "base": nothing,
        "tuned": side,
        "change": "fixed",
    }
    return {
        "base_model": text,
        "base_sha256": "0" * 64,
        "adapter": "adapter",
        "questions": [question],
        "summary": {"base_right": 0, "tuned_right": 1, "total": 1, "recall": 0.957, "facts": 23},
        "training": dict.fromkeys(
            ["steps", "first_loss", "last_loss", "seconds", "probe_seconds", "tokens_per_second", "peak_memory_bytes"]
        ),
    }


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def reports(run: Path, found: dict[str, Any]) -> tuple[Tags, str]:
    write_report(run, found)
    page = Tags()
    page.feed((run / "report.html").read_text(encoding="utf-8"))
    return page, (run / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_shows_hostile_text_and_is_not_changed_by_it(text: str, run: Path) -> None:
    plain, _ = reports(run, comparison("Kite"))
    page, _ = reports(run, comparison(text))
    assert page.tags == plain.tags and not page.tags & {"script", "img", "h3", "a", "link", "iframe"}
    assert page.links == []
    source = (run / "report.html").read_bytes().decode()
    assert source.count(str(escape(text))) >= 5 and f"<mark>{escape(text)!s}</mark>" in source


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_hostile_text_and_is_not_changed_by_it(text: str, run: Path) -> None:
    _, plain = reports(run, comparison("Kite"))
    _, page = reports(run, comparison(text))
    assert [line[:2] for line in page.splitlines()] == [line[:2] for line in plain.splitlines()]
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.replace("\\\\", "").replace("\\|", "").count("|") == 6
    unescaped = page.replace("\\\\", "")
    assert "<" not in unescaped and "![" not in unescaped.replace("\\!", "").replace("\\[", "")
    assert not re.search(r"\w://|www\.", unescaped)


def test_the_report_says_what_happened(finished_run: Path, run: Path) -> None:
    from pipeline.answering.comparison import training_numbers

    found = comparison() | {"training": training_numbers(finished_run)}
    page, markdown = reports(run, found)
    for text in (page.text, markdown.replace("\\", "")):
        assert "The base model answered 0 of 1 questions right, the tuned model 1 (fixed 1, broken 0)" in text
        assert "it recalls 96% of all 23 facts" in text
        assert "6 steps in" in text and "learning_rate 0.002" in text and "catalogue.json" in text
        assert "◐" not in text and "✘ wrong" in text and "– nothing found" in text
    assert headline(found) in page.text


def test_the_report_says_which_way_to_use(run: Path) -> None:
    row = {"answerable": 10, "right": 7, "wrong": 3, "unanswerable": 5, "admitted": 4, "invented": 1, "seconds": 0.031}
    counted = [{"way": "closed", **row, "right": 6, "invented": 2, "admitted": 2}, {"way": "auto", **row, "later": 1}]
    page, markdown = reports(run, comparison() | {"ways": {"questions": counted, "everything": []}})
    for text in (page.text, markdown):
        assert "Auto: 70% right, 20% invented. Closed book would invent 40%." in text
        assert "Ways to answer these questions" in text and "Ways to answer what was taught" not in text
    assert "| Auto | 7 of 10 | 3 | 4 of 5 | 1 | 0.031 s |" in markdown
    page, _ = reports(run, comparison())
    assert "Ways to answer" not in page.text, "an older comparison did not count them"


def test_the_curve_has_loss_and_recall(run: Path) -> None:
    page, _ = reports(run, comparison())
    assert {"svg", "polyline", "circle"} <= page.tags and "recall on held-out questions" in page.text
    (run / "events.jsonl").unlink()
    append_event(run, "step", step=1, total=2, loss=0.0)
    page, _ = reports(run, comparison())
    assert "svg" not in page.tags
    append_event(run, "step", step=2, total=2, loss=0.0)
    page, _ = reports(run, comparison())
    assert "svg" in page.tags and "circle" not in page.tags


def test_the_page_loads_nothing_from_elsewhere(run: Path) -> None:
    write_report(run, comparison())
    source = (run / "report.html").read_text(encoding="utf-8")
    assert "http" not in source and "src=" not in source and "@import" not in source and "url(" not in source


def test_no_secret_and_no_half_written_file_is_left(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    write_report(run, comparison())
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
    assert "sk-very-secret" not in (run / "report.html").read_text() + (run / "report.md").read_text()


def with_failures(run: Path, text: str) -> tuple[Tags, str]:
    wrong = {
        "title": text,
        "kind": "size",
        "question": text,
        "expected": "1",
        "response": "1",
        "raw": text,
        "answer": "",
        "verdict": "wrong",
    }
    right = wrong | {"verdict": "right"}
    rows = {"facts": [right, wrong], "styled": [], "silent": [], "unknown": []}
    general = {"base": [right], "tuned": [wrong]}
    found = measure(rows, general) | rows | {"general": general}
    found["summary"]["whole"] = True
    write_json(run / "everything.json", found)
    return reports(run, comparison())


@pytest.mark.parametrize("text", HOSTILE)
def test_failures_are_listed_and_are_text(text: str, run: Path) -> None:
    plain, plain_markdown = with_failures(run, "Kite")
    page, markdown = with_failures(run, text)
    assert page.tags == plain.tags and page.links == []
    assert [line[:2] for line in markdown.splitlines()] == [line[:2] for line in plain_markdown.splitlines()]
    assert "Facts it does not know (1)" in page.text and "only the base answers right (1)" in page.text
    assert "Unknown products it does not refuse" not in page.text + markdown
    assert "## Facts it does not know (1)" in markdown


def test_the_report_says_whether_the_questions_are_those_that_were_frozen(run: Path) -> None:
    digest = read_json(run / "baseline.json")["sha256"][:12]
    page, _ = reports(run, comparison())
    assert f"frozen before training (sha256 {digest})" in page.text and "changed" not in page.text
    change_question(run, "q01", "What is the Zorblax 3000?", "Zorblax 3000")
    assert "1 changed since by hand" in reports(run, comparison())[1]
    baseline = read_json(run / "baseline.json")
    baseline["questions"][1]["response"] = "something else"
    write_json(run / "baseline.json", baseline)
    assert "they are not what was frozen" in reports(run, comparison())[1]


def test_a_long_list_of_failures_is_cut_and_counted_whole(run: Path) -> None:
    with_failures(run, "Kite")
    everything = read_json(run / "everything.json")
    everything["facts"] = [everything["facts"][1]] * 130
    write_json(run / "everything.json", everything)
    page, markdown = reports(run, comparison())
    for text in (page.text, markdown):
        assert "Facts it does not know (130)" in text and "and 30 more" in text
    assert markdown.count("\n- Kite (Kite)") == 101  # 100 facts and the general question


def test_the_report_says_how_strong_the_adapter_is(run: Path) -> None:
    assert "of its strength" not in reports(run, comparison())[0].text
    append_event(run, "finished", steps=3, peak_memory_bytes=1, strength=0.7)
    page, markdown = reports(run, comparison())
    assert "kept at 70% of its strength" in page.text and "kept at 70% of its strength" in markdown
