"""GGUF files of every family: what lies in them is what the model's own files say, and it answers as they do."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pipeline.errors import ModelError
from pipeline.publishing import gguf_vocabulary
from pipeline.publishing.forms import GGUF
from pipeline.publishing.gguf_families import family_of
from pipeline.publishing.gguf_file import check_architecture, write_gguf
from tests.tiny import ROWS

TEXTS = [row["title"] + ". " + row["content"] for row in ROWS]

SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip

LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [1.5] * 8, "factor": 2.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32, "tie_word_embeddings": True}

CASES: dict[str, tuple[str, Any]] = {
    "Llama": ("bytes", LlamaConfig(**SIZES)),
    "Llama 3.1": ("llama-bpe", LlamaConfig(**SIZES, rope_parameters=LLAMA_3, head_dim=16)),
    "Llama with linear scaling": (
        "pieces",
        LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    ),
    "Mistral": ("pieces", MistralConfig(**SIZES, sliding_window=None)),
    "Qwen 2": ("qwen2", Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "Qwen 3": ("qwen2", Qwen3Config(**SIZES, head_dim=32)),
    "Gemma 2": ("pieces without a space", Gemma2Config(**SIZES, **GEMMA)),
    "Gemma 3": ("pieces without a space", Gemma3TextConfig(**SIZES, **GEMMA)),
    "Phi 3": ("pieces", Phi3Config(**SIZES, pad_token_id=0, original_max_position_embeddings=256)),
    "Phi 3 for long texts": ("pieces", Phi3Config(**SIZES, pad_token_id=0, rope_parameters=LONG)),
}


def bytes_tokenizer(*steps: Any, normalizer: Any = None) -> Tokenizer:
    """A byte-level BPE whose pieces are cut by these steps."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def pieces_tokenizer(*, with_space: bool) -> Tokenizer:
    """A BPE of SentencePiece's kind: pieces with ▁ for spaces, and bytes for what it does not know."""
    steps = [*([normalizers.Prepend("▁")] if with_space else []), normalizers.Replace(" ", "▁")]
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence(steps)
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    order = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *order]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in learned["merges"]]
    vocab = {name: number for number, name in enumerate(names)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence(steps)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if with_space else [])])
    return made


def split(regex: str) -> Any:
    return pre_tokenizers.Split(Regex(regex), "isolated")


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = {
        "bytes": lambda: bytes_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "llama-bpe": lambda: bytes_tokenizer(split(gguf_vocabulary._LLAMA_3), in_bytes),
        "qwen2": lambda: bytes_tokenizer(split(gguf_vocabulary._QWEN_2), in_bytes, normalizer=normalizers.NFC()),
        "pieces": lambda: pieces_tokenizer(with_space=True),
        "pieces without a space": lambda: pieces_tokenizer(with_space=False),
    }[kind]()
    specials = {"bos_token": "<s>", "eos_token": "</s>"} | (
        {"unk_token": "<unk>"} if "pieces" in kind else {"pad_token": "<pad>"}
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **specials)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    return tokenizer


