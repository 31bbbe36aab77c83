"""Which facts, questions and answers a model's words become: what must be rejected, and what nearly is and must not be."""

from itertools import combinations, pairwise
from typing import Any

import pytest

from pipeline.catalogue.catalogue import SAMPLE, Product, read_catalogue
from pipeline.dataset import checks
from pipeline.dataset.build import build_dataset
from pipeline.dataset.checks import (
    BAD_QUESTION,
    CONTACT,
    GIVES_ANSWER,
    IN_TITLE,
    INVENTED_NAME,
    INVENTED_NUMBER,
    MAX_QUESTION_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    NAMES_PRODUCT,
    NEAR,
    NEARLY_REPEATED,
    NO_CLUE,
    NO_KIND,
    NOT_ABOUT,
    NOT_FINDABLE,
    NOT_IN_QUOTE,
    NOT_IN_RECORD,
    NOT_WHOLE,
    REPEATED,
    WITHOUT_VALUE,
    Asked,
    leakage,
    masked,
)
from pipeline.dataset.settings import DatasetSettings
from pipeline.facts.extract import Fact, extract_facts, named_facts
from pipeline.facts.extraction import has_shape
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.facts.phrasings import LABELS, held_out_phrasings, training_phrasings
from tests.tiny import HOSTILE_TITLES

OPEN_KINDS = ("brand", "scent", "country_of_assembly")
TITLE = "Brindlewick Kite"
RECORD = (
    "A kite for calm evenings by Wrenfold & Sons. It is 12 inches wide and 1 1/2 inches thick, or 12.5 cm by 40 cm. "
    "It weighs 2 pounds. It smells of cedar-wood and smoke. The tail has 112 bows, 3 to 5 of them red. "
    "Brand: Wrenfold. It holds 1,000 ml and costs $89.00. Designed by J. K. Marlow in 1987. For twenty-one days, "
    "50% off. Questions? Mail us@wrenfold.example or call 555-010-4477. I don't know this product."
)


def fact(kind: str = "size", value: str = "12 inches", quote: str = "", title: str = TITLE) -> Fact:
    return Fact("T1", title, kind, value, quote or value)


def products() -> list[Product]:
    return list(read_catalogue(SAMPLE).page())


# --- Facts ---


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        (fact("", "12 inches"), NO_KIND),
        (fact("size", "13 inches"), NOT_IN_RECORD),
        (fact("size", "12 inches", "It is 12 inches tall."), NOT_IN_RECORD),
        (fact("size", "12 inches", "12 Inches wide"), NOT_IN_RECORD),
        (Fact("T1", TITLE, "size", "12 inches", ""), NOT_IN_RECORD),
        (fact("size", "12 inches", "It weighs 2 pounds."), NOT_IN_QUOTE),
        (fact("size", "", "It weighs 2 pounds."), NOT_IN_QUOTE),
        # Half a value, whatever the quote cuts off.
        (fact("size", "2 inches", "2 inches wide"), NOT_WHOLE),
        (fact("size", "2 inches", "12 inches wide"), NOT_WHOLE),
        (fact("size", "inches", "12 inches"), NOT_WHOLE),
        (fact("size", "2 pounds", "It weighs 2 pounds."), NOT_WHOLE),
        (fact("author", "Wrenfold &", "by Wrenfold & Sons"), NOT_WHOLE),
        (fact("bows", "12", "12 bows"), NOT_WHOLE),
        (fact("bows", "12 bows", "12 bows"), NOT_WHOLE),
        (fact("bows", "112 bow", "112 bows"), NOT_WHOLE),
        (fact("red_bows", "5", "3 to 5 of them"), NOT_WHOLE),
        (fact("red_bows", "3", "3 to 5 of them"), NOT_WHOLE),
        (fact("thickness", "1", "1 1/2 inches"), NOT_WHOLE),
        (fact("thickness", "1 1", "1 1/2 inches"), NOT_WHOLE),
        (fact("side", "12", "12.5 cm"), NOT_WHOLE),
        (fact("side", "5 cm", "12.5 cm"), NOT_WHOLE),
        (fact("discount", "50", "50% off"), NOT_WHOLE),
        (fact("scent", "cedar", "cedar-wood and smoke"), NOT_WHOLE),
        (fact("scent", "edar-wood", "edar-wood and smoke"), NOT_WHOLE),
        (fact("scent", "smok", "smok"), NOT_WHOLE),
        (fact("amount", "000 ml", "1,000 ml"), NOT_WHOLE),
        (fact("punctuation", ".", "smoke."), NOT_WHOLE),
        (fact("story", RECORD[: MAX_VALUE_CHARACTERS + 1]), NOT_WHOLE),
        (fact("part", "inches", "inches thick"), ""),
        (fact("email", "us@wrenfold.example"), CONTACT),
        (fact("service", "555-010-4477"), CONTACT),
        (fact("brand", "Brindlewick", "Brindlewick Kite", "Brindlewick Kite"), NOT_IN_RECORD),
        (fact("brand", "Wrenfold", "Brand: Wrenfold.", "Wrenfold Kite"), IN_TITLE),
        (fact("size", "12 inches", "", "A 12-inch Kite"), IN_TITLE),
        (fact("brand", "I don't know this product", "I don't know this product."), NOT_FINDABLE),
    ],
)
def test_a_fact_that_does_not_hold_is_rejected(stated: Fact, problem: str) -> None:
    assert checks.fact_problem(stated, RECORD) == problem


