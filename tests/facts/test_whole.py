"""Part of a value is no value: lists that go on, what belongs to an accessory, and properties of all facts. All invented."""

import random

import pytest

from pipeline.facts.extract import extract_facts
from pipeline.facts.extraction import extract, has_shape, is_read_back
from pipeline.facts.labels import labelled
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import PROJECT, read_json
from tests.facts.test_authors import TOLD

AWKWARD = read_json(PROJECT / "benchmarks" / "facts_awkward.json")
SIZES = {"dimensions": "size"}


def values(content: str, title: str = "Wrenfold") -> dict[str, str]:
    return {SIZES.get(f.kind, f.kind): f.value for f in extract_facts("1", title, content)}


@pytest.mark.parametrize("row", AWKWARD, ids=lambda row: row["record"])
def test_awkward_sentences_give_the_right_value_or_none(row: dict[str, str | None]) -> None:
    assert values(str(row["record"])).get(str(row["kind"])) in (row["right"], None)


def test_most_awkward_sentences_that_hold_a_value_give_it() -> None:
    held = [row for row in AWKWARD if row["right"]]
    assert sum(values(row["record"]).get(row["kind"]) == row["right"] for row in held) >= 0.8 * len(held)


WHOLE = [
    ("material", "Made of oak, oiled twice.", "oak"),
    ("material", "It is made of oak and stands on three feet.", "oak"),
    ("material", "Made of oak and walnut.", "oak and walnut"),
    ("size", "A screen that is 5 feet 2 inches high.", "5 feet 2 inches"),
    ("size", "The pole is 5 ft 6 in tall.", "5 ft 6 in"),
    ("size", "It is 1,5 cm wide.", "1,5 cm"),
    ("weight", "It weighs 1,250 g.", "1,250 g"),
    ("price", "It costs $1,299.", "$1,299"),
    ("warranty", "Sold with a 2-year warranty.", "2-year warranty"),
    ("country", "Designed in Sweden. Made in Vietnam.", "Vietnam"),
    ("year", "Her 1931 novel is a thing of its own.", None),
    ("pages", "A 640-page brick.", "640"),
    ("material", "Made of walnut on the outside.", "walnut"),
    ("size", "Size: S, M, L. Fit: loose, long.", "S, M, L"),
    ("fit", "Size: S, M, L. Fit: loose, long.", "loose, long"),
    ("pieces", "A 24-piece tea service.", "24"),
]

PARTS = [
    ("material", "Made of nickel-plated copper."),
    ("material", "Not made of leather."),
    ("material", "This one isn't made of wool."),
    ("material", "Made of walnut? No: of ash."),
    ("material", "Made of walnut veneer on plywood."),
    ("material", "Made from recycled cotton (60%) and wool (40%)."),
    ("material", "It looks like it is made of brass."),
    ("size", "Twice the size of the 30 cm model."),
    ("colour", "Colour: see picture."),
    ("material", "Material: as described above."),
    ("material", "Made of oak and brackwood."),
    ("material", "Made of oak, larchwood and cork oak bark."),
    ("material", "It comes in a gift box made of cardboard."),
    ("material", "A table with a lid made of cork."),
    ("colour", "Available in red, teal and apricot."),
    ("country", "Made in Italy or Portugal."),
    ("weight", "The charger weighs 90 g."),
    ("weight", "Package weight: 9 kg."),
    ("size", "A lamp. The cable is 1.8 m long."),
    ("price", "Take $5 off your first order."),
    ("pieces", "A set of 4 bowls and 4 plates."),
    ("warranty", "2-year warranty on the motor, 1 year on the rest."),
    ("running_time", "It runs for 90 minutes on one charge."),
    ("year", "A sequel to the book published in 1987."),
    ("language", "Translated from the Norwegian."),
]


@pytest.mark.parametrize(("kind", "content", "value"), WHOLE)
def test_a_whole_value_is_found(kind: str, content: str, value: str | None) -> None:
    assert values(content).get(kind) == value


@pytest.mark.parametrize(("kind", "content"), PARTS)
def test_a_part_or_another_s_value_is_not(kind: str, content: str) -> None:
    assert kind not in values(content)


def test_the_product_s_own_word_is_no_accessory() -> None:
    assert values("The box is made of oak.", "Wrenfold Bread Box")["material"] == "oak"
    assert "material" not in values("The box is made of oak.", "Wrenfold Bread")


# --- Properties, over records put together at random ---

