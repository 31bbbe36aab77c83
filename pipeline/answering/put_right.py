"""What the owner put right: said from then on to the same question about the same product, before anything that is found.

It is no answer of any way's own, so what measures the ways (a comparison, `judge`, the benchmarks) never asks for it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pipeline.answering.lookup import about_it, kind_word_for_word
from pipeline.answering.saying import as_sentence, kinds_asked, named_beside
from pipeline.answering.several import kept_facts
from pipeline.answering.shop import DONT_KNOW, About, Shop, Told
from pipeline.catalogue.catalogue import Product, title_key
from pipeline.catalogue.finding.words import STOP, plain_words, stem
from pipeline.dataset.edits import Edit, edits_file
from pipeline.dataset.taught import taught
from pipeline.facts.extraction import VALUE, says
from pipeline.facts.patterns import SHAPED
from pipeline.facts.phrasings import ONE_QUESTION

NEAR = 0.9
"""Cosine by the encoder from which two questions with the same telling words are one. Of 101,025 pairs of 450 customers'
questions three are nearer, all of them one question; what has the same words and asks otherwise ("is it a bag", "is it in a bag")
comes to 0.88. Without the same words it decides nothing: "is it left handed" and "is it right handed" are 0.98 near."""

_NO_OR_WHAT = """
no not nor never dont doesnt isnt arent cant wont didnt off out over under up down from
what who whom whose when where why how which
"""
_TURNING = frozenset(_NO_OR_WHAT.split())
"""Words of every question that turn what is asked all the same."""


def with_put_right(shop: Shop, question: str, about: About, *, is_given: bool = False) -> About:
    """The same with the owner's answer as `put_right`, where they gave one to this question; of several the last.

    A question is the same in the same words, but for case, marks, typos and words that say nothing; and where it asks for the
    kind of fact that the answer was given for, and for nothing else. In the very words of one that was put right as about another
    product, which it names, or about none, it is about that.

    Args:
        question: as it was asked.
        is_given: whether the product was given beside the question.
    """
    lessons = _lessons()
    if not lessons:
        return about
    product, asked = about.product, title_key(question)
    mine = [one for one in lessons if product and _is_about(shop, one, product)]
    same = _same(shop, about, asked, mine) if product else None
    if not (product and is_given):
        for other in lessons[: lessons.index(same)] if same else lessons:
            if title_key(other.question) == asked and (moved := _about_another(shop, question, other)):
                return moved
    return replace(about, put_right=_told(same)) if same else about


def _about_another(shop: Shop, question: str, lesson: Edit) -> About | None:
    """What a question is about whose product the owner put right: one that it names, or none."""
    if not lesson.title:
        return About(question, None, put_right=replace(DONT_KNOW, by_shop=True))
    if not _telling(question) & _telling(lesson.title):
        return None
    about = shop.about(question, uid=lesson.uid) if shop.catalogue.has_uids else shop.about(question, lesson.title)
    is_there = about.product is not None and _is_about(shop, lesson, about.product)
    return replace(about, put_right=_told(lesson)) if is_there else None


def _is_about(shop: Shop, lesson: Edit, product: Product) -> bool:
    """Whether a lesson is about a product: by uid and title, but where a uid is the number of a line, which the next file of the
    shop has elsewhere."""
    return lesson.title == product.title and (lesson.uid == product.uid or not shop.catalogue.has_uids)


def _same(shop: Shop, about: About, asked: str, lessons: Sequence[Edit]) -> Edit | None:
    """The lesson about the product that has the question: by words or by kind the last, else by meaning."""
    product = about.product
    if not (lessons and product):
        return None
    if about.listed or about.beside:
        return next((one for one in lessons if title_key(one.question) == asked), None)
    words = about_it(about.question, product.title)
    known = {one.row: shop.sentences.mended(one.question, product.title, product.content) for one in lessons}
    kind = kind_alone(shop, about.question, product)
    for one in lessons:
        if asked == title_key(one.question) or words == about_it(known[one.row], product.title):
            return one
        if kind and kind in (one.kind, ONE_QUESTION.get(one.kind)) and not _begins_with_yes_or_no(one.response):
            return one
    return next((one for one in lessons if _is_near(shop, words, about_it(known[one.row], product.title))), None)


def kind_alone(shop: Shop, question: str, product: Product | None) -> str:
    """The kind of fact that a question asks for where it asks for one and names nothing beside the product; else empty."""
    title, facts = (product.title, kept_facts(product)) if product else ("", ())
    is_word = shop.products.is_word if shop.sentences.encoder else bool  # without it, no word is taken for a slip
    if named_beside(question, title, is_word):
        return ""
    if kind := kind_word_for_word(question, title):
        return kind
    groups = kinds_asked(question)
    if len(groups) != 1 or not groups[0]:
        return ""
    return next((fact.kind for fact in facts if fact.kind in groups[0]), groups[0][0])


def _is_near(shop: Shop, asked: str, other: str) -> bool:
    encoder, telling = shop.sentences.encoder, _telling(asked)
    turning = _TURNING & set(plain_words(asked))
    if not (encoder and telling and telling == _telling(other) and turning == _TURNING & set(plain_words(other))):
        return False
    one, two = encoder.encode([asked, other])
    return float(one.whole @ two.whole) >= NEAR


def _telling(text: str) -> set[str]:
    return {stem(word) for word in plain_words(text) if word not in STOP}


def _begins_with_yes_or_no(answer: str) -> bool:
    return plain_words(answer)[:1] in (["yes"], ["no"])


def _told(lesson: Edit) -> Told:
    said = says(lesson.response)
    is_value = said == VALUE and lesson.kind in SHAPED
    return Told(as_sentence(lesson.response) if is_value else lesson.response, said, by_shop=True)


def _lessons() -> tuple[Edit, ...]:
    """What the owner taught, the last first; read anew once the file has changed, in whatever process."""
    try:
        found = edits_file().stat()
    except FileNotFoundError:
        return ()
    return _read(str(edits_file()), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)
def _read(_file: str, _changed: int, _size: int) -> tuple[Edit, ...]:
    return tuple(reversed(taught()))
