"""The app as a Space, in a process of its own, that goes down in the middle of a training and comes up on an empty disk."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.dataset.store import Dataset
from pipeline.files import PROJECT, home
from pipeline.runs.checkpoints import last_checkpoint, saved_step
from pipeline.runs.events import ENDINGS, read_events
from pipeline.runs.folder import GOING_DOWN
from pipeline.runs.manage import create_run
from pipeline.runs.queue import enqueue
from pipeline.runs.status import log_tail, status
from tests.servers.hub import TOKEN
from tests.servers.hub_store import PATIENCE, REPO, STORED, Hub, wait_for
from tests.tiny import tiny_settings

STEPS = 120


@contextmanager
def a_space(disk: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The app as a Space whose disk is `disk`; it is killed at the end, if it still lives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "SPACE_ID": REPO.removesuffix("-data"),
        "SHELFTALK_HOME": str(disk),
        "GRADIO_TEMP_DIR": str(log.parent / "temporary"),
        "PORT": str(port),
        "OPENAI_API_KEY": "",
    }
    with log.open("ab") as written:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=written, stderr=written
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_a_space_that_goes_down_in_a_training_goes_on_by_itself_on_an_empty_disk(
    hub: Hub, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    few = {"max_steps": STEPS, "save_steps": 1, "probes": 0, "questions": 1, "per_device_train_batch_size": 4}
    folder = create_run(dataset, tiny_settings(tiny_base, **few), home() / "runs" / "long")
    enqueue(folder)
    log, fresh = tmp_path / "space.log", tmp_path / "fresh"
    with a_space(home(), log) as process:
        wait_for(lambda: last_checkpoint(folder) or status(folder).state in ENDINGS)
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
    step, events = saved_step(folder), read_events(folder)[0]
    assert 0 < step < STEPS and events[-1]["type"] == "stopped", log_tail(folder)
    assert any(event.get(GOING_DOWN) for event in events)
    stored = hub.repositories[STORED].files
    assert stored["runs/long/events.jsonl"] == (folder / "events.jsonl").read_bytes()
    assert f"runs/long/checkpoints/checkpoint-{step}/optimizer.pt" in stored
    shutil.rmtree(home())

    back = fresh / "runs" / "long"
    with a_space(fresh, log) as process:
        done = lambda: process.poll() is not None or (back.exists() and status(back).state == "finished")  # noqa: E731
        wait_for(done, 5 * PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
    events = read_events(back)[0]
    assert [event["step"] for event in events if event["type"] == "resumed"] == [step]
    told = [event["step"] for event in events if event["type"] == "step"]
    assert told == list(range(1, STEPS + 1))
    stored = hub.repositories[STORED].files
    assert {path.split("/")[1] for path in stored if path.startswith("runs/")} == {"long"}
    assert stored["runs/long/adapter/adapter_model.safetensors"]
    assert not [path for path in stored if "/checkpoints/" in path]
    assert (fresh / "datasets" / dataset.folder.name / "manifest.json").is_file()
    assert TOKEN not in log.read_text() and "Traceback" not in log.read_text()
    files = [path for path in fresh.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


HELD = """
import os, signal, threading, time
from pipeline.space import keeping

held = threading.Lock()

class Keeper:
    def finish(self):
        print("kept" if held.acquire(timeout=20) else "waited in vain", flush=True)

keeping._keeper = Keeper()
signal.signal(signal.SIGTERM, keeping.take_the_run_along)
with held:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)
while True:
    time.sleep(1)
"""


@pytest.mark.usefixtures("home")
def test_what_the_main_thread_holds_when_it_is_told_to_go_does_not_hold_the_last_round_up() -> None:
    """It may be importing what the keeper needs."""
    done = subprocess.run([sys.executable, "-c", HELD], cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.returncode) == ("kept\n", 0), done.stderr
