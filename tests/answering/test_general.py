"""General knowledge: the questions asked before and after tuning, and the rows mixed in, which must not give them away."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rapidfuzz import fuzz

from pipeline.answering.answers import ask
from pipeline.answering.asker import Question
from pipeline.answering.general import ask_general
from pipeline.facts.extraction import extract
from pipeline.files import ASSETS, home, read_json
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import GENERAL, UNKNOWN, UNKNOWN_TITLE, build_prompt, encode_prompt
from tests.tiny import build_model

QUESTIONS = read_json(ASSETS / "general_questions.json")
TRAINING = read_json(ASSETS / "general_training.json")

OFF_LIMITS = re.compile(r"\b(?:products?|shops?|stores?|catalog(?:ue)?s?|prices?|customers?)\b", re.IGNORECASE)
TOO_NEAR = 90  # of 100


def plain(text: str) -> str:
    """The words alone: casefolded, without punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def holds(text: str, words: str) -> bool:
    return f" {plain(words)} " in f" {plain(text)} "


def telling_words(question: str, used: Counter[str]) -> list[str]:
    """What a question is about: its words that hardly another question uses."""
    return [word for word in plain(question).split() if used[word] <= 2]


def texts() -> Iterator[str]:
    for row in QUESTIONS:
        yield from (row["question"], row["topic"], *row["answers"])
    for row in TRAINING:
        yield from (row["question"], row["answer"])


# --- The questions of the test ---


def test_there_are_enough_questions_of_many_topics() -> None:
    assert len(QUESTIONS) >= 60
    assert len({row["topic"] for row in QUESTIONS}) >= 10
    assert all(row.keys() == {"question", "answers", "topic"} for row in QUESTIONS)
    assert all(row["answers"] for row in QUESTIONS)


def test_an_answer_does_not_stand_in_its_question() -> None:
    assert not [(row["question"], a) for row in QUESTIONS for a in row["answers"] if holds(row["question"], a)]


def test_an_answer_is_listed_once() -> None:
    for row in QUESTIONS:
        assert len({a.casefold() for a in row["answers"]}) == len(row["answers"]), row["question"]


# --- The rows to train with ---


def test_there_are_enough_rows_with_short_answers() -> None:
    assert len(TRAINING) >= 300
    assert all(row.keys() == {"question", "answer"} for row in TRAINING)
    assert not [row for row in TRAINING if len(row["answer"].split()) > 15]


def test_no_answer_dominates() -> None:
    answer, count = Counter(plain(row["answer"]) for row in TRAINING).most_common(1)[0]
    assert count <= 0.02 * len(TRAINING), answer


# --- Both ---


def test_texts_are_plain_and_of_no_product() -> None:
    for text in texts():
        assert isinstance(text, str) and plain(text) and text == " ".join(text.split()), text
        assert not OFF_LIMITS.search(text), text


@pytest.mark.parametrize("rows", [QUESTIONS, TRAINING], ids=["questions", "training"])
def test_no_question_comes_twice(rows: list[dict[str, str]]) -> None:
    assert not [question for question, n in Counter(plain(row["question"]) for row in rows).items() if n > 1]


def test_training_asks_nothing_that_is_nearly_a_question_of_the_test() -> None:
    asked = [plain(row["question"]) for row in QUESTIONS]
    for row in TRAINING:
        mine = plain(row["question"])
        assert not [q for q in asked if fuzz.token_sort_ratio(q, mine) >= TOO_NEAR], mine


def test_training_does_not_tell_what_the_test_asks() -> None:
    """In other words neither: no row has an answer of a question together with what the question is about."""
    used = Counter(word for row in QUESTIONS for word in set(plain(row["question"]).split()))
    rows = [f"{row['question']} {row['answer']}" for row in TRAINING]
    for row in QUESTIONS:
        about = telling_words(row["question"], used)
        told = [r for r in rows if any(holds(r, a) for a in row["answers"]) and any(holds(r, word) for word in about)]
        assert not told, row["question"]


# --- What the base says to them ---


def test_a_base_is_asked_once(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path / "home"))
    asked: list[int] = []
    generate = LanguageModel.generate

    def counted(self: LanguageModel, prompts: list[list[int]], **options: int) -> list[str]:
        asked.append(len(prompts))
        return generate(self, prompts, **options)

    monkeypatch.setattr(LanguageModel, "generate", counted)
    model = load_base(str(tiny_base), precision="fp32")
    first = ask_general(model, tuned=False)
    assert sum(asked) == len(QUESTIONS) == len(first)
    assert ask_general(model, tuned=False) == first and sum(asked) == len(QUESTIONS)
    ask_general(load_base(str(tiny_base), precision="auto"), tuned=False)  # another number format
    other = load_base(str(build_model(tmp_path / "other", seed=1)), precision="fp32")
    assert ask_general(other, tuned=False) != first and sum(asked) in (2 * len(QUESTIONS), 3 * len(QUESTIONS))
    for file in home().rglob("base_general/*.json"):
        file.write_text('["cut')
    assert ask_general(model, tuned=False) == first


def test_of_an_answer_the_first_line_counts_and_no_more_is_decoded(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_base(str(tiny_base), precision="fp32")
    texts = iter(("Paris", "Paris\n\nI", "Paris\n\nI don't know this product."))
    assert [extract(GENERAL, text).answer for text in texts] == ["Paris"] * 3
    asked = [Question(build_prompt(UNKNOWN_TITLE, "What?"), GENERAL, 20), Question("What?", UNKNOWN, 20)]
    long = [
        model.generate([encode_prompt(model.tokenizer, q.prompt)], tuned=False, max_new_tokens=20)[0] for q in asked
    ]
    text = model.text
    # The tiny model says no line breaks: each of its words becomes one.
    monkeypatch.setattr(LanguageModel, "text", lambda self, tokens: text(tokens).replace(" ", "\n"))
    first, other = ask(model, asked, tuned=False)
    words, all_words = "".join(first.raw.split()), "".join(long[0].split())
    assert len(words) < len(all_words) and all_words.startswith(words) and other.raw.split() == long[1].split()
