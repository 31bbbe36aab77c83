"""What a question is about that is asked on a shop's page: the page's product, unless it surely means something else.

A page says which product it is of, so only that one is meant by it: one of a like title has another price. A question means
something else where it asks what there is, or names another thing and nothing of the page's product.
"""

import re

from pipeline.answering.saying import SORTS, kinds_asked
from pipeline.answering.several import asks_shop
from pipeline.answering.shop import About, Shop, cleaned
from pipeline.catalogue.catalogue import Product, clean, title_key
from pipeline.catalogue.finding.words import plain_words, stems

_THIS = re.compile(r"\b(?:it|its|it['’]s|this|these|that|those|they|them|their)\b", re.IGNORECASE)
"""The product of the page, where nothing else was named before."""

_PARTED = re.compile(r" [|\-–—·•»] ")
"""Stands between a product's title and the shop's name, in what a page calls itself, once that is `clean`."""

MOST_PARTED = 6
"""Such marks in a title; one that has more is a list."""

_VARIANT = re.compile(r"\d|\b(?:xx?s|small|medium|large|xx?l)\b", re.IGNORECASE)
_VALUES = frozenset(word for sort in ("colour", "material") for group in SORTS[sort] for word in group)
"""What tells variants apart: numbers, sizes, colours, materials. Behind "|" stands a shop's name, whatever it is."""


def about_of(shop: Shop, question: str, product: str = "", *, finds: bool = True) -> About:
    """What a question is about that is asked on a product's page.

    Args:
        product: its title, perhaps with the shop's name, or its uid; where the catalogue has none such, or it is empty, the
            question alone says what it is about, and "it" is a product that nobody knows.
        finds: see `Shop.about`.
    """
    own = product_of_page(shop, product)
    if own and not _means_another(shop, question, own):
        return shop.about(question, own.title, own.uid, finds=finds)
    about = shop.about(question, finds=finds)
    if own or not product or about.listed or about.beside or about.product is None:
        return about
    return About(about.question, None) if _means_page(shop, question, product, about.product) else about


def product_of_page(shop: Shop, told: str) -> Product | None:
    """The product that a page says it is of: by its uid, or by its title but for case, marks and the shop's name beside it."""
    catalogue = shop.catalogue
    if told and catalogue.has_uids and (numbers := catalogue.numbers_of([told])):
        return catalogue.at(numbers[:1])[0]
    for title in _titles(clean(told)):
        number = shop.index.by_key(title_key(title))
        if number is not None:
            return shop.index.product(number)
    return None


def _titles(told: str) -> list[str]:
    """A title as a page has it, and what is left of it without a shop's name before or after; the longest first."""
    parted = list(_PARTED.finditer(told))
    if len(parted) > MOST_PARTED:
        return [told]
    found = []
    for first in (None, *parted):
        for last in (None, *parted):
            start, end = first.end() if first else 0, last.start() if last else len(told)
            cut = [told[: first.start()]] if first and "|" not in first[0] else []
            cut += [told[last.end() :]] if last and "|" not in last[0] else []
            if start < end and not any(map(_tells_variant, cut)):
                found.append(told[start:end])
    return sorted(found, key=len, reverse=True)


def _tells_variant(text: str) -> bool:
    """Whether a text tells one variant of a product from another ("Neon Blue", "Pack of 6"), so that it is no shop's name."""
    return bool(_VARIANT.search(text)) or not _VALUES.isdisjoint(plain_words(text))


def _means_page(shop: Shop, question: str, page: str, found: Product) -> bool:
    """Whether a question on the page of an unknown product means that one, and not what was found in its words: by "it", or as
    it names what was found by words that the page has, too."""
    this = _THIS.search(question)
    return not shop.products.telling(question[: this.start()] if this else question, found) - set(stems(page))


def _means_another(shop: Shop, question: str, own: Product) -> bool:
    """Whether a question on the page of a product surely means something else."""
    products, question = shop.products, cleaned(question)
    other = products.spelled_out(question)
    if other is not None:
        return shop.index.title(other) != own.title
    if asks_shop(question, products):
        return True
    if _THIS.search(question):
        return False
    kinds = {kind for group in kinds_asked(question) for kind in group}
    return products.two(question) is not None or products.is_another(question, own, kinds)
