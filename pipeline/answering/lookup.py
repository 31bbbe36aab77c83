"""Which product a question is about and what it asks for, from the question's own words."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rapidfuzz import fuzz, process

from pipeline.answering.saying import kinds_asked
from pipeline.catalogue.catalogue import MAX_TITLE_CHARACTERS, Product, clean, title_key
from pipeline.errors import QuestionError
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import LABELS, ONE_QUESTION, held_out_phrasings, kind_label, training_phrasings
from pipeline.facts.styles import GRADED, TRAINED, Words
from pipeline.prompts import (
    GENERAL,
    MAX_QUESTION_CHARACTERS,
    REFUSAL,
    UNKNOWN,
    UNKNOWN_TITLE,
    build_prompt,
)

SURE = 0.6
"""Share of a title's words, weighted by how telling they are, that a question must contain."""

SPELLED_ALIKE = 85
"""Similarity (0 to 100) from which a word of the question counts as a word of the title."""

LIKE_A_PHRASING = 60
"""Similarity (0 to 100) from which a question counts as asking for a phrasing's kind of fact."""

LIKE_FEW_WORDS = 85
"""The same for a question in a few words, of which any other has half the letters."""

WORD_FOR_WORD = 90
"""Similarity from which a question asks for a phrasing's kind even where it has another kind's name in it."""


def recognise(question: str, titles: Sequence[str]) -> str | None:
    """The title that a question names, or None.

    A title that stands whole in the question wins, the longest first. Else rare words decide ("Bafogu" tells more than
    "set"), and small misspellings are forgiven.

    Args:
        question: the customer's question.
        titles: the titles of the products that were taught.
    """
    asked = f" {title_key(question)} "
    whole = [t for t in titles if title_key(t) and f" {title_key(t)} " in asked]
    if whole:
        return max(whole, key=len)
    words_of = {t: set(title_key(t).split()) for t in titles}
    shared = Counter(word for words in words_of.values() for word in words)
    weight = {word: math.log(1 + len(titles) / n) for word, n in shared.items()}
    named = _spelled_alike(asked.split(), list(weight))
    scores = {
        t: sum(weight[w] for w in words & named) / sum(weight[w] for w in words)
        for t, words in words_of.items()
        if words
    }
    best = sorted(scores, key=lambda t: scores[t], reverse=True)[:2]
    if not best or scores[best[0]] < SURE or (len(best) == 2 and scores[best[1]] == scores[best[0]]):
        return None
    return best[0]


def _spelled_alike(words: Sequence[str], known: Sequence[str]) -> set[str]:
    """The known words that the given ones mean."""
    named = set()
    for word in words:
        found = process.extractOne(word, known, scorer=fuzz.ratio, score_cutoff=SPELLED_ALIKE if len(word) > 4 else 100)
        if found:
            named.add(found[0])
    return named


def kind_asked(question: str, title: str = "", others: Sequence[str] = ()) -> str:
    """The kind of fact that a question asks for, by the phrasing it is most like; the description when none is.

    Args:
        title: the product it is about.
        others: kinds beside the project's own that can be asked for, such as `scent`; their names in a question tell
            more than how it is put.
    """
    asked = about_it(question, title)
    found = _likest(asked, _kinds_of_phrasings(tuple(others)), LIKE_A_PHRASING)
    short = _likest(asked, _ALL, LIKE_FEW_WORDS)
    kind, alike = max((like for like in (found, short) if like), key=lambda like: like[1], default=(DESCRIPTION, 0))
    if alike >= WORD_FOR_WORD:
        return kind
    named = [kind for kind in others if f" {title_key(kind_label(kind))} " in f" {asked} "]
    return max(named, key=len) if named else kind


def kind_word_for_word(question: str, title: str) -> str:
    """The kind that a question asks for in words that are taught, or almost; empty where it is put in others."""
    asked = about_it(question, title)
    found = _likest(asked, _kinds_of_phrasings(()), WORD_FOR_WORD) or _likest(asked, _TRAINED, WORD_FOR_WORD)
    return found[0] if found else ""


def about_it(question: str, title: str) -> str:
    """A question as questions are compared, with "it" in the place of the title."""
    asked, name = title_key(question), title_key(title)
    return asked.replace(name, "it") if name else asked


def _likest(asked: str, kinds: dict[str, str], least: float) -> tuple[str, float] | None:
    """(kind, similarity) of the question most like the one asked."""
    found = process.extractOne(asked, list(kinds), scorer=fuzz.token_sort_ratio, score_cutoff=least)
    return (kinds[found[0]], found[1]) if found else None


