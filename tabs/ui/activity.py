"""What this process is doing with a model, told to every window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_doing: dict[object, str] = {}
"""What this process is doing with a model, for the status line of every window."""


@contextmanager
def doing(text: str) -> Iterator[Callable[[int, int], None]]:
    """Tell every window what is being done while the block runs; call what it gives with (done, of)."""
    task = object()
    _doing[task] = text

    def progress(done: int, total: int) -> None:
        _doing[task] = f"{text}, {done} of {total}"

    try:
        yield progress
    finally:
        del _doing[task]


def is_busy() -> bool:
    """Whether this process is doing something with a model."""
    return bool(_doing)
