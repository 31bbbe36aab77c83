"""Starts, stops and watches the child process that trains.

The child outlives the page: it writes to files, has a session of its own, and is found again through its run folder.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import RunError
from pipeline.files import PROJECT, read_json, write_json
from pipeline.training.runs import (
    LOG,
    PROCESS,
    alone,
    append_event,
    is_alive,
    log_tail,
    read_events,
    running_run,
    status,
)


def check_idle() -> None:
    """Refuse a second run beside one that is training.

    Raises:
        RunError: a run is training.
    """
    if busy := running_run():
        raise RunError(f"Run {busy.name} is still training; wait for it or stop it first.")


@alone()
def start(folder: Path) -> None:
    """Start training in a run folder.

    Raises:
        RunError: another run is training.
    """
    check_idle()
    if is_alive(folder):
        raise RunError(f"Run {folder.name} is still training; wait for it or stop it first.")
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "WANDB_DISABLED": "true", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "pipeline.training.train", str(folder.resolve())]
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_json(folder / PROCESS, {"pid": child.pid, "created": psutil.Process(child.pid).create_time()})
    threading.Thread(target=_see_off, args=(child, folder), daemon=True).start()


def _see_off(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the child's end, so that no zombie stays, and write down the end of one that could not do so itself."""
    child.wait()
    ended = status(folder)
    if ended.state == "failed" and not any(e["type"] == "failed" for e in read_events(folder)[0]):
        append_event(folder, "failed", message=f"The training process died. {log_tail(folder, 2)}".strip())


def stop(folder: Path) -> None:
    """Ask the run to end after the step it is in; it keeps a usable adapter."""
    if not is_alive(folder):
        return
    os.kill(read_json(folder / PROCESS)["pid"], signal.SIGTERM)


def watch(folder: Path, interval: float = 0.3) -> Iterator[dict[str, Any]]:
    """Yield the run's events as they come, until its process has ended."""
    position = 0
    while True:
        alive = is_alive(folder)
        events, position = read_events(folder, position)
        yield from events
        if not alive:
            break
        time.sleep(interval)
