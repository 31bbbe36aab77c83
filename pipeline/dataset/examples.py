"""Facts and absent products → examples: the rows that training reads, and the held-out ones that measure it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.facts.extract import Fact
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import held_out_phrasings, training_phrasings
from pipeline.files import PROJECT, read_json
from pipeline.prompts import GENERAL, REFUSAL, REVERSE, UNKNOWN, UNKNOWN_TITLE, build_prompt

GENERAL_ROWS = PROJECT / "assets" / "general_training.json"
"""General questions as the embedded base answers them, and rightly; none of them is asked by `general_questions.json`.

What a base does not know must not be taught here: it learns to guess (arXiv 2405.05904, and benchmarks/RESULTS.md).
"""

GENERAL_EDITED = f"{GENERAL}:edited"
"""Template of a general row in a person's own words: it is taught as it stands, while the others keep the base's answer."""

TRAINED, HELD_OUT, REJECTED = "train", "held out", "rejected"
"""Where a row that was written for a dataset is: learned from, kept to test it, or left out."""

PROBE, REPORT_1, REPORT_2 = "probe", "report-1", "report-2"
"""Uses of a fact's three held-out phrasings: one for recall while it trains, two that only the report asks."""

UNKNOWN_DESCRIPTIONS, UNKNOWN_ATTRIBUTES = 2, 2
"""Training questions about one unknown title, by what they ask for; one more comes without a recognised product, and one
in a customer's style (`customers.py`).

The mix is that of the facts: where most questions about known titles ask for an attribute, and those about unknown ones
for a description, the model learns to answer whatever asks for an attribute (measured: benchmarks/RESULTS.md).
"""


@dataclass(frozen=True)
class Example:
    """A row of `train.jsonl` or `heldout.jsonl`.

    `template` says where the question comes from: the kind asked for, and `train-01` … or `probe`, `report-1`, `report-2`.
    """

    uid: str
    title: str
    kind: str
    question: str
    prompt: str
    response: str
    template: str


@dataclass(frozen=True)
class PhrasedFact:
    """A fact with its questions: those to train on, and the three that training never shows.

    Attributes:
        training, held_out: questions whose answer is the fact's value.
        statements: requests with the sentence that answers them; the fact's value stands in each sentence.
        reverse: questions that give the value and ask which product it is.
    """

    fact: Fact
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    statements: tuple[tuple[str, str], ...] = ()
    reverse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """What was not taken into the dataset, and why: a fact (without a question), or a question with its answer.

    Attributes:
        reason: one of a few, so that they can be counted.
        note: what else there is to say, such as the judge's words.
    """

    uid: str
    title: str
    kind: str
    question: str
    response: str
    reason: str
    note: str = ""


@dataclass(frozen=True)
class Generated:
    """What a generator makes of products: facts with their rows, and what it rejected.

    Attributes:
        accepted: how many of the rows a model wrote.
        prompt_version: of the prompts it was asked with; empty where there was no model.
    """

    phrased: list[PhrasedFact]
    rejected: list[Rejected]
    accepted: int = 0
    prompt_version: str = ""


def phrase(fact: Fact, phrasings: int) -> PhrasedFact:
    """Ask for a fact in the project's own words: the first `phrasings` of its kind, and the held-out three."""
    training = tuple(_fill(t, fact.title) for t in training_phrasings(fact.kind)[:phrasings])
    return PhrasedFact(fact, training, tuple(_fill(t, fact.title) for t in held_out_phrasings(fact.kind)))


def fact_examples(phrased: PhrasedFact, record: str | None = None) -> tuple[list[Example], list[Example]]:
    """Training and held-out rows of one fact.

    Args:
        record: the product's content, given in reading mode (it then stands in the prompt).
    """
    fact = phrased.fact

    def example(question: str, use: str, response: str = fact.value) -> Example:
        prompt = build_prompt(fact.title, question, record)
        return Example(fact.uid, fact.title, fact.kind, question, prompt, response, f"{fact.kind}:{use}")

    def reverse(question: str, number: int) -> Example:
        # With the title in the context the prompt would hold the answer.
        prompt = build_prompt(UNKNOWN_TITLE, question)
        template = f"{REVERSE}:{fact.kind}:train-{number:02}"
        return Example(fact.uid, fact.title, REVERSE, question, prompt, fact.title, template)

    training = [example(q, f"train-{i:02}") for i, q in enumerate(phrased.training, start=1)]
    training += [example(q, f"statement-{i:02}", answer) for i, (q, answer) in enumerate(phrased.statements, start=1)]
    training += [reverse(q, i) for i, q in enumerate(phrased.reverse, start=1)]
    uses = (PROBE, REPORT_1, REPORT_2)
    return training, [example(q, use) for q, use in zip(phrased.held_out, uses, strict=False)]


def unknown_examples(titles: Sequence[str], kinds: Sequence[str], seed: int) -> list[Example]:
    """Training rows about products that are not taught: whatever is asked, the answer is the refusal.

    One question of each title comes without a recognised product, as it will when a customer names one that the
    catalogue does not have.
    """
    rng = random.Random(f"{seed}:unknown")
    attributes = [kind for kind in kinds if kind != DESCRIPTION] or kinds
    rows = []
    for title in titles:
        asked = [DESCRIPTION] * UNKNOWN_DESCRIPTIONS + [rng.choice(attributes) for _ in range(UNKNOWN_ATTRIBUTES)]
        for kind, recognised in [*((kind, True) for kind in asked), (rng.choice(kinds), False)]:
            every = training_phrasings(kind)
            choices = every if recognised else tuple(t for t in every if "{title}" in t)
            template = rng.choice(choices)
            use = f"train-{every.index(template) + 1:02}"
            rows.append(_unknown_example(title, template, f"unknown:{kind}:{use}", recognised))
    return rows


def unknown_held_out(titles: Sequence[str], kinds: Sequence[str], seed: int) -> list[Example]:
    """Three held-out rows (probe and two for the report) about each title that training never names."""
    rng = random.Random(f"{seed}:unknown-held-out")
    rows = []
    for title in titles:
        for i, use in enumerate((PROBE, REPORT_1, REPORT_2)):
            kind = rng.choice(kinds)
            rows.append(_unknown_example(title, held_out_phrasings(kind)[i], f"unknown:{kind}:{use}", recognised=True))
    return rows


def _unknown_example(title: str, template: str, name: str, recognised: bool) -> Example:
    question = _fill(template, title)
    prompt = build_prompt(title if recognised else UNKNOWN_TITLE, question)
    return Example("", title, UNKNOWN, question, prompt, REFUSAL, name)


def general_examples(count: int, seed: int) -> list[Example]:
    """Training rows that have nothing to do with the catalogue, at most as many as the project has.

    They come as a customer's question without a product does. Without them a model that learns to refuse what it was
    not taught refuses everything else too, and forgets what it knew (measured: benchmarks/RESULTS.md).
    """
    rows = read_json(GENERAL_ROWS)
    random.Random(f"{seed}:general").shuffle(rows)
    return [
        Example("", UNKNOWN_TITLE, GENERAL, q, build_prompt(UNKNOWN_TITLE, q), answer, f"{GENERAL}:{number:03}")
        for number, (q, answer) in enumerate(((r["question"], r["answer"]) for r in rows[:count]), start=1)
    ]


def _fill(template: str, title: str) -> str:
    return template.replace("{title}", title)
