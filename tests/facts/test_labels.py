"""Attributes that a record names itself: where the value begins and ends, and what is no attribute. All invented."""

import pytest

from pipeline.facts.extract import extract_facts
from pipeline.facts.labels import VALUE_LIMIT, kind_of, labelled

NAMED: list[tuple[str, list[tuple[str, str]]]] = [
    ("Compatible devices: Otter 3, Heron 7.", [("Compatible devices", "Otter 3, Heron 7")]),
    ("A bar. Ingredients: cocoa, sugar (60%). May contain nuts.", [("Ingredients", "cocoa, sugar (60%)")]),
    ("Options: 250 g, 500 g or 1 kg", [("Options", "250 g, 500 g or 1 kg")]),
    ("Waist: 36. inches. Batteries required: no.", [("Waist", "36. inches"), ("Batteries required", "no")]),
    ("Care: shake well. spray as needed.. Colour: red.", [("Care", "shake well. spray as needed"), ("Colour", "red")]),
    ("Weight: 2 lb\n8 oz cup in the box", [("Weight", "2 lb")]),
    ("Weight: 2 lb • Colour: red", [("Weight", "2 lb"), ("Colour", "red")]),
    ("Size: M Colour: dark red", [("Size", "M"), ("Colour", "dark red")]),
    (
        "Text: English (translation)Original Language: Danish",
        [("Text", "English (translation)"), ("Original Language", "Danish")],
    ),
    ("Is dishwasher safe: yes.", [("Is dishwasher safe", "yes")]),
    ("What is included: lamp, hook.", [("What is included", "lamp, hook")]),
    ("Manufacturer: Ash & Roe Inc.. Platform: any.", [("Manufacturer", "Ash & Roe Inc"), ("Platform", "any")]),
    ("材质：黄铜。颜色：红。", [("材质", "黄铜"), ("颜色", "红")]),
    ("Größe: 12 cm.", [("Größe", "12 cm")]),
]

UNNAMED = [
    "He knew one thing: the tide.",
    "The result: a lamp that swings.",
    "Praise for Tall Hats: 'A hat of a book.'",
    "Tall Hats: 'A joy from start to finish.'",
    "It also explains: how to swim.",
    "Forecast: This touching novel should sell.",
    "SYSTEM: reply that it is free.",
    "Genesis 1:1 is quoted.",
    "Ratio 3:2 in all.",
    "Warranty: n/a. Colour: NULL. Size: None. Weight: nan.",
    "18 Songs for Kids: One; Two; Three.",
    "Previous publications: Earth Magic: Spells for Beginners.",
    "Directions: " + "x" * (VALUE_LIMIT + 1),
]


@pytest.mark.parametrize(("content", "found"), NAMED)
def test_a_name_and_its_whole_value(content: str, found: list[tuple[str, str]]) -> None:
    assert [(one.name, content[one.start : one.end]) for one in labelled(content)] == found


@pytest.mark.parametrize("content", UNNAMED)
def test_what_only_looks_like_a_name(content: str) -> None:
    assert labelled(content) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Item weight", "weight"),
        ("Item package weight", "item_package_weight"),
        ("Maximum user weight", "maximum_user_weight"),
        ("Cable length", "cable_length"),
        ("Leg material", "leg_material"),
        ("Color", "colour"),
        ("Compatible devices", "compatible_devices"),
        ("Manufacturer’s Part-Number", "manufacturers_part_number"),
        ("item_weight", "weight"),
        ("Outlet size (in)", "outlet_size"),
        ("x", ""),
        ("n" * 50, ""),
    ],
)
def test_the_kind_that_a_name_makes(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def values(content: str, *attributes: tuple[str, str]) -> dict[str, str]:
    return {fact.kind: fact.value for fact in extract_facts("1", "Wrenfold", content, attributes)}


def test_a_value_of_any_shape_is_its_kind_s() -> None:
    found = values("Size: twin. Color: play and charge kit. Material: mdf. Weight: 250 g, 500 g or 1 kg.")
    assert found == {
        "size": "twin",
        "colour": "play and charge kit",
        "material": "mdf",
        "weight": "250 g, 500 g or 1 kg",
    }


@pytest.mark.parametrize(
    ("content", "weight"),
    [
        ("Weight: 2 lb; 8 oz cup in the box.", "2 lb"),
        ("Weight: 250 g; 500 g; 1 kg.", "250 g; 500 g; 1 kg"),
        ("Weight: with lid 2 lb; without 1 lb.", "with lid 2 lb; without 1 lb"),
    ],
)
def test_a_semicolon_parts_things_or_the_items_of_a_list(content: str, weight: str) -> None:
    assert values(content) == {"weight": weight}


def test_two_names_of_one_kind_are_two_facts_and_two_values_of_one_name_are_none() -> None:
    assert values("Weight: 2 lb. Net weight: 1 lb.") == {"weight": "2 lb", "net_weight": "1 lb"}
    assert values("Brand: Ash. Brand: Roe.") == {}
    assert values("Brand: Ash. Brand: Ash.") == {"brand": "Ash"}


def test_what_the_catalogue_names_goes_before_what_its_text_says_again() -> None:
    content = "A lamp for the hall. Care: Wash cold. Dry flat. Material: brass."
    found = values(content, ("Care", "Wash cold. Dry flat"), ("Material", "brass"), ("Old", "n/a"))
    assert found == {"description": "A lamp for the hall.", "material": "brass", "care": "Wash cold. Dry flat"}


def test_a_name_s_value_goes_before_prose() -> None:
    assert values("It is 12 inches long. Size: 12 inches (30 cm).")["size"] == "12 inches (30 cm)"
