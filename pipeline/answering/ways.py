"""Ways to answer a customer's question, side by side: what is asked of whom, and which of the three answers came back.

| way | who answers | what it is given |
|---|---|---|
| base, closed | the base, the tuned model | the product's title |
| base_open | the base | the title and the parts of the record that were found |
| open | the tuned model, where a part was found or it is asked in taught words; a value has to stand in the record | the same |
| extractive | nobody: the sentence itself | |
| auto | the fact or the sentence, with yes or no | what the chat answers by default |

Before the last three goes what the owner put right, where whoever asks looked for it (`put_right`).

Where a reader was trained instead of a language model, `base` and `base_open` are the untrained encoder's sentence, and `open` is
the reader's span; a reader knows nothing by heart, so there is no closed book.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.answering.asker import BASE as OF_BASE
from pipeline.answering.asker import TUNED, Answer, Question, RunModel
from pipeline.answering.hearing import Listener
from pipeline.answering.lookup import check_question, kind_asked, kind_word_for_word
from pipeline.answering.scoring import normalise
from pipeline.answering.shop import About, Shop, Told
from pipeline.answering.speaker import asker_of
from pipeline.facts.extraction import VALUE, says
from pipeline.prompts import UNKNOWN_TITLE, build_prompt

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

RECORD_WAYS = (OPEN, EXTRACTIVE, AUTO)
"""What there is to compare where nothing was taught by heart."""

BY_RECORD = (BASE_OPEN, OPEN, EXTRACTIVE, AUTO)
"""Ways that read the catalogue, so that they can tell of products that nobody taught."""

PUT_RIGHT = (OPEN, EXTRACTIVE, AUTO)
"""Ways that say first what the owner put right."""

COMPARED = (CLOSED, OPEN, EXTRACTIVE, AUTO)
"""What is asked where nobody says which ways."""


@dataclass(frozen=True)
class Said:
    """A way's answer.

    Attributes:
        raw: what was said, whole.
        answer: what a customer is told of it; empty where nothing was found.
        says: `value`, `silent` or `unknown`.
        source: the part of the record that it was read from, if any.
        by_shop: whether it is the owner's own answer, and none of the way's.
        seconds: what it took, with finding the product and the part; of a batch, the mean.
    """

    raw: str
    answer: str
    says: str
    source: str = ""
    by_shop: bool = False
    seconds: float = 0.0

    def as_dict(self) -> dict[str, str]:
        """As `judge` prints it."""
        return {"raw": self.raw, "answer": self.answer, "says": self.says}


def answer_every_way(
    shop: Shop,
    question: str,
    *,
    title: str = "",
    uid: str = "",
    ways: Sequence[str] = WAYS,
    language_model: RunModel | None = None,
    other_kinds: Sequence[str] = (),
) -> tuple[About, dict[str, Said]]:
    """One question by every way, those of `BY_MODEL` only with a model.

    Args:
        title, uid: of the product, where it is known; else it is found in the question.

    Returns:
        What the question is about, and each way's answer in the order of `ways`.

    Raises:
        QuestionError: the question is empty or too long.
    """
    about = shop.about(check_question(question), title, uid)
    possible = [way for way in ways if language_model or way not in BY_MODEL]
    return about, answer_all(shop, [about], possible, language_model, other_kinds)[0]


def answer_all(
    shop: Shop,
    asked: Sequence[About],
    ways: Sequence[str],
    language_model: RunModel | None = None,
    other_kinds: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] | None = None,
    listeners: Sequence[Listener] = (),
) -> list[dict[str, Said]]:
    """Every question by every way, in their order.

    Args:
        asked: what each question is about.
        language_model: the run's, for the ways of `BY_MODEL`.
        other_kinds: kinds of facts of the run's dataset beside the project's own.
        on_progress: called with (way, answered, of).
        listeners: who hears each answer while a language model decodes it, its words only where they need no look into the
            record afterwards; none where nobody does.
    """
    answers: list[dict[str, Said]] = [{} for _ in asked]
    for way in ways:
        begun = time.perf_counter()
        mine = asked if way in PUT_RIGHT else [replace(about, put_right=None) for about in asked]
        found = (
            _by_model(way, shop, mine, language_model, other_kinds, on_progress, listeners)
            if way in BY_MODEL
            else [_said_without_model(shop.extract(about) if way == EXTRACTIVE else shop.tell(about)) for about in mine]
        )
        each = (time.perf_counter() - begun) / max(len(asked), 1)
        for said, about, one in zip(answers, asked, found, strict=True):
            said[way] = replace(one, seconds=about.seconds + each)
    return answers


def _said_without_model(told: Told) -> Said:
    return Said(told.answer, told.answer, told.says, told.source, told.by_shop)


def _by_model(
    way: str,
    shop: Shop,
    asked: Sequence[About],
    language_model: RunModel | None,
    other_kinds: Sequence[str],
    on_progress: Callable[[str, int, int], None] | None,
    listeners: Sequence[Listener],
) -> list[Said]:
    assert language_model, "a model's way needs the model"
    asker = asker_of(language_model)
    read_out = asker.tell(asked, TUNED if way in (CLOSED, OPEN) else OF_BASE)
    if read_out is not None:
        if on_progress:
            on_progress(way, len(asked), len(asked))
        return [_said_without_model(one) for one in read_out]
    questions = [
        Question(
            prompt_of(way, shop, about),
            kind_asked(about.question, _title(about), other_kinds),
            listener=listener,
            is_said=way != OPEN,
        )
        for about, listener in zip(asked, listeners or [None] * len(asked), strict=True)
    ]
    told = (lambda done, total: on_progress(way, done, total)) if on_progress else None
    if way != OPEN:
        answers = asker.ask(questions, tuned=way == CLOSED, on_progress=told)
        return [_said(answer, _read(way, shop, about)) for answer, about in zip(answers, asked, strict=True)]
    parts = [shop.extract(about) for about in asked]
    # The parts of one record answer no question about several, and what the owner put right is answered.
    one = [not (about.listed or about.beside or about.put_right) for about in asked]
    read = [at for at, part in enumerate(parts) if one[at] and (part.says == VALUE or _is_taught_so(asked[at]))]
    answers = asker.ask([questions[at] for at in read], tuned=True, on_progress=told)
    if told:
        told(len(asked), len(asked))  # those with nothing to read are answered, too
    by_place = dict(zip(read, answers, strict=True))
    return [
        said_of_record(part, by_place.get(at), about.product.content if about.product else "")
        for at, (part, about) in enumerate(zip(parts, asked, strict=True))
    ]


def _is_taught_so(about: About) -> bool:
    """Whether the question is in words that are taught: those a model understands better than what is found does."""
    return about.product is not None and bool(kind_word_for_word(about.question, about.product.title))


def said_of_record(part: Told, answer: Answer | None, record: str) -> Said:
    """What a model says that read parts of a record: a value that stands in the record, or else what was found in it.

    Args:
        part: what was found.
        answer: the model's; None where it was not asked, as nothing was found that it could read.
    """
    if answer is None:
        return _said_without_model(part)
    if answer.answer and says(answer.answer) == VALUE and _stands_in(answer.answer, record):
        return Said(answer.raw, answer.answer, VALUE, part.source)
    return Said(answer.raw, part.answer, part.says, part.source)


def _stands_in(value: str, record: str) -> bool:
    """Whether a record has a value as whole words: "9 pounds" does not stand in "19 pounds" or "2.9 pounds"."""
    words = normalise(value)
    return bool(words) and bool(re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(words)}(?!\w)", normalise(record)))


def _title(about: About) -> str:
    return about.product.title if about.product else UNKNOWN_TITLE


def prompt_of(way: str, shop: Shop, about: About) -> str:
    """What a model is asked by a way of `BY_MODEL`."""
    return build_prompt(_title(about), about.question, _read(way, shop, about))


def _read(way: str, shop: Shop, about: About) -> str | None:
    """What of the record a model is given."""
    return shop.record(about) if way in (BASE_OPEN, OPEN) else None


def _said(answer: Answer, read: str | None) -> Said:
    said = says(answer.answer)
    return Said(answer.raw, answer.answer, said, read if read and said == VALUE else "")
