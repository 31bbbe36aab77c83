"""Who answers for a run, behind one interface: a language model that is asked by prompts, a reader that finds its answers in
records, or another server that says a model's words."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from pipeline.answering.hearing import Listener
from pipeline.facts.extraction import extract
from pipeline.facts.patterns import DESCRIPTION
from pipeline.prompts import PLAIN, UNKNOWN_TITLE

if TYPE_CHECKING:
    from pipeline.answering.shop import About, Told
    from pipeline.models.language_model import LanguageModel

BASE, TUNED, OTHER = "base", "tuned", "other"
"""Whose answer is wanted: the base's, that of the run, or of another run beside it."""

MAX_NEW_TOKENS = 96
"""Enough for a description of 240 characters."""

Rows = list[dict[str, Any]]
"""Of a dataset."""

Progress = Callable[[int, int], None]
"""Told how many are answered, and of how many."""

Growing = Generator[tuple[dict[str, str | None], dict[str, str]], None, None]
"""By side, what it has said so far (None before anything), and the part of the record that it was read from where that is known
only with the answer."""


@dataclass(frozen=True)
class Question:
    """A prompt, and which kind of fact its answer is (`description`, an attribute's name, or `unknown`).

    `expected` is the record's value, where it is known: what has no shape of its own is looked for in another way. `title` and
    `text` are what the prompt is about and asks: a reader, which has no prompts, is asked those. `listener` hears the answer
    while it is decoded, its words only where it `is_said` as the model says it.
    """

    prompt: str
    kind: str = DESCRIPTION
    max_new_tokens: int = MAX_NEW_TOKENS
    expected: str = ""
    title: str = UNKNOWN_TITLE
    text: str = ""
    listener: Listener | None = None
    is_said: bool = True


@dataclass(frozen=True)
class Answer:
    """A model's raw text, and the part of it that the kind's pattern extracted (empty when it found nothing)."""

    raw: str
    answer: str

    @classmethod
    def of(cls, kind: str, raw: str, expected: str = "") -> "Answer":
        """The answer in a raw text, to a question about a fact of this kind; `expected` is the record's value, if known."""
        return cls(raw, extract(kind, raw, expected).answer)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class Asker(ABC):
    """Who answers questions, whatever it is.

    Attributes:
        by_heart: whether it answers from what it was taught (`Family.by_heart`).
    """

    by_heart = True

    def origin(self) -> dict[str, str]:
        """`base_model` and `base_sha256`: its base's name, and the checksum of its weights."""
        raise NotImplementedError(f"{type(self).__name__} is of no run that was trained here.")

    @abstractmethod
    def ask(self, questions: Sequence[Question], *, tuned: bool, on_progress: Progress | None = None) -> list[Answer]:
        """Each question's answer, greedily, in their order.

        Args:
            tuned: with what the run trained; otherwise the base.
        """

    def tell(self, asked: "Sequence[About]", who: str) -> "list[Told] | None":
        """What it reads in the records that were found for questions; None where it is asked by prompts instead.

        Args:
            who: `BASE`, `TUNED` or `OTHER`.
        """
        return None

    def room(self, response: str, spare_tokens: int | None) -> int:
        """The most tokens that an answer may have: `spare_tokens` more than the right one where that is given."""
        return MAX_NEW_TOKENS

    def knows(self, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[bool]:
        """Which rows' responses it would give word for word, as far as that can be told without asking."""
        return [False] * len(rows)

    def formats(self) -> list[str]:
        """The prompt formats that its base can be asked in, that of the run first."""
        return [PLAIN]

    def asked_in(self, prompt_format: str) -> "Asker":
        """The same, asked in one of `formats`."""
        return self

    def graded(self, training: Rows, held_out: Rows, max_length: int) -> Rows:
        """The held-out rows that tell how good a run is whose training rows have at most so many tokens."""
        raise NotImplementedError(f"{type(self).__name__} is of no run that was trained here.")

    def grow(
        self, asked: dict[str, tuple[str, str]], about: "About | None", *, max_new_tokens: int, temperature: float
    ) -> Growing:
        """One question's answers as they grow; closing the iterator ends them with what has been said.

        Args:
            asked: of each side, who answers (`BASE`, `TUNED` or `OTHER`) and its prompt.
            about: what the question is about, for who reads records.
        """
        raise NotImplementedError(f"{type(self).__name__} answers no page.")

    def count(self, texts: Sequence[str]) -> int:
        """How many tokens it said, where it says tokens."""
        return 0

    def warm_up(self) -> None:
        """Let what answers set itself up by an answer that nobody sees."""
        return None


RunModel: TypeAlias = Union["LanguageModel", Asker]
"""What answers for a run, as it is handed around: `speaker.asker_of` makes one of it that can be asked."""
