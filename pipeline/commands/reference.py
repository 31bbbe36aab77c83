"""`python -m pipeline.commands.reference`: writes `docs/CLI.md` from the commands themselves; a test holds the two together."""

import typer

from pipeline.__main__ import app
from pipeline.commands.terminal import PROGRAM
from pipeline.files import PROJECT, write_text

CLI = PROJECT / "docs" / "CLI.md"
WIDTH = 110

TOP = f"""# The command line

`{PROGRAM}` does every step of the tabs without the page (in a clone: `.venv/bin/{PROGRAM}`, after `make run` or `make test`
has made `.venv`). This file is written by `make docs` from the commands' own help.

- Progress goes to stderr; stdout has results alone: an address, a file's name, answers.
- Exit codes: 0 done; 2 something is wrong with what was given, said in one sentence (nothing was trained); 130 stopped by Ctrl-C.
- Runs, datasets and uploads lie in the project's folder, or where `SHELFTALK_HOME` says.
"""


def reference() -> str:
    """The text of `docs/CLI.md`."""
    parts = [TOP]
    for name, command in typer.main.get_group(app).commands.items():
        context = command.make_context(f"{PROGRAM} {name}", [], resilient_parsing=True, terminal_width=WIDTH)
        parts.append(f"## {name}\n\n```\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    CLI.parent.mkdir(exist_ok=True)
    write_text(CLI, reference())
