"""The one model that answers, for all pages: loaded when it is asked, or before, where a training leaves room for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.answering import kept_model
from pipeline.answering.kept_model import getting_ready, model_in_memory
from pipeline.answering.shop import shop_of
from pipeline.answering.speaker import asker_of
from pipeline.errors import RunError
from pipeline.machine import on_zero_gpu
from pipeline.models.bases import local_folder
from pipeline.runs.folder import ADAPTER, read_settings, run_dataset
from pipeline.runs.settings import gpu_name
from pipeline.runs.status import running_run
from pipeline.runs.view import seconds_left, view_run
from pipeline.training.plan.plan import answering_bytes, room_left
from tabs.ui.activity import doing
from tabs.ui.text import duration, memory

logger = logging.getLogger(__name__)

MODEL = "model"
"""All that runs the model waits in one line: the adapter's switch is global to it."""

_failed: set[tuple[Path, int]] = set()
"""Adapters, with their time, that could not be loaded so: opening the tab does not try them again."""


@contextmanager
def loaded(folder: Path, other: Path | None = None) -> Iterator[tuple[Any, list[str]]]:
    """The run's model, with another run's adapter beside it, and what there is to be warned of; no training that begins counts
    on its memory before the block has ended. Torch is imported here, when a model is first needed.

    Raises:
        PipelineError: it cannot be loaded, or a training has the memory that it needs.
    """
    with ExitStack() as stack:
        with kept_model.memory:  # between the look, the loading and the use no training begins
            check_room(folder)
            with doing("loading the model"):
                from pipeline.answering.run_model import load_run

                found = load_run(folder, other)
            stack.enter_context(kept_model.in_use())
        yield found


def get_ready(folder: Path) -> None:
    """Open a run's catalogue and load its model while somebody looks for the first question, and let its libraries set
    themselves up by an answer that nobody sees. Nothing happens where a model is there, where it would have to be downloaded, or
    while a run trains."""
    adapter = folder / ADAPTER
    stamp = (adapter, adapter.stat().st_mtime_ns)
    if model_in_memory() or running_run() or on_zero_gpu() or stamp in _failed:
        return
    if getting_ready.acquire(blocking=False):
        threading.Thread(target=_get_ready, args=(folder, stamp), daemon=True).start()


def _get_ready(folder: Path, stamp: tuple[Path, int]) -> None:
    try:
        _warm_up(folder)  # which keeps no model when it is done
    except Exception as error:  # the first question says it
        _failed.add(stamp)
        logger.warning("The model of run %s is not ready. %s", folder.name, error, extra={"run": folder.name})
    finally:
        getting_ready.release()


def _warm_up(folder: Path) -> None:
    shop_of(run_dataset(folder))
    if not local_folder(read_settings(folder).base_model):
        return
    with loaded(folder) as (language_model, _):
        asker_of(language_model).warm_up()


def check_room(folder: Path) -> None:
    """Refuse to load a model into memory that a training has, or will have by its peak.

    Raises:
        RunError: it does not fit beside the run that is training.
    """
    view = view_run()
    if view is None or view.status.state != "running" or model_in_memory():
        return  # one that is there was kept because both fit (see `pipeline.training.start.room`)
    used = max((step["memory_bytes"] for step in view.steps_since_start), default=0)
    asked, gpu = read_settings(folder), bool(gpu_name())
    needed = answering_bytes(asked, gpu=gpu)
    left = room_left(view.settings, run_dataset(view.folder).training(), used, gpu=gpu)
    if needed is None or left is None or needed <= left:
        return
    seconds = seconds_left(view)
    when = f"in about {duration(seconds)}" if seconds else "when it has ended"
    raise RunError(
        f"The chat is paused while run {view.name} trains: the model needs about {memory(needed)} and "
        f"{memory(max(left, 0))} are free beside the training; ask again {when}."
    )
