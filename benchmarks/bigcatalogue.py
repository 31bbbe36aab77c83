"""A catalogue of 2,248,619 rows: `python -m benchmarks.bigcatalogue [--folder DIR] [--runs N]`.

Makes an invented file with the size and the warts of AmazonTitles-1.3MM's `trn.json` (plain and gzipped, in DIR, kept there),
then measures in fresh processes what a person waits for: the first page of the packed file, its cleaning into Parquet, the
same for the plain file, and on the cache a search of titles, page 60,000 and a sample. Memory is each process's own peak.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.bigcatalogue_file import ROWS, write_catalogue
from benchmarks.measure import RESULTS, save, spread
from pipeline.catalogue.build import MEMORY
from pipeline.catalogue.catalogue import peek, read_catalogue
from pipeline.catalogue.cleaning import checked
from pipeline.catalogue.json_reader import blocks, parsed

PAGE = 25
WORDS = "zaf ta"
PEER_ROWS = 200_000

Step = Callable[[Path], Any]


def search(file: Path) -> list[str]:
    catalogue = read_catalogue(file)
    return [str(catalogue.matching(WORDS)), *(p.title for p in catalogue.page(0, PAGE, WORDS))]


def page_60000(file: Path) -> list[str]:
    """That page, or the last one where there are not so many."""
    catalogue = read_catalogue(file)
    return [p.uid for p in catalogue.page(min(60_000 * PAGE, catalogue.usable - PAGE), PAGE)]


def by_line(file: Path) -> int:
    """The peer: Python's JSON reader and cleaning, a line at a time, on the first rows."""
    done = 0
    for block in blocks(file):
        for line, row in parsed(block):
            if isinstance(row, dict):
                checked(line, row.get("uid"), row.get("title"), [row.get("content")])
            done += 1
            if done == PEER_ROWS:
                return done
    return done


def by_duckdb(file: Path) -> int:
    """Another peer: the same file into Parquet as it stands, with nothing cleaned, checked or numbered."""
    columns = "{uid: 'VARCHAR', title: 'VARCHAR', content: 'VARCHAR'}"
    out = file.with_name("as_it_stands.parquet")
    source = f"read_json('{file}', format = 'newline_delimited', columns = {columns})"
    with duckdb.connect(config={"threads": 2, "memory_limit": MEMORY}) as connection:
        written = connection.execute(f"COPY (SELECT * FROM {source}) TO '{out}' (FORMAT parquet)").fetchall()
    out.unlink()
    return written[0][0]


STEPS: dict[str, Step] = {
    "peek": lambda file: len(peek(file, PAGE)),
    "build": lambda file: vars(read_catalogue(file)) | {"folder": ""},
    "search": search,
    "page_60000": page_60000,
    "sample_2000": lambda file: len(read_catalogue(file).sample(2000, 0)),
    "by_line": by_line,
    "by_duckdb": by_duckdb,
}


def child(step: str, file: Path) -> None:
    """Do one thing and print what it took."""
    begun = time.perf_counter()
    found = STEPS[step](file)
    seconds = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_mb": used.ru_maxrss / 1000,
                "load": os.getloadavg()[0],
                "found": found if isinstance(found, dict | int) else len(found),
            }
        )
    )


def measured(step: str, file: Path, home: Path, runs: int, *, fresh: bool = False) -> dict[str, Any]:
    """Run a step in processes of its own; `fresh` removes the cache before each."""
    told = []
    for _ in range(runs):
        if fresh:
            shutil.rmtree(home, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.bigcatalogue", "--child", step, "--file", str(file)]
        environment = os.environ | {"SHELFTALK_HOME": str(home)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        told.append(json.loads(done.stdout))
        print(step, file.name, told[-1], flush=True)
    figures = {name: spread([t[name] for t in told]) for name in ("seconds", "cpu_seconds", "peak_mb", "load")}
    return {**figures, "found": told[-1]["found"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/shelftalk-bigcatalogue"))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--child", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.file)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    plain, home = args.folder / "trn.json", args.folder / "home"
    packed = plain.with_name(plain.name + ".gz")
    write_catalogue(plain, args.rows)
    figures = {
        "rows": args.rows,
        "plain_bytes": plain.stat().st_size,
        "packed_bytes": packed.stat().st_size,
        "first_page_of_gz": measured("peek", packed, home, args.runs),
        "plain_to_parquet": measured("build", plain, home, args.runs, fresh=True),
        "peer_duckdb_gz_to_parquet_as_it_stands": measured("by_duckdb", packed, home, args.runs),
        "gz_to_parquet": measured("build", packed, home, args.runs, fresh=True),
        "title_search": measured("search", packed, home, args.runs),
        "page_60000": measured("page_60000", packed, home, args.runs),
        "sample_2000": measured("sample_2000", packed, home, args.runs),
    }
    figures["cache_bytes"] = sum(f.stat().st_size for f in home.rglob("*") if f.is_file())
    peer = measured("by_line", packed, home, args.runs)
    peer["whole_file_seconds"] = peer["seconds"]["median"] * args.rows / min(args.rows, PEER_ROWS)
    save("bigcatalogue", figures | {"peer_by_line_200000_rows": peer}, args.out)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
