"""Questions about several products: which are so, and what each of a family states."""

import json
from pathlib import Path

import pytest

from pipeline.answering.several import MOST_LISTED
from pipeline.answering.shop import Shop, Told
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.prompts import REFUSAL


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(read_catalogue(SAMPLE), None)


def told(shop: Shop, question: str) -> Told:
    about = shop.about(question)
    assert shop.extract(about) == shop.tell(about) or not (about.listed or about.beside)
    return shop.tell(about)


@pytest.mark.parametrize(
    ("question", "titles"),
    [
        ("which mug is red?", ["Hearthlow Enamel Mug, Lodge"]),
        ("do you have a red mug", ["Hearthlow Enamel Mug, Lodge"]),
        ("which products are made in Japan?", ["Brackhall Folding Pruning Saw"]),
        ("do you sell anything under $20?", ["Larkmoor Ribbed Beanie", "Mossgate Seedling Trays"]),
        ("which is your cheapest product?", ["Mossgate Seedling Trays"]),
        ("which jigsaw has the most pieces?", ["Pippin & Rook Jigsaw: Market Morning"]),
        ("which mug is the lightest?", ["Hearthlow Enamel Mug, Basecamp"]),
        ("do you have any books in french", ["Le Petit Jardin de Mathilde"]),
        ("which of your books did Nora Quill write?", ["The Lighthouse Ledger", "The Salt Road Home"]),
        ("what is made of olive wood", ["Gristwell Pepper Mill"]),
        ("have you got something that runs on 5 volts", ["Hushbox Sleep Sound Machine"]),
        ("is there anything with a lifetime warranty", ["Brackhall Claw Hammer"]),
        ("a hedgehog soft toy for an 18 month old, got anything?", ["Tumblewick Hedgehog Soft Toy, Thistle"]),
        ("do you have a jigsaw with 500 pieces", ["Pippin & Rook Jigsaw: Harbour at Dusk"]),
    ],
)  # fmt: skip
def test_the_products_that_are_so_are_listed(shop: Shop, question: str, titles: list[str]) -> None:
    said = told(shop, question)
    assert said.answer == f"{'; '.join(titles)}." and said.says == "value"
    records = " ".join(product.content for product in shop.catalogue.page())
    assert said.source and all(part in records for part in said.source.split(" · "))


@pytest.mark.parametrize(
    "question",
    [
        "what do you have made of oak?",  # cedar and olive wood are no oak
        "do you have a red jigsaw",
        "do you sell wireless earbuds?",
        "do you have an iPhone 17",
        "do you have anything under $5",
        "have you got something that runs on 240 volts",  # one has 240 watts
        "do you have this in red",
        "got any?",
    ],
)
def test_where_nothing_is_so_nothing_is_known(shop: Shop, question: str) -> None:
    assert told(shop, question).answer == REFUSAL


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("do you have the palm sander in red?", "No, dark green."),
        ("is there a warranty on the claw hammer?", "lifetime warranty"),
        ("which colour is the Voltherd Power Bank?", "The record doesn't say."),
        ("which year was Songs from the Tin Chapel recorded in", "1999"),
    ],
)
def test_a_product_that_is_named_is_what_the_question_is_about(shop: Shop, question: str, answer: str) -> None:
    about = shop.about(question)
    assert not about.listed and answer.casefold() in shop.tell(about).answer.casefold()


def test_each_of_a_family_states_its_own_value(shop: Shop) -> None:
    said = told(shop, "what colour is the enamel mug")
    mug = "Hearthlow Enamel Mug"
    assert said.answer == f"{mug}, Basecamp: sky blue. {mug}, Lodge: poppy red. {mug}, Trail: forest green."
    assert told(shop, "how much is the enamel mug").answer == "The record doesn't say."


def test_no_more_are_listed_than_a_customer_reads(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    many = [
        {"uid": str(n), "title": f"Kite {n}", "content": "It flies in a breeze. Colour: red."}
        for n in range(3 * MOST_LISTED)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in many))
    shop = Shop(read_catalogue(file), None)
    assert told(shop, "which kites are red?").answer.count("Kite") == MOST_LISTED
    assert told(shop, "what colour is the kite?").answer == REFUSAL  # any of them may be meant


@pytest.mark.parametrize(
    ("limit", "titles"),
    [
        ("$1,000", ["Kite", "Tent"]),
        ("$1000", ["Kite", "Tent"]),
        ("$999.50", ["Kite"]),
        ("$12,50", []),
        ("$1,000,000", ["Kite", "Tent"]),
    ],
)
def test_a_limit_is_read_with_its_thousands(limit: str, titles: list[str], tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    prices = {"Kite": "$20.00", "Tent": "$999.99"}
    rows = [{"uid": t, "title": t, "content": f"It is made for windy days. Price: {p}."} for t, p in prices.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Shop(read_catalogue(file), None).about(f"do you sell anything under {limit}?").listed
    assert [one.product.title for one in found] == titles


def test_a_story_looks_for_nothing(tmp_path: Path) -> None:
    words = [
        "granite",
        "harbour",
        "lantern",
        "meadow",
        "nettle",
        "orchard",
        "pebble",
        "quarry",
        "ripple",
        "saddle",
        "thistle",
    ]
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps({"uid": "1", "title": "Kite", "content": f"It flies over {' and '.join(words)}."}))
    shop = Shop(read_catalogue(file), None)
    assert [one.product.title for one in shop.about(f"do you have anything with {' '.join(words[:3])}").listed] == [
        "Kite"
    ]
    assert not shop.about(f"do you have anything with {' '.join(words)}").listed


def test_words_of_a_question_are_words_and_no_patterns(shop: Shop) -> None:
    for question in (
        "which (.*)+ are red?",
        "do you have a [a-z]* mug?",
        "do you have any %' OR 1=1 --",
        "any \\b red",
    ):
        told(shop, question)
    assert told(shop, "which <b>mug</b> is red?").answer == "Hearthlow Enamel Mug, Lodge."
