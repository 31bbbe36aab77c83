"""What an amount in a question and one in a record say to each other."""

import pytest

from pipeline.catalogue.finding.amounts import agrees, amounts, is_amount


@pytest.mark.parametrize(
    ("question", "value", "agree"),
    [
        ("is it 18v?", "18 volts", True),
        ("is it 20 volts", "18 volts", False),
        ("is it 1500 ml", "1.5 litres", True),
        ("is it 25 cm tall", "10 inches", True),
        ("is it 12 inches tall", "10 inches", False),
        ("does it weigh 2 lbs", "2.2 pounds", False),
        ("is it more than 500 watts", "600 watts", True),
        ("is it more than 600 watts", "600 watts", False),
        ("at least 600 watts?", "600 watts", True),
        ("is it less than 500 watts", "600 watts", False),
        ("does it weigh no more than 3 lbs", "2.9 pounds", True),
        ("is it under 20 dollars", "$18.50", True),
        ("is it longer than 1 m", "3 feet", False),
        ("is it 9 inches", "9 x 5 x 4 inches", True),
        ("is it 24x29x32", "29, 24, 32.4 inches", False),
        ("is it ok for a 7 year old", "ages 6 to 12", True),
        ("is it ok for a 5 year old", "ages 6 to 12", False),
        ("for a 3 yr old?", "ages 2 and up", True),
        ("for 18 month olds", "ages 2 and up", True),
        ("for 12 month olds", "2 years and up", False),
    ],
)
def test_a_guess_agrees_or_does_not(question: str, value: str, agree: bool) -> None:
    assert agrees(question, value) is agree


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("is it large", "10 inches"),
        ("is it 10 inches", "large"),
        ("is it 600 watts", "10 inches"),  # of another sort
        ("will it fit in 20 inches", "19 inches"),  # which is of something else
        ("is it up to 200 pounds", "250 pounds"),
        ("can i use 9v batteries with it", "9 volts"),
        ("is it wider than 5 inches", "9 x 5 x 4 inches"),  # which of them is the width?
    ],
)
def test_what_is_not_certain_is_left_open(question: str, value: str) -> None:
    assert agrees(question, value) is None


def test_a_number_has_the_unit_of_the_next() -> None:
    assert [(one.number, one.measure) for one in amounts("9 x 5\" and 2 lbs")] == [
        (9, "length"), (5, "length"), (2, "weight")
    ]  # fmt: skip
    assert [one.measure for one in amounts("a 3 speed drill of 18 volts")] == ["", "voltage"]
    assert not amounts("no number") and amounts("1,200 g")[0].size == 1200


def test_a_number_with_its_unit_is_an_amount() -> None:
    assert is_amount("18v") and is_amount("20", "volts") and not is_amount("20", "drill") and not is_amount("ps5")


def test_much_that_is_no_amount_is_read_in_time_that_grows_with_it() -> None:
    text = "1" * 20_000 + " " + "1 and " * 5_000
    assert agrees(text, text) in (True, None, False)
