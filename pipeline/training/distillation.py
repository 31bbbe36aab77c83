"""What each token of a response should be: the row's own, or, in a row of general knowledge, what the base would say there.

Such a row teaches nothing new. At every token of the base's own answer the model is held to the distribution that the base
has there ("Learning without Forgetting", arXiv 1606.09282, with the loss of arXiv 1503.02531), drawn a little towards what it
would say. Teaching answers instead, even those that the base knows, lets a model forget more (benchmarks/RESULTS.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as HuggingFaceDataset
from torch import Tensor
from torch.autograd import Function

from pipeline.answering.speaker import GENERAL_TOKENS, has_line, in_batches
from pipeline.dataset.examples import GENERAL_EDITED
from pipeline.errors import SettingsError
from pipeline.facts.extraction import extract
from pipeline.models.language_model import LanguageModel
from pipeline.models.token_counts import check_facts_fit
from pipeline.prompts import GENERAL, encode_answer, encode_example
from pipeline.runs.settings import TrainingSettings
from pipeline.training.base_notes import BaseNotes, Kept, Note
from pipeline.training.out_of_memory import is_out_of_memory
from pipeline.training.plan.memory import MOST_LOGITS, noted_at_once

FIRST_KEPT = -1000
"""A label from here down is a place in `Targets`: 0 at this one, 1 at the next one down."""

LIKELIEST = 64
"""The base's likeliest tokens that are remembered one by one for each place; of the others, what they come to together."""

LEAST = 1e-6
"""Shares below this are taken for it where they are divided by."""

SURENESS = 0.5
"""How far the target goes from the base's distribution to the token that the base would choose. A base that is right by a
hair loses that to any change; so it is taught to be surer of what it would say (benchmarks/RESULTS.md)."""


