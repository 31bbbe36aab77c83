"""What a fact, a question and an answer must be to be taught: each check gives its reason, or nothing.

A model proposes and this module decides. A wrong fact trains a lie, a leaked question measures nothing, so every check
prefers to lose a row. Knows no API, no prompts and no files; the reasons are counted, so there are few of them.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.data import facts
from pipeline.data.catalogue import title_key
from pipeline.data.facts import DESCRIPTION, KIND_TABLE, Fact, Kind

if TYPE_CHECKING:
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

MAX_QUESTION_CHARACTERS = 300
MAX_VALUE_CHARACTERS = 120
MAX_KIND_CHARACTERS = 30

NEAR = 0.8
"""Estimated Jaccard similarity of two questions' four-letter pieces from which one repeats the other."""
_PERMUTATIONS = 128
_PIECE = 4

# Facts.
NO_KIND = "fact without a usable kind"
SECOND_OF_KIND = "second fact of its kind"
NOT_IN_RECORD = "quote not in the record"
NOT_IN_QUOTE = "value not in its quote"
NOT_WHOLE = "value not whole, or not one of its kind"
IN_TITLE = "value already in the title"
NOT_FINDABLE = "value that could not be found again in an answer"
CONTACT = "e-mail address or phone number"
# Questions.
BAD_QUESTION = f"question empty or over {MAX_QUESTION_CHARACTERS} characters"
NOT_ABOUT = "question that neither names the product nor points at it"
REPEATED = "question asked before"
NEARLY_REPEATED = "question nearly asked before"
GIVES_ANSWER = "question that holds its answer"
HELD_OUT_ELSEWHERE = "question held out for another product"
NAMES_PRODUCT = "reverse question that names its product"
NO_CLUE = "reverse question without the fact, or true of several products"
# Answers, and questions too.
INVENTED_NUMBER = "number that neither record nor title has"
INVENTED_NAME = "name that neither record nor title has"
WITHOUT_VALUE = "answer without the fact's value"
TOO_FEW = "fact with too few questions left"
# The judge's, and the user's.
JUDGED = "rejected by the judge"

_KIND: dict[str, Kind] = {kind.name: kind for kind in KIND_TABLE}
_RESERVED = {DESCRIPTION, "unknown", "general", "reverse"}
_NAMEABLE = re.compile(rf"[a-z][a-z0-9_]{{1,{MAX_KIND_CHARACTERS - 1}}}")

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# Nine digits or more in at least three groups, or behind a plus sign; an ISBN's groups begin with 978 or 979.
_PHONE = re.compile(r"(?<![\w-])(?!97[89])(?:\+\d{1,3}[ .-]?)?\(?\d{2,4}\)?(?:[ .-]\d{2,4}){2,4}(?![\w-])|\+\d{8,14}\b")

_POINTS = re.compile(
    r"\b(?:it|its|it['’]s|this|that|these|those|they|them|their|theirs|one|ones|product|item|listing)\b", re.IGNORECASE
)
_COMMON = frozenset(re.findall(r"\w+", "the a an of and for with in on to from by at or is are set new pack size"))
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![.!?:\"“] )(?<!^)\b[A-ZÀ-ÞŒŠŽ][\w'’-]+")
_NOT_A_NAME = re.compile(
    r"(?:i|i['’](?:m|d|ll|ve)|ok|hi|hello|please|yes|no|mrs?|ms|dr|christmas|easter|halloween|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
)


def kind_name(stated: str) -> str:
    """A kind as the project writes it ("Running time" is `running_time`); empty when it cannot be one."""
    name = re.sub(r"\W+", "_", stated.casefold()).strip("_")
    name = {"color": "colour", "runtime": "running_time", "country_of_origin": "country"}.get(name, name)
    return name if _NAMEABLE.fullmatch(name) and name not in _RESERVED else ""


def fact_problem(fact: Fact, content: str) -> str:
    """Why a stated attribute does not hold, or nothing if it does.

    Args:
        fact: with `kind` as `kind_name` gives it, `value` and `quote` as a model gave them, white space folded.
        content: the record.
    """
    content = folded(content)
    if not fact.kind:
        return NO_KIND
    if not fact.quote or fact.quote not in content:
        return NOT_IN_RECORD
    if not fact.value or fact.value not in fact.quote:
        return NOT_IN_QUOTE
    if not (_stands_whole(fact, content) if fact.kind in _KIND else _stands_alone(fact)):
        return NOT_WHOLE
    if has_contact(fact.value):
        return CONTACT
    if facts.in_title(fact.value, fact.title):
        return IN_TITLE
    # An answer is scored by what the kind's pattern finds in it: a fact that it misses would count as never learned.
    return "" if fact.kind not in _KIND or facts.is_findable(_KIND[fact.kind], fact.value) else NOT_FINDABLE


def _stands_whole(fact: Fact, content: str) -> bool:
    """Whether the record, inside the quote, has this value and not a longer one: "2 inches" is a lie about "12 inches"."""
    kind, length = _KIND[fact.kind], len(fact.quote)
    return any(
        match.group() == fact.value
        and content.find(fact.quote, max(0, match.end() - length), match.start() + length) >= 0
        for match in re.finditer(kind.value, content, kind.flags)
    )


def _stands_alone(fact: Fact) -> bool:
    """The same for a kind without a pattern: whole words, short, and no number cut out of a longer one."""
    if len(fact.value) > MAX_VALUE_CHARACTERS:
        return False
    alone = rf"(?<![\w.,/×-]){re.escape(fact.value)}(?![\w/×-]|[.,]\d)"
    return re.search(alone, fact.quote) is not None or fact.value == fact.quote


