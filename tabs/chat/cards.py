"""Answers, questions and endings as HTML. All text in them is a stranger's, and is escaped here."""

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from pipeline.answering.asker import BASE, OTHER, TUNED
from pipeline.answering.lookup import Asked
from pipeline.answering.renewed import value_now
from pipeline.answering.report import VERDICT_WORDS
from pipeline.answering.scoring import INVENTED, verdict
from pipeline.answering.shop import About
from pipeline.answering.ways import AUTO, BASE_OPEN, BY_MODEL, BY_RECORD, CLOSED, EXTRACTIVE, OPEN, Said
from pipeline.answering.which_way import LABELS, best_way, counted_of, sentence
from pipeline.catalogue.catalogue import Product
from pipeline.facts.extract import says as stands_in
from pipeline.facts.extraction import VALUE, Extraction, extract, extract_with, says
from pipeline.facts.phrasings import kind_label
from pipeline.models.family import CAUSAL, Family
from pipeline.prompts import GENERAL, REFUSAL, SILENT, UNKNOWN, UNKNOWN_TITLE
from tabs.dataset.catalogue_view import short
from tabs.ui.text import count, html, html_of, notice

SIDES = (BASE, TUNED)
BESIDE = (AUTO, EXTRACTIVE, OPEN, BASE_OPEN)
"""Ways that can be asked beside the two sides."""

WITHOUT_MODEL = {AUTO: "no model: fact or sentence", EXTRACTIVE: "no model: the sentence"}

HIDDEN_NAMES = ("Answer A", "Answer B")

BY_SHOP = "answered by the shop"
"""What an answer is marked with that the owner gave."""

SAYS_WORDS = {VALUE: "a value", SILENT: "the record is silent", UNKNOWN: "product not known"}


def needs_model(side: str) -> bool:
    return side in SIDES or side == OTHER or side in BY_MODEL


@dataclass(frozen=True)
class Exchange:
    """A question with its answers so far, and how the page shows them.

    Attributes:
        raws: each side's text so far, None where it has not begun; in the order they are shown.
        about: what the question was found to be about in the catalogue; None where nobody reads that.
        sources: the part of the record that a way's answer was read from.
        run: the run whose adapter is the tuned side.
        other: the run whose adapter answers instead of the base, where one does.
        pattern: the user's own pattern, or empty for the kind's.
        is_whole: whether the answers have ended by themselves; only then they are judged.
        is_stopped: whether somebody ended them.
        is_blind: whether it is hidden which side is which, and who is right.
        family: what the run's base is.
        is_newer: whether the run answers from a newer catalogue than it was taught.
    """

    asked: Asked
    raws: dict[str, str | None]
    about: About | None = None
    sources: dict[str, str] = field(default_factory=dict)
    run: str = ""
    other: str = ""
    pattern: str = ""
    is_whole: bool = False
    is_stopped: bool = False
    is_blind: bool = False
    family: Family = CAUSAL
    is_newer: bool = False

    def found(self, side: str) -> Extraction:
        raw, expected = self.raws[side] or "", self._right(side)[1] or self.asked.expected or ""
        if needs_model(side):
            if self.pattern.strip():
                return extract_with(self.pattern, raw)
            return extract(self.asked.kind, raw, expected)
        # Without a model all that is said is the answer; of a sentence the fact in it is compared.
        fact = extract(self.asked.kind, raw, expected)
        return fact if fact.answer else Extraction(raw, 0, len(raw))

    def ended(self, side: str) -> bool:
        return self.raws[side] is not None and (self.is_whole or not needs_model(side))

    def says(self, side: str) -> str:
        """Which of the three answers it is; empty while it grows, and where nothing was found in it."""
        return says(self.raws[side] or "") if self.ended(side) and self.found(side).answer else ""

    def source(self, side: str) -> str:
        """The part of the record that a value was read from."""
        return self.sources.get(side, "") if self.says(side) == VALUE else ""

    def by_shop(self, side: str) -> bool:
        """Whether the answer is the owner's own."""
        return bool(self.about and self.about.put_right) and not needs_model(side)

    def verdict(self, side: str) -> str | None:
        """The verdict on an answer, where the catalogue says what is right; a value that the record does not have is invented.
        The owner's own answer is not judged."""
        if not self.ended(side) or self.by_shop(side):
            return None
        product, expected = self._right(side)
        answer = self.found(side).answer
        if expected is not None:
            return verdict(self.asked.kind, answer, expected)
        if not answer or product is None or not needs_model(side) or says(answer) != VALUE:
            return None
        return None if stands_in(answer, product.content) else INVENTED

    def _right(self, side: str) -> tuple[Product | None, str | None]:
        """The product that a side was asked about and the right answer; None where nobody knows it.

        What was not taught is to be refused by a model that has only its title, and not by what reads the catalogue.
        """
        reads = self.about is not None and (side in BY_RECORD or not self.family.by_heart)
        found = self.about.product if self.about and reads else None
        taught = self.asked.product
        if taught and reads and self.is_newer:
            return found, self.value_now()
        if found and (taught is None or found.uid != taught.uid):
            return found, None
        return taught, self.asked.expected

    def value_now(self) -> str | None:
        """What the newer record of the taught product says to the question; None where it is silent, or not what was read."""
        product, taught, about = self.about and self.about.product, self.asked.product, self.about
        if not (about and product and taught) or about.listed or about.beside:
            return None
        is_same = product.title == taught.title or product.uid == taught.uid
        return value_now(self.asked, product) if is_same else None

    def name(self, side: str) -> str:
        return f"Run {self.other}" if side == OTHER else name_of(side, self.family)


