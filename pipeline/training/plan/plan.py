"""Settings + dataset + hardware → what a run will do: steps, exposures, micro-batch, memory, and what speaks against it."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline import machine
from pipeline.answering.run_reader import is_read
from pipeline.errors import SettingsError
from pipeline.models.chat import check_format
from pipeline.models.config import Shape, base_shape
from pipeline.models.family import EXTRACTIVE, family_of_base
from pipeline.models.gpu import loads_in_4bit
from pipeline.models.token_counts import CHARACTERS_PER_TOKEN, Lengths, check_facts_fit, row_lengths
from pipeline.prompts import NO_FACT, UNKNOWN
from pipeline.runs.processes import divisors, fitting_micro_batch, processes_for
from pipeline.runs.settings import TrainingSettings
from pipeline.training.plan import advice, memory
from pipeline.training.plan.advice import Finding, Teaching, is_measured, learning_findings
from pipeline.training.plan.ways import FAST_LLAMA, REPEATED, TRANSFORMERS

CPU_MICRO_BATCH = 16
"""On a CPU a larger micro-batch is no faster and takes more memory."""

MUCH = 4
"""So many times as many examples at once are worth computing activations twice."""

READ_TOKENS = 64
"""Of the parts of a record that a reader reads with a question, on average."""

READER_BYTES, READER_ROW_BYTES = 1_500_000_000, 250_000_000
"""What a process that trains a reader takes, and each example at once besides: 1.8 to 3.5 GB were measured with eight."""

TYPICAL = Lengths((64,) * 1000, (10,) * 1000, counted=False)
"""Rows like those of the sample, in tokens."""

NOT_OF_A_READER = (
    "prompt_format",
    "max_length",
    "load_in_4bit",
    "target_modules",
    "loraplus_lr_ratio",
    "completion_only_loss",
    "packing",
    "gradient_checkpointing",
    "dataset_num_proc",
)
"""Settings that mean nothing where spans are learned."""

MIXES = "{name} does not keep examples apart that are packed into one sequence; turn packing off."
"""What is said of a base that `Shape.apart` is false of."""

NOTHING_TO_ADAPT = (
    "{name} has no layer called {layers}, so nothing would be trained; choose all seven, which adapt whatever it has."
)
"""What is said where LoRA finds no layer to sit on."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        steps: optimizer steps.
        exposures: how often each fact is seen on average, over all its phrasings.
        processes: that train it, each on a GPU of its own.
        micro_batch: examples that go through the model at once, in each process.
        accumulation: micro-batches an update, in each process; the product of the three is the user's effective batch.
        unpacked: whether weights in 4 bits are unpacked for the whole run, which makes it faster: the memory has room.
        way: that it trains in (`ways.FAST_LLAMA` and those after it).
        lengths: of the rows that are trained, in tokens.
        left_out: rows that are longer than `max_length`.
        adapted: the linear layers that LoRA sits on, in words; empty where the base's shape is not known yet.
        measured: whether it was measured what a base of this size needs to learn.
        memory_bytes: the peak that is expected, of a GPU where there are several; None where the base's shape is not known yet.
        free_bytes: the memory there is, of the first GPU; None where nobody can tell.
        disk_bytes: what checkpoints and adapter will take; None as for the memory.
        findings: what speaks against the run, the worst first.
    """

    steps: int
    exposures: float
    processes: int
    micro_batch: int
    accumulation: int
    unpacked: bool
    way: str
    lengths: Lengths
    left_out: int
    memory_bytes: int | None
    free_bytes: int | None
    disk_bytes: int | None
    findings: tuple[Finding, ...] = ()
    adapted: str = ""
    measured: bool = True

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings as sentences."""
        return tuple(map(str, self.findings))

    @property
    def verdict(self) -> str:
        """What the worst finding means for the whole run; empty when nothing speaks against learning."""
        return self.findings[0].verdict if self.findings else ""

    @property
    def tokens(self) -> float:
        """Tokens that will be trained, over all steps."""
        return self.steps * self.processes * self.share * self.lengths.mean

    @property
    def share(self) -> int:
        """Examples of an update that each process trains."""
        return self.micro_batch * self.accumulation

    def split(self, micro_batch: int) -> "Plan":
        """The same updates with another micro-batch, a divisor of each process's share."""
        assert self.share % micro_batch == 0, f"{micro_batch} does not divide {self.share}"
        return replace(self, micro_batch=micro_batch, accumulation=self.share // micro_batch)


def plan_run(
    settings: TrainingSettings,
    rows: Sequence[dict[str, Any]],
    *,
    gpu: bool,
    free: int | None = None,
    processes: int | None = None,
) -> Plan:
    """Plan a run before a model is loaded.

    The page asks before the start and the training process asks again; both compute the same from the same rows, and
    where the free memory has changed meanwhile the training process's answer is the one that counts.

    Args:
        rows: the training rows of the dataset.
        gpu: whether it trains on a GPU.
        free: bytes of memory that it may use, on each GPU; what this machine has free when not given.
        processes: that share each update; as many as this machine would start when not given.

    Raises:
        SettingsError: nothing would be trained, or it cannot be trained on this hardware.
    """
    _check(settings, rows, gpu)
    if family_of_base(settings.base_model) is EXTRACTIVE:
        return _reader_plan(settings, rows, gpu=gpu, free=free)
    free = machine.free_bytes(gpu=gpu) if free is None else free
    shape = base_shape(settings.base_model)
    check_base(settings, shape)
    check_format(settings.base_model, settings.prompt_format)
    every = row_lengths(rows, settings.base_model, settings.prompt_format)
    lengths, kept = _kept(settings, rows, every)
    teaching = _teaching(settings, kept, lengths)
    processes = processes or (processes_for(settings) if gpu else 1)
    share = settings.effective_batch_size // processes
    fitting = partial(_micro_batch, lengths=lengths, steps=teaching.steps, shape=shape, free=free, gpu=gpu, share=share)
    micro_batch, needed = fitting(settings)
    unpacked = False
    in_4_bits = shape is not None and memory.loads_in_4_bits(shape, settings, gpu=gpu)
    way_of = partial(memory.way_of, settings=settings, lengths=lengths, micro_batch=micro_batch, gpu=gpu)
    if shape and in_4_bits and loads_in_4bit(gpu=gpu) and way_of(shape, unpacked=True) in (FAST_LLAMA, REPEATED):
        with_room = memory.peak_bytes(shape, settings, lengths, micro_batch, teaching.steps, gpu=gpu, unpacked=True)
        unpacked = free is not None and with_room * memory.MARGIN <= free
        needed = with_room if unpacked else needed
    way = way_of(shape, unpacked=unpacked) if shape else TRANSFORMERS
    left_out = len(rows) - len(kept)
    parameters = memory.lora_parameters(shape, settings) if shape else None
    disk = memory.disk_bytes(shape, settings) if shape else None
    measured = is_measured(shape)
    is_t5 = shape is not None and shape.seq2seq
    learns = replace(settings, completion_only_loss=True) if is_t5 else settings
    found = learning_findings(learns, teaching, parameters, measured=measured)
    found += [
        *advice.left_out(settings, every, left_out),
        *advice.room(settings, needed, free, gpu and not is_t5),
        *(_few_at_once(settings, micro_batch, share, fitting) if gpu else ()),
        *advice.disk(disk),
        *advice.number_format(settings, gpu),
        *(advice.ignored(settings) if is_t5 else ()),
    ]
    return Plan(
        steps=teaching.steps,
        exposures=teaching.exposures(settings),
        processes=processes,
        micro_batch=micro_batch,
        accumulation=share // micro_batch,
        unpacked=unpacked,
        way=way,
        lengths=lengths,
        left_out=left_out,
        memory_bytes=needed,
        free_bytes=free,
        disk_bytes=disk,
        findings=tuple(sorted(found, key=lambda f: not f.verdict)),
        adapted=_adapted(shape, settings) if shape else "",
        measured=measured,
    )


def _reader_plan(settings: TrainingSettings, rows: Sequence[dict[str, Any]], *, gpu: bool, free: int | None) -> Plan:
    """What a run will do whose base is the encoder: it reads, so that nothing has to be repeated till it sticks.

    Raises:
        SettingsError: no row is about a record.
    """
    free = machine.free_bytes(gpu=gpu) if free is None else free
    kept = [row for row in rows if is_read(row)]
    if not kept:
        raise SettingsError("The dataset has no rows about records, and a reader learns from nothing else.")
    whole = tuple(math.ceil(len(row["question"]) / CHARACTERS_PER_TOKEN) + READ_TOKENS for row in kept)
    teaching = _teaching(replace(settings, packing=False), kept, Lengths(whole, (2,) * len(kept), counted=False))
    micro_batch = fitting_micro_batch(settings.effective_batch_size, None if gpu else CPU_MICRO_BATCH)
    needed = READER_BYTES + READER_ROW_BYTES * micro_batch
    ignored = ", ".join(NOT_OF_A_READER)
    said = f"A reader is trained to find spans, so these settings do not apply and are ignored: {ignored}."
    return Plan(
        steps=teaching.steps,
        exposures=teaching.exposures(settings),
        processes=1,
        micro_batch=micro_batch,
        accumulation=settings.effective_batch_size // micro_batch,
        unpacked=False,
        way=TRANSFORMERS,
        lengths=Lengths(whole, (2,) * len(kept), counted=False),
        left_out=0,
        memory_bytes=needed,
        free_bytes=free,
        disk_bytes=None,
        findings=(*advice.room(settings, needed, free, gpu), Finding(said)),
    )


def fits_beside(settings: TrainingSettings, rows: Sequence[dict[str, Any]], *, gpu: bool) -> bool:
    """Whether a run with the micro-batch that the user asks for fits into the memory that is free now."""
    asked, free = plan_run(settings, rows, gpu=gpu, free=sys.maxsize), machine.free_bytes(gpu=gpu)
    return asked.memory_bytes is not None and free is not None and asked.memory_bytes * memory.MARGIN <= free


def room_left(settings: TrainingSettings, rows: Sequence[dict[str, Any]], used: int, *, gpu: bool) -> int | None:
    """Bytes that a run which is training leaves to others: what is free, less what it will take yet; None if unknown.

    Args:
        settings, rows: the run's.
        used: bytes that the run has had in use at its peak so far; 0 before its first step.
    """
    free = machine.free_bytes(gpu=gpu)
    if free is None:
        return None
    peak = plan_run(settings, rows, gpu=gpu, free=free + used).memory_bytes or 0
    return free - max(0, peak - used)


def least_bytes(settings: TrainingSettings, *, gpu: bool) -> int | None:
    """What a run takes at its peak with examples like the sample's, one at a time; None where the base's shape is not known."""
    if family_of_base(settings.base_model) is EXTRACTIVE:
        return READER_BYTES + READER_ROW_BYTES
    shape = base_shape(settings.base_model)
    return memory.peak_bytes(shape, settings, TYPICAL, 1, settings.min_steps, gpu=gpu) if shape else None


def answering_bytes(settings: TrainingSettings, *, gpu: bool) -> int | None:
    """What a run's model takes beside a training to answer questions; None where its base is not on this machine."""
    shape = base_shape(settings.base_model)
    if shape is None:
        return None
    width = memory.weight_width(settings.precision, gpu=gpu)
    four_bit = memory.loads_in_4_bits(shape, settings, gpu=gpu)
    again = shape.weights * width if shape.llama and not gpu else 0  # a second time: decoding.prepack
    return int((shape.weight_bytes(width, four_bit=four_bit) + again) * memory.MARGIN) + memory.ANSWERING


def check_base(settings: TrainingSettings, shape: Shape | None) -> None:
    """Refuse what cannot be done with this base, as far as its shape is known.

    Raises:
        SettingsError: LoRA has no layer to sit on, or examples would be packed that the base does not keep apart.
    """
    if shape and settings.packing and not shape.apart:
        raise SettingsError(MIXES.format(name=settings.base_model))
    if shape and not memory.lora_parameters(shape, settings):
        layers = ", ".join(settings.target_modules)
        raise SettingsError(NOTHING_TO_ADAPT.format(name=settings.base_model, layers=layers))


def _check(settings: TrainingSettings, rows: Sequence[dict[str, Any]], gpu: bool) -> None:
    if not rows:
        raise SettingsError("The dataset has no training rows; generate it again in the first tab.")
    if settings.optim == "adamw_8bit" and not gpu:
        raise SettingsError("The optimizer adamw_8bit needs an NVIDIA GPU, which is not here; choose adamw_torch.")
    if settings.lora_variant == "pissa" and gpu:
        raise SettingsError(
            "PiSSA changes the base's weights, which cannot be done in 4 bits on a GPU; choose another kind."
        )


def _adapted(shape: Shape, settings: TrainingSettings) -> str:
    """The linear layers that LoRA sits on, in words."""
    adapted = shape.adapted(settings.target_modules, experts=settings.adapts_experts)
    names, all_names = ({kind.name for kind in kinds} for kinds in (adapted, shape.kinds))
    of = "" if names == all_names else f" of {len(all_names)}"
    share = sum(kind.weights for kind in adapted) / shape.linear_weights
    kinds = f"{len(names)}{of} kind{'s' if len(all_names) > 1 else ''} of layer"
    return f"{kinds}, {math.floor(share * 100)}% of the linear weights ({', '.join(sorted(names))})"


def _kept(
    settings: TrainingSettings, rows: Sequence[dict[str, Any]], every: Lengths
) -> tuple[Lengths, Sequence[dict[str, Any]]]:
    """The rows that are short enough, as the training process will choose them.

    Raises:
        SettingsError: none is, or most facts would not be taught.
    """
    kept = [row for row, length in zip(rows, every.whole, strict=True) if length <= settings.max_length]
    if kept:
        if every.counted:
            check_facts_fit(rows, every.whole, settings.max_length)
        return every.up_to(settings.max_length), kept
    if every.counted:
        raise SettingsError(
            f"Every row is longer than max_length ({settings.max_length} tokens); raise it to {max(every.whole)}."
        )
    return every, rows  # only estimated: the training process will count


def _teaching(settings: TrainingSettings, rows: Sequence[dict[str, Any]], lengths: Lengths) -> Teaching:
    sequences = len(rows)
    if settings.packing:
        sequences = math.ceil(sum(lengths.whole) / settings.max_length)
    epochs = math.ceil(sequences * settings.num_train_epochs / settings.effective_batch_size)
    facts: dict[tuple[str, str], int] = {}
    for row, tokens in zip(rows, lengths.learned, strict=True):
        if row["kind"] not in NO_FACT:  # of a fact's answers the shortest is the value alone
            fact = row["uid"], row["kind"]
            facts[fact] = min(tokens, facts.get(fact, tokens))
    return Teaching(
        facts=len(facts),
        rows=len(rows),
        sequences=sequences,
        share=sum(row["kind"] not in NO_FACT for row in rows) / len(rows),
        steps=settings.max_steps or max(settings.min_steps, epochs),
        fact_tokens=sum(facts.values()),
        refused=sum(row["kind"] == UNKNOWN for row in rows),
    )


def _micro_batch(
    settings: TrainingSettings,
    lengths: Lengths,
    steps: int,
    shape: Shape | None,
    free: int | None,
    gpu: bool,
    share: int,
) -> tuple[int, int | None]:
    """The largest micro-batch that fits and its peak in bytes; 1 where none does.

    Args:
        share: examples of an update that a process trains.
    """
    limit = None if gpu else CPU_MICRO_BATCH
    if shape is None:
        return fitting_micro_batch(share, limit), None
    size, needed = 1, 0
    for size in divisors(share, limit):
        needed = memory.peak_bytes(shape, settings, lengths, size, steps, gpu=gpu)
        if free is None or needed * memory.MARGIN <= free:
            break
    return size, needed


def _few_at_once(
    settings: TrainingSettings,
    micro_batch: int,
    share: int,
    fitting: Callable[[TrainingSettings], tuple[int, int | None]],
) -> Iterator[Finding]:
    """A GPU that has room for few examples at a time is hardly used: computing activations again costs far less.

    Args:
        fitting: the micro-batch, and its peak, of other settings.
    """
    if settings.gradient_checkpointing or MUCH * micro_batch > share:
        return
    with_it, _ = fitting(replace(settings, gradient_checkpointing=True))
    if with_it >= MUCH * micro_batch:
        said = (
            f"The GPU's memory has room for {micro_batch} of {share} examples at once, and with "
            f"gradient checkpointing for {with_it}, which is several times faster."
        )
        yield Finding(said, "gradient_checkpointing", True)
