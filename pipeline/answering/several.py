"""Questions about several products at once: which are so ("do you have a mug in red?", "which toys are for a child of 4?"),
and what each of a family states ("what colour is the enamel mug", where there are three).

A product is listed only where its record says all that is asked: a value as a fact of its kind, anything else in one sentence.
"""

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.answering.saying import DENIED, KINDS_OF, SORTS, is_yes_no, kinds_asked
from pipeline.catalogue.catalogue import Catalogue, Product
from pipeline.catalogue.finding.names import ASKING, GENERIC, SAME, SAYS_NOTHING
from pipeline.catalogue.finding.products import ProductFinder
from pipeline.catalogue.finding.sentences import KEPT_RECORDS
from pipeline.catalogue.finding.units import units
from pipeline.catalogue.finding.words import plain_words, stem
from pipeline.dataset.choosing import facts_of
from pipeline.facts.extract import Fact
from pipeline.facts.quantities import quantities

MOST_LISTED = 5
"""Products in an answer; a customer reads no more."""

MOST_WANTED = 10
"""Things that a question may want at once; one that has more is a story, and each costs a look at every record."""

LOOKED_AT = 60
"""Products whose records are read for what a query by words cannot tell."""

_ASKS = re.compile(
    r"^(?:(?:hi|hello|hey|so|ok|please)\W+)*(?:which\b|what\b.*\b(?:do|have) you\b)"
    r"|^what(?:'s| is| are)\b.*\b(?:made|in|under|for)\b"
    r"|\b(?:do|have|did) (?:you|u) (?:have|sell|stock|carry|offer|make|got|do)\b|\b(?:is|are) there an?y?\b|^(?:got|any)\b"
    r"|\b(?:anything|something)\b|\blooking for\b|\bshow me\b",
    re.IGNORECASE,
)
"""How a customer asks what there is."""

_ASKS_SHOP = re.compile(
    r"\b(?:do|have|did) (?:you|u) (?:have|sell|stock|carry|offer|got)\b(?! to\b)|\blooking for\b|\bshow me\b",
    re.IGNORECASE,
)
"""How it is asked of the shop, whatever its customer stands before."""

_NOT = re.compile(
    r"\b(?:it|it['’]s|its|this|these|those|they|them|their|ones?)\b|\bthe (?!most|least|fewest|\w+est\b)"
    r"|^which (?:colou?rs?|sizes?|years?|languages?|materials?|country|brand|publisher|author|age|way|side)\b",
    re.IGNORECASE,
)
"""What speaks of a product that is known already."""

_ANY = re.compile(r"\b(?:anything|something|products?|items?|articles?|things?)\b", re.IGNORECASE)

_LIMIT = re.compile(
    r"\b(?:under|below|less than|cheaper than|up to|max(?:imum)?)\s+([$£€])\s?(\d{1,3}(?:,\d{3})+|\d+)([.,]\d\d)?(?!\d)",
    re.IGNORECASE,
)
_AGE = re.compile(r"\b(\d{1,2})[- ]?(months?|m|years?|yrs?|y)?[- ]?(?:old\b|/?o\b)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)[\s-]?([a-z]+)?", re.IGNORECASE)
_EXTREMES = {
    "lightest": ("weight", -1),
    "heaviest": ("weight", 1),
    "cheapest": ("price", -1),
    "dearest": ("price", 1),
    "oldest": ("year", -1),
    "newest": ("year", 1),
}
_MOST = re.compile(r"\b(most|least|fewest) (expensive|pieces|pages|powerful)\b", re.IGNORECASE)
_MOST_OF = {"expensive": "price", "pieces": "pieces", "pages": "pages", "powerful": "power"}

_CLASSES = frozenset(("wood", "wooden", "metal", "plastic"))
"""Names of materials that stand for all of their group; of the others only the material itself is meant ("oak")."""

_OF_BOOKS = ("author", "pages", "publisher")
"""Kinds of facts that make a book of what is not called one."""

_SHOPPING = frozenset(
    map(stem, ("gift", "present", "show", "list", "range", "selection", "choice", "option", "stuff", "thing"))
)
"""Words about shopping, which no product need have."""


@dataclass(frozen=True)
class Listed:
    """A product that is as the question wants it, and what of its record says so."""

    product: Product
    quote: str


