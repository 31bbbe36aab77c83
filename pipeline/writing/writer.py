"""Product → facts, questions and statements, written by a model behind an OpenAI-compatible API.

Two calls a product: its facts, each with a quote; then, for every fact that holds, questions in styles that this module
draws. What does not hold is rejected with its reason (`dataset.checks`), asked for once more, and then made up for by the
project's own phrasings. A third call, the judge's, is optional. How a request travels, waits, is kept and paid is
`pipeline.writing.api`'s business.

What a product's calls say depends on its record and the settings alone, and on nothing that is drawn anew: a run that is
started again, or one with other products beside these, finds the replies that were paid for.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from pipeline.catalogue.catalogue import Product, clean, title_key
from pipeline.dataset import checks
from pipeline.dataset.choosing import ChosenProduct
from pipeline.dataset.examples import HELD_OUT, TRAINED, Generated, PhrasedFact, Rejected, phrase
from pipeline.errors import GenerationError
from pipeline.facts.extract import Fact, named_facts
from pipeline.facts.extraction import has_shape
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.prompts import REVERSE
from pipeline.writing.api import NO_REPLY, Ask, Request, UnusableReply
from pipeline.writing.prompts import (
    PROMPTS,
    STATEMENT,
    FactPairs,
    FactsReply,
    JudgeReply,
    PairsReply,
    Slot,
    Wanted,
    facts_request,
    judge_request,
    once_more,
    pairs_request,
    slots_for,
)

HELD_OUT_QUESTIONS = 3
SPARE_QUESTIONS = 2
"""Asked for beyond what is needed, so that a rejected one costs no second call."""
STATEMENT_SHARE = 1 / 6
"""Of a fact's training rows, those whose answer is a sentence; the others answer with the value alone, which is learned
with fewer exposures."""
MOST_FACTS = 40
"""Of one product: a record can be written to have thousands, each with rows to pay for."""
PAIRS_A_CALL = 120
"""More would be cut off by the length of a reply that most servers allow."""
AGAIN = 101
"""The number of the first row that is asked for a second time."""

LEFT_TO_TEMPLATES = "product left to the templates"
OTHER_FACTS = "reply about other facts than asked"


@dataclass
class Draft:
    """A fact, how many rows of each use are wanted of it, and those that were accepted so far: (question, answer)."""

    fact: Fact
    wanted: dict[str, int]
    rows: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {TRAINED: [], STATEMENT: [], HELD_OUT: []})
    reverse: list[str] = field(default_factory=list)

    def lacks(self, use: str) -> int:
        return max(0, self.wanted[use] - len(self.rows[use]))

    def is_whole(self) -> bool:
        return not any(map(self.lacks, self.wanted))

    def questions(self, use: str) -> list[str]:
        return [question for question, _ in self.rows[use]]

    def still_wanted(self, first: int) -> Wanted:
        """The rows that are lacking, each in a style of its own, and a few to spare; their numbers begin at `first`."""
        uses = [use for use in self.wanted for _ in range(self.lacks(use))] + [TRAINED] * SPARE_QUESTIONS
        slots = slots_for(self.fact, uses, first)
        asked = [question for use in self.rows for question in self.questions(use)]
        return Wanted(self.fact, slots, self.fact.kind != DESCRIPTION and not self.reverse, asked)


@dataclass(frozen=True)
class ProductWriter:
    """Writes one product's rows; `write` is what `api.work_through` calls.

    Attributes:
        phrasings: training rows a fact (statements among them).
        judge: whether a third call checks what the second wrote.
    """

    phrasings: int = 12
    judge: bool = False

    async def write(self, chosen: ChosenProduct, ask: Ask) -> Generated:
        """The product's facts with their rows.

        A product about which the model gives no usable reply keeps the facts and questions it has without a model.
        """
        product = chosen.product
        rejected: list[Rejected] = []
        drafts = [self._draft(fact) for fact in await self._facts(chosen, ask, rejected)]
        asked = checks.Asked()
        await self._fill(product, drafts, 1, ask, asked, rejected)
        lacking = [draft for draft in drafts if not draft.is_whole()]
        if lacking and any(rows for draft in drafts for rows in draft.rows.values()):
            await self._fill(product, lacking, AGAIN, ask, asked, rejected)
        if self.judge:
            await self._judge(product, drafts, ask, rejected)
        accepted = sum(len(rows) for draft in drafts for rows in draft.rows.values())
        whole = [self._whole(draft, asked, rejected) for draft in drafts]
        return Generated([item for item in whole if item], rejected, accepted)

    async def _facts(self, chosen: ChosenProduct, ask: Ask, rejected: list[Rejected]) -> list[Fact]:
        product = chosen.product
        reply = await _twice(ask, facts_request(product), product, rejected)
        if not isinstance(reply, FactsReply):
            rejected.append(_rejected(product, reason=LEFT_TO_TEMPLATES))
            return _taught(chosen.facts, rejected)
        # The description is always the record's own words, and what the record names stands whole, whatever the model would
        # have made of them.
        named = named_facts(product.uid, product.title, product.content, product.attributes)
        held = _taught([fact for fact in chosen.facts if fact.kind == DESCRIPTION or fact in named], rejected)
        kinds = {DESCRIPTION, *(fact.kind for fact in named)}
        for stated in reply.facts[:MOST_FACTS]:
            kind = checks.kind_name(stated.kind)
            fact = Fact(product.uid, product.title, kind, checks.folded(stated.value), checks.folded(stated.quote))
            reason = checks.SECOND_OF_KIND if kind in kinds else checks.fact_problem(fact, product.content)
            if reason:
                shown = kind or clean(stated.kind)[:60]
                rejected.append(_rejected(product, shown, response=fact.value[:1_000], reason=reason))
            else:
                kinds.add(kind)
                held.append(fact)
        return held

    def _draft(self, fact: Fact) -> Draft:
        # A kind without a pattern is read back as a whole line, in which a sentence would not be the value.
        statements = (
            round(self.phrasings * STATEMENT_SHARE) if fact.kind in KINDS and has_shape(fact.kind, fact.value) else 0
        )
        return Draft(fact, {HELD_OUT: HELD_OUT_QUESTIONS, TRAINED: self.phrasings - statements, STATEMENT: statements})

    async def _fill(
        self,
        product: Product,
        drafts: list[Draft],
        first: int,
        ask: Ask,
        asked: checks.Asked,
        rejected: list[Rejected],
    ) -> None:
        """Ask for what the drafts lack and take what holds, in an order that does not depend on who answers first."""
        wanted = [(draft, draft.still_wanted(first)) for draft in drafts]
        size = max(1, PAIRS_A_CALL // (self.phrasings + HELD_OUT_QUESTIONS + SPARE_QUESTIONS))
        groups = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        requests = [pairs_request(product, [want for _, want in group]) for group in groups]
        replies = await _all_twice(ask, requests, product, rejected)
        for group, reply in zip(groups, replies, strict=True):
            written = _by_number(reply, len(group), product, rejected)
            for number, (draft, want) in enumerate(group, start=1):
                if item := written.get(number):
                    _take(draft, want.slots, item, product, asked, rejected)

    async def _judge(self, product: Product, drafts: list[Draft], ask: Ask, rejected: list[Rejected]) -> None:
        """Drop the rows that the judge, who sees the record, finds wrong; a judge without a usable reply drops none."""
        rows = [(draft, use, row) for draft in drafts for use in draft.rows for row in draft.rows[use]]
        parts = [rows[i : i + PAIRS_A_CALL] for i in range(0, len(rows), PAIRS_A_CALL)]
        requests = [judge_request(product, [row for *_, row in part]) for part in parts]
        replies = await _all_twice(ask, requests, product, rejected)
        for part, reply in zip(parts, replies, strict=True):
            for verdict in reply.verdicts if isinstance(reply, JudgeReply) else ():
                if verdict.good or not 1 <= verdict.pair <= len(part):
                    continue
                draft, use, row = part[verdict.pair - 1]
                if row in draft.rows[use]:
                    draft.rows[use].remove(row)
                    note = clean(verdict.problem)[:200]
                    rejected.append(_rejected(product, draft.fact.kind, *row, reason=checks.JUDGED, note=note))

    def _whole(self, draft: Draft, asked: checks.Asked, rejected: list[Rejected]) -> PhrasedFact | None:
        """The fact with as many rows as were wanted: what is missing are the project's own phrasings."""
        fact, own = draft.fact, phrase(draft.fact, self.phrasings)
        count = self.phrasings - len(draft.rows[STATEMENT])
        # Held-out questions are fewer and so choose first; training gets none of them.
        held_out = _filled(draft.questions(HELD_OUT), own.held_out, HELD_OUT_QUESTIONS, fact, asked, held_out=True)
        training = _filled(draft.questions(TRAINED), own.training, count, fact, asked)
        if len(held_out) < HELD_OUT_QUESTIONS or not training:
            rejected.append(_of_fact(fact, "", fact.value, checks.TOO_FEW))
            return None
        return PhrasedFact(fact, training, held_out, tuple(draft.rows[STATEMENT]), tuple(draft.reverse))


