"""Where language models differ by how they read and answer: a causal one goes on after the prompt, a sequence-to-sequence one (a
T5) reads the prompt in an encoder and says the answer in a decoder.

Who trains, asks or publishes a base asks its family and need not know which it is. The third kind of base generates nothing and
finds its answers in a record: `reader.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from pipeline.models.bases import SEQ2SEQ as ENCODER_DECODERS
from pipeline.models.gpu import on_unsloth

IGNORED = -100
"""The label of a token that is not learned, as in PyTorch's cross-entropy."""

Tokens = Sequence[list[int]]


class Family(ABC):
    """What is done otherwise by each kind of language model.

    Attributes:
        auto_class: Transformers' class that loads such a base.
        task_type: what PEFT calls it.
        in_4_bits: whether its weights are squeezed to 4 bits where that is asked for.
        has_template: whether it is asked through a chat template by others.
    """

    auto_class: Any
    task_type: str
    in_4_bits = has_template = True

    def load(self, folder: Any, **how: Any) -> Any:
        """A base's model out of its folder, as Transformers' `from_pretrained` is told."""
        return self.auto_class.from_pretrained(folder, **how)

    def dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The number format that a base is loaded in where this machine would choose another."""
        return dtype

    def start(self, model: Any) -> int | None:
        """The token that every answer starts from; None where it goes on from the prompt."""
        return None

    @abstractmethod
    def parts(self, model: Any) -> list[Any]:
        """The modules that read and write text, whose linear layers LoRA may sit on."""

    @abstractmethod
    def row(
        self, prompt: list[int], answer: list[int], labels: list[int], *, answer_only: bool
    ) -> dict[str, list[int]]:
        """A row as a trainer is given it.

        Args:
            answer: token ids, as many as labels: what the model is to say there.
            answer_only: whether the prompt is not learned, where a model could learn it.
        """

    @abstractmethod
    def asked(self, prompts: Tokens, pad: int, device: Any) -> dict[str, Tensor]:
        """Prompts as one batch for `generate`."""

    @abstractmethod
    def begin(self, batch: dict[str, Tensor]) -> int:
        """Where the answers begin in what `generate` returns for a batch of `asked`."""

    @abstractmethod
    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> list[Tensor]:
        """What a model would say at each token of each answer after the ones before it: [tokens of the answer, vocabulary]."""


class Causal(Family):
    """A model that goes on after what it has read."""

    auto_class, task_type = AutoModelForCausalLM, "CAUSAL_LM"

    def parts(self, model: Any) -> list[Any]:
        return [model.get_decoder()]

    def row(
        self, prompt: list[int], answer: list[int], labels: list[int], *, answer_only: bool
    ) -> dict[str, list[int]]:
        # Nothing stands before the first token that could say it.
        read = [IGNORED] * len(prompt) if answer_only else [IGNORED, *prompt[1:]]
        return {"input_ids": prompt + answer, "labels": read + labels}

    def asked(self, prompts: Tokens, pad: int, device: Any) -> dict[str, Tensor]:
        return padded(prompts, pad, device, left=True)

    def begin(self, batch: dict[str, Tensor]) -> int:
        return batch["input_ids"].shape[1]

    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> list[Tensor]:
        # Padding comes after: no token of the text sees it.
        batch = padded([p + a[:-1] for p, a in zip(prompts, answers, strict=True)], pad, model.device)
        first = min(map(len, prompts)) - 1  # nobody asks for the logits of what stands before
        some = {} if on_unsloth() else {"use_cache": False, "logits_to_keep": batch["input_ids"].shape[1] - first}
        said = model(**batch, **some).logits
        first = batch["input_ids"].shape[1] - said.shape[1]
        begins = [len(prompt) - 1 - first for prompt in prompts]
        return [its[at : at + len(answer)] for its, at, answer in zip(said, begins, answers, strict=True)]


class Seq2Seq(Family):
    """A model of two parts: one reads the prompt, and the other says the answer from a start token on."""

    auto_class, task_type = AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM"
    in_4_bits = has_template = False

    def dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Not fp16: a T5 was made in bf16, and what its layers say does not fit into the smaller range."""
        return torch.float32 if dtype == torch.float16 else dtype

    def start(self, model: Any) -> int:
        named = (getattr(of, "decoder_start_token_id", None) for of in (model.config, model.generation_config))
        return next(
            (token for token in named if token is not None), model.config.pad_token_id
        )  # a T5 starts from padding

    def parts(self, model: Any) -> list[Any]:
        return [model.get_encoder(), model.get_decoder()]

    def row(
        self, prompt: list[int], answer: list[int], labels: list[int], *, answer_only: bool
    ) -> dict[str, list[int]]:
        return {"input_ids": prompt, "answer": answer, "labels": labels}

    def asked(self, prompts: Tokens, pad: int, device: Any) -> dict[str, Tensor]:
        return padded(prompts, pad, device)

    def begin(self, batch: dict[str, Tensor]) -> int:
        return 1  # after the start token

    def inputs(
        self, prompts: Tokens, answers: Tokens, *, pad: int, start: int, device: Any = None
    ) -> dict[str, Tensor]:
        """Prompts for the encoder, and for the decoder what stands before each token of the answers."""
        before = padded([[start, *answer[:-1]] for answer in answers], pad, device)["input_ids"]
        return padded(prompts, pad, device) | {"decoder_input_ids": before}

    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> list[Tensor]:
        batch = self.inputs(prompts, answers, pad=pad, start=self.start(model), device=model.device)
        said = model(**batch, use_cache=False).logits
        return [its[: len(answer)] for its, answer in zip(said, answers, strict=True)]


CAUSAL, SEQ2SEQ = Causal(), Seq2Seq()


def family_of(config: Any) -> Family:
    """The family of a base by its configuration, or by a `config.json` that was read."""
    kind = config.get("model_type") if isinstance(config, dict) else config.model_type
    return SEQ2SEQ if kind in ENCODER_DECODERS else CAUSAL


def padded(rows: Tokens, pad: int, device: Any, *, left: bool = False) -> dict[str, Tensor]:
    """Token ids filled up to the longest, with the mask that says what is text: both [rows, longest]."""
    width = max(map(len, rows))

    def filled(row: list[int], with_: int) -> list[int]:
        more = [with_] * (width - len(row))
        return more + row if left else row + more

    ids = [filled(row, pad) for row in rows]
    mask = [filled([1] * len(row), 0) for row in rows]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
