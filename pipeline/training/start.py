"""Starting and resuming a run: planned before anything is made, and with room made for it in the memory."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.answering import kept_model
from pipeline.dataset.store import Dataset
from pipeline.errors import RunError
from pipeline.files import taking_away
from pipeline.runs import launcher
from pipeline.runs.events import append_event
from pipeline.runs.folder import read_settings, run_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.settings import TrainingSettings, gpu_name
from pipeline.runs.view import get_run
from pipeline.training.plan.plan import fits_beside, plan_run

_starting = threading.Lock()


def start_run(settings: TrainingSettings, dataset: Dataset | None) -> Path:
    """Make a run and start it; a chat model in memory makes room for it.

    Returns:
        The run folder.

    Raises:
        PipelineError: there is no dataset, another run is training, or the disk is full.
    """
    if dataset is None:
        raise RunError("There is no dataset yet; generate one in the first tab.")
    with _starting:
        launcher.check_idle()
        plan_run(settings, dataset.training(), gpu=bool(gpu_name()))
        folder = create_run(dataset, settings)
        try:
            with room(folder):
                launcher.start(folder)
        except BaseException:
            with taking_away(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def resume_run(name: str) -> Path:
    """Go on with a run that was stopped or failed, or start one that was made and never started.

    Returns:
        The run folder.

    Raises:
        PipelineError: there is no such run, it has finished, or another one is training.
    """
    folder = get_run(name)
    with _starting:
        launcher.check_idle()
        with room(folder):
            launcher.start(folder)
    return folder


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Give the chat's model up where it and the training do not fit into the memory together, and say so in the run; until the
    block ends none is loaded."""

    def fits() -> bool:
        return fits_beside(read_settings(folder), run_dataset(folder).training(), gpu=bool(gpu_name()))

    def tell(text: str) -> None:
        append_event(folder, "message", text=text)

    with kept_model.room(
        fits, lambda: tell("Waiting until the chat has answered, for the memory of its model.")
    ) as given_up:
        if given_up:
            tell("The chat's model was unloaded to make room; it is loaded again when asked.")
        yield
