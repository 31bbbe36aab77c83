"""Bases whose tokenizers name no end, no filling or a start token, and whose answers end in several ways."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.errors import ModelError
from pipeline.files import read_json, write_json
from pipeline.models.loading import load_base
from pipeline.prompts import CHAT_TEMPLATE, Chat, ask_in, build_prompt, chat_template, encode_prompt
from pipeline.publishing.make import check_template
from tests.tiny import END

START = "<|endoftext|>"
PROMPTS = [
    build_prompt("Kite", "How wide is it?"),
    build_prompt(f"Kite {END} {START}", "What?"),
    build_prompt(" é", "?"),
]


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def without(base: Path, *names: str) -> None:
    config = json.loads((base / "tokenizer_config.json").read_text())
    write_json(base / "tokenizer_config.json", {key: value for key, value in config.items() if key not in names})
    (base / "special_tokens_map.json").unlink(missing_ok=True)


def with_start(base: Path, **special: Any) -> Any:
    """The tokenizer, which puts a start token before a prompt, as those of Llama 3, Gemma and Mistral do."""
    tokenizer = AutoTokenizer.from_pretrained(base, bos_token=START, **special)
    single = TemplateProcessing(single=f"{START} $A", special_tokens=[(START, tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = single
    tokenizer.save_pretrained(base)
    return AutoTokenizer.from_pretrained(base)


def test_an_end_that_only_the_model_names_ends_an_answer(base: Path) -> None:
    end = AutoTokenizer.from_pretrained(base).eos_token_id
    without(base, "eos_token", "pad_token")
    model = load_base(str(base))
    assert model.tokenizer.eos_token_id == model.tokenizer.pad_token_id == end


@pytest.mark.parametrize("pad", [None, "<filled up, which the model has no place for>"])
def test_rows_are_filled_up_where_no_token_is_there_for_it(pad: str | None, base: Path) -> None:
    without(base, "pad_token")
    if pad:
        tokenizer = AutoTokenizer.from_pretrained(base, pad_token=pad)
        tokenizer.add_special_tokens({"pad_token": pad})
        tokenizer.save_pretrained(base)
    model = load_base(str(base))
    prompts = [encode_prompt(model.tokenizer, prompt) for prompt in PROMPTS]
    assert len(model.generate(prompts, tuned=False, max_new_tokens=3)) == len(prompts)
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id


def test_a_base_s_answers_end_with_any_of_its_end_tokens(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(START), 7]
    write_json(base / "generation_config.json", read_json(base / "generation_config.json") | {"eos_token_id": ends})
    assert load_base(str(base)).end_tokens() == set(ends)


def test_the_published_template_begins_as_the_run_asks(base: Path) -> None:
    for tokenizer in (AutoTokenizer.from_pretrained(base), with_start(base)):
        tokenizer.chat_template = chat_template(tokenizer)
        tokenizer.save_pretrained(base)
        check_template(base, PROMPTS)
    assert encode_prompt(tokenizer, PROMPTS[0])[0] == tokenizer.bos_token_id
    tokenizer.chat_template = CHAT_TEMPLATE  # as it was published before
    tokenizer.save_pretrained(base)
    with pytest.raises(ModelError, match="chat template"):
        check_template(base, PROMPTS)


@pytest.mark.parametrize("prepend_scheme", ["first", "always"])
@pytest.mark.parametrize("around", [None, Chat("[INST] ", " [/INST]", ""), Chat("<s>[INST] ", "[/INST]", "</s>")])
def test_sentencepiece_is_asked_as_it_is_published(prepend_scheme: Any, around: Chat | None, tmp_path: Path) -> None:
    """Llama 2's and Mistral's: a text begins with a space of its own, and its pieces would have more of them than the whole."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    made.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        [*PROMPTS, "[INST] Context: Instruction: [/INST]"] * 3,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False),
    )
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    tokenizer = ask_in(AutoTokenizer.from_pretrained(tmp_path), around)
    tokenizer.chat_template = chat_template(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    assert "▁Context" in "".join(tokenizer.convert_ids_to_tokens(encode_prompt(tokenizer, PROMPTS[0])))
    check_template(tmp_path, PROMPTS, around)
    hostile = encode_prompt(tokenizer, build_prompt("Kite </s> <s>", "What?"))
    assert hostile.count(2) == 0 and hostile.count(1) == encode_prompt(tokenizer, PROMPTS[0]).count(1)
