"""A shop's counter: for each question the product that it is about, and the part of its record that answers it."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.answering.lookup import kind_word_for_word, plain_text
from pipeline.answering.renewed import source_of
from pipeline.answering.saying import (
    OF_THE_WHOLE,
    facts_asked,
    facts_compared,
    is_of_a_part,
    named_beside,
    say,
    say_facts,
)
from pipeline.answering.several import Listed, family, kept_facts, listed
from pipeline.catalogue.catalogue import Catalogue, Product, clean, read_catalogue, title_key
from pipeline.catalogue.finding.index import open_index
from pipeline.catalogue.finding.products import ProductFinder
from pipeline.catalogue.finding.sentences import Encoder, Found, SentenceFinder, shown
from pipeline.catalogue.finding.units import Unit
from pipeline.catalogue.uploads import SAMPLE_NAME, catalogue_choices, catalogue_with, is_at_hand
from pipeline.dataset.build import Dataset
from pipeline.facts.extract import Fact
from pipeline.facts.extraction import VALUE
from pipeline.facts.phrasings import ONE_QUESTION
from pipeline.files import home, write_jsonl
from pipeline.models.encoder import encoder_or_none
from pipeline.prompts import MAX_QUESTION_CHARACTERS, REFUSAL, SILENCE, SILENT, UNKNOWN

SHOWN_CANDIDATES = 5

READ_PARTS = 3
"""Parts of a record that a model reads in the open book."""


@dataclass(frozen=True)
class Told:
    """An answer without a model.

    Attributes:
        says: `value`, `silent` or `unknown`.
        source: the sentence of the record that it stands in; empty where there is none.
        by_shop: whether it is the owner's own answer.
    """

    answer: str
    says: str
    source: str = ""
    by_shop: bool = False


DONT_KNOW, DOESNT_SAY = Told(REFUSAL, UNKNOWN), Told(SILENCE, SILENT)


@dataclass(frozen=True)
class About:
    """What a question is about.

    Attributes:
        product: None where the catalogue has no such product.
        found: the part of its record that fits best; None where the record says nothing.
        candidates: titles of all products that may be meant, the chosen one first.
        beside: products that the question lays beside each other, this one first ("which is lighter, A or B?").
        listed: the products that are as the question wants them, this one first ("do you have a mug in red?").
        put_right: the owner's own answer, which goes before what is found (`pipeline.answering.put_right`).
        seconds: what it took to find both.
    """

    question: str
    product: Product | None
    found: Found | None = None
    candidates: tuple[str, ...] = field(default=())
    beside: tuple[Product, ...] = ()
    listed: tuple[Listed, ...] = ()
    put_right: Told | None = None
    seconds: float = 0.0


class Shop:
    """A catalogue's products and records, for questions in customers' words."""

    def __init__(self, catalogue: Catalogue, encoder: Encoder | None) -> None:
        self.catalogue = catalogue
        self.index = open_index(catalogue)
        is_word = getattr(encoder, "is_word", lambda word: False)
        self.products = ProductFinder(self.index, is_word)
        self.sentences = SentenceFinder(self.index.weights, encoder, is_word)

    def about(self, question: str, title: str = "", uid: str = "", *, finds: bool = True) -> About:
        """The product that a question is about, and the part of its record that answers it.

        Args:
            question: as it comes; its markup and what is beyond `MAX_QUESTION_CHARACTERS` are not read.
            title, uid: of the product, where it is known; else it is found in the question.
            finds: off where nobody reads the record: then the part that answers is looked for only where that decides which of
                several products is meant.
        """
        begun = time.perf_counter()
        about = self._about(cleaned(question), title, uid, finds=finds)
        return replace(about, seconds=time.perf_counter() - begun)

    def read_ahead(self, questions: Sequence[str]) -> None:
        """Let `about` take less time for each of several questions that are asked next."""
        self.sentences.read_ahead([cleaned(question) for question in questions])

    def _about(self, question: str, title: str, uid: str, *, finds: bool) -> About:
        if not (title or uid):
            if both := self.products.two(question):
                return self._about_several(question, beside=tuple(map(self.index.product, both)))
            if fitting := listed(question, self.catalogue, self.products):
                return self._about_several(question, listed=tuple(fitting))
        products = self._products(question, title, uid)
        if not products and not title and (alike := family(question, self.catalogue, self.products)):
            return self._about_several(question, beside=tuple(alike))
        if not products:
            return About(question, None)
        looks = finds or len(products) > 1
        found = [self.sentences.find(question, p.title, p.content) if looks else None for p in products]
        # Where several fit, the one whose record answers is meant.
        best = max(range(len(products)), key=lambda i: (one.likely if (one := found[i]) else 0.0, -i))
        product = products[best]
        mended = self.sentences.mended(question, product.title, product.content)
        titles = dict.fromkeys([product.title, *(p.title for p in products)])
        return About(mended, product, found[best], tuple(titles))

    def _about_several(
        self, question: str, *, beside: tuple[Product, ...] = (), listed: tuple[Listed, ...] = ()
    ) -> About:
        products = beside or tuple(one.product for one in listed)
        first, titles = products[0], tuple(product.title for product in products)
        found = self.sentences.find(question, first.title, first.content)
        return About(question, first, found, titles, beside, listed)

    def has(self, title: str) -> bool:
        """Whether the catalogue has a product of this title, letter for letter but for case and marks."""
        return self.index.by_key(title_key(title)) is not None

    def _products(self, question: str, title: str, uid: str) -> list[Product]:
        if uid and (numbers := self.catalogue.numbers_of([uid])):
            return self.catalogue.at(numbers[:1])
        if title:
            number = self.products.by_title(title)
            return [] if number is None else [self.index.product(number)]
        named = self.products.find(question)[:SHOWN_CANDIDATES]
        return [self.index.product(one.number) for one in named]

    def extract(self, about: About) -> Told:
        """The sentence that answers, as it stands in the record."""
        if about.put_right:
            return about.put_right
        if about.product is None:
            return DONT_KNOW
        if about.listed or about.beside:
            return self._of_several(about)
        if about.found is None or about.found.likely < self.sentences.threshold:
            return DOESNT_SAY
        unit = about.found.unit
        return Told(shown(unit, about.question), VALUE, unit.text)

    def tell(self, about: About) -> Told:
        """The answer that the chat gives by default: the fact that is asked for, else the sentence, with yes or no where the
        record decides it.

        A question in the words that are taught asks for nothing but its kind of fact. Else a fact of the asked kind goes
        before the sentence if nothing else is asked about than the product; else the sentence decides, and the fact is how
        it is said where it stands in it. Of several products each has its own value, or they are listed.
        """
        if about.put_right:
            return about.put_right
        if about.product is None:
            return DONT_KNOW
        if about.listed or about.beside:
            return self._of_several(about)
        product, found = about.product, about.found
        every = kept_facts(product)
        if stated := _of_kind(kind_word_for_word(about.question, product.title), every):
            return Told(say_facts(about.question, [stated]), VALUE, stated.quote)
        if found is None:
            return DOESNT_SAY
        beside = named_beside(about.question, product.title, self.products.is_word)
        if is_of_a_part(about.question, beside, found.unit):
            return DOESNT_SAY
        is_likely = found.likely >= self.sentences.threshold
        facts = facts_asked(about.question, every)
        if facts and (_are_of_the_whole(facts) or not beside or (is_likely and _stand_in(found.unit, facts))):
            return Told(say_facts(about.question, facts), VALUE, " ".join(dict.fromkeys(f.quote for f in facts)))
        return Told(say(about.question, found.unit, beside), VALUE, found.unit.text) if is_likely else DOESNT_SAY

    def _of_several(self, about: About) -> Told:
        if about.listed:
            titles = "; ".join(one.product.title for one in about.listed)
            return Told(f"{titles}.", VALUE, " · ".join(dict.fromkeys(one.quote for one in about.listed)))
        if told := _beside_each_other(about.question, about.beside):
            return told
        one = self.tell(replace(about, beside=()))
        return replace(one, answer=f"{about.beside[0].title}: {one.answer}") if one.says == VALUE else one

    def record(self, about: About) -> str | None:
        """What a model reads in the open book: the parts of the record that fit best, in the record's order."""
        if about.product is None:
            return None
        if about.found is None:
            return ""
        parts = [about.found.unit, *about.found.others][:READ_PARTS]
        return " ".join(shown(unit, about.question) for unit in sorted(parts, key=lambda unit: unit.start))


