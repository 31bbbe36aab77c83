"""Where the requests of a dataset are: products and replies, time and money."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WritingProgress:
    """Where they are."""

    done: int
    total: int
    """Products."""
    workers: int
    asked: int
    """Replies paid for in this run."""
    reused: int
    """Replies that were in the journal."""
    refused: int
    """Requests that the server found too many (429), repeated later."""
    failed: int
    """Requests with a server's error, without an answer in time or cut off, repeated later."""
    in_flight: int
    limit: int
    """Requests that may be under way at once now."""
    per_second: float
    """Replies."""
    reply_seconds: float
    """That one reply takes, on average."""
    seconds: float
    seconds_left: float | None
    spent: float | None
    """USD; nothing if the price is unknown."""
    projected: float | None
    """USD of the whole run."""
    worth: float | None
    """USD that all replies cost that were used, those from the journal too."""
    tokens_in: int
    tokens_out: int
    """Of the replies paid for."""
    estimated: int
    """Replies whose tokens the server did not count; `spent` takes them by their length."""
    waiting: str
    """What holds the run up, if something does."""
