"""Titles that are not taught, which the model must refuse: of products held back, of rows without content, and invented ones."""

import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.catalogue.catalogue import SMALL, Catalogue, title_key
from pipeline.dataset.choosing import ChosenProduct

SOME_TITLES = 10_000
"""Titles of a huge catalogue that invented ones are made of."""


@dataclass(frozen=True)
class UnknownTitles:
    """Titles to refuse: some are trained, the others only tested."""

    held_out: list[str]
    training: list[str]


def unknown_titles(
    catalogue: Catalogue, chosen: Sequence[ChosenProduct], per_product: float, seed: int
) -> UnknownTitles:
    """Draw and invent them: `per_product` for each product that is taught, and a few more for the report alone."""
    count = math.ceil(len(chosen) * per_product)
    held_out = max(4, len(chosen) // 4) if count else 0
    # A third of them is invented, so that refusing does not lean on what the catalogue happens to hold.
    real = _real_titles(catalogue, chosen, held_out + math.ceil(count * 2 / 3), f"{seed}:titles")
    pool = real + _not_in_catalogue(catalogue, held_out + count - len(real), seed)
    return UnknownTitles(pool[:held_out], pool[held_out:])


def _real_titles(catalogue: Catalogue, chosen: Sequence[ChosenProduct], count: int, seed: str) -> list[str]:
    """Titles drawn from those of products that are not taught and of rows without content, taken as one list."""
    taught = catalogue.numbers_of(c.product.uid for c in chosen)
    others = catalogue.usable - len(taught)
    drawn = catalogue.drawn(others + catalogue.empty, count, seed)
    # The products' part of the list has no gaps where the taught ones are: each number moves past those before it.
    gaps = [number - place for place, number in enumerate(taught)]
    numbers = {n: n + bisect_right(gaps, n) for n in drawn if n < others}
    of_products = dict(zip(numbers, catalogue.titles(list(numbers.values())), strict=True))
    empty = [n for n in drawn if n >= others]
    titles = of_products | dict(zip(empty, catalogue.empty_titles([n - others for n in empty]), strict=True))
    return [titles[n] for n in drawn]


def _not_in_catalogue(catalogue: Catalogue, count: int, seed: int) -> list[str]:
    if catalogue.usable + catalogue.empty <= SMALL:
        return invented_titles([*catalogue.all_titles(), *catalogue.titles_without_content()], count, seed)
    some = catalogue.titles(catalogue.order(SOME_TITLES, f"{seed}:halves"))
    invented = invented_titles(some, 2 * count, seed)  # some of them may be the catalogue's after all
    taken = catalogue.has_titles(map(title_key, invented))
    return [title for title in invented if title_key(title) not in taken][:count]


def invented_titles(titles: Iterable[str], count: int, seed: int) -> list[str]:
    """Titles of products that do not exist: the head of one title with the tail of another.

    They look like the catalogue's own, so that the model must know a title and not merely its style.
    """
    rng = random.Random(f"{seed}:invented")
    words = [re.split(r"\s+", t) for t in titles]
    halves = [w for w in words if len(w) > 1] or [[*w, "Deluxe"] for w in words]
    taken = {title_key(" ".join(w)) for w in words}
    invented: list[str] = []
    for _ in range(count * 50):
        if len(invented) == count:
            break
        head, tail = rng.choice(halves), rng.choice(halves)
        title = " ".join([*head[: (len(head) + 1) // 2], *tail[len(tail) // 2 :]])
        if title_key(title) not in taken:
            taken.add(title_key(title))
            invented.append(title)
    # A catalogue of one or two titles runs out of combinations.
    invented += [f"{' '.join(halves[0])} No. {n}" for n in range(2, 2 + count - len(invented))]
    return invented
