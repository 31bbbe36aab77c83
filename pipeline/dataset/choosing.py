"""Which products are taught: drawn with a seed, most of them with an attribute, each with the facts that its record states."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.catalogue.catalogue import Catalogue, Product
from pipeline.dataset.checks import why_not_taught
from pipeline.dataset.taught import products_taught
from pipeline.facts.extract import Fact, extract_facts
from pipeline.facts.patterns import DESCRIPTION

WITH_ATTRIBUTES = 0.7
"""Share of the chosen products that should state an attribute: a description alone shows less of what was learned."""
LOOKED_AT = 50
"""Products looked at for each one that is taught: a huge catalogue is not read through for a few products."""


@dataclass(frozen=True)
class ChosenProduct:
    """A product to teach, and its facts, which are found once: the description first."""

    product: Product
    facts: tuple[Fact, ...]

    @classmethod
    def of(cls, product: Product) -> "ChosenProduct":
        return cls(product, tuple(facts_of(product)))

    def taught(self) -> set[str]:
        """The kinds of its facts that are taught."""
        return {fact.kind for fact in self.facts if not why_not_taught(fact)}


def facts_of(product: Product) -> list[Fact]:
    """What a product's record and its file's columns state."""
    return extract_facts(product.uid, product.title, product.content, product.attributes)


def choose_products(
    catalogue: Catalogue, count: int, seed: int, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[ChosenProduct]:
    """Those of which a person put an answer right, and as many others as are wanted, drawn; where the catalogue allows, each says
    something of itself, and most state an attribute.

    Args:
        on_progress: called with (products found, of).

    Returns:
        At most `count` products in a seeded order, or those put right where they are more; fewer where the catalogue has fewer.
    """
    first = [ChosenProduct.of(product) for product in products_taught(catalogue)]
    uids = {chosen.product.uid for chosen in first}
    count = max(0, min(count, catalogue.usable) - len(first))
    wanted = math.ceil(count * WITH_ATTRIBUTES)
    rich: list[tuple[int, ChosenProduct]] = []
    others: list[tuple[int, ChosenProduct]] = []
    silent: list[tuple[int, ChosenProduct]] = []  # a model that reads it may still find something
    for place, product in enumerate(_in_turn(catalogue, count + len(first), seed) if count else ()):
        if product.uid in uids:
            continue
        found = ChosenProduct.of(product)
        kinds = found.taught()
        if len(rich) < wanted and kinds - {DESCRIPTION}:
            rich.append((place, found))
        elif len(some := others if kinds else silent) < count:
            some.append((place, found))
        if len(rich) + len(others) <= count:
            on_progress(len(rich) + len(others), count)
        if len(rich) == wanted and len(rich) + len(others) >= count:
            break
    found = [*rich, *[*others, *silent][: count - len(rich)]]
    return first + [chosen for _, chosen in sorted(found, key=lambda placed: placed[0])]


def _in_turn(catalogue: Catalogue, count: int, seed: int) -> Iterator[Product]:
    """Products in a seeded order, read some at a time: mostly a few more than `count` are looked at."""
    order: Sequence[int] = catalogue.order(count * LOOKED_AT, seed)
    start, end = 0, 2 * count
    while start < len(order):
        yield from catalogue.at(order[start:end])
        start, end = end, 3 * end
