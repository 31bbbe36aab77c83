"""What was asked in each browser, kept a while: a page whose connection was cut is loaded anew, and shows again what was said.

The browser holds a word that nobody can guess, and this process what was said by that word; nothing of it is on the disk.
"""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from tabs.chat.cards import Exchange

MOST_BROWSERS = 200
KEPT_QUESTIONS = 20
"""Questions, with their answers, that a page shows."""

KEPT_SECONDS = 12 * 3600


@dataclass
class _Kept:
    """Attributes:
    exchanges: the newest first.
    until: when they are forgotten, by the monotonic clock.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    until: float = 0.0


_lock = threading.Lock()
_kept: OrderedDict[str, _Kept] = OrderedDict()


def new_word() -> str:
    """A word for a browser that has none."""
    return secrets.token_urlsafe(16)


def keep(word: str, exchange: Exchange, *, new: bool) -> None:
    """Keep a question with what has been said so far.

    Args:
        word: the browser's; without one nothing is kept.
        new: whether the question was just asked; otherwise its answers have grown.
    """
    if not word:
        return
    with _lock:
        found = _kept.pop(word, None) or _Kept()
        found.exchanges[:] = [exchange, *(found.exchanges if new else found.exchanges[1:])][:KEPT_QUESTIONS]
        found.until = time.monotonic() + KEPT_SECONDS
        _kept[word] = found
        while len(_kept) > MOST_BROWSERS or next(iter(_kept.values())).until < time.monotonic():
            _kept.popitem(last=False)


def asked_in(word: str) -> list[Exchange]:
    """What was asked in a browser, the newest first."""
    with _lock:
        found = _kept.get(word)
        return list(found.exchanges) if found and found.until > time.monotonic() else []


def forget(word: str) -> None:
    with _lock:
        _kept.pop(word, None)
