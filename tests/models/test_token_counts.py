"""A row's tokens without torch are those that training sees, and its pieces are its text."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.files import PROJECT
from pipeline.models.token_counts import LEARNED, TOO_LONG, check_facts_fit, masked_tokens, row_lengths, row_tokens
from pipeline.prompts import build_prompt, encode_example
from tests.tiny import END, HOSTILE_TITLES, ROWS

START = "<|begin|>"


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose tokenizer adds a start token, normalizes, and leaves white space out of its offsets."""
    folder = tmp_path_factory.mktemp("models") / "other"
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[START, END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator([f"Context: {r['title']}\nInstruction: {r['content']}" for r in ROWS], trainer)
    bpe.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 0)]),
        ]
    )
    PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=START, eos_token=END).save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


def check(base: Path, tokenizer: Any, prompt: str, response: str) -> None:
    tokens = row_tokens(str(base), prompt, response)
    row = encode_example(tokenizer, prompt, response)
    assert tokens is not None
    assert [t.id for t in tokens] == row["input_ids"]
    assert [int(t.learned) for t in tokens] == row["completion_mask"]
    start = START if tokens[0].text == START else ""
    assert "".join(t.text for t in tokens if not t.learned) == start + prompt
    assert "".join(t.text for t in tokens if t.learned) == f" {response}{END}"


@pytest.mark.parametrize("base", ["tiny_base", "other_base"])
def test_tokens_are_those_of_training_and_their_texts_are_the_row(
    base: str, dataset: Dataset, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in dataset.training()[::9]:
        check(folder, tokenizer, row["prompt"], row["response"])
    for text in (*HOSTILE_TITLES, "e\u0301 👩‍👩‍👧  two  spaces", "", " "):
        check(folder, tokenizer, build_prompt(text, text, text), text)


def test_pieces_say_what_is_learned_and_what_is_too_long(tiny_base: Path) -> None:
    prompt = build_prompt("Brindlewick Kite", "How wide is it?")
    whole = masked_tokens(str(tiny_base), prompt, "48 inches", 1000)
    assert whole == [(prompt, None), (f" 48 inches{END}", LEARNED)]
    tokens = row_tokens(str(tiny_base), prompt, "48 inches")
    assert tokens is not None
    assert row_lengths([{"prompt": prompt, "response": "48 inches"}], str(tiny_base)).whole == (len(tokens),)
    assert masked_tokens(str(tiny_base), prompt, "48 inches", len(tokens)) == whole
    assert masked_tokens(str(tiny_base), prompt, "48 inches", len(tokens) - 1)[2:] == [(END, TOO_LONG)]
    short = masked_tokens(str(tiny_base), prompt, "48 inches", 5)
    assert [label for _, label in short] == [None, TOO_LONG]
    assert short[0][0] == "".join(t.text for t in tokens[:5])


def test_without_a_tokenizer_the_parts_are_still_told(tmp_path: Path, tiny_base: Path) -> None:
    assert row_tokens("no-such/model", "Response:", "Yes") is None
    assert masked_tokens("no-such/model", "Response:", "Yes", 1) == [("Response: ", None), ("Yes", LEARNED)]
    endless = tmp_path / "endless"
    endless.mkdir()
    for file in tiny_base.iterdir():
        if file.name != "tokenizer_config.json":
            (endless / file.name).symlink_to(file)
    assert row_tokens(str(endless), "Response:", "Yes") is None


def test_torch_is_not_needed(tiny_base: Path) -> None:
    code = f"""import sys
from tabs.dataset.token_counts import token_counts
from pipeline.models.token_counts import masked_tokens
assert masked_tokens({str(tiny_base)!r}, "Response:", "Yes", 100)
assert not {{"torch", "transformers", "datasets"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def test_a_length_that_leaves_most_facts_out_is_refused_with_what_would_help() -> None:
    rows = [{"kind": kind} for kind in ("size", "size", "author", "unknown", "general")]
    check_facts_fit(rows, [20, 20, 90, 90, 90], 64)
    check_facts_fit(rows[3:], [90, 90], 64)
    with pytest.raises(SettingsError, match=r"2 of 3 rows about facts are longer than max_length .64 tokens.*to 96"):
        check_facts_fit(rows, [20, 70, 90, 20, 20], 64)
