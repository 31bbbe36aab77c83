"""The child process as one of several on a CPU: `python -m tests.training.on_cpu RUN_DIR`.

There Transformers loads a checkpoint's optimizer to the device cpu:0, which PyTorch does not know as a place of tensors. All
else is the real child.
"""

import sys

import torch

from pipeline.training import child

torch.serialization.register_package(0, lambda _: None, lambda storage, place: storage if place == "cpu:0" else None)

if __name__ == "__main__":
    sys.exit(child.main())
