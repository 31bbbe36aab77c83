"""A reader: the sentence encoder with two heads, which finds in the parts of a record the span that answers a question, or none.

As for SQuAD 2.0 (arXiv 1806.03822) it scores where a span begins and ends, and beginning and ending at the first token means
that nothing answers. How far a span must be above that is the reader's threshold. What it says stands in the record.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertForQuestionAnswering

from pipeline.errors import ModelError
from pipeline.files import read_json, write_json
from pipeline.models.bases import checksum, find_base
from pipeline.models.encoder import ENCODER, quietly
from pipeline.models.language_model import LARGEST_RANK, device

WEIGHTS, CONFIG = "reader.safetensors", "reader.json"
"""In the adapter's folder: the weights that were trained, and what they are."""

PARTS = 4
MAX_TOKENS = 384
"""Of a question with what is read; four sentences of 40 words with a long question have fewer."""

MAX_SPAN = 64
"""Tokens of an answer, as long as a description."""

BATCH = 16

ADAPTED = ["query", "key", "value", "dense"]
"""Every matrix of the encoder; those of its embeddings stay."""


Passages = Sequence[Sequence[str]]
"""What is read of a record, in its order: sentences, those that follow each other there in one passage."""


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a question and parts of a record.

    Attributes:
        span: verbatim out of one passage; empty where there was nothing to read.
        source: the sentences that it stands in.
        margin: by how much (in logits) the span is likelier than that nothing answers.
    """

    span: str
    source: str
    margin: float


NOTHING = Reading("", "", float("-inf"))


class Reader:
    """A loaded reader; several threads may ask it, one at a time is answered.

    Attributes:
        threshold: how sure it has to be (`run_reader.sureness`) to give a span as the answer.
    """

    def __init__(self, model: Any, tokenizer: Any, threshold: float = 0.0) -> None:
        self.model, self.tokenizer, self.threshold = model, tokenizer, threshold
        self._lock = threading.Lock()

    def encode(self, questions: Sequence[str], texts: Sequence[str]) -> Any:
        """Questions with what is read, as `Joined.text` gives it. A special token spelled out in either stays text."""
        return self.tokenizer(
            list(questions), [text or "." for text in texts], padding=True, truncation="longest_first", max_length=MAX_TOKENS,
            return_offsets_mapping=True, split_special_tokens=True, return_tensors="pt",
        )  # fmt: skip

    def read(self, asked: Sequence[tuple[str, Passages, str]]) -> list[Reading]:
        """The best span of each question in what is read with it, whether or not it is above the threshold.

        Args:
            asked: questions, each with what is read and the sentence of that in which the span has to begin.
        """
        joined = [Joined(passages, first) for _, passages, first in asked]
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][0]) + len(joined[i].text))
        found: dict[int, Reading] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            read = self._read([asked[i][0] for i in batch], [joined[i] for i in batch])
            found |= dict(zip(batch, read, strict=True))
        return [found[i] for i in range(len(asked))]

    def _read(self, questions: list[str], joined: "list[Joined]") -> list[Reading]:
        batch = self.encode(questions, [one.text for one in joined])
        offsets = batch.pop("offset_mapping").numpy()
        of_text = [np.array([number == 1 for number in encoding.sequence_ids]) for encoding in batch.encodings]
        with self._lock, _reading(self.model), torch.no_grad():
            said = self.model(**batch.to(self.model.device))
        starts, ends = said.start_logits.float().cpu().numpy(), said.end_logits.float().cpu().numpy()
        return [_best(one, starts[i], ends[i], offsets[i], of_text[i]) for i, one in enumerate(joined)]


class Joined:
    """Passages as they are read: one text, with the places of each passage and of each sentence in it.

    Attributes:
        first: the place of the sentence in which a span has to begin.
    """

    def __init__(self, passages: Passages, first: str = "") -> None:
        self.text = " ".join(sentence for passage in passages for sentence in passage)
        self.passages: list[tuple[int, int]] = []
        self.sentences: list[tuple[int, int]] = []
        at = 0
        for passage in passages:
            begin = at
            for sentence in passage:
                self.sentences.append((at, at + len(sentence)))
                at += len(sentence) + 1
            self.passages.append((begin, at - 1))
        place = max(self.text.find(first), 0)
        self.first = (place, place + len(first))

    def source(self, begin: int, end: int) -> str:
        """The sentences that a span stands in."""
        own = [self.text[a:b] for a, b in self.sentences if a < end and begin < b]
        return " ".join(own)


def _best(joined: Joined, starts: np.ndarray, ends: np.ndarray, offsets: np.ndarray, of_text: np.ndarray) -> Reading:
    """The likeliest span that lies within one passage."""
    best = NOTHING
    for begin, end in joined.passages:
        tokens = np.flatnonzero(of_text & (offsets[:, 0] >= begin) & (offsets[:, 1] <= end))
        if not len(tokens):
            continue
        sums = starts[tokens][:, None] + ends[tokens][None, :]
        allowed = np.triu(np.ones_like(sums, bool)) & ~np.triu(np.ones_like(sums, bool), MAX_SPAN)
        allowed &= ((offsets[tokens, 0] >= joined.first[0]) & (offsets[tokens, 0] < joined.first[1]))[:, None]
        if not allowed.any():
            continue
        first, last = np.unravel_index(np.where(allowed, sums, -np.inf).argmax(), sums.shape)
        margin = float(sums[first, last] - starts[0] - ends[0])
        if margin > best.margin:
            at, to = int(offsets[tokens[first]][0]), int(offsets[tokens[last]][1])
            best = Reading(joined.text[at:to], joined.source(at, to), margin)
    return best


@contextmanager
def _reading(model: Any) -> Iterator[None]:
    """Leave training mode for the block, as a probe does in the middle of a run."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def new_reader(*, rank: int, alpha: int, dropout: float, variant: str = "lora", seed: int = 0) -> Reader:
    """The encoder with a fresh adapter and fresh heads.

    Raises:
        ModelError: the encoder's wheel is missing or damaged.
    """
    folder = find_base(ENCODER)
    torch.manual_seed(seed)
    with quietly():
        base = BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=ADAPTED, use_rslora=variant == "rslora",
        use_dora=variant == "dora", task_type="QUESTION_ANS",
    )  # fmt: skip
    return Reader(get_peft_model(base, config).to(device()), AutoTokenizer.from_pretrained(folder))


