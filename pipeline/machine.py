"""What this program runs on: the sort of machine, its processor, memory and disk, and the versions that matter.

Nothing here loads torch: the page asks for it before any model.
"""

import os

ZERO_GPU_TRAINING = (
    "A ZeroGPU Space lends a GPU for seconds, which is enough for answers and not for training: choose hardware of its own "
    "for this Space (l4x1, for example) in its settings, or train on another machine and ask the trained run here."
)


def on_space() -> bool:
    """Whether the app is a Hugging Face Space, which serves others than its machine's owner."""
    return bool(os.environ.get("SPACE_ID"))


def on_zero_gpu() -> bool:
    """Whether the app is a Space on ZeroGPU, by the variable and the values that the package `spaces` goes by."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
