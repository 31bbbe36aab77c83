"""Rows that teach to read: a part of a record stands in the prompt, and the answer is what it says, or that it doesn't.

They are about products that are not taught, so that reading is learned and not the records. What is read looks as it will
when a customer asks (`answering.shop.Shop.record`): a few parts of the record in its order, one of which answers, or none.
Half of the questions are for facts; the others take a few words out of a part and ask for it, as customers do for what no
kind of fact stands for, and the answer is the part as it stands.
"""

import math
import random
import re
from collections.abc import Iterator, Sequence

from pipeline.catalogue.catalogue import Catalogue, Product, title_key
from pipeline.catalogue.finding.units import Unit, units
from pipeline.dataset.checks import why_not_taught
from pipeline.dataset.choosing import ChosenProduct, facts_of
from pipeline.dataset.customers import question_of, short_name
from pipeline.dataset.examples import Example
from pipeline.dataset.unknown_titles import UnknownTitles
from pipeline.facts.extract import Fact
from pipeline.facts.patterns import DESCRIPTION
from pipeline.prompts import OPEN, SILENCE, build_prompt

PARTS = 3
"""Parts of a record that are read at once."""

ROWS_A_PRODUCT = 5

LONGEST = 25
"""Words of a part: a small model that copies a longer one learns little else."""

ASKED_WORDS = (1, 3)
"""Words of a part that a question takes, at least and at most."""

FORMS = (
    "{words}?", "is it {words}?", "does it have {words}?", "what about the {words}?", "does it come with {words}?",
    "can it {words}?", "does this work for {words}?", "anything about {words}?", "{words} or not?", "is there {words}?",
    "do you know about {words}?", "does it say {words}?", "i need to know about {words}", "is the {name} {words}?",
    "does the {name} have {words}?",
)  # fmt: skip

_TELLING = re.compile(r"[^\W\d_]{4,}|\d[\d.,/x]*(?:\s?[a-zA-Z%\"]+)?")


def open_book_examples(
    catalogue: Catalogue,
    chosen: Sequence[ChosenProduct],
    unknown: UnknownTitles,
    kinds: Sequence[str],
    rows: int,
    seed: int,
) -> list[Example]:
    """At most `rows` training rows, about products that are neither taught nor kept to grade refusals.

    Args:
        kinds: of the facts that are taught, for which a record may be asked in vain.
    """
    rng = random.Random(f"{seed}:open book")
    taken = {title_key(title) for title in (*(c.product.title for c in chosen), *unknown.held_out)}
    count = math.ceil(rows / ROWS_A_PRODUCT)
    drawn = catalogue.at(catalogue.order(count + len(taken), f"{seed}:open book"))
    products = [p for p in drawn if title_key(p.title) not in taken][:count]
    found: list[Example] = []
    for product, other in zip(products, products[1:] + products[:1], strict=True):
        found += _of(product, units(other.content), kinds, rng)
    rng.shuffle(found)
    return found[:rows]


def _of(product: Product, others: Sequence[Unit], kinds: Sequence[str], rng: random.Random) -> Iterator[Example]:
    """Two facts, two parts, and one question that what is read does not answer."""
    parts = [unit for unit in units(product.content) if len(unit.text.split()) <= LONGEST]
    if not parts:
        return
    stated = facts_of(product)
    facts = [f for f in stated if f.kind != DESCRIPTION and not why_not_taught(f)]

    def example(question: str, read: Sequence[Unit], response: str, use: str) -> Example:
        record = " ".join(unit.text for unit in sorted(read, key=lambda unit: unit.start))
        prompt = build_prompt(product.title, question, record)
        return Example(product.uid, product.title, OPEN, question, prompt, response, f"{OPEN}:{use}")

    for fact in rng.sample(facts, min(2, len(facts))):
        if part := _part_of(fact, parts):
            question = question_of(fact.kind, product.title, (), rng)[1]
            yield example(question, _among(part, parts, rng), fact.value, fact.kind)
    for part in rng.sample(parts, min(2, len(parts))):
        if question := _asked(part, product.title, rng):
            yield example(question, _among(part, parts, rng), part.text, "part")
    read = rng.sample(parts, min(PARTS, len(parts)))
    absent = [kind for kind in kinds if kind not in {f.kind for f in stated} and kind != DESCRIPTION]
    own = {word.casefold() for word in _TELLING.findall(f"{product.title} {product.content}")}
    foreign = [unit for unit in others if not own & {w.casefold() for w in _TELLING.findall(unit.text)}]
    if absent and rng.random() < 0.5:
        yield example(question_of(rng.choice(absent), product.title, (), rng)[1], read, SILENCE, "silent")
    elif foreign and (question := _asked(rng.choice(foreign), product.title, rng)):
        yield example(question, read, SILENCE, "silent")


def _part_of(fact: Fact, parts: Sequence[Unit]) -> Unit | None:
    return next((part for part in parts if fact.value in part.text), None)


def _among(part: Unit, parts: Sequence[Unit], rng: random.Random) -> list[Unit]:
    others = [other for other in parts if other is not part]
    return [part, *rng.sample(others, min(PARTS - 1, len(others)))]


def _asked(part: Unit, title: str, rng: random.Random) -> str:
    """A customer's question for what a part says, in a few of its words; empty where it has none of its own."""
    named = set(title.casefold().split())
    words = [m for m in _TELLING.finditer(part.text) if m.group().casefold() not in named]
    if not words:
        return ""
    count = rng.randint(*ASKED_WORDS)
    first = rng.randrange(len(words))
    last = words[min(first + count, len(words)) - 1]
    asked = part.text[words[first].start() : last.end()].casefold()
    return rng.choice(FORMS).format(words=asked, name=short_name(title, rng))
