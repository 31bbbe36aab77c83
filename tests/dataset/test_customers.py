"""Customers' styles: what trains, what grades, and that the two stay apart; what a record does not say."""

import random
import re
from collections import Counter

import pytest

from pipeline.catalogue.catalogue import SAMPLE, Product, read_catalogue, title_key
from pipeline.dataset.build import build_dataset
from pipeline.dataset.choosing import ChosenProduct
from pipeline.dataset.customers import (
    GUESS_NO,
    GUESS_YES,
    LABELS,
    MOST_OPEN,
    OF_NO_KIND,
    SHORT,
    SITUATION,
    SLIPS,
    STYLE,
    TWO,
    short_name,
    silent_examples,
    slipped,
    style_of,
    styled_examples,
    styled_unknown,
)  # fmt: skip
from pipeline.dataset.examples import Example
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.facts.extract import Fact
from pipeline.facts.extraction import extract
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import LABELS as KINDS
from pipeline.facts.phrasings import held_out_phrasings, training_phrasings
from pipeline.facts.styles import (
    GRADED_NOT_SAID,
    GRADED_NOT_SAID_OF_ANY,
    GRADED_SITUATIONS,
    NOT_SAID,
    NOT_SAID_OF_ANY,
    SITUATIONS,
    graded_words,
    trained_words,
)  # fmt: skip
from pipeline.prompts import REFUSAL, SILENCE, SILENT, UNKNOWN, UNKNOWN_TITLE

EVERY_KIND = [*KINDS, "scent", "compatible_devices", "dishwasher_safe"]


def fact(kind: str, value: str, title: str = "Torvald Palm Sander", uid: str = "S1") -> Fact:
    return Fact(uid, title, kind, value, value)


SANDER = [
    fact("weight", "2.2 pounds"),
    fact("warranty", "2-year warranty"),
    fact(DESCRIPTION, "A sander for one hand."),
]
KITE = [fact("weight", "7 ounces", "Starfetch Kite", "K1"), fact("age", "from birth", "Starfetch Kite", "K1")]


def same_words(text: str) -> str:
    return title_key(re.sub(r"\W+", " ", text.replace("{it}", "it").replace("{title}", "it")))


# --- Training and grading are apart ---


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_no_words_that_grade_are_trained(kind: str) -> None:
    trained, graded = trained_words(kind), graded_words(kind)
    training = {same_words(t) for t in (*trained.short, *trained.guess, *training_phrasings(kind))}
    grading = {same_words(t) for t in (*graded.short, *graded.guess, *held_out_phrasings(kind))}
    assert not training & grading
    assert len({same_words(t) for t in trained.short}) == len(trained.short)


