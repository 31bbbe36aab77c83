"""Customers' own questions: read from a file, answered in several ways, scored where the answer is known, sorted by doubt."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.answering.asker import Answer, RunModel
from pipeline.answering.lookup import kind_asked, plain_text
from pipeline.answering.put_right import kind_alone, with_put_right
from pipeline.answering.scoring import INVENTED, NOTHING_FOUND, PARTIAL, RIGHT, WRONG, same_in_other_words, verdict
from pipeline.answering.shop import About, Shop
from pipeline.answering.ways import BY_MODEL, Said, answer_all
from pipeline.catalogue.catalogue import title_key
from pipeline.dataset.edits import MAX_CHARACTERS, Edit
from pipeline.dataset.taught import new_lesson
from pipeline.errors import QuestionError
from pipeline.facts.extraction import VALUE, has_shape, says
from pipeline.facts.patterns import SHAPED
from pipeline.facts.phrasings import kind_label
from pipeline.prompts import MAX_QUESTION_CHARACTERS, REFUSAL, SILENCE, UNKNOWN

MOST_QUESTIONS = 200_000
MOST_BYTES = 500_000_000
"""Of a file of them, which is held in memory."""
MOST_BY_MODEL = 500
"""Questions that the ways with a model answer: at about a second each, more would keep everybody waiting for the model."""

MOST_SHOWN = 20
"""Of a wrong row's columns, and of the characters of each."""

PART = 16
"""Questions between two moments at which the model can be stopped."""

TABLES = (".csv", ".tsv")

NO_PRODUCT, SEVERAL_PRODUCTS = 0.5, 0.75
"""Doubt of an answer about no product of the catalogue, and at least where several fit."""


@dataclass(frozen=True)
class CustomerQuestion:
    """A question as a file has it.

    Attributes:
        title, uid: of the product, empty where not given.
        answers: right answers, any of which will do; empty where none is known.
    """

    question: str
    title: str = ""
    uid: str = ""
    answers: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """What of it is asked."""
        return self.question[:MAX_QUESTION_CHARACTERS]


@dataclass(frozen=True)
class Answered:
    """A customer's question with its answers.

    Attributes:
        title: of the product that it is about; empty where the catalogue has none.
        candidates: titles of all products that may be meant.
        ways: each way's answer.
        verdicts: each way's, where the right answer is known and the answer is the way's own.
        doubt: how little sure the answer is, from 0 to 1.
    """

    asked: CustomerQuestion
    title: str
    candidates: tuple[str, ...]
    ways: dict[str, Said]
    verdicts: dict[str, str] = field(default_factory=dict)
    doubt: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether the answer is known and a way has another."""
        return any(one != RIGHT for one in self.verdicts.values())


# --- Reading ---


def read_questions(file: Path) -> list[CustomerQuestion]:
    """The questions of a file.

    Raises:
        QuestionError: it is no JSON, JSON lines or CSV with questions, and no text with one a line.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise QuestionError(f"{file.name} cannot be read as text; it needs JSON, JSON lines or CSV.") from error
    if len(data) > MOST_BYTES:
        raise QuestionError(f"{file.name} is larger than {MOST_BYTES // 1_000_000} MB; split it.")
    suffix = file.suffix.casefold()
    if suffix == ".txt":
        return questions_in(text, file.name)
    return _questions(_csv(text, file.name) if suffix in TABLES else _json(text, file.name), file.name)


def questions_in(text: str, name: str = "The text") -> list[CustomerQuestion]:
    """The questions of a text that somebody pasted: JSON, JSON lines, a table whose first line names its columns, or one a line.

    Raises:
        QuestionError: it has none.
    """
    text = plain_text(text)
    head = text.split("\n", 1)[0]
    if head[:1] in ("[", "{"):
        return _questions(_json(text, name), name)
    columns = [column.strip(" \"'").casefold() for column in head.split(_delimiter(head))]
    if "question" in columns:
        return _questions(_csv(text, name), name)
    return _questions([{"question": line} for line in text.splitlines() if line.strip()], name)


