"""The child process that trains: `python -m pipeline.training.child RUN_DIR`, or `--wait WORD` to be told the run later.

It reads the run folder's settings and dataset and writes everything it has to say into the same folder: the base's
answers, events, checkpoints, and at the end the adapter. Where there is a whole checkpoint it goes on from there. Of
several such processes that share a run (`distributed`), the first one does all that is said here and the others train.
SIGTERM ends it after the step it is in, with a checkpoint and a usable adapter.

Here is its beginning, in the order that it needs: SIGTERM is heard before the seconds that importing torch takes, a process
has its own GPU before torch is imported, and Unsloth, where the run needs it, comes before what it patches. Then comes
`train.py` with all the rest.
"""

import math
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.models.bases import find_base, is_path, local_folder
from pipeline.models.gpu import has_unsloth
from pipeline.runs import standby
from pipeline.runs.events import append_event
from pipeline.runs.folder import STOPPED_EARLY, read_settings, run_dataset, run_family
from pipeline.runs.processes import training_command
from pipeline.runs.settings import gpu_name
from pipeline.training import distributed
from pipeline.training.plan.plan import plan_run
from pipeline.training.plan.ways import UNSLOTH


def main() -> int:
    waits = sys.argv[1] == standby.WAIT
    folder = wait_for_a_run() if waits else begin(Path(sys.argv[1]))
    from pipeline.training.train import run

    return run(folder)


def begin(folder: Path) -> Path:
    """Set this process up for a run."""
    distributed.take_own_gpu()
    if distributed.is_first():
        stop_before_training(folder)
    fetch_base(folder)
    if needs_unsloth(folder):
        import_unsloth()
    return folder


def wait_for_a_run() -> Path:
    """Import what every training needs, and become the training process of the run that is told; where Unsloth must be
    imported first, a new one."""
    signal.signal(signal.SIGTERM, standby.stop_untold)
    distributed.take_own_gpu()
    import pipeline.training.train  # noqa: F401

    folder = standby.be_told()
    stop_before_training(folder)
    sys.orig_argv = training_command(folder, count=1, restarts=0)  # with what it begins anew, if it has to
    fetch_base(folder)
    if needs_unsloth(folder):
        os.execv(sys.executable, sys.orig_argv)
    return folder


def stop_before_training(folder: Path) -> None:
    """Hear SIGTERM while there is nothing to save yet."""

    def stop(*_: Any) -> None:
        append_event(folder, "stopped", message=STOPPED_EARLY)
        os._exit(0 if distributed.count() == 1 else 1)  # an error, so that the others are ended too

    signal.signal(signal.SIGTERM, stop)


def fetch_base(folder: Path) -> None:
    """Get a base that is not on this machine yet: how a run trains is planned by its shape."""
    with suppress(PipelineError, OSError, ValueError, LookupError):  # said again, and written down, when it trains
        base = read_settings(folder).base_model
        if local_folder(base) is None and not is_path(base):
            find_base(base, Fetching(folder, base) if distributed.is_first() else None)


class Fetching:
    """Tells a run how the download of its base goes on: at its beginning, and after each tenth of it."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.base, self.tenths = folder, base, 0
        self.telling = threading.Lock()
        append_event(folder, "message", text=f"Fetching {base}")

    def __call__(self, here: int, total: int) -> None:
        with self.telling:
            if (tenths := 10 * here // total) > self.tenths:
                self.tenths = tenths
                size = f"{total / 1e9:.1f} GB" if total >= 1e9 else f"{math.ceil(total / 1e6)} MB"
                append_event(self.folder, "message", text=f"Fetching {self.base}: {tenths * 10}% of {size}")


def needs_unsloth(folder: Path) -> bool:
    """Whether this run trains through Unsloth's layers: where it is installed, what is not trained faster here, of the families
    that it has layers for."""
    if not (has_unsloth(gpu=True) and run_family(folder).by_heart):
        return False
    import torch  # not patched by Unsloth, so it may come before

    if not (gpu_name() or torch.cuda.is_available()):
        return False
    with suppress(PipelineError, OSError, ValueError, LookupError):  # said again, and written down, when it trains
        settings, rows = read_settings(folder), run_dataset(folder).training()
        return plan_run(settings, rows, gpu=True, processes=distributed.count()).way == UNSLOTH
    return False


def import_unsloth() -> None:
    """Let models of this process run on Unsloth, which patches Transformers, PEFT and TRL as they are imported."""
    import torch

    if torch.cuda.is_available():  # without a GPU it cannot be imported
        import unsloth  # noqa: F401  # pyright: ignore[reportMissingImports]


if __name__ == "__main__":
    sys.exit(main())