@dataclass
class Targets:
    """What should be said at the places of kept rows.

    Attributes:
        tokens: [places, k] the base's likeliest tokens.
        shares: [places, k] how likely each shall be; what is missing to 1 is all other tokens'.
    """

    tokens: Tensor
    shares: Tensor

    def of(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens that should follow and their shares, both [n, k], for n labels, of which none is `IGNORED`."""
        if self.tokens.device != labels.device:
            self.tokens, self.shares = self.tokens.to(labels.device), self.shares.to(labels.device)
        kept, width = labels <= FIRST_KEPT, self.tokens.shape[1]
        tokens = labels.clamp(min=0)[:, None].repeat(1, width)
        shares = torch.zeros(tokens.shape, device=labels.device)
        shares[:, 0] = 1
        places = FIRST_KEPT - labels[kept]
        tokens[kept], shares[kept] = self.tokens[places], self.shares[places]
        return tokens, shares


@dataclass
class Encoded:
    """The rows that are trained.

    Attributes:
        rows: of each what its base's family makes of it (`Family.row`); a label is a token, `IGNORED`, or a place in the targets.
        left_out: how many rows are longer than `max_length`; they are never cut.
        unsayable: how many have an answer with characters that the base has no token for, so that it cannot say it.
    """

    rows: HuggingFaceDataset
    targets: Targets
    left_out: int
    unsayable: int = 0


def encode_rows(
    language_model: LanguageModel,
    rows: Sequence[dict[str, Any]],
    settings: TrainingSettings,
    notes: BaseNotes | None = None,
) -> Encoded:
    """Tokens and labels of the training rows.

    Args:
        language_model: the base, still without an adapter: it is asked what it would say in general rows.
        notes: what it has said before, which it is not asked again.

    Raises:
        SettingsError: no row is short enough.
    """
    tokenizer = language_model.tokenizer
    examples = [(is_kept(row), encode_example(tokenizer, row["prompt"], row["response"])) for row in rows]
    short = [(keep, example) for keep, example in examples if len(example["input_ids"]) <= settings.max_length]
    if not short:
        raise SettingsError(f"Every row is longer than max_length ({settings.max_length} tokens); raise max_length.")
    check_facts_fit(rows, [len(example["input_ids"]) for _, example in examples], settings.max_length)
    kept, targets = as_the_base_says(language_model, [example for keep, example in short if keep], notes)
    encoded, places, general, family = [], 0, iter(kept), language_model.family
    for keep, example in short:
        row = next(general) if keep else _as_written(example)
        answer = labels = row.answer + row.end
        if keep:
            labels = [FIRST_KEPT - place for place in range(places, places + len(row.answer))] + row.end
            places += len(row.answer)
        answer_only = keep or settings.completion_only_loss
        encoded.append(family.row(row.prompt, answer, labels, answer_only=answer_only))
    unsayable = sum(tokenizer.unk_token_id in _as_written(example).answer for keep, example in short if not keep)
    return Encoded(HuggingFaceDataset.from_list(encoded), targets, len(rows) - len(short), unsayable)


def notes_of(language_model: LanguageModel, of_run: Path | None = None) -> BaseNotes:
    """What the base has said before, asked as it is asked now; what it said to a run, however it was asked."""
    return BaseNotes.of(language_model, f"{GENERAL_TOKENS}-{LIKELIEST}-{SURENESS:g}", of_run)


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a row keeps what the base knows, instead of teaching what it says."""
    return row["kind"] == GENERAL and row["template"] != GENERAL_EDITED


def as_the_base_says(
    language_model: LanguageModel, examples: Sequence[dict[str, list[int]]], notes: BaseNotes | None = None
) -> tuple[list[Kept], Targets]:
    """General rows with the base's own answers, and its distribution at each of their tokens, in the rows' order."""
    written = [_as_written(example) for example in examples]
    found = [notes.get(row) if notes else None for row in written]
    asked = [i for i, note in enumerate(found) if note is None]
    for i, note in zip(asked, _asked(language_model, [written[i] for i in asked]), strict=True):
        found[i] = note
        if notes:
            notes.add(written[i], note)
    if notes:
        notes.save()
    said = [note for note in found if note]
    width = said[0].tokens.shape[1] if said else 1
    tokens = torch.cat([torch.zeros(0, width, dtype=torch.long), *(note.tokens for note in said)])
    shares = torch.cat([torch.zeros(0, width), *(note.shares for note in said)])
    return [note.row for note in said], Targets(tokens, shares)


def _asked(language_model: LanguageModel, written: Sequence[Kept]) -> list[Note]:
    """What the base says to general rows.

    What it would not say is no use: its distribution after words that it would never choose tells nothing of how it answers.
    A row that is as the base has it, as those of the project are for the embedded one, costs one pass.
    """
    kept = list(written)
    likeliest = base_likeliest(language_model, kept)
    others = [i for i, (tokens, _) in enumerate(likeliest) if tokens[:, 0].tolist() != kept[i].answer]
    said = [_as_said(language_model, batch) for batch in in_batches(language_model, [kept[i] for i in others])]
    for i, row in zip(others, chain.from_iterable(said), strict=True):
        kept[i] = row
    for i, found in zip(others, base_likeliest(language_model, [kept[i] for i in others]), strict=True):
        likeliest[i] = found
    return [Note(row, *found) for row, found in zip(kept, likeliest, strict=True)]


def _as_written(example: dict[str, list[int]]) -> Kept:
    asked = example["completion_mask"].index(1)
    ids = example["input_ids"]
    return Kept(ids[:asked], ids[asked:-1], ids[-1:])


def _as_said(language_model: LanguageModel, rows: Sequence[Kept]) -> list[Kept]:
    """The rows with the first line that the base answers; as they are written where it says nothing."""
    raws = language_model.generate(
        [row.prompt for row in rows],
        tuned=False,
        max_new_tokens=GENERAL_TOKENS,
        on_step=lambda said: [at for at, tokens in enumerate(said) if has_line(language_model, tokens)],
    )
    result = []
    for row, raw in zip(rows, raws, strict=True):
        line = extract(GENERAL, raw).answer
        tokens = encode_answer(language_model.tokenizer, line)
        cut = len(tokens) >= GENERAL_TOKENS
        result.append(Kept(row.prompt, tokens, [] if cut else row.end) if line else row)
    return result


def base_likeliest(language_model: LanguageModel, rows: Sequence[Kept]) -> list[tuple[Tensor, Tensor]]:
    """The base's likeliest tokens at each token of each answer, and how likely each shall be: both [tokens of the answer, k]."""
    if language_model.reads_texts():
        read = language_model.answer_logits([row.prompt for row in rows], [row.answer for row in rows], tuned=False)
        wanted = {i: _wanted(logits) for i, logits in read}
        return [wanted[i] for i in range(len(rows))]
    vocabulary = language_model.model.get_output_embeddings().out_features
    found = []
    for batch in in_batches(language_model, rows):
        tokens = max(len(row.prompt) + len(row.answer) for row in batch)
        at_once = noted_at_once(len(batch), tokens, vocabulary)
        for start in range(0, len(batch), at_once):
            found += _likeliest(language_model, batch[start : start + at_once])
    return found


def _likeliest(language_model: LanguageModel, batch: Sequence[Kept]) -> list[tuple[Tensor, Tensor]]:
    """`base_likeliest` of rows in one pass; where the memory is not enough for it, in two."""
    try:
        return _likeliest_at_once(language_model, batch)
    except Exception as error:
        if not is_out_of_memory(error) or len(batch) == 1:
            raise
    half = len(batch) // 2
    return [*_likeliest(language_model, batch[:half]), *_likeliest(language_model, batch[half:])]


def _likeliest_at_once(language_model: LanguageModel, batch: Sequence[Kept]) -> list[tuple[Tensor, Tensor]]:
    with torch.no_grad():
        logits = language_model.logits([row.prompt for row in batch], [row.answer for row in batch])
    return [_wanted(its) for its in logits]


def _wanted(logits: Tensor) -> tuple[Tensor, Tensor]:
    shares = logits.float().softmax(-1)
    top = shares.topk(min(LIKELIEST, shares.shape[-1]))
    wanted = (1 - SURENESS) * top.values
    wanted[:, 0] += SURENESS
    return top.indices.cpu(), wanted.cpu()


def divergence(logits: Tensor, tokens: Tensor, shares: Tensor) -> Tensor:
    """The summed divergence (Kullback–Leibler) of what should follow from what a model says.

    Where one token has the whole share it is the cross-entropy. The tokens that have no share of their own count as one.

    Args:
        logits: [n, vocabulary]
        tokens, shares: [n, k], as from `Targets.of`.
    """
    logs = logits.float().log_softmax(-1).gather(1, tokens)
    return _each(logs, shares).sum()


def _each(logs: Tensor, shares: Tensor) -> Tensor:
    """[n] the divergence at each place."""
    wanted, said = _others(shares), _others(logs.exp()).clamp(min=LEAST)
    one_by_one = (torch.xlogy(shares, shares) - shares * logs).sum(-1)
    return one_by_one + torch.xlogy(wanted, wanted) - wanted * said.log()


def _others(shares: Tensor) -> Tensor:
    """[n] what is left for the tokens that have no share of their own; no more than rounding where one has the whole."""
    return (1 - shares.sum(-1)).clamp(min=0)


class Divergence(Function):
    """`divergence` of logits [n, vocabulary], which takes no memory but for their gradient, made with the loss; `counts` as in
    `LinearDivergence`. None of the operations looks at a value."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, shares: Tensor, counts: Tensor) -> Tensor:
        gradient, loss = logits.clone(), torch.zeros((), device=logits.device)
        for part in _pieces(MOST_LOGITS, gradient, tokens, shares, counts):
            loss += _turn_into_gradient(*part)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return ctx.saved_tensors[0] * grads[0], None, None, None


class LinearDivergence(Function):
    """`divergence` of x Wᵀ; x [n, width], W [vocabulary, width], tokens and shares [n, k].

    Where n was filled up so that there are few shapes, counts [n] are 1 and, from where that begins, 0. The gradient is made
    with the loss, in the logits' place and some tokens at a time: as many as fit the cache of a CPU, or a GPU's memory beside
    everything else.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, tokens: Tensor, shares: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        piece = MOST_LOGITS if x.is_cuda else 8
        counts = torch.ones_like(tokens[:, 0]) if counts is None else counts
        loss, grads = torch.zeros((), device=x.device), []
        for rows, its_tokens, its_shares, its_counts in _pieces(MOST_LOGITS, x, tokens, shares, counts):
            logits = rows @ weight.t()
            here = len(rows) if x.is_cuda else int(its_counts.sum())  # a GPU would have to be waited for
            logits[here:] = 0
            for part, *wanted in _pieces(piece, logits[:here], its_tokens[:here], its_shares[:here], its_counts[:here]):
                loss += _turn_into_gradient(part, *wanted)
            grads.append(logits @ weight)
        ctx.save_for_backward(torch.cat(grads))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return ctx.saved_tensors[0] * grads[0], None, None, None, None


def _pieces(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _turn_into_gradient(logits: Tensor, tokens: Tensor, shares: Tensor, counts: Tensor) -> Tensor:
    """Overwrite logits with the gradient of their divergence, which is returned."""
    logs = logits.float().log_softmax(-1)
    top = logs.gather(1, tokens)
    loss, said = (_each(top, shares) * counts).sum(), top.exp_()
    # A remembered token is drawn to its share; the others, as they are among themselves, to what is left for them.
    pull = (_others(shares) / _others(said).clamp(min=LEAST))[:, None]
    gradient = (logs.exp_() * (1 - pull)).scatter_add_(1, tokens, said * pull - shares)
    logits.copy_(gradient.mul_(counts[:, None]))
    return loss