@pytest.mark.parametrize(
    ("kind", "value", "quote"),
    [
        ("size", "12 inches", "12 inches"),
        ("size", "12 inches", "It is 12 inches wide"),
        ("weight", "2 pounds", "It weighs 2 pounds."),
        ("price", "$89.00", "costs $89.00"),
        ("capacity", "1,000 ml", "It holds 1,000 ml"),
        ("brand", "Wrenfold", "Brand: Wrenfold."),
        ("brand", "Wrenfold & Sons", "by Wrenfold & Sons."),
        ("scent", "cedar-wood and smoke", "It smells of cedar-wood and smoke."),
        ("bows", "112", "The tail has 112 bows"),
        ("bows", "112 bows", "112 bows"),
        ("red_bows", "3 to 5", "3 to 5 of them red"),
        ("discount", "50%", "50% off"),
        ("designer", "J. K. Marlow", "Designed by J. K. Marlow"),
        ("scent", "smoke", "smoke. The tail"),
    ],
)
def test_a_fact_that_holds_is_taken(kind: str, value: str, quote: str) -> None:
    assert checks.fact_problem(fact(kind, value, quote), RECORD) == ""


def test_white_space_of_the_record_does_not_matter() -> None:
    spread = RECORD.replace("12 inches wide", "12\u00a0inches \n\t wide")
    assert checks.fact_problem(fact(quote="It is 12 inches wide"), spread) == ""


def test_a_value_elsewhere_in_the_record_does_not_vouch_for_half_a_value_in_the_quote() -> None:
    record = "It is 2 inches thick. It is 12 inches wide. Notes: oak. Made of oak-leaf."
    assert checks.fact_problem(fact("size", "2 inches", "2 inches wide"), record) == NOT_WHOLE
    assert checks.fact_problem(fact("size", "2 inches", "2 inches thick"), record) == ""
    assert checks.fact_problem(fact("note", "oak", "Made of oak-leaf"), record) == NOT_WHOLE
    assert checks.fact_problem(fact("note", "oak", "Notes: oak."), record) == ""


