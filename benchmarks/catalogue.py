"""What a whole catalogue leaves in the model: `python -m benchmarks.catalogue FILE [--products N] [--seeds N]`.

Every seed is a process of its own; on GPUs they run at once, one GPU after another getting the next.
Trains the embedded model through the app's own training path and asks, on both sides where that makes sense: every fact in
the two phrasings that neither training nor its checks use, real titles of the same file that training never had, and the
general questions. "Exact" is the same text, not merely a right verdict.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import RESULTS, save, spread
from pipeline.answering.answers import ask_rows
from pipeline.answering.comparison import compare
from pipeline.answering.everything import FACTS, report_rows
from pipeline.answering.run_model import load_run, unload
from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.examples import unknown_held_out
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import PROJECT, read_json, write_json
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.runs import launcher
from pipeline.runs.folder import EVERYTHING
from pipeline.runs.manage import create_run
from pipeline.runs.recipes import typed
from pipeline.runs.settings import preset
from pipeline.runs.status import log_tail, status

OTHER_TITLES = 100
"""Real titles that training never had, at most."""


def other_titles(catalogue: Catalogue, dataset: Dataset) -> list[str]:
    """Titles of the same file that stand in no training row."""
    trained = {p["title"] for p in dataset.manifest["products"]} | set(dataset.manifest["unknown"]["training"])
    real = sorted(set(catalogue.all_titles()) | set(catalogue.titles_without_content()))
    others = [title for title in real if title not in trained]
    random.Random(0).shuffle(others)
    return others[:OTHER_TITLES]


def one(catalogue: Catalogue, seed: int, args: argparse.Namespace, changes: dict[str, Any]) -> dict[str, Any]:
    settings = DatasetSettings(products=args.products, general_share=args.general_share, seed=seed)
    dataset = build_dataset(catalogue, settings)
    run = create_run(dataset, preset(args.preset, base_model=EMBEDDED, seed=seed, **changes))
    launcher.start(run)
    for event in launcher.watch(run):
        if event["type"] == "probe":
            print(f"seed {seed}: step {event['step']}, {event['right']} of {event['total']}", flush=True)
    if status(run).state != "finished":
        raise SystemExit(log_tail(run, 20))
    language_model, _ = load_run(run)
    comparison = compare(language_model, run)
    everything = read_json(run / EVERYTHING)
    titles = other_titles(catalogue, dataset)
    kinds = [kind for kind in dataset.counts["kinds"] if kind != DESCRIPTION]
    rows = [
        vars(row) for row in unknown_held_out(titles, [DESCRIPTION, *kinds], seed) if not row.template.endswith("probe")
    ]
    refused = ask_rows(language_model, rows, tuned=True)
    facts = report_rows(language_model, run)[FACTS]
    base = ask_rows(language_model, facts, tuned=False)
    unload()
    exact = [row["answer"] == row["expected"] for row in everything["facts"]]
    attributes = [row["verdict"] == "right" for row in everything["facts"] if row["kind"] != DESCRIPTION]
    found = {
        "seed": seed,
        "counts": dataset.counts,
        "training": comparison["training"],
        "questions": comparison["summary"],
        "summary": everything["summary"],
        "exact": sum(exact) / len(exact),
        "attributes_right": sum(attributes) / max(1, len(attributes)),
        "base_recall": sum(a["verdict"] == "right" for a in base) / len(base),
        "other_titles": len(titles),
        "other_titles_refused": sum(a["verdict"] == "right" for a in refused) / len(refused),
        "forgotten": [
            t | {"base": b["raw"]}
            for b, t in zip(everything["general"]["base"], everything["general"]["tuned"], strict=True)
            if b["verdict"] == "right" != t["verdict"]
        ],
    }
    # Shown and not kept: a result holds no text of somebody's catalogue.
    for row in everything["facts"]:
        if row["verdict"] != "right":
            print(f"seed {seed}: {row['question']} {row['raw']!r} is not {row['expected']!r}", flush=True)
    for row, a in zip(rows, refused, strict=True):
        if a["verdict"] != "right":
            print(f"seed {seed}: {row['question']} is not refused: {a['raw']!r}", flush=True)
    told = {name: found[name] for name in ("exact", "base_recall", "other_titles_refused", "summary")}
    print(f"seed {seed}: {told}", flush=True)
    return found


def every_seed(args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Each seed's figures; without a GPU one after another, so that none disturbs another."""
    gpus = visible_gpus()
    results = [work / f"{seed}.json" for seed in range(args.seeds)]
    running = []
    for seed, result in enumerate(results):
        place = {"CUDA_VISIBLE_DEVICES": gpus[(seed + args.first_gpu) % len(gpus)]} if gpus else {}
        home = {"SHELFTALK_HOME": str(work / f"home-{seed}")}
        command = [sys.executable, "-m", "benchmarks.catalogue", *sys.argv[1:], "--one", str(seed), str(result)]
        running.append(subprocess.Popen(command, cwd=PROJECT, env=os.environ | place | home))
        if not gpus:
            running[-1].wait()
    if any([process.wait() for process in running]):
        raise SystemExit("A run failed; what it said stands above.")
    return [read_json(result) for result in results]


def visible_gpus() -> list[str]:
    """The GPUs that this program may use, as `CUDA_VISIBLE_DEVICES` names them."""
    if not torch.cuda.is_available():
        return []
    return os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--preset", default="recall")
    parser.add_argument("--general-share", type=float, default=DatasetSettings.general_share)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="changes to the preset")
    parser.add_argument("--name", default="", help="name of the result; by default it says the device and the number")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--first-gpu", type=int, default=0, help="the GPU of seed 0")
    parser.add_argument("--one", nargs=2, metavar=("SEED", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    changes = {name: typed(name, value) for name, value in (pair.split("=", 1) for pair in args.set)}
    if args.one:
        seed, result = args.one
        write_json(Path(result), one(read_catalogue(args.catalogue), int(seed), args, changes))
        return
    converted_folder()
    with tempfile.TemporaryDirectory() as work:
        runs = every_seed(args, Path(work))
    figures = {
        "products": args.products,
        "preset": args.preset,
        "changes": changes,
        "general_share": args.general_share,
        **{
            n: spread([r[n] for r in runs])
            for n in ("exact", "attributes_right", "base_recall", "other_titles_refused")
        },
        **{n: spread([r["summary"][n] for r in runs]) for n in ("recall", "false_refusals", "refused")},
        "general": [r["summary"]["general"] for r in runs],
        "runs": runs,
    }
    save(args.name or f"catalogue_{args.products}", figures, args.out)


if __name__ == "__main__":
    main()