def save_reader(reader: Reader, folder: Path, base_sha256: str) -> None:
    """Write a reader's own weights, and what they are, into a folder."""
    weights = get_peft_model_state_dict(reader.model, save_embedding_layers=False)
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, folder / WEIGHTS)
    config = reader.model.peft_config["default"]
    write_json(
        folder / CONFIG,
        {
            "kind": "reader",
            "base_model": ENCODER,
            "base_sha256": base_sha256,
            "threshold": reader.threshold,
            "rank": config.r,
            "alpha": config.lora_alpha,
            "variant": "dora" if config.use_dora else "rslora" if config.use_rslora else "lora",
        },
    )


def load_reader(folder: Path) -> tuple[Reader, list[str]]:
    """A trained reader out of a run's adapter, and warnings in sentences.

    Raises:
        ModelError: there is none, it is broken, or the encoder's wheel is missing.
    """
    run = folder.parent.name
    if not folder.is_dir():
        raise ModelError(f"There is no adapter in {run}; finish a training run first.")
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise ModelError(f"The reader in {folder} is broken ({missing[0]} is missing); train it again.")
    try:
        config = read_json(folder / CONFIG)
        if not 0 < config["rank"] <= LARGEST_RANK:
            raise ValueError("a rank that none can have")
        reader = new_reader(rank=config["rank"], alpha=config["alpha"], dropout=0.0, variant=config["variant"])
        reader.threshold = float(config["threshold"])
        _put(load_file(folder / WEIGHTS), reader.model)
        other = config["base_sha256"] != checksum(find_base(ENCODER))
    except ModelError:
        raise
    except Exception as error:  # safetensors, PEFT and torch each raise their own for a broken file
        raise ModelError(f"The reader in {folder} is broken (it cannot be read); train it again.") from error
    reader.model.eval()
    said = f"This reader was trained on {ENCODER} with other weights than those here; its answers may be worse."
    return reader, [said] if other else []


def _put(weights: dict[str, torch.Tensor], model: PeftModel) -> None:
    """Put a reader's weights in their places: all of them, and finite.

    Raises:
        ValueError: one is missing, has another shape or is no number.
    """
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    if weights.keys() != own.keys() or any(weights[name].shape != own[name].shape for name in own):
        raise ValueError("other weights")
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise ValueError("no numbers")
    set_peft_model_state_dict(model, weights)
