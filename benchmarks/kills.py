"""SIGKILL at random moments of each kind of writing: `python -m benchmarks.kills [--kills 60] [--seed N]`.

A forked child writes as the app does (replies and the job's file; events, checkpoints and the adapter; a published model;
deletions; comparisons, reports and edits) and tells its parent each thing once the call that promised it has returned. It is
killed a random time later. Then every file must be readable, everything that was told must be there, and nothing may stand
half-written under its final name; the next child goes on with what the last one left.
"""

import argparse
import json
import os
import random
import shutil
import signal
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from benchmarks.measure import RESULTS, save
from pipeline.answering.comparison import COMPARISON, EVERYTHING
from pipeline.answering.report import write_report
from pipeline.dataset.edits import EDIT, Edit, keep_edit, read_edits
from pipeline.dataset.store import delete_dataset, latest_dataset, open_dataset
from pipeline.files import PROJECT, datasets_dir, home, read_json, runs_dir, whole_folder, write_json
from pipeline.publishing import publish
from pipeline.publishing.forms import FILES, Made
from pipeline.runs.checkpoints import drop_old, last_checkpoint, saved_step, seal, sealed_state
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import ADAPTER, CHECKPOINTS, has_adapter, list_runs, read_settings, run_dataset
from pipeline.runs.manage import delete_run, rename_run
from pipeline.writing import generation
from pipeline.writing.api.replies import Reply, journal

FORMATS = PROJECT / "tests" / "formats"
KILLS = 60
LONGEST = 0.06
"""Seconds after the first promise within which a child is killed."""
WEIGHTS = bytes(300_000)
ADAPTER_TOLD = -1
"""Told when there is an adapter; from -2 downwards are checkpoints, and the others are steps."""

Tell = Callable[[int], None]


@dataclass(frozen=True)
class Writing:
    """Attributes:
    write: writes for ever from a number on, and tells each number that is promised to be there.
    check: what is wrong with what is there, given all numbers that were told; empty where nothing is.
    longest: seconds within which a child is killed.
    """

    write: Callable[[int, Tell], None]
    check: Callable[[list[int]], str]
    longest: float = LONGEST


# --- Generation ---


def generate(first: int, tell: Tell) -> None:
    with journal("m", "http://x/v1") as replies:
        for number in range(first, first + 100_000):
            replies.append(f"k{number}", Reply(content=str(number) * 2000))
            generation._tell(generation.Look(state=generation.RUNNING, text=str(number)))
            tell(number)


def generated(told: list[int]) -> str:
    with journal("m", "http://x/v1") as replies:
        lost = [n for n in told if (kept := replies.get(f"k{n}")) is None or kept.content != str(n) * 2000]
    job = read_json(generation.job_file())
    behind = told and int(job["text"]) < told[-1]
    return f"replies lost: {lost}" if lost else "the job's file is behind" if behind else ""


# --- Training ---


def run() -> Path:
    return runs_dir() / "trained"


def train(first: int, tell: Tell) -> None:
    for step in range(first, first + 100_000):
        append_event(run(), "step", step=step, total=10**6, loss=0.5, tokens_per_second=1.0, memory_bytes=1)
        tell(step)
        if step % 3 == 0:
            checkpoint = run() / CHECKPOINTS / f"checkpoint-{step}"
            shutil.rmtree(checkpoint, ignore_errors=True)
            checkpoint.mkdir(parents=True)
            for name in ("adapter_model.safetensors", "optimizer.pt"):
                (checkpoint / name).write_bytes(WEIGHTS)
            seal(checkpoint, {"step": step})
            drop_old(run())
            tell(-step - 2)
        if step % 7 == 0:
            with whole_folder(run() / ADAPTER) as aside:
                for name in ("adapter_config.json", "adapter_model.safetensors"):
                    (aside / name).write_bytes(WEIGHTS)
            tell(ADAPTER_TOLD)


def trained(told: list[int]) -> str:
    steps = {event["step"] for event in read_events(run())[0] if event["type"] == "step"}
    saved = [-number - 2 for number in told if number < -1]
    if ADAPTER_TOLD in told and not has_adapter(run()):
        return "the adapter is gone"
    if lost := {number for number in told if number >= 0} - steps:
        return f"steps lost: {sorted(lost)}"
    if saved and saved_step(run()) < saved[-1]:
        return f"checkpoint {saved[-1]} lost, {saved_step(run())} is the last"
    checkpoint = last_checkpoint(run())
    if checkpoint and sealed_state(checkpoint) != {"step": int(checkpoint.name.rpartition("-")[2])}:
        return f"{checkpoint.name} is not what was sealed"
    whole = {"adapter_config.json", "adapter_model.safetensors"}
    if has_adapter(run()) and any((run() / ADAPTER / name).stat().st_size != len(WEIGHTS) for name in whole):
        return "half an adapter"
    return ""


# --- Publishing ---


def _made(_run: Path, form: str, work: Path) -> Any:
    """In the place of the child that merges weights: files of some size, so that packing them is what is killed."""
    (work / FILES).mkdir()
    for number in range(4):
        (work / FILES / f"part-{number}.safetensors").write_bytes(WEIGHTS)
    yield publish.PublishingStep("Making", 0, 1)
    return Made(form=form, dtype="float32", checked=1)


def published_run() -> Path:
    return runs_dir() / "published"


def publish_on(first: int, tell: Tell) -> None:
    publish._make = _made
    for number in range(first, first + 100_000):
        shutil.rmtree(home() / "exported" / str(number), ignore_errors=True)  # made, and not told
        list(publish.export_zip(published_run(), "adapter"))
        list(publish.export_model(published_run(), "adapter", home() / "exported" / str(number)))
        tell(number)


