"""Faults done to a training on purpose: `python -m benchmarks.faults [--only NAME …]`, and what became of each.

The child that trains and the page that shows it are the real ones, on the embedded model; the losses after every fault are
compared with those of a run that nobody disturbed, in fp32, digit for digit. Some faults need more than Python: `disk_full`
mounts a small tmpfs (root, Linux), `clock` needs libfaketime, `cuda_memory` an NVIDIA GPU.
"""

import argparse
import ctypes.util
import html
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from benchmarks.loop import page
from benchmarks.measure import RESULTS, save
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT, read_json
from pipeline.models.embedded import EMBEDDED
from pipeline.runs import launcher
from pipeline.runs.checkpoints import last_checkpoint, saved_step, step_of
from pipeline.runs.events import read_events, since_start, told
from pipeline.runs.folder import EVENTS, PROCESS, has_adapter
from pipeline.runs.manage import create_run
from pipeline.runs.settings import gpu_name, preset
from pipeline.runs.status import is_alive, status

STEPS, SAVE_STEPS = 60, 5

CHILD_KILLS, APP_KILLS = 20, 10

PATIENCE = 240
"""Seconds after which something counts as hanging."""


def new_run(**changes: Any) -> Path:
    """A run of a minute or two under the home of this benchmark."""
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=2))
    few: dict[str, Any] = {"max_steps": STEPS, "save_steps": SAVE_STEPS, "probes": 0, "questions": 1, "lora_r": 8}
    few |= {"per_device_train_batch_size": 2, "lora_dropout": 0.05, "precision": "auto" if gpu_name() else "fp32"}
    return create_run(dataset, preset("quick", **{**few, **changes}))


def wait_for(happened: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.02)
    raise SystemExit(f"Waited in vain for {what}.")


def steps(run: Path) -> list[dict[str, Any]]:
    return [e for e in told(read_events(run)[0]) if e["type"] == "step"]


def last_step(run: Path) -> int:
    listed = steps(run)
    return listed[-1]["step"] if listed else 0


def process(run: Path) -> psutil.Process:
    return psutil.Process(read_json(run / PROCESS)["pid"])


def finish(run: Path) -> None:
    for _ in launcher.watch(run):
        pass


def said(run: Path) -> str:
    """What the page says about a run that has ended (without Gradio, as on a machine that only trains: the sentence)."""
    if not find_spec("gradio"):
        return status(run).message
    from pipeline.runs.view import view_run
    from tabs.training.run_cards import ending_card

    view = view_run(run.name)
    card = ending_card(view) if view else ""
    return " ".join(html.unescape(part) for part in re.findall(r'role="(?:alert|status)">(.*?)</div>', card, re.DOTALL))


def outcome(run: Path, whole: Path | None) -> dict[str, Any]:
    """The end of a run, and how far its losses are from those of the undisturbed one."""
    result: dict[str, Any] = {"state": status(run).state, "adapter": has_adapter(run)}
    if whole:
        expected = {e["step"]: e["loss"] for e in steps(whole)}
        losses = {e["step"]: e["loss"] for e in steps(run)}
        result["all_steps_told"] = losses.keys() == expected.keys()
        result["largest_loss_difference"] = max(abs(losses.get(n, 99.0) - loss) for n, loss in expected.items())
    return result


def undisturbed() -> Path:
    run = new_run()
    launcher.start(run)
    finish(run)
    return run


def child_killed(whole: Path) -> dict[str, Any]:
    """SIGKILL at random moments: while it loads, asks, trains, writes a checkpoint. Resumed each time."""
    chance = random.Random(1)
    kills: list[dict[str, Any]] = []
    ends = []
    while len(kills) < CHILD_KILLS:
        run = new_run()
        while status(run).state != "finished" and len(kills) < CHILD_KILLS:
            if kill := killed_by_chance(run, chance):
                kills.append(kill)
                print(kill, flush=True)
        if status(run).state != "finished":
            launcher.start(run)
            finish(run)
        ends.append(outcome(run, whole))
    return {"kills": kills, "most_steps_lost": max(k["steps_lost"] for k in kills), "runs": ends}


