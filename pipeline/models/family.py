"""What a base is, by how it reads and answers: the one seam between the three families and whoever plans, trains, asks or
publishes, who asks a base's family and need not know which it is.

A causal model goes on after the prompt; a sequence-to-sequence one (a T5) reads the prompt in an encoder and says the answer in a
decoder; an extractive one (the sentence encoder) says nothing of its own and finds the answer in a record. Torch is imported
where there are tensors, so that the command line and the page may ask without it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.files import read_json
from pipeline.models.bases import SEQ2SEQ as ENCODER_DECODERS
from pipeline.models.bases import local_folder, typed_base
from pipeline.models.encoder import ENCODER
from pipeline.models.gpu import on_unsloth

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORED = -100
"""The label of a token that is not learned, as in PyTorch's cross-entropy."""

Tokens = Sequence[list[int]]

_T5 = re.compile(r"(?:flan-|m)?t5-[\w.-]+", re.IGNORECASE | re.ASCII)
"""What T5s are called."""


class Family:
    """What follows for the whole house from what a base is.

    Attributes:
        quick_rate: the learning rate that the preset `quick` has for it (benchmarks/RESULTS.md), unless it is the embedded model.
        in_4_bits: whether its weights are squeezed to 4 bits where that is asked for.
        has_template: whether others ask it through a chat template, where it comes with one.
        by_heart: whether it answers from what it was taught, so that it has a closed book and says something to any question.
            Where not, it reads the record that is found for a question, also of products that were never trained.
        in_parallel: whether several GPUs share its updates.
        needs_gpu: whether its answers are worth a GPU that is lent by the second, and its training a machine elsewhere.
        is_published: whether others can ask it, so that there is a form to publish it in.
        on_vllm: whether vLLM serves it.
        weights: how many it has, where all its bases have as many.
        tuned_name: what the tuned side is called.
        answers_by: how each side of a comparison answers, in a few words.
    """

    quick_rate: float
    in_4_bits = has_template = by_heart = in_parallel = needs_gpu = is_published = on_vllm = True
    weights: int | None = None
    tuned_name = "Tuned, closed book"
    answers_by: ClassVar[dict[str, str]] = {
        "base": "adapter off",
        "tuned": "adapter on",
        "other": "its adapter on",
        "open": "adapter on, reads the record",
        "base_open": "adapter off, reads the record",
    }


class Extractive(Family):
    """The sentence encoder with two heads, which finds where in a record an answer begins and ends (`reader.py`)."""

    quick_rate = 2e-3  # the one that its figures were measured with
    in_4_bits = has_template = by_heart = in_parallel = needs_gpu = is_published = on_vllm = False
    weights = 23_000_000
    tuned_name = "Tuned reader"
    answers_by: ClassVar[dict[str, str]] = {
        "base": "untrained: the nearest sentence",
        "tuned": "trained: the span in the record",
        "other": "its reader",
        "open": "the tuned reader",
        "base_open": "untrained: the nearest sentence",
    }


class Generative(Family, ABC):
    """A language model: what is done with its tokens.

    Attributes:
        task_type: what PEFT calls it.
    """

    task_type: str

    @property
    @abstractmethod
    def auto_class(self) -> Any:
        """Transformers' class that loads such a base."""

    def load(self, folder: Any, **how: Any) -> Any:
        """A base's model out of its folder, as Transformers' `from_pretrained` is told."""
        return self.auto_class.from_pretrained(folder, **how)

    def dtype(self, dtype: "torch.dtype") -> "torch.dtype":
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
    def asked(self, prompts: Tokens, pad: int, device: Any) -> "dict[str, Tensor]":
        """Prompts as one batch for `generate`."""

    @abstractmethod
    def begin(self, batch: "dict[str, Tensor]") -> int:
        """Where the answers begin in what `generate` returns for a batch of `asked`."""

    @abstractmethod
    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> "list[Tensor]":
        """What a model would say at each token of each answer after the ones before it: [tokens of the answer, vocabulary]."""


