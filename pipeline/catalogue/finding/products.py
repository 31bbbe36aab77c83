"""Which product of a catalogue a question names: by title, part of it, misspelling or description; or none of them.

An index of the titles' words finds candidates in a catalogue of any size; then each candidate is laid beside the question,
word by word. A word that stands in the middle of the name and that nothing about the candidate explains ("belt" in "Torvald
Belt Sander", where there is a Torvald Palm Sander) means that another product is meant.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline.catalogue.catalogue import Product, title_key
from pipeline.catalogue.finding.amounts import is_amount
from pipeline.catalogue.finding.index import TitleIndex
from pipeline.catalogue.finding.names import ASKING, GENERIC, PARTS, SAME, SAYS_NOTHING, spelled
from pipeline.catalogue.finding.spelling import meant as meant_of
from pipeline.catalogue.finding.words import plain_words, stem, stems

CANDIDATES = 40
"""Products that are looked at word by word."""

MOST_WORDS = 80
"""Of a question: longer ones are stories."""

SURE = 0.5
"""Share of a title's words, weighted by how telling they are, that names it; less does where one of them is its alone."""

HINTED = 0.2
"""With less, a question must hold no word that is strange to the product."""

CLOSE = 0.85
"""A second candidate that fits nearly as well: so much of the best one's score makes it worth showing."""

HEAD = re.compile(r"(?<!\s)\s*[:,(|–—]\s*|\s-\s")

_BETWEEN = re.compile(r"\b(?:or|and|than|versus|vs|against|compared (?:to|with))\b\.?", re.IGNORECASE)
"""What stands between two names."""

MOST_BETWEEN = 4
"""Places at which a question is taken apart: each costs two searches, and a story has many."""

NAME, KIND, SAID, ASKED, NOTHING, STRANGE = "name", "kind", "said", "asked", "nothing", "strange"
"""What a word of the question is to a candidate: in its title, a word for any product, in its record, of the asking, in every
question, or none of that."""


@dataclass(frozen=True)
class Named:
    """A product that a question may mean.

    Attributes:
        number: its place in the index.
        fits: how well it fits; only to compare candidates of one question.
        strange: words of the name that it does not have; with any of them it is not meant.
        unsure: the question has too little of the title.
    """

    number: int
    title: str
    fits: float
    strange: int
    unsure: bool


def _no_word(_: str) -> bool:
    return False


