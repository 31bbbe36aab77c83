"""The line on top of the page: model, device, adapter, and what is going on. Always read anew, never remembered."""

import time
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.machine import cores, on_zero_gpu
from pipeline.runs.folder import list_runs
from pipeline.runs.queue import queued_runs
from pipeline.runs.settings import default_base, gpu_name
from pipeline.runs.status import running_run
from pipeline.runs.view import trained_runs, view_run
from pipeline.space import keeping
from pipeline.space.watching import is_on
from pipeline.writing import generation
from tabs.ui.activity import _doing
from tabs.ui.events import Update, on, open_to_all
from tabs.ui.text import count, duration, html, html_of
from tabs.ui.watcher import Refresh, recently


def device() -> str:
    """The processor that models run on, without loading torch."""
    if on_zero_gpu():
        return "ZeroGPU (lent for answers)"
    return gpu_name() or f"CPU, {count(cores(), 'core')}"


def activity() -> dict[str, str]:
    """What is going on, each thing with its words; empty while nothing is."""
    said: dict[str, str] = {}
    if running := running_run():
        view = view_run(running.name)
        last = view.steps[-1] if view and view.steps else None
        said["training"] = f"training, step {last['step']} of {last['total']}" if last else "training is starting"
    if _doing:
        said["answering"] = " and ".join(_doing.values())
    job = generation.look()
    if job.state in (generation.PILOT, generation.RUNNING):
        total = job.progress.get("total")
        how_far = f", {job.progress['done']:,} of {count(total, 'product')}" if total else ""
        said["writing"] = f"writing questions{how_far}"
    elif job.state == generation.WAITING:
        said["batch"] = "a batch is at the API"
    if is_on():
        said["elsewhere"] = "a run trains elsewhere"
    if waiting := len(queued_runs()):
        said["queued"] = f"{count(waiting, 'run')} queued"
    return said


def kept() -> str:
    """Whether what is here is kept elsewhere too; empty where it need not be said."""
    look = keeping.state()
    if not look.text or look.since is None:
        return look.text
    passed = duration(time.time() - look.since)
    return f"{look.text}, {passed} ago" if look.done else f"{look.text} For {passed} now."


def status_line() -> Markup:
    """The whole line, as HTML."""
    newest = next((view_run(folder.name) for folder in list_runs()), None)
    trained, now = trained_runs(), activity()
    parts = {
        "model": newest.settings.base_model if newest else default_base(),
        "device": device(),
        "adapter": trained[0].name if trained else "none",
        "now": " and ".join(now.values()) or "idle",
    }
    if said := kept():
        parts["kept"] = said
    busy = " busy" if now else ""
    said = html_of(html("<span><b>{}</b> {}</span>", name, value) for name, value in parts.items())
    line = '<div class="statusline{}" role="status" aria-label="Status" data-state="{}">{}</div>'
    return html(line, busy, " ".join(now) or "idle", said)


_recent_line = recently(status_line)


class StatusLine:
    """The line on the page, which is sent again only when it says something else."""

    def __init__(self) -> None:
        self.line = gr.HTML(elem_id="status")
        self.shown = gr.State("")

    def wire(self, load: Any) -> None:
        """Args:
        load: the event of a page that is opened.
        """
        on(load, self.load, None, [self.line, self.shown])

    def refreshes(self) -> list[Refresh]:
        return [Refresh(self.refresh, [self.shown], [self.line, self.shown])]

    @open_to_all
    def load(self) -> Update:
        return self._show(status_line())

    @open_to_all
    def refresh(self, shown: str) -> Update:
        line = _recent_line()
        return {} if line == shown else self._show(line)

    def _show(self, line: str) -> Update:
        return {self.line: line, self.shown: line}