def finished(written: Sequence[Generated]) -> Generated:
    """The products' rows together, without those that only a look at all products can tell.

    These are training rows that are held out in the same words about another product, and reverse questions about a value
    that several products share.

    Raises:
        GenerationError: not one row came from the model.
    """
    phrased = [item for one in written for item in one.phrased]
    rejected = [row for one in written for row in one.rejected]
    accepted = sum(one.accepted for one in written)
    if written and not accepted:
        why = ", ".join(f"{n} × {reason}" for reason, n in Counter(r.reason for r in rejected).most_common(4))
        raise GenerationError(f"The model wrote nothing usable (rejected: {why or 'nothing'}); choose another model.")
    phrased = _held_out_anew(phrased)
    held_out = {_said(item.fact, q) for item in phrased for q in item.held_out}
    telling = checks.unique_values(item.fact for item in phrased)
    kept = [_apart(item, held_out, telling, rejected) for item in phrased]
    rejected += [_of_fact(item.fact, "", item.fact.value, checks.TOO_FEW) for item in kept if not item.training]
    return Generated([item for item in kept if item.training], rejected, accepted, PROMPTS)


def _said(fact: Fact, question: str) -> tuple[str, str]:
    """What a question says of any product: two that say the same are one phrasing."""
    return fact.kind, checks.masked(question, fact.title)