def name_of(side: str, family: Family) -> str:
    """What a side of a run is called."""
    return {BASE: "Base", TUNED: family.tuned_name, OTHER: "Another run"}.get(side) or LABELS.get(side, side)


def answer_card(
    side: str,
    raw: str | None,
    found: Extraction,
    said: str | None,
    name: str = "",
    waiting: str = "answering …",
    says: str = "",
    source: str = "",
    family: Family = CAUSAL,
    by_shop: bool = False,
) -> Markup:
    """One side's answer as HTML, with the extracted part marked in its place.

    Args:
        side: a side, or one of `HIDDEN_NAMES`.
        raw: the model's text, or None where there is none yet.
        found: what the pattern found in it.
        said: the verdict, or None when nobody can tell.
        name: what the side is called, if not by its own name.
        waiting: what stands in the place of a text that is not there.
        says: which of the three answers it is, if that is known.
        source: the part of the record that it was read from, if any.
        family: what the run's base is.
        by_shop: whether it is the owner's own answer.
    """
    who = TUNED if side == CLOSED else side
    own_name, adapter = name_of(who, family), (WITHOUT_MODEL | family.answers_by).get(who, "?")
    body = html('<p class="waiting">{}</p>', waiting) if raw is None else _judged(raw, found, said)
    kind = html('<p class="small says">{}</p>', SAYS_WORDS[says]) if says else ""
    read = html('<p class="small source">read from: <q>{}</q></p>', source) if source else ""
    read = html('<p class="small by-shop">{}</p>', BY_SHOP) if by_shop else read
    return html(
        '<section class="answer" aria-label="{name}" data-side="{side}" data-says="{says}">'
        '<h4>{name} <span class="badge {side}">{adapter}</span></h4>{kind}{body}{read}</section>',
        name=name or own_name, side=side, adapter=adapter, says=says, kind=kind, body=body, read=read,
    )  # fmt: skip


def _judged(raw: str, found: Extraction, said: str | None) -> Markup:
    """A model's text with what was found in it marked, and the verdict."""
    before, inside, after = raw[: found.start], raw[found.start : found.end], raw[found.end :]
    if inside and said == INVENTED:  # never like a find
        text = html("{}<mark class='invented'>{}</mark>{}", before, inside, after)
    elif inside:
        text = html("{}<mark>{}</mark>{}", before, inside, after)
    else:
        text = html("{}", raw) or html("<i>(no words at all)</i>")
    judged = html('<p class="verdict {}">{}</p>', said, VERDICT_WORDS[said]) if said else ""
    return html('<p class="said">{}</p>{}', text, judged)


def said_card(way: str, said: Said, judged: str | None) -> Markup:
    """A way's answer to a customer's question as HTML.

    Args:
        judged: the verdict, where the right answer is known.
    """
    whole = Extraction(said.answer, 0, len(said.raw)) if said.answer == said.raw else Extraction("", 0, 0)
    return answer_card(
        way, said.raw, whole, judged, LABELS[way], says=said.says, source=said.source, by_shop=said.by_shop
    )


