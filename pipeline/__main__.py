"""Every step of the tabs as a command: `python -m pipeline demo`, `… train`, `… ask`."""

import sys

import typer

from pipeline.commands import asking, dataset, judge, publishing, serving, space, terminal, training

app = typer.Typer(help=__doc__, rich_markup_mode=None, add_completion=False, suggest_commands=False)
for group in (training, dataset, asking, judge, serving, publishing, space):
    app.add_typer(group.app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and tell its exit code: 0 done, 2 something is wrong with what it was given, 130 stopped by Ctrl-C."""
    return terminal.run(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