@dataclass(frozen=True)
class _Wish:
    """What a question wants of a product.

    Attributes:
        things: stems that its title has, each with those that mean the same.
        sorts: words of the question that name values, each with the kinds of facts that may have it.
        said: stems that a sentence of its record has, all in one.
        numbers: (number, stem of its unit) that a fact has.
        generic: stems for what sort of thing it is, where anything is called so.
        is_of_any: whether it is asked for as "anything", "something" or "products".
        limit: (currency, most that it may cost).
        months: the age that it is for.
        extreme: (kind, 1 for the largest or −1 for the smallest).
    """

    things: tuple[frozenset[str], ...] = ()
    sorts: tuple[tuple[str, frozenset[str]], ...] = ()
    said: frozenset[str] = frozenset()
    numbers: tuple[tuple[str, str], ...] = ()
    generic: frozenset[str] = frozenset()
    is_of_any: bool = False
    limit: tuple[str, float] | None = None
    months: int | None = None
    extreme: tuple[str, int] | None = None

    @property
    def is_told(self) -> bool:
        """Whether it wants anything of a record."""
        return bool(self.sorts or self.said or self.numbers or self.limit or self.extreme or self.months is not None)


def listed(question: str, catalogue: Catalogue, finder: ProductFinder) -> list[Listed]:
    """The products that a question wants to hear of, the catalogue's first ones; none where it asks for something else, or
    where no record says so."""
    if not _ASKS.search(question) or _NOT.search(question):
        return []
    wish = _wish(question, finder)
    groups = _groups(wish)
    if len(groups) > MOST_WANTED or not (wish.is_told or wish.things):
        return []
    found = catalogue.saying(groups, LOOKED_AT)
    products = _of_that_sort(found, wish.generic)
    if wish.extreme:
        return _extreme(products, *wish.extreme)
    fitting = (Listed(product, quote) for product in products if (quote := _fits(product, wish)) is not None)
    return list(itertools.islice(fitting, MOST_LISTED))


def asks_shop(question: str, finder: ProductFinder) -> bool:
    """Whether a question asks what the shop has, even on the page of a product: "any batteries needed?" asks of that product."""
    if not _ASKS.search(question) or _NOT.search(question):
        return False
    wish = _wish(question, finder)
    if (wish.limit or wish.extreme) and not wish.said:
        return True
    return bool(_ASKS_SHOP.search(question) and (wish.things or (wish.is_of_any and wish.is_told)))


def family(question: str, catalogue: Catalogue, finder: ProductFinder) -> list[Product]:
    """The products that share the name in a question which asks for a kind of fact; none where one or too many do."""
    if not kinds_asked(question) or is_yes_no(question):
        return []
    wish = _wish(question, finder)
    groups = _groups(wish)
    if len(groups) > MOST_WANTED or not wish.things or wish.said:
        return []
    found = catalogue.saying(groups, MOST_LISTED + 1, in_title=True)
    return found if 1 < len(found) <= MOST_LISTED else []


def _wish(question: str, finder: ProductFinder) -> _Wish:
    months, limit = _months(question), _LIMIT.search(question)
    rest = _AGE.sub(" ", _LIMIT.sub(" ", question))
    extreme = _extreme_asked(rest)
    things, said, sorts, generic = [], set(), [], set()
    for word in plain_words(_NUMBER.sub(" ", rest)):
        root = stem(word)
        if kinds := frozenset(kind for kind in SORTS if any(word in group for group in SORTS[kind])):
            sorts.append((word, kinds))
        elif root in GENERIC:
            generic.add(root)
        elif word in SAYS_NOTHING or root in SAYS_NOTHING or root in ASKING or root in _SHOPPING or word in _EXTREMES:
            continue
        else:
            meant = finder.meant(word)
            (things.append(_same(meant)) if finder.index.knows(meant) else said.add(root))
    if extreme:
        sorts = []
    return _Wish(
        tuple(things),
        tuple(sorts),
        frozenset(said),
        tuple((number, unit) for number, unit in _numbers(rest) if unit),
        frozenset(generic),
        bool(_ANY.search(question)),
        (limit[1], float(limit[2].replace(",", "") + (limit[3] or "").replace(",", "."))) if limit else None,
        months,
        extreme,
    )


def _same(root: str) -> frozenset[str]:
    return frozenset({root}) | SAME.get(root, frozenset())


def _months(question: str) -> int | None:
    found = _AGE.search(question)
    if not found:
        return None
    return int(found[1]) * (1 if (found[2] or "y")[0].casefold() == "m" else 12)


def _extreme_asked(question: str) -> tuple[str, int] | None:
    for word in plain_words(question):
        if word in _EXTREMES:
            return _EXTREMES[word]
    if found := _MOST.search(question):
        return _MOST_OF[found[2].casefold()], 1 if found[1].casefold() == "most" else -1
    return None


def _groups(wish: _Wish) -> list[Collection[str]]:
    """What stands in every product's title or record that may fit: a word of each group, by how it begins."""
    values = [_meaning(word, kinds) for word, kinds in wish.sorts]
    return [*wish.things, *values, *({root} for root in wish.said), *({number} for number, _ in wish.numbers)]


