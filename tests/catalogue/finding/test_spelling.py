"""Misspelled words as they were meant."""

import pytest

from pipeline.catalogue.finding.spelling import meant


@pytest.mark.parametrize(
    ("word", "known", "other"),
    [
        ("mayn", ["main", "man", "many"], "many"),
        ("havy", ["have", "heavy"], "heavy"),
        ("mich", ["such", "much"], "much"),
        ("sie", ["size", "side"], "size"),
        ("aluminuim", ["aluminium"], "aluminium"),
        ("lamp", ["lens"], ""),
    ],
)
def test_the_likeliest_word_is_meant(word: str, known: list[str], other: str) -> None:
    assert meant(word, known) == other