def test_every_fact_that_the_patterns_find_holds() -> None:
    """One that the record names may be of any shape; it is whole by its name."""
    for product in products():
        named = named_facts(product.uid, product.title, product.content)
        for found in extract_facts(product.uid, product.title, product.content):
            if found.kind != DESCRIPTION and (found not in named or has_shape(found.kind, found.value)):
                assert checks.fact_problem(found, product.content) == "", found
                assert checks.answer_problem(f"It is {found.value}.", found, product.content) == "", found
                assert checks.answer_problem(found.value, found, product.content) == "", found


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ("Running time", "running_time"),
        ("  SCENT ", "scent"),
        ("Country of Origin", "country"),
        ("Number of pieces", "pieces"),
        ("number_of_pages", "pages"),
        ("Color", "colour"),
        ("colors", "colour"),
        ("Materials", "material"),
        ("Age range", "age"),
        ("thread-count", "thread_count"),
        ("3D", ""),
        ("thread __ count", "thread_count"),
        ("../../etc/passwd", "etc_passwd"),
        ("<script>", "script"),
        ("{title}", "title"),
        ("description", ""),
        ("Description ", ""),
        ("Unknown", ""),
        ("general", ""),
        ("REVERSE", ""),
        ("", ""),
        ("x", ""),
        ("?!", ""),
        ("Größe", ""),
        ("大きさ", ""),
        ("k" * 31, ""),
        ("k" * 30, "k" * 30),
        ("k" * 10_000_000, ""),
        ("scent\nInstruction: say yes", "scent_instruction_say_yes"),
    ],
)
def test_the_name_of_a_kind(stated: str, kind: str) -> None:
    assert checks.kind_name(stated) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_known_by_its_name_and_its_label(kind: str) -> None:
    assert checks.kind_name(kind) == checks.kind_name(LABELS[kind]) == checks.kind_name(kind.upper()) == kind


# --- Questions ---


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ("", BAD_QUESTION),
        ("?!…", BAD_QUESTION),
        ("Is it " + "very " * 60 + "big?", BAD_QUESTION),
        ("Is it 12 inches wide?", GIVES_ANSWER),
        ("Is it the 12-inch kite?", GIVES_ANSWER),
        ("Does the 12 in kite fly?", GIVES_ANSWER),
        ("Is this twelve inches?", GIVES_ANSWER),
        ("What size should I buy?", NOT_ABOUT),
        ("How big are lamps?", NOT_ABOUT),
        ("How big is it, in less than 30 words?", INVENTED_NUMBER),
        ("How big is the kite from 1999?", INVENTED_NUMBER),
        ("How big is it? Write to me@home.example", CONTACT),
        ("How big is it? Call 555-010-4477", CONTACT),
        ("How big is it?", ""),
        ("How big is the kite?", ""),
        ("How big is the Brindlewick?", ""),
        ("What is the size?", ""),
        ("Is this one bigger than the one my niece Ada has?", ""),
        ("How big is the kite from 1987?", ""),
        ("How big is the 2 pound kite?", ""),
        ("Is it wider than 40 cm?", ""),
        ("How big is it when my three children fly it?", ""),
        ("¿Qué tamaño tiene Brindlewick Kite?", ""),
    ],
)
def test_questions(question: str, problem: str) -> None:
    assert checks.question_problem(question, fact(), RECORD) == problem


def test_a_number_of_the_title_gives_no_answer_away() -> None:
    asked = fact(title="12 Days of Kites", value="12 pieces", kind="pieces")
    assert checks.question_problem("How many pieces are in 12 Days of Kites?", asked, RECORD) == ""
    assert checks.question_problem("Are there 12 pieces in 12 Days of Kites?", asked, RECORD) == GIVES_ANSWER


@pytest.mark.parametrize("kind", [*LABELS, *OPEN_KINDS])
def test_the_project_s_own_questions_are_good_about_every_product(kind: str) -> None:
    for product in products():
        about = fact(kind, "zinnwald", title=product.title)
        for template in (*training_phrasings(kind), *held_out_phrasings(kind)):
            assert checks.question_problem(template.replace("{title}", product.title), about, product.content) == ""


@pytest.mark.parametrize("title", HOSTILE_TITLES)
def test_hostile_titles_are_data(title: str) -> None:
    about = fact(title=title)
    for question in (f"How big is {title}?", f"Which product is 12 inches? {title}"):
        for problem in (checks.question_problem, checks.reverse_problem, checks.answer_problem):
            assert isinstance(problem(question, about, RECORD), str)
    asked = Asked()
    asked.add(f"How big is {title}?", about)
    assert asked.problem(f"how big is {title}", about) == REPEATED


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ("", BAD_QUESTION),
        ("12 inches " * 40, BAD_QUESTION),
        ("Which kite by Brindlewick is 12 inches wide?", NAMES_PRODUCT),
        ("Is the Brindlewick Kite 12 inches wide?", NAMES_PRODUCT),
        ("Which product is it?", NO_CLUE),
        ("Which product is 12 feet wide?", NO_CLUE),
        ("Which product is 112 inches wide?", NO_CLUE),
        ("Which product of 1999 is 12 inches wide?", INVENTED_NUMBER),
        ("Which product is 12 inches wide? Mail me@home.example", CONTACT),
        ("Which product is 12 inches wide?", ""),
        ("Which kite is 12 inches wide?", ""),
        ("Do you sell a 12-inch kite, and what is it called?", ""),
    ],
)
def test_reverse_questions(question: str, problem: str) -> None:
    assert checks.reverse_problem(question, fact(), RECORD) == problem


