"""How many processes train a run, one for each GPU, and the command that starts them."""

import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.machine import cores, gpus
from pipeline.models.family import family_of_base
from pipeline.runs.settings import TrainingSettings

RANK, LOCAL_RANK, COUNT = "RANK", "LOCAL_RANK", "WORLD_SIZE"
"""What the launcher tells each process: its number among all, that on its machine, and how many there are."""


def training_command(folder: Path, count: int, restarts: int) -> list[str]:
    """The command that trains a run in so many processes.

    Args:
        restarts: how often all may begin anew from the last checkpoint once one has ended with an error.
    """
    train = ["-m", "pipeline.training.child", str(folder.resolve())]
    if count == 1:
        return [sys.executable, *train]
    options = {
        "num_processes": count,
        "num_machines": 1,
        "num_cpu_threads_per_process": max(1, cores() // count),
        "mixed_precision": "no",  # the trainer says which
        "dynamo_backend": "no",
        "gpu_ids": "all",  # that are visible; a person's own configuration may say otherwise
        "main_process_port": 0,  # one that is free
        "max_restarts": restarts,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *words, *train]


def processes_for(settings: TrainingSettings) -> int:
    """How many processes this machine would train with: one for each GPU, as far as they share an update evenly."""
    if not family_of_base(settings.base_model).in_parallel:
        return 1
    return fitting_micro_batch(settings.effective_batch_size, max(1, len(gpus())))


def fitting_micro_batch(effective: int, limit: int | None) -> int:
    """The largest divisor of the effective batch that is at most `limit` (none: the whole batch at once)."""
    return next(divisors(effective, limit))


def divisors(effective: int, limit: int | None) -> Iterator[int]:
    """What divides the effective batch, from the largest."""
    return (d for d in range(min(effective, limit or effective), 0, -1) if effective % d == 0)
