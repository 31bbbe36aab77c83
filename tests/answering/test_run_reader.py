"""What a reader's run says of what it read: the span or its sentence, or that the record does not say."""

from dataclasses import replace

import pytest

from pipeline.answering.run_reader import answer_of, is_told, to_read
from pipeline.answering.shop import Shop
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.models.reader import Reading

DRILL = "Torvald Cordless Drill Driver"
SURE = Reading("2.9 pounds", "It weighs 2.9 pounds.", 100.0)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(read_catalogue(SAMPLE), None)


def test_the_span_is_said_where_a_kind_of_fact_is_asked_for_and_else_its_sentence(shop: Shop) -> None:
    asks_for_weight = shop.about(f"how heavy is the {DRILL}")
    assert answer_of(asks_for_weight, SURE) == "2.9 pounds"
    other = shop.about(f"does the {DRILL} have a lamp")
    sentence = to_read(other)[2]
    assert "lamp" in sentence and answer_of(other, SURE) == sentence


def test_in_other_words_than_it_was_taught_the_finder_has_to_be_sure_too(shop: Shop) -> None:
    about = shop.about(f"does the {DRILL} have a lamp")
    assert about.found
    unsure = replace(about, found=replace(about.found, likely=0.2))
    assert is_told(replace(about, found=replace(about.found, likely=0.9)), SURE, 0.0, finder_threshold=0.5)
    assert not is_told(unsure, SURE, 0.0, finder_threshold=0.5)
    assert is_told(replace(unsure, question=f"What colour is {DRILL}?"), SURE, 0.0, finder_threshold=0.5)


def test_a_reader_that_is_not_sure_and_a_product_that_is_not_there_tell_nothing(shop: Shop) -> None:
    about = shop.about(f"What colour is {DRILL}?")
    assert not is_told(about, replace(SURE, margin=-100.0), 0.0, finder_threshold=0.0)
    assert not is_told(replace(about, product=None), SURE, -1000.0, finder_threshold=0.0)
