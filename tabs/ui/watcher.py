"""What an open page asks at each tick: one event, in which every part of the page says what is new.

An event costs the server and the browser more than what is done in it, so there is one for all parts.
"""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from tabs.ui.events import Update, open_to_all
from tabs.ui.text import explain, notice

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECENT_SECONDS = 1.0
"""So old an answer may be that all pages share."""

_actions = 0
"""How many handlers of the owner's have been called."""


@dataclass(frozen=True)
class Refresh:
    """How a part of the page learns what is new.

    Attributes:
        handler: gets the values of `inputs` and returns what becomes of `outputs`; an empty update while nothing is new.
        problem: where its problems are shown as a sentence; without one they are in the log alone.
    """

    handler: Callable[..., Update]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    problem: gr.HTML | None = None


def together(parts: Sequence[Refresh]) -> Refresh:
    """All of them in one, in which a part that fails keeps no other from being refreshed.

    Raises:
        ValueError: a part's handler is not open to all, as the whole is: every visitor's page calls it.
    """
    for part in parts:
        if not getattr(part.handler, "open_to_all", False) or getattr(part.handler, "in_measure", False):
            raise ValueError(f"{part.handler} is not for everybody at any time, so it cannot be part of every tick.")

    @open_to_all
    def tick(*values: Any) -> Any:
        news: Update = {}
        rest = iter(values)
        for part in parts:
            own = [next(rest) for _ in part.inputs]
            try:
                news |= part.handler(*own)
            except Exception as error:
                if part.problem:
                    news[part.problem] = notice(explain(error))
                else:
                    logger.exception("A part of the page could not be refreshed")
        return news or gr.skip()

    return Refresh(
        tick,
        [component for part in parts for component in part.inputs],
        list(dict.fromkeys(c for part in parts for c in (*part.outputs, part.problem) if c is not None)),
    )


def recently(function: Callable[..., T]) -> Callable[..., T]:
    """The function with its answers kept for a second: however many pages are open, they are found once for all.

    What the owner has done since (see `done_by_owner`) is in every answer.
    """
    kept: dict[Any, tuple[float, T]] = {}

    @functools.wraps(function)
    def recent(*args: Any) -> T:
        now, key = time.monotonic(), (_actions, *args)
        found = kept.get(key)
        if found and now < found[0]:
            return found[1]
        for old in [old for old, (until, _) in list(kept.items()) if until <= now]:
            kept.pop(old, None)
        answer = function(*args)
        kept[key] = now + RECENT_SECONDS, answer
        return answer

    return recent


def done_by_owner() -> None:
    """Let no answer be used any more that was begun before: the owner's page shows at once what the owner did."""
    global _actions
    _actions += 1