def _held_out_anew(phrased: Sequence[PhrasedFact]) -> list[PhrasedFact]:
    """The facts with the project's own held-out questions, which nothing trains, where another product's rows train theirs.

    Models say the same things over and over: of many products, most wordings are held out somewhere and trained elsewhere.
    It is the held-out one that gives way, for there are three of a fact and a dozen to train.
    """
    trained = {_said(item.fact, q) for item in phrased for q in (*item.training, *(q for q, _ in item.statements))}
    anew = []
    for item in phrased:
        fine = [q for q in item.held_out if _said(item.fact, q) not in trained]
        own = [q for q in phrase(item.fact, 1).held_out if q not in fine]
        needed = len(item.held_out) - len(fine)
        # Own ones that somebody trains all the same come last; training gives way to those.
        own.sort(key=lambda q, fact=item.fact: _said(fact, q) in trained)
        anew.append(replace(item, held_out=(*fine, *own[:needed])))
    return anew


def _apart(
    item: PhrasedFact, held_out: set[tuple[str, str]], telling: set[tuple[str, str]], rejected: list[Rejected]
) -> PhrasedFact:
    """The fact without the rows that other products spoil, made up for by the project's own phrasings."""
    fact = item.fact

    def leaks(question: str) -> bool:
        return _said(fact, question) in held_out

    tells = (fact.kind, title_key(fact.value)) in telling
    rejected += [_of_fact(fact, q, fact.value, checks.HELD_OUT_ELSEWHERE) for q in item.training if leaks(q)]
    rejected += [_of_fact(fact, q, answer, checks.HELD_OUT_ELSEWHERE) for q, answer in item.statements if leaks(q)]
    rejected += [
        _of_fact(replace(fact, kind=REVERSE), q, fact.title, checks.NO_CLUE) for q in item.reverse if not tells
    ]
    wanted = len(item.training) + len(item.statements)
    statements = tuple(row for row in item.statements if not leaks(row[0]))
    training = [q for q in item.training if not leaks(q)]
    asked = {_said(fact, q) for q in (*training, *(q for q, _ in statements), *item.held_out)}
    own = [q for q in phrase(fact, wanted).training if not leaks(q) and _said(fact, q) not in asked]
    training += own[: wanted - len(training) - len(statements)]
    return replace(item, training=tuple(training), statements=statements, reverse=item.reverse if tells else ())


async def _all_twice(
    ask: Ask, requests: Sequence[Request], product: Product, rejected: list[Rejected]
) -> list[BaseModel | None]:
    """Several requests at once; what is rejected is told in their order, whoever answers first."""
    apart: list[list[Rejected]] = [[] for _ in requests]
    asked = (_twice(ask, request, product, mine) for request, mine in zip(requests, apart, strict=True))
    replies = await asyncio.gather(*asked)
    rejected += [row for mine in apart for row in mine]
    return replies


