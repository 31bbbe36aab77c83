"""Text made safe and readable: escaping, notices, numbers as a person says them."""

import html
import logging

from pipeline.errors import PipelineError, disk_problem

logger = logging.getLogger(__name__)

UNEXPECTED = (
    "Something went wrong that should not have ({name}). Nothing was lost; try again, or look at the app's log."
)


def escape(text: object) -> str:
    """Text of a catalogue, a model or a user, for use inside HTML."""
    return html.escape(str(text), quote=True)


def notice(text: str, kind: str = "problem") -> str:
    """A sentence to be seen: `problem`, `done` or `hint`; nothing for an empty text."""
    icon = {"problem": "⚠", "done": "✔", "hint": "→"}[kind]
    role = "alert" if kind == "problem" else "status"
    return f'<div class="notice {kind}" role="{role}">{icon} {escape(text)}</div>' if text else ""


def explain(error: Exception) -> str:
    """What to say about an error: its own sentence, or one that admits a mistake of ours (the log has the rest)."""
    if isinstance(error, PipelineError):
        return str(error)
    if said := disk_problem(error):
        return said
    logger.error("Unexpected error", exc_info=error)
    return UNEXPECTED.format(name=type(error).__name__)


def count(number: int, word: str) -> str:
    """`1 fact`, `1,200 facts`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time as one would say it: `40 s`, `4 min`, `2 h 10 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress_bar(done: int, total: int) -> str:
    """A bar that says how far something is, also to a screen reader; empty while `total` is not known."""
    share = round(100 * done / total) if total else 0
    return (
        f"<div class='bar' role='progressbar' aria-valuenow='{share}' aria-valuemin='0' aria-valuemax='100' "
        f"aria-label='Progress'><span style='width:{share}%'></span></div>"
    )


def memory(number: float) -> str:
    """Bytes as `2.1 GB`, `730 MB` or `12 kB`."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def significant(number: float) -> str:
    """A number with the digits that mean something: 4.32, 0.0021."""
    return f"{number:.3g}" if abs(number) >= 1 else f"{number:.2g}"
