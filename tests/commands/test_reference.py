"""`docs/CLI.md` is what the commands say of themselves."""

import pytest

from pipeline.commands.reference import CLI, commands


def test_the_document_is_as_the_commands_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # whatever the terminal
    assert CLI.read_text(encoding="utf-8") == commands(), "The commands have changed; run `make docs`."


def test_every_command_and_option_is_in_it() -> None:
    text = commands()
    for words in (
        "## demo",
        "--products <int>",
        "## ask",
        "QUESTION",
        "## front-matter",
        "--dry-run",
        "[default: quick]",
    ):
        assert words in text
