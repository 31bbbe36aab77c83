"""What a question wants to be told."""

import pytest

from pipeline.catalogue.finding.measures import tells, wanted, without_measures


@pytest.mark.parametrize(
    ("question", "measures"),
    [
        ("how heavy is it and where is it made", ["weight", "country"]),
        ("are these German made", ["country"]),
        ("are they made for long walks", []),
        ("How long's the film?", ["size"]),
        ("feeder size and price", ["size", "price"]),
        ("where do you measure for it?", []),
        ("who write this", ["author"]),
        ("how long is the warranty", ["warranty"]),
        ("for how long is the lamp guaranteed?", ["warranty"]),
        ("what is the length of the warranty", ["warranty"]),
        ("how big is it, and how long is it covered", ["size", "warranty"]),
        ("how long is the lamp and is it guaranteed", ["size", "warranty"]),
        ("how long is the battery life", []),
        ("how long is shipping", []),
        ("who makes the lamp", ["maker"]),
        ("is it hardcover or paperback", ["binding"]),
        ("how long is the audiobook", ["size"]),
        ("is it from China?", ["country"]),
        ("is it in English", ["language"]),
        ("is it more than 300 pages", ["pages"]),
        ("when was it published?", ["year"]),
        ("who published it", ["publisher"]),
        ("is it good for a 3 yr old?", ["age"]),
        ("is it ok for my 4-year-old daughter", ["age"]),
        ("is it good for a 3 year old laptop", []),
    ],
)
def test_the_measures_that_a_question_names(question: str, measures: list[str]) -> None:
    assert wanted(question) == measures


def test_the_words_of_the_measure_are_taken_out() -> None:
    assert without_measures("how heavy is the bolt").split() == ["is", "the", "bolt"]


@pytest.mark.parametrize(
    ("measure", "text", "is_told"),
    [
        ("pages", "It has 224 pages.", True),
        ("pages", "Illustrated across the full width of the page.", False),
        ("binding", "A sturdy board book.", True),
        ("binding", "The book moves at a cracking pace.", False),
        ("year", "Published in 1989.", True),
        ("year", "Ages 3-6.Copyright 1989 Reed Information, Inc.", False),  # of a review
    ],
)
def test_what_tells_a_measure(measure: str, text: str, is_told: bool) -> None:
    assert tells(measure, text) == is_told


def test_a_maker_is_told_by_who_names_one() -> None:
    assert tells("maker", "Made by the Penrow Works.") and tells("maker", "Brand: Torvald.")
    assert not tells("maker", "The maker has given it a 4-year warranty.")
