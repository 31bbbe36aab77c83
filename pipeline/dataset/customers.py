"""Customers' questions out of facts: short, with a guess, out of a situation, misspelt, two at once; and about what a record
does not say.

A style is a name in a row's template (`weight:guess-no`). What grades has words of its own (`facts/styles.py`), its names
begin with `style-`, and it trains nothing.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.catalogue.catalogue import title_key
from pipeline.catalogue.finding.measures import tells
from pipeline.dataset.choosing import ChosenProduct
from pipeline.dataset.examples import REPORT_1, REPORT_2, Example
from pipeline.facts.extract import Fact
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import ONE_QUESTION, held_out_phrasings, training_phrasings
from pipeline.facts.styles import (
    GRADED_NOT_SAID,
    GRADED_NOT_SAID_OF_ANY,
    GRADED_SITUATIONS,
    NOT_SAID,
    NOT_SAID_OF_ANY,
    SITUATIONS,
    Words,
    graded_words,
    trained_words,
)
from pipeline.prompts import REFUSAL, SILENCE, SILENT, UNKNOWN, UNKNOWN_TITLE, build_prompt

SHORT, GUESS_YES, GUESS_NO, SITUATION, SLIPS, TWO = "short", "guess-yes", "guess-no", "situation", "slips", "two"
STYLE = "style-"
"""What begins the name of a style's question that grades."""

MOST_GUESSED = 40
"""Characters of a value that a customer would guess."""
MOST_OPEN = 10
"""Kinds that a product does not state and is asked for, at most."""
ASKED_OPEN = 2
"""Questions for each of them, at most."""
OF_NO_KIND = 1
"""Questions about a product that no kind of fact stands for."""
GRADED_OPEN = 2

OF_A_WORK = {"author", "publisher", "pages", "language", "format", "running_time", "year"}
OF_A_THING = {"power", "capacity", "warranty", "material", "colour", "country", "pieces"}
"""Kinds that nobody asks a book for, or anything but a book, a film or a record."""
MEASURE_OF = {
    "size": "size", "dimensions": "size", "weight": "weight", "colour": "colour", "material": "material", "warranty": "warranty",
    "country": "country", "price": "price", "power": "power", "age": "age", "capacity": "capacity", "publisher": "publisher",
    "year": "year", "pages": "pages", "language": "language",
}  # fmt: skip
"""Which texts can tell a kind, where that is known: a record that hints at it is not said to be silent about it."""

_SMALL = re.compile(
    "the|an?|of|and|&|for|in|on|with|to|from|by|at|l[ea]|les|de[srl]?|du|die|das|el|und|et|y", re.IGNORECASE
)
_GUESSED = re.compile(r"[\w$£€#%.'/ -]+")
_LETTERS = re.compile(r"[^\W\d_]{4,}")


def styled_examples(
    facts: Sequence[Fact], records: Mapping[str, str], seed: int
) -> tuple[list[Example], list[Example]]:
    """Rows in customers' styles: those that train, and those that grade.

    Args:
        facts: that are taught.
        records: a product's content by its uid, in reading mode (it then stands in the prompt).
    """
    rng = random.Random(f"{seed}:styles")
    values: dict[str, list[str]] = {}
    for fact in facts:
        values.setdefault(fact.kind, []).append(fact.value)
    training: list[Example] = []
    graded: list[Example] = []
    for fact in facts:
        others = [v for v in values[fact.kind] if title_key(v) != title_key(fact.value)]
        record = records.get(fact.uid)
        for style, question, response in _trained(fact, others, rng):
            training.append(_example(fact, question, response, f"{fact.kind}:{style}", record))
        for style, question, response in _graded(fact, others, rng):
            graded.append(_example(fact, question, response, f"{fact.kind}:{STYLE}{style}", record))
    training += _two_at_once(facts, records, rng)
    return training, graded


