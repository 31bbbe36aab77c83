"""What the owner put right is said at once to the same question about the same product, and to no other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.answering.customers import CustomerQuestion, answer_each, correction, counts, likely_kind, worst_first
from pipeline.answering.judging import judged
from pipeline.answering.put_right import with_put_right
from pipeline.answering.shop import Shop
from pipeline.answering.ways import AUTO, EXTRACTIVE, Said, answer_all
from pipeline.answering.which_way import count_ways
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.edits import keep_edit
from pipeline.dataset.store import Dataset
from pipeline.dataset.taught import forget
from pipeline.models.encoder import encoder_or_none
from pipeline.prompts import REFUSAL, SILENCE
from pipeline.runs.manage import create_run
from tests.tiny import tiny_settings

SANDER, DRILL = "Torvald Palm Sander", "Torvald Cordless Drill"

Ask = Callable[..., Said]


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(read_catalogue(SAMPLE), encoder_or_none())


@pytest.fixture
def ask(shop: Shop, home: Path) -> Ask:
    def asked(question: str, title: str = "", way: str = AUTO) -> Said:
        about = with_put_right(shop, question, shop.about(question, title), is_given=bool(title))
        return answer_all(shop, [about], [way])[0][way]

    return asked


def put_right(shop: Shop, question: str, title: str, answer: str, kind: str = "") -> str:
    edit = correction(shop, question, title, answer, kind)
    keep_edit(edit)
    return edit.row


def test_the_same_question_gets_the_owner_s_answer_at_once_the_last_one_and_none_once_it_is_taken_back(
    shop: Shop, ask: Ask
) -> None:
    question = "Does it come with a bag?"
    before = ask(question, SANDER)
    assert not before.by_shop
    first = put_right(shop, question, SANDER, "Yes, a linen one.")
    for other in (
        question,
        "does it  come with a BAG",
        "does it come with a bgag?",
        "hi does it come with a bag please",
    ):
        said = ask(other, SANDER)
        assert (said.answer, said.says, said.source, said.by_shop) == ("Yes, a linen one.", "value", "", True), other
    assert ask(question, SANDER, EXTRACTIVE).by_shop
    assert not ask(question, "Lumenfold Desk Lamp").by_shop and not ask(question).by_shop, "which product is not said"
    second = put_right(shop, "does it come with a bag", SANDER, SILENCE)
    assert (ask(question, SANDER).answer, ask(question, SANDER).says) == (SILENCE, "silent")
    put_right(shop, question, SANDER, "Yes, a linen one.")
    assert ask(question, SANDER).answer == "Yes, a linen one.", "the last word counts, however often it was said before"
    forget(first), forget(second)
    assert (ask(question, SANDER).answer, ask(question, SANDER).by_shop) == (before.answer, False)


@pytest.mark.parametrize(
    ("put_so", "asked"),
    [
        ("does it come with a bag", "does it come without a bag"),
        ("is it waterproof", "is it not waterproof"),
        ("is it left handed", "is it right handed"),
        ("is it a bag", "is it in a bag"),
        ("does it fit a 5 inch pipe", "does it fit a 6 inch pipe"),
        ("will it fit a van with the high roof", "will it fit a van with the low roof"),
        ("where is the switch", "how is the switch"),
    ],
)
def test_a_question_that_is_put_almost_so_and_asks_otherwise_is_another(
    shop: Shop, ask: Ask, put_so: str, asked: str
) -> None:
    put_right(shop, put_so, SANDER, "The owner's answer.")
    assert ask(put_so, SANDER).by_shop and not ask(asked, SANDER).by_shop


def test_an_answer_to_a_kind_of_fact_is_said_to_whoever_asks_for_that_alone(shop: Shop, ask: Ask) -> None:
    put_right(shop, "whats the weight", SANDER, "4 pounds.", "weight")
    for question in ("How heavy is it?", f"What does the {SANDER} weigh?", "how much does it weigh", "is it heavy?"):
        assert (ask(question, SANDER).answer, ask(question, SANDER).by_shop) == ("4 pounds.", True), question
    for question in ("how heavy is the battery?", "how heavy is it and what colour", "what colour is it"):
        assert not ask(question, SANDER).by_shop, question
    assert not ask("how heavy is it", DRILL).by_shop
    assert likely_kind(shop, "how heavy is the battery?", SANDER) == "", "and it is not offered as the whole's weight"


def test_a_question_that_was_about_the_wrong_product_or_about_none_is_about_what_the_owner_says(
    shop: Shop, ask: Ask
) -> None:
    question = "how loud is the torvald thing"
    put_right(shop, question, SANDER, "72 decibels.")
    about = with_put_right(shop, question, shop.about(question))
    assert about.product and about.product.title == SANDER and ask(question).answer == "72 decibels."
    put_right(shop, "do you sell sanders for the palm", "", REFUSAL)
    said = ask("Do you sell sanders for the palm?")
    assert (said.answer, said.says, said.by_shop) == (REFUSAL, "unknown", True)
    put_right(shop, "how heavy is it", SANDER, "4 pounds", "weight")
    assert not ask("how heavy is it").by_shop, "nothing in it names that product"


def test_what_measures_the_ways_never_hears_it(shop: Shop, dataset: Dataset, tiny_base: Path) -> None:
    product = dataset.manifest["products"][0]
    run = create_run(dataset, tiny_settings(tiny_base, max_steps=1, probes=0))
    items = [CustomerQuestion("is it warm?", product["title"])]
    before = judged(run, items, [AUTO], lambda: pytest.fail("no model is needed"), print)
    put_right(shop, "what does it weigh?", SANDER, "4 pounds", "weight")
    asked = {"question": "What does it weigh?", "title": SANDER, "fact_kind": "weight", "expected": "4 pounds"}
    (auto,) = count_ways(shop, [asked], [AUTO])
    assert auto.right == 0
    from pipeline.dataset.taught import new_lesson

    keep_edit(new_lesson(product["uid"], product["title"], "is it warm?", "Very warm."))
    assert judged(run, items, [AUTO], lambda: pytest.fail("no model is needed"), print) == before
    own = CustomerQuestion("what does it weigh", SANDER, answers=("2 pounds",))
    other = CustomerQuestion("what colour is it", SANDER, answers=("bright pink",))
    answered = list(answer_each(shop, [own, other], [AUTO]))
    assert answered[0].ways[AUTO].by_shop and answered[0].doubt == 0.0
    assert counts(answered, [AUTO])[AUTO][1] == {"wrong": 1}, "it is judged as no way's answer"
    assert worst_first(answered)[0].asked == other