class Causal(Generative):
    """A model that goes on after what it has read."""

    quick_rate = 5e-4  # a safe one: of Gemma 3 270M's facts 97% were recalled with it, and 95% with 0.003
    task_type = "CAUSAL_LM"

    @property
    def auto_class(self) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def parts(self, model: Any) -> list[Any]:
        return [model.get_decoder()]

    def row(
        self, prompt: list[int], answer: list[int], labels: list[int], *, answer_only: bool
    ) -> dict[str, list[int]]:
        # Nothing stands before the first token that could say it.
        read = [IGNORED] * len(prompt) if answer_only else [IGNORED, *prompt[1:]]
        return {"input_ids": prompt + answer, "labels": read + labels}

    def asked(self, prompts: Tokens, pad: int, device: Any) -> "dict[str, Tensor]":
        return padded(prompts, pad, device, left=True)

    def begin(self, batch: "dict[str, Tensor]") -> int:
        return batch["input_ids"].shape[1]

    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> "list[Tensor]":
        # Padding comes after: no token of the text sees it.
        batch = padded([p + a[:-1] for p, a in zip(prompts, answers, strict=True)], pad, model.device)
        first = min(map(len, prompts)) - 1  # nobody asks for the logits of what stands before
        some = {} if on_unsloth() else {"use_cache": False, "logits_to_keep": batch["input_ids"].shape[1] - first}
        said = model(**batch, **some).logits
        first = batch["input_ids"].shape[1] - said.shape[1]
        begins = [len(prompt) - 1 - first for prompt in prompts]
        return [its[at : at + len(answer)] for its, at, answer in zip(said, begins, answers, strict=True)]


class Seq2Seq(Generative):
    """A model of two parts: one reads the prompt, and the other says the answer from a start token on."""

    quick_rate = 2e-3  # nothing is known of real weights
    in_4_bits = has_template = on_vllm = False
    task_type = "SEQ_2_SEQ_LM"

    @property
    def auto_class(self) -> Any:
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    def dtype(self, dtype: "torch.dtype") -> "torch.dtype":
        """Not fp16: a T5 was made in bf16, and what its layers say does not fit into the smaller range."""
        import torch

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

    def asked(self, prompts: Tokens, pad: int, device: Any) -> "dict[str, Tensor]":
        return padded(prompts, pad, device)

    def begin(self, batch: "dict[str, Tensor]") -> int:
        return 1  # after the start token

    def inputs(
        self, prompts: Tokens, answers: Tokens, *, pad: int, start: int, device: Any = None
    ) -> "dict[str, Tensor]":
        """Prompts for the encoder, and for the decoder what stands before each token of the answers."""
        before = padded([[start, *answer[:-1]] for answer in answers], pad, device)["input_ids"]
        return padded(prompts, pad, device) | {"decoder_input_ids": before}

    def logits(self, model: Any, prompts: Tokens, answers: Tokens, pad: int) -> "list[Tensor]":
        batch = self.inputs(prompts, answers, pad=pad, start=self.start(model), device=model.device)
        said = model(**batch, use_cache=False).logits
        return [its[: len(answer)] for its, answer in zip(said, answers, strict=True)]


CAUSAL, SEQ2SEQ, EXTRACTIVE = Causal(), Seq2Seq(), Extractive()


def family_of(config: Any) -> Generative:
    """The family of a language model by its configuration, or by a `config.json` that was read."""
    kind = config.get("model_type") if isinstance(config, dict) else config.model_type
    return SEQ2SEQ if kind in ENCODER_DECODERS else CAUSAL


def family_of_base(name: str) -> Family:
    """The family of a base by its name: by its files where it is on this machine, else by what T5s are called."""
    base = typed_base(name)
    if base == ENCODER:
        return EXTRACTIVE
    folder = local_folder(base)
    if folder is None:
        return SEQ2SEQ if _T5.fullmatch(base.rpartition("/")[2]) else CAUSAL
    try:
        return family_of(read_json(folder / "config.json"))
    except (OSError, ValueError, AttributeError, TypeError):
        return CAUSAL


def padded(rows: Tokens, pad: int, device: Any, *, left: bool = False) -> "dict[str, Tensor]":
    """Token ids filled up to the longest, with the mask that says what is text: both [rows, longest]."""
    import torch

    width = max(map(len, rows))

    def filled(row: list[int], with_: int) -> list[int]:
        more = [with_] * (width - len(row))
        return more + row if left else row + more

    ids = [filled(row, pad) for row in rows]
    mask = [filled([1] * len(row), 0) for row in rows]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