def _questions(rows: list[Any], name: str) -> list[CustomerQuestion]:
    if not rows:
        raise QuestionError(f"{name} has no question in it; each needs a field `question`.")
    if len(rows) > MOST_QUESTIONS:
        raise QuestionError(f"{name} has {len(rows):,} questions and the most is {MOST_QUESTIONS:,}; split it.")
    return [_question(row, number, name) for number, row in enumerate(rows, start=1)]


def _delimiter(head: str) -> str:
    return max("\t;,", key=head.count)


def _csv(text: str, name: str) -> list[Any]:
    delimiter = _delimiter(text.split("\n", 1)[0])
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise QuestionError(f"{name} cannot be read as a table: {error}.") from error
    return [{(column or "").strip().casefold(): value for column, value in row.items()} for row in rows]


def _json(text: str, name: str) -> list[Any]:
    try:
        return _rows_of(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return [row for line in text.splitlines() if line.strip() for row in _rows_of(json.loads(line))]
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"{name} cannot be read as JSON or JSON lines; name a table .csv.") from error


def _rows_of(value: Any) -> list[Any]:
    """The rows of a list, of an object's lists, or of a product with its `questions`."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or "question" in value:
        return [value]
    of_product = {name: value[name] for name in ("title", "uid") if isinstance(value.get(name), str)}
    lists = [rows for rows in value.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    return [of_product | row if isinstance(row, dict) else row for rows in lists for row in rows] or [value]


def _question(row: Any, number: int, name: str) -> CustomerQuestion:
    question = row.get("question") if isinstance(row, dict) else None
    if not isinstance(question, str) or not question.strip():
        has = [str(column)[:MOST_SHOWN] for column in row if column][:MOST_SHOWN] if isinstance(row, dict) else []
        only = f", only {', '.join(has)}" if has and "question" not in has else ""
        raise QuestionError(f"Row {number} of {name} has no `question`{only}; give each row one.")
    known = {column: value if isinstance(value := row.get(column), str) else "" for column in ("title", "uid")}
    return CustomerQuestion(" ".join(question.split()), **known, answers=_answers(row))


def _answers(row: dict[str, Any]) -> tuple[str, ...]:
    if str(row.get("answerable")).casefold() in ("false", "0", "no"):
        return (SILENCE,)
    given = row.get("answers")
    every = [*(given if isinstance(given, list) else [given]), row.get("answer")]
    return tuple(" ".join(one.split()) for one in every if isinstance(one, str) and one.strip())


# --- Answering ---


def answer_each(shop: Shop, questions: Sequence[CustomerQuestion], ways: Sequence[str]) -> Iterator[Answered]:
    """Each question by the ways of these that need no model, in their order."""
    quick = [way for way in ways if way not in BY_MODEL]
    for one in questions:
        about = about_asked(shop, one)
        said = answer_all(shop, [about], quick)[0]
        title = about.product.title if about.product else ""
        yield _judged(Answered(one, title, about.candidates, said, doubt=doubt_of(shop, about, said)))


def answer_by_model(
    shop: Shop,
    answered: Sequence[Answered],
    ways: Sequence[str],
    language_model: RunModel,
    other_kinds: Sequence[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[list[Answered]]:
    """The same questions with the answers of the ways of these that need a model, some at once, until it is stopped."""
    slow = [way for way in ways if way in BY_MODEL]
    for start in range(0, len(answered), PART):
        if stopped():
            return
        part = answered[start : start + PART]
        said = answer_all(shop, [about_asked(shop, one.asked) for one in part], slow, language_model, other_kinds)
        yield [_judged(replace(one, ways=one.ways | more)) for one, more in zip(part, said, strict=True)]


def about_asked(shop: Shop, one: CustomerQuestion) -> About:
    """What a question is about, with the owner's answer where it was put right."""
    about = shop.about(one.asked, one.title, one.uid)
    return with_put_right(shop, one.asked, about, is_given=bool(one.title or one.uid))


def _judged(answered: Answered) -> Answered:
    if not answered.asked.answers:
        return answered
    kind = kind_asked(answered.asked.asked, answered.title)
    verdicts = {
        way: judge(kind, said, answered.asked.answers) for way, said in answered.ways.items() if not said.by_shop
    }
    return replace(answered, verdicts=verdicts)