def exchange_card(exchange: Exchange) -> Markup:
    """A question with its answers and what the catalogue says, as HTML."""
    cards = Markup()
    waiting = "not answered" if exchange.is_stopped else "answering …"
    for place, (side, raw) in enumerate(exchange.raws.items()):
        found = exchange.found(side)
        if exchange.is_blind:
            cards += answer_card(HIDDEN_NAMES[place], raw, found, None)
        else:
            said, source = exchange.says(side), exchange.source(side)
            name, judged = exchange.name(side), exchange.verdict(side)
            by_shop = exchange.by_shop(side)
            cards += answer_card(side, raw, found, judged, name, waiting, said, source, exchange.family, by_shop)
    asked = exchange.asked
    stopped = notice("Stopped: what was said so far is not judged.", "hint", "stopped") if exchange.is_stopped else ""
    return html(
        '<article class="asked" data-about="{}"><h3>{}</h3><p class="small">{}</p>'
        '{}<div class="sides">{}</div>{}<p class="catalogue" data-kind="{}">{}</p></article>',
        asked.title, asked.question, about_line(asked), found_line(exchange), cards, stopped, asked.kind,
        newer_says(exchange) or catalogue_says(asked, exchange.about, family=exchange.family),
    )  # fmt: skip


def found_line(exchange: Exchange) -> Markup:
    """What was found in the whole catalogue, where that is another product than the taught one, or several."""
    about = exchange.about
    if about is None or (about.product is None and exchange.asked.product is None):
        return Markup()
    if about.product is None:
        return html('<p class="small">found in the catalogue: no product that this names</p>')
    if about.listed or about.beside:
        return html('<p class="small">found in the catalogue: {}</p>', html_of(about.candidates, " · "))
    others = about.candidates[1:]
    if about.product.title == exchange.asked.title and not others:
        return Markup()
    also = html("; may also mean: {}", html_of(others, " · ")) if others else ""
    return html('<p class="small">found in the catalogue: <b>{}</b>{}</p>', about.product.title, also)


def about_line(asked: Asked) -> Markup:
    if asked.title == UNKNOWN_TITLE:
        return html("about: no taught product recognised (the model is told “unknown”)")
    return html("about: <b>{}</b>{}", asked.title, "" if asked.product else " (not taught)")


def newer_says(exchange: Exchange) -> Markup:
    """What a newer catalogue says otherwise than the one that was taught; nothing where it says the same."""
    asked, about, now = exchange.asked, exchange.about, exchange.value_now()
    several = about and (about.listed or about.beside)
    if not (exchange.is_newer and about and asked.product) or several or now == asked.expected:
        return Markup()
    newer = html("the newer record says <b>{}</b>", now) if now else html("the newer record does not say it")
    if about.product is None:
        newer = html("the newer catalogue has no such product")
    elif about.product.title != asked.title and about.product.uid != asked.product.uid:
        return Markup()
    taught = html("<b>{}</b>", asked.expected) if asked.expected else html("nothing")
    still = html(", which the closed book still says") if asked.expected and exchange.family.by_heart else ""
    kind = asked.kind.replace("_", " ")
    return html('<span data-state="newer">Taught ({}): {}{}; {}.</span>', kind, taught, still, newer)


def catalogue_says(asked: Asked, about: About | None = None, *, family: Family = CAUSAL) -> Markup:
    if about and (about.listed or about.beside):
        return html(
            "Several products are asked about: a model knows one at a time, the other ways read all of their records."
        )
    if about and about.product and asked.product is None and not family.by_heart:
        return html("The catalogue has this product, and a reader knows those that were not trained, too.")
    if about and about.product and asked.product is None:
        only = "The catalogue has this product, but it was not taught: the tuned model should say “{}”; the other ways can tell."
        return html("{}", only.format(REFUSAL))
    if asked.kind == GENERAL:
        return html("No product of the catalogue is named. If one was meant, the right answer is: <b>{}</b>", REFUSAL)
    if asked.kind == UNKNOWN:
        return html("Not taught, so the right answer is: <b>{}</b>", asked.expected)
    kind = asked.kind.replace("_", " ")
    if asked.expected is None:
        return html("No such fact is in the record ({}): a value that does not stand there is invented.", kind)
    return html("The catalogue says ({}): <b>{}</b>", kind, asked.expected)


