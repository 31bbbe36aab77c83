"""Three answers, by ways that need no model: the value, the silence, the refusal; and which product is meant."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.answering.asker import Answer
from pipeline.answering.shop import DOESNT_SAY, Shop, Told
from pipeline.answering.ways import AUTO, EXTRACTIVE, answer_all, said_of_record
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.finding.products import MOST_BETWEEN
from pipeline.models.encoder import encoder_or_none, load_encoder
from pipeline.prompts import REFUSAL, SILENCE


@pytest.fixture(scope="module", params=["encoder", "words"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return Shop(read_catalogue(SAMPLE), encoder_or_none() if request.param == "encoder" else None)


class Counting:
    """The encoder, which notes how many texts it is given at once."""

    def __init__(self) -> None:
        self.encoder, self.at_once = load_encoder(), []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(self, texts: Sequence[str]) -> list[Any]:
        self.at_once.append(len(texts))
        return self.encoder.encode(texts)


def test_questions_that_are_read_ahead_are_encoded_together_and_answered_alike() -> None:
    encoder = Counting()
    shop = Shop(read_catalogue(SAMPLE), encoder)
    asked = [f"how heavy is the {product.title}" for product in shop.catalogue.page()[:8]]
    alone = [told(shop, question) for question in asked]  # the records have been read then
    encoder.at_once.clear()
    assert [told(shop, question) for question in asked] == alone
    assert encoder.at_once == [1] * 8
    encoder.at_once.clear()
    shop.read_ahead(asked)
    assert [told(shop, question) for question in asked] == alone
    assert encoder.at_once == [8]


def told(shop: Shop, question: str, **known: str) -> dict[str, str]:
    return answer_all(shop, [shop.about(question, **known)], [AUTO])[0][AUTO].as_dict()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how heavy is the torvald drill", "2.9 pounds."),
        ("is the palm sander red?", "No, dark green."),
        ("whats the colour of the paddel board", "Turquoise."),
        ("who wrote lighthouse ledger", "Nora Quill."),
    ],
)
def test_the_value_is_told(shop: Shop, question: str, answer: str) -> None:
    assert told(shop, question) == {"raw": answer, "answer": answer, "says": "value"}


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("Tell me about it.", "A one-handed sander with a dust bag"),
        ("Could you describe Torvald Palm Sander for me?", "A one-handed sander with a dust bag"),
        ("I'd like to know the colour of this one.", "Dark green."),
        ("what if it breaks", "2-year warranty."),
    ],
)
def test_what_is_asked_in_the_words_that_are_taught_is_told_as_it_is_taught(
    shop: Shop, question: str, begins: str
) -> None:
    assert told(shop, question, title="Torvald Palm Sander")["answer"].startswith(begins)


@pytest.mark.parametrize(
    "question",
    ["what is the price of the torvald palm sander", "where is the watering can made", "how heavy are the gaiters"],
)
def test_a_record_that_does_not_say_is_said_so(shop: Shop, question: str) -> None:
    assert told(shop, question) == {"raw": SILENCE, "answer": SILENCE, "says": "silent"}


@pytest.mark.parametrize(
    "question", ["how much is the torvald belt sander", "does the iphone 17 have usb c", "hello?", "🙂"]
)
def test_what_is_not_in_the_catalogue_is_not_known(shop: Shop, question: str) -> None:
    assert told(shop, question) == {"raw": REFUSAL, "answer": REFUSAL, "says": "unknown"}


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("x" * 10_000, "unknown"),
        ("how heavy is the torvald drill " + "and more " * 1000, "value"),
        ("how heavy is the torvald drill 🙂🔧", "value"),
        ("<b>how heavy</b> is the <i>torvald drill</i><script>", "value"),
        ("wie schwer ist der Torvald Cordless Drill Driver?", "silent"),
        ("重さは？", "unknown"),
        ("\ud800", "unknown"),
        ("which is lighter, the claw hammer or the torvald drill?", "value"),
        ("how heavy is it", "unknown"),
        (" \n", "unknown"),
    ],
)
def test_any_question_gets_one_of_the_three_answers(shop: Shop, question: str, says: str) -> None:
    assert told(shop, question)["says"] == says


def test_the_product_may_be_given(shop: Shop) -> None:
    assert told(shop, "what colour is it", title="Torvald Palm Sander")["answer"] == "Dark green."
    assert told(shop, "what colour is it", uid="ST00000007")["answer"] == "Pale lilac."
    assert told(shop, "what colour is it", title="Torvald Belt Sander")["says"] == "unknown"


def test_where_several_products_fit_the_one_whose_record_answers_is_meant_and_the_others_are_shown(shop: Shop) -> None:
    about = shop.about("what colour is the hearthlow enamel mug")
    assert about.product is not None and about.product.title.startswith("Hearthlow Enamel Mug")
    assert len(about.candidates) == 3 and about.candidates[0] == about.product.title


def test_the_extractive_way_says_what_stands_in_the_record(shop: Shop) -> None:
    products = read_catalogue(SAMPLE).page()
    asked = [shop.about("what is it made of", uid=p.uid) for p in products]
    for product, answers in zip(products, answer_all(shop, asked, [EXTRACTIVE]), strict=True):
        said = answers[EXTRACTIVE]
        assert said.says == "silent" or said.answer in product.content


def test_an_index_of_another_catalogue_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "shop.json"
    for title in ("Oak Stool", "Elm Bench"):
        file.write_text(json.dumps({"uid": "1", "title": title, "content": "It has three legs and weighs 9 pounds."}))
        shop = Shop(read_catalogue(file), None)
        assert told(shop, f"how heavy is the {title}")["answer"] == "9 pounds."


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "compare the weight of the drill and the headlamp",
            "Torvald Cordless Drill Driver: 2.9 pounds. Kestrel Point Bicycle Headlamp: 3 ounces.",
        ),
        (
            "which is lighter, the torvald palm sander or the torvald cordless drill driver?",
            f"Torvald Palm Sander: {SILENCE} Torvald Cordless Drill Driver: 2.9 pounds.",
        ),
        (
            "which has more pages, bread for grey days or the bee book?",
            "Bread for Grey Days: 224 pages. Bees of the Northern Hedgerow: 176 pages.",
        ),
        ("whats cheaper the palm sander or the kettle", SILENCE),
    ],
)
def test_of_two_products_each_has_its_own_value(shop: Shop, question: str, answer: str) -> None:
    assert told(shop, question)["answer"] == answer


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("is the palm sander good for oak and pine?", "Torvald Palm Sander"),
        ("is the pepper mill made of olive wood or steel?", "Gristwell Pepper Mill"),
        ("what is the weight and colour of the paddle board", "Coldmere Inflatable Paddle Board"),
        ("is the drill heavier than the iphone 17?", "Torvald Cordless Drill Driver"),
    ],
)
def test_what_is_no_second_product_is_none(shop: Shop, question: str, title: str) -> None:
    about = shop.about(question)
    assert about.product and (about.product.title, about.beside) == (title, ())


def test_a_story_is_not_taken_apart_at_every_and(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    find = shop.products.find
    monkeypatch.setattr(shop.products, "find", lambda question: [looked.append(question), find(question)][1])
    assert shop.about("is it good and warm and nice or not " * 27).product is None
    assert len(looked) <= 2 * MOST_BETWEEN + 1


PART = Told("Weight: 2.9 pounds with the battery.", "value", "Weight: 2.9 pounds with the battery.")
READ = "Covered by a 3-year warranty. Weight: 2.9 pounds with the battery."


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("2.9 pounds", "2.9 pounds"),
        ("2.9 POUNDS", "2.9 POUNDS"),
        ("4 pounds", PART.answer),  # invented
        ("9 pounds", PART.answer),  # a part of a value is none
        (SILENCE, PART.answer),  # what is found decides
        (REFUSAL, PART.answer),
        ("", PART.answer),
    ],
)
def test_in_the_open_book_the_model_says_what_stands_in_the_record(raw: str, answer: str) -> None:
    said = said_of_record(PART, Answer.of("weight", raw), READ)
    assert (said.raw, said.answer, said.says, said.source) == (raw, answer, "value", PART.source)


def test_where_nothing_is_found_the_record_is_silent_unless_the_model_knows_what_stands_in_it() -> None:
    for answer in (None, Answer.of("weight", "4 pounds"), Answer.of("weight", SILENCE)):
        said = said_of_record(DOESNT_SAY, answer, READ)
        assert (said.answer, said.says, said.source) == (SILENCE, "silent", "")
    said = said_of_record(DOESNT_SAY, Answer.of("weight", "2.9 pounds"), READ)
    assert (said.answer, said.says) == ("2.9 pounds", "value")
