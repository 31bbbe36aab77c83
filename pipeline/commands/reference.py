"""What `docs/` says of the code, written from the code: `python -m pipeline.commands.reference` (`make docs`).

`docs/CLI.md` is the commands' own help; the tree in `docs/ARCHITECTURE.md` is the first sentence of each module. A test holds
both to the code.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.core

from pipeline.__main__ import app
from pipeline.commands.terminal import PROGRAM
from pipeline.files import PROJECT, write_text

CLI = PROJECT / "docs" / "CLI.md"
ARCHITECTURE = PROJECT / "docs" / "ARCHITECTURE.md"
WIDTH = 110

WAY = (
    *("ui", "server"),
    *("catalogue", "facts", "dataset", "writing", "models", "runs", "answering", "training", "publishing", "space"),
    *("serving", "commands", "chat"),
)
"""Folders in the order of the way of the data: the page's and the pipeline's."""

TOP = f"""# The command line

`{PROGRAM}` does every step of the tabs without the page (in a clone: `.venv/bin/{PROGRAM}`, after `make run` or `make test`
has made `.venv`). This file is written by `make docs` from the commands' own help.

- Progress goes to stderr; stdout has results alone: an address, a file's name, answers.
- Exit codes: 0 done; 2 something is wrong with what was given, said in one sentence (nothing was trained); 130 stopped by Ctrl-C.
- Runs, datasets and uploads lie in the project's folder, or where `SHELFTALK_HOME` says.
"""

_TREE = re.compile(r"(?<=<!-- tree: begin -->\n).*?(?=<!-- tree: end -->)", re.DOTALL)


def commands() -> str:
    """The text of `docs/CLI.md`."""
    parts = [TOP]
    for name, command in _commands(typer.main.get_group(app), ""):
        context = command.make_context(f"{PROGRAM} {name}", [], resilient_parsing=True, terminal_width=WIDTH)
        parts.append(f"## {name}\n\n```\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def _commands(group: typer.core.TyperGroup, before: str) -> Iterator[tuple[str, Any]]:
    """Every command with its name, a group's own after its group's."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def with_tree(document: str) -> str:
    """The text of `docs/ARCHITECTURE.md` with the tree as it is now."""
    lines = [*_entry(PROJECT / "app.py", 0), *_folder(PROJECT / "pipeline", 0), *_folder(PROJECT / "tabs", 0)]
    return _TREE.sub(lambda _: "```\n" + "\n".join(lines) + "\n```\n", document)


def _folder(folder: Path, depth: int) -> Iterator[str]:
    """A package: what it is, its modules, then its packages."""
    yield from _entry(folder, depth)
    for module in sorted(folder.glob("*.py")):
        if module.name != "__init__.py":
            yield from _entry(module, depth + 1)
    packages = [init.parent for init in folder.glob("*/__init__.py")]
    for package in sorted(packages, key=lambda p: (WAY.index(p.name) if p.name in WAY else len(WAY), p.name)):
        yield from _folder(package, depth + 1)


def _entry(path: Path, depth: int) -> Iterator[str]:
    source = path / "__init__.py" if path.is_dir() else path
    about = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<=\.)\s", about.partition("\n\n")[0].replace("\n", " "))[0]
    name = "  " * depth + path.name + ("/" if path.is_dir() else "")
    yield f"{name:<28} {sentence}".rstrip()


if __name__ == "__main__":
    CLI.parent.mkdir(exist_ok=True)
    write_text(CLI, commands())
    write_text(ARCHITECTURE, with_tree(ARCHITECTURE.read_text(encoding="utf-8")))
