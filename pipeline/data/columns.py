"""Which columns of a file are a product's title, content and uid."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns (or of its rows' fields, where it is JSON)."""

    title: str
    content: tuple[str, ...]
    """Their texts follow one another."""
    uid: str | None = None
    """None: the number of the row is its uid."""


PLAIN = Columns("title", ("content",), "uid")
"""The names that this project's own catalogue has, and AmazonTitles-1.3MM's."""