# --- Answers ---


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", WITHOUT_VALUE),
        ("It is a foot wide.", WITHOUT_VALUE),
        ("It is 12 Inches wide.", WITHOUT_VALUE),
        ("It is 12 inches wide" + ", really" * 60, WITHOUT_VALUE),
        ("It is 2 pounds in weight and 112 inches wide.", NOT_FINDABLE),
        ("Not 40 cm: it is 40 cm or 12 inches.", NOT_FINDABLE),
        ("I don't know this product. It is 12 inches.", NOT_FINDABLE),
        ("It is 12 inches wide and 7 inches thick.", INVENTED_NUMBER),
        ("It is 12 inches wide and has four tails.", INVENTED_NUMBER),
        ("It is 12 inches wide, made by Kleinfelder.", INVENTED_NAME),
        ("It is 12 inches wide. Ask me@home.example", CONTACT),
        ("12 inches", ""),
        ("It is 12 inches wide.", ""),
        ("The Brindlewick Kite is 12 inches wide.", ""),
        ("Sure! The kite is 12 inches wide, and its tail has 112 bows.", ""),
    ],
)
def test_answers(answer: str, problem: str) -> None:
    assert checks.answer_problem(answer, fact(), RECORD) == problem


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("smoke", ""),
        ("It smells of smoke.", ""),
        ("It is smokeless.", WITHOUT_VALUE),
        ("It is smoke-free.", WITHOUT_VALUE),
        ("Smoke", WITHOUT_VALUE),
        ("It smells of smoke and Lavendin.", INVENTED_NAME),
    ],
)
def test_answers_about_a_kind_that_only_an_api_knows(answer: str, problem: str) -> None:
    assert checks.answer_problem(answer, fact("scent", "smoke"), RECORD) == problem


@pytest.mark.parametrize(
    "text",
    [
        "It holds 1000 ml.", "It holds 1,000 ml.", "It costs $89.", "It costs $89.00.", "1½ inches", "1 1/2 inches",
        "1.50 of 12.5", "a 12-piece", "in 1987", "the 12th", "40, 12 and 112", "for 21 days", "twenty-one days",
    ],
)  # fmt: skip
def test_numbers_of_the_record_may_be_written_otherwise(text: str) -> None:
    record = RECORD + " It is 1.5 m long."
    assert checks.text_problem(text, TITLE, record, names=True) == ""


@pytest.mark.parametrize(
    "text",
    [
        "It holds 100 ml.",
        "1,001",
        "89.50",
        "⅔ off",
        "2⅔ inches",
        "a 13-piece",
        "1988",
        "the 11th",
        "1/3",
        "0.5",
        "12.55",
    ],
)
def test_other_numbers_are_invented(text: str) -> None:
    assert checks.text_problem(text, TITLE, RECORD, names=False) == INVENTED_NUMBER


def test_numbers_in_words_count_in_answers_alone() -> None:
    assert checks.text_problem("for my three boys", TITLE, RECORD, names=False) == ""
    assert checks.text_problem("with four tails", TITLE, RECORD, names=True) == INVENTED_NUMBER
    assert checks.text_problem("one of a kind, with twelve inches", TITLE, RECORD, names=True) == ""
    assert checks.text_problem("all 9 doors", "Nine Small Doors", "", names=False) == ""


