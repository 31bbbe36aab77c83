"""What the history says of the runs: a row for each, what differs between several, and when any of it has changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from pipeline.files import write_text
from pipeline.runs.folder import DATASET, list_runs, run_size
from pipeline.runs.recipes import dataset_name, recipe
from pipeline.runs.status import running_run
from pipeline.runs.view import RunView, view_run
from tabs.server.gradio_internals import upload_folder
from tabs.training.run_words import RunFigures
from tabs.training.settings_form import TERMS
from tabs.ui.events import open_to_all
from tabs.ui.text import memory
from tabs.ui.watcher import recently

COLUMNS = {
    "run": "17%",
    "preset": "8%",
    "base model": "17%",
    "steps": "10%",
    "last loss": "7%",
    "recall": "7%",
    "before → after": "9%",
    "size": "8%",
    "state": "10%",
}


class HistoryRows(Sequence[list[str]]):
    """The table's rows, the newest run first. Each is read when it is shown: a page of them, however many there are."""

    def __init__(self) -> None:
        self.folders = list_runs()

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, index: int) -> list[str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[str]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [_row(folder) for folder in self.folders[index]]
        return _row(self.folders[index])


def _row(folder: Path) -> list[str]:
    view = view_run(folder.name)
    if view is None:
        return [folder.name, *["–"] * 6, memory(run_size(folder)), "✘ damaged"]
    settings, run = view.settings, RunFigures.of(view)
    about = [view.name, settings.preset, settings.base_model]
    return [*about, run.steps, run.loss, run.recall, run.before_after, memory(run_size(folder)), run.state]


def pulse() -> tuple[Any, ...]:
    """Changes when a run is made, renamed or deleted, begins or ends here or elsewhere, waits no more, or measures recall.

    Of each run it has the time of the last change within its folder: a run that began and failed between two looks is seen
    to have done so, though it trains at neither.
    """
    running = running_run()
    view = view_run(running.name) if running else None
    runs = tuple((folder.name, _changed_at(folder)) for folder in list_runs())
    return runs, running.name if running else "", len(view.probes) if view else 0


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:  # deleted since it was listed
        return 0


recent_pulse = recently(pulse)


@open_to_all
def training_runs() -> list[dict[str, Any]]:
    """Every run, the newest first: its state, settings that name it, last loss, last recall check and size in bytes."""
    return [_as_dict(view) for folder in list_runs() if (view := view_run(folder.name))]


def _as_dict(view: RunView) -> dict[str, Any]:
    last, probe = (view.steps or [{}])[-1], (view.probes or [{}])[-1]
    return {
        "run": view.name, "state": view.status.state, "preset": view.settings.preset,
        "base_model": view.settings.base_model, "step": last.get("step", 0), "loss": last.get("loss"),
        "right": probe.get("right"), "asked": probe.get("total"), "bytes": run_size(view.folder),
    }  # fmt: skip


def differing(views: Sequence[RunView]) -> list[list[str]]:
    """What differs between runs: a row for each setting that is not the same in all, and what came of them."""
    all_settings = [{**view.settings.as_dict(), DATASET: dataset_name(view.folder)} for view in views]
    rows = [
        [f"{TERMS.get(name, name.capitalize())} ({name})", *(_shown(settings[name]) for settings in all_settings)]
        for name in all_settings[0]
        if len({_shown(settings[name]) for settings in all_settings}) > 1
    ]
    runs = [RunFigures.of(view) for view in views]
    return [
        *rows,
        ["Steps", *(run.steps for run in runs)],
        ["Last loss", *(run.loss for run in runs)],
        ["Last recall check", *(run.recall for run in runs)],
        ["Before → after", *(run.before_after for run in runs)],
        ["State", *(run.state for run in runs)],
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def export(folder: Path) -> str:
    """The run's settings as a file to download, among Gradio's own: looking at a run writes nothing into its folder."""
    path = upload_folder() / "settings" / f"{folder.name}.yaml"
    write_text(path, recipe(folder))
    return str(path)
