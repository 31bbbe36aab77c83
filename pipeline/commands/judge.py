"""`judge`: a file of customers' questions, answered in several ways; JSON on stdout and nothing else."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.inputs import RunFolder, check_finished, load_model
from pipeline.commands.terminal import say
from pipeline.prompts import MAX_QUESTION_CHARACTERS

app = typer.Typer()


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
    from pipeline.answering.judging import judged, named_ways, need_model
    from pipeline.runs.folder import read_settings

    read_settings(run)
    items = read_questions(questions)
    if long := sum(len(item.question) > MAX_QUESTION_CHARACTERS for item in items):
        say(f"Of {long:,} of {len(items):,} questions only the first {MAX_QUESTION_CHARACTERS:,} characters are asked.")
    with redirect_stdout(sys.stderr):  # what libraries print; stdout is for the answers alone
        names = named_ways(run, ways, say)
        if need_model(names):
            check_finished(run)
        results = judged(run, items, names, lambda: load_model(run), say)
    print(json.dumps(results, ensure_ascii=False, indent=1))
