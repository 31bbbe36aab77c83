"""Text made safe and readable: escaping, notices, numbers as a person says them."""

from collections.abc import Iterable
from typing import LiteralString

import markupsafe
from markupsafe import Markup

from pipeline.errors import PipelineError, disk_problem, unexpected


def html(template: LiteralString, *values: object, **named: object) -> Markup:
    """HTML of a template: what stands in its braces is escaped, but for what is HTML already (`Markup`).

    Only words of the code itself can be a template, so that text of a catalogue, a model or a user never is one.
    """
    return Markup(template).format(*values, **named)


def html_of(parts: Iterable[object], between: LiteralString = "") -> Markup:
    """The parts in a row, each escaped unless it is HTML already."""
    return Markup(between).join(map(escape, parts))


def escape(text: object) -> Markup:
    """Text of a catalogue, a model or a user, for use inside HTML."""
    return markupsafe.escape(text)


def notice(text: str, kind: str = "problem", state: str = "") -> Markup:
    """A sentence to be seen: `problem`, `done` or `hint`; nothing for an empty text.

    Args:
        state: what it tells, in a word for whoever does not read the sentence.
    """
    if not text:
        return Markup()
    icon = {"problem": "⚠", "done": "✔", "hint": "→"}[kind]
    role = "alert" if kind == "problem" else "status"
    told = html(' data-state="{}"', state) if state else ""
    return html('<div class="notice {}" role="{}"{}>{} {}</div>', kind, role, told, icon, text)


def explain(error: Exception) -> str:
    """What to say about an error: its own sentence, or one that admits a mistake of ours (the log has the rest)."""
    if isinstance(error, PipelineError):
        return str(error)
    if said := disk_problem(error):
        return said
    return unexpected(error)


def count(number: int, word: str) -> str:
    """`1 fact`, `1,200 facts`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time as one would say it: `40 s`, `4 min`, `2 h 10 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress_bar(done: int, total: int) -> Markup:
    """A bar that says how far something is, also to a screen reader; empty while `total` is not known."""
    share = round(100 * done / total) if total else 0
    return html(
        "<div class='bar' role='progressbar' aria-valuenow='{0}' aria-valuemin='0' aria-valuemax='100' "
        "aria-label='Progress'><span style='width:{0}%'></span></div>",
        share,
    )


def memory(number: float) -> str:
    """Bytes as `2.1 GB`, `730 MB` or `12 kB`."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def weights(number: int | None) -> str:
    """How large a model is, as `135M` or `4.0B`; a dash where that is not known."""
    if number is None:
        return "–"
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def significant(number: float) -> str:
    """A number with the digits that mean something: 4.32, 0.0021."""
    return f"{number:.3g}" if abs(number) >= 1 else f"{number:.2g}"