def question_problem(question: str, fact: Fact, content: str) -> str:
    """Why a question about a fact is not asked, or nothing."""
    if not title_key(question) or len(question) > MAX_QUESTION_CHARACTERS:
        return BAD_QUESTION
    if f" {title_key(fact.value)} " in f" {title_key(question)} ":
        return GIVES_ANSWER
    if not (_POINTS.search(question) or _names(question, fact.title)):
        return NOT_ABOUT
    return text_problem(question, fact.title, content, names=False)


def reverse_problem(question: str, fact: Fact, content: str) -> str:
    """Why a question that gives the fact and asks for the product is not asked, or nothing."""
    if not title_key(question) or len(question) > MAX_QUESTION_CHARACTERS:
        return BAD_QUESTION
    if f" {title_key(fact.title)} " in f" {title_key(question)} ":
        return NAMES_PRODUCT
    if f" {title_key(fact.value)} " not in f" {title_key(question)} ":
        return NO_CLUE
    return text_problem(question, fact.title, content, names=False)


def answer_problem(answer: str, fact: Fact, content: str) -> str:
    """Why an answer is not taught, or nothing: it must have the value as the record has it, and invent nothing."""
    if fact.value not in answer or len(answer) > len(fact.value) + MAX_QUESTION_CHARACTERS:
        return WITHOUT_VALUE
    # What is taught must be read back as the value, or a model that learned it would be called wrong.
    if fact.kind in _KIND and (
        (found := _KIND[fact.kind].answer.search(answer)) is None or found["value"] != fact.value
    ):
        return NOT_FINDABLE
    return text_problem(answer, fact.title, content, names=True)


def text_problem(text: str, title: str, content: str, *, names: bool) -> str:
    """Numbers, names, addresses in a text that have no ground in record or title."""
    if has_contact(text):
        return CONTACT
    ground = f"{title} {content}"
    if not _numbers(text) <= _numbers(ground):
        return INVENTED_NUMBER
    if names:
        known = set(title_key(ground).split())
        for match in _NAME.finditer(text):
            name = match.group().removesuffix("'s").removesuffix("’s")
            if not _NOT_A_NAME.fullmatch(name.casefold()) and not set(title_key(name).split()) <= known:
                return INVENTED_NAME
    return ""


def has_contact(text: str) -> bool:
    """Whether an e-mail address or a phone number stands in it: neither belongs into a model."""
    return bool(("@" in text and _EMAIL.search(text)) or _PHONE.search(text))


def _numbers(text: str) -> set[str]:
    """Numbers without the commas of thousands."""
    return {n.replace(",", "") for n in _NUMBER.findall(text)}


def _names(question: str, title: str) -> bool:
    """Whether a word that is the title's own stands in the question."""
    own = set(title_key(title).split()) - _COMMON or set(title_key(title).split())
    return not own.isdisjoint(title_key(question).split())


def masked(question: str, title: str) -> str:
    """What two questions share that ask the same of different products."""
    return f" {title_key(question)} ".replace(f" {title_key(title)} ", " it ").strip()


class Asked:
    """The questions that were asked about one product, to tell which are asked again, or nearly.

    A whole product shares the exact ones, for one question must not have two answers; near ones count within a fact,
    because "What size is it?" and "What price is it?" are near and yet ask for two things. Titles are masked: they would
    make every two questions alike. Similarity is estimated by MinHash (Broder, 1997).
    """

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._near: dict[str, list[RMinHash]] = {}

    def problem(self, question: str, fact: Fact) -> str:
        words = masked(question, fact.title)
        if words in self._exact:
            return REPEATED
        sketch = _sketch(words)
        if any(sketch.jaccard(other) >= NEAR for other in self._near.get(fact.kind, ())):
            return NEARLY_REPEATED
        return ""

    def add(self, question: str, fact: Fact) -> None:
        words = masked(question, fact.title)
        self._exact.add(words)
        self._near.setdefault(fact.kind, []).append(_sketch(words))


def _sketch(words: str) -> "RMinHash":
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

    sketch = RMinHash(num_perm=_PERMUTATIONS, seed=0)
    sketch.update([words[i : i + _PIECE] for i in range(max(1, len(words) - _PIECE + 1))])
    return sketch


def unique_values(all_facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """(kind, value key) that only one product of these has: only those tell a product."""
    owners: dict[tuple[str, str], set[str]] = {}
    for fact in all_facts:
        owners.setdefault((fact.kind, title_key(fact.value)), set()).add(fact.uid)
    return {key for key, uids in owners.items() if len(uids) == 1}


def folded(text: str) -> str:
    return " ".join(text.split())


def leakage(
    training: Sequence[tuple[str, str, str, str]], held_out: Sequence[tuple[str, str, str, str]]
) -> dict[str, int]:
    """What of the held-out rows training has shown; every number should be 0.

    Args:
        training, held_out: (title, kind, question, prompt) of each row.

    Returns:
        `prompts`: prompts in both. `questions`: held-out questions about a fact that training asks too, titles masked,
        whatever the product. `unknown_titles`: titles that test the refusal and are trained in any way.
    """
    prompts = {prompt for *_, prompt in training}
    asked = {(kind, masked(question, title)) for title, kind, question, _ in training}
    trained = {title_key(title) for title, *_ in training}
    unknown = {title_key(title) for title, kind, *_ in held_out if kind == "unknown"}
    return {
        "prompts": sum(prompt in prompts for *_, prompt in held_out),
        "questions": sum((kind, masked(question, title)) in asked for title, kind, question, _ in held_out),
        "unknown_titles": len(unknown & trained),
    }