def summary_card(comparison: dict[str, Any], everything: dict[str, Any] | None) -> Markup:
    """The headline of a comparison, and of everything else that was asked, as HTML."""
    s, changes = comparison["summary"], [q["change"] for q in comparison["questions"]]
    tiles = [
        ("base", f"{s['base_right']} of {s['total']}", "base right, before"),
        ("tuned", f"{s['tuned_right']} of {s['total']}", "tuned right, after"),
        ("recall", f"{s['recall']:.0%}", f"recall over all {count(s['facts'], 'fact')}"),
        (
            "changes",
            " · ".join(str(changes.count(change)) for change in ("fixed", "broken", "same")),
            "fixed · broken · same",
        ),
    ]
    if taught := comparison.get("taught"):
        right = f"{taught['tuned_right']} of {taught['total']}"
        tiles.append(
            ("taught", right, f"customers' questions that you answered right now (before: {taught['base_right']})")
        )
    stopped = ""
    if everything:
        e = everything["summary"]
        if e.get("styled_questions"):
            tiles.append(("styled", f"{e['styled']:.0%}", "right in customers' words"))
        if e.get("silent_questions"):
            said = f"admitted, of what records do not say ({e['invented']:.0%} invented)"
            tiles.append(("admitted", f"{e['admitted']:.0%}", said))
        if e["unknown_questions"]:
            tiles.append(("refused", f"{e['refused']:.0%}", "refused, of unknown products"))
        tiles.append(("wrongly-refused", f"{e['false_refusals']:.1%}", "known facts wrongly refused"))
        if general := e["general"]:
            kept = f"{general['kept']} of {general['base_right']}"
            now = f"now {general['tuned_right']} of {general['total']} right"
            tiles.append(("general", kept, f"general answers kept ({now})"))
        if not e["whole"]:
            stopped = notice(f"Stopped: these figures are from {e['fact_questions']} questions about facts.", "hint")
    shown = html_of(html("<div data-figure='{}'><b>{}</b><span>{}</span></div>", *tile) for tile in tiles)
    asked = html('<p class="small" data-asked>{}</p>', said) if (said := comparison.get("base_asked")) else ""
    return html('<div class="tiles">{}</div>{}{}', shown, asked, stopped)


def which_way_card(comparison: dict[str, Any]) -> Markup:
    """Which way to use for this catalogue, as HTML; nothing where the ways were not counted."""
    counted = counted_of(comparison, "questions")
    if not counted:
        return Markup()
    best = best_way(counted)
    taught = counted_of(comparison, "everything")
    more = ""
    if taught:
        asked = count(max(one.answerable + one.unanswerable for one in taught), "question")
        shares = " · ".join(
            f"{one.label} {one.right_share:.0%} right, {one.invented_share:.0%} invented" for one in taught
        )
        more = html('<p class="small">Over {} about what was taught: {}.</p>', asked, shares)
    return html('<p class="big which-way" data-way="{}">{}</p>{}', best.way if best else "", sentence(counted), more)


def question_card(question: dict[str, Any], change: str, family: Family = CAUSAL) -> Markup:
    """A question before and after as a card for a narrow page, as HTML.

    Args:
        change: the words for what became of it.
    """
    said = {"Expected": ("", question["expected"])}
    for side in SIDES:
        answer, name = question[side], name_of(side, family)
        said[name] = (answer["verdict"], answer["answer"] or answer["raw"]) if answer else ("", "–")
    rows = Markup()
    for name, (judged, words) in said.items():
        mark = html(' <b class="{}">{}</b>', judged, VERDICT_WORDS[judged]) if judged else ""
        rows += html("<dt>{}</dt><dd>{}{}</dd>", name, short(words), mark)
    return html(
        '<article class="question-card" data-state="{}"><h4>{}</h4>'
        '<p class="small">about: {} · {}</p><dl>{}</dl></article>',
        question["change"], question["question"], question["title"], change, rows,
    )  # fmt: skip


def compared_card(question: dict[str, Any], family: Family = CAUSAL) -> Markup:
    """A question of the comparison with both raw answers, as HTML; one that was not asked yet says so."""
    kind, cards = question["fact_kind"], Markup()
    for side in SIDES:
        if answer := question[side]:
            found = extract(kind, answer["raw"], question["expected"])
            cards += answer_card(side, answer["raw"], found, answer["verdict"], family=family)
    waits = "" if question[TUNED] else notice("Not asked yet: press “Ask the questions”.", "hint")
    changed = html(' · <span class="changed">changed since it was frozen</span>') if question["is_changed"] else ""
    return html(
        '<article class="asked"><h3>{}</h3><p class="small">about: <b>{}</b> · {}{}</p>'
        '<div class="sides">{}</div>{}<p class="catalogue">Expected: <b>{}</b></p></article>',
        question["question"], question["title"], kind_label(kind), changed, cards, waits, question["expected"],
    )  # fmt: skip
