"""One run on several GPUs: Accelerate's launcher starts a process for each, which trains on its share of every update.

The first process is the run: it asks, tells, decides and saves. The others follow it. Gradients are averaged once before
an update and not while they come about, as DistributedDataParallel would: what trains here makes most of them in one
piece (`graphs.py`), without the hooks that would notice.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pipeline.machine import gpus
from pipeline.runs.processes import COUNT, LOCAL_RANK, RANK

T = TypeVar("T")


TIMEOUT = timedelta(days=1)
"""The others wait while the first process asks its questions, however long that takes."""


def count() -> int:
    """How many processes train this run."""
    return int(os.environ.get(COUNT, 1))


def is_first() -> bool:
    """Whether this process is the run, and not one that follows it."""
    return int(os.environ.get(RANK, 0)) == 0


def starts() -> int:
    """How often the launcher has started all processes anew, since one of them ended with an error."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def take_own_gpu() -> None:
    """Let this process see its own GPU alone, so that it is everybody's first one; where it trains by itself that is the first,
    for over several Transformers would spread its model. Before torch is imported."""
    if LOCAL_RANK not in os.environ if count() > 1 else len(gpus()) < 2:
        return
    visible = [gpu.strip() for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    own = int(os.environ.get(LOCAL_RANK, 0)) if count() > 1 else 0
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[own] if visible else str(own)
    if LOCAL_RANK in os.environ:
        os.environ[LOCAL_RANK] = "0"


class Team:
    """The processes of a run; with one process every method gives back what it was given."""

    def __init__(self, *, cpu: bool) -> None:
        self.count, self.is_first = count(), is_first()
        if self.count > 1:
            import torch

            # The launcher's store still has the addresses of processes that ended: each start has a part of its own.
            store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            store.set_timeout(TIMEOUT)
            own = torch.distributed.PrefixStore(f"start {starts()}", store)
            place = {"rank": int(os.environ[RANK]), "world_size": self.count, "timeout": TIMEOUT}
            torch.distributed.init_process_group("gloo" if cpu else "nccl", store=own, **place)
            # What is decided travels between processors: a GPU would have to be waited for.
            self.group: Any = torch.distributed.new_group(backend="gloo", timeout=TIMEOUT)
            if not cpu:
                torch.distributed.barrier(device_ids=[0])  # NCCL takes its memory now, before it is asked what is free

    def from_first(self, value: T) -> T:
        """What the first process has here."""
        if self.count == 1:
            return value
        import torch.distributed

        told: list[Any] = [value]
        torch.distributed.broadcast_object_list(told, src=0, group=self.group)
        return told[0]

    def sum(self, numbers: Sequence[int]) -> list[int]:
        """The sums of what all processes have here."""
        if self.count == 1:
            return list(numbers)
        import torch

        sums = torch.tensor(numbers)
        torch.distributed.all_reduce(sums, group=self.group)
        return sums.tolist()

    def least(self, number: int) -> int:
        """The least of what all processes have here."""
        if self.count == 1:
            return number
        import torch.distributed

        numbers: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(numbers, number, group=self.group)
        return min(numbers)

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.sum([0])


def average_gradients(parameters: Sequence[Any], count: int) -> None:
    """Replace what one process has by what all have on average."""
    import torch

    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        parts = [gradient for gradient in gradients if gradient.dtype == dtype]
        whole = torch.cat([part.flatten() for part in parts])  # one reduction instead of hundreds
        torch.distributed.all_reduce(whole)
        whole /= count
        means = whole.split([part.numel() for part in parts])
        torch._foreach_copy_(parts, [mean.view_as(part) for mean, part in zip(means, parts, strict=True)])
