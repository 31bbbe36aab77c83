"""A run in words: its state, its pace, and the figures of its row in a table."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class RunFigures:
    """How far a run is and what it has come to, in words; a dash for what is not known.

    Attributes:
        loss, recall: of the last step, and of the last recall check.
        before_after: the right answers of base and tuned.
    """

    steps: str
    loss: str
    recall: str
    before_after: str
    state: str

    @classmethod
    def of(cls, view: RunView) -> "RunFigures":
        steps, probes = view.steps, view.probes
        return cls(
            steps=f"{steps[-1]['step']} of {steps[-1]['total']}" if steps else "–",
            loss=significant(steps[-1]["loss"]) if steps else "–",
            recall=f"{probes[-1]['right'] / probes[-1]['total']:.0%}" if probes else "–",
            before_after=before_after(view.folder),
            state=STATE_WORDS[view.status.state],
        )
