"""What a customer is told of a found sentence or fact."""

import pytest

from pipeline.answering.saying import facts_asked, is_yes_no, say, say_facts
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
    ],
)
def test_a_fact_is_said_shortly_and_with_yes_or_no_where_the_record_decides(question: str, answer: str) -> None:
    assert say_facts(question, facts_asked(question, FACTS)) == answer


@pytest.mark.parametrize(
    "question", ["does it itch", "what year is it from", "how long is the warranty", "who wrote it"]
)
def test_what_no_fact_answers_asks_for_none(question: str) -> None:
    assert facts_asked(question, FACTS) == []


@pytest.mark.parametrize(
    ("question", "record", "answer"),
    [
        ("is it a paperback?", "Hardcover, 224 pages.", "No. Hardcover, 224 pages."),
        ("does it come with a wrist strap?", "A wrist strap is in the box.", "A wrist strap is in the box."),
        ("are batteries included?", "Batteries are not included.", "Batteries are not included."),
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
        ("is it red or blue", False),
        ("what is it", False),
    ],
)
def test_yes_or_no_is_asked(question: str, is_one: bool) -> None:
    assert is_yes_no(question) == is_one
