"""Customers' own questions: read in every form, scored where the answer is known, sorted by doubt, and put right."""

import json
from pathlib import Path

import pytest

from pipeline.answering.customers import (
    MOST_QUESTIONS,
    CustomerQuestion,
    answer_each,
    correction,
    counts,
    judge,
    likely_kind,
    questions_in,
    read_questions,
    worst_first,
)
from pipeline.answering.shop import Shop
from pipeline.answering.ways import AUTO, EXTRACTIVE, Said
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.errors import QuestionError
from pipeline.facts.extraction import says
from pipeline.models.encoder import encoder_or_none
from pipeline.prompts import MAX_QUESTION_CHARACTERS, REFUSAL, SILENCE


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(read_catalogue(SAMPLE), encoder_or_none())


KNOWN = [
    CustomerQuestion("is it red?", "Palm Sander", answers=("No, it is green.",)),
    CustomerQuestion("how heavy is it"),
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(
            [
                {"question": "is it red?", "title": "Palm Sander", "answer": "No, it is green."},
                {"question": "how heavy is it"},
            ]
        ),
        'Question,Title,Answer\nis it red?,Palm Sander,"No, it is green."\nhow heavy is it,,\n',
        "title;question;answer\nPalm Sander;is it red?;No, it is green.\n;how heavy is it;\n",
        '{"question": "is it red?", "title": "Palm Sander", "answers": ["No, it is green."]}\n{"question": "how heavy is it"}',
    ],
)
def test_what_is_pasted_is_read_in_every_form(text: str) -> None:
    assert questions_in(text) == KNOWN


def test_lines_are_questions_and_a_file_of_them_too(tmp_path: Path) -> None:
    text = "is it red, or blue?\n\n  <b>how heavy</b> is it 🙂 \nwie schwer ist es?\n"
    asked = ["is it red, or blue?", "<b>how heavy</b> is it 🙂", "wie schwer ist es?"]
    assert [one.question for one in questions_in(text)] == asked
    (tmp_path / "asked.txt").write_text(text, encoding="utf-8")
    assert [one.question for one in read_questions(tmp_path / "asked.txt")] == asked


def test_a_question_that_the_record_does_not_answer_wants_the_silence() -> None:
    (one,) = questions_in('[{"question": "does it smell?", "answers": [], "answerable": false}]')
    assert one.answers == (SILENCE,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no question in it"),
        ("[]", "has no question in it"),
        ('[{"frage": "wie schwer?"}]', "has no `question`, only frage"),
        ('{"question": ', "cannot be read as JSON"),
        ("question,title\n,Palm Sander\n", "Row 1 of What you pasted has no `question`"),
        ("why\n" * (MOST_QUESTIONS + 1), "200,001 questions and the most is 200,000"),
    ],
)
def test_what_has_no_questions_gets_one_sentence(text: str, said: str) -> None:
    with pytest.raises(QuestionError, match=said) as refused:
        questions_in(text, "What you pasted")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "answer", "right", "verdict"),
    [
        ("colour", "No, dark green.", ["No, it is dark green."], "right"),
        ("colour", "Yes, dark green.", ["No, it is dark green."], "wrong"),
        ("weight", "2.9 pounds.", ["It weighs 2.9 lbs with the battery"], "right"),
        ("weight", "3 pounds.", ["2.9 pounds"], "wrong"),
        ("description", "It has a cotton strap.", ["The strap is cotton"], "right"),
        ("description", SILENCE, ["The strap is cotton"], "wrong"),
        ("description", "It has a cotton strap.", [SILENCE], "invented"),
        ("description", SILENCE, [SILENCE], "right"),
        ("description", REFUSAL, [SILENCE], "wrong"),
        ("description", "Blue.", ["navy", "blue"], "right"),
        ("description", "", ["navy"], "nothing_found"),
        ("description", "the strap is cotton and " * 11, ["the strap is cotton"], "wrong"),
    ],
)
def test_an_answer_is_judged_by_the_best_of_the_right_ones(
    kind: str, answer: str, right: list[str], verdict: str
) -> None:
    assert judge(kind, Said(answer, answer, says(answer)), right) == verdict


def test_the_wrong_come_first_then_the_doubtful_and_what_is_right_last(shop: Shop) -> None:
    asked = [
        CustomerQuestion("how heavy is the torvald drill", answers=("2.9 pounds",)),
        CustomerQuestion("is the palm sander red?"),
        CustomerQuestion("how much is the torvald belt sander"),
        CustomerQuestion("what does the torvald palm sander cost"),
        CustomerQuestion("what colour is it", "Torvald Palm Sander", answers=("bright pink",)),
    ]
    answered = list(answer_each(shop, asked, [AUTO]))
    assert [one.asked for one in answered] == asked and all(0 <= one.doubt <= 1 for one in answered)
    assert next(one.asked for one in worst_first(answered)) == asked[4]
    assert [one.asked for one in worst_first(answered)][-1] == asked[0]
    doubtful = {one.asked: one.doubt for one in answered}
    assert doubtful[asked[1]] > doubtful[asked[3]], "nothing in the record tells a price"
    three, verdicts = counts(answered, [AUTO])[AUTO]
    assert three == {"value": 3, "silent": 1, "unknown": 1} and verdicts == {"right": 1, "wrong": 1}
    both = list(
        answer_each(
            shop, [CustomerQuestion("how heavy is the torvald drill " + "and more " * 2000)], [EXTRACTIVE, AUTO]
        )
    )
    assert len(both[0].asked.question) > MAX_QUESTION_CHARACTERS and list(both[0].ways) == [EXTRACTIVE, AUTO]


def test_a_correction_names_the_product_as_the_catalogue_does(shop: Shop) -> None:
    edit = correction(shop, "is it  red?", "torvald palm sander", "dark green.", "colour")
    assert (edit.title, edit.question, edit.response, edit.kind) == (
        "Torvald Palm Sander", "is it red?", "dark green", "colour"
    )  # fmt: skip
    assert correction(shop, "is it loud", "Torvald Palm Sander", "the record does not say").response == SILENCE
    refused = correction(shop, "do you sell iphones", "", "i don't know this product")
    assert (refused.title, refused.response) == ("", REFUSAL)


@pytest.mark.parametrize(
    ("title", "answer", "kind", "said"),
    [
        ("Torvald Palm Sander", " ", "", "The answer is empty"),
        ("Torvald Palm Sander", "x" * 1001, "", "1,001 characters"),
        ("Torvald Belt Sander", "green", "", "no product “Torvald Belt Sander”"),
        ("", "green", "", "The product is not given"),
        ("Torvald Palm Sander", "rather light", "weight", "is no weight"),
    ],
)
def test_what_cannot_be_taught_gets_a_sentence(shop: Shop, title: str, answer: str, kind: str, said: str) -> None:
    with pytest.raises(QuestionError, match=said):
        correction(shop, "how heavy is it", title, answer, kind)


def test_the_kind_is_known_only_where_the_words_name_one(shop: Shop) -> None:
    title = "Torvald Palm Sander"
    assert likely_kind(shop, "whats the colour", title) == "colour"
    assert likely_kind(shop, "does it come with a bag?", title) == ""
    assert likely_kind(shop, "how heavy is it and what colour", title) == ""