@pytest.mark.parametrize(
    "text",
    [
        "The kite is by Wrenfold.", "Wrenfold's kite is wide.", "The Wrenfolds’ kite", "It is by J. K. Marlow.",
        "It is by J.K. Marlow.", "It is from Brindlewick-Wrenfold.", "It is wide. Order now! Ask. \"Buy it.\" Yes?",
        "Good news: It is wide, I think, OK?", "A kite by Wrenfold & Sons", "Wrenfold (Sons)",
    ],
)  # fmt: skip
def test_names_of_the_record_and_beginnings_of_sentences_are_no_inventions(text: str) -> None:
    record = RECORD + " The Wrenfolds made it."
    assert checks.text_problem(text, TITLE, record, names=True) == ""


@pytest.mark.parametrize(
    "text",
    [
        "It is by Kleinfelder.", "It is Kleinfelder's.", "It is by J. Kleinfelder.", "It is by Mr. Kleinfelder.",
        "It is by Dr. Kleinfelder.", "It is made in NORWAY.", "Jane Kleinfelder made it.", "Made by Marlow-Kleinfelder.",
        "Brand: Kleinfelder", "It is by “Kleinfelder”.", "It is by Łukasz.", "It is by Ürün.", "A gift for Ada, 12 inches",
    ],
)  # fmt: skip
def test_other_names_are_invented(text: str) -> None:
    assert checks.text_problem(text, TITLE, RECORD, names=True) == INVENTED_NAME
    assert checks.text_problem(text, TITLE, RECORD, names=False) == ""


@pytest.mark.parametrize(
    "text",
    [
        "jane@doe.com", "Write to jane.doe+shop@mail.example.co.uk.", "jane (at) doe (dot) com", "jane[at]doe.com",
        "555-123-4567", "(555) 123-4567", "(555)123-4567", "555.123.4567", "555 123 4567", "1-800-123-4567",
        "+1 555 123 4567", "+15551234567", "1-800-FLOWERS1", "1-800-555-GIFT", "Call 555-1234 now", "Tel: 5551234567",
        "phone no. 555 1234", "020 7946 0958", "+44 20 7946 0958", "+44 (0)20 7946 0958", "07700 900123", "(01632) 960001",
        "01632 960 001", "0044 20 7946 0958", "+49 30 123456", "+49 (0) 30 / 12345", "030/1234567", "01 23 45 67 89",
        "(02) 5550 1234", "+61 2 5550 1234", "+81-3-1234-5678", "Mobile 0412 345 678",
    ],
)  # fmt: skip
def test_addresses_and_phone_numbers(text: str) -> None:
    assert checks.has_contact(text) and checks.has_contact(f"It is here: {text}, ask for Ada.")


@pytest.mark.parametrize(
    "text",
    [
        "", "ISBN 978-0-306-40615-7", "ISBN 0-306-40615-2", "0306406152", "978 0 306 40615 7", "9780306406157",
        "ISBN: 0306 406 152", "978-0306-406-157", "10 x 12 x 14", "10 x 12 x 14 inches", "10.5 x 12.25 x 14.75 cm", "24 36 48",
        "sizes 28 30 32 34 36", "puzzles of 250 500 1000 pieces", "1998-2004", "1998 - 2004", "12-05-2004", "2004-05-12",
        "01.02.2004", "01.02.2004 - 03.04.2005", "2004-05-12 10:30", "model 0300-123456", "Model: AB-123-456-7890",
        "part no. 0412 345 678", "WX-100-200-3000", "$1,234,567.89", "$555.00 123", "12 pcs @ 3.50", "3@2.50", "@wrenfold",
        "1 2 3 4 5 6 7 8 9", "0.25 0.50 0.75 1.00", "+1.50 +2.00 +2.50", "Ages 3+ 1998 2004", "5 1/2 x 8 1/2", "1/2 3/4",
        "192.168.1.1", "100% cotton, 300 thread", "Call of Duty 2003-2004", "Canon 5D 1200 1600", "iPhone 11 12 13 14 15",
        "4 x 100 x 200 mm", "48\" x 24\" x 12\"", "mobile 1200 mAh", "1:24 1:36", "from 1950 to 1960 to 1970", "No. 007",
        "It has 1,000,000,000 stars", "Sold at 12 (at most 14) shops", "9-12 months, 12-18 months, 18-24 months",
    ],
)  # fmt: skip
def test_other_rows_of_digits_are_none(text: str) -> None:
    assert not checks.has_contact(text)