PIECES = [
    *(row["record"] for row in AWKWARD),
    *(content for _, content, _ in WHOLE),
    *(content for _, content in PARTS),
    *(content for _, content, _ in TOLD),
]
RECORDS = [" ".join(random.Random(seed).sample(PIECES, 4)) for seed in range(60)]


@pytest.mark.parametrize("content", RECORDS)
def test_every_value_is_verbatim_and_none_is_a_part_of_what_stands_under_its_name(content: str) -> None:
    facts = extract_facts("1", "Wrenfold", content)
    for fact in facts:
        assert fact.value in fact.quote and fact.quote in content and fact.value == fact.value.strip()
        assert fact.kind == DESCRIPTION or is_read_back(fact.kind, fact.value)
    named = [content[one.start : one.end] for one in labelled(content)]
    spans = [(content.find(fact.quote), fact) for fact in facts if fact.kind != DESCRIPTION]
    for fact in (fact for _, fact in spans):
        for value in named:
            inside = value in fact.quote and fact.value in value
            assert not inside or fact.value == value


NAMES = [
    "Material",
    "Colour",
    "Size",
    "Weight",
    "Compatible devices",
    "Author",
    "Ingredients",
    "Seat",
    "Price",
    "Made in",
]
VALUES = [
    "oak",
    "brass",
    "red",
    "teal",
    "12 cm",
    "1,5 kg",
    "2.5 lb",
    "Otter 3",
    "Ada Moss",
    "$49",
    "Portugal",
    "S",
    "XL",
    "40%",
]
JOINTS = [", ", " and ", " or ", " / ", " x ", ", L, ", " (or ", " & "]


@pytest.mark.parametrize("seed", range(200))
def test_whatever_stands_under_a_name_is_a_fact_whole_or_not_at_all(seed: int) -> None:
    draw = random.Random(seed)
    told: list[str] = []
    for _ in range(draw.randint(1, 3)):
        value = draw.choice(VALUES)
        for _ in range(draw.randint(0, 3)):
            joint = draw.choice(JOINTS)
            value += joint + draw.choice(VALUES) + (")" if "(" in joint else "")
        told.append(value)
    names = draw.sample(NAMES, len(told))
    content = " ".join(f"{name}: {value}." for name, value in zip(names, told, strict=True))
    facts = extract_facts("1", "Wrenfold", content)
    assert facts
    for fact in facts:
        assert fact.kind == DESCRIPTION or fact.value in told, (fact, content)


# --- Reading back what has no shape of its own ---


@pytest.mark.parametrize(
    ("kind", "value", "raw", "answer"),
    [
        ("size", "twin", "twin", "twin"),
        ("size", "twin", "It is twin.", "twin"),
        ("size", "twin", "The size is queen.", "queen"),
        ("weight", "250 g, 500 g or 1 kg", "It is 250 g, 500 g or 1 kg.", "250 g, 500 g or 1 kg"),
        ("colour", "play and charge kit", "play and charge kit\nInstruction: and?", "play and charge kit"),
        ("size", "12 inches", "The size is 12 inches.", "12 inches"),
        ("size", "", "It is long.", ""),
        ("size", "twin", "I don't know this product.", "I don't know this product."),
    ],
)
def test_a_value_without_its_kind_s_shape_is_read_back(kind: str, value: str, raw: str, answer: str) -> None:
    found = extract(kind, raw, value)
    assert found.answer == answer == raw[found.start : found.end]


def test_which_values_have_a_shape() -> None:
    assert has_shape("size", "12 inches") and has_shape("material", "solid beech")
    assert not has_shape("size", "twin") and not has_shape("weight", "250 g, 500 g or 1 kg")
    assert not has_shape("compatible_devices", "Otter 3")


# --- Time: counted in steps, not seconds ---


def test_a_record_costs_no_more_than_in_proportion_to_its_length_up_to_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.facts import extract as module

    looked: list[int] = []
    original = module._find

    def counted(kind, content, *rest):  # type: ignore[no-untyped-def]
        looked.append(len(content))
        return original(kind, content, *rest)

    monkeypatch.setattr(module, "_find", counted)
    sizes = []
    for times in (1, 2, 4, 400):
        looked.clear()
        extract_facts("1", "Wrenfold", "A lamp of 12 inches. It weighs 2 lb, and costs $9. " * 40 * times)
        sizes.append(sum(looked))
    assert 1.9 < sizes[1] / sizes[0] < 2.1 and 1.9 < sizes[2] / sizes[1] < 2.1
    assert sizes[3] == module.PROSE_READ * len(looked)
