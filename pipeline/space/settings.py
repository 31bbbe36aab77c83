"""`space.yaml`, the one source of a Space's settings, and the part of it that the Hub reads from the top of README.md."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import regex
import yaml

from pipeline.errors import SettingsError
from pipeline.files import PROJECT, write_text

SPACE_FILE, README = PROJECT / "space.yaml", PROJECT / "README.md"

SCOPES = (
    "email",
    "gated-repos",
    "inference-api",
    "manage-repos",
    "read-billing",
    "read-repos",
    "write-discussions",
    "write-repos",
)
"""What may be asked of somebody who signs in, beside `openid` and `profile`, which are always granted.

Source: https://huggingface.co/docs/hub/spaces-oauth#scopes
"""

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")

LONGEST_DESCRIPTION = 60

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRELOADED = re.compile(r"\A[\w.-]+/[\w.-]+( \S+( [0-9a-f]{40})?)?")

Check = tuple[Callable[[Any], bool], str]
"""Whether a value is fine, and what it must be."""


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _texts(pattern: str) -> Callable[[Any], bool]:
    fine = _text(pattern)
    return lambda value: isinstance(value, list) and value != [] and all(map(fine, value))


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _emoji(value: Any) -> bool:
    one = isinstance(value, str) and regex.fullmatch(r"\X", value)
    return bool(one and regex.search(r"\p{Extended_Pictographic}|\p{Regional_Indicator}", value))


def _hardware(value: Any) -> bool:
    from huggingface_hub import SpaceHardware

    return value in {flavor.value for flavor in SpaceHardware}


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _NAME.fullmatch(name) and isinstance(said, str) and said
        for name, said in value.items()
    )


_REPOSITORY = r"[\w.-]+/[\w.-]+"
_LINE = r"\S[^\n]*"
_HARDWARE: Check = (_hardware, "one of the Hub's, such as cpu-basic, t4-small or l4x1")
_COLOR: Check = (lambda value: value in COLORS, f"one of {', '.join(COLORS)}")
_YES: Check = (_flag, "true or false")

HUB_KEYS: dict[str, Check] = {
    "title": (_text(_LINE), "a line of text"),
    "emoji": (_emoji, "one emoji"),
    "colorFrom": _COLOR,
    "colorTo": _COLOR,
    "sdk": (lambda value: value == "gradio", "gradio, which the app is made with"),
    "sdk_version": (_text(r"\d+\.\d+\.\d+"), 'a version in quotes, such as "6.31.0"'),
    "python_version": (_text(r"3\.\d+(\.\d+)?"), 'a version in quotes, such as "3.11"'),
    "app_file": (_text(r"[\w/.-]+\.py"), "a Python file of the project"),
    "fullWidth": _YES,
    "suggested_hardware": _HARDWARE,
    "hf_oauth": _YES,
    "hf_oauth_scopes": (
        lambda value: isinstance(value, list) and value != [] and all(scope in SCOPES for scope in value),
        f"a list of some of {', '.join(SCOPES)}",
    ),
    "hf_oauth_expiration_minutes": (
        lambda value: _whole(value) and 1 <= value <= 43200,
        "a number of minutes from 1 to 43200",
    ),
    "preload_from_hub": (
        _texts(_PRELOADED.pattern),
        "a list of user/name, each perhaps followed by its files and a commit's 40 digits",
    ),
    "models": (_texts(_REPOSITORY), "a list of user/name"),
    "datasets": (_texts(_REPOSITORY), "a list of user/name"),
    "tags": (_texts(_LINE), "a list of words"),
    "license": (_text(r"[a-z0-9.-]+"), "a license's id, such as apache-2.0"),
    "short_description": (
        lambda value: _text(_LINE)(value) and len(value) <= LONGEST_DESCRIPTION,
        f"a line of at most {LONGEST_DESCRIPTION} characters",
    ),
    "startup_duration_timeout": (_text(r"\d+[smh]"), "a duration such as 30m or 1h"),
    "pinned": _YES,
}
"""What the Hub reads at the top of README.md. Source: https://huggingface.co/docs/hub/spaces-config-reference"""