def published(told: list[int]) -> str:
    archive = published_run() / publish.PUBLISHED / "published-adapter.zip"
    if told and not archive.is_file():
        return "the archive is gone"
    if archive.is_file():
        with ZipFile(archive) as opened:
            if opened.testzip() or len(opened.namelist()) != 5:
                return "half an archive"
    folders = {int(f.name): len([*f.iterdir()]) for f in (home() / "exported").glob("[0-9]*")}
    if half := [number for number, files in folders.items() if files != 5]:
        return f"half a model: {half}"
    return f"models lost: {set(told) - set(folders)}" if set(told) - set(folders) else ""


# --- Deleting ---


def delete(first: int, tell: Tell) -> None:
    for number in range(first, first + 100_000):
        folder = runs_dir() / f"victim {number}"
        if not folder.exists():
            with whole_folder(folder) as aside:
                shutil.copytree(FORMATS / "run", aside, dirs_exist_ok=True)
        if (left := folder.with_name(f"moved {number}")).exists():  # renamed, and not told
            delete_run(left)
        moved = rename_run(folder, f"moved {number}")
        delete_run(moved)
        dataset = datasets_dir() / f"{number:016x}"
        with whole_folder(dataset) as aside:
            shutil.copytree(FORMATS / "run" / "dataset", aside, dirs_exist_ok=True)
        delete_dataset(dataset)
        tell(number)


def deleted(told: list[int]) -> str:
    wanted = {str(p.relative_to(FORMATS / "run")) for p in (FORMATS / "run").rglob("*") if p.is_file()}
    for folder in list_runs():
        if folder.name.startswith(("victim", "moved")):
            read_settings(folder), run_dataset(folder).rows()
            if missing := wanted - {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}:
                return f"half a run, {folder.name}: without {sorted(missing)[:3]}"
            if int(folder.name.split()[1]) in told:
                return f"{folder.name} came back"
    for folder in datasets_dir().glob("[0-9a-f]*"):
        open_dataset(folder).rows()
        if int(folder.name, 16) in told:
            return f"dataset {folder.name} came back"
    latest_dataset()
    return "" if has_adapter(run()) or not (run() / ADAPTER).exists() else "another run was touched"


# --- Judging ---


def judged_run() -> Path:
    return runs_dir() / "judged"


def judge(first: int, tell: Tell) -> None:
    comparison = read_json(FORMATS / "run" / COMPARISON)
    everything = read_json(FORMATS / "run" / EVERYTHING)
    for number in range(first, first + 100_000):
        write_json(judged_run() / COMPARISON, comparison | {"number": number})
        write_report(judged_run(), comparison)
        write_json(judged_run() / EVERYTHING, everything | {"number": number})
        keep_edit(Edit(f"row {number}", EDIT, "Q?" * 400, "R." * 400))
        tell(number)


def judged(told: list[int]) -> str:
    for name in (COMPARISON, EVERYTHING):
        if (judged_run() / name).is_file() and told and read_json(judged_run() / name)["number"] < told[-1]:
            return f"{name} is behind"
    page = judged_run() / "report.html"
    if page.is_file() and not page.read_text().rstrip().endswith("</html>"):
        return "half a report"
    edits = read_edits()
    lost = [n for n in told if edits.get(f"row {n}") != Edit(f"row {n}", EDIT, "Q?" * 400, "R." * 400)]
    return f"edits lost: {lost}" if lost else ""


WRITINGS = {
    "generation": Writing(generate, generated),
    "training": Writing(train, trained),
    "publishing": Writing(publish_on, published, 0.15),
    "deleting": Writing(delete, deleted, 0.15),
    "judging": Writing(judge, judged),
}


def killed(writing: Writing, first: int, chance: random.Random) -> list[int]:
    """Fork a child that writes, kill it some time after its first promise, and return what it told."""
    reading, telling = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            writing.write(first, lambda number: os.write(telling, struct.pack("<q", number)) and None)
        finally:
            os._exit(1)
    os.close(telling)
    told = os.read(reading, 8)
    time.sleep(chance.random() * writing.longest)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while more := os.read(reading, 65536):
        told += more
    os.close(reading)
    assert os.WIFSIGNALED(status), "The child ended by itself"
    return [number for (number,) in struct.iter_unpack("<q", told)]


def tried(name: str, kills: int, seed: int) -> dict[str, Any]:
    """So many kills of one kind of writing in an empty home."""
    writing, chance, told = WRITINGS[name], random.Random(f"{name} {seed}"), list[int]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["SHELFTALK_HOME"] = place
        for folder in ("trained", "published", "judged"):
            shutil.copytree(FORMATS / "run", runs_dir() / folder)
        shutil.rmtree(run() / ADAPTER)  # it gets its own
        for number in range(kills):
            told += killed(writing, max([n for n in told if n >= 0], default=0) + 1, chance)
            try:
                wrong = writing.check(told)
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                faults.append(f"kill {number}: {wrong}")
    return {"kills": kills, "promises": len(told), "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=WRITINGS, default=list(WRITINGS), metavar="NAME")
    parser.add_argument("--kills", type=int, default=KILLS, help="of each kind of writing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    found = {}
    for name in args.only:
        found[name] = tried(name, args.kills, args.seed)
        print(json.dumps({name: found[name]}), flush=True)
    if args.only == list(WRITINGS):
        save(
            "kills",
            {"seed": args.seed, "kills": sum(one["kills"] for one in found.values()), "writings": found},
            args.out,
        )


if __name__ == "__main__":
    main()
