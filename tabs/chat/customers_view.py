"""Customers' questions with their answers, as the page shows them: a table's rows, what they came to, and one as a card."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.answering.customers import Answered, counts
from pipeline.answering.report import VERDICT_WORDS
from pipeline.answering.which_way import LABELS
from tabs.chat.cards import BY_SHOP, SAYS_WORDS, said_card
from tabs.dataset.catalogue_view import short
from tabs.ui.table import LazyRows
from tabs.ui.text import count, html, html_of


@dataclass(frozen=True)
class Shown:
    """What a page has of a file of questions: the answers, the worst first, and the ways that gave them."""

    answered: list[Answered]
    ways: list[str]


def cells(shown: Shown | None) -> LazyRows:
    """The table's rows, made when they are shown."""
    answered = shown.answered if shown else []
    return LazyRows(len(answered), lambda start, stop: [_cells(one) for one in answered[start:stop]])


def _cells(one: Answered) -> list[str]:
    several = len(one.ways) > 1
    said = {way: short(answer.answer or answer.raw) for way, answer in one.ways.items()}
    judged = {way: VERDICT_WORDS[verdict] for way, verdict in one.verdicts.items()}
    judged |= {way: BY_SHOP for way, answer in one.ways.items() if answer.by_shop}

    def by_way(words: dict[str, str]) -> str:
        return "\n".join(f"{LABELS[way]}: {text}" if several else text for way, text in words.items())

    return [
        short(one.asked.question), one.title or "–", by_way(said), by_way(judged) or f"doubt {one.doubt:.0%}",
    ]  # fmt: skip


def counts_table(shown: Shown) -> Markup:
    """What each way's answers came to, as HTML."""
    said = counts(shown.answered, shown.ways)
    known = any(verdicts for _, verdicts in said.values())
    names = [*SAYS_WORDS.values(), *(VERDICT_WORDS.values() if known else ())]
    head = html_of(html("<th>{}</th>", name) for name in ("way", *names))
    rows = Markup()
    for way, (three, verdicts) in said.items():
        numbers = [three[name] for name in SAYS_WORDS] + ([verdicts[name] for name in VERDICT_WORDS] if known else [])
        rows += html("<tr data-way='{}'><td>{}</td>{}</tr>", way, LABELS[way], _numbers(numbers))
    asked = count(len(shown.answered), "question")
    scored = sum(bool(one.asked.answers) for one in shown.answered)
    more = f"{asked}, the right answer known of {scored:,}."
    if own := sum(any(said.by_shop for said in one.ways.values()) for one in shown.answered):
        more += f" Of {own:,} you put the answer right, which counts as neither right nor wrong."
    return html('<p>{}</p><div class="scroll"><table class="counts"><tr>{}</tr>{}</table></div>', more, head, rows)


def _numbers(numbers: Sequence[int]) -> Markup:
    return html_of(html("<td>{}</td>", f"{number:,}") for number in numbers)


def question_card(one: Answered) -> Markup:
    """A customer's question with its answers, as HTML."""
    cards = html_of(said_card(way, said, one.verdicts.get(way)) for way, said in one.ways.items())
    others = one.candidates[1:]
    also = html("; may also mean: {}", html_of(others, " · ")) if others else ""
    about = html("about: <b>{}</b>{}", one.title, also) if one.title else html("about: no product of the catalogue")
    right = " / ".join(one.asked.answers)
    said = html("Right: <b>{}</b>", right) if right else html("doubt: {}", f"{one.doubt:.0%}")
    return html(
        '<article class="asked"><h3>{}</h3><p class="small">{}</p><div class="sides">{}</div>'
        '<p class="catalogue">{}</p></article>',
        one.asked.question, about, cards, said,
    )  # fmt: skip
