"""The accordion “Run elsewhere”: a run of these settings on Hugging Face Jobs, what it costs, its log, and its end.

The run itself is shown below like any other, from its folder, which the app brings up to date while the job is on.
"""

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.dataset.store import latest_dataset
from pipeline.errors import RunError
from pipeline.files import taking_away
from pipeline.runs.folder import list_runs
from pipeline.runs.manage import create_run
from pipeline.runs.status import is_elsewhere, log_tail
from pipeline.runs.view import view_run
from pipeline.space.elsewhere import Job, cancel_elsewhere, machines, read_job, start_elsewhere
from pipeline.space.watching import JOB_LOG
from tabs.training.run_panel import RunPanel
from tabs.training.settings_panel import SettingsPanel
from tabs.ui.events import Update, on
from tabs.ui.text import html, notice

EXPLANATION = (
    "<p>For a model that this machine cannot train: the same training on a machine of Hugging Face Jobs, paid by the time "
    "that it takes. The run goes there through your store on the Hub, is shown below while it trains, and comes back. "
    "You may close the page meanwhile.</p>"
)

STAGES = {
    "": "asked for",
    "SCHEDULING": "waits for its machine",
    "RUNNING": "has its machine",
    "COMPLETED": "is done",
    "CANCELED": "was cancelled",
    "ERROR": "ended in an error",
    "DELETED": "is not known to the Hub any more",
}

TICK_SECONDS = 5
LOG_LINES = 12


def newest_job() -> tuple[Path, Job] | None:
    """The run whose job was asked for last, and that job."""
    found = [(folder, job) for folder in list_runs() if (job := read_job(folder))]
    return max(found, key=lambda pair: pair[1].asked, default=None)


def job_card(folder: Path, job: Job) -> Markup:
    """What a job does and costs, and the end of its log, as HTML."""
    price = "" if job.price is None else f" at ${job.price:.2f} an hour"
    cost = "" if job.cost is None else f" · about ${job.cost:.2f} so far"
    stage = STAGES.get(job.stage, job.stage.lower())
    said = f"Run {folder.name} · {job.hardware}{price} · the job {stage}{cost}"
    log = "\n".join(_last_lines(folder))
    end = html("<pre class='small' style='white-space: pre-wrap'>{}</pre>", log) if log else ""
    return html("<p data-stage='{}'>{}</p>{}", job.stage, said, end)


def _last_lines(folder: Path) -> list[str]:
    """The end of the training's log, or of the machine's where there is no training yet."""
    if lines := log_tail(folder, LOG_LINES).splitlines():
        return lines
    try:
        return (folder / JOB_LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []


class AwayPanel:
    """The accordion and what it does; all of it is the owner's."""

    def __init__(self) -> None:
        with gr.Accordion("Run elsewhere (Hugging Face Jobs)", open=False, elem_id="elsewhere") as self.accordion:
            gr.HTML(EXPLANATION)
            self.problem = gr.HTML(elem_id="elsewhere-problem", elem_classes="news")
            self.hardware = gr.Dropdown([], label="Its hardware", interactive=True, elem_id="elsewhere-hardware")
            with gr.Row():
                self.go = gr.Button("Train it there", size="md", min_width=150, elem_id="elsewhere-start")
                self.cancel = gr.Button(
                    "Cancel the job", size="md", min_width=150, interactive=False, elem_id="elsewhere-cancel"
                )
            self.said = gr.HTML(elem_id="elsewhere-said", elem_classes="news")
        self.timer = gr.Timer(TICK_SECONDS, active=False)
        self.outputs = [self.cancel, self.said, self.timer]

    def wire(self, panel: RunPanel, settings: SettingsPanel) -> None:
        """Connect the widgets.

        Args:
            panel: shows the run below.
            settings: of the run.
        """
        self.panel, self.settings = panel, settings
        # What is on is shown though the Hub cannot be asked for its hardware.
        unfolded = on(self.accordion.expand, self.show, None, self.outputs)
        on(unfolded.then, self.offer, None, self.hardware, problem=self.problem, clears=False)
        on(
            self.go.click, self.begin, [self.hardware, *settings.widgets], [*self.outputs, *panel.everything],
            problem=self.problem, progress_on=self.go, concurrency_limit=1,
        )  # fmt: skip
        on(self.cancel.click, self.end, None, self.outputs, problem=self.problem)
        on(self.timer.tick, self.show, None, self.outputs)

    def offer(self) -> Update:
        """The hardware there is, each with its price."""
        choices = [
            (name if price is None else f"{name} · ${price:.2f} an hour", name) for name, price in machines().items()
        ]
        return {self.hardware: gr.Dropdown(choices=choices)}

    def begin(self, hardware: str | None, *widgets: Any) -> Update:
        """Make a run of the settings and start it elsewhere; one that cannot start leaves nothing behind."""
        dataset = latest_dataset()
        if dataset is None:
            raise RunError("There is no dataset yet; generate one in the first tab.")
        if not hardware:
            raise RunError("No hardware is chosen; pick some in the list.")
        folder = create_run(dataset, self.settings.read(*widgets))
        try:
            start_elsewhere(folder, hardware)
        except BaseException:
            with taking_away(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.show() | self.panel.show(view_run(folder.name)) | {self.panel.opened: folder.name}

    def end(self) -> Update:
        found = newest_job()
        if found is None:
            raise RunError("No run is training elsewhere, so there is nothing to cancel.")
        cancel_elsewhere(found[0])
        said = notice("The job is being cancelled; what it kept comes back in a moment.", "hint")
        return {self.cancel: gr.Button(interactive=False), self.said: said}

    def show(self) -> Update:
        """The newest job as the run's folder tells it; it is looked at again while it is on."""
        found = newest_job()
        on = found is not None and is_elsewhere(found[0])
        return {
            self.cancel: gr.Button(interactive=on),
            self.said: job_card(*found) if found else "",
            self.timer: gr.Timer(active=on),
        }