def judge(kind: str, said: Said, answers: Sequence[str]) -> str:
    """The verdict on an answer to a customer's question: the best that any of the right ones gives it.

    Args:
        kind: of the fact that is asked for.
        answers: right ones; a customer's are seldom in the record's words.
    """
    if not said.answer:
        return NOTHING_FOUND
    if any(says(one) == said.says != VALUE for one in answers):
        return RIGHT
    values = [one for one in answers if says(one) == VALUE]
    if said.says != VALUE or not values:
        return WRONG if said.says != VALUE else INVENTED
    found = {same_in_other_words(said.answer, one) for one in values}
    if None not in found or True in found:
        return RIGHT if True in found else WRONG
    grades = {verdict(kind, Answer.of(kind, said.raw, one).answer, one) for one in values}
    return next((grade for grade in (RIGHT, PARTIAL) if grade in grades), WRONG)


def doubt_of(shop: Shop, about: About, said: dict[str, Said]) -> float:
    """How little sure an answer is, from 0 to 1: near the likelihood that decides, where several products fit, or where two ways
    differ; not at all where the owner put it right."""
    if about.put_right:
        return 0.0
    if len({one.says for one in said.values()}) > 1:
        return 1.0
    if about.product is None:
        return NO_PRODUCT
    limit, likely = shop.sentences.threshold, about.found.likely if about.found else 0.0
    doubt = (1 - likely) / (1 - limit) if likely >= limit else likely / limit
    return max(doubt, SEVERAL_PRODUCTS) if len(about.candidates) > 1 and not about.listed else doubt


def worst_first(answered: Sequence[Answered]) -> list[Answered]:
    """Those that are known to be wrong, then those that nobody knows by their doubt, then those that are right."""
    return sorted(answered, key=lambda one: (not one.is_wrong, bool(one.verdicts), -one.doubt))


def counts(answered: Sequence[Answered], ways: Sequence[str]) -> dict[str, tuple[Counter[str], Counter[str]]]:
    """For each way how often it gave each of the three answers, and each verdict where the answer is known."""
    return {
        way: (
            Counter(one.ways[way].says for one in answered if way in one.ways),
            Counter(one.verdicts[way] for one in answered if way in one.verdicts),
        )
        for way in ways
    }


# --- Teaching ---


def likely_kind(shop: Shop, question: str, title: str) -> str:
    """The kind of fact that a question asks for, where its words name one measure and nothing else; else empty."""
    number = shop.index.by_key(title_key(title))
    return kind_alone(shop, question, None if number is None else shop.index.product(number))


def correction(shop: Shop, question: str, title: str, answer: str, kind: str = "") -> Edit:
    """What a person says is right, checked and not yet kept.

    Args:
        title: of the product; empty where the catalogue has none, which only the refusal answers.
        kind: of the fact that is asked for; empty where only the customer's words are to be taught.

    Raises:
        QuestionError: it cannot be taught so.
    """
    question, title, answer = (" ".join(plain_text(text).split()) for text in (question, title, answer))
    for name, text in (("question", question), ("answer", answer)):
        if not text:
            raise QuestionError(f"The {name} is empty; type what is right.")
        if len(text) > MAX_CHARACTERS:
            raise QuestionError(f"The {name} has {len(text):,} characters and the most is {MAX_CHARACTERS:,}.")
    said = says(answer)
    if said == UNKNOWN:
        return new_lesson("", "", question, REFUSAL)
    number = shop.products.by_title(title) if title else None
    if number is None:
        known = f"The catalogue has no product “{title[:80]}”" if title else "The product is not given"
        raise QuestionError(f"{known}; give its title, or answer “{REFUSAL}”.")
    if said == VALUE and kind in SHAPED and not has_shape(kind, answer.rstrip(".")):
        raise QuestionError(
            f"“{answer[:80]}” is no {kind_label(kind)}; choose the customer's words only, or give the value."
        )
    product = shop.index.product(number)
    value = answer if said == VALUE else SILENCE
    if kind in SHAPED and said == VALUE:
        value = answer.rstrip(".")
    return new_lesson(product.uid, product.title, question, value, kind)
