"""The loop on this machine's processor: `python -m benchmarks.loop [CATALOGUE …]`.

Measures, three times each: from `python app.py` to a page that answers; from *Start* to the first point of the plot, by a process
that waited and in a home where nothing of the base is known; and `demo` with 15 products and the quick preset on the sample (and
on every catalogue named), with the memory of the page and of the training process together.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import save, spread
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT, read_json
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.runs import launcher
from pipeline.runs.manage import create_run
from pipeline.runs.settings import preset

RUNS = 3

WAITS = 15.0
"""Seconds that somebody looks at the settings, while a process imports what a training needs."""


@contextmanager
def page(home: Path) -> Iterator[tuple[psutil.Process, float]]:
    """The app on a free port: its process, and the seconds until its page answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PORT": str(port), "SHELFTALK_HOME": str(home)}
    begun = time.monotonic()
    app = psutil.Popen([sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except OSError:
                if app.poll() is not None or time.monotonic() - begun > 120:
                    raise SystemExit("The page does not come up.") from None
                time.sleep(0.02)
        yield psutil.Process(app.pid), time.monotonic() - begun
    finally:
        app.terminate()
        app.wait()


def has_torch(process: psutil.Process) -> bool:
    return any("libtorch" in mapped.path for mapped in process.memory_maps())


def start_figures(home: Path) -> dict[str, Any]:
    seconds, torch = [], []
    for _ in range(RUNS):
        with page(home) as (process, taken):
            seconds.append(round(taken, 2))
            torch.append(has_torch(process))
    return {"seconds": spread(seconds), "torch_loaded": any(torch)}


def first_point_figures(home: Path) -> dict[str, Any]:
    return {"seconds": spread([first_point(home / f"first-{seed}", seed) for seed in range(RUNS)])}


def first_point(home: Path, seed: int) -> float:
    """Seconds from the start of a run to the event of its first step."""
    os.environ["SHELFTALK_HOME"] = str(home)
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=15, seed=seed))
    run = create_run(dataset, preset("quick", base_model=EMBEDDED, seed=seed))
    launcher.prepare()
    time.sleep(WAITS)
    begun = time.monotonic()
    launcher.start(run)
    taken = next(time.monotonic() - begun for event in launcher.watch(run) if event["type"] == "step")
    launcher.stop(run)
    for _ in launcher.watch(run):
        pass
    return round(taken, 2)


def demo_figures(catalogue: Path, home: Path) -> dict[str, Any]:
    """Whole seconds, right answers and memory of `demo` with seeds 0, 1 and 2, the page open beside it."""
    runs = [one_demo(catalogue, home, seed) for seed in range(RUNS)]
    return {
        "whole_seconds": spread([r["whole_seconds"] for r in runs]),
        "training_seconds": spread([r["training"]["seconds"] for r in runs]),
        "tokens_per_second": spread([r["training"]["tokens_per_second"] for r in runs]),
        "page_and_child_gb": spread([r["page_and_child_gb"] for r in runs]),
        "base_right": [r["summary"]["base_right"] for r in runs],
        "tuned_right": [r["summary"]["tuned_right"] for r in runs],
        "recall": [r["summary"]["recall"] for r in runs],
        "runs": runs,
    }


def one_demo(
    catalogue: Path, home: Path, seed: int, base: str = EMBEDDED, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """A run of `demo`; `changes` of the preset are `NAME=VALUE` each."""
    run = home / f"demo-{seed}"
    command = [sys.executable, "-m", "pipeline", "demo", str(catalogue), "--preset", "quick", "--base", base]
    command += ["--out", str(run), "--overwrite", "--seed", str(seed)]
    command += [word for change in changes for word in ("--set", change)]
    with page(home) as (app, _):
        begun, most = time.monotonic(), 0
        environment = os.environ | {"SHELFTALK_HOME": str(home)}
        demo = psutil.Popen(command, cwd=PROJECT, env=environment)
        while demo.poll() is None:
            most = max(most, resident(app, *children(demo)))
            time.sleep(0.5)
        whole = time.monotonic() - begun
    if demo.returncode:
        raise SystemExit(f"demo ended with {demo.returncode}")
    comparison = read_json(run / "comparison.json")
    return {
        "seed": seed,
        "whole_seconds": round(whole, 1),
        "page_and_child_gb": round(most / 1e9, 2),
        "summary": comparison["summary"],
        "training": comparison["training"],
    }


def children(demo: psutil.Popen) -> list[psutil.Process]:
    """The training process; it has a session of its own but is still the command's child."""
    try:
        return psutil.Process(demo.pid).children(recursive=True)
    except psutil.Error:
        return []


def resident(*processes: psutil.Process) -> int:
    """Resident bytes of all of them together; those that have ended count nothing."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogues", nargs="*", type=Path, metavar="CATALOGUE")
    args = parser.parse_args()
    converted_folder()  # a warm installation: the model is converted once, which is not measured here
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        save("cpu_start", start_figures(home))
        save("cpu_first_point", first_point_figures(home))
        for catalogue in [SAMPLE, *args.catalogues]:
            save(f"cpu_demo_{catalogue.stem}", {"catalogue": catalogue.name, **demo_figures(catalogue, home)})


if __name__ == "__main__":
    main()
