"""How a command speaks and ends: progress on stderr, results alone on stdout, a refusal as one sentence, an exit code."""

import logging
import sys

import typer

from pipeline.errors import PipelineError, disk_problem

PROGRAM = "python -m pipeline"

BAD_INPUT = 2
INTERRUPTED = 130
"""Exit codes; 0 is done."""


def say(text: str) -> None:
    """Progress for the person who waits; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def confirmed(words: str) -> bool:
    """Whether the person at the terminal agrees."""
    print(f"{words} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name (default: the process's own).

    Returns:
        The exit code.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
    command = typer.main.get_group(app)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = command.main(words, prog_name=PROGRAM, standalone_mode=False) or 0
    except typer.TyperException as error:
        named = f" {words[0]}" if words and words[0] in command.commands else ""
        say(f"{_usage_problem(error)}; `{PROGRAM}{named} --help` shows what there is.")
        return BAD_INPUT
    except PipelineError as error:
        say(str(error))
        return BAD_INPUT
    except OSError as error:
        say(
            disk_problem(error)
            or f"{error.filename or 'A file'} cannot be used ({error.strerror or error}); choose another."
        )
        return BAD_INPUT
    except typer.Abort:  # stdin ended in a question
        code = INTERRUPTED
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        say("Stopped; what was written and every reply that arrived is kept.")
    return code


def _usage_problem(error: typer.TyperException) -> str:
    """What Typer or pydantic has against the arguments, on one line, with the value that was given."""
    words = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
    given = getattr(error.__cause__, "errors", list)()  # of pydantic's ValidationError
    value = repr(given[0]["input"]) if given else ""
    return words if value in words else f"{words}: {value}"
