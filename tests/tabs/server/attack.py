"""What every attack shares: the world that is attacked, and how a refusal is told."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from tests.tabs.server.test_identity import Space, as_caller, by_call

MARKUP = "<img src=x onerror=window.ranAway=1>"
TOKEN = "hf_abcdefghijklmnop123"


@dataclass
class World:
    """What there is to attack."""

    space: Space
    run: Path
    base: Path
    folder: Path
    patch: pytest.MonkeyPatch

    def call(self, endpoint: str, *values: Any, **headers: str) -> str:
        with as_caller(self.space, {name.replace("_", "-"): value for name, value in headers.items()}) as client:
            return sentence(by_call(client, endpoint, list(values)))

    def get(self, path: str, method: str = "GET", **how: Any) -> str:
        with as_caller(self.space, {}) as client:
            reply = client.request(method, path, **how)
            return f"{reply.status_code} {reply.text[:120]}"


@dataclass(frozen=True)
class Attack:
    """Attributes:
    what: is tried.
    expected: in words.
    attempt: tries it, and returns what came of it.
    shows: a pattern that is found in that.
    """

    what: str
    expected: str
    attempt: Callable[[World], str]
    shows: str


def sentence(events: str) -> str:
    """What an error of Gradio's says; the events as they are where there is none."""
    found = re.search(r'"error": ?("(?:[^"\\]|\\.)*")', events)
    return json.loads(found[1]) if found else events


def refused(action: Callable[[], Any]) -> str:
    """The sentence of a refusal, or what was let through."""
    try:
        return f"let through: {action()!r}"
    except PipelineError as error:
        return str(error)
