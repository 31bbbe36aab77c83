"""Attributes that a catalogue names beside its text: handed over as they are, and told at the content's end."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import Columns, Product, peek, read_catalogue
from pipeline.catalogue.cleaning import checked

LAMP = {"title": "Heron Lamp", "description": "A tall lamp for the hall", "details": {"Material": "brass", "Bulbs": 2}}
BY_NAME = Columns("title", ("description", "details"))


def product(*contents: Any) -> Product:
    return checked(1, "7", "Heron Lamp", contents).product()


@pytest.mark.parametrize(
    ("given", "attributes", "content"),
    [
        ({"Material": "brass"}, (("Material", "brass"),), "Material: brass."),
        ({"Options": ["250 g", "500 g", "1 kg"]}, (("Options", "250 g, 500 g, 1 kg"),), "Options: 250 g, 500 g, 1 kg."),
        ({" Care : ": "Wash cold. Dry flat."}, (("Care", "Wash cold. Dry flat"),), "Care: Wash cold. Dry flat."),
        ({"Wattage": 7.5, "Old": None, "New": float("nan"), "": "x"}, (("Wattage", "7.5"),), "Wattage: 7.5."),
        ({"Fit": "Tom &amp; Ada"}, (("Fit", "Tom & Ada"),), "Fit: Tom & Ada."),
        ({"Sizes": {"S": 1}}, (), ""),
        ({}, (), ""),
    ],
)
def test_a_mapping_is_attributes(given: dict[str, Any], attributes: tuple[Any, ...], content: str) -> None:
    found = product(given)
    assert (found.attributes, found.content) == (attributes, content)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("A lamp for the hall", "A lamp for the hall. Material: brass."),
        ("A lamp for the hall.", "A lamp for the hall. Material: brass."),
        ("Is it tall?", "Is it tall? Material: brass."),
    ],
)
def test_the_text_ends_before_its_attributes(text: str, content: str) -> None:
    assert product(text, {"Material": "brass"}).content == content


def test_without_attributes_nothing_changes() -> None:
    found = product("A lamp for the hall", "of brass")
    assert (found.content, found.attributes) == ("A lamp for the hall of brass", ())


def test_they_are_read_from_a_file_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "lamps.jsonl"
    rows = [LAMP, {"title": "Wrenfold Kite", "description": "A kite for calm evenings."}]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    lamp, kite = read_catalogue(file, columns=BY_NAME).page()
    assert lamp.attributes == (("Material", "brass"), ("Bulbs", "2"))
    assert lamp.content == "A tall lamp for the hall. Material: brass. Bulbs: 2."
    assert kite == Product("2", "Wrenfold Kite", "A kite for calm evenings.")
    assert peek(file, columns=BY_NAME) == [lamp, kite]


def test_products_of_an_earlier_version_have_none_and_lists_are_read() -> None:
    assert Product(**{"uid": "1", "title": "Kite", "content": "A kite."}).attributes == ()
    assert Product("1", "Kite", "A kite.", [["Colour", "red"]]) == Product("1", "Kite", "A kite.", (("Colour", "red"),))  # type: ignore[arg-type]
