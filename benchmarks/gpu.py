"""The loop on one GPU: `python -m benchmarks.gpu [--out DIR] [--work DIR]`.

1. Llama-3-8B's shape with random weights: loaded in 4 bits by Unsloth, trained 10 steps, saved, the adapter loaded
   again by a new process, both sides asked. Speed and memory are the real model's; what it says is noise.
2. `demo` with the embedded model, through Unsloth.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, save
from benchmarks.memory import LLAMA_8B, base_of
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT, read_json
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.manage import clear_run, create_run
from pipeline.runs.settings import preset
from pipeline.runs.status import log_tail, status


def llama_figures(work: Path) -> dict[str, Any]:
    base = base_of(LLAMA_8B, work.resolve())
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings())
    changes: dict[str, Any] = {"base_model": base, "load_in_4bit": True, "max_steps": 10, "lora_r": 16}
    run = work / "llama-run"
    clear_run(run)
    create_run(dataset, preset("recall", **changes, probes=0), run)
    begun = time.monotonic()
    launcher.start(run)
    for event in launcher.watch(run):
        print({k: v for k, v in event.items() if k != "answers"}, flush=True)
    if status(run).state != "finished":
        raise SystemExit(f"The run {status(run)}: {log_tail(run, 40)}")
    seconds = time.monotonic() - begun
    questions = work / "questions.json"
    questions.write_text(json.dumps([{"question": "What colour is it?", "title": "Mug"}] * 15))
    begun = time.monotonic()
    asked = subprocess.run(
        [sys.executable, "-m", "pipeline", "ask", str(run), "--file", str(questions)], capture_output=True, text=True
    )
    if asked.returncode:
        raise SystemExit(asked.stderr[-4000:])
    answers = json.loads(asked.stdout)
    return {
        "whole_run_seconds": round(seconds, 1),
        "events": [e for e in read_events(run)[0] if e["type"] != "message"],
        "ask_in_new_process_seconds": round(time.monotonic() - begun, 1),
        "answers": len(answers),
        "sides_differ": sum(a["base"]["raw"] != a["tuned"]["raw"] for a in answers),
    }


def demo_figures(work: Path) -> dict[str, Any]:
    run = work / "demo"
    begun = time.monotonic()
    command = [sys.executable, "-m", "pipeline", "demo", "--base", "SmolLM2-135M-Instruct", "--preset", "recall"]
    subprocess.run([*command, "--out", str(run), "--overwrite"], check=True)
    comparison = read_json(run / "comparison.json")
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "summary": comparison["summary"],
        "training": comparison["training"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument(
        "--work", type=Path, default=PROJECT / ".gpu", help="scratch folder, 20 GB (default: %(default)s)"
    )
    parser.add_argument("--only", choices=("demo", "llama"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.only != "llama":
        save("gpu_demo", demo_figures(args.work), args.out)
    if args.only != "demo":
        save("gpu_llama_8b_shape", llama_figures(args.work), args.out)


if __name__ == "__main__":
    main()
