"""A base model by name, and an adapter that is switched on and off.

It runs on Transformers, in a process that imported Unsloth to train (`training/child.py`) on that, and on a GPU in 4
bits where asked. Importing this module imports torch: the page does so only when a model is first needed.
"""

import copy
import queue
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import psutil
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import GenerationConfig, StoppingCriteriaList

from pipeline.errors import ModelError
from pipeline.models.decoding import TOP_K, OnStep, decode, decodes
from pipeline.models.family import Generative, family_of
from pipeline.models.gpu import on_unsloth
from pipeline.models.prefixes import answer_logits
from pipeline.models.static_cache import StaticBatch, mixes, takes_static_cache
from pipeline.prompts import CHAT, PLAIN, Chat, ask_in, chat_of_tokenizer, end_of_answer

ADAPTER_ORIGIN = "base.json"
"""Inside an adapter's folder: the name and checksum of the base it was trained on."""

LARGEST_RANK = 4096
"""Of an adapter; the matrices of a larger one are made before its weights are looked at."""

BASE, TUNED, OTHER = "__base__", "default", "other"
"""Who answers: the base, the run's adapter, or another run's beside it; by PEFT's names for the rows of a batch."""

READ_AT_ONCE = 4
"""Texts of one pass of Transformers' that computes logits of many tokens: more would take more memory than training does."""

MANY_ROWS, BUSY = 8, 25
"""Rows from which a batch may use every core, and the load (percent of all cores) from which it does not."""

LOOK_SECONDS = 3
"""For which it counts whether the machine was busy."""

ROOM_TO_PREPACK = 4
"""So many times a model's weights must be free for laying them out a second time: others need memory too."""

MAX_ASKED_TOKENS = 1024
"""Room for the longest question with its title and the answer."""


def device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_for(precision: str) -> torch.dtype:
    """The number format for a precision the user chose; `auto` and what the hardware cannot do become what it can."""
    if precision == "fp32":
        return torch.float32
    if precision == "fp16" and torch.cuda.is_available():
        return torch.float16
    return native_dtype()


def native_dtype() -> torch.dtype:
    """bf16 where the processor computes in it natively, else fp16 on a GPU and fp32 on a CPU."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device() == "mps":
        return torch.float16
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokenizer's end token, which training teaches, and the base's own, which its untuned answers end with: a chat's ends
    in another one than a text, and only the settings for generating name both."""
    said = [model.config.get_text_config().eos_token_id, getattr(model.generation_config, "eos_token_id", None)]
    own = [token for ends in said for token in (ends if isinstance(ends, list) else [ends])]
    return {tokenizer.eos_token_id, end_of_answer(tokenizer), *own} - {None}


