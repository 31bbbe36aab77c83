"""1,000 products through an API that answers in 0.5 s: `python -m benchmarks.api [--runs 3] [--products 1000] [CASE …]`.

Cases: `faults` (1% answered with 500 or dropped), `sporadic` (2% refused with 429 and no `Retry-After`), `limited-bucket`,
`limited-fixed`, `limited-sliding` (40 requests a second, 429 with `Retry-After: 1` beyond) and `killed` (SIGKILL ten times
on the way, with the faults). The project's own two calls a product, replies of up to 10 kB, their checks, a pool of 32. The
server and each run are processes of their own; the figures of a run are its own, those of requests are the server's.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.measure import save, spread
from pipeline.catalogue.catalogue import Product
from pipeline.dataset.choosing import ChosenProduct
from pipeline.writing.api import ApiSettings, WritingProgress, work_through
from pipeline.writing.writer import ProductWriter, finished

SECONDS = 0.5
WORKERS = 32
LIMIT = 40
KILLS = 10
CASES = {
    "faults": ["--faults", "0.01"],
    "sporadic": ["--refusals", "0.02"],
    "limited-bucket": ["--limit", str(LIMIT), "--window", "bucket"],
    "limited-fixed": ["--limit", str(LIMIT), "--window", "fixed"],
    "limited-sliding": ["--limit", str(LIMIT), "--window", "sliding"],
    "killed": ["--faults", "0.01"],
}
IDEAL = {name: LIMIT if name.startswith("limited") else WORKERS / SECONDS for name in CASES}


def products(count: int) -> list[Product]:
    """Three attributes each, in records of about a kilobyte."""
    told = "It keeps its shape, it keeps its promise, and it keeps whoever bought it company for a good many years. "
    return [
        Product(
            f"p{n}",
            f"Ferrymead Article {n}",
            f"A sturdy thing for every room of the house. It is {10 + n % 80} inches long and made of solid beech. "
            f"It comes in a box of {100 + n} pieces. {told * 8}",
        )
        for n in range(count)
    ]


def child(url: str, count: int) -> None:
    """One run, as a process of its own; prints its figures."""
    import openai  # noqa: F401 - its import takes a second, once a process and not once a run

    seen: list[WritingProgress] = []
    settings = ApiSettings("m", url, "none", workers=WORKERS)
    chosen = [ChosenProduct.of(product) for product in products(count)]
    begun = time.monotonic()
    results = finished(work_through(chosen, ProductWriter().write, settings, on_progress=seen.append))
    seconds = time.monotonic() - begun
    figures = {
        "seconds": seconds,
        "per_second": seen[-1].asked / seconds,
        "replies": seen[-1].asked,
        "reused": seen[-1].reused,
        "refused": seen[-1].refused,
        "failed": seen[-1].failed,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "cpu_seconds": time.process_time(),
        "results": hashlib.sha256(repr(results).encode()).hexdigest(),
        "rows": results.accepted,
    }
    print(json.dumps(figures))


@contextmanager
def server(case: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.api_server", "--seconds", str(SECONDS), *CASES[case]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def start(url: str, count: int, home: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.api", "--child", f"{url}/v1", "--products", str(count)]
    return subprocess.Popen(command, env={**os.environ, "SHELFTALK_HOME": home}, stdout=subprocess.PIPE, text=True)


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats") as response:
        return json.load(response)


def told_count(url: str) -> int:
    with urllib.request.urlopen(f"{url}/count") as response:
        return int(response.read())


def kept(home: str) -> set[str]:
    """Names of the prompts whose replies are in the journal."""
    names = set()
    for file in Path(home, "replies").glob("*.jsonl"):
        for line in file.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):  # torn by a kill, and ended by the next run
                names.add(json.loads(json.loads(line)["reply"]["content"])["name"])
    return names


def once(case: str, count: int) -> dict[str, Any]:
    with server(case) as url, tempfile.TemporaryDirectory() as home:
        kills: list[tuple[float, set[str]]] = []
        if case == "killed":
            for _ in range(KILLS):
                more = told_count(url) + random.randint(count // 25, count // 4)
                process = start(url, count, home)
                while told_count(url) < more and process.poll() is None:
                    time.sleep(random.uniform(0, 0.1))
                process.kill()
                process.wait()
                kills.append((time.time(), kept(home)))
        output, _ = start(url, count, home).communicate()
        figures, told = json.loads(output), stats(url)
        asked = sum(map(len, told["asked"].values()))
        return figures | {
            "share_of_ideal": figures["per_second"] / IDEAL[case],
            "asked": asked,
            "refused_share": told["refused"] / asked,
            "lost": 2 * count - len(kept(home)),
            "asked_after_a_reply": _asked_after(told, kills) if kills else _asked_twice(told),
            "kept_at_each_kill": [len(names) for _, names in kills],
            "paid_twice": sum(len(times) - 1 for times in told["answered"].values()),
            "load": os.getloadavg()[0],
        }


def _asked_twice(told: dict[str, Any]) -> int:
    return sum(sum(later > told["answered"][name][0] for later in times) for name, times in told["asked"].items())


def _asked_after(told: dict[str, Any], kills: list[tuple[float, set[str]]]) -> int:
    """Requests whose reply was in the journal when a run was killed, and which a later one sent again."""
    return sum(any(later > when for later in told["asked"][name]) for when, names in kills for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--child", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.products)
        return
    figures: dict[str, Any] = {"products": args.products, "workers": WORKERS, "reply_seconds": SECONDS}
    for case in args.cases:
        runs = []
        for _ in range(args.runs):
            runs.append(once(case, args.products))
            print(case, json.dumps(runs[-1]), file=sys.stderr, flush=True)
        measured = ("per_second", "share_of_ideal", "refused_share", "peak_rss_bytes", "cpu_seconds")
        figures[case] = {name: spread([run[name] for run in runs]) for name in measured}
        figures[case] |= {
            name: [run[name] for run in runs] for name in ("lost", "asked_after_a_reply", "paid_twice", "load")
        }
        figures[case] |= {"same_results": len({run["results"] for run in runs}) == 1, "runs": runs}
    results = {run["results"] for case in args.cases for run in figures[case]["runs"]}
    save("api_cpu", figures | {"same_results": len(results) == 1})


if __name__ == "__main__":
    main()