def test_nor_are_situations_or_what_no_kind_stands_for() -> None:
    assert not set(SITUATIONS) & set(GRADED_SITUATIONS)
    trained, graded = {*NOT_SAID, *NOT_SAID_OF_ANY}, {*GRADED_NOT_SAID, *GRADED_NOT_SAID_OF_ANY}
    assert not {q for q, _ in trained} & {q for q, _ in graded}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_form_has_a_place_for_what_it_is_about(kind: str) -> None:
    for words in (trained_words(kind), graded_words(kind)):
        assert all("{it}" in form for form in (*words.short, *words.guess)), kind
        assert all("{v}" in form for form in words.guess) and not any("{v}" in form for form in words.short)
        assert not any("{kind}" in form for form in (*words.short, *words.guess))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    home = tmp_path_factory.mktemp("styles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        return build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=30))


def test_a_dataset_has_both_and_leaks_neither(sample: Dataset) -> None:
    assert not any(sample.manifest["leakage"].values())
    trained = Counter(style_of(row["template"]) for row in sample.training())
    assert all(trained[style] for style in LABELS)
    graded = {style_of(r["template"]) for r in sample.held_out() if r["template"].split(":")[-1].startswith(STYLE)}
    assert {SHORT, SITUATION, SLIPS, GUESS_YES, GUESS_NO} <= graded
    assert not [r for r in sample.training() if STYLE in r["template"]]


# --- Facts ---


def test_a_fact_is_asked_for_in_every_style_and_answered_in_the_record_s_words() -> None:
    training, graded = styled_examples([*SANDER, *KITE], {}, 0)
    by_style = {style_of(row.template): row for row in training if row.uid == "S1" and row.kind == "weight"}
    assert set(by_style) >= {SHORT, SITUATION, SLIPS, GUESS_YES, GUESS_NO}
    assert "2.2 pounds" in by_style[GUESS_YES].question and "7 ounces" in by_style[GUESS_NO].question
    assert {row.response for style, row in by_style.items() if style != TWO} == {"2.2 pounds"}
    assert {row.response for row in graded if row.kind == "weight"} == {"2.2 pounds", "7 ounces"}
    both = [row for row in training if row.template.endswith(TWO)]
    assert {row.uid for row in both} == {"S1", "K1"} and all("; " in row.response for row in both)


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind != DESCRIPTION])
@pytest.mark.parametrize("said", ["Yes, {}.", "No, {}."])
def test_the_value_is_found_behind_yes_and_no(kind: str, said: str) -> None:
    value = {
        "weight": "2.2 pounds", "size": "10 inches", "dimensions": "4 x 3 x 1 inches", "capacity": "700 ml",
        "pieces": "17 pieces", "pages": "32 pages", "year": "1999", "age": "ages 4 to 8", "running_time": "52 minutes",
        "price": "$27.00", "power": "240 watts", "warranty": "2-year warranty", "colour": "dark green", "material": "olive wood",
        "author": "Nora Quill", "publisher": "Crookback Books", "language": "French", "format": "Audio CD", "country": "Poland",
    }.get(kind, "rosemary and lime")  # fmt: skip
    assert extract(kind, said.format(value), value).answer.casefold() == value.casefold()


def test_nobody_guesses_a_value_that_is_long_or_no_phrase_and_a_description_is_not_guessed() -> None:
    long = fact("material", "a shell of oak, a lining of felt and handles of rope", uid="L")
    training, _ = styled_examples([*SANDER, *KITE, long], {}, 0)
    guessed = [row for row in training if "guess" in row.template]
    assert guessed and not [row for row in guessed if row.uid == "L" or row.kind in ("age", DESCRIPTION)]


def test_the_record_stands_in_the_prompt_in_reading_mode() -> None:
    training, graded = styled_examples(SANDER, {"S1": "It weighs 2.2 pounds."}, 0)
    assert all("It weighs 2.2 pounds." in row.prompt for row in [*training, *graded])


def test_the_same_seed_makes_the_same_questions() -> None:
    assert styled_examples([*SANDER, *KITE], {}, 3) == styled_examples([*SANDER, *KITE], {}, 3)
    assert styled_examples([*SANDER, *KITE], {}, 3) != styled_examples([*SANDER, *KITE], {}, 4)


# --- What a record does not say ---


def product(content: str, title: str = "Torvald Palm Sander", uid: str = "S1") -> ChosenProduct:
    return ChosenProduct.of(Product(uid, title, content))


def silences(content: str, kinds: list[str], title: str = "Torvald Palm Sander") -> list[Example]:
    values = {"weight": ["7 ounces"], "colour": ["cream"]}
    return silent_examples([product(content, title)], kinds, values, {}, 0)[0]


def kinds_asked(rows: list[Example]) -> set[str]:
    return {row.template.split(":")[1] for row in rows} - {"open"}


def test_a_kind_that_the_record_does_not_state_is_answered_with_the_silence() -> None:
    rows = silences("A sander for one hand. It weighs 2.2 pounds.", ["weight", "colour", "warranty"])
    assert kinds_asked(rows) == {"colour", "warranty"}
    assert {(row.kind, row.response, row.title) for row in rows} == {(SILENT, SILENCE, "Torvald Palm Sander")}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("Weighs next to nothing.", "weight"),
        ("It comes in navy or cream.", "colour"),
        ("Covered by a guarantee for as long as you own it.", "warranty"),
        ("10 inches long when open.", "dimensions"),
        ("Measures 4 x 3 x 1 inches.", "size"),
    ],
)
def test_a_record_that_hints_at_it_is_not_called_silent(content: str, kind: str) -> None:
    assert kinds_asked(silences(f"A sander for one hand. {content}", [kind])) == set()


