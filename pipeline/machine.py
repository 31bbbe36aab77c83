"""What this program runs on: the sort of machine, its processor, memory and disk, and the versions that matter.

Nothing here loads torch: the page asks for it before any model.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

VERSION = "0.2.0"
"""As in pyproject.toml, which does not go everywhere that the app goes."""

PACKAGES = ("gradio", "torch", "transformers", "peft", "trl", "unsloth", "bitsandbytes", "huggingface_hub", "spaces")
"""What decides how a run goes and how an answer comes about."""

NEARLY_FULL = 2_000_000_000
"""Bytes: with less, the next run or base model may not fit."""

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


def on_apple_silicon() -> bool:
    """Whether this is a Mac whose own GPU PyTorch uses, in 16-bit floats."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def cores() -> int:
    """The processor cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def gpus() -> list[dict[str, str]]:
    """The NVIDIA GPUs that this program may use, without loading torch; none where none works.

    Returns:
        Of each `name`, `memory` (as in `23034 MiB`), `driver` and `capability` (as in `9.0`).
    """
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader"]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not chosen.strip():
        return []
    lines: list[str] = []
    # It does not know every name that CUDA knows: of a part of a GPU, for one.
    for which in [[f"--id={chosen}"], []] if chosen else [[]]:
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run([*command, *which], capture_output=True, text=True, timeout=20, check=True).stdout
            lines = said.splitlines()[: len(chosen.split(",")) if chosen else None]
            break
    fields = ("name", "memory", "driver", "capability")
    return [dict(zip(fields, map(str.strip, line.split(",")), strict=False)) for line in lines if line.strip()]


def free_disk(folder: Path) -> int:
    """Bytes left on the disk of a folder that need not exist yet."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free


def versions() -> dict[str, str]:
    """This program, Python, and the packages of `PACKAGES` that are installed."""
    found = {"shelftalk": VERSION, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def free_bytes(*, gpu: bool) -> int | None:
    """The memory that a run could have now: of the first GPU (None if it cannot be asked), else of this machine or of
    the container it is in."""
    if gpu:
        return _free_on_gpu(int(time.monotonic() / 5))
    return min(psutil.virtual_memory().available, *_left_in_container())


@lru_cache(maxsize=1)
def _free_on_gpu(_moment: int) -> int | None:
    """Asked at most every five seconds: `nvidia-smi` takes a while, and a slider moves often."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    command += [f"--id={chosen}"] if chosen else []
    with suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return int(said.splitlines()[0]) * 2**20
    return None


def _left_in_container() -> list[int]:
    """What the control group's limit leaves, in bytes, where there is one (files kept in memory can give way)."""
    found = []
    for folder, limit, used, files in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # no such group, or its limit is the word "max"
            most, now = (int((Path(folder) / name).read_text()) for name in (limit, used))
            kept = re.search(rf"^{files} (\d+)$", (Path(folder) / "memory.stat").read_text(), re.MULTILINE)
            found.append(most - now + int(kept[1] if kept else 0))
    return found or [2**63]


def port_to_serve_on() -> int:
    """PORT, or 7860. One that is no port ends the program with a sentence."""
    port = os.environ.get("PORT") or "7860"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        sys.exit(f"PORT is {port!r}; it must be a number between 1 and 65535.")
    return int(port)


def is_taken(port: int) -> bool:
    """Whether a program of this machine listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
