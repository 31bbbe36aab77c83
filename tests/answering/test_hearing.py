"""An answer while it is decoded: its words come as they are sure, and together they are the answer."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.answering.answers import ask
from pipeline.answering.asker import Answer, Question
from pipeline.answering.hearing import HALF, Hearing
from pipeline.facts.extraction import extract, sure_of
from pipeline.facts.patterns import DESCRIPTION
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import build_prompt

ROOM = 40


class Listener:
    """Keeps what it hears."""

    def __init__(self, patience: int = 1000) -> None:
        self.words: list[str] = []
        self.tokens, self.patience = 0, patience

    @property
    def is_gone(self) -> bool:
        return self.tokens >= self.patience

    def hear(self, words: str, tokens: int) -> None:
        self.words.append(words)
        self.tokens = tokens


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> LanguageModel:
    return load_base(str(tiny_base), precision="fp32")


def heard(model: LanguageModel, kind: str, tokens: Sequence[int]) -> list[str]:
    """What is said of an answer after each of its tokens."""
    listener = Listener()
    hearing = Hearing(model, [listener], [kind], ROOM)
    for count in range(1, len(tokens) + 1):
        assert not hearing([list(tokens[:count])])
    return listener.words


def tokens_of(model: LanguageModel, text: str) -> list[int]:
    return [*model.tokenizer(text, add_special_tokens=False)["input_ids"], model.tokenizer.eos_token_id]


@pytest.mark.parametrize(
    "text",
    [
        " A kite for calm evenings.",
        "  A kite\nfor calm evenings, 48 inches wide. \n ",
        " 🪁 ﷺ naïve – kité",
        " I don't know this product.",
        " The record doesn't say.",
        " A kite.\nResponse: A kite.\nContext: Kite",
        " A kite.\n  Instructions come with it.\nContextual",
        "\nContext: what begins so is no next prompt",
        "",
    ],
)
def test_the_words_of_a_description_are_the_answer_and_come_one_by_one(model: LanguageModel, text: str) -> None:
    tokens = tokens_of(model, text)
    words = heard(model, DESCRIPTION, tokens)
    answer = Answer.of(DESCRIPTION, model.text(tokens)).answer
    assert "".join(words) == answer
    assert not answer or sum(map(bool, words)) > min(2, len(answer) // 12)


def test_what_was_said_before_a_refusal_stays_said_and_nothing_follows_it(model: LanguageModel) -> None:
    tokens = tokens_of(model, " Sorry, I don't know this product. It is red.")
    assert "".join(heard(model, DESCRIPTION, tokens)) == "Sorry, I don't know this product."
    tokens = tokens_of(model, " I don't know this product's colour by heart.")
    assert "".join(heard(model, DESCRIPTION, tokens)) == "I don't know this product's colour by heart."


def test_a_value_is_said_when_its_answer_is_whole(model: LanguageModel) -> None:
    words = heard(model, "weight", tokens_of(model, " It weighs 2 pounds, or so."))
    assert words[-1] == "2 pounds" and not any(words[:-1])
    words = heard(model, "weight", tokens_of(model, " It is heavy."))
    assert words[-1] == "It is heavy." and not any(words[:-1])  # as where nobody streams: all that it says


def test_of_an_answer_that_is_checked_afterwards_nothing_is_said(model: LanguageModel) -> None:
    assert not any(heard(model, "", tokens_of(model, " It weighs 2 pounds.")))


def test_noise_is_said_as_it_is_decoded_as_a_whole(model: LanguageModel) -> None:
    """Bytes that are no characters, and characters in pieces."""
    for begin in range(3, 300, ROOM):
        tokens = list(range(begin, begin + ROOM))
        raw = model.text(tokens)
        assert "".join(heard(model, DESCRIPTION, tokens)).strip() == extract(DESCRIPTION, raw).answer


@pytest.mark.parametrize(
    "text", ["A kite.\n\nResponse: no", "One\nC\nCo\nContext\nContext: x", "It.\n Instruction : x\n Instruction: y"]
)
def test_what_is_sure_is_never_taken_back(text: str) -> None:
    whole, said, is_over = extract(DESCRIPTION, text), 0, False
    for end in range(1, len(text) + 1):
        if not is_over:
            now, is_over = sure_of(text[:end], said)
            assert now >= said
            said = now
        assert whole.answer.startswith(text[:said])
    assert text[:said] == whole.answer


def test_answers_of_a_batch_are_told_to_their_own_listeners(model: LanguageModel) -> None:
    prompts = [build_prompt(f"Product {number}", "What is it?") for number in range(20)]
    alone = [ask(model, [Question(prompt, max_new_tokens=ROOM)], tuned=False)[0] for prompt in prompts]
    listeners = [Listener() for _ in prompts]
    listeners[4] = Listener(patience=5)
    asked = [
        Question(prompt, max_new_tokens=ROOM, listener=listener)
        for prompt, listener in zip(prompts, listeners, strict=True)
    ]
    together = ask(model, asked, tuned=False)
    for at, (listener, answer, one) in enumerate(zip(listeners, together, alone, strict=True)):
        if at != 4:
            assert answer == one and "".join(listener.words) == (one.answer or one.raw)
    assert listeners[4].tokens == 5 and alone[4].raw.startswith(together[4].raw.rstrip(HALF))
