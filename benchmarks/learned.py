"""`quick` with "stop when learned" on this machine's processor: `python -m benchmarks.learned [--seeds N]`.

For each seed: 15 products of the sample, trained until recall says that it has learned, then all facts asked in the two
phrasings that neither training nor its checks use.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, save, spread
from pipeline.answering.comparison import compare
from pipeline.answering.run_model import load_run, unload
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from pipeline.runs.recipes import typed
from pipeline.runs.settings import preset
from pipeline.runs.status import log_tail, status


def one(seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(seed=seed))
    run = create_run(dataset, preset("quick", base_model=EMBEDDED, seed=seed, **changes))
    launcher.start(run)
    for event in launcher.watch(run):
        if event["type"] == "probe":
            print(f"seed {seed}: step {event['step']}, {event['right']} of {event['total']}", flush=True)
    if status(run).state != "finished":
        raise SystemExit(log_tail(run, 20))
    probes = [e for e in read_events(run)[0] if e["type"] == "probe"]
    comparison = compare(load_run(run)[0], run)
    unload()
    return {
        "seed": seed,
        "said": status(run).message,
        "probes": [[p["step"], p["right"], p["total"]] for p in probes],
        "training": comparison["training"],
        "summary": comparison["summary"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other changes to the preset")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    changes = {"stop_when_learned": True}
    changes |= {name: typed(name, value) for name, value in (pair.split("=", 1) for pair in args.set)}
    converted_folder()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SHELFTALK_HOME"] = home
        runs = [one(seed, changes) for seed in range(args.seeds)]
    figures = {
        "changes": changes,
        "training_seconds": spread([r["training"]["seconds"] for r in runs]),
        "tokens_per_second": spread([r["training"]["tokens_per_second"] for r in runs]),
        "probe_seconds": spread([r["training"]["probe_seconds"] for r in runs]),
        "recall": [r["summary"]["recall"] for r in runs],
        "tuned_right": [r["summary"]["tuned_right"] for r in runs],
        "base_right": [r["summary"]["base_right"] for r in runs],
        "runs": runs,
    }
    save("cpu_stop_when_learned", figures, args.out)


if __name__ == "__main__":
    main()
