"""Answers a minute of `serve` for many callers against one at a time, and what the API costs beside calling the function.

`python -m benchmarks.serving RUN [--way auto] [--model NAME] [--callers 32] [--questions 128]` serves a run in a process of its
own, three times, and asks it what its held-out rows ask, in their order, so that a product is not asked about twice in a row.

`python -m benchmarks.serving [RUN | --base BASE] --streams 64 [--model base] [--rounds 8]` measures what is streamed
(`benchmarks.streams`).
"""

import argparse
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import RESULTS, save, spread
from benchmarks.streams import run_of, stream_figures
from pipeline.files import PROJECT, read_jsonl
from pipeline.serving.desk import run_named

PATIENCE = 600


def asked_of(run: Path, count: int) -> list[str]:
    """Questions of a run's held-out rows that name a product."""
    rows = [row for row in read_jsonl(run / "dataset" / "heldout.jsonl") if row["title"] in row["question"]]
    return [rows[at % len(rows)]["question"] for at in range(count)]


def timed(client: httpx.Client, model: str, question: str) -> tuple[float, float]:
    """Seconds of one answer, and those that the ways to answer took of them."""
    begun = time.perf_counter()
    reply = client.post("/chat/completions", json={"model": model, "messages": [{"role": "user", "content": question}]})
    seconds = time.perf_counter() - begun
    reply.raise_for_status()
    return seconds, reply.json()["choices"][0]["message"]["shelftalk"]["seconds"]


def many(client: httpx.Client, model: str, questions: list[str], callers: int) -> dict[str, float]:
    begun = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        seconds = sorted(pool.map(lambda question: timed(client, model, question)[0], questions))
    return {
        "answers_a_minute": round(60 * len(questions) / (time.perf_counter() - begun), 1),
        "median_seconds": round(statistics.median(seconds), 4),
        "slowest_seconds": round(seconds[-1], 4),
    }


def overhead(client: httpx.Client, model: str, questions: list[str]) -> float:
    """Median seconds that an answer takes longer than the function behind it says that it took."""
    longer = []
    for question in questions:
        seconds, said = timed(client, model, question)
        longer.append(seconds - said)
    return statistics.median(longer)


def measure(run: Path, way: str, model: str, callers: int, questions: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline", "serve", str(run), "--way", way, "--port", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
            with httpx.Client(base_url=url, timeout=PATIENCE, limits=limits) as client:
                many(client, model, questions[:callers], callers)  # records are read, libraries are set up
                alone = many(client, model, questions, 1)
                together = many(client, model, questions, callers)
                more = overhead(client, model, questions)
        finally:
            process.terminate()
    return {
        "one": alone,
        f"{callers} callers": together,
        "times": round(together["answers_a_minute"] / alone["answers_a_minute"], 2),
        "overhead_ms": round(1000 * more, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--way", default="auto")
    parser.add_argument("--model", default="", help="default: the run")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--streams", type=int, default=0, help="callers that are streamed to")
    parser.add_argument("--base", default="", help="instead of RUN: a base, or a shape of benchmarks.memory")
    parser.add_argument("--rounds", type=int, default=8, help="questions of each that is streamed to")
    parser.add_argument("--work", type=Path, default=PROJECT / ".gpu", help="scratch folder (default: %(default)s)")
    given = parser.parse_args()
    if not (given.run or given.base):
        parser.error("Name a run, or a --base.")
    if given.streams:
        run = run_named(given.run).resolve() if given.run else run_of(given.base, given.work.resolve())
        streamed = [
            stream_figures(run, given.model or run.name, given.streams, given.rounds) for _ in range(given.runs)
        ]
        spreads = {name: spread([one[name] for one in streamed]) for name in ("tokens_a_second", "seconds")}
        save("serving_streams", {"callers": given.streams, **spreads, "runs": streamed}, given.out)
        return
    run = run_named(given.run).resolve()
    questions = asked_of(run, given.questions)
    name = given.model or run.name
    found = [measure(run, given.way, name, given.callers, questions) for _ in range(given.runs)]
    over = {figure: spread([one[figure] for one in found]) for figure in ("times", "overhead_ms")}
    save("serving", {"way": given.way, "callers": given.callers, **over, "runs": found}, given.out)


if __name__ == "__main__":
    main()
