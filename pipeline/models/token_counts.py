"""The training rows in tokens: how long they are, and what of one is learned.

The base's own tokenizer counts, where it is on this machine. Torch is not needed for it, so the page may ask.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

from pipeline.errors import SettingsError
from pipeline.files import read_json
from pipeline.models.bases import local_folder
from pipeline.models.chat import chat_of
from pipeline.prompts import CHAT, NO_FACT, PLAIN, answer_text, ask_in, encode_example, encode_prompt, without_cue

CHARACTERS_PER_TOKEN = 3.7
"""Of the sample's rows; 4.1 of a real catalogue's (measured with SmolLM2's tokenizer)."""


CHAT_TOKENS = 30
"""What a chat template puts around a question, where nobody can count it."""


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


def row_lengths(rows: Sequence[dict[str, Any]], base: str, prompt_format: str = PLAIN) -> Lengths:
    """The lengths of dataset rows in the tokens of a base model, at best counted."""
    file = _tokenizer_file(base)
    chat = chat_of(file.parent) if file and prompt_format == CHAT else None
    prompts = tuple(without_cue(row["prompt"]) if chat else row["prompt"] for row in rows)
    responses = tuple(answer_text(row["response"], chat) for row in rows)
    if file is None:
        more = CHAT_TOKENS if prompt_format == CHAT else 0
        asked, answered = ([math.ceil(len(t) / CHARACTERS_PER_TOKEN) for t in texts] for texts in (prompts, responses))
        asked = [n + more for n in asked]
    else:
        key = str(file), file.stat().st_mtime_ns
        asked, answered = _tokens(*key, prompts, chat is None), _tokens(*key, responses, False)
        if chat:
            more = len(encode_prompt(ask_in(_Reader(*key, ""), chat), ""))
            asked = [n + more for n in asked]
    learned = tuple(n + 1 for n in answered)  # the end token
    whole = tuple(a + b for a, b in zip(asked, learned, strict=True))
    return Lengths(whole, learned, counted=file is not None)


def _tokenizer_file(base: str) -> Path | None:
    folder = local_folder(base)
    file = folder / "tokenizer.json" if folder else None
    return file if file and file.is_file() else None


@lru_cache(maxsize=4)
def _tokenizer(file: str, _changed: int, as_text: bool = True) -> Any:
    """
    Args:
        as_text: whether a special token that is spelled out in a text stays text, as in prompts.py.
    """
    from tokenizers import Tokenizer  # this library alone: Transformers would bring torch into the page

    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = as_text
    return tokenizer


@lru_cache(maxsize=8)
def _tokens(file: str, changed: int, texts: tuple[str, ...], special: bool) -> list[int]:
    """Counted once a dataset: a page asks again at every move of a slider (1,000 rows take 40 ms)."""
    encoded = _tokenizer(file, changed).encode_batch(list(texts), add_special_tokens=special)
    return [len(text.ids) for text in encoded]


LEARNED, TOO_LONG = "learned", "beyond the longest example"
"""What a piece of a row is called; what the model only reads has no name."""


@dataclass(frozen=True)
class Token:
    """One token of a training row: the text it stands for, its id, and whether its loss counts."""

    text: str
    id: int
    learned: bool


def row_tokens(base: str, prompt: str, response: str) -> list[Token] | None:
    """The tokens of a training row as `prompts.encode_example` puts them together, or None without the base's tokenizer.

    The texts put together are the whole row with its end token. Of several tokens that share one character, as those of
    an emoji do, the first has it and the others are empty.
    """
    file = _tokenizer_file(base)
    end = _end_token(file.parent) if file else ""
    if file is None or not end:
        return None
    reader = _Reader(str(file), file.stat().st_mtime_ns, end)
    row = encode_example(reader, prompt, response)
    texts = [*reader.texts, reader.end]
    return [Token(t, i, bool(m)) for t, i, m in zip(texts, row["input_ids"], row["completion_mask"], strict=True)]


def check_facts_fit(rows: Sequence[Mapping[str, Any]], lengths: Sequence[int], max_length: int) -> None:
    """Refuse a length that leaves most rows of facts out: the model would learn to refuse, and little else.

    Args:
        lengths: tokens of each row.

    Raises:
        SettingsError: it does.
    """
    facts = [length for row, length in zip(rows, lengths, strict=True) if row["kind"] not in NO_FACT]
    left_out = sum(length > max_length for length in facts)
    if left_out * 2 > len(facts):
        enough = -(-max(facts) // 32) * 32
        raise SettingsError(
            f"{left_out:,} of {len(facts):,} rows about facts are longer than max_length ({max_length} tokens) and would not "
            f"be taught; raise max_length to {enough}, or teach products with shorter titles."
        )


def masked_tokens(base: str, prompt: str, response: str, max_length: int) -> list[tuple[str, str | None]]:
    """The text of a training row in pieces: read only (None), `LEARNED`, or `TOO_LONG` after `max_length` tokens.

    Training leaves out a row of which a piece is too long. Without the base's tokenizer there are only the prompt and
    the response.
    """
    tokens = row_tokens(base, prompt, response)
    if tokens is None:
        return [(f"{prompt} ", None), (response, LEARNED)]
    labels = [TOO_LONG if n > max_length else LEARNED if t.learned else None for n, t in enumerate(tokens, start=1)]
    pieces = groupby(zip(tokens, labels, strict=True), key=lambda pair: pair[1])
    return [("".join(token.text for token, _ in group), label) for label, group in pieces]


class _Reader:
    """A tokenizer as `encode_example` calls it, which notes the text of every token. One row each."""

    def __init__(self, file: str, changed: int, end: str) -> None:
        self._file = file, changed
        self.texts: list[str] = []
        self.end, self.eos_token_id = end, _tokenizer(*self._file).token_to_id(end)

    def __call__(
        self, text: str, add_special_tokens: bool = True, split_special_tokens: bool = False
    ) -> dict[str, list[int]]:
        tokenizer = _tokenizer(*self._file, split_special_tokens)
        encoded = tokenizer.encode(text, add_special_tokens=add_special_tokens)
        self.texts += _texts(text, encoded)
        return {"input_ids": encoded.ids}


def _texts(text: str, encoded: Any) -> Iterator[str]:
    """What of a text each token stands for, with the white space before it; a token that was added has its own name."""
    place, last = 0, max((n for n, added in enumerate(encoded.special_tokens_mask) if not added), default=-1)
    for number, (_, end) in enumerate(encoded.offsets):
        if encoded.special_tokens_mask[number]:
            yield encoded.tokens[number]
            continue
        end = len(text) if number == last else max(place, end)
        yield text[place:end]
        place = end


def _end_token(folder: Path) -> str:
    """The end token's text, from the file in which the tokenizer's class looks for it; empty where it names none."""
    try:
        said = read_json(folder / "tokenizer_config.json")["eos_token"]
        return (said["content"] if isinstance(said, dict) else said) or ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
