"""`space.yaml`: what is wrong in it is one sentence that names the key, and README.md's top is written from it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import SettingsError
from pipeline.files import PROJECT
from pipeline.space.settings import README, SPACE_FILE, read_space, with_front_matter, write_front_matter


def changed(tmp_path: Path, **changes: Any) -> Path:
    """A copy of the project's file with other values; `deploy__x` is in the block `deploy`, and None leaves a key out."""
    read = yaml.safe_load(SPACE_FILE.read_text(encoding="utf-8"))
    for name, value in changes.items():
        block, _, key = name.rpartition("deploy__")
        place = read["deploy"] if block or name.startswith("deploy__") else read
        place[key] = value
        if value is None:
            del place[key]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(read, allow_unicode=True), encoding="utf-8")
    return tmp_path / "space.yaml"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("titel", "Shelf", "titel is no key; the keys are title, emoji"),
        ("emoji", "cart", "emoji is 'cart'; it must be one emoji"),
        ("emoji", "🛒🛒", "it must be one emoji"),
        ("colorFrom", "orange", "colorFrom is 'orange'; it must be one of red, yellow"),
        ("sdk", "streamlit", "sdk is 'streamlit'; it must be gradio"),
        ("python_version", 3.11, "python_version is 3.11; it must be a version in quotes"),
        ("suggested_hardware", "l4", "suggested_hardware is 'l4'; it must be one of the Hub's"),
        ("hf_oauth", "yes", "hf_oauth is 'yes'; it must be true or false"),
        ("hf_oauth_scopes", ["read-mail"], "hf_oauth_scopes is ['read-mail']; it must be a list of some of email"),
        ("hf_oauth_expiration_minutes", 43201, "it must be a number of minutes from 1 to 43200"),
        ("preload_from_hub", ["llama"], "preload_from_hub is ['llama']"),
        ("short_description", "x" * 61, "it must be a line of at most 60 characters"),
        ("license", None, "license is missing; it must be a license's id"),
        ("deploy", None, "has no block `deploy`"),
        ("deploy__sleep_time", 5, "deploy: sleep_time is 5; it must be at least 60 seconds, or -1"),
        ("deploy__sleep_time", True, "sleep_time is True"),
        ("deploy__hardware", "h900", "deploy: hardware is 'h900'"),
        ("deploy__storage", None, "deploy: storage is missing"),
        ("deploy__variables", {"A": 1}, "variables is {'A': 1}; it must be names and their values in quotes"),
        ("deploy__secrets", {"MY KEY": "x"}, "secrets is {'MY KEY': 'x'}"),
        ("deploy__variables", {"HF_TOKEN": "x"}, "HF_TOKEN is a variable and a secret"),
    ],
)
def test_what_is_wrong_is_a_sentence_that_names_the_key(name: str, value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        read_space(changed(tmp_path, **{name: value}))
    assert str(caught.value).startswith("space.yaml") and str(caught.value).endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "deploy: [", "a: &a [*a]", "\x00", "deploy: 1"])
def test_what_is_no_settings_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"space\.yaml"):
        read_space(tmp_path / "space.yaml")


def test_values_that_the_hub_takes_are_fine(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    fine = {
        "emoji": "👩‍🔬",
        "hf_oauth_scopes": ["read-repos", "email"],
        "preload_from_hub": ["a/b", "a/b x.json,y.json", f"a/b config.json {commit}"],
        "deploy__sleep_time": -1,
    }
    settings = read_space(changed(tmp_path, **fine))
    assert settings.matter["emoji"] == "👩‍🔬" and settings.sleep_time == -1


@pytest.mark.parametrize("text", ["# Title\n\n---\nA rule\n---\n", "", "---\na: 1\n---\n\n# Title\n\n---\nx\n---\n"])
def test_only_the_top_of_a_readme_is_written(text: str, tmp_path: Path) -> None:
    readme, settings = tmp_path / "README.md", read_space()
    readme.write_text(text, encoding="utf-8")
    assert write_front_matter(readme, settings)
    written = readme.read_text(encoding="utf-8")
    _, matter, rest = written.split("---\n", 2)
    assert yaml.safe_load(matter) == settings.matter
    assert rest.strip() == text.removeprefix("---\na: 1\n---\n").strip()
    assert not write_front_matter(readme, settings) and with_front_matter(written, settings) == written


def test_the_command_says_whether_there_was_anything_to_write() -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_front_matter(readme, read_space()) == readme  # or else the command would write it
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "front-matter"], cwd=PROJECT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "README.md had them already.\n")