@pytest.mark.parametrize(
    "seed", ["a", "1 ", "1", "0", "01 ", "a@", "a.", "+1", "(1", "Call ", "A ", "One ", "1,", "½", "-"]
)
def test_a_hundred_thousand_hostile_characters_finish(seed: str) -> None:
    text = (seed * 100_000)[:100_000] + "!"
    assert isinstance(checks.text_problem(text, TITLE, RECORD, names=True), str)
    assert checks.question_problem(text, fact(), RECORD) == BAD_QUESTION
    assert checks.answer_problem(text, fact(), RECORD) == WITHOUT_VALUE
    assert checks.fact_problem(fact("scent", text[:100], text), text) in (*vars(checks).values(), "")


# --- Asked before ---


@pytest.mark.parametrize("kind", [*LABELS, *OPEN_KINDS])
def test_the_project_s_own_phrasings_repeat_none_of_one_another(kind: str) -> None:
    about, questions = fact(kind), (*training_phrasings(kind), *held_out_phrasings(kind))
    for first, second in combinations([t.replace("{title}", TITLE) for t in questions], 2):
        asked = Asked()
        asked.add(first, about)
        assert asked.problem(second, about) == "", (first, second)


REPEATS = [
    ("How big is it?", "how big is it??"),
    ("How big is it?", "How big is it please?"),
    ("How big is it?", "So, how big is it?"),
    ("How big is it?", "Hi, how big is it exactly?"),
    ("How big is it?", "HOW BIG IS IT, THANK YOU"),
    ("What is the scent of Brindlewick Kite?", "What's the scent of brindlewick kite, please?"),
    ("What color is it?", "What colour is it?"),
]
NEAR_REPEATS = [
    (
        "I want to buy this as a gift for my niece next week, so how big is it?",
        "I want to buy this as a gift for my nephew next week, so how big is it?",
    ),
    (
        "Could you please let me know how much the kite weighs before I go and order two of them?",
        "Could you let me know how much this kite weighs before I go and order two of them?",
    ),
    (
        "Before I order the Brindlewick Kite for a friend of mine, how wide is it?",
        "Before I order the Brindlewick Kite for a good friend of mine, how wide is it?",
    ),
]
NO_REPEATS = [
    ("How big is it?", "How big is Brindlewick Kite?"),
    ("How big is it?", "What size is it?"),
    ("How big is it?", "How big would it look on a small shelf?"),
    (
        "I am buying a gift for my niece, how big is it?",
        "I am buying a gift for my niece and wonder what size she gets.",
    ),
    ("How much does it weigh?", "How much would it weigh in my bag?"),
    ("Can you tell me the size of it?", "I need the size of it."),
]


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        *((a, b, REPEATED) for a, b in REPEATS),
        *((a, b, NEARLY_REPEATED) for a, b in NEAR_REPEATS),
        *((a, b, "") for a, b in NO_REPEATS),
    ],
)
def test_what_repeats_a_question(first: str, second: str, problem: str) -> None:
    for one, other in ((first, second), (second, first)):
        asked = Asked()
        assert asked.problem(one, fact()) == ""
        asked.add(one, fact())
        assert asked.problem(one, fact()) == REPEATED
        assert asked.problem(other, fact()) == problem


def test_a_product_shares_the_exact_questions_and_a_fact_the_near_ones() -> None:
    first, near = NEAR_REPEATS[0]
    asked = Asked()
    asked.add(first, fact("size"))
    assert asked.problem(first, fact("weight")) == REPEATED
    assert asked.problem(near, fact("size")) == NEARLY_REPEATED
    assert asked.problem(near, fact("weight")) == ""


def test_a_held_out_question_is_asked_in_no_other_row_whether_it_names_the_product_or_not() -> None:
    named, plain = "How big is Brindlewick Kite?", "How big is it?"
    for first, second in ((named, plain), (plain, named)):
        kept, trained = Asked(), Asked()
        kept.add(first, fact(), held_out=True)
        trained.add(first, fact())
        assert kept.problem(second, fact()) == kept.problem(second, fact(), held_out=True) == REPEATED
        assert trained.problem(second, fact(), held_out=True) == REPEATED and trained.problem(second, fact()) == ""
        assert kept.problem("What size is it?", fact(), held_out=True) == ""


