"""What a batch job remembers, and the part of a server's account of it that is used."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

OUR_NAME = "shelftalk"
"""The field of a batch's metadata that holds the name we gave it."""


class Part(BaseModel):
    """One batch. Without an id it may or may not be on the server."""

    name: str
    keys: list[str]
    id: str = ""
    status: str = ""
    completed: int = 0
    failed: int = 0
    collected: bool = False


class State(BaseModel):
    """A job."""

    model: str
    base_url: str
    parts: list[Part] = []
    """Of all rounds."""
    tries: dict[str, int] = {}
    """Errors by request."""
    spent: float = 0.0
    paid: float = 0.0
    """USD that the job had cost before its first batch."""
    cancelled: bool = False

    @property
    def open(self) -> list[Part]:
        return [part for part in self.parts if not part.collected]


@dataclass(frozen=True)
class BatchStatus:
    """Where a job is."""

    state: str
    """`open`: come back later. `done`: the journal has every reply. `cancelled`: as it was asked for."""
    requests: int
    """Sent so far, in all rounds."""
    completed: int
    failed: int
    batches: int
    """Under way."""
    spent: float | None
    """USD for the replies that have arrived; nothing if the price is unknown."""
    paid: float
    """USD that the job had cost before."""
    message: str


class Counts(BaseModel):
    completed: int = 0
    failed: int = 0


class Batch(BaseModel):
    """The part of the server's account of a batch that is used."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Any = None
    metadata: Any = None
    request_counts: Counts | None = None

    @property
    def name(self) -> str:
        return str(self.metadata.get(OUR_NAME, "")) if isinstance(self.metadata, dict) else ""


class Page(BaseModel):
    data: list[Batch]
    has_more: bool = False


class Response(BaseModel):
    status_code: int = 0
    body: Any = None


class Line(BaseModel):
    """A line of an output or error file."""

    custom_id: str
    response: Response | None = None
    error: Any = None


class Uploaded(BaseModel):
    id: str = Field(min_length=1)