def cleaned(question: str) -> str:
    """A question as it is read: without its markup and what is beyond `MAX_QUESTION_CHARACTERS`."""
    return clean(plain_text(question))[:MAX_QUESTION_CHARACTERS]


def _beside_each_other(question: str, products: Sequence[Product]) -> Told | None:
    """What each of several products states of what is asked; None where none states it."""
    told = facts_compared(question, [kept_facts(product) for product in products])
    if not any(told):
        return None
    sides = [
        f"{product.title}: {facts[0].value.rstrip('.')}." if facts else f"{product.title}: {SILENCE}"
        for product, facts in zip(products, told, strict=True)
    ]
    return Told(" ".join(sides), VALUE, " · ".join(facts[0].quote for facts in told if facts))


def _of_kind(kind: str, facts: Sequence[Fact]) -> Fact | None:
    """The fact of a kind, or of the one that people do not tell apart from it."""
    by_kind = {fact.kind: fact for fact in facts}
    return by_kind.get(kind) or by_kind.get(ONE_QUESTION.get(kind, ""))


def _are_of_the_whole(facts: Sequence[Fact]) -> bool:
    return all(fact.kind in OF_THE_WHOLE for fact in facts)


def _stand_in(unit: Unit, facts: Sequence[Fact]) -> bool:
    return all(fact.value in unit.text for fact in facts)