def test_nobody_asks_a_sander_for_its_author_or_a_book_for_its_watts() -> None:
    assert kinds_asked(silences("A sander for one hand. It weighs 2.2 pounds.", ["author", "pages", "price"])) == {
        "price"
    }
    book = "A slow-burning mystery written by Nora Quill. 192 pages."
    assert kinds_asked(silences(book, ["power", "capacity", "publisher"], "The Ledger")) == {"publisher"}


def test_more_silence_is_taught_where_more_is_left_open() -> None:
    kinds = ["colour", "warranty", "price", "country", "capacity", "power", "material", "age", "size", "weight"]
    counts = [len(kinds_asked(silences("A sander for one hand.", kinds[:n]))) for n in (0, 1, 3, 10)]
    assert counts == [0, 1, 3, MOST_OPEN]


def test_no_question_is_called_unanswered_whose_words_the_record_has() -> None:
    told = "A quiet, waterproof sander with a case. Needs no battery. Dishwasher safe, vegan, free returns, ships in two days."
    rows = silent_examples([product(told)] * 50, [], {}, {}, 0)[0]
    questions = " ".join(row.question.casefold() for row in rows)
    assert questions and not re.search("loud|waterproof|bag|batter|dishwasher|vegan|return|delivery", questions)
    books = silent_examples([product("Written by Nora Quill. 192 pages.", "The Ledger")] * 50, [], {}, {}, 0)[0]
    assert not re.search("loud|waterproof|batter|dishwasher", " ".join(row.question for row in books))
    assert len(silences("A thing.", [])) == OF_NO_KIND


# --- Unknown titles ---


def test_unknown_titles_are_refused_in_customers_words_too() -> None:
    rows = styled_unknown(
        ["Torvald Belt Sander", "Mossgate Wheelbarrow"], ["weight", "colour"], {"weight": ["7 ounces"]}, 0
    )
    assert [(row.kind, row.response) for row in rows] == [(UNKNOWN, REFUSAL)] * 2
    nameless = rows[1]
    assert UNKNOWN_TITLE in nameless.prompt.split("\n")[0] and "mossgate wheelbarrow" in nameless.question.casefold()


# --- Words ---


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Torvald Palm Sander", {"Torvald Palm", "the Palm Sander"}),
        ("Hearthlow Enamel Mug, Lodge", {"Hearthlow Enamel", "the Enamel Mug"}),
        ("Bees of the Northern Hedgerow", {"Bees of the Northern", "the Northern Hedgerow"}),
        ("A Short History of Tall Hats", {"A Short History", "the Tall Hats"}),
        ("Kite", {"Kite"}),
        ("Marble Run", {"Marble Run"}),
        ("[DVD]", {"[DVD]"}),
        (", (", {", ("}),
        ("Songs of the", {"Songs of the", "the the"}),
    ],
)
def test_a_title_is_shortened_as_people_do(title: str, names: set[str]) -> None:
    assert {short_name(title, random.Random(seed)) for seed in range(20)} == names


@pytest.mark.parametrize("seed", range(20))
def test_slips_change_longer_words_only_and_by_a_letter(seed: int) -> None:
    text = "how big is the stainless kettle in cm"
    changed = [(a, b) for a, b in zip(text.split(), slipped(text, random.Random(seed)).split(), strict=True) if a != b]
    assert 1 <= len(changed) <= 2
    assert all(len(a) > 3 and abs(len(a) - len(b)) <= 1 and (a[0], a[-1]) == (b[0], b[-1]) for a, b in changed)
    assert slipped("is it ok", random.Random(seed)) == "is it ok"
