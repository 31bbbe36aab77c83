"""The model that answers, where one is in memory: whether it is there, and giving it up. Torch is not imported for that."""

import sys
import threading
from collections.abc import Callable
from typing import Any

getting_ready = threading.Lock()
"""Held while a model is loaded before anybody asks it."""


def model_in_memory() -> Any:
    """The module that keeps the model, where it keeps one; None otherwise."""
    keeper = sys.modules.get("pipeline.answering.run_model")
    return keeper if keeper and keeper.is_loaded() else None


def make_room(fits: Callable[[], bool]) -> bool:
    """Give the model up unless it and what will begin fit into the memory together; it is loaded again when asked.

    Args:
        fits: asked only where there is a model.

    Returns:
        Whether it was given up.
    """
    with getting_ready:  # a model that is half loaded would take the memory a moment later
        keeper = model_in_memory()
    if keeper is None or fits():
        return False
    keeper.unload()
    return True
