"""`judge`: a file of customers' questions, answered in several ways; JSON on stdout and nothing else."""

import csv
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.inputs import RunFolder, check_finished, load_model
from pipeline.commands.terminal import say
from pipeline.errors import QuestionError
from pipeline.prompts import MAX_QUESTION_CHARACTERS

app = typer.Typer()

MOST_QUESTIONS = 200_000
TOLD_EVERY = 1000
MOST_SHOWN = 20
"""Of a wrong row's columns, and of the characters of each."""


@app.command()
def judge(
    run: RunFolder,
    questions: Annotated[
        Path,
        typer.Option(metavar="FILE", help="JSON, JSON lines or CSV of `question` and, where known, `title` or `uid`"),
    ],
    ways: Annotated[
        str, typer.Option(metavar="NAMES", help="some of base, base_open, closed, open, extractive, auto")
    ] = "closed,open,extractive,auto",
) -> None:
    """Answer customers' questions in several ways. About any product of the run's catalogue; prints only JSON."""
    from pipeline.runs.folder import read_settings

    read_settings(run)
    items = read_questions(questions)
    if long := sum(len(item["question"]) > MAX_QUESTION_CHARACTERS for item in items):
        say(f"Of {long:,} of {len(items):,} questions only the first {MAX_QUESTION_CHARACTERS:,} characters are asked.")
    with redirect_stdout(sys.stderr):  # what libraries print; stdout is for the answers alone
        results = _judged(run, items, ways)
    print(json.dumps(results, ensure_ascii=False, indent=1))


def _judged(run: Path, items: list[dict[str, str]], ways: str) -> list[dict[str, Any]]:
    """What each way answers to each question.

    Raises:
        QuestionError: there is no such way.
        RunError: a way needs an adapter that the run does not have.
    """
    from pipeline.answering.shop import has_whole_catalogue, shop_of
    from pipeline.answering.ways import BY_MODEL, WAYS, answer_all
    from pipeline.runs.folder import run_dataset

    names = list(dict.fromkeys(name.strip() for name in ways.split(",") if name.strip()))
    wrong = [name for name in names if name not in WAYS]
    if wrong or not names:
        raise QuestionError(f"There is no way {wrong[0] if wrong else 'named'}; choose of {', '.join(WAYS)}.")
    needs_model = any(name in BY_MODEL for name in names)
    if needs_model:
        check_finished(run)
    dataset = run_dataset(run)
    if not has_whole_catalogue(dataset):
        say(
            "The run's catalogue is not at hand any more, so only the products that it taught are known; open it again."
        )
    shop = shop_of(dataset)
    if shop.sentences.encoder is None:
        say(
            "The sentence encoder is not at hand, so words alone decide which sentence answers; `make run` installs it."
        )
    asked = []
    for number, item in enumerate(items, start=1):
        asked.append(shop.about(item["question"], item["title"], item["uid"]))
        if number % TOLD_EVERY == 0:
            say(f"The products of {number:,} of {len(items):,} questions are found.")
    kinds = sorted({fact["kind"] for fact in dataset.manifest["facts"]})
    answers = answer_all(shop, asked, names, load_model(run) if needs_model else None, kinds)
    return [
        {
            "question": item["question"],
            "title": about.product.title if about.product else item["title"],
            "ways": {name: said.as_dict() for name, said in mine.items()},
        }
        for item, about, mine in zip(items, asked, answers, strict=True)
    ]


def read_questions(file: Path) -> list[dict[str, str]]:
    """The questions of a file, each with `question`, `title` and `uid` (empty where not given).

    Raises:
        QuestionError: it is no JSON, JSON lines or CSV with questions.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise QuestionError(f"{file} cannot be read as text; it needs JSON, JSON lines or CSV.") from error
    rows = _csv(text, file) if file.suffix.casefold() in (".csv", ".tsv") else _json(text, file)
    if not rows:
        raise QuestionError(f"{file} has no question in it; each needs a field `question`.")
    if len(rows) > MOST_QUESTIONS:
        raise QuestionError(f"{file} has {len(rows):,} questions and the most is {MOST_QUESTIONS:,}; split it.")
    return [_item(row, number, file) for number, row in enumerate(rows, start=1)]


def _csv(text: str, file: Path) -> list[Any]:
    head = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise QuestionError(f"{file} cannot be read as a table: {error}.") from error
    return [{(name or "").strip().casefold(): value for name, value in row.items()} for row in rows]


def _json(text: str, file: Path) -> list[Any]:
    try:
        return _rows_of(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return [row for line in text.splitlines() if line.strip() for row in _rows_of(json.loads(line))]
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"{file} cannot be read as JSON or JSON lines; name a table .csv.") from error


def _rows_of(value: Any) -> list[Any]:
    """The rows of a list, of an object's lists, or of a product with its `questions`."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or "question" in value:
        return [value]
    of_product = {name: value[name] for name in ("title", "uid") if isinstance(value.get(name), str)}
    lists = [rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    return [of_product | row if isinstance(row, dict) else row for rows in lists for row in rows] or [value]


def _item(row: Any, number: int, file: Path) -> dict[str, str]:
    question = row.get("question") if isinstance(row, dict) else None
    if not isinstance(question, str) or not question.strip():
        has = [str(name)[:MOST_SHOWN] for name in row if name][:MOST_SHOWN] if isinstance(row, dict) else []
        only = f", only {', '.join(has)}" if has and "question" not in has else ""
        raise QuestionError(f"Row {number} of {file} has no `question`{only}; give each row one.")
    known = {name: value if isinstance(value := row.get(name), str) else "" for name in ("title", "uid")}
    return {"question": " ".join(question.split())} | known
