"""Starts, stops and watches the child process that trains.

The child outlives the page: it writes to files, has a session of its own, and is found again through its run folder.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import RunError
from pipeline.files import PROJECT, read_json, write_json
from pipeline.machine import ZERO_GPU_TRAINING, gpus, on_zero_gpu
from pipeline.runs import standby
from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import append_event, read_events, since_start
from pipeline.runs.folder import LOG, MEMORY_RETRIES, PROCESS, RESTORED, STOPPED_EARLY, read_settings
from pipeline.runs.manage import alone, delete_run
from pipeline.runs.processes import RANK, processes_for, training_command
from pipeline.runs.settings import gpu_name
from pipeline.runs.status import check_whole, is_alive, log_tail, running_run, status
from pipeline.runs.tracking import check_tracker

logger = logging.getLogger(__name__)

_asked_to_stop: set[Path] = set()
"""Runs that may end before they can write down why."""

QUIET = {"PYTHONUNBUFFERED": "1", "WANDB_DISABLED": "true", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
"""The child writes its log line by line, without bars, and tells nobody else."""

SHORT_SPIN = {"GOMP_SPINCOUNT": "10000"}
"""OpenMP's threads wait for each other spinning for some microseconds and then asleep. Spinning on, as is the default, they
take each other's time beside another busy program (a browser that draws the plot, perhaps); asleep at once, they wake
too late for the many small operations of a step (benchmarks/RESULTS.md)."""


def check_idle() -> None:
    """Refuse a second run beside one that is training, and any run on a machine that cannot train.

    Raises:
        RunError: a run is training, or this is a Space on ZeroGPU.
    """
    check_can_train()
    if busy := running_run():
        raise RunError(f"Run {busy.name} is still training; wait for it or stop it first.")


def check_can_train() -> None:
    """Refuse to train where the machine cannot.

    Raises:
        RunError: this is a Space on ZeroGPU.
    """
    if on_zero_gpu():
        raise RunError(ZERO_GPU_TRAINING)


@alone()
def start(folder: Path) -> None:
    """Start training in a run folder, or go on with it after its last whole checkpoint.

    Raises:
        RunError: another run is training, this one has finished, or this machine cannot train.
    """
    check_idle()
    state = status(folder).state
    if state == "running":
        raise RunError(f"Run {folder.name} is still training; wait for it or stop it first.")
    if state == "finished":
        raise RunError(f"Run {folder.name} has finished; duplicate it to train it again.")
    check_whole(folder)
    check_tracker(read_settings(folder))
    (folder / RESTORED).unlink(missing_ok=True)
    resumed = state not in ("new", "queued")
    if resumed:  # told here, since until the child comes to it an older ending would win
        append_event(folder, "resumed", step=saved_step(folder))
    child = _waiting_child(folder) or _new_child(folder)
    logger.info("Run %s %s", folder.name, "resumed" if resumed else "started", extra={"run": folder.name})
    threading.Thread(target=_see_off, args=(child, folder), daemon=True).start()


def prepare() -> None:
    """Have a process ready for the next run, with everything imported; none while a run trains, or where it takes several."""
    if not on_zero_gpu() and not running_run() and len(gpus()) < 2:
        standby.prepare(_environment())


def _environment() -> dict[str, str]:
    return SHORT_SPIN | os.environ | QUIET


def _waiting_child(folder: Path) -> subprocess.Popen[bytes] | None:
    """The process that waits for a run, which is told this one; None where a new one must begin."""
    waiting = standby.take(_environment())
    if not waiting:
        return None
    if processes(folder) == 1:
        # Before it is told: it tells of itself at once, and must be known then.
        word = {"word": waiting.word, "folder": str(folder.resolve())}
        write_json(folder / PROCESS, {"pid": waiting.process.pid} | word)
        if waiting.train(folder):
            return waiting.process
    standby.end(waiting)
    return None


def _new_child(folder: Path) -> subprocess.Popen[bytes]:
    command = training_command(folder, processes(folder), MEMORY_RETRIES)
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_json(folder / PROCESS, {"pid": child.pid})
    return child


def _see_off(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the child's end, so that no zombie stays, and write down the end of one that could not do so itself."""
    signalled = -child.wait()
    if folder in _asked_to_stop:
        _asked_to_stop.remove(folder)
        told = {event["type"] for event in since_start(read_events(folder)[0])}
        if status(folder).state == "failed" and not told & {"failed", "step"}:
            append_event(folder, "stopped", message=STOPPED_EARLY)  # before there was anything that could hear it
    _write_end(folder, signalled)
    if (folder / PROCESS).is_file():  # else it was discarded
        ended = status(folder)
        level = logging.WARNING if ended.state == "failed" else logging.INFO
        logger.log(level, "Run %s %s. %s", folder.name, ended.state, ended.message, extra={"run": folder.name})


def _write_end(folder: Path, signalled: int) -> None:
    """Write down the end of a run whose process could not do so itself."""
    if status(folder).state != "failed" or any(e["type"] == "failed" for e in since_start(read_events(folder)[0])):
        return
    message = f"The training process died. {log_tail(folder, 2)}".strip()
    if signalled == signal.SIGKILL:  # it had no time to say anything
        message = "The training process was killed, often because the memory ran out."
    with suppress(OSError):  # a run that was discarded has no folder any more
        append_event(folder, "failed", message=message)


def _is_first(process: psutil.Process) -> bool:
    """Whether a process is the first of those that train a run; of it is asked what would be asked of the one."""
    with suppress(psutil.Error):
        return process.environ().get(RANK) == "0"
    return False


def processes(folder: Path) -> int:
    """How many processes will train this run on this machine."""
    return processes_for(read_settings(folder)) if gpu_name() else 1


def stop(folder: Path) -> None:
    """Ask the run to end after the step it is in; it keeps a checkpoint and a usable adapter."""
    if not is_alive(folder):
        return
    _asked_to_stop.add(folder)
    started = psutil.Process(read_json(folder / PROCESS)["pid"])
    with suppress(psutil.NoSuchProcess):
        next((child for child in started.children() if _is_first(child)), started).terminate()
    logger.info("Run %s is asked to stop", folder.name, extra={"run": folder.name})


def discard(folder: Path) -> None:
    """End the run at once and delete its folder, with everything in it.

    Raises:
        RunError: its process does not end.
    """
    if is_alive(folder):
        with suppress(psutil.NoSuchProcess):
            child = psutil.Process(read_json(folder / PROCESS)["pid"])
            others = child.children(recursive=True)
            child.kill()
            for other in others:
                with suppress(psutil.NoSuchProcess):
                    other.kill()
        if not _gone(folder):
            raise RunError(f"The process of run {folder.name} does not end, so nothing was deleted; try again.")
    logger.info("Run %s discarded", folder.name, extra={"run": folder.name})
    delete_run(folder)


def _gone(folder: Path, seconds: float = 30) -> bool:
    """Whether the run's process is gone within some seconds; one that waits for its parent's look counts as gone."""
    until = time.monotonic() + seconds
    while is_alive(folder) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_alive(folder)


def watch(folder: Path, position: int = 0, interval: float = 0.3) -> Iterator[dict[str, Any]]:
    """Yield the run's events after a byte position as they come, until its process has ended."""
    while True:
        alive = is_alive(folder)
        events, position = read_events(folder, position)
        yield from events
        if not alive:
            break
        time.sleep(interval)