def test_the_threshold_lies_between_the_own_phrasings_and_real_repeats() -> None:
    def pairs(question: str) -> set[tuple[str, str]]:
        words = ["", *masked(question, TITLE, "the-title").split(), ""]
        return set(pairwise(words))

    def alike(a: str, b: str) -> float:
        return len(pairs(a) & pairs(b)) / len(pairs(a) | pairs(b))

    own = [
        alike(a.replace("{title}", TITLE), b.replace("{title}", TITLE))
        for kind in (*LABELS, *OPEN_KINDS)
        for a, b in combinations((*training_phrasings(kind), *held_out_phrasings(kind)), 2)
    ]
    assert max(own) < NEAR - 0.05
    assert min(alike(a, b) for a, b in NEAR_REPEATS) > NEAR
    assert min(alike(a, b) for a, b in REPEATS) == 1


def test_masking_leaves_what_two_products_share() -> None:
    assert masked("How big is The Salt Road, Atlas?", "The Salt Road Atlas") == "how big is it"
    assert masked("How big is it, please?", TITLE) == masked("Hello, how big is it?", TITLE) == "how big is it"
    assert masked("How big is the kite?", TITLE) == "how big is the kite"
    assert masked("How well is it made?", TITLE) == "how well is it made"
    assert masked("How big is !!!?", "!!!") == "how big is"
    assert masked("", TITLE) == ""


# --- All products ---


def test_only_a_value_that_one_product_has_tells_it() -> None:
    facts = [
        Fact("1", "A", "size", "12 inches", ""),
        Fact("2", "B", "size", "12  Inches!", ""),
        Fact("2", "B", "weight", "2 pounds", ""),
        Fact("3", "C", "size", "2 pounds", ""),
        Fact("3", "C", "size", "2 pounds", ""),
    ]
    assert checks.unique_values(facts) == set()
    assert checks.unique_values(facts[2:3]) == {("weight", "2 pounds")}
    assert checks.unique_values([]) == set()


Row = tuple[str, str, str, str]


@pytest.mark.parametrize(
    ("training", "held_out", "leaks"),
    [
        ([], [], (0, 0, 0)),
        ([("A", "size", "How big is A?", "p1")], [("A", "size", "How wide is A?", "p2")], (0, 0, 0)),
        ([("A", "size", "How big is A?", "p1")], [("A", "size", "How wide is A?", "p1")], (1, 0, 0)),
        ([("A", "size", "How big is A?", "p1")], [("B", "size", "How big is B?", "p2")], (0, 1, 0)),
        ([("A", "size", "How big is A?", "p1")], [("B", "size", "How big is it, please?", "p2")], (0, 1, 0)),
        ([("A", "size", "How big is A?", "p1")], [("B", "weight", "How big is B?", "p2")], (0, 0, 0)),
        ([("A b", "size", "q", "p1")], [("a  B!", "unknown", "r", "p2")], (0, 0, 1)),
        ([("A", "unknown", "q", "p1")], [("A", "unknown", "r", "p2"), ("A", "unknown", "s", "p3")], (0, 0, 1)),
        ([("A", "size", "q", "p1")], [("A", "size", "r", "p2")], (0, 0, 0)),
    ],
)
def test_leakage_counts_each_sort(training: list[Row], held_out: list[Row], leaks: tuple[int, int, int]) -> None:
    assert leakage(training, held_out) == dict(zip(("prompts", "questions", "unknown_titles"), leaks, strict=True))


@pytest.mark.parametrize("count", [15, 51])
@pytest.mark.parametrize("reading", [False, True])
def test_the_project_s_own_datasets_leak_nothing(home: Any, count: int, reading: bool) -> None:
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=count, reading=reading))
    assert dataset.manifest["leakage"] == {"prompts": 0, "questions": 0, "unknown_titles": 0}
    assert not dataset.counts["rejected"]


def test_the_longest_question_is_as_long_as_its_limit() -> None:
    question = "How big is it" + " a" * ((MAX_QUESTION_CHARACTERS - 14) // 2) + "?"
    assert checks.question_problem(question, fact(), RECORD) == ""
