"""Checkpoints of a run: which are whole, which is the last, and what may be thrown away. Knows no torch.

The trainer fills `checkpoints/checkpoint-<step>/`; `seal` writes the list of its files last. A checkpoint without that
list, or with a file of another size, was cut short and does not count.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.files import read_json, write_json
from pipeline.runs.folder import CHECKPOINTS

SEAL = "checkpoint.json"

KEPT = 2
"""Whole checkpoints that stay: the last one, and one more should its files be damaged later."""


def step_of(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint was written after; -1 for what is no checkpoint."""
    digits = checkpoint.name.removeprefix("checkpoint-")
    return int(digits) if digits.isdecimal() else -1


def seal(checkpoint: Path, state: dict[str, Any]) -> None:
    """Declare a checkpoint whole: its files are on the disk, and nothing more will be written into it.

    Args:
        state: what a resumed run needs to know beside the trainer's own files.
    """
    files = {str(path.relative_to(checkpoint)): path for path in sorted(checkpoint.rglob("*")) if path.is_file()}
    for path in files.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the seal and lose what it vouches for
    write_json(checkpoint / SEAL, {"files": {name: p.stat().st_size for name, p in files.items()}, "state": state})


def sealed_state(checkpoint: Path) -> dict[str, Any] | None:
    """What `seal` was given, or None when the checkpoint is not whole."""
    try:
        sealed = read_json(checkpoint / SEAL)
        whole = all((checkpoint / name).stat().st_size == size for name, size in sealed["files"].items())
        return sealed["state"] if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of the run in `folder`. By step, not by date: clocks are set back."""
    return next((c for c in _newest_first(folder) if sealed_state(c) is not None), None)


def saved_step(folder: Path) -> int:
    """The step after which the run in `folder` can go on; 0 where it has no whole checkpoint."""
    checkpoint = last_checkpoint(folder)
    return step_of(checkpoint) if checkpoint else 0


def drop_old(folder: Path, keep: int = KEPT) -> None:
    """Delete all but the newest whole checkpoints; those that were cut short go first."""
    whole = []
    for checkpoint in _newest_first(folder):
        if sealed_state(checkpoint) is None:
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole.append(checkpoint)
    for checkpoint in whole[keep:]:
        shutil.rmtree(checkpoint, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in (folder / CHECKPOINTS).glob("checkpoint-*") if step_of(path) >= 0]
    return sorted(found, key=step_of, reverse=True)
