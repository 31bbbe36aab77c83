"""Starts, stops and watches the child process that trains.

The child outlives the page: it writes to files, has a session of its own, and is found again through its run folder.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import RunError
from pipeline.files import PROJECT, write_json
from pipeline.training.runs import LOG, PROCESS, append_event, is_alive, log_tail, read_events, running_run, status

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Children of this process, kept so that they can be reaped."""


def start(folder: Path) -> None:
    """Start training in a run folder.

    Raises:
        RunError: another run is training.
    """
    busy = running_run()
    if busy or is_alive(folder):
        raise RunError(f"Run {(busy or folder).name} is still training; wait for it or stop it first.")
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
    _children[child.pid] = child
    write_json(folder / PROCESS, {"pid": child.pid, "created": psutil.Process(child.pid).create_time()})


def stop(folder: Path) -> None:
    """Ask the run to end after the step it is in; it keeps a usable adapter."""
    if not is_alive(folder):
        return
    from pipeline.files import read_json

    os.kill(read_json(folder / PROCESS)["pid"], signal.SIGTERM)


def watch(folder: Path, interval: float = 0.3) -> Iterator[dict[str, Any]]:
    """Yield the run's events as they come, until it has ended; a child that died silently ends in `failed`."""
    position = 0
    while True:
        alive = is_alive(folder)
        events, position = read_events(folder, position)
        yield from events
        if not alive:
            _reap(folder)
            break
        time.sleep(interval)


def _reap(folder: Path) -> None:
    """Collect finished children, and write down the end of one that could not do so itself."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
    ended = status(folder)
    if ended.state == "failed" and not any(e["type"] == "failed" for e in read_events(folder)[0]):
        append_event(folder, "failed", message=f"The training process died. {log_tail(folder, 2)}".strip())
