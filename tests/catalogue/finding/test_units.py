"""A record's parts: sentences, and each named value by itself."""

import pytest

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.finding.units import units


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("It weighs 2.9 pounds. Made in Japan.", ["It weighs 2.9 pounds.", "Made in Japan."]),
        ("Color: white. Item weight: 3. pounds. Fits all.", ["Color: white.", "Item weight: 3. pounds.", "Fits all."]),
        ("Size: 8., 1., 12. inches. Weight: 4 oz. Of: oak.", ["Size: 8., 1., 12. inches.", "Weight: 4 oz.", "Of: oak."]),
        ("Made by Dr. Quill for St. Anne's. Paperback.", ["Made by Dr. Quill for St. Anne's.", "Paperback."]),
        ("Is it warm? Yes! \"Very,\" she wrote.", ["Is it warm?", "Yes!", '"Very," she wrote.']),
        ("no full stop at all", ["no full stop at all"]),
        ("", []),
        ("... !", []),
    ],
)  # fmt: skip
def test_parts(content: str, parts: list[str]) -> None:
    found = units(content)
    assert [unit.text for unit in found] == parts
    assert all(content[unit.start : unit.end] == unit.text for unit in found)


def test_a_named_value_keeps_its_name() -> None:
    assert [unit.name for unit in units("Color: white. It is soft.")] == ["Color", ""]


def test_no_word_of_the_sample_is_lost() -> None:
    for product in read_catalogue(SAMPLE).page():
        parts = " ".join(unit.text for unit in units(product.content))
        assert parts.split() == product.content.split()
