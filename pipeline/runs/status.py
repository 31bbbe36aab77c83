"""What a run is doing: an ending wins, else alive means running, else it failed."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import RunError, disk_full
from pipeline.files import read_json
from pipeline.runs.events import ENDINGS, LIFECYCLE, read_events
from pipeline.runs.folder import EVENTS, JOB, JOB_LABEL, LOG, PROCESS, QUEUED, RESTORED, list_runs

LAST_BYTES = 200_000
"""As far as an event that ended a run can be from the end of its file: a probe with all its answers takes a sixth."""


BEGINNING_SECONDS = 60
"""For so long a process that was just named may not yet look like the run's."""


@dataclass(frozen=True)
class Status:
    """What a run is doing: `new`, `queued`, `running`, `finished`, `stopped` or `failed`, with a sentence where it failed."""

    state: str
    message: str = ""


def status(folder: Path) -> Status:
    """What the run is doing: an ending wins, else alive means running, else it failed.

    A run that trains elsewhere is running until all of it has come back.
    """
    if is_elsewhere(folder):
        return Status("running")
    last = last_lifecycle(folder)
    if last.get("type") in ENDINGS:
        return Status(last["type"], last.get("message", ""))
    if is_alive(folder):
        return Status("running")
    if not last and not (folder / PROCESS).is_file():
        return Status("queued" if (folder / QUEUED).is_file() else "new")
    if cut_off := restored(folder).get("message"):
        return Status("failed", str(cut_off))
    said = disk_full(folder) or "The training process was killed, or the computer went down."
    return Status("failed", f"{said} {log_tail(folder, 2)}".strip())


def restored(folder: Path) -> dict[str, Any]:
    """What is noted of a run that came back from where runs are kept; empty for one that was always here."""
    try:
        return dict(read_json(folder / RESTORED))
    except (OSError, ValueError, TypeError):
        return {}


def is_elsewhere(folder: Path) -> bool:
    """Whether a job on another machine trains the run, so that nothing here writes to it but what brings it back."""
    try:
        job = read_json(folder / JOB)
        return not job["ended"] and job["label"] != os.environ.get(JOB_LABEL)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def check_whole(folder: Path) -> None:
    """Refuse to begin with a run of which a part is still to come.

    Raises:
        RunError: it is on its way back from where runs are kept.
    """
    if not restored(folder).get("whole", True):
        raise RunError(f"Run {folder.name} is still on its way back from the Hub; wait until all of it is here.")


def last_lifecycle(folder: Path) -> dict[str, Any]:
    """The last event that began or ended the run, if it is among the last ones; empty when it is not.

    An ending is, since nothing is told after it: so the end of a long file says enough.
    """
    try:
        size = (folder / EVENTS).stat().st_size
    except OSError:
        return {}
    events, _ = read_events(folder, max(0, size - LAST_BYTES))
    return next((e for e in reversed(events) if e["type"] in LIFECYCLE), {"type": ""} if size > LAST_BYTES else {})


_ended: dict[Path, int] = {}
"""Runs whose process is known to have ended, with the time of the file that names it: it needs no look any more."""


def is_alive(folder: Path) -> bool:
    """Whether the run's process lives. Process ids are used again, so it must have been started for this folder.

    Its command line says so, by the folder or, where it was started before it knew that, by a word of its own; the time
    it was started at would not, once the clock is set.
    """
    try:
        named = (folder / PROCESS).stat()
    except OSError:
        return False
    if _ended.get(folder) == named.st_mtime_ns:
        return False
    lives = _lives(folder)
    if not lives and time.time() - named.st_mtime > BEGINNING_SECONDS:
        _ended[folder] = named.st_mtime_ns
    return lives


def _lives(folder: Path) -> bool:
    try:
        started = read_json(folder / PROCESS)
        found = psutil.Process(started["pid"])
        here = str(folder.resolve())
        its = {here, started["word"]} if started.get("folder") == here else {here}
        words = found.cmdline() or [here]  # it is empty for a moment while a process begins
        return words[-1] in its and found.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def log_tail(folder: Path, lines: int = 5) -> str:
    """The last lines of the training log that say something to a user: of a traceback only what it ends with."""
    try:
        text = (folder / LOG).read_bytes()[-8000:].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    written = text.replace("\r", "\n").splitlines()
    said = [line.rstrip() for line in written if line.strip() and not line.startswith(("Traceback (", "  "))]
    return "\n".join(said[-lines:])


def running_run() -> Path | None:
    """The run that is training now, if any."""
    return next((p for p in list_runs() if is_alive(p) and status(p).state == "running"), None)
