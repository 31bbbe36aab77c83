"""A dataset's rows in tokens, as the first tab shows them: all counted, or a sample of very many."""

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.dataset.store import Dataset, open_dataset
from pipeline.models.token_counts import row_lengths
from pipeline.runs.settings import default_base

MANY_ROWS = 20_000
SAMPLED_ROWS = 5_000


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of a dataset's training rows.

    Attributes:
        lengths: of each row, or of the rows that were drawn.
        rows: how many there are.
        counted: by the base's own tokenizer; else estimated from the characters.
    """

    lengths: tuple[int, ...]
    rows: int
    counted: bool


def token_counts(dataset: Dataset, base: str | None = None) -> TokenCounts:
    """The tokens of a dataset's training rows, counted once until a file of it changes.

    Args:
        base: the base model whose tokens are meant; this machine's default when not given.
    """
    changed = max(file.stat().st_mtime_ns for file in dataset.folder.iterdir())
    return _token_counts(str(dataset.folder), changed, default_base() if base is None else base)


@lru_cache(maxsize=8)
def _token_counts(folder: str, _changed: int, base: str) -> TokenCounts:
    rows = open_dataset(Path(folder)).training()
    drawn = rows if len(rows) <= MANY_ROWS else random.Random(0).sample(rows, SAMPLED_ROWS)
    lengths = row_lengths(drawn, base)
    return TokenCounts(lengths.whole, len(rows), lengths.counted)
