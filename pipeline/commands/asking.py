"""`ask`: questions to the base and the tuned model of a finished run."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.inputs import RunFolder, check_finished, load_model
from pipeline.commands.terminal import say
from pipeline.errors import QuestionError

app = typer.Typer()


@app.command()
def ask(
    run: RunFolder,
    question: Annotated[str, typer.Argument(metavar="QUESTION", show_default=False)] = "",
    title: Annotated[
        str | None, typer.Option(help="the product it is about", show_default="recognised in the question")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help='JSON list of {"title", "question"}; prints only JSON')
    ] = None,
) -> None:
    """Ask the base and the tuned model of a run. One question, or a file of them."""
    check_finished(run)
    results = _both_sides(run, _read_questions(file) if file else [{"question": question, "title": title}])
    if file:
        print(json.dumps(results, ensure_ascii=False, indent=1))
    else:
        say(f"About: {results[0]['title']}")
        print(f"Base:  {results[0]['base']['raw']}\nTuned: {results[0]['tuned']['raw']}")


def _both_sides(run: Path, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the base and the tuned model answer to each `{"title", "question"}`.

    Raises:
        PipelineError: a question cannot be asked (told before a model is loaded), or a model cannot be loaded.
    """
    from pipeline.answering.lookup import TaughtProducts
    from pipeline.runs.folder import run_dataset

    taught = TaughtProducts(run_dataset(run).manifest)
    asked = [taught.ask(item["question"], item.get("title")) for item in items]
    language_model = load_model(run)
    with redirect_stdout(sys.stderr):  # what libraries print; stdout is for the answers alone
        from pipeline.answering.answers import ask as ask_all
        from pipeline.answering.asker import Question

        questions = [
            Question(a.prompt, a.kind, expected=a.expected or "", title=a.title, text=a.question) for a in asked
        ]
        sides = [ask_all(language_model, questions, tuned=tuned) for tuned in (False, True)]
    return [
        {"title": a.title, "question": a.question, "base": base.as_dict(), "tuned": tuned.as_dict()}
        for a, base, tuned in zip(asked, *sides, strict=True)
    ]


def _read_questions(file: Path) -> list[dict[str, Any]]:
    """The questions of a file.

    Raises:
        QuestionError: the file is missing or not a list of questions.
    """
    try:
        items = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{file} cannot be read as JSON; it needs a list of questions.") from error
    fine = isinstance(items, list) and all(
        isinstance(i, dict) and isinstance(i.get("question"), str) and isinstance(i.get("title") or "", str)
        for i in items
    )
    if not fine or not items:
        raise QuestionError(f'{file} needs a list as [{{"title": "…", "question": "…"}}] (the title may be missing).')
    return items
