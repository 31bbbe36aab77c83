"""A run that the memory is not enough for goes on in smaller micro-batches: the same updates, from the last checkpoint."""

import os
import sys
from pathlib import Path

import torch

from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import MEMORY_RETRIES, MEMORY_SPLIT
from pipeline.runs.processes import fitting_micro_batch
from pipeline.training.plan.plan import Plan


def split_as_before(folder: Path, plan: Plan) -> Plan:
    """The plan with at most the micro-batch that the memory made necessary when this run was last on: on other hardware a
    process's share of an update may be another, which has to be cut evenly."""
    splits = memory_splits(folder)
    if not splits or plan.micro_batch <= splits[-1]:
        return plan
    return plan.split(fitting_micro_batch(plan.share, splits[-1]))


def memory_splits(folder: Path) -> list[int]:
    """The micro-batches that the memory made necessary, each once: several processes may have said the same."""
    return list(dict.fromkeys(event[MEMORY_SPLIT] for event in read_events(folder)[0] if event.get(MEMORY_SPLIT)))


def splits_since_launch(folder: Path) -> int:
    """How often the launcher had a reason to start all processes anew."""
    found = set()
    for event in reversed(read_events(folder)[0]):
        if event["type"] == "started" or (event["type"] == "resumed" and "micro_batch" not in event):
            break
        found |= {event["micro_batch"]} if event["type"] == "resumed" else set()
    return len(found)


def go_on_in_smaller_pieces(plan: Plan, folder: Path) -> None:
    """Start this process anew with half the micro-batch and the same update; returns only when that was tried enough.

    A fresh process has none of the old one's memory, on a GPU as little as on a CPU, and keeps the process id by which
    the page knows it. Of several processes all are started anew, by what started them.
    """
    splits = memory_splits(folder)
    if len(splits) >= MEMORY_RETRIES:
        return
    if splits and splits[-1] < plan.micro_batch:  # another process of this run was faster
        os._exit(1)
    step = saved_step(folder)
    smaller = plan.split(fitting_micro_batch(plan.share, plan.micro_batch // 2))
    append_event(
        folder,
        "message",
        text=f"The memory was not enough for {plan.micro_batch} examples at once: going on after step {step} with "
        f"{smaller.accumulation} times {smaller.micro_batch}, which is the same update.",
        **{MEMORY_SPLIT: smaller.micro_batch},
    )
    append_event(folder, "resumed", step=step, micro_batch=smaller.micro_batch, accumulation=smaller.accumulation)
    sys.stdout.flush()
    sys.stderr.flush()
    if plan.processes > 1:
        os._exit(1)
    os.execv(sys.executable, sys.orig_argv)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: PyTorch has a class for it on a GPU, and only words on a CPU."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in said for w in words)
