"""Answers while they are decoded: text out of tokens as they come, and how much of it can be said already."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from pipeline.facts.extraction import extract, sure_of
from pipeline.facts.patterns import DESCRIPTION

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

HALF = "\ufffd"
"""What a character decodes to of which only the first tokens are there."""


class Listener(Protocol):
    """Who waits for an answer.

    Attributes:
        is_gone: whether not any more; what is decoded for nobody ends.
    """

    is_gone: bool

    def hear(self, words: str, tokens: int) -> None:
        """More of the answer.

        Args:
            words: what can be said that was not before; may be empty.
            tokens: how many have been decoded so far.
        """


class Hearing:
    """The answers of a batch, told to those who listen; called by the model after each step.

    Args:
        listeners: of the answers; None where nobody listens.
        kinds: what is read out of each answer. A description is said as it comes; another kind's value is known, and said, when
            its answer is whole; an empty kind is of an answer that is checked afterwards, so that none of it is said here.
        room: the most tokens of an answer.
    """

    def __init__(
        self, model: "LanguageModel", listeners: Sequence[Listener | None], kinds: Sequence[str], room: int
    ) -> None:
        self._answers = [_Growing(model.detokenizer(), kind, room) for kind in kinds]
        self._listeners = list(listeners)
        self._ends = model.end_tokens()

    def __call__(self, said: list[list[int]]) -> Collection[int]:
        gone = []
        for at, (listener, answer, tokens) in enumerate(zip(self._listeners, self._answers, said, strict=True)):
            if listener is None or answer.is_over:
                continue
            if listener.is_gone:
                gone.append(at)
            else:
                words = answer.read(tokens, self._ends)
                listener.hear(words, answer.tokens)
        return gone


class _Growing:
    """An answer that grows.

    Attributes:
        tokens: how many have been read, the end token among them.
    """

    def __init__(self, decode: Callable[[list[int]], str], kind: str, room: int) -> None:
        self._decode, self._kind, self._room = decode, kind, room
        self._ids: list[int] = []
        self._from = self._to = 0
        self._text, self._said = "", 0
        self._is_sure = self.is_over = False
        self.tokens = 0

    def read(self, tokens: Sequence[int], ends: Collection[int]) -> str:
        """Read the tokens so far; returns what can be said that was not before."""
        for token in tokens[self.tokens :]:
            self.tokens += 1
            self.is_over = token in ends or self.tokens == self._room
            if token not in ends:
                self._ids.append(token)
            if self.is_over:
                break
        if not self._kind:
            return ""
        self._grow()
        end = self._whole() if self.is_over else self._sure()
        words = self._text[self._said : end]
        self._said = max(self._said, end)
        return words

    def _grow(self) -> None:
        """Decode a few tokens alone, since a text is decoded token by token in the square of its length, and with those before
        them, since a token by itself may decode to something else (the technique of vLLM's incremental detokenisation)."""
        before, now = self._decode(self._ids[self._from : self._to]), self._decode(self._ids[self._from :])
        if self.is_over or (len(now) > len(before) and not now.endswith(HALF)):
            new = now[len(before) :]
            self._text += new if self._text else new.lstrip()
            self._from, self._to = self._to, len(self._ids)

    def _sure(self) -> int:
        if self._kind != DESCRIPTION or self._is_sure:
            return self._said
        end, self._is_sure = sure_of(self._text, self._said)
        return end

    def _whole(self) -> int:
        """Where the answer ends in the whole text; where nothing of it has been said, it is all that there is to say."""
        raw = self._text.strip()
        found = extract(self._kind, raw)
        if self._said:
            return max(found.end, self._said)
        self._text = found.answer or raw
        return len(self._text)