def killed_by_chance(run: Path, chance: random.Random) -> dict[str, Any] | None:
    """Start or resume a run and kill it some time later; None where it was quicker."""
    launcher.start(run)
    begun = saved_step(run)
    if chance.random() < 0.7:  # most of them some steps later, the others wherever it is
        goal = begun + chance.randint(1, 3 * SAVE_STEPS)
        wait_for(lambda: last_step(run) >= goal or not is_alive(run), f"step {goal}")
    time.sleep(chance.random() * 6)
    if not is_alive(run):
        return None
    process(run).kill()
    wait_for(lambda: status(run).state != "running", "the end")
    if status(run).state == "finished":
        return None
    lost = last_step(run) - saved_step(run)
    found = {"began_after": begun, "killed_after": last_step(run), "steps_lost": lost, "said": said(run)}
    return found | {"process_left": is_alive(run)}


def steps_since_start(run: Path) -> bool:
    return any(e["type"] == "step" for e in since_start(read_events(run)[0]))


def app_killed(whole: Path) -> dict[str, Any]:
    """SIGKILL of the app at random moments while a run is on; started again, its page must show the same run."""
    run, chance, seen = new_run(max_steps=400), random.Random(2), []
    launcher.start(run)
    for _ in range(APP_KILLS):
        with page(Path(os.environ["SHELFTALK_HOME"])) as (app, _seconds):
            time.sleep(chance.random() * 4)
            answered = status_by_page(app)
            app.kill()
        seen.append({**answered, "child_alive": is_alive(run), "step_in_folder": last_step(run)})
        print(seen[-1], flush=True)
    launcher.stop(run)
    finish(run)
    return {"kills": seen, "said": said(run), **outcome(run, None)}


def status_by_page(app: psutil.Process) -> dict[str, Any]:
    """What the page's own API says about the run that is on."""
    from gradio_client import Client

    port = app.environ()["PORT"]
    client = Client(f"http://127.0.0.1:{port}/", verbose=False)
    answer = client.predict(api_name="/training_status")
    return {key: answer[key] for key in ("state", "step", "total")}


def app_dies_with_child(whole: Path) -> dict[str, Any]:
    """Both are killed at once, as when the computer goes down: the next app must not show the run as running."""
    run = new_run()
    script = f"from pipeline.runs import launcher; from pathlib import Path; launcher.start(Path({str(run)!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True)
    wait_for(lambda: last_step(run) > SAVE_STEPS, "a checkpoint")
    process(run).kill()
    wait_for(lambda: status(run).state == "failed", "the end")
    with page(Path(os.environ["SHELFTALK_HOME"])) as (app, _):
        shown = status_by_page(app)
    reached = last_step(run)
    result = {"page": shown, "said": said(run), "steps_lost": reached - saved_step(run)}
    launcher.start(run)
    finish(run)
    return result | outcome(run, whole)


