"""What a fact, a question and an answer must be to be taught: each check gives its reason, or nothing.

A model proposes and this module decides. A wrong fact trains a lie, a leaked question measures nothing, so every check
prefers to lose a row. Knows no API, no prompts and no files; the reasons are counted, so there are few of them.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from pipeline.catalogue.catalogue import title_key
from pipeline.dataset.contact import has_contact
from pipeline.dataset.grounding import all_numbers, ground, numbers
from pipeline.dataset.grounding import names as names_in
from pipeline.facts.extract import Fact, in_title, is_findable, says
from pipeline.facts.extraction import extract, has_shape, is_read_back
from pipeline.facts.patterns import ALONE, DESCRIPTION, KIND_TABLE, Kind
from pipeline.facts.phrasings import LABELS, kind_label
from pipeline.facts.sentences import DESCRIPTION_LIMIT
from pipeline.prompts import NO_FACT, UNKNOWN

MAX_QUESTION_CHARACTERS = 300
MAX_VALUE_CHARACTERS = 120
MAX_TAUGHT_CHARACTERS = DESCRIPTION_LIMIT
MAX_KIND_CHARACTERS = 30

NEAR = 0.75
"""Jaccard similarity of two questions' word pairs from which one repeats the other.

The project's own phrasings of one kind are at most 0.67 alike; one word in twenty changed is 0.82 (tests/dataset/test_checks.py).
"""
_NAMED = "\0"
"""Stands for a title where a question names the product: no word of its own."""

# Facts.
NO_KIND = "fact without a usable kind"
SECOND_OF_KIND = "second fact of its kind"
NOT_IN_RECORD = "quote not in the record"
NOT_IN_QUOTE = "value not in its quote"
NOT_WHOLE = "value not whole, or not one of its kind"
IN_TITLE = "value already in the title"
NOT_FINDABLE = "value that could not be found again in an answer"
CONTACT = "e-mail address or phone number"
TOO_LONG = "value too long to be learned"
# Questions.
BAD_QUESTION = f"question empty or over {MAX_QUESTION_CHARACTERS} characters"
NOT_ABOUT = "question that neither names the product nor points at it"
REPEATED = "question asked before"
NEARLY_REPEATED = "question nearly asked before"
GIVES_ANSWER = "question that holds its answer"
HELD_OUT_ELSEWHERE = "question that is held out, here or for another product"
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
_RESERVED = {DESCRIPTION, *NO_FACT}
_NAMEABLE = re.compile(rf"[a-z][a-z0-9_]{{1,{MAX_KIND_CHARACTERS - 1}}}")
_SAME_KIND = {
    **{label.replace(" ", "_"): kind for kind, label in LABELS.items()},
    "color": "colour",
    "runtime": "running_time",
    "duration": "running_time",
    "page_count": "pages",
    "piece_count": "pieces",
    "origin": "country",
    "wattage": "power",
}

_POINTS = re.compile(
    r"\b(?:it|its|it['’]s|this|that|these|those|they|them|their|theirs|there|one|ones|product|item|listing|writer)\b",
    re.IGNORECASE,
)
_COMMON = frozenset(re.findall(r"\w+", "the a an of and for with in on to from by at or is are set new pack size"))

_SPELLED_OUT = re.compile(r"\b(what|who|where|how|that|it) s\b")
_POLITE = re.compile(
    r"^(?:(?:and|so|well|ok|okay|oh|now|but|um) )+|\b(?:please|hi|hello|hey|thanks|thank you|exactly|just|kindly)\b"
)


def why_not_taught(fact: Fact) -> str:
    """Why a true fact is no training example, or nothing: what was left out is counted by it."""
    if has_contact(fact.value):
        return CONTACT
    if fact.kind == DESCRIPTION:
        return ""
    if in_title(fact.value, fact.title):
        return IN_TITLE
    if len(fact.value) > MAX_TAUGHT_CHARACTERS:
        return TOO_LONG
    return "" if is_read_back(fact.kind, fact.value) else NOT_FINDABLE


def kind_name(stated: str) -> str:
    """A kind as the project writes it ("Running time" is `running_time`); empty when it cannot be one."""
    name = re.sub(r"[\W_]+", "_", stated[:1_000].casefold()).strip("_")
    singular = name.removesuffix("s")
    name = next((_SAME_KIND[n] for n in (name, singular) if n in _SAME_KIND), singular if singular in _KIND else name)
    return name if _NAMEABLE.fullmatch(name) and name not in _RESERVED else ""


def fact_problem(fact: Fact, content: str) -> str:
    """Why a stated attribute does not hold, or nothing if it does.

    Args:
        fact: with `kind` as `kind_name` gives it, `value` and `quote` as a model gave them, white space folded.
        content: the record.
    """
    content = ground(fact.title, content).content
    if not fact.kind:
        return NO_KIND
    if not fact.quote or fact.quote not in content:
        return NOT_IN_RECORD
    if not fact.value or fact.value not in fact.quote:
        return NOT_IN_QUOTE
    if not _stands_whole(fact, content):
        return NOT_WHOLE
    if has_contact(fact.value):
        return CONTACT
    if in_title(fact.value, fact.title):
        return IN_TITLE
    # An answer is scored by what the kind's pattern finds in it: a fact that it misses would count as never learned.
    return "" if _is_findable(fact) else NOT_FINDABLE


def _stands_whole(fact: Fact, content: str) -> bool:
    """Whether the record, inside the quote, has this value and not a longer one: "2 inches" is a lie about "12 inches"."""
    kind, length = _KIND.get(fact.kind), len(fact.quote)
    if not kind and (len(fact.value) > MAX_VALUE_CHARACTERS or not title_key(fact.value)):
        return False
    return any(
        match.group() == fact.value
        and content.find(fact.quote, max(0, match.end() - length), match.start() + length) >= 0
        for match in (kind.mention if kind else _alone(fact.value)).finditer(content)
    )


def _alone(value: str) -> re.Pattern[str]:
    """Finds the value of a kind without a pattern where it is whole words, and no number cut out of a longer one."""
    before = ALONE if value[0].isdigit() else r"(?<![\w./×-])"
    after = r"(?! ?[x×–½¼¾] ?\d| (?:to|by|or) \d| ?%| \d)" if value[-1].isdigit() else ""
    return re.compile(rf"{before}{re.escape(value)}(?![\w/×-]|[.,]\d){after}")


def _is_findable(fact: Fact) -> bool:
    if fact.kind in _KIND:
        return is_findable(_KIND[fact.kind], fact.value)
    return is_read_back(fact.kind, fact.value)


def question_problem(question: str, fact: Fact, content: str) -> str:
    """Why a question about a fact is not asked, or nothing."""
    if len(question) > MAX_QUESTION_CHARACTERS or not title_key(question):
        return BAD_QUESTION
    if says(fact.value, question) or _says_numbers(question, fact):
        return GIVES_ANSWER
    if not (_POINTS.search(question) or _names(question, fact)):
        return NOT_ABOUT
    return text_problem(question, fact.title, content, names=False)


def reverse_problem(question: str, fact: Fact, content: str) -> str:
    """Why a question that gives the fact and asks for the product is not asked, or nothing."""
    if len(question) > MAX_QUESTION_CHARACTERS or not title_key(question):
        return BAD_QUESTION
    if _own_words(fact.title) <= set(title_key(question).split()):
        return NAMES_PRODUCT
    if not says(fact.value, question):
        return NO_CLUE
    return text_problem(question, fact.title, content, names=False)


def answer_problem(answer: str, fact: Fact, content: str) -> str:
    """Why an answer is not taught, or nothing: it must have the value as the record has it, and invent nothing."""
    if len(answer) > len(fact.value) + MAX_QUESTION_CHARACTERS or fact.value not in answer:
        return WITHOUT_VALUE
    if fact.kind in _KIND and has_shape(fact.kind, fact.value):
        # What is taught must be read back as the value, or a model that learned it would be called wrong.
        if extract(fact.kind, answer).answer != fact.value:
            return NOT_FINDABLE
    elif not _alone(fact.value).search(answer):
        return WITHOUT_VALUE
    return text_problem(answer, fact.title, content, names=True)


def text_problem(text: str, title: str, content: str, *, names: bool) -> str:
    """Numbers, names, addresses in a text that have no ground in record or title.

    Args:
        names: whether names and numbers in words count too: a customer may speak of a niece and her two cats, an answer
            may not.
    """
    if has_contact(text):
        return CONTACT
    known = ground(title, content)
    if not (all_numbers(text) if names else numbers(text)) <= known.numbers:
        return INVENTED_NUMBER
    return INVENTED_NAME if names and not all(map(known.has_name, names_in(text))) else ""


def _says_numbers(question: str, fact: Fact) -> bool:
    """Whether a question has every number of the value: "the 12 in kite" says "12 inches"."""
    value, asked, title = map(all_numbers, (fact.value, question, fact.title))
    return bool(value) and value <= asked - title


@lru_cache(maxsize=512)
def _own_words(title: str) -> frozenset[str]:
    """The title's words that tell it, all where none does."""
    words = frozenset(title_key(title).split())
    return words - _COMMON or words


