"""What a run folder says, made ready to be shown: its curve, its pace, its state.

The folder is only read. Events are read on from where the last look ended, however many windows are watching."""

import threading
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, RunError
from pipeline.files import read_json
from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import read_events, since_start, told
from pipeline.runs.folder import COMPARISON, EVENTS, EVERYTHING, QUEUED, find_run, has_adapter, list_runs, read_settings
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import Status, running_run, status

Event = dict[str, Any]

PACE_STEPS = 20
"""Time left is judged by this many last steps, probes between them included."""

_tails: dict[Path, tuple[int, list[Event]]] = {}

_reading = threading.Lock()


def events_of(folder: Path) -> list[Event]:
    """All events of a run; only those that are new since the last call are read."""
    with _reading:
        position, events = _tails.get(folder, (0, []))
        size = (folder / EVENTS).stat().st_size if (folder / EVENTS).is_file() else 0
        if size < position:  # the run was cleared and begun anew
            position, events = 0, []
        new, position = read_events(folder, position)
        events = [*events, *new] if new else events
        _tails[folder] = position, events
        return events


@dataclass(frozen=True)
class RunView:
    """One look at a run."""

    folder: Path
    settings: TrainingSettings
    status: Status
    events: list[Event]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def mark(self) -> tuple[str, int, str]:
        """Changes when there is something new to show."""
        return self.name, len(self.events), self.status.state

    @cached_property
    def steps(self) -> list[Event]:
        return [e for e in told(self.events) if e["type"] == "step"]

    @cached_property
    def probes(self) -> list[Event]:
        return [e for e in told(self.events) if e["type"] == "probe" and e["total"]]

    @cached_property
    def steps_since_start(self) -> list[Event]:
        """The steps since the run was last started or resumed: the pace of those before says nothing about it now."""
        return [e for e in since_start(self.events) if e["type"] == "step"]

    @cached_property
    def checkpoint(self) -> int:
        """The step after which the run can go on; 0 when there is no whole checkpoint."""
        return saved_step(self.folder)

    @property
    def can_go_on(self) -> bool:
        return self.status.state in ("new", "stopped", "failed")

    @property
    def messages(self) -> list[str]:
        return [str(e.get("text", "")) for e in self.events if e["type"] == "message"]

    @property
    def total(self) -> int:
        planned = [e.get("total") or e.get("steps") or 0 for e in self.events if e["type"] in ("started", "step")]
        return int(planned[-1]) if planned else 0

    @property
    def ending(self) -> Event:
        return next((e for e in reversed(self.events) if e["type"] in ("finished", "stopped", "failed")), {})


def view_run(name: str = "") -> RunView | None:
    """The run of that name, or the one that is training, or else the newest that does not wait; None when there is none."""
    folder = find_run(name) if name else running_run() or _newest()
    if folder is None:
        return None
    try:
        return RunView(folder, read_settings(folder), status(folder), events_of(folder))
    except PipelineError:
        return None


def _newest() -> Path | None:
    """The newest run; one that waits for its turn only where there is no other, so that a queue's gaps show no empty run."""
    return min(list_runs(), key=lambda folder: (folder / QUEUED).is_file(), default=None)


def forget(folder: Path) -> None:
    """Drop what was read of a folder whose name is free again: another run may come to have it."""
    with _reading:
        _tails.pop(folder, None)


def get_run(name: str) -> Path:
    """The run folder of that name.

    Raises:
        RunError: there is none (any more), or no name.
    """
    folder = find_run(name)
    if folder is None:
        raise RunError("There is no such run any more; pick one in the table." if name else "Pick a run in the table.")
    return folder


def get_view(name: str = "") -> RunView:
    """What `view_run` finds.

    Raises:
        RunError: there is none.
    """
    view = view_run(name)
    if view is None:
        raise RunError("There is no such run any more." if name else "There is no run yet.")
    return view


def trained_runs() -> list[Path]:
    """The runs that have an adapter, the newest first."""
    return [folder for folder in list_runs() if has_adapter(folder)]


def get_trained_run(name: str | None) -> Path:
    """The trained run of that name, or the newest one where none is named.

    Raises:
        RunError: there is none.
    """
    found = find_run(name) if name else next(iter(trained_runs()), None)
    if found is None and name:
        raise RunError(f"Run {name} is gone: it was renamed or deleted. Reload the page and choose another.")
    if found is None:
        raise RunError("There is no trained model yet; train one in the second tab.")
    return found


def seconds_left(view: RunView) -> float | None:
    """Seconds until the last step at the pace of the last steps; None while nobody can tell."""
    steps = view.steps_since_start[-PACE_STEPS:]
    if len(steps) < 2:
        return None
    begun, now = (datetime.fromisoformat(steps[i]["time"]) for i in (0, -1))
    pace = (now - begun).total_seconds() / (steps[-1]["step"] - steps[0]["step"] or 1)
    return pace * (steps[-1]["total"] - steps[-1]["step"]) if pace > 0 else None  # a clock may be set back


def before_after(folder: Path) -> str:
    """`1 → 14 of 15` where the questions were asked."""
    comparison = read_comparison(folder)
    if comparison is None:
        return "–"
    summary = comparison["summary"]
    return f"{summary['base_right']} → {summary['tuned_right']} of {summary['total']}"


def read_comparison(folder: Path, name: str = COMPARISON) -> dict[str, Any] | None:
    """What `comparison.json` (or `everything.json`) holds, or None when the questions were not asked yet."""
    try:
        return read_json(folder / name)
    except (OSError, ValueError):
        return None


def read_everything(folder: Path) -> dict[str, Any] | None:
    """What `everything.json` holds, or None when not everything was asked yet."""
    return read_comparison(folder, EVERYTHING)
