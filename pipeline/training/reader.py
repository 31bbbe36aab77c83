"""Trains a reader: the sentence encoder, with LoRA and two heads, on the spans of the dataset's facts.

Transformers' trainer with the project's watcher, so that a reader's run has the events, checkpoints and endings of any run. What
comes out is in `adapter/`, with the threshold below which it says that the record does not say.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from pipeline.answering.answers import thinned
from pipeline.answering.asker import Answer
from pipeline.answering.run_reader import RunReader, chooses, sureness, to_read
from pipeline.answering.scoring import RIGHT, verdict
from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.files import whole_folder
from pipeline.models.bases import checksum, find_base
from pipeline.models.encoder import ENCODER, load_encoder
from pipeline.models.reader import Joined, Reader, new_reader, save_reader
from pipeline.prompts import NO_FACT
from pipeline.runs.events import append_event
from pipeline.runs.folder import ADAPTER, ANSWERED
from pipeline.runs.settings import TrainingSettings
from pipeline.training.plan.plan import Plan
from pipeline.training.reading_rows import ReadingRow, reading_rows
from pipeline.training.trainers import arguments_of, follow
from pipeline.training.watcher import CountingCollator, Watcher

CHOOSING = 200
"""Questions that choose the threshold, at most: to find what each is about takes longer than to read it."""


def prepare_reader(dataset: Dataset, settings: TrainingSettings) -> RunReader:
    """The encoder with a fresh adapter and heads, and who asks it."""
    variant = settings.lora_variant if settings.lora_variant != "pissa" else "lora"
    reader = new_reader(
        rank=settings.lora_r,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        variant=variant,
        seed=settings.seed,
    )
    return RunReader(dataset, checksum(find_base(ENCODER)), reader)


def make_reader_trainer(
    run: RunReader, settings: TrainingSettings, plan: Plan, folder: Path, watcher: Watcher
) -> Trainer:
    """The trainer with the dataset's spans.

    Raises:
        SettingsError: no row of the dataset has an answer that stands in a record.
    """
    assert run.reader
    append_event(folder, "message", text="Looking up where the answers stand in the records")
    rows, left_out = reading_rows(
        run.dataset, load_encoder(), settings.seed, plan.steps * settings.effective_batch_size
    )
    if not any(row.span for row in rows):
        raise SettingsError("No answer of the dataset stands in a record, so there is nothing to learn to find.")
    if left_out:
        text = f"{left_out} rows were left out: their answers are no one span of the record"
        append_event(folder, "message", text=text)
    config = TrainingArguments(
        **arguments_of(settings, plan, folder),
        train_sampling_strategy="group_by_length",  # padding would be half of what is computed
        remove_unused_columns=False,
        label_names=["start_positions", "end_positions"],
    )
    watcher.collator = CountingCollator(DataCollatorWithPadding(run.reader.tokenizer))
    made = Trainer(
        model=run.reader.model,
        args=config,
        train_dataset=encode_rows(run.reader, rows),  # pyright: ignore[reportArgumentType]
        data_collator=watcher.collator,
        callbacks=[watcher],
    )
    follow(made, watcher, settings)
    return made


def encode_rows(reader: Reader, rows: Sequence[ReadingRow]) -> list[dict[str, Any]]:
    """Tokens of each row, and between which of them the answer stands: the first token's place where it has none."""
    encoded = []
    for row in rows:
        batch = reader.encode([row.question], [Joined(row.passages).text])
        offsets, encoding = batch.pop("offset_mapping")[0].tolist(), batch.encodings[0]
        first = last = 0
        if row.span:
            inside = [
                i
                for i, number in enumerate(encoding.sequence_ids)
                if number == 1 and offsets[i][1] > row.span[0] and offsets[i][0] < row.span[1]
            ]
            if not inside:
                continue  # it was cut off
            first, last = inside[0], inside[-1]
        encoded.append({name: ids[0].tolist() for name, ids in batch.items()})
        encoded[-1] |= {"start_positions": first, "end_positions": last}
    return encoded


def choose_threshold(run: RunReader, held_out: Sequence[dict[str, Any]]) -> None:
    """Set the reader's threshold to the one with the highest trust over the held-out rows that choose it.

    Where they do not tell, a span is given as soon as it is likelier than none.
    """
    assert run.reader
    rows = thinned([row for row in held_out if chooses(row)], CHOOSING)
    asked = [run.about(row["question"], row["title"]) for row in rows]
    read = run.reader.read([to_read(about) for about in asked])
    sure, answerable, right = [], [], []
    for row, about, reading in zip(rows, asked, read, strict=True):
        answer = Answer.of(row["kind"], reading.span, row["response"]).answer
        sure.append(sureness(about, reading.margin))
        answerable.append(row["kind"] not in NO_FACT)
        right.append(verdict(row["kind"], answer, row["response"]) == RIGHT if answerable[-1] else False)
    run.reader.threshold = best_threshold(sure, answerable, right)


def best_threshold(sure: Sequence[float], answerable: Sequence[bool], right: Sequence[bool]) -> float:
    """The threshold with the highest harmonic mean of the shares answered right and admitted; of those the middle.

    Args:
        sure: how sure each question's best span is.
        answerable, right: whether its record answers it, and whether the span does.
    """
    wanted, silent = sum(answerable), len(answerable) - sum(answerable)
    if not wanted or not silent or not any(right):
        return 0.0

    def trust(threshold: float) -> float:
        found = sum(ok and m >= threshold for m, ok in zip(sure, right, strict=True)) / wanted
        admitted = sum(not known and m < threshold for m, known in zip(sure, answerable, strict=True)) / silent
        return 2 * found * admitted / (found + admitted) if found and admitted else 0.0

    known = sorted({m for m in sure if m != float("-inf")})
    between = [(low + high) / 2 for low, high in pairwise(known)] or known
    best = max(map(trust, between))
    fine = [threshold for threshold in between if trust(threshold) == best]
    return round(fine[len(fine) // 2], 4)


def save(run: RunReader, folder: Path) -> None:
    """Save the reader; the folder appears only when it is whole."""
    assert run.reader
    with whole_folder(folder / ADAPTER) as aside:
        save_reader(run.reader, aside, run.base_sha256)
    for name in ANSWERED:  # by the reader that was there before
        (folder / name).unlink(missing_ok=True)
