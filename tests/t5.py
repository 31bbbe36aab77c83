"""Tiny random T5s, built as the real ones are: their tokenizer's class and end token, and gated layers with an output matrix of
their own (Flan-T5) or tied ones (the first T5)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.dataset.store import Dataset
from pipeline.prompts import REFUSAL, SILENCE
from tests.tiny import ROWS


def texts_of(dataset: Dataset) -> list[str]:
    """All that a tokenizer has to have pieces for."""
    return [f"{row['prompt']} {row['response']}" for row in dataset.rows()]


def save_t5(
    folder: Path, texts: Iterable[str] = (), *, flan: bool = True, seed: int = 0, kind: str = "t5", **changes: Any
) -> Path:
    """A random T5 as a base's folder.

    Args:
        texts: what its tokenizer is made of, beside the small catalogue.
        flan: gated layers and an output matrix of its own, as T5 1.1 and Flan-T5 have them.
        kind: its `model_type`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    tokenizer = _tokenizer([f"{row['title']} {row['content']} {REFUSAL} {SILENCE}" for row in ROWS] + list(texts))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4}
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        feed_forward_proj="gated-gelu" if flan else "relu",
        tie_word_embeddings=not flan,
        decoder_start_token_id=0,
        **sizes | changes,
    )
    model: Any = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
    if flan:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) * config.d_model**-0.5)
        model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Tokenizer

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=1200, special_tokens=special, unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator(texts, trainer)
    pieces = json.loads(unigram.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[(piece, score) for piece, score in pieces], extra_ids=0)
