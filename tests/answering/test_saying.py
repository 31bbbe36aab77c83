"""What a customer is told of a found sentence or fact."""

import pytest

from pipeline.answering.saying import facts_asked, is_of_a_part, is_yes_no, kinds_asked, named_beside, say, say_facts
from pipeline.catalogue.finding.units import units
from pipeline.facts.extract import extract_facts

BEANIE = "Colour: cream. Knitted from merino wool. It weighs 3 ounces. Price: $18.50. Made in Ireland."
FACTS = extract_facts("1", "Cap", f"A close-fitting hat for cold days at sea. {BEANIE}")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is it blue?", "No, cream."),
        ("is this one cream", "Yes, cream."),
        ("how heavy is it", "3 ounces."),
        ("what does it cost and where is it made", "$18.50, Ireland."),
        ("is it made in china?", "No, Ireland."),
        ("does it weigh 3 ounces?", "Yes, 3 ounces."),
        ("does it weigh 5 ounces?", "No, 3 ounces."),
        ("is it real wool or plastic?", "Merino wool."),
        ("red or cream?", "Cream."),
        ("is it made in ireland or china", "Ireland."),
        ("is it from china", "No, Ireland."),
        ("is it irish?", "Yes, Ireland."),
        ("is it more than 2 ounces?", "Yes, 3 ounces."),
        ("does it weigh at least 4 oz", "No, 3 ounces."),
    ],
)
def test_a_fact_is_said_shortly_and_with_yes_or_no_where_the_record_decides(question: str, answer: str) -> None:
    assert say_facts(question, facts_asked(question, FACTS)) == answer


@pytest.mark.parametrize(
    "question",
    [
        "does it itch",
        "what year is it from",
        "how long is the warranty",
        "who wrote it",
        "is it warm or light",
        "do they ship to france?",
    ],
)
def test_what_no_fact_answers_asks_for_none(question: str) -> None:
    assert facts_asked(question, FACTS) == []


def test_a_choice_is_decided_by_a_value_that_is_one_or_the_other_or_neither() -> None:
    board = extract_facts("1", "Board", "A board for cheese and bread. Material: MDF. Colour: sage green.")
    assert {fact.kind for fact in board} >= {"material", "colour"}
    assert facts_asked("is it wood or plastic?", board) == []  # MDF may be called wood
    assert say_facts("is it red or blue", facts_asked("is it red or blue", board)) == "Sage green."


@pytest.mark.parametrize(
    ("question", "record", "answer"),
    [
        ("is it a paperback?", "Hardcover, 224 pages.", "No. Hardcover, 224 pages."),
        ("does it come with a wrist strap?", "A wrist strap is in the box.", "A wrist strap is in the box."),
        ("are batteries included?", "Batteries are not included.", "Batteries are not included."),
        ("are batteries included", "Two batteries last for a summer.", "Two batteries last for a summer."),
        ("is it metal?", "The box is stainless steel.", "Yes. The box is stainless steel."),
        ("is it metal or plastic", "The box is stainless steel.", "The box is stainless steel."),
        ("how big is it", "It is 9 x 5 inches.", "It is 9 x 5 inches."),
    ],
)
def test_a_sentence_is_said_whole(question: str, record: str, answer: str) -> None:
    assert say(question, units(record)[0]) in (answer, f"Yes. {answer}")


@pytest.mark.parametrize(
    ("question", "is_one"),
    [
        ("is it blue", True),
        ("hi, does it fit?", True),
        ("my old one broke. will this work?", True),
        ("how heavy is it", False),
        ("the mug is red, right?", True),
        ("the mug is red right", True),
        ("this mug: is the handle on the right", True),
        ("which one is right?", False),
        ("so it is rubber?", True),
        ("is it red or blue", False),
        ("what is it", False),
    ],
)
def test_yes_or_no_is_asked(question: str, is_one: bool) -> None:
    assert is_yes_no(question) == is_one


def every(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("question", "beside"),
    [
        ("how heavy is the torvald drill", set()),
        ("how long is the bolt if the plate is removed", {"bolt"}),
        ("I bake in a small oven, how big is the drill", set()),
        ("is the handle of the drill wood", {"handl"}),
        ("dimensions of the torvalddrill", set()),
    ],
)
def test_what_a_question_names_beside_the_product_is_told_apart(question: str, beside: set[str]) -> None:
    assert named_beside(question, "Torvald Drill", every) == beside


def test_what_may_be_misspelled_names_nothing() -> None:
    assert named_beside("how long is the bolltt", "Torvald Drill", lambda word: word != "bolltt") == set()


@pytest.mark.parametrize(
    ("question", "record", "is_of_it"),
    [
        ("is the handle wood", "It is forged from carbon steel.", True),
        ("is the handle wood", "The handle is ash.", False),
        ("is it wood", "It is forged from carbon steel.", False),
        ("does it have a lid", "A deep pan for tall loaves.", True),
        ("does it have a lid", "The lid is of glass.", False),
        ("how heavy is the handle", "It weighs 3 pounds.", False),
    ],
)
def test_what_is_asked_of_a_part_needs_a_unit_that_names_it(question: str, record: str, is_of_it: bool) -> None:
    assert is_of_a_part(question, named_beside(question, "Hammer", every), units(record)[0]) == is_of_it


def test_yes_is_said_of_nothing_that_the_record_leaves_out() -> None:
    (unit,) = units("It plays DVD and CD.")
    assert say("does it play dvd", unit) == "Yes. It plays DVD and CD."
    assert say("does it play the discontinued hd dvd", unit, {"discontinu"}) == "It plays DVD and CD."


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("is it in french?", [("language",)]),
        ("would this one be in easy english", [("language",)]),
        ("is it french?", [("country", "language")]),
        ("is it french made", [("country",)]),
        ("will it work in the uk", []),
        ("can you deliver it to us in Canada?", []),
        ("was it sent from china", []),
    ],
)
def test_a_land_is_asked_about_as_the_origin_or_is_where_somebody_lives(
    question: str, kinds: list[tuple[str, ...]]
) -> None:
    assert kinds_asked(question) == kinds


def test_where_it_is_sent_decides_nothing_about_where_it_is_made() -> None:
    sentence = units("Made in Poland.")[0]
    assert say("do they ship it to france?", sentence) == "Made in Poland."
    assert say("is it made in france?", sentence) == "No. Made in Poland."
