"""A language model as it is asked: by prompts, in batches, its words heard while they come."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.answering.asker import (
    BASE,
    MAX_NEW_TOKENS,
    OTHER,
    TUNED,
    Answer,
    Asker,
    Growing,
    Progress,
    Question,
    Rows,
    RunModel,
)
from pipeline.answering.hearing import Hearing
from pipeline.facts.patterns import DESCRIPTION
from pipeline.prompts import (
    CHAT,
    GENERAL,
    PLAIN,
    UNKNOWN,
    UNKNOWN_TITLE,
    build_prompt,
    encode_answer,
    encode_example,
    encode_prompt,
)

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

T = TypeVar("T")

GENERAL_TOKENS = 24
"""Enough for a short sentence with the answer to a general question in it; a model that rambles has said it by then or not
at all."""

BATCH_SIZE, GPU_BATCH_SIZE = 32, 64
"""Questions that are asked at once: a processor needs 1.4 times as long for a step of 32 as for one of 16, and a GPU hardly any
longer for more."""


class Speaker(Asker):
    """A language model, which is asked by prompts and says what it was taught."""

    def __init__(self, language_model: "LanguageModel") -> None:
        self.language_model = language_model

    def origin(self) -> dict[str, str]:
        return {"base_model": self.language_model.base_model, "base_sha256": self.language_model.base_sha256}

    def ask(self, questions: Sequence[Question], *, tuned: bool, on_progress: Progress | None = None) -> list[Answer]:
        language_model = self.language_model
        tokens = [encode_prompt(language_model.tokenizer, q.prompt) for q in questions]
        # Questions of like length and kind share a batch, so that a short answer does not wait for a long one.
        order = sorted(range(len(questions)), key=lambda i: (questions[i].kind == DESCRIPTION, len(tokens[i])))
        answers: dict[int, Answer] = {}
        for batch in in_batches(language_model, order):
            raws = language_model.generate(
                [tokens[i] for i in batch], tuned=tuned, **self._steps([questions[i] for i in batch])
            )
            for i, raw in zip(batch, raws, strict=True):
                answers[i] = Answer.of(questions[i].kind, raw, questions[i].expected)
            if on_progress:
                on_progress(len(answers), len(questions))
        return [answers[i] for i in range(len(questions))]

    def _steps(self, batch: Sequence[Question]) -> dict[str, Any]:
        """How long the answers of a batch may become, and who looks at them after each step."""
        most = max(q.max_new_tokens for q in batch)
        listeners = [q.listener for q in batch]
        if any(listeners):
            kinds = [q.kind if q.is_said else "" for q in batch]
            on_step: Any = Hearing(self.language_model, listeners, kinds, most)
        else:
            on_step = partial(_whole, self.language_model, batch)
        return {"max_new_tokens": most, "on_step": on_step}

    def room(self, response: str, spare_tokens: int | None) -> int:
        if spare_tokens is None:
            return MAX_NEW_TOKENS
        needed = len(encode_answer(self.language_model.tokenizer, response)) + 1
        return min(MAX_NEW_TOKENS, needed + spare_tokens)

    def knows(self, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[bool]:
        """What greedy decoding would give word for word is known without decoding it."""
        encoded = [encode_example(self.language_model.tokenizer, row["prompt"], row["response"]) for row in rows]
        prompts, answers = ([_of(example, part) for example in encoded] for part in (0, 1))
        return self.language_model.would_say(prompts, answers, tuned=tuned)

    def formats(self) -> list[str]:
        own = self.language_model.prompt_format
        return [own, *({PLAIN, CHAT} - {own} if self.language_model.chat else ())]

    def asked_in(self, prompt_format: str) -> "Speaker":
        return Speaker(self.language_model.asked_in(prompt_format))

    def graded(self, training: Rows, held_out: Rows, max_length: int) -> Rows:
        return taught_rows(self.language_model.tokenizer, training, held_out, max_length)

    def grow(
        self, asked: dict[str, tuple[str, str]], about: Any, *, max_new_tokens: int, temperature: float
    ) -> Growing:
        """Those that get the same prompt answer together, one prompt after the other."""
        raws: dict[str, str | None] = dict.fromkeys(asked)
        for prompt in dict.fromkeys(prompt for _, prompt in asked.values()):
            group = {side: adapter_of(who) for side, (who, own) in asked.items() if own == prompt}
            tokens = [encode_prompt(self.language_model.tokenizer, prompt)] * len(group)
            growing = self.language_model.stream(
                tokens, by=list(group.values()), max_new_tokens=max_new_tokens, temperature=temperature
            )
            with closing(growing):
                for texts in growing:
                    raws = raws | {side: text or None for side, text in zip(group, texts, strict=True)}
                    yield raws, {}
            raws = raws | {side: raws[side] or "" for side in group}
            yield raws, {}

    def count(self, texts: Sequence[str]) -> int:
        return sum(len(self.language_model.tokenizer.encode(text, add_special_tokens=False)) for text in texts)

    def warm_up(self) -> None:
        tokens = encode_prompt(self.language_model.tokenizer, build_prompt(UNKNOWN_TITLE, "What is it?"))
        for _ in self.language_model.stream([tokens] * 2, by=[adapter_of(BASE), adapter_of(TUNED)], max_new_tokens=2):
            pass


def asker_of(language_model: RunModel) -> Asker:
    """Who answers for a run, of what is kept of it in memory."""
    return language_model if isinstance(language_model, Asker) else Speaker(language_model)


def adapter_of(who: str) -> str:
    """Whose answer is wanted, as the model calls it."""
    from pipeline.models import language_model

    return {BASE: language_model.BASE, TUNED: language_model.TUNED, OTHER: language_model.OTHER}[who]


def taught_rows(tokenizer: Any, training: Rows, held_out: Rows, max_length: int) -> Rows:
    """The held-out rows of facts that a training row of at most `max_length` tokens teaches, and of unknown products."""
    taught: set[tuple[str, str]] = set()
    for row in training:
        fact = row["uid"], row["kind"]
        if fact not in taught:
            tokens = encode_example(tokenizer, row["prompt"], row["response"])["input_ids"]
            taught |= {fact} if len(tokens) <= max_length else set()
    return [row for row in held_out if row["kind"] == UNKNOWN or (row["uid"], row["kind"]) in taught]


def _whole(language_model: "LanguageModel", asked: Sequence[Question], said: Sequence[list[int]]) -> list[int]:
    """The answers of a batch that have had their room, or to which nothing more belongs."""
    return [
        at
        for at, (question, tokens) in enumerate(zip(asked, said, strict=True))
        if len(tokens) >= question.max_new_tokens or (question.kind == GENERAL and has_line(language_model, tokens))
    ]


def has_line(language_model: "LanguageModel", tokens: list[int]) -> bool:
    """Whether an answer has come beyond its first line, which is all that counts of one to a general question."""
    return "\n" in language_model.text(tokens)


def in_batches(language_model: "LanguageModel", items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut what is asked into what fits one pass of the model."""
    size = GPU_BATCH_SIZE if language_model.model.device.type == "cuda" else BATCH_SIZE
    return (items[start : start + size] for start in range(0, len(items), size))


def _of(example: dict[str, list[int]], part: int) -> list[int]:
    """An encoded row's prompt (0) or its response with the end token (1)."""
    return [t for t, mask in zip(example["input_ids"], example["completion_mask"], strict=True) if mask == part]