@dataclass
class LanguageModel:
    """A loaded base model, with a run's adapter on top and perhaps another run's beside it.

    `lock` serialises everything that runs the model: the adapter's switch is global to it. `chat` is the base's own template,
    whether or not this run is asked in it: the tokenizer knows that.
    """

    model: Any
    tokenizer: Any
    base_model: str
    base_sha256: str
    adapter: str | None = None
    other: tuple[str, int] | None = None
    chat: Chat | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def family(self) -> Generative:
        return family_of(self.model.config)

    @property
    def prompt_format(self) -> str:
        """How it is asked."""
        return CHAT if chat_of_tokenizer(self.tokenizer) else PLAIN

    @property
    def form(self) -> str:
        """Number format and device of what computes here, in which it may say some things otherwise than in another."""
        in_4_bits = getattr(self.model.config, "quantization_config", None) is not None
        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"{dtype}-{self.model.device.type}{'-4bit' if in_4_bits else ''}"

    def asked_in(self, prompt_format: str) -> "LanguageModel":
        """The same model, asked in another prompt format; whoever asks this one meanwhile is not disturbed."""
        tokenizer = ask_in(copy.copy(self.tokenizer), self.chat if prompt_format == CHAT else None)
        return replace(self, tokenizer=tokenizer)

    @contextmanager
    def side(self, tuned: bool) -> Iterator[None]:
        """Run the block with the adapter on (tuned) or off (base), and prove that it is so.

        Raises:
            ModelError: tuned answers are asked for without an adapter, or the adapter did not switch.
        """
        with self._answering(TUNED if tuned else BASE):
            yield

    @contextmanager
    def _answering(self, who: str) -> Iterator[None]:
        self._check_present(who)
        with self.lock:
            if who == OTHER:
                self.model.set_adapter(OTHER)
            try:
                with self.model.disable_adapter() if who == BASE and self.adapter else nullcontext():
                    self._assert_answering(who)
                    yield
            finally:
                if who == OTHER:
                    self.model.set_adapter(TUNED)

    def _check_present(self, who: str) -> None:
        if who != BASE and not (self.adapter if who == TUNED else self.other):
            raise ModelError("No adapter is loaded, so there is no tuned model to ask; train one first.")

    def _assert_answering(self, who: str) -> None:
        layers = [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]
        active = [[] if layer.disable_adapters else layer.active_adapters for layer in layers]
        wanted = [] if who == BASE else [who]
        if any(layer.merged for layer in layers) or (wanted and not layers) or any(a != wanted for a in active):
            raise ModelError("The adapter did not switch, so base and tuned answers cannot be told apart.")

    def generate(
        self, prompts: list[list[int]], *, tuned: bool, max_new_tokens: int, on_step: OnStep = lambda _: ()
    ) -> list[str]:
        """Greedy answers to encoded prompts, in one batch.

        Args:
            prompts: token ids, one list a prompt.
            tuned: with the adapter on; off means the base model.
            max_new_tokens: the most tokens an answer may have.
            on_step: told all answers so far after each token; those that it names get no more of them.

        Returns:
            The decoded tokens after each prompt, cut at the end token.

        Raises:
            ModelError: tuned answers are asked for without an adapter.
        """
        by = [TUNED if tuned else BASE] * len(prompts)
        return [self.text(said) for said in self._decoded(prompts, by, self._generation(max_new_tokens), on_step)]

    def stream(
        self, prompts: list[list[int]], *, by: list[str], max_new_tokens: int, temperature: float = 0.0
    ) -> Generator[list[str], None, None]:
        """The answers as they grow: in one batch where the adapters can share one, else one after another.

        Closing the iterator stops the model at its next token.

        Args:
            prompts: token ids, one list a prompt.
            by: who answers each prompt: `BASE`, `TUNED` or `OTHER`.
            max_new_tokens: the most tokens an answer may have.
            temperature: 0 is greedy, as everywhere else; above that, tokens are drawn.

        Yields:
            The text of every answer so far.

        Raises:
            ModelError: tuned answers are asked for without an adapter.
        """
        said: list[list[int]] = [[] for _ in prompts]
        everybody = list(range(len(by)))
        with self.lock:
            together = self._is_ours() or self._can_mix(by)
        groups = [everybody] if together else [[i for i in everybody if by[i] == who] for who in dict.fromkeys(by)]
        config = self._generation(max_new_tokens, temperature)
        for group in groups:
            for tokens in self._growing([prompts[i] for i in group], [by[i] for i in group], config):
                said = [tokens[group.index(i)] if i in group else row for i, row in enumerate(said)]
                # At the end may be half of a character that takes two tokens.
                yield [self.text(row).rstrip("\ufffd") for row in said]
        yield [self.text(row) for row in said]

    def _is_ours(self) -> bool:
        """Whether this project's own decoding answers."""
        return decodes(self.model)

    def _repeats(self, places: int = 0) -> bool:
        """Whether a GPU repeats the steps of Transformers' own forward pass, for texts and answers of so many tokens."""
        return self.model.device.type == "cuda" and not on_unsloth() and takes_static_cache(self.model, places)

    def _can_mix(self, by: list[str]) -> bool:
        """Whether one batch of Transformers' may hold rows of these: PEFT can, for plain adapters on plain layers."""
        adapters = set(by) - {BASE}
        return mixes(self.model) and not on_unsloth() and (len(adapters) < 2 or not self._repeats())

    def _growing(self, prompts: list[list[int]], by: list[str], config: GenerationConfig) -> Iterator[list[list[int]]]:
        """Every sequence's new tokens, whenever there are more.

        The model runs in a thread of its own, since whoever reads on may be another thread each time, and the lock, the
        number of threads and the absence of gradients belong to one.
        """
        news: queue.SimpleQueue[list[list[int]] | BaseException | None] = queue.SimpleQueue()
        closed = threading.Event()

        def on_step(said: list[list[int]]) -> Collection[int]:
            news.put([list(row) for row in said])
            return range(len(said)) if closed.is_set() else ()

        def work() -> None:
            try:
                self._decoded(prompts, by, config, on_step)
                news.put(None)
            except BaseException as error:
                news.put(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while (found := news.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            closed.set()
            worker.join()

    def _decoded(
        self, prompts: list[list[int]], by: list[str], config: GenerationConfig, on_step: OnStep = lambda _: ()
    ) -> list[list[int]]:
        """The tokens of each answer, in one batch."""
        with self.lock:  # nobody changes adapters between the look at them and the answer
            for who in set(by):
                self._check_present(who)
            names = [None if who == BASE else who for who in by]
            options = {"max_new_tokens": config.max_new_tokens, "temperature": config.temperature or 0.0}
            options |= {"ends": self.end_tokens(), "on_step": on_step}
            if self._is_ours():
                with self._inference(len(prompts)):
                    return decode(self.model, prompts, names, **options)
            if self._repeats(max(map(len, prompts)) + config.max_new_tokens):
                who = next((who for who in by if who != BASE), BASE)
                with self._answering(who), self._inference(len(prompts)):
                    return decode(self.model, prompts, names, **options, batch=StaticBatch)
            return self._decoded_by_transformers(prompts, by, config, on_step)

    def _decoded_by_transformers(
        self, prompts: list[list[int]], by: list[str], config: GenerationConfig, on_step: OnStep
    ) -> list[list[int]]:
        batch = self.family.asked(prompts, self.tokenizer.pad_token_id, self.model.device)
        begin = self.family.begin(batch)

        # Transformers' streamers take one sequence; what may stop a batch sees all of it at every step.
        def each_step(ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            unwanted = on_step(ids[:, begin:].tolist())
            return torch.tensor([row in unwanted for row in range(len(ids))], device=ids.device)

        mixed = len(set(by)) > 1
        options = {"adapter_names": by} if mixed else {}
        criteria = StoppingCriteriaList([each_step])
        with self._answering(TUNED if mixed else by[0]), self._inference(len(prompts)):
            output = self.model.generate(**batch, generation_config=config, stopping_criteria=criteria, **options)
        return output[:, begin:].tolist()

    def logits(self, prompts: list[list[int]], answers: list[list[int]]) -> list[torch.Tensor]:
        """What the model, as it is switched now, would say at each token of each answer: [tokens of the answer, vocabulary]."""
        return self.family.logits(self.model, prompts, answers, self.tokenizer.pad_token_id)

    def would_say(self, prompts: list[list[int]], answers: list[list[int]], *, tuned: bool) -> list[bool]:
        """Whether greedy decoding gives exactly these answers, in one pass over all tokens instead of one pass a token.

        A token of an answer is what decoding would say there if it is the likeliest after all that stand before it: the
        check of speculative decoding (arXiv 2211.17192) with the expected answer as its draft.

        Args:
            prompts: token ids, one list a prompt.
            answers: token ids of each prompt's answer, the end token included.
        """
        # A GPU decodes a large batch sooner, and Unsloth's forward pass is another.
        if self.model.device.type == "cuda":
            return [False] * len(prompts)
        read = self.answer_logits(prompts, answers, tuned=tuned)
        likeliest = {i: logits.argmax(-1).tolist() for i, logits in read}
        return [likeliest[i] == answer for i, answer in enumerate(answers)]

    def reads_texts(self) -> bool:
        """Whether this project's own pass reads several texts at once, without what they have in common twice."""
        return self.model.device.type == "cpu" and self._is_ours()

    def answer_logits(
        self, prompts: list[list[int]], answers: list[list[int]], *, tuned: bool
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """What the model says before each token of answers that are there already.

        Yields:
            An answer's number and its logits, [its tokens, vocabulary], in any order.
        """
        with self.side(tuned), self._inference(len(prompts)):
            if self.reads_texts():
                yield from answer_logits(self.model, prompts, answers, TUNED if tuned else None)
                return
            order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(answers[i]))
            for start in range(0, len(order), READ_AT_ONCE):
                part = order[start : start + READ_AT_ONCE]
                some = self.logits([prompts[i] for i in part], [answers[i] for i in part])
                yield from zip(part, some, strict=True)

    @contextmanager
    def _inference(self, rows: int) -> Iterator[None]:
        """Leave training mode for the block, as a probe does in the middle of a run."""
        training, threads = self.model.training, torch.get_num_threads()
        _switch_mode(self.model, training=False)
        torch.set_num_threads(threads if self._has_all_cores(rows) else max(1, threads // 2))
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_num_threads(threads)
            if training:
                _switch_mode(self.model, training=True)

    def _has_all_cores(self, rows: int) -> bool:
        """Whether a batch should be computed by every core of a CPU.

        One token's matrices are small: with every core taking part, each of thousands of operations waits for the slowest
        core. Sixteen rows are a third faster so on an idle machine, and twice as slow on a busy one (benchmarks/RESULTS.md).
        """
        several = rows >= MANY_ROWS and self.model.device.type == "cpu" and torch.get_num_threads() > 1
        return several and _is_idle(int(time.monotonic() / LOOK_SECONDS))

    def _generation(self, max_new_tokens: int, temperature: float = 0.0) -> GenerationConfig:
        drawn: dict[str, Any] = {"do_sample": False}
        if temperature:
            drawn = {"do_sample": True, "temperature": temperature, "top_k": TOP_K, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            **drawn,
            repetition_penalty=1.0,  # what a model's own file asks for would hold for one way of decoding alone
            no_repeat_ngram_size=0,
            eos_token_id=sorted(self.end_tokens()),
            pad_token_id=self.tokenizer.pad_token_id,
            decoder_start_token_id=self.family.start(self.model),
        )

    def end_tokens(self) -> set[int]:
        """Those that end an answer."""
        return end_tokens(self.model, self.tokenizer)

    def detokenizer(self) -> Callable[[list[int]], str]:
        """Tokens → their text without special ones, by the shortest way: it is gone a thousand times a second."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        return fast.decode if fast else lambda tokens: self.tokenizer.decode(tokens, skip_special_tokens=True)

    def text(self, tokens: list[int]) -> str:
        """What an answer's tokens say, up to its end token."""
        ends = self.end_tokens()
        cut = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        return self.tokenizer.decode(tokens[:cut], skip_special_tokens=True).strip()


@lru_cache(maxsize=1)
def _is_idle(_: int) -> bool:
    """Whether the cores are free; a look takes a tenth of a second, so one serves for a while."""
    return psutil.cpu_percent(0.1) < BUSY


def _switch_mode(model: Any, *, training: bool) -> None:
    if on_unsloth():
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports]

        (FastLanguageModel.for_training if training else FastLanguageModel.for_inference)(model)
    model.train(training)