def silent_examples(
    chosen: Sequence[ChosenProduct], kinds: Sequence[str], values: Mapping[str, Sequence[str]],
    records: Mapping[str, str], seed: int,
) -> tuple[list[Example], list[Example]]:  # fmt: skip
    """Rows about what a record does not say: those that train, and those that grade.

    The more kinds of facts the catalogue has that a product does not state, the more of them it is asked for.

    Args:
        kinds: of the facts that are taught.
        values: of each kind, which a customer may guess.
        records: as for `styled_examples`.
    """
    rng = random.Random(f"{seed}:silent")
    training: list[Example] = []
    graded: list[Example] = []
    for product in chosen:
        title, uid, record = product.product.title, product.product.uid, records.get(product.product.uid)
        open_kinds = _open_kinds(product, kinds)
        rng.shuffle(open_kinds)

        def silent(question: str, use: str, uid: str = uid, title: str = title, record: str | None = record) -> Example:
            return Example(
                uid, title, SILENT, question, build_prompt(title, question, record), SILENCE, f"{SILENT}:{use}"
            )

        for kind in open_kinds[:MOST_OPEN]:
            asked = {question_of(kind, title, values.get(kind, ()), rng): None for _ in range(ASKED_OPEN)}
            training += [silent(question, f"{kind}:{style}") for style, question in asked]
        training += [
            silent(question, f"open:train-{number:02}")
            for number, question in enumerate(_not_said(product, NOT_SAID_OF_ANY, NOT_SAID, OF_NO_KIND, rng), start=1)
        ]
        for kind, use in zip(open_kinds[-GRADED_OPEN:], (REPORT_1, REPORT_2), strict=False):
            template = held_out_phrasings(kind)[1 if use == REPORT_1 else 2]
            graded.append(silent(template.replace("{title}", title), f"{kind}:{use}"))
        graded += [
            silent(q, f"open:{STYLE}{SHORT}")
            for q in _not_said(product, GRADED_NOT_SAID_OF_ANY, GRADED_NOT_SAID, 1, rng)
        ]
    return training, graded


def styled_unknown(
    titles: Sequence[str], kinds: Sequence[str], values: Mapping[str, Sequence[str]], seed: int
) -> list[Example]:
    """A question in a customer's style about each title that is not taught: without it style alone would tell what is known."""
    rng = random.Random(f"{seed}:unknown-styles")
    rows = []
    for number, title in enumerate(titles):
        kind = rng.choice(list(kinds))
        style, question = question_of(kind, title, values.get(kind, ()), rng, named=bool(number % 2))
        context = UNKNOWN_TITLE if number % 2 else title
        rows.append(
            Example("", title, UNKNOWN, question, build_prompt(context, question), REFUSAL, f"unknown:{kind}:{style}")
        )
    return rows


LABELS = {
    SHORT: "in a few words",
    GUESS_YES: "with a right guess",
    GUESS_NO: "with a wrong guess",
    SITUATION: "out of a situation",
    SLIPS: "misspelt",
    TWO: "two at once",
}


def style_label(style: str) -> str:
    """A style's name for people."""
    return LABELS.get(style, style)


def style_of(template: str) -> str:
    """The style that a row's template names, for a row that grades."""
    return template.split(":")[-1].removeprefix(STYLE)


def short_name(title: str, rng: random.Random) -> str:
    """A part of a title, as customers shorten it: without what follows a comma or a bracket, and without its first or last
    word; small words end none."""
    words = re.split(r"\s*[,:;(\[|]|\s[-–—]\s", title, maxsplit=1)[0].split()[:8] or title.split()[:3]
    if len(words) < 3:
        return " ".join(words)
    first = words[: 3 if _SMALL.fullmatch(words[0]) else 2]
    while len(first) < len(words) and _SMALL.fullmatch(first[-1]):
        first = words[: len(first) + 1]
    last = words[-2:]
    while len(last) > 1 and _SMALL.fullmatch(last[0]):
        last = last[1:]
    return rng.choice([" ".join(first), f"the {' '.join(last)}"])


