"""A base's own chat template → what it puts around a question: read from the base's files, without torch or its tokenizer."""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.files import read_json
from pipeline.models.bases import local_folder
from pipeline.models.family import family_of_base
from pipeline.prompts import CHAT, Chat

TEMPLATE = "chat_template.jinja"

LARGEST_TEMPLATE = 1_000_000
"""Characters; those of the large families have some ten thousand."""

_ONE_DAY = date(2024, 7, 26)
"""Today, to a template that cannot do without: the day that Llama 3.2's names where it is told none."""

_ASKED, _SAID = "What is asked stands here.", "What is said stands here."
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
"""Marks for a trainer that learns what the assistant says; they put nothing into the text."""


def chat_of(folder: Path) -> Chat | None:
    """What a base's template puts around a question; None where it has none, or one that cannot be used."""
    stamps = [(folder / name).stat().st_mtime_ns for name in _files(folder)]
    return _chat_of(folder, tuple(stamps))


def _files(folder: Path) -> list[str]:
    return [name for name in (TEMPLATE, "tokenizer_config.json", "tokenizer.json") if (folder / name).is_file()]


@lru_cache(maxsize=16)
def _chat_of(folder: Path, _changed: tuple[int, ...]) -> Chat | None:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        config = read_json(folder / "tokenizer_config.json")
        template = _template(folder, config)
        if not template or len(template) > LARGEST_TEMPLATE:
            return None
        named = {name: _content(config.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
        added = [token["content"] for token in read_json(folder / "tokenizer.json")["added_tokens"]]
        return around(template, {name: token for name, token in named.items() if token}, added)
    return None


def lacks_chat(base: str) -> bool:
    """Whether a base has no chat template that can be used, as far as is known before it is on this machine."""
    folder = local_folder(base)
    return not family_of_base(base).has_template if folder is None else chat_of(folder) is None


def check_format(base: str, prompt_format: str) -> None:
    """Refuse to ask a base in a chat template that it does not have, as far as is known.

    Raises:
        SettingsError: it has none.
    """
    if prompt_format == CHAT and lacks_chat(base):
        raise SettingsError(f"{base} has no chat template that can be used; set prompt_format to plain.")


def _template(folder: Path, config: dict[str, Any]) -> str:
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    said = config.get("chat_template") or ""
    if isinstance(said, list):  # several by name
        return next((str(one["template"]) for one in said if one.get("name") == "default"), "")
    return said if isinstance(said, str) else ""


def _content(token: Any) -> str:
    return (token.get("content") if isinstance(token, dict) else token) or ""


def around(template: str, named: Mapping[str, str], added: Collection[str]) -> Chat | None:
    """What a template puts around a question that is asked alone; None where it cannot be rendered, or changes the question.

    It is rendered as Transformers does, but for today's date, which some templates would put in: a run is asked for months in the
    very prompt that it was trained on. Such a template has a date of its own for where it is told none, or is told one day.

    Args:
        named: special tokens by the names that templates use, as `bos_token`.
        added: every token that stands for itself in a text.
    """
    rendered = _rendered(template, named) or _rendered(template, {**named, "strftime_now": _ONE_DAY.strftime})
    if rendered is None:
        return None
    prompt, whole = rendered
    if prompt.count(_ASKED) != 1:
        return None
    head, _, tail = prompt.partition(_ASKED)
    after = whole.rpartition(_SAID)[2].lstrip()
    ends = [token for token in added if token and after.startswith(token)]
    return Chat(head, tail, max(ends, key=len, default=named.get("eos_token", "")))


def _rendered(template: str, options: Mapping[str, Any]) -> tuple[str, str] | None:
    """A question as a template asks it, and one that is answered; None where it cannot be rendered."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    asked, said = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}
    told: dict[str, Any] = {"tools": None, "documents": None, "enable_thinking": False, **options}
    try:
        made = environment.from_string(_GENERATION.sub("", template))
        prompt = made.render(messages=[asked], add_generation_prompt=True, **told)
        return prompt, made.render(messages=[asked, said], add_generation_prompt=False, **told)
    except (TemplateError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError):
        return None


def _refuse(message: str) -> None:
    raise ValueError(message)
