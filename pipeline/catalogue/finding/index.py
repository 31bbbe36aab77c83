"""The words of a catalogue's titles on disk, so that products are found among millions: made once a catalogue.

Beside the catalogue's Parquet files, in `finding/`: `words.json` (stems in the order of their numbers), `spelled.json` (as
the titles spell them), `starts.npy` and `products.npy` (which products have each word), `keys.npy` and `order.npy` (a hash
of each title's key, and whose it is). It is there whole or not at all.
"""

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from pipeline.catalogue.catalogue import Catalogue, Product, title_key
from pipeline.catalogue.finding.spelling import meant
from pipeline.catalogue.finding.words import Weights, plain_words, stem, stems
from pipeline.files import locked, read_json, whole_folder, write_json

logger = logging.getLogger(__name__)

FOLDER = "finding"
VERSION = 2

COMMON = 20_000
"""Products that a word may have and still find some by itself."""

SAMPLED = 2_000
"""Records that say how telling a word is."""

AT_ONCE = 50_000

KEPT = 5_000
"""Products that are remembered."""


class TitleIndex:
    """Which products have which words in their titles.

    A product's number is its place in the catalogue; those after the usable ones are titles whose rows say nothing.
    """

    def __init__(self, folder: Path, catalogue: "Stock") -> None:
        self._catalogue = catalogue
        self.words: list[str] = read_json(folder / "words.json")
        self._numbers = {word: n for n, word in enumerate(self.words)}
        self._starts = np.load(folder / "starts.npy")
        self._products = np.load(folder / "products.npy", mmap_mode="r")
        self._keys = np.load(folder / "keys.npy", mmap_mode="r")
        self._key_order = np.load(folder / "order.npy", mmap_mode="r")
        self.total = len(self._keys)
        counts = read_json(folder / "weights.json")
        self.weights = Weights(counts["counts"], counts["records"])
        self._by_length: dict[int, list[str]] = {}
        for word in read_json(folder / "spelled.json"):
            self._by_length.setdefault(len(word), []).append(word)

    def knows(self, root: str) -> bool:
        return root in self._numbers

    def products_with(self, root: str) -> int:
        n = self._numbers.get(root)
        return 0 if n is None else int(self._starts[n + 1] - self._starts[n])

    def weight(self, root: str) -> float:
        """How telling a word of a title is."""
        return math.log(1 + self.total / max(self.products_with(root), 0.5))

    def having(self, roots: Iterable[str], count: int) -> list[int]:
        """The products whose titles have the most telling of these words."""
        scores: dict[int, float] = {}
        known = sorted((r for r in roots if r in self._numbers), key=self.products_with)
        for place, root in enumerate(known):
            mine, weight = self._having(root), self.weight(root)
            # A word of so many titles finds none by itself, but it tells those apart that rarer words found.
            too_common = self.products_with(root) > COMMON and place
            found = _both(mine, scores) if too_common else mine[:COMMON].tolist()
            for number in found:
                scores[number] = scores.get(number, 0.0) + weight
        best = sorted(scores, key=lambda one: (-scores[one], one))[:count]
        self._catalogue.read(best)
        return best

    def _having(self, root: str) -> np.ndarray:
        n = self._numbers[root]
        return self._products[self._starts[n] : self._starts[n + 1]]

    def spelled_like(self, word: str) -> str | None:
        """The stem of the title's word that a misspelled one stands for."""
        close: list[tuple[int, str]] = []
        for length in range(len(word) - 2, len(word) + 3):
            same = self._by_length.get(length, [])
            found = process.extract(word, same, scorer=OSA.distance, score_cutoff=2, limit=20)
            close += [(slips, other) for other, slips, _ in found]
        found = meant(word, [other for _, other in sorted(close, key=lambda one: one[0])[:20]])
        return stem(found) if found else None

    def by_key(self, key: str) -> int | None:
        """The product with this `title_key`."""
        if not key:
            return None
        wanted = _hash(key)
        at = int(np.searchsorted(self._keys, wanted))
        while at < self.total and self._keys[at] == wanted:
            number = int(self._key_order[at])
            if title_key(self.title(number)) == key:
                return number
            at += 1
        return None

    def title(self, number: int) -> str:
        return self._catalogue.product(number).title

    def product(self, number: int) -> Product:
        return self._catalogue.product(number)

    def record(self, number: int) -> set[str]:
        """The stems of a product's record."""
        return _stems_of(self._catalogue.product(number).content)


