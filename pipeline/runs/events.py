"""A run's events: appended by whoever trains it, read by everybody, from where the last look ended."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.files import append_jsonl, parse_json
from pipeline.runs.folder import EVENTS

LIFECYCLE = {"started", "resumed", "finished", "stopped", "failed"}

ENDINGS = {"finished", "stopped", "failed"}


def append_event(folder: Path, kind: str, **values: Any) -> None:
    """Append an event; `kind` is its type, `values` as in the table of events in the package's docstring."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    append_jsonl(folder / EVENTS, {"type": kind, "time": now, **values})


def read_events(folder: Path, position: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events after a byte position.

    Returns:
        The whole events from there on, and the position after the last of them. An unfinished last line is held back.
    """
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    end = data.rfind(b"\n") + 1
    return list(_events(data[:end])), position + end


def _events(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            event = parse_json(line)
        except ValueError:
            continue  # torn by a crash, then followed by a resumed run's line
        if isinstance(event, dict) and _is_event(event):
            yield event


_NEEDED = {"step": ("step", "total", "loss", "time"), "probe": ("step", "right", "total")}
_TEXTS = ("time", "text", "message")
_NUMBERS = (
    *("step", "total", "loss", "right", "steps", "seconds", "learning_rate", "grad_norm", "tokens_per_second"),
    *("memory_bytes", "first_loss", "last_loss", "probe_seconds", "peak_memory_bytes", "strength"),
)
_COUNTED = ("step", "total", "right", "steps")
_ANSWER = ("question", "expected", "raw", "answer", "verdict")
_MOST = 1 << 62


def _is_event(event: dict[str, Any]) -> bool:
    """Whether what it says has the form that everybody reads it in: a damaged file, or a store's, may say anything."""
    kind = event.get("type")
    if not isinstance(kind, str) or any(name not in event for name in _NEEDED.get(kind, ())):
        return False
    if not all(isinstance(event.get(name, ""), str) for name in _TEXTS):
        return False
    numbers = [event[name] for name in _NUMBERS if event.get(name) is not None]
    if not all(isinstance(n, float) or (isinstance(n, int) and abs(n) < _MOST) for n in numbers):
        return False
    if not all(isinstance(event.get(name, 0), int) for name in _COUNTED):
        return False
    return _is_time(event.get("time", "")) and _are_answers(event.get("answers", []))


def _is_time(text: str) -> bool:
    try:
        return not text or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _are_answers(answers: Any) -> bool:
    return isinstance(answers, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(name), str) for name in _ANSWER) for one in answers
    )


def told(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps and probes as they count: those told beyond a checkpoint are told again once the run is resumed from it."""
    counted: list[dict[str, Any]] = []
    for event in events:
        if event["type"] in ("step", "probe"):
            counted.append(event)
        elif event["type"] == "resumed":
            counted = [e for e in counted if e["step"] <= event.get("step", 0)]
    return counted


def since_start(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events since the run was last started or resumed."""
    starts = [i for i, event in enumerate(events) if event["type"] in ("started", "resumed")]
    return list(events[starts[-1] if starts else 0 :])