NEEDED = ("title", "emoji", "sdk", "sdk_version", "python_version", "app_file", "license", "short_description")

DEPLOY_KEYS: dict[str, Check] = {
    "name": (_text(r"[\w.-]{1,96}"), "a name in letters, digits and ._-"),
    "hardware": _HARDWARE,
    "sleep_time": (
        lambda value: _whole(value) and (value == -1 or value >= 60),
        "at least 60 seconds, or -1 for never",
    ),
    "storage": _YES,
    "variables": (_named, "names and their values in quotes; a name has letters, digits and _"),
    "secrets": (_named, "names and a sentence about each; a name has letters, digits and _"),
}


@dataclass(frozen=True)
class SpaceSettings:
    """What `space.yaml` says.

    Attributes:
        matter: what the Hub reads, by its keys.
        name: of the Space, where none is named.
        hardware: what is asked for.
        sleep_time: seconds after the last visit until the Space sleeps; -1 is never.
        storage: whether a storage bucket is mounted at `/data`.
        variables: environment variables that everybody can read.
        secrets: names of environment variables that nobody can read, with a sentence about each.
    """

    matter: dict[str, Any]
    name: str
    hardware: str
    sleep_time: int
    storage: bool
    variables: dict[str, str]
    secrets: dict[str, str]


def read_space(path: Path = SPACE_FILE) -> SpaceSettings:
    """The settings in a file.

    Raises:
        SettingsError: it cannot be read, or a key or its value is wrong.
    """
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path.name} cannot be read as YAML ({type(error).__name__}); correct it.") from error
    if not isinstance(read, dict) or not isinstance(read.get("deploy"), dict):
        raise SettingsError(f"{path.name} has no block `deploy`; it holds what deploying needs.")
    deploy, matter = read["deploy"], {key: value for key, value in read.items() if key != "deploy"}
    _check(path.name, matter, HUB_KEYS, NEEDED)
    _check(f"{path.name}, deploy", deploy, DEPLOY_KEYS, tuple(DEPLOY_KEYS))
    if both := sorted(deploy["variables"].keys() & deploy["secrets"].keys()):
        raise SettingsError(f"{path.name}, deploy: {both[0]} is a variable and a secret; take it out of one of them.")
    return SpaceSettings(matter, **{f.name: deploy[f.name] for f in fields(SpaceSettings) if f.name != "matter"})


def _check(where: str, values: dict[Any, Any], known: dict[str, Check], needed: tuple[str, ...]) -> None:
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{where}: {key} is no key; the keys are {', '.join(known)}.")
        fine, words = known[key]
        if not fine(value):
            raise SettingsError(f"{where}: {key} is {value!r}; it must be {words}.")
    if missing := [key for key in needed if key not in values]:
        raise SettingsError(f"{where}: {missing[0]} is missing; it must be {known[missing[0]][1]}.")


def with_front_matter(text: str, settings: SpaceSettings) -> str:
    """A README's text with the Hub's settings at its top, in the place of those that it has; the rest stays as it is."""
    matter = yaml.safe_dump(settings.matter, allow_unicode=True, sort_keys=False, width=1000)
    rest = re.sub(r"\A---\n.*?^---\n", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    return f"---\n{matter}---\n{rest if rest != text else chr(10) + text}"


def write_front_matter(readme: Path = README, settings: SpaceSettings | None = None) -> bool:
    """Write the Hub's settings at the top of README.md.

    Returns:
        Whether that changed anything.

    Raises:
        SettingsError: `space.yaml` is wrong.
    """
    before = readme.read_text(encoding="utf-8")
    after = with_front_matter(before, settings or read_space())
    if after != before:
        write_text(readme, after)
    return after != before