class Stock:
    """All products of a catalogue by number, read from disk as they are asked for."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._kept: dict[int, Product] = {}

    def product(self, number: int) -> Product:
        if number not in self._kept:
            self.read([number])
        return self._kept[number]

    def read(self, numbers: Sequence[int]) -> None:
        """Have these products at hand, with one look at the disk."""
        wanted = [n for n in numbers if n not in self._kept]
        usable = [n for n in wanted if n < self.catalogue.usable]
        self._keep(usable, self.catalogue.at(usable) if usable else [])
        empty = [n for n in wanted if n >= self.catalogue.usable]
        titles = self.catalogue.empty_titles([n - self.catalogue.usable for n in empty]) if empty else []
        self._keep(empty, [Product("", title, "") for title in titles])

    def _keep(self, numbers: Sequence[int], products: Sequence[Product]) -> None:
        if len(self._kept) > KEPT:
            self._kept.clear()
        self._kept |= dict(zip(numbers, products, strict=True))


@lru_cache(maxsize=4096)
def _stems_of(text: str) -> set[str]:
    return set(stems(text))


def _both(rising: np.ndarray, numbers: Collection[int]) -> list[int]:
    """Those of the numbers that are among the rising ones."""
    wanted = np.fromiter(numbers, rising.dtype, len(numbers))
    at = np.minimum(np.searchsorted(rising, wanted), len(rising) - 1)
    return wanted[rising[at] == wanted].tolist()


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little", signed=True)


def open_index(catalogue: Catalogue) -> TitleIndex:
    """The index of a catalogue, made now if there is none, or it is damaged or another catalogue's."""
    folder = catalogue.folder / FOLDER
    stock = Stock(catalogue)
    about = {
        "version": VERSION,
        "catalogue": catalogue.folder.name,
        "usable": catalogue.usable,
        "empty": catalogue.empty,
    }
    try:
        if _is_whole(folder, about):
            return TitleIndex(folder, stock)
        logger.info("The titles of %s are indexed, so that products are found among them.", catalogue.name)
    except (OSError, ValueError, EOFError, KeyError):
        logger.warning("The index of %s is damaged and is made again.", catalogue.name)
        shutil.rmtree(folder, ignore_errors=True)
    with locked(catalogue.folder.parent / f".lock-{catalogue.folder.name[0]}"):
        if not _is_whole(folder, about):
            with whole_folder(folder) as aside:
                _build(catalogue, aside)
                write_json(aside / "about.json", about)
    return TitleIndex(folder, stock)


def _is_whole(folder: Path, about: dict[str, Any]) -> bool:
    try:
        return read_json(folder / "about.json") == about
    except (OSError, ValueError):
        return False


def _build(catalogue: Catalogue, aside: Path) -> None:
    numbers: dict[str, int] = {}
    spelled: dict[str, None] = {}
    words: list[np.ndarray] = []
    products: list[np.ndarray] = []
    keys = np.empty(catalogue.usable + catalogue.empty, np.int64)
    for start, titles in _titles(catalogue):
        found_words: list[int] = []
        found_products: list[int] = []
        for place, title in enumerate(titles, start):
            keys[place] = _hash(title_key(title))
            own = plain_words(title)
            spelled.update(dict.fromkeys(own))
            for root in set(map(stem, own)):
                found_words.append(numbers.setdefault(root, len(numbers)))
                found_products.append(place)
        words.append(np.array(found_words, np.int32))
        products.append(np.array(found_products, np.int32))
    all_words, all_products = np.concatenate(words), np.concatenate(products)
    order = np.argsort(all_words, kind="stable")  # products of one word stay in rising order
    starts = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(np.bincount(all_words, minlength=len(numbers)), out=starts[1:])
    by_key = np.argsort(keys, kind="stable")
    np.save(aside / "starts.npy", starts)
    np.save(aside / "products.npy", all_products[order])
    np.save(aside / "keys.npy", keys[by_key])
    np.save(aside / "order.npy", by_key.astype(np.int32))
    (aside / "words.json").write_text(json.dumps(list(numbers), ensure_ascii=False), encoding="utf-8")
    (aside / "spelled.json").write_text(json.dumps(list(spelled), ensure_ascii=False), encoding="utf-8")
    sample = catalogue.sample(SAMPLED, "finding")
    weights = Weights.of(f"{p.title} {p.content}" for p in sample)
    write_json(aside / "weights.json", {"records": weights.records, "counts": weights.counts})


def _titles(catalogue: Catalogue) -> Iterable[tuple[int, list[str]]]:
    for start in range(0, catalogue.usable, AT_ONCE):
        yield start, catalogue.titles(range(start, min(start + AT_ONCE, catalogue.usable)))
    if catalogue.empty:
        yield catalogue.usable, catalogue.titles_without_content()