@pytest.fixture(params=CASES, scope="module")
def merged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random model of a family with a tokenizer of the kind that its real ones have."""
    kind, config = CASES[request.param]
    folder = tmp_path_factory.mktemp("merged")
    tokenizer = tokenizer_of(kind)
    tokenizer.save_pretrained(folder)
    config.update(
        {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, 0.0 if "bias" in name else 1.0, 0.3)  # else a wrong offset would not be seen
    model.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    torch.manual_seed(1)
    ids = torch.randint(3, model.config.vocab_size, (2, 40))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def reloaded(merged: Path, folder: Path) -> Any:
    """The model out of its GGUF file; the numbers that Transformers does not read of one are those of its own files."""
    config = AutoConfig.from_pretrained(merged)
    told = {} if config.model_type == "mistral" else {"config": config}
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32, **told)


def test_a_file_has_the_model_s_weights_and_answers_as_it_does(merged: Path, tmp_path: Path) -> None:
    check_architecture(merged)
    write_gguf(merged, tmp_path / GGUF, "Shelftalk")
    own = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    torch.testing.assert_close(logits(reloaded(merged, tmp_path)), logits(own), rtol=1e-4, atol=1e-4)


def test_a_file_in_8_bits_is_near(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "whole.gguf", "Shelftalk")
    write_gguf(merged, tmp_path / GGUF, "Shelftalk", in_8_bits=True)
    assert (tmp_path / GGUF).stat().st_size < 0.6 * (tmp_path / "whole.gguf").stat().st_size
    own, other = (
        logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)),
        logits(reloaded(merged, tmp_path)),
    )
    assert float((own - other).norm() / own.norm()) < 0.15
    kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / GGUF).tensors if len(tensor.shape) > 1}
    assert kinds == {"Q8_0"}


def test_a_file_says_the_numbers_of_its_model(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / GGUF, "Shelftalk")
    reader, config = gguf.GGUFReader(tmp_path / GGUF), AutoConfig.from_pretrained(merged)
    told = {name: field.contents() for name, field in reader.fields.items()}
    arch = told["general.architecture"]
    assert (
        arch
        == family_of(
            config.to_dict() | {"architectures": json.loads((merged / "config.json").read_text())["architectures"]}
        ).name
    )
    width = getattr(config, "head_dim", None) or 16
    for name, value in {
        "block_count": 3,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": width,
        "rope.dimension_count": width,
        "context_length": 256,
    }.items():
        assert told[f"{arch}.{name}"] == value, name


def test_positions_are_divided_as_in_transformers(tmp_path: Path) -> None:
    from pipeline.publishing.gguf_families import position_factors

    config = CASES["Llama 3.1"][1]
    ((name, factors),) = position_factors(config.to_dict())
    plain = 1.0 / (500000.0 ** (torch.arange(0, 16, 2) / 16))
    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))[0]
    assert name == "rope_freqs.weight"
    torch.testing.assert_close(plain / factors, scaled, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["pieces", "pieces without a space"])
def test_pieces_are_put_together_in_the_order_of_their_scores(kind: str) -> None:
    """By the rule of llama.cpp: of all neighbours that make a piece, those with the highest score come first."""
    tokenizer = tokenizer_of(kind)
    merges = [
        gguf_vocabulary._pair(merge) for merge in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ]
    scores, ids = gguf_vocabulary._scores(tokenizer, merges, len(tokenizer)), tokenizer.get_vocab()
    for text in [*TEXTS, "Two  words", "a"]:
        parts = list(("▁" if kind == "pieces" else "") + text.replace(" ", "▁"))
        while True:
            pairs = [
                (scores[ids[one]], -at) for at in range(len(parts) - 1) if (one := parts[at] + parts[at + 1]) in ids
            ]
            if not pairs:
                break
            at = -max(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        assert parts == gguf_vocabulary._tokens(tokenizer, text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": ["FalconForCausalLM"]}, "this base is Falcon"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "'yarn' scaling"),
        ({"architectures": ["Gemma2ForCausalLM"], "query_pre_attn_scalar": 200, "head_dim": 16}, "scaled so"),
    ],
)
def test_what_no_file_can_be_made_of_is_said(change: dict[str, Any], says: str) -> None:
    config = CASES["Llama"][1].to_dict() | {"architectures": ["LlamaForCausalLM"]} | change
    with pytest.raises(ModelError, match=says):
        family_of(config)


def test_a_tokenizer_that_changes_the_text_is_refused() -> None:
    made = pieces_tokenizer(with_space=True)
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), made.normalizer])
    with pytest.raises(ModelError, match="such a tokenizer"):
        gguf_vocabulary.way_of(PreTrainedTokenizerFast(tokenizer_object=made))


def test_the_tokens_of_a_file_are_those_of_its_tokenizer(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / GGUF, "Shelftalk")
    fields = gguf.GGUFReader(tmp_path / GGUF).fields
    tokenizer = AutoTokenizer.from_pretrained(merged)
    tokens = fields["tokenizer.ggml.tokens"].contents()
    known = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    assert tokens == known[: len(tokens)]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == tokenizer.eos_token_id