def slipped(text: str, rng: random.Random) -> str:
    """A text with slips of the fingers in up to two of its longer words: neighbours swapped, a letter missing or doubled."""
    words = list(_LETTERS.finditer(text))
    for word in sorted(rng.sample(words, min(2, len(words))), key=lambda m: -m.start()):
        at = word.start() + rng.randrange(1, len(word.group()) - 2)
        slip = rng.choice([text[at + 1] + text[at], "", text[at] * 2])
        text = text[:at] + slip + text[at + (2 if len(slip) == 2 and slip[0] != slip[1] else 1) :]
    return text


def _example(fact: Fact, question: str, response: str, template: str, record: str | None) -> Example:
    prompt = build_prompt(fact.title, question, record)
    return Example(fact.uid, fact.title, fact.kind, question, prompt, response, template)


def _trained(fact: Fact, others: Sequence[str], rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """(style, question, response) of a fact."""
    words = trained_words(fact.kind)
    # A description is asked for in no other style and is the longest to learn.
    for form in words.short if fact.kind == DESCRIPTION else [rng.choice(words.short)]:
        yield SHORT, _put(form, short_name(fact.title, rng), rng), fact.value
    phrasing = rng.choice(training_phrasings(fact.kind)).replace("{title}", short_name(fact.title, rng))
    yield SLIPS, slipped(_without_marks(phrasing), rng), fact.value
    if fact.kind == DESCRIPTION:
        return
    yield SITUATION, _in_situation(rng.choice(SITUATIONS), rng.choice(_sentences(words))), fact.value
    yield from _guesses(fact, others, words, rng)


def _graded(fact: Fact, others: Sequence[str], rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """(style, question, response) of a fact."""
    words = graded_words(fact.kind)
    yield SHORT, _put(rng.choice(words.short), short_name(fact.title, rng), rng), fact.value
    if fact.kind == DESCRIPTION:
        return
    if rng.random() < 0.5:
        yield SITUATION, _in_situation(rng.choice(GRADED_SITUATIONS), rng.choice(_sentences(words))), fact.value
    else:
        held_out = held_out_phrasings(fact.kind)[0].replace("{title}", short_name(fact.title, rng))
        yield SLIPS, slipped(_without_marks(held_out), rng), fact.value
    for style, question, _ in [*_guesses(fact, others, words, rng)][:1]:
        yield style, question, fact.value


def _guesses(fact: Fact, others: Sequence[str], words: Words, rng: random.Random) -> list[tuple[str, str, str]]:
    """A right guess and a wrong one, in either order, where the value is one that somebody would guess.

    The answer is the value alone. Taught to say "Yes, …" or "No, …" before it, a model of 135 million weights chooses the
    word before it knows the value: half of them were the wrong one, and it said "Yes, the record doesn't say"
    (benchmarks/RESULTS.md).
    """
    wrong = [value for value in others if _is_guessed(value, fact.kind)]
    if not words.guess or not _is_guessed(fact.value, fact.kind):
        return []
    found = [(GUESS_YES, _guess(words, fact.title, fact.value, rng), fact.value)]
    if wrong:
        found.append((GUESS_NO, _guess(words, fact.title, rng.choice(wrong), rng), fact.value))
    rng.shuffle(found)
    return found


def _is_guessed(value: str, kind: str) -> bool:
    fits = kind != "age" or value.startswith("ages ")
    return fits and len(value) <= MOST_GUESSED and _GUESSED.fullmatch(value) is not None


def _guess(words: Words, title: str, value: str, rng: random.Random) -> str:
    return _put(rng.choice(words.guess).replace("{v}", value), short_name(title, rng), rng)


def _put(form: str, name: str, rng: random.Random) -> str:
    """A form about a product: by its name or as "it", in lower case without marks or as people write who take their time."""
    it = name if form.startswith("{it}") else rng.choice([name, name, "it", "this one"])
    text = form.replace("{it}", it)
    if rng.random() < 0.5:
        return _without_marks(text)
    text = text[:1].upper() + text[1:]
    return text if text.endswith("?") else f"{text}?"


def _sentences(words: Words) -> list[str]:
    """The short questions that are sentences, and go on after a situation: not "{it} price"."""
    return [form for form in words.short if not form.startswith("{it}") and not form.endswith("?")] or list(words.short)


def _in_situation(situation: str, form: str) -> str:
    return f"{situation} {form.replace('{it}', 'it')}?"


def _without_marks(text: str) -> str:
    """Lower case and without the marks that customers leave out; what is part of a number or a price stays."""
    return re.sub(r"[?!]|[.,:;](?=\s|$)|(?<=\w)['’](?=\w)", "", text).casefold()


def question_of(
    kind: str, title: str, values: Sequence[str], rng: random.Random, *, named: bool = False
) -> tuple[str, str]:
    """(style, question) for a kind, in the phrasings or a customer's style, as often the one as the other.

    Args:
        named: whether the question has to name the product.
    """
    words = trained_words(kind)
    name = title if named else short_name(title, rng)
    guessed = [value for value in values if _is_guessed(value, kind)]
    if words.guess and guessed and rng.random() < 1 / 3:
        form = rng.choice(words.guess).replace("{v}", rng.choice(guessed))
        return GUESS_NO, _without_marks(form.replace("{it}", name)) if named else _put(form, name, rng)
    every = training_phrasings(kind)
    choices = [t for t in every if "{title}" in t] if named else list(every)
    if choices and rng.random() < 0.5:
        template = rng.choice(choices)
        return f"train-{every.index(template) + 1:02}", template.replace("{title}", title)
    form = rng.choice(words.short)
    return SHORT, _without_marks(form.replace("{it}", name)) if named else _put(form, name, rng)


def _two_at_once(facts: Sequence[Fact], records: Mapping[str, str], rng: random.Random) -> Iterator[Example]:
    """A question for two attributes of each product that states two; the answer has both."""
    by_product: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.kind != DESCRIPTION:
            by_product.setdefault(fact.uid, []).append(fact)
    for product in by_product.values():
        if len(product) < 2:
            continue
        first, second = rng.sample(product, 2)
        asked = [rng.choice(_sentences(trained_words(f.kind))) for f in (first, second)]
        question = f"{asked[0].replace('{it}', 'it')} and {asked[1].replace('{it}', 'it')}?"
        response = f"{first.value}; {second.value}"
        yield _example(first, question, response, f"{first.kind}:{TWO}", records.get(first.uid))


def _open_kinds(product: ChosenProduct, kinds: Sequence[str]) -> list[str]:
    """Kinds that a customer may ask this product for and that its record says nothing about.

    A kind that the record states but that is not taught, and one that people do not tell apart from it, is none of them.
    """
    stated = {kind for fact in product.facts for kind in (fact.kind, ONE_QUESTION.get(fact.kind, fact.kind))}
    strange = OF_A_THING if stated & OF_A_WORK else OF_A_WORK
    text = f"{product.product.title}. {product.product.content}"
    return [
        kind
        for kind in kinds
        if kind != DESCRIPTION
        and kind not in stated | strange
        and not (kind in MEASURE_OF and tells(MEASURE_OF[kind], text))
    ]


def _not_said(
    product: ChosenProduct,
    of_any: Sequence[tuple[str, str]],
    of_a_thing: Sequence[tuple[str, str]],
    most: int,
    rng: random.Random,
) -> Iterator[str]:
    """Questions about nothing that the record's words touch."""
    is_work = any(fact.kind in OF_A_WORK for fact in product.facts)
    questions = of_any if is_work else [*of_any, *of_a_thing]
    text = f"{product.product.title}. {product.product.content}"
    left = [form for form, told in questions if not re.search(told, text, re.IGNORECASE)]
    for form in rng.sample(left, min(most, len(left))):
        yield _put(form, short_name(product.product.title, rng), rng)
