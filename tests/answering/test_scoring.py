"""Verdicts, one by one."""

import pytest

from pipeline.answering.prompts import REFUSAL, UNKNOWN
from pipeline.answering.scoring import NOTHING_FOUND, PARTIAL, RIGHT, WRONG, normalise, token_f1, verdict
from pipeline.data.facts import DESCRIPTION

LONG = "A kite for calm evenings, with a long tail and two lines. It is 48 inches wide."


@pytest.mark.parametrize(
    ("kind", "answer", "expected", "scored"),
    [
        ("size", "48 inches", "48 inches", RIGHT),
        ("size", "48 Inches.", "48 inches", RIGHT),
        ("size", "48-inches", "48 inches", RIGHT),
        ("size", "84 inches", "48 inches", WRONG),
        ("size", "48 feet", "48 inches", PARTIAL),
        ("size", "48 inches", "48 inches tall", PARTIAL),
        ("size", "48", "48 inches", PARTIAL),
        ("size", "4.8 inches", "48 inches", WRONG),
        ("size", "", "48 inches", NOTHING_FOUND),
        ("dimensions", "9 x 6 x 2 inches", "9 x 6 x 2 inches", RIGHT),
        ("dimensions", "9 x 6 x 3 inches", "9 x 6 x 2 inches", WRONG),
        ("price", "$89.00", "$89.00", RIGHT),
        ("price", "$98.00", "$89.00", WRONG),
        ("pieces", "500 pieces", "500 pieces", RIGHT),
        ("pieces", "50 pieces", "500 pieces", WRONG),
        ("year", "1987", "1978", WRONG),
        ("age", "Ages 3 and up", "ages 3 and up", RIGHT),
        ("age", "Ages 8 to 12", "Ages 3 and up", WRONG),
        ("author", "Ilse Kamprad", "Ilse Kamprad", RIGHT),
        ("author", "ilse kamprad", "Ilse Kamprad", RIGHT),
        ("author", "Kamprad", "Ilse Kamprad", PARTIAL),
        ("author", "Jane Doe", "Ilse Kamprad", WRONG),
        ("author", "Zoë Ångström", "Zoe Angstrom", RIGHT),
        ("author", "Zoe\u0308 A\u030angstro\u0308m", "Zoë Ångström", RIGHT),
        ("author", "O’Hara Pell", "O'Hara Pell", RIGHT),
        ("material", "the solid beech", "solid beech", RIGHT),
        ("material", "solid oak", "solid beech", PARTIAL),
        ("material", "cotton", "solid beech", WRONG),
        ("country", "Norway", "Sweden", WRONG),
        ("colour", "straße grau", "STRASSE GRAU", RIGHT),
        (DESCRIPTION, LONG, LONG, RIGHT),
        (DESCRIPTION, LONG.upper(), LONG, RIGHT),
        (DESCRIPTION, LONG + " It flies.", LONG, RIGHT),
        (DESCRIPTION, LONG[:40], LONG, PARTIAL),
        (DESCRIPTION, "A kite.", LONG, WRONG),
        (DESCRIPTION, "", LONG, NOTHING_FOUND),
        (DESCRIPTION, REFUSAL, LONG, WRONG),
        ("size", REFUSAL, "48 inches", WRONG),
        (UNKNOWN, REFUSAL, REFUSAL, RIGHT),
        (UNKNOWN, "I do not know this product", REFUSAL, RIGHT),
        (UNKNOWN, "It is 48 inches wide.", REFUSAL, WRONG),
        (UNKNOWN, "", REFUSAL, NOTHING_FOUND),
    ],
)
def test_verdict(kind: str, answer: str, expected: str, scored: str) -> None:
    assert verdict(kind, answer, expected) == scored


@pytest.mark.parametrize(
    ("text", "plain"),
    [("  The  Kite! ", "kite"), ("An X", "x"), ("“Quoted”", "“quoted”"), ("Crème-brûlée", "creme brulee"), ("…", "")],
)
def test_normalise(text: str, plain: str) -> None:
    assert normalise(text) == plain


def test_token_f1_counts_words_both_ways() -> None:
    assert token_f1("a b c", "a b c") == 1
    assert token_f1("", "a b") == token_f1("x", "a b") == 0
    assert token_f1("kite red", "kite blue big") == pytest.approx(0.4)
    assert token_f1("kite kite kite", "kite") == pytest.approx(0.5)
