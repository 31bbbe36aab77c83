"""Which way to use: answers by every way, counted, and the sentence that says it."""

from dataclasses import replace

import pytest

from pipeline.answering.shop import Shop
from pipeline.answering.ways import AUTO, CLOSED, EXTRACTIVE, OPEN, answer_every_way
from pipeline.answering.which_way import Counted, best_way, count_ways, sentence
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.errors import QuestionError
from pipeline.models.encoder import encoder_or_none
from pipeline.prompts import REFUSAL, SILENCE, SILENT, UNKNOWN


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(read_catalogue(SAMPLE), encoder_or_none())


@pytest.mark.parametrize(
    ("question", "says", "source"),
    [
        ("how heavy is the torvald drill", "value", "weighs 2.9 pounds"),
        ("what is the price of the torvald palm sander", "silent", ""),
        ("how much is the torvald belt sander", "unknown", ""),
    ],
)
def test_a_question_by_every_way_with_its_source_and_its_time(
    shop: Shop, question: str, says: str, source: str
) -> None:
    about, answers = answer_every_way(shop, question)
    assert list(answers) == [EXTRACTIVE, AUTO]  # no model, so no way that needs one
    assert (about.product is None) == (says == "unknown")
    for said in answers.values():
        assert said.says == says and source in said.source and bool(said.source) == bool(source)
        assert 0 < about.seconds <= said.seconds < 60


@pytest.mark.parametrize("question", ["", "  ", "x" * 10_000])
def test_what_cannot_be_asked_is_refused_in_a_sentence(shop: Shop, question: str) -> None:
    with pytest.raises(QuestionError, match="The question"):
        answer_every_way(shop, question)


QUESTIONS = [
    {"title": title, "question": question, "fact_kind": kind, "expected": expected}
    for title, question, kind, expected in [
        ("Torvald Palm Sander", "What colour is it?", "colour", "dark green"),
        ("Torvald Cordless Drill Driver", "How heavy is the Torvald Cordless Drill Driver?", "weight", "2.9 pounds"),
        ("Torvald Cordless Drill Driver", "How heavy is the Torvald Cordless Drill Driver?", "weight", "3 pounds"),
        ("Torvald Palm Sander", "What does it cost?", SILENT, SILENCE),
        ("Torvald Belt Sander", "How heavy is the Torvald Belt Sander?", UNKNOWN, REFUSAL),
        # A product that was held back from training: the catalogue has it, so nothing is to be refused.
        ("Stillpond Yoga Mat", "How heavy is the Stillpond Yoga Mat?", UNKNOWN, REFUSAL),
    ]
]


def test_the_questions_are_counted_by_way(shop: Shop) -> None:
    extractive, auto = count_ways(shop, QUESTIONS, (EXTRACTIVE, AUTO))
    assert (auto.way, auto.answerable, auto.right, auto.wrong) == (AUTO, 3, 2, 1)
    assert (auto.unanswerable, auto.admitted, auto.invented) == (2, 2, 0)
    assert extractive.answerable == 3 and extractive.unanswerable == 2 and auto.seconds > 0
    assert auto.trust == pytest.approx(0.8)


OPENED = Counted(OPEN, 100, 71, 29, 100, 97, 3, 0.5)
BY_HEART = Counted(CLOSED, 100, 60, 40, 100, 80, 16, 0.1)


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        ([BY_HEART, OPENED], "Open book: 71% right, 3% invented. Closed book would invent 16%."),
        ([OPENED], "Open book: 71% right, 3% invented."),
        ([OPENED, replace(OPENED, way=AUTO, seconds=0.1)], "Auto: 71% right, 3% invented."),
        ([replace(OPENED, right=0)], "No way answers these questions."),
        ([replace(OPENED, unanswerable=0, admitted=0, invented=0)], "Open book: 71% right, 0% invented."),
        ([], ""),
    ],
)
def test_a_sentence_says_which_way_to_use(counted: list[Counted], said: str) -> None:
    assert sentence(counted) == said


def test_answering_everything_is_no_way_to_use() -> None:
    talker = Counted(CLOSED, 10, 10, 0, 10, 0, 10, 0.1)
    assert best_way([talker, OPENED]) is OPENED and best_way([talker]) is None
