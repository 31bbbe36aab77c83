"""What is answered on a shop's page: of the page's product alone, of another that is surely meant, or of nothing."""

import json
from pathlib import Path

import pytest

from pipeline.answering.page import about_of, product_of_page
from pipeline.answering.shop import Shop
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.models.encoder import encoder_or_none
from pipeline.prompts import REFUSAL, SILENCE

TUTU, LAMP, DRILL = "Girls Ballet Tutu Neon Pink", "Harrow Lane Table Lamp, Brass", "Torvald 18V Cordless Drill"
RED, BLUE, TEAPOT = "Enamel Mug Red", "Enamel Mug Blue", "Pell & Daughter Teapot"
RECORDS = {
    TUTU: "A tutu of soft tulle. Colour: pink. Price: $15.00.",
    LAMP: "A lamp for the desk with a warm light. It is made of brass. It weighs 2 pounds. Price: $45.00.",
    DRILL: "It comes with two batteries and a carry case. It weighs 2.9 pounds. Price: $99.00.",
    RED: "Holds 12 ounces. Dishwasher safe. Colour: red. Price: $8.00.",
    BLUE: "Holds 14 ounces. Dishwasher safe. Colour: blue. Price: $12.00.",
    TEAPOT: "It pours without a drip. Price: $30.00.",
}


def shop_in(folder: Path, rows: list[dict[str, str]], *, encoder: bool = False) -> Shop:
    file = folder / "shop.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Shop(read_catalogue(file), encoder_or_none() if encoder else None)


@pytest.fixture(scope="module", params=[True, False], ids=["encoder", "words"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    rows = [{"title": title, "content": content} for title, content in RECORDS.items()]
    return shop_in(tmp_path_factory.mktemp("shop"), rows, encoder=request.param)


def told(shop: Shop, page: str, question: str) -> str:
    return shop.tell(about_of(shop, question, page)).answer


@pytest.mark.parametrize(
    ("page", "question"),
    [
        ("Girls Ballet Tutu Neon Blue", "how much is it?"),
        ("Girls Ballet Tutu Neon Blue", "how much is the tutu?"),
        ("Harrow Lane Table Lamp, Green", "what is it made of?"),
        ("Harrow Lane Table Lamp, Green", "does it come with a teapot?"),
        ("Table Lamps", "how much is it?"),
        ("Table Lamps", "how much does the lamp cost?"),
        ("Torvald 18V Cordless Drill - Red", "how much is it?"),
        ("Enamel Mug Red - Pack of 6", "how much is it?"),
        ("4", "how much is it?"),  # the number of a line is no uid
    ],
)
def test_of_a_product_that_the_catalogue_does_not_have_nothing_is_known(shop: Shop, page: str, question: str) -> None:
    assert told(shop, page, question) == REFUSAL


@pytest.mark.parametrize(
    "page",
    [
        DRILL,
        "torvald 18v CORDLESS drill!",
        "Torvald 18V Cordless Drill | Harrow Lane",
        "Torvald 18V Cordless Drill | The Blue Shop 24",
        "Torvald 18V Cordless Drill - Tools - Harrow Lane",
        "Harrow Lane – Torvald 18V Cordless Drill",
        "Torvald <b>18V</b> Cordless&nbsp;Drill",
    ],
)
def test_a_page_says_its_product_with_or_without_the_shop_s_name(shop: Shop, page: str) -> None:
    assert told(shop, page, "how much is it?") == "$99.00."


@pytest.mark.parametrize("page", ["", " | ", " - | - ", " | ".join("abcdefghijkl"), "<b>", "Mug | Harrow Lane"])
def test_what_is_no_title_is_no_product(shop: Shop, page: str) -> None:
    assert product_of_page(shop, page) is None


@pytest.mark.parametrize(
    ("page", "question", "answer"),
    [
        (DRILL, "how much is the iPhone 14 case?", REFUSAL),
        (DRILL, "how heavy is the iphone 14 case?", REFUSAL),
        (DRILL, "how much is the bosch drill?", REFUSAL),
        (DRILL, "how much is the teapot?", "$30.00."),
        (RED, "how much does the table lamp cost?", "$45.00."),
        (RED, "how much is the enamel mug blue?", "$12.00."),
        (RED, "which is lighter, the drill or the table lamp?", f"{DRILL}: 2.9 pounds. {LAMP}: 2 pounds."),
        ("Welcome to Harrow Lane", "how much is the drill?", "$99.00."),
    ],
)
def test_what_surely_means_another_thing_is_not_answered_of_the_page_s(
    shop: Shop, page: str, question: str, answer: str
) -> None:
    assert told(shop, page, question) == answer


def test_it_is_what_the_question_named_before(shop: Shop) -> None:
    about = about_of(shop, "how heavy is the drill and does it come with a case?", "Welcome to Harrow Lane")
    assert about.product and about.product.title == DRILL


@pytest.mark.parametrize(
    ("page", "question", "answer"),
    [
        ("Welcome to Harrow Lane", "do you have a mug in red?", f"{RED}."),
        (RED, "do you have anything under $10?", f"{RED}."),
        (DRILL, "do you have a mug in red?", f"{RED}."),
        (DRILL, "do you have anything under $5?", REFUSAL),
        (RED, "which is your cheapest product?", f"{RED}."),
    ],
)
def test_what_there_is_is_asked_of_the_whole_catalogue(shop: Shop, page: str, question: str, answer: str) -> None:
    assert told(shop, page, question) == answer


@pytest.mark.parametrize(
    "question",
    [
        "does the drill come with a case?",
        "is a case included?",
        "does it come with a lamp?",
        "how heavy?",
        "how long is the cord?",
        "price?",
        "any batteries needed?",
        "do you have a battery for it?",
        "do you have to oil the lamp?",
        "is there a warranty?",
        "which case is it in?",
        "does the drill fit a table lamp?",
        "how big is the water tank?",
    ],
)
def test_what_may_be_about_the_page_s_product_is(shop: Shop, question: str) -> None:
    about = about_of(shop, question, DRILL)
    assert about.product and about.product.title == DRILL and not (about.listed or about.beside)


def test_on_the_right_page_it_is_answered_as_before(shop: Shop) -> None:
    assert told(shop, RED, "is it dishwasher safe?") == "Dishwasher safe."
    assert told(shop, RED, "is the blue one bigger?") == "No, red."
    assert told(shop, DRILL, "what is it made of?") == SILENCE


def test_uids_of_their_own_are_known_even_where_they_count_the_lines(tmp_path: Path) -> None:
    rows = [{"uid": str(n), "title": title, "content": RECORDS[title]} for n, title in enumerate(RECORDS, 1)]
    assert told(shop_in(tmp_path, rows), "4", "how much is it?") == "$8.00."
    rows = [row | {"uid": f"T{row['uid']}"} for row in rows]
    assert told(shop_in(tmp_path, rows), "T4", "how much is it?") == "$8.00."
    assert told(shop_in(tmp_path, rows), "4", "how much is it?") == REFUSAL
