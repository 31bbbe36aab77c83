"""Ways to answer a customer's question, side by side: what is asked of whom, and which of the three answers came back.

| way | who answers | what it is given |
|---|---|---|
| base, closed | the base, the tuned model | the product's title |
| base_open, open | the same two | the title and the parts of the record that were found |
| extractive | nobody: the sentence itself | |
| auto | the fact or the sentence, with yes or no | what the chat answers by default |
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline.answering.answers import Answer, Question, ask
from pipeline.answering.lookup import kind_asked
from pipeline.answering.shop import About, Shop, Told
from pipeline.facts.extraction import says
from pipeline.prompts import UNKNOWN_TITLE, build_prompt

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

BASE, BASE_OPEN, CLOSED, OPEN, EXTRACTIVE, AUTO = WAYS = (
    "base",
    "base_open",
    "closed",
    "open",
    "extractive",
    "auto",
)
BY_MODEL = (BASE, BASE_OPEN, CLOSED, OPEN)
"""Ways that need the run's model."""

COMPARED = (CLOSED, OPEN, EXTRACTIVE, AUTO)
"""What is asked where nobody says which ways."""


@dataclass(frozen=True)
class Said:
    """A way's answer.

    Attributes:
        raw: what was said, whole.
        answer: what a customer is told of it; empty where nothing was found.
        says: `value`, `silent` or `unknown`.
        source: the sentence of the record that it was read from, if any.
    """

    raw: str
    answer: str
    says: str
    source: str = ""

    def as_dict(self) -> dict[str, str]:
        """As `judge` prints it."""
        return {name: value for name, value in asdict(self).items() if name != "source"}


def answer_all(
    shop: Shop,
    asked: Sequence[About],
    ways: Sequence[str],
    language_model: "LanguageModel | None" = None,
    other_kinds: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Said]]:
    """Every question by every way, in their order.

    Args:
        asked: what each question is about.
        language_model: the run's, for the ways of `BY_MODEL`.
        other_kinds: kinds of facts of the run's dataset beside the project's own.
        on_progress: called with (way, answered, of).
    """
    answers: list[dict[str, Said]] = [{} for _ in asked]
    for way in ways:
        found = (
            _by_model(way, shop, asked, language_model, other_kinds, on_progress)
            if way in BY_MODEL
            else [
                _said_without_model(shop.extract(about) if way == EXTRACTIVE else shop.tell(about)) for about in asked
            ]
        )
        for mine, one in zip(answers, found, strict=True):
            mine[way] = one
    return answers


def _said_without_model(told: Told) -> Said:
    return Said(told.answer, told.answer, told.says, told.source)


def _by_model(
    way: str,
    shop: Shop,
    asked: Sequence[About],
    language_model: "LanguageModel | None",
    other_kinds: Sequence[str],
    on_progress: Callable[[str, int, int], None] | None,
) -> list[Said]:
    assert language_model, "a model's way needs the model"
    questions = [
        Question(_prompt(way, shop, about), kind_asked(about.question, _title(about), other_kinds)) for about in asked
    ]
    told = (lambda done, total: on_progress(way, done, total)) if on_progress else None
    answers = ask(language_model, questions, tuned=way in (CLOSED, OPEN), on_progress=told)
    return [_said(answer) for answer in answers]


def _title(about: About) -> str:
    return about.product.title if about.product else UNKNOWN_TITLE


def _prompt(way: str, shop: Shop, about: About) -> str:
    record = shop.record(about) if way in (BASE_OPEN, OPEN) else None
    return build_prompt(_title(about), about.question, record)


def _said(answer: Answer) -> Said:
    return Said(answer.raw, answer.answer, says(answer.answer))
