"""One prompt for training and for asking, and the answer that is found in what a model says after it."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pipeline.dataset.store import Dataset
from pipeline.facts.extraction import extract, is_refusal, pattern_for
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.models.embedded import converted_folder
from pipeline.prompts import REFUSAL, UNKNOWN, build_prompt, encode_example, encode_prompt
from tests.tiny import END, HOSTILE_TITLES


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The embedded model's own."""
    return AutoTokenizer.from_pretrained(converted_folder())


# --- Building ---


def test_the_format_is_the_documented_one() -> None:
    assert build_prompt("Kite", "How big is it?") == "Context: Kite\nInstruction: How big is it?\nResponse:"
    assert build_prompt("Kite", "How?", "It is red.") == "Context: Kite. It is red.\nInstruction: How?\nResponse:"


@pytest.mark.parametrize("text", HOSTILE_TITLES)
def test_neither_title_nor_question_nor_record_can_add_a_line(text: str) -> None:
    for prompt in (build_prompt(text, "How big?"), build_prompt("Kite", text), build_prompt("Kite", "How big?", text)):
        assert [line.split(":")[0] for line in prompt.splitlines()] == ["Context", "Instruction", "Response"]
        assert prompt.endswith("\nResponse:") and prompt.count("\nResponse:") == 1


# --- One prompt, token by token ---


def test_a_training_row_is_the_asking_prompt_and_then_the_response(tokenizer: Any, dataset: Dataset) -> None:
    for row in dataset.training():
        asked = encode_prompt(tokenizer, build_prompt_again(row))
        example = encode_example(tokenizer, row["prompt"], row["response"])
        ids, mask = example["input_ids"], example["completion_mask"]
        assert ids[: len(asked)] == asked and mask == [0] * len(asked) + [1] * (len(ids) - len(asked))
        assert ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.decode(ids[len(asked) : -1]) == f" {row['response']}"
        assert tokenizer.decode(ids[:-1]) == f"{row['prompt']} {row['response']}"


def build_prompt_again(row: dict[str, Any]) -> str:
    """The prompt as the asking side builds it, from the title and the question alone."""
    recognised = row["title"] if f"Context: {row['title']}\n" in row["prompt"] else "unknown"
    return build_prompt(recognised, row["question"])


def test_the_prompt_s_tokens_do_not_depend_on_the_response(tokenizer: Any) -> None:
    prompt = build_prompt("Brindlewick Kite", "How big is it?")
    asked = encode_prompt(tokenizer, prompt)
    for response in ("", " ", "48 inches", "\n", ":", "’", "🪁", "Response:"):
        assert encode_example(tokenizer, prompt, response)["input_ids"][: len(asked)] == asked


def test_special_tokens_spelled_out_stay_text(tokenizer: Any) -> None:
    prompt = build_prompt(f"Kite {END} <|im_start|>system", "What<|endoftext|>?")
    example = encode_example(tokenizer, prompt, f"A kite {END} and more")
    special = set(tokenizer.all_special_ids)
    assert not special & set(example["input_ids"][:-1])
    assert tokenizer.decode(example["input_ids"][:-1]) == f"{prompt} A kite {END} and more"


def test_the_end_token_is_the_end_of_a_turn(tokenizer: Any) -> None:
    assert tokenizer.eos_token == END and tokenizer.pad_token_id is not None
    assert tokenizer.convert_tokens_to_ids(END) == tokenizer.eos_token_id


def test_a_start_token_is_there_once_where_a_model_has_one(tiny_base: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_base)
    plain = encode_prompt(tokenizer, "Context: Kite\nResponse:")
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", start)]
    )
    assert encode_prompt(tokenizer, "Context: Kite\nResponse:") == [start, *plain]
    example = encode_example(tokenizer, "Context: Kite\nResponse:", "Red")
    assert example["input_ids"][: len(plain) + 1] == [start, *plain] and example["input_ids"].count(start) == 1


# --- Extraction ---


@pytest.mark.parametrize(
    ("kind", "raw", "answer"),
    [
        ("size", "48 inches", "48 inches"),
        ("size", "It is 48 inches wide.", "48 inches"),
        ("size", "It is very big.", ""),
        ("size", "", ""),
        ("size", "   \n ", ""),
        ("author", "The author is Ilse Kamprad.", "Ilse Kamprad"),
        ("year", "It came out in 1987.", "1987"),
        ("pages", "There are 212 pages in it.", "212 pages"),
        (DESCRIPTION, "A kite.\nIt flies.", "A kite.\nIt flies."),
        (DESCRIPTION, "A kite.\n\nInstruction: And?\nResponse: No.", "A kite."),
        (DESCRIPTION, "### Response: A kite.", "### Response: A kite."),
        ("of a new kind", "First line.\nSecond line.", "First line"),
        (UNKNOWN, REFUSAL, REFUSAL),
        (UNKNOWN, "I do not know this product", "I do not know this product"),
        (UNKNOWN, "It is 48 inches wide.", "It is 48 inches wide."),
        ("size", "I don’t know this product.", "I don’t know this product."),
        ("size", "Sorry, I don't know this product.", "I don't know this product."),
    ],
)
def test_what_is_found_in_a_raw_answer(kind: str, raw: str, answer: str) -> None:
    found = extract(kind, raw)
    assert found.answer == answer == raw[found.start : found.end]


@pytest.mark.parametrize("kind", [*KINDS, DESCRIPTION, UNKNOWN, "of a new kind"])
@pytest.mark.parametrize(
    "raw", ["", "no such thing", "x" * 5000, "<script>alert(1)</script>", "I don't know this product.", "9" * 3000]
)
def test_extraction_is_always_a_string_out_of_the_raw_answer(kind: str, raw: str) -> None:
    found = extract(kind, raw)
    assert isinstance(found.answer, str) and raw[found.start : found.end] == found.answer
    assert pattern_for(kind)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (REFUSAL, True),
        ("i DON'T know this product", True),
        ("I know this product.", False),
        ("I don't know.", False),
        ("", False),
    ],
)
def test_what_counts_as_a_refusal(text: str, refused: bool) -> None:
    assert is_refusal(text) == refused
