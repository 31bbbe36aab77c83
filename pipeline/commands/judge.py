"""`judge`: a file of customers' questions, answered in several ways; JSON on stdout and nothing else."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.inputs import RunFolder, check_finished, load_model
from pipeline.commands.terminal import say
from pipeline.errors import QuestionError
from pipeline.prompts import MAX_QUESTION_CHARACTERS

if TYPE_CHECKING:
    from pipeline.answering.customers import CustomerQuestion

app = typer.Typer()

TOLD_EVERY = 1000


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
    from pipeline.answering.customers import read_questions
    from pipeline.runs.folder import read_settings

    read_settings(run)
    items = read_questions(questions)
    if long := sum(len(item.question) > MAX_QUESTION_CHARACTERS for item in items):
        say(f"Of {long:,} of {len(items):,} questions only the first {MAX_QUESTION_CHARACTERS:,} characters are asked.")
    with redirect_stdout(sys.stderr):  # what libraries print; stdout is for the answers alone
        results = _judged(run, items, ways)
    print(json.dumps(results, ensure_ascii=False, indent=1))


def _judged(run: Path, items: "list[CustomerQuestion]", ways: str) -> list[dict[str, Any]]:
    """What each way answers to each question.

    Raises:
        QuestionError: there is no such way.
        RunError: a way needs an adapter that the run does not have.
    """
    from pipeline.answering.shop import has_whole_catalogue, shop_of
    from pipeline.answering.ways import BY_MODEL, CLOSED, WAYS, answer_all
    from pipeline.runs.folder import is_reader_run, run_dataset

    names = list(dict.fromkeys(name.strip() for name in ways.split(",") if name.strip()))
    wrong = [name for name in names if name not in WAYS]
    if wrong or not names:
        raise QuestionError(f"There is no way {wrong[0] if wrong else 'named'}; choose of {', '.join(WAYS)}.")
    if is_reader_run(run) and CLOSED in names:
        say("A reader knows nothing by heart, so there is no closed book.")
        names.remove(CLOSED)
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
        asked.append(shop.about(item.question, item.title, item.uid))
        if number % TOLD_EVERY == 0:
            say(f"The products of {number:,} of {len(items):,} questions are found.")
    kinds = dataset.kinds
    answers = answer_all(shop, asked, names, load_model(run) if needs_model else None, kinds)
    return [
        {
            "question": item.question,
            "title": about.product.title if about.product else item.title,
            "ways": {name: said.as_dict() for name, said in mine.items()},
        }
        for item, about, mine in zip(items, asked, answers, strict=True)
    ]