class ProductFinder:
    """Finds in an index.

    Args:
        is_word: whether a string is a word of the language, so no misspelling; what is not known may be one.
    """

    def __init__(self, index: TitleIndex, is_word: Callable[[str], bool] = _no_word) -> None:
        self.index, self.is_word = index, is_word

    def by_title(self, title: str) -> int | None:
        """The place of the product that has this title, as a person may spell it."""
        exact = self.index.by_key(title_key(title))
        if exact is not None:
            return exact
        found = self.find(title)
        return found[0].number if found else None

    def find(self, question: str) -> list[Named]:
        """The products that the question may mean, the likeliest first; empty when it names none of the catalogue's."""
        whole = self._whole(question)
        if whole:
            return whole
        named = [one for one in self.candidates(question) if not one.strange and not one.unsure]
        return [one for one in named if one.fits >= CLOSE * named[0].fits]

    def two(self, question: str) -> tuple[int, int] | None:
        """The two products that a question lays side by side ("…, A or B?"), in its order; None where it names one or none."""
        for between in islice(_BETWEEN.finditer(question), MOST_BETWEEN):
            halves = question[: between.start()], question[between.end() :]
            first = self.find(halves[0])
            second = self.find(halves[1]) if first else []
            # "salt and pepper mill" is one, and each half may mean it; and what is a slip away from a name may be no name.
            apart = second and not {one.number for one in first} & {one.number for one in second}
            if apart and self._spells(halves[0], first[0]) and self._spells(halves[1], second[0]):
                return first[0].number, second[0].number
        return None

    def spelled_out(self, question: str) -> int | None:
        """The place of the product whose whole title stands in the question; None where none does."""
        whole = self._whole(question)
        return whole[0].number if whole else None

    def telling(self, text: str, product: Product) -> set[str]:
        """The stems of a product's title that a text names, but for those that a question is put with."""
        parts = self._parts(plain_words(text)[:MOST_WORDS], spelled(product.title), set(stems(product.content)))
        return {root for _, group in parts for root in group} - ASKING

    def is_another(self, question: str, product: Product, kinds: Collection[str] = ()) -> bool:
        """Whether a question surely names another thing than this product, or a part of it: one of the catalogue, or of none.

        Args:
            kinds: of the facts that it asks for, each of which would be this product's whatever it names.
        """
        words = plain_words(question)[:MOST_WORDS]
        parts = [part for part, _ in self._parts(words, spelled(product.title), set(stems(product.content)))]
        strange = [self._is_strange(word, part) for word, part in zip(words, parts, strict=True)]
        if not any(strange):
            return False
        found, mine = self.find(question), self.telling(question, product)
        if any(one.title == product.title for one in found):
            return False
        for one in found:
            told = self.telling(question, self.index.product(one.number))
            if mine < told and (len(told) > 1 or (kinds and _head(one.title) in told)):
                return True
        if NAME in parts:
            return bool(kinds) and any(first and part == NAME for first, part in zip(strange, parts[1:], strict=False))
        # A price is not of what else is named; of a height or a colour it may be a part that the record does not name.
        return "price" in kinds or (
            bool(kinds) and any(is_strange and _is_model(words[at : at + 2]) for at, is_strange in enumerate(strange))
        )

    def _is_strange(self, word: str, part: str) -> bool:
        """Whether a word names another thing than the product, and no part of it; what titles have is no misspelling."""
        root = stem(word)
        slipped = part == ASKED and root not in ASKING and self.index.knows(root)
        return (part == STRANGE or slipped) and root not in PARTS

    def _spells(self, text: str, one: Named) -> bool:
        """Whether a telling word of the title stands in the text as it is."""
        own = set(map(stem, plain_words(one.title)))
        return any(stem(word) in own and not self._is_common(word) for word in plain_words(text))

    def _whole(self, question: str) -> list[Named]:
        """The longest title that stands whole in the question."""
        words = title_key(question).split()
        for length in range(min(len(words), 40), 0, -1):
            for start in range(len(words) - length + 1):
                key = " ".join(words[start : start + length])
                number = self.index.by_key(key)
                if number is not None and (length > 1 or not self._is_common(key)):
                    return [Named(number, self.index.title(number), float("inf"), 0, False)]
        return []

    def _is_common(self, word: str) -> bool:
        root = stem(word)
        return word in SAYS_NOTHING or root in ASKING or root in GENERIC

    def candidates(self, question: str) -> list[Named]:
        """Every product that shares a word with the question's name, those that fit first."""
        words = plain_words(question)[:MOST_WORDS]
        numbers = self.index.having({self.meant(w) for w in words} - SAYS_NOTHING, CANDIDATES)
        found = [self._beside(words, number) for number in numbers]
        named = [one for one in found if one]
        return sorted(named, key=lambda one: (one.strange > 0 or one.unsure, -one.fits))

    def meant(self, word: str) -> str:
        """A word's stem; of a misspelled one that of the title's word it is most like."""
        root = stem(word)
        if self.index.knows(root) or self._is_asking(word, root) or (self.is_word(word) and len(word) > 4):
            return root
        if len(word) < 5 and meant_of(word, _ASKING_SPELLED):
            return root
        return self.index.spelled_like(word) or root

    def _is_asking(self, word: str, root: str) -> bool:
        return word in SAYS_NOTHING or root in SAYS_NOTHING or root in ASKING or root in GENERIC

    def _beside(self, words: Sequence[str], number: int) -> Named | None:
        title = self.index.title(number)
        own = spelled(title)
        parts = self._parts(words, own, self.index.record(number))
        hit = {root for _, group in parts for root in group}
        if not hit - ASKING and len(hit) < 2:
            return None
        weight = self.index.weight
        told = sum(map(weight, hit))
        share = told / (sum(map(weight, _roots(own))) or 1.0)
        said = sum(weight(stem(word)) for word, (part, _) in zip(words, parts, strict=True) if part == SAID)
        place = next(i for i, (part, _) in enumerate(parts) if part == NAME)
        kinds = [part for part, _ in parts]
        strange = _strange(kinds, _head(title) in hit)
        alone = any(self.index.products_with(root) == 1 for root in hit - ASKING)
        fits = told + 0.3 * said + share - 0.02 * place
        return Named(
            number, title, fits, strange, share < SURE and (not alone or (share < HINTED and STRANGE in kinds))
        )

    def _parts(self, words: Sequence[str], own: dict[str, set[str]], record: set[str]) -> list[tuple[str, set[str]]]:
        """What each word is to a product, and the words of its title that it stands for.

        Args:
            own: its title as it is `spelled`.
            record: the stems of its record.
        """
        roots = _roots(own)
        parts = [self._part(word, own, roots, record) for word in words]
        # "Is the drill 20 volts?" asks about it; "the 20 volt drill" names one.
        last = max((i for i, (part, _) in enumerate(parts) if part == NAME), default=len(parts))
        for i in range(last + 1, len(parts)):
            if parts[i][0] == STRANGE and is_amount(*words[i : i + 2]):
                parts[i] = NOTHING, set()
        return parts

    def _part(self, word: str, own: dict[str, set[str]], roots: set[str], record: set[str]) -> tuple[str, set[str]]:
        """What a word is to a product, and the words of its title that it stands for."""
        root = stem(word)
        if root in roots:
            return NAME, {root}
        if word in own:
            return NAME, own[word]
        if word in SAYS_NOTHING or root in SAYS_NOTHING:
            return NOTHING, set()
        if same := SAME.get(root, frozenset()) & roots:
            return NAME, {min(same)}
        if root in ASKING:
            return ASKED, set()
        if root in GENERIC:
            return KIND, set()
        if root in record or SAME.get(root, frozenset()) & record:
            return SAID, set()
        real = self.is_word(word)
        like = meant_of(word, own)
        if like and not (real and len(word) > 4) and (len(word) > 3 or like[0] == word[0]):
            return NAME, own[like]
        if real:
            return STRANGE, set()
        if meant_of(root, record):
            return SAID, set()
        return (ASKED if meant_of(word, _ASKING_SPELLED) or meant_of(root, ASKING | GENERIC) else STRANGE), set()


