"""The child process as one of several on a CPU: `python -m tests.training.on_cpu RUN_DIR`.

There Transformers loads a checkpoint's optimizer to the device cpu:0, which PyTorch does not know as a place of tensors. All
else is the real child.
"""
# ruff: noqa: E402  (a process has its own GPU before torch is imported)

import signal
import sys

from pipeline.training import distributed

distributed.take_own_gpu()  # as the child's own first lines do

import torch

from pipeline.training import child as train

if distributed.is_first():
    signal.signal(signal.SIGTERM, train.stop_before_training)
torch.serialization.register_package(0, lambda _: None, lambda storage, place: storage if place == "cpu:0" else None)

if __name__ == "__main__":
    sys.exit(train.main())