async def _twice(ask: Ask, request: Request, product: Product, rejected: list[Rejected]) -> BaseModel | None:
    """Ask, and where the reply is of no use once more, saying what was wrong with it."""
    for _ in range(2):
        try:
            return await ask(request)
        except UnusableReply as unusable:
            rejected.append(_rejected(product, reason=unusable.reason))
            if unusable.reason == NO_REPLY:
                break
            request = once_more(request, unusable.problem)
    return None


def _by_number(reply: BaseModel | None, facts: int, product: Product, rejected: list[Rejected]) -> dict[int, FactPairs]:
    """The rows by the number of their fact; none where a model numbers the facts otherwise than it was asked to."""
    if not isinstance(reply, PairsReply):
        return {}
    numbers = [item.fact for item in reply.facts]
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(1, facts + 1)):
        rejected.append(_rejected(product, reason=OTHER_FACTS))
        return {}
    return {item.fact: item for item in reply.facts}


def _taught(facts: Sequence[Fact], rejected: list[Rejected]) -> list[Fact]:
    reasons = [checks.why_not_taught(fact) for fact in facts]
    rejected += [_of_fact(f, "", f.value, why) for f, why in zip(facts, reasons, strict=True) if why]
    return [fact for fact, why in zip(facts, reasons, strict=True) if not why]


def _take(
    draft: Draft, slots: list[Slot], item: FactPairs, product: Product, asked: checks.Asked, rejected: list[Rejected]
) -> None:
    """Take the written rows that hold; held-out ones choose first, for they are fewer."""
    fact, by_number = draft.fact, {place.number: place for place in slots}
    # A model that numbers its rows in a way of its own has at least written them in order.
    written = [(by_number.get(pair.slot, place), pair) for place, pair in zip(slots, item.pairs, strict=False)]
    for place, pair in sorted(written, key=lambda w: w[0].use != HELD_OUT):
        question, answer = clean(pair.question), clean(pair.answer)
        if not draft.lacks(place.use):
            continue
        held_out = place.use == HELD_OUT
        reason = checks.question_problem(question, fact, product.content)
        reason = reason or asked.problem(question, fact, held_out=held_out)
        if not reason and (place.use == STATEMENT or answer):
            reason = _answer_problem(answer, fact, product)
        if reason:
            rejected.append(_of_fact(fact, question[:1_000], answer[:1_000] or fact.value, reason))
        else:
            asked.add(question, fact, held_out=held_out)
            draft.rows[place.use].append((question, answer if place.use == STATEMENT else fact.value))
    if fact.kind != DESCRIPTION and not draft.reverse and (reverse := clean(item.reverse)):
        reason = checks.reverse_problem(reverse, fact, product.content)
        if reason:
            rejected.append(_of_fact(replace(fact, kind=REVERSE), reverse[:1_000], fact.title, reason))
        else:
            draft.reverse.append(reverse)


def _answer_problem(answer: str, fact: Fact, product: Product) -> str:
    """A description is answered with the record's words, whatever the model wrote: unless it answered something else."""
    if fact.kind != DESCRIPTION:
        return checks.answer_problem(answer, fact, product.content)
    said = checks.folded(answer)
    return "" if said in fact.value or fact.value in said else checks.WITHOUT_VALUE


def _filled(
    chosen: list[str], own: Sequence[str], count: int, fact: Fact, asked: checks.Asked, *, held_out: bool = False
) -> tuple[str, ...]:
    """At most `count` questions: those chosen, then the project's own that were not asked before."""
    filled = chosen[:count]
    for question in own:
        if len(filled) < count and asked.problem(question, fact, held_out=held_out) != checks.REPEATED:
            asked.add(question, fact, held_out=held_out)
            filled.append(question)
    return tuple(filled)


# --- What was rejected ---


def _rejected(
    product: Product, kind: str = "", question: str = "", response: str = "", *, reason: str, note: str = ""
) -> Rejected:
    return Rejected(product.uid, product.title, kind, question, response, reason, note)


def _of_fact(fact: Fact, question: str, response: str, reason: str) -> Rejected:
    return Rejected(fact.uid, fact.title, fact.kind, question, response, reason)
