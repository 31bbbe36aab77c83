"""Training steps on this machine's processor: `python -m benchmarks.speed [--pairs N] [--steps N] [--against PEER]`.

The same steps of `quick` on the sample, alternating between FastLlama's forward pass with a fused AdamW (fast) and a peer:
that of Transformers and PEFT (plain), or FastLlama's with batches of whatever size comes (uneven: `TOKEN_MULTIPLE` is 1). Or a
busy program runs beside the fast one, and the peer has one core of an idle machine (one_core). Each
run is in a process of its own through the app's own training path. Machines are noisy: trust the ratio of pairs more than
seconds, and on a machine that does other work the processor's seconds more than the clock.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measure import save, spread
from benchmarks.memory import PUBLISHED, Case, base_of
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT, read_json, write_json
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.runs.events import read_events
from pipeline.runs.launcher import SHORT_SPIN
from pipeline.runs.manage import create_run
from pipeline.runs.settings import preset

PRODUCTS = 15
PEERS = ("plain", "uneven", "one_core")
WARM = 3
"""Steps at the beginning that are not measured: buffers are made, and the processor's kernels for new shapes."""


def train_side(side: str, folder: Path) -> None:
    """In the child: train the run in `folder`, and write down the processor's seconds of every step."""
    import torch

    from pipeline.models import prefixes
    from pipeline.training import child, trainers
    from pipeline.training.llama import step

    if side == "one_core":
        os.sched_setaffinity(0, {0})
        torch.set_num_threads(1)
    if side == "uneven":
        prefixes.TOKEN_MULTIPLE = step.TOKEN_MULTIPLE = step.ROW_MULTIPLE = 1
    if side == "plain":
        trainers.covers = lambda _: False
        del trainers.Distilling.get_optimizer_cls_and_kwargs
    stamps: list[float] = []
    compute_loss = trainers.TransformersTrainer.compute_loss

    def stamped(*args: Any, **kwargs: Any) -> Any:
        stamps.append(time.process_time())
        return compute_loss(*args, **kwargs)

    trainers.TransformersTrainer.compute_loss = stamped
    sys.argv = ["train", str(folder)]
    if child.main():
        raise SystemExit("The training failed.")
    seconds = [end - begin for begin, end in pairwise(stamps)]
    write_json(folder / "processor.json", {"seconds": seconds})


def one_run(side: str, folder: Path, *, busy: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.speed", "--side", side, "--run", str(folder)]
    with beside() if busy else nullcontext():
        subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, env=SHORT_SPIN | os.environ)
    events = [event for event in read_events(folder)[0] if event["type"] == "step"]
    return {
        "tokens_per_second": statistics.median(event["tokens_per_second"] for event in events[WARM:]),
        "processor_seconds_per_step": statistics.median(read_json(folder / "processor.json")["seconds"][WARM:]),
        "memory_gb": round(events[-1]["memory_bytes"] / 1e9, 2),
        "losses": [event["loss"] for event in events],
    }


@contextmanager
def beside() -> Iterator[None]:
    """A program that always has something to compute."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def figures(pairs: int, steps: int, peer: str, base: str, home: Path) -> dict[str, Any]:
    sides = (peer, "fast")
    os.environ["SHELFTALK_HOME"] = str(home)
    # A shape's random weights have nothing to keep, and never end what they say.
    kept = {} if base == EMBEDDED else {"general_share": 0}
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=PRODUCTS, **kept))
    settings = preset("quick", base_model=base, max_steps=steps, probes=0, questions=1)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(pairs):
        for side in sides if number % 2 == 0 else reversed(sides):
            folder = create_run(dataset, settings, home / f"{side}-{number}")
            runs[side].append(one_run(side, folder, busy=peer == "one_core" and side == "fast"))
            shown = {name: value for name, value in runs[side][-1].items() if name != "losses"}
            print(f"Pair {number + 1}, {side}: {shown}", file=sys.stderr, flush=True)

    def ratios(name: str) -> list[float]:
        return [fast[name] / other[name] for other, fast in zip(runs[peer], runs["fast"], strict=True)]

    other, fast = (runs[side][0]["losses"] for side in sides)
    return {
        "steps": steps,
        "tokens_per_second": {side: spread([r["tokens_per_second"] for r in runs[side]]) for side in sides},
        "faster": spread(ratios("tokens_per_second")),
        "processor_faster": spread([1 / ratio for ratio in ratios("processor_seconds_per_step")]),
        "memory_gb": {side: spread([r["memory_gb"] for r in runs[side]]) for side in sides},
        "largest_difference_of_losses": max(abs(a - b) for a, b in zip(other, fast, strict=True)),
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--against", choices=PEERS, default="plain", help="the peer (default: %(default)s)")
    parser.add_argument(
        "--shape", choices=[EMBEDDED, *PUBLISHED], default=EMBEDDED, help="of the base (default: %(default)s)"
    )
    parser.add_argument("--side", choices=(*PEERS, "fast"), help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        train_side(args.side, args.run)
        return
    converted_folder()
    with tempfile.TemporaryDirectory() as folder:
        name = "cpu_training_speed" if args.against == "plain" else f"cpu_training_{args.against}"
        name += "" if args.shape == EMBEDDED else f"_{args.shape}"
        base = base_of(Case(args.shape, {}), Path(folder))
        save(name, figures(args.pairs, args.steps, args.against, base, Path(folder)))


if __name__ == "__main__":
    main()