_ASKING_SPELLED = frozenset(word for word in SAYS_NOTHING if len(word) > 2)


def _roots(own: dict[str, set[str]]) -> set[str]:
    return {root for group in own.values() for root in group}


def _head(title: str) -> str:
    """The stem of the word that says what the thing is: the last one before a colon, a comma or a bracket."""
    first = [word for word in plain_words(HEAD.split(title)[0]) if word not in SAYS_NOTHING]
    return stem((first or plain_words(title) or [""])[-1])


def _is_model(words: Sequence[str]) -> bool:
    """Whether a word is a model's name, alone or with a number after it: "ps5", "iphone 14"."""
    return bool(re.fullmatch(r"[^\W\d]+\d\w*", words[0]) or re.fullmatch(r"[^\W\d]+ \d+", " ".join(words)))


def _strange(parts: Sequence[str], has_head: bool) -> int:
    """How many strange words belong to the name: before a word of it, or after one where what it is was not named."""
    found = 0
    for i, part in enumerate(parts):
        if part != STRANGE:
            continue
        after = next((p for p in parts[i + 1 :] if p not in (STRANGE, KIND)), "")
        before = next((p for p in reversed(parts[:i]) if p not in (STRANGE, KIND)), "")
        found += after == NAME or (before == NAME and not has_head)
    return found
