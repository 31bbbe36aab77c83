"""How long the training rows are in tokens: counted with the base's own tokenizer where that is on this machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist, fmean
from typing import Any

from pipeline.answering.bases import local_folder

CHARACTERS_PER_TOKEN = 3.7
"""Of the sample's rows; 4.1 of a real catalogue's (measured with SmolLM2's tokenizer)."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of each row, and those of its response with the end token.

    Attributes:
        counted: whether they were counted, or estimated from the characters.
    """

    whole: tuple[int, ...]
    learned: tuple[int, ...]
    counted: bool

    @cached_property
    def mean(self) -> float:
        return fmean(self.whole)

    @cached_property
    def _ordered(self) -> list[int]:
        return sorted(self.whole)

    @cached_property
    def learned_share(self) -> float:
        """Of all tokens, those that belong to a response."""
        return sum(self.learned) / sum(self.whole)

    def up_to(self, longest: int) -> "Lengths":
        """The rows of at most so many tokens; the child leaves the others out."""
        kept = [(w, a) for w, a in zip(self.whole, self.learned, strict=True) if w <= longest]
        return Lengths(tuple(w for w, _ in kept), tuple(a for _, a in kept), self.counted)

    def largest(self, size: int, draws: int, read: float, learned: float) -> float:
        """What the largest of `draws` random batches will probably come to.

        Args:
            size: rows in each.
            read: what a token counts (bytes, say), and `learned` what one of a response counts besides.
        """
        rows = [w * read + a * learned for w, a in zip(self.whole, self.learned, strict=True)]
        mean = fmean(rows)
        spread = math.sqrt(max(0.0, fmean(r * r for r in rows) - mean**2))
        unlikely = NormalDist().inv_cdf(max(0.5, (draws - 0.375) / (draws + 0.25)))  # the largest of n: Blom 1958
        return min(size * mean + unlikely * spread * math.sqrt(size), size * max(rows))

    def longest_of(self, draws: int) -> int:
        """The most tokens that one of so many random rows will probably have."""
        rows = len(self.whole)
        return self._ordered[min(rows - 1, rows * draws // (draws + 1))]


def row_lengths(rows: Sequence[dict[str, Any]], base: str) -> Lengths:
    """The lengths of dataset rows in the tokens of a base model, at best counted."""
    prompts = tuple(row["prompt"] for row in rows)
    responses = tuple(f" {row['response']}" for row in rows)
    folder = local_folder(base)
    file = folder / "tokenizer.json" if folder else None
    if file is None or not file.is_file():
        asked, answered = ([math.ceil(len(t) / CHARACTERS_PER_TOKEN) for t in texts] for texts in (prompts, responses))
    else:
        key = str(file), file.stat().st_mtime_ns
        asked, answered = _tokens(*key, prompts, True), _tokens(*key, responses, False)
    learned = tuple(n + 1 for n in answered)  # the end token
    whole = tuple(a + b for a, b in zip(asked, learned, strict=True))
    return Lengths(whole, learned, counted=file is not None and file.is_file())


@lru_cache(maxsize=4)
def _tokenizer(file: str, _changed: int) -> Any:
    from tokenizers import Tokenizer  # this library alone: Transformers would bring torch into the page

    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = True  # as prompts.py does: a special token spelled out in a text stays text
    return tokenizer


@lru_cache(maxsize=8)
def _tokens(file: str, changed: int, texts: tuple[str, ...], special: bool) -> list[int]:
    """Counted once a dataset: a page asks again at every move of a slider (1,000 rows take 40 ms)."""
    encoded = _tokenizer(file, changed).encode_batch(list(texts), add_special_tokens=special)
    return [len(text.ids) for text in encoded]
