"""The model that answers, where one is in memory: whether it is there, who uses it, and giving it up for something else. Torch is
not imported for that."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

getting_ready = threading.Lock()
"""Held while a model is loaded before anybody asks it. Whoever needs `memory` too takes this first."""

memory = threading.RLock()
"""Held by whoever asks for the memory of a model or of a training until it is taken, so that two never count on the same."""

LONGEST_WAIT = 120.0
"""Seconds for answers that still use a model which was given up; a browser that went away may hold one for long."""

_users = threading.Condition()
_using = 0


@contextmanager
def in_use() -> Iterator[None]:
    """For as long as an answer uses the model: its memory is not free before."""
    global _using
    with _users:
        _using += 1
    try:
        yield
    finally:
        with _users:
            _using -= 1
            _users.notify_all()


def model_in_memory() -> Any:
    """The module that keeps the model, where it keeps one; None otherwise."""
    keeper = sys.modules.get("pipeline.answering.run_model")
    return keeper if keeper and keeper.is_loaded() else None


@contextmanager
def room(fits: Callable[[], bool], on_wait: Callable[[], object] = lambda: None) -> Iterator[bool]:
    """Give the model up unless it and what will begin fit into the memory together; it is loaded again when asked.

    Until the block ends nobody loads another one: what begins in it has taken its memory by then, or is known to be about to.

    Args:
        fits: asked only where there is a model.
        on_wait: called where answers use the model, which are awaited.

    Yields:
        Whether it was given up.
    """
    with getting_ready, memory:
        keeper = model_in_memory()
        if keeper is None or fits():
            yield False
            return
        keeper.unload()
        with _users:
            if _using:
                on_wait()
                _users.wait_for(lambda: not _using, LONGEST_WAIT)
        keeper.unload()  # now nobody refers to it
        yield True


def make_room(fits: Callable[[], bool]) -> bool:
    """The same for what takes its memory later."""
    with room(fits) as was_given_up:
        return was_given_up