def _meaning(word: str, kinds: Collection[str]) -> frozenset[str]:
    """The words of a value that say the same."""
    groups = [group for kind in kinds for group in SORTS[kind] if word in group]
    if "material" in kinds and word not in _CLASSES:
        return frozenset((word,))
    return frozenset().union(*groups)


def _of_that_sort(products: Sequence[Product], generic: Collection[str]) -> list[Product]:
    """Those that are called so ("toy"), where any are."""
    names = {other for root in generic for other in _same(root)}
    called = [one for one in products if _is_called(one, names)]
    return called or list(products)


def _is_called(product: Product, names: Collection[str]) -> bool:
    if set(names) & set(map(stem, plain_words(f"{product.title} {product.content}"))):
        return True
    return "book" in names and any(fact.kind in _OF_BOOKS for fact in kept_facts(product))


def _fits(product: Product, wish: _Wish) -> str | None:
    """What of a record says that the product is as it is wanted; None where it does not say all of it."""
    facts = kept_facts(product)
    stated: list[Fact | None] = [_stating(facts, word, kinds) for word, kinds in wish.sorts]
    stated += [_numbering(facts, number, unit) for number, unit in wish.numbers]
    stated += [_within(facts, *wish.limit)] if wish.limit else []
    stated += [_for_age(facts, wish.months)] if wish.months is not None else []
    quotes = [fact.quote for fact in stated if fact]
    if len(quotes) < len(stated):
        return None
    title = set(map(stem, plain_words(product.title)))
    told = [group for group in wish.things if not group & title] + [frozenset((root,)) for root in wish.said]
    if told:
        # What only a sentence names may be what the product goes with, unless it is asked for as a property of something.
        is_property = len(told) < len(wish.things) + len(wish.said) or wish.generic or wish.is_of_any or quotes
        sentence = _saying(product.content, told) if is_property else ""
        if not sentence:
            return None
        quotes.append(sentence)
    return " ".join(dict.fromkeys(quotes))


@lru_cache(maxsize=KEPT_RECORDS)
def kept_facts(product: Product) -> tuple[Fact, ...]:
    """A product's facts. To find them takes a third of an answer's time, and people ask about the same products."""
    return tuple(facts_of(product))


def _stating(facts: Sequence[Fact], word: str, sorts: Collection[str]) -> Fact | None:
    """The fact that has a value, of a kind that can have it."""
    kinds = {kind for sort in sorts for kind in KINDS_OF.get(sort, (sort,))}
    words = _meaning(word, sorts)
    return next((fact for fact in facts if fact.kind in kinds and words & set(plain_words(fact.value))), None)


def _numbering(facts: Sequence[Fact], number: str, unit: str) -> Fact | None:
    """The fact that has a number with its unit."""
    return next((fact for fact in facts if (number, unit) in _numbers(fact.value)), None)


def _numbers(text: str) -> list[tuple[str, str]]:
    return [(found[1], stem((found[2] or "").casefold())) for found in _NUMBER.finditer(text)]


def _within(facts: Sequence[Fact], currency: str, most: float) -> Fact | None:
    for fact in facts:
        found = (
            re.search(rf"{re.escape(currency)}\s?(\d[\d,]*(?:\.\d\d)?)", fact.value) if fact.kind == "price" else None
        )
        if found and float(found[1].replace(",", "")) <= most:
            return fact
    return None


def _for_age(facts: Sequence[Fact], months: int) -> Fact | None:
    for fact in (fact for fact in facts if fact.kind == "age"):
        each = 1 if "month" in fact.value.casefold() else 12
        ends = [int(n) * each for n in re.findall(r"\d+", fact.value)] or (
            [0] if "birth" in fact.value.casefold() else []
        )
        # A child is four years old until the day of the fifth birthday.
        if ends and ends[0] <= months and (len(ends) == 1 or months <= ends[1]):
            return fact
    return None


def _saying(content: str, groups: Sequence[Collection[str]]) -> str:
    """The sentence that has a word of every group and denies nothing."""
    for unit in units(content):
        own = set(map(stem, plain_words(unit.text)))
        if all(set(group) & own for group in groups) and not DENIED.search(unit.text):
            return unit.text
    return ""


def _extreme(products: Sequence[Product], kind: str, sign: int) -> list[Listed]:
    """The product with the largest or smallest value of a kind, of those that state one; several where they are equal."""
    every = [(fact, product) for product in products for fact in kept_facts(product) if fact.kind == kind]
    sizes = [(sign * size, Listed(product, fact.quote)) for fact, product in every if (size := _size(fact)) is not None]
    most = max((size for size, _ in sizes), default=0.0)
    return [one for size, one in sizes if size == most][:MOST_LISTED]


def _size(fact: Fact) -> float | None:
    """How much a fact says, in its measure's base unit, so that pounds and grams compare."""
    found = quantities(fact.kind, fact.value)
    return found[0].number * found[0].unit.per_base if found else None