def disk_full(whole: Path) -> dict[str, Any]:
    """A tmpfs with room for one checkpoint and a half; then there is room again."""
    home = Path(os.environ["SHELFTALK_HOME"])
    disk = home / "runs"
    kept_aside = home / "runs-elsewhere"
    disk.rename(kept_aside)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(disk)], check=True)
    try:
        run = new_run(lora_r=64)
        launcher.start(run)
        wait_for(lambda: last_checkpoint(run), "a checkpoint")
        # Room for half of another checkpoint: what the first one takes, halved.
        size = sum(p.stat().st_size for p in (last_checkpoint(run) or run).rglob("*") if p.is_file())
        with (disk / ".ballast").open("wb") as ballast:
            ballast.write(bytes(max(0, shutil.disk_usage(disk).free - size // 2)))
        finish(run)
        wait_for(lambda: status(run).state == "failed", "the end")
        reached = last_step(run)
        result = {"said": said(run), "steps_lost": reached - saved_step(run), "state_then": status(run).state}
        (disk / ".ballast").unlink()
        launcher.start(run)
        finish(run)
        return result | outcome(run, None)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()
        kept_aside.rename(disk)


def killed_at(run: Path, step: int) -> None:
    """Start a run and kill it once it has told of a step."""
    launcher.start(run)
    wait_for(lambda: last_step(run) >= step, f"step {step}")
    process(run).kill()
    wait_for(lambda: status(run).state == "failed", "the end")


def checkpoint_cut(whole: Path) -> dict[str, Any]:
    """The last checkpoint's largest file is cut in half."""
    run = new_run()
    killed_at(run, 3 * SAVE_STEPS + 2)
    newest = last_checkpoint(run) or Path()
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    older = last_checkpoint(run) or Path()
    result = {"cut": f"{newest.name}/{largest.name}", "went_on_from": step_of(older), "said": said(run)}
    launcher.start(run)
    finish(run)
    return result | {"steps_lost": 3 * SAVE_STEPS + 2 - step_of(older)} | outcome(run, whole)


def event_torn(whole: Path) -> dict[str, Any]:
    """The last event is cut in the middle, as by a power cut."""
    run = new_run()
    killed_at(run, SAVE_STEPS + 2)
    file = run / EVENTS
    lines = file.read_bytes().splitlines(keepends=True)
    steps_told = [i for i, line in enumerate(lines) if b'"step"' in line[:20]]
    file.write_bytes(b"".join(lines[: steps_told[-1]]) + lines[steps_told[-1]][:30])
    result = {"said": said(run), "events_readable": len(read_events(run)[0])}
    launcher.start(run)
    finish(run)
    return result | outcome(run, whole)


def clock(whole: Path) -> dict[str, Any]:
    """The clock is a day back when the run goes on; the page that watches has the right time."""
    library = ctypes.util.find_library("faketime") or next(
        (str(p) for p in Path("/usr/lib").rglob("libfaketime.so.1")), ""
    )
    if not library:
        raise SystemExit("The fault `clock` needs libfaketime (Debian: apt install libfaketime).")
    run = new_run()
    killed_at(run, SAVE_STEPS + 2)
    script = f"from pipeline.runs import launcher; from pathlib import Path; launcher.start(Path({str(run)!r}))"
    late = os.environ | {"LD_PRELOAD": library, "FAKETIME": "-1d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True, env=late)
    wait_for(lambda: steps_since_start(run), "a step")
    shown = [status(run).state]
    finish(run)
    times = [e["time"] for e in read_events(run)[0]]
    return {"state_while_it_ran": shown[0], "times_went_back": times != sorted(times), **outcome(run, whole)}


HOG = """
import torch
torch.cuda.init()
input()
taken = torch.empty(torch.cuda.mem_get_info()[0] - 1_500_000_000, dtype=torch.uint8, device="cuda")
print("taken", flush=True)
input()
"""
"""Takes all but 1.5 GB of the GPU's free memory when it is told to, and gives it back when it is told again."""


def cuda_memory(whole: Path) -> dict[str, Any]:
    """Another program takes most of the GPU's memory after the run was planned: its micro-batch does not fit any more."""
    with subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hog:
        time.sleep(15)  # until it has imported what it needs
        run = new_run(max_steps=20, per_device_train_batch_size=64, precision="auto")
        launcher.start(run)
        wait_for(lambda: read_events(run)[0], "the plan")
        _tell(hog)
        finish(run)
        print("", file=hog.stdin, flush=True)
    texts = [e["text"] for e in read_events(run)[0] if e.get("memory_split")]
    return {"said": texts, "message": said(run), "gpu_memory_after": gpu_memory(), **outcome(run, None)}


def _tell(hog: subprocess.Popen[str]) -> None:
    print("", file=hog.stdin, flush=True)
    assert hog.stdout and hog.stdout.readline() == "taken\n"


def gpu_memory() -> str:
    """What all processes together use of the GPU's memory."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


FAULTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    f.__name__: f
    for f in (child_killed, app_killed, app_dies_with_child, disk_full, checkpoint_cut, event_torn, clock, cuda_memory)
}
ON_A_CPU = [name for name in FAULTS if name != "cuda_memory"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=ON_A_CPU, metavar="NAME")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHELFTALK_HOME"] = folder
        whole = undisturbed() if args.only != ["cuda_memory"] else Path()
        results = {"model": EMBEDDED, "steps": STEPS, "save_steps": SAVE_STEPS, "faults": {}}
        for name in args.only:
            results["faults"][name] = {"what": (FAULTS[name].__doc__ or "").strip(), **FAULTS[name](whole)}
            print(json.dumps({name: results["faults"][name]}, ensure_ascii=False), flush=True)
            save("faults_gpu" if gpu_name() else "faults_cpu", results, args.out)


if __name__ == "__main__":
    main()