_opening = threading.Lock()
_open: dict[Path, Shop] = {}
"""The one shop that is kept open, by its catalogue's folder."""


def shop_of(dataset: Dataset) -> Shop:
    """The shop of the whole catalogue that a run answers from; where that is a `missing_catalogue`, of the taught products."""
    catalogue = _catalogue_of(dataset)
    with _opening:
        if catalogue.folder not in _open:
            _open.clear()
            _open[catalogue.folder] = Shop(catalogue, encoder_or_none())
        return _open[catalogue.folder]


def missing_catalogue(dataset: Dataset) -> str:
    """What to say where the whole catalogue that a run answers from is not at hand: a sentence; empty where it is."""
    source, taught = source_of(dataset), len(dataset.manifest["products"])
    if is_at_hand(source.sha256):
        return ""
    known = f"so only the products that it taught ({taught:,}) are known"
    which = f"The catalogue {'that this run answers from' if source.since else 'of this run'}, {source.name},"
    # The sample's own name tells nothing: anybody's catalogue may be called so.
    if any(Path(one).name == source.name for _, one in catalogue_choices() if one != SAMPLE_NAME):
        if source.since:
            return f"{which} has changed since it was chosen, {known}; choose it again as the newer catalogue."
        return f"{which} has changed since the run was made, {known}; make a new run of it."
    return f"{which} is not on this machine any more, {known}; upload the same file in the first tab."


def _catalogue_of(dataset: Dataset) -> Catalogue:
    manifest = dataset.manifest
    return catalogue_with(source_of(dataset).sha256) or _taught(manifest["fingerprint"], manifest["products"])


def _taught(fingerprint: str, products: Sequence[dict[str, str]]) -> Catalogue:
    file = home() / "cache" / "taught" / f"{fingerprint}.jsonl"
    if not file.is_file():
        write_jsonl(file, products)
    return read_catalogue(file)
