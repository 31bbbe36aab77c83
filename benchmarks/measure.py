"""What every benchmark states beside its figures: device, versions, and where the raw JSON goes."""

import importlib.metadata
import json
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "trl", "peft", "unsloth", "bitsandbytes", "datasets", "gradio")


def conditions() -> dict[str, Any]:
    """Date, processor, GPU and versions of the packages that matter."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    import psutil

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cpu": f"{processor()}, {psutil.cpu_count(logical=False) or psutil.cpu_count()} cores",
        "gpu": gpu(),
        "versions": versions,
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def gpu() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most of at least one measurement."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def save(name: str, figures: dict[str, Any], folder: Path = RESULTS) -> None:
    """Write `<name>.json` with the conditions, and print it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**conditions(), **figures}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