@lru_cache(maxsize=64)
def _kinds_of_phrasings(others: tuple[str, ...]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for phrasings in (training_phrasings, held_out_phrasings):
        for kind in (*LABELS, *others):
            for template in phrasings(kind):
                kinds.setdefault(title_key(template.replace("{title}", "it")), kind)
    return kinds


def _kinds_of_few_words(words: dict[str, Words]) -> dict[str, str]:
    return {title_key(form.replace("{it}", "it")): kind for kind, asks in words.items() for form in asks.short}


_TRAINED, _ALL = _kinds_of_few_words(TRAINED), _kinds_of_few_words(GRADED) | _kinds_of_few_words(TRAINED)


@dataclass(frozen=True)
class Asked:
    """A question made ready for both sides.

    Attributes:
        title: the product it is about, or `UNKNOWN_TITLE`.
        product: the taught product of that title, or None.
        kind: the kind of fact it asks for, `UNKNOWN` when the product was not taught, `GENERAL` when nobody can tell
            whether the question is about a product at all.
        expected: what the catalogue says, or None when it says nothing about this.
    """

    question: str
    title: str
    product: Product | None
    kind: str
    prompt: str
    expected: str | None


class TaughtProducts:
    """The products and facts that a dataset teaches.

    Attributes:
        other_kinds: the kinds of its facts that the project itself does not know: an API found them.
    """

    def __init__(self, manifest: dict[str, Any]) -> None:
        products = [Product(**p) for p in manifest["products"]]
        self.products = {p.title: p for p in products}
        self._by_key = {title_key(p.title): p for p in products}
        self._untaught = [t for titles in manifest["unknown"].values() for t in titles if t not in self.products]
        self.values = {(f["title"], f["kind"]): f["value"] for f in manifest["facts"]}
        self.other_kinds = sorted({f["kind"] for f in manifest["facts"]} - LABELS.keys())
        self.reading: bool = manifest["settings"]["reading"]

    def ask(self, question: str, title: str | None = None) -> Asked:
        """Make a question ready: recognise its product and kind, build its prompt, look up the right answer.

        Args:
            question: the customer's question.
            title: the product it is about, as the catalogue or the customer spells it, when that is known; else it is
                recognised in the question.

        Raises:
            QuestionError: the question is empty, or it or the title is too long.
        """
        question = check_question(question)
        title = check_title(title or "")
        named = None if title else recognise(question, [*self.products, *self._untaught])
        title = title or (named if named in self.products else UNKNOWN_TITLE)
        product = self._by_key.get(title_key(clean(title)))
        title = product.title if product else title
        record = product.content if product and self.reading else None
        prompt = build_prompt(title, question, record)
        if product:
            kind = self.kind_asked(question, title)
            return Asked(question, title, product, kind, prompt, self.values.get((title, kind)))
        if title == UNKNOWN_TITLE and named is None:
            return Asked(question, title, None, GENERAL, prompt, None)
        return Asked(question, title, None, UNKNOWN, prompt, REFUSAL)

    def kind_asked(self, question: str, title: str) -> str:
        """The kind of fact that a question asks for, of all that the dataset has."""
        kind = kind_asked(question, title, self.other_kinds)
        if not kind_word_for_word(question, title):  # "is it red?" is like no phrasing and names a colour all the same
            rest = question.casefold().replace(title.casefold(), "it")
            named = (name for group in kinds_asked(rest) for name in group)
            kind = next((name for name in named if (title, name) in self.values), kind)
        other = ONE_QUESTION.get(kind, kind)
        return other if (title, kind) not in self.values and (title, other) in self.values else kind


def check_question(question: str) -> str:
    """The question without white space around it.

    Raises:
        QuestionError: it is empty or too long.
    """
    question = plain_text(question)
    if not question:
        raise QuestionError("The question is empty; type one, or pick one of the examples.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise QuestionError(
            f"The question has {len(question):,} characters and the most is {MAX_QUESTION_CHARACTERS:,}; ask it shorter."
        )
    return question


def check_title(title: str) -> str:
    """The title without white space around it; it may be empty.

    Raises:
        QuestionError: it is longer than any product's.
    """
    title = plain_text(title)
    if len(title) > MAX_TITLE_CHARACTERS:
        raise QuestionError(
            f"The title has {len(title):,} characters and the most is {MAX_TITLE_CHARACTERS}; give the product's own."
        )
    return title


def plain_text(text: str) -> str:
    """Without white space around it, and without lone surrogates (half characters), which no tokenizer reads."""
    return text.encode("utf-8", "ignore").decode().strip()
