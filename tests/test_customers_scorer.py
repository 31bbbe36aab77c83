"""The scorer of customers' questions, on both kinds of mistake: answering what is not known, refusing what is."""

import pytest

from benchmarks.customers_scorer import is_right, worth

VALUE = {"answer": "It weighs 3 pounds.", "says": "value"}
SILENT = {"answer": "The record doesn't say.", "says": "silent"}
UNKNOWN = {"answer": "I don't know this product.", "says": "unknown"}


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("121.3 pounds", "The item's weight is 121.3 pounds.", True),
        ("about 121 pounds", "The item's weight is 121.3 pounds.", False),
        ("1,000 pieces", "It has 1000 pieces.", True),
        ("24. inches", "24 inches long", True),
        ("Yes, it is dishwasher safe.", "No, it is not dishwasher safe.", False),
        ("It is dishwasher safe.", "Yes, this is dishwasher safe.", True),
        ("Yes.", "Yes, this is top rack dishwasher safe.", False),
        ("top rack dishwasher safe", "Yes, this product is top rack dishwasher safe.", True),
        ("", "anything", False),
        ("dishwasher safe " * 25, "dishwasher safe", False),
        ("Red.", "Blue.", False),
    ],
)
def test_right(answer: str, reference: str, right: bool) -> None:
    assert is_right(answer, [reference]) == right


def test_the_evidence_counts_where_no_reference_says_otherwise() -> None:
    assert is_right("Color: white.", ["It does come in that."], ["Color: white."])
    assert not is_right("No. Color: white.", ["Yes, it does come in that."], ["Color: white."])


QUESTIONS = [
    {"answerable": True, "answers": ["3 pounds"]},
    {"answerable": False, "answers": []},
    {"answerable": False, "answers": [], "says": "unknown"},
]


@pytest.mark.parametrize(
    ("answers", "h", "invented"),
    [
        ([VALUE, SILENT, UNKNOWN], 1.0, 0.0),
        ([VALUE, VALUE, VALUE], 0.0, 1.0),  # answers everything
        ([SILENT, SILENT, SILENT], 0.0, 0.0),  # refuses everything
        ([VALUE, UNKNOWN, UNKNOWN], 0.0, 0.0),  # takes a known product for an unknown one
    ],
)
def test_worth(answers: list[dict[str, str]], h: float, invented: float) -> None:
    found = worth(QUESTIONS, answers)
    assert (found["h"], found["invented"]) == (h, invented)