def _names(question: str, fact: Fact) -> bool:
    """Whether a word of the title stands in the question, or the attribute as the product's own: "the warranty"."""
    words = title_key(question).split()
    if not _own_words(fact.title).isdisjoint(words):
        return True
    label = {word.removesuffix("s") for word in kind_label(fact.kind).split()}
    return any(a == "the" and b.removesuffix("s") in label for a, b in pairwise(words))


@lru_cache(maxsize=4096)
def masked(question: str, title: str, name: str = "it") -> str:
    """What two questions share that ask the same of different products, or one more politely than the other."""
    words = f" {title_key(question)} ".replace(f" {title_key(title)} ", f" {name} ").strip()
    words = _POLITE.sub("", _SPELLED_OUT.sub(r"\1 is", words.replace("color", "colour")))
    return " ".join(words.split())


class Asked:
    """The questions that were asked about one product, to tell which are asked again, or nearly.

    A whole product shares the exact ones, for one question must not have two answers; near ones count within a fact,
    because "What size is it?" and "What price is it?" are near and yet ask for two things. Titles are masked: they would
    make every two questions alike. To name the product is another question than to say "it", and worth a row of its own,
    but not where one of the two is held out: all but the title would have been shown.
    """

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._plain: set[str] = set()
        self._held_out: set[str] = set()
        self._near: dict[str, list[frozenset[tuple[str, str]]]] = {}

    def problem(self, question: str, fact: Fact, *, held_out: bool = False) -> str:
        words = masked(question, fact.title, _NAMED)
        if words in self._exact or masked(question, fact.title) in (self._plain if held_out else self._held_out):
            return REPEATED
        pairs = _word_pairs(words)
        if any(len(pairs & other) >= NEAR * len(pairs | other) for other in self._near.get(fact.kind, ())):
            return NEARLY_REPEATED
        return ""

    def add(self, question: str, fact: Fact, *, held_out: bool = False) -> None:
        words, plain = masked(question, fact.title, _NAMED), masked(question, fact.title)
        self._exact.add(words)
        self._plain.add(plain)
        if held_out:
            self._held_out.add(plain)
        self._near.setdefault(fact.kind, []).append(_word_pairs(words))


@lru_cache(maxsize=4096)
def _word_pairs(words: str) -> frozenset[tuple[str, str]]:
    """Pairs of neighbouring words, the ends among them: whole words, for letters make all short questions alike."""
    return frozenset(pairwise(["", *words.split(), ""]))


def unique_values(all_facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """(kind, value key) whose value only one product of these has, as whatever kind: only those tell a product."""
    owners: dict[str, set[str]] = {}
    kinds: set[tuple[str, str]] = set()
    for fact in all_facts:
        key = title_key(fact.value)
        owners.setdefault(key, set()).add(fact.uid)
        kinds.add((fact.kind, key))
    return {(kind, key) for kind, key in kinds if len(owners[key]) == 1}


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
    unknown = {title_key(title) for title, kind, *_ in held_out if kind == UNKNOWN}
    return {
        "prompts": sum(prompt in prompts for *_, prompt in held_out),
        "questions": sum((kind, masked(question, title)) in asked for title, kind, question, _ in held_out),
        "unknown_titles": len(unknown & trained),
    }
