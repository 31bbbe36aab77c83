"""The child process on a machine with little memory: `python -m tests.training.small_memory MOST RUN_DIR`.

From the third step on a micro-batch of more than MOST examples fails as it does on a GPU that is too small for it, in the
last of a run's processes. All else is the real child; started anew by itself it runs under the same condition, as it would on
the same machine. With `--ask` it does not start itself anew, which imports everything again, but asks for that by its exit code.
"""

import os
import sys
from typing import Any

import torch

from pipeline.training import child, distributed, trainers, watcher
from tests.training import on_cpu  # noqa: F401  (several processes of it go on from a checkpoint)


class SmallMemory(watcher.CountingCollator):
    most = 0
    batches = 0

    def __call__(self, features: list[dict[str, Any]], *args: Any) -> Any:
        SmallMemory.batches += 1
        is_last = os.environ.get(distributed.RANK, "0") == str(distributed.count() - 1)
        if is_last and len(features) > self.most and SmallMemory.batches > 3:  # the trainer takes one batch ahead
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return super().__call__(features, *args)


AGAIN = 75
"""The exit code that asks to be started anew with the same words."""

if __name__ == "__main__":
    if "--ask" in sys.argv:
        sys.argv.remove("--ask")
        os.execv = lambda *_: os._exit(AGAIN)  # pyright: ignore[reportAttributeAccessIssue]
    SmallMemory.most = int(sys.argv.pop(1))
    trainers.CountingCollator = SmallMemory  # pyright: ignore[reportPrivateImportUsage]
    sys.exit(child.main())
