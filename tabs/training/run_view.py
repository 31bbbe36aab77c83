"""What a run folder says, made ready to be shown: its curve, its pace, its state.

The folder is only read. Events are read on from where the last look ended, however many windows are watching.
"""

from pipeline.runs.view import RunView, before_after, seconds_left
from tabs.ui.text import duration, memory, significant

STATE_WORDS = {
    "new": "○ not started",
    "queued": "⋯ queued",
    "running": "▶ training",
    "finished": "✔ finished",
    "stopped": "■ stopped",
    "failed": "✘ failed",
}


def pace_line(view: RunView) -> str:
    """`step 84 of 160 · 2 min left · 260 tokens/s · peak memory 2.1 GB`, or what it is doing before the first step."""
    if not view.steps or (view.status.state == "running" and not view.steps_since_start):
        return view.messages[-1] + " …" if view.messages else "Starting …"
    last = view.steps[-1]
    left = seconds_left(view) if view.status.state == "running" else None
    parts = [f"step {last['step']} of {last['total']}"]
    if view.status.state == "running" and last["step"] == last["total"]:
        parts.append("measuring and saving")
    elif left:
        parts.append(f"{duration(left)} left")
    parts += [f"loss {significant(last['loss'])}", f"{last['tokens_per_second']:.0f} tokens/s"]
    return " · ".join([*parts, f"peak memory {memory(last['memory_bytes'])}"])


def history_row(view: RunView) -> list[str]:
    """A run in the history: name, preset, base, steps, last loss, last recall, before → after, state."""
    steps, probes = view.steps, view.probes
    return [
        view.name,
        view.settings.preset,
        view.settings.base_model,
        f"{steps[-1]['step']} of {steps[-1]['total']}" if steps else "–",
        significant(steps[-1]["loss"]) if steps else "–",
        f"{probes[-1]['right'] / probes[-1]['total']:.0%}" if probes else "–",
        before_after(view.folder),
        STATE_WORDS[view.status.state],
    ]
