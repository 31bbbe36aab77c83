"""`demo`, `train` and `resume`: a run from its settings to its adapter, and for `demo` and `resume` to its report."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.commands.dataset import tell_dataset
from pipeline.commands.inputs import (
    CatalogueFile,
    ContentColumns,
    OpenBook,
    Products,
    RunFolder,
    TitleColumn,
    load_model,
    open_catalogue,
    open_edited,
)
from pipeline.commands.terminal import say
from pipeline.errors import RunError, SettingsError

if TYPE_CHECKING:
    from pipeline.dataset.store import Dataset
    from pipeline.runs.settings import TrainingSettings

Preset = Literal["quick", "recall", "original"]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="base model: a Hugging Face Hub id or a local folder", show_default="by the hardware"
    ),
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="run folder", show_default="a new one under runs/")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the run in DIR")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="one setting; can be repeated")
]

app = typer.Typer()


@app.command()
def demo(
    catalogue: CatalogueFile = None,
    products: Products = 15,
    questions: Annotated[int, typer.Option(help="questions before and after")] = 15,
    preset: Annotated[Preset, typer.Option(help="training settings")] = "quick",
    base: Base = None,
    assignments: Assignments = None,
    out: Out = None,
    seed: Annotated[int, typer.Option()] = 0,
    open_book: OpenBook = 0.0,
    overwrite: Overwrite = False,
    title_column: TitleColumn = "",
    content_column: ContentColumns = None,
) -> None:
    """Run the whole loop on a catalogue. Dataset, training, comparison and report, without the page."""
    from pipeline.catalogue.catalogue import SAMPLE
    from pipeline.dataset.build import build_dataset
    from pipeline.dataset.settings import DatasetSettings
    from pipeline.runs import launcher

    begun = time.monotonic()
    launcher.prepare()  # it imports what it needs while the dataset is made
    settings = settings_of(preset, base, None, [f"seed={seed}", f"questions={questions}", *(assignments or [])])
    chosen = DatasetSettings(products=products, seed=seed, open_book=open_book)

    def made() -> "Dataset":
        dataset = build_dataset(open_catalogue(catalogue or SAMPLE, products, title_column, content_column), chosen)
        tell_dataset(dataset)
        return dataset

    folder = _train_anew(settings, made, out, overwrite, compared=True)
    _compare(folder)
    say(f"Report: {folder / 'report.html'} (whole loop {time.monotonic() - begun:.0f} s)")


@app.command()
def train(
    dataset: Annotated[
        Path | None, typer.Option(metavar="DIR", help="dataset folder, or a run's", show_default="the newest")
    ] = None,
    preset: Annotated[Preset | None, typer.Option(help="training settings", show_default="quick")] = None,
    base: Base = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="settings exported as YAML, instead of a preset")
    ] = None,
    assignments: Assignments = None,
    out: Out = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on a dataset that there is. A run's page shows such a line."""
    from pipeline.runs.folder import ADAPTER, has_adapter

    chosen = settings_of(preset, base, settings, assignments or [])
    folder = _train_anew(chosen, lambda: _dataset_at(dataset), out, overwrite)
    say(f"Adapter: {folder / ADAPTER}" if has_adapter(folder) else "Stopped before there was an adapter.")


@app.command()
def resume(run: RunFolder) -> None:
    """Go on after a run's last checkpoint. Then ask and report as `demo` does."""
    from pipeline.runs.folder import read_settings

    read_settings(run)
    _train(run, compared=True)
    _compare(run)


def settings_of(preset: str | None, base: str | None, file: Path | None, assignments: list[str]) -> "TrainingSettings":
    """The settings that `demo` or `train` is given.

    Args:
        assignments: `NAME=VALUE` each.

    Raises:
        SettingsError: the file or an assignment is wrong, or two options speak against each other.
    """
    from pipeline.runs.recipes import read_recipe, with_set
    from pipeline.runs.settings import default_base, settings_for

    if file and (preset or base):
        raise SettingsError("--settings brings a preset and a base model along; leave out --preset and --base.")
    if file:
        return with_set(read_recipe(file), assignments)
    return with_set(settings_for(preset or "quick", default_base() if base is None else base), assignments)


def _dataset_at(folder: Path | None) -> "Dataset":
    from pipeline.dataset.store import latest_dataset

    dataset = open_edited(folder) if folder else latest_dataset()
    if dataset is None:
        raise SettingsError(
            "There is no dataset yet; generate one in the first tab, or name its folder with --dataset."
        )
    return dataset


def _train_anew(
    settings: "TrainingSettings",
    dataset: "Callable[[], Dataset]",
    out: Path | None,
    overwrite: bool,
    compared: bool = False,
) -> Path:
    """Train in a new run folder, or in the place of the run in `out`, which is spared until all else is well.

    Args:
        compared: whether the run's answers are compared afterwards.

    Returns:
        The run folder.

    Raises:
        PipelineError: something is wrong; then nothing was trained.
    """
    from pipeline.models.bases import find_base
    from pipeline.runs import launcher
    from pipeline.runs.manage import check_new, clear_run, create_run

    if out:
        check_new(out, overwrite=overwrite)
    launcher.check_idle()
    data = dataset()
    if out and data.folder.resolve().is_relative_to(out.resolve()):
        raise RunError(f"The dataset is inside {out}, which would be replaced; choose another folder.")
    find_base(settings.base_model)  # converted or downloaded now, with its progress; a wrong name has cost nothing yet
    if out and overwrite:
        clear_run(out)
    folder = create_run(data, settings, out)
    say(f"Run folder: {folder}")
    _train(folder, compared)
    return folder


def _train(folder: Path, compared: bool) -> None:
    """Train in the child process, and tell what it says.

    Raises:
        RunError: it failed.
    """
    from pipeline.runs import launcher
    from pipeline.runs.events import read_events
    from pipeline.runs.status import status

    _, told = read_events(folder)  # a resumed run's earlier steps have been told
    launcher.start(folder)
    if compared:
        _import_meanwhile()
    begun = None
    try:
        for event in launcher.watch(folder, told):
            if event["type"] == "message":
                say(event["text"])
            elif event["type"] == "step":
                begun = begun or time.monotonic()
                _say_step(event, begun)
            elif event["type"] == "probe":
                say(f"Recall on held-out questions at step {event['step']}: {event['right']} of {event['total']}")
    except KeyboardInterrupt:
        say("Stopping after this step; the adapter is kept.")
        launcher.stop(folder)
        for _ in launcher.watch(folder):
            pass
    ended = status(folder)
    if ended.state not in ("finished", "stopped"):
        raise RunError(ended.message)
    if ended.state == "finished" and ended.message:
        say(ended.message)


def _say_step(event: dict[str, Any], begun: float) -> None:
    step, total = event["step"], event["total"]
    if step % max(1, total // 20) and step != total:
        return
    left = (time.monotonic() - begun) / max(1, step - 1) * (total - step) if step > 1 else 0
    say(
        f"Step {step} of {total}, loss {event['loss']:.3g}, {event['tokens_per_second']:.0f} tokens/s, {left:.0f} s left"
    )


def _import_meanwhile() -> None:
    """Import what the comparison needs while another process trains, which leaves half of a core free."""

    def work() -> None:
        import pipeline.answering.comparison
        import pipeline.answering.run_model  # noqa: F401

    threading.Thread(target=work).start()  # no daemon: torch that is half imported does not end well


def _compare(folder: Path) -> None:
    """Ask the tuned model all that there is to ask, write the report, and say what came of it."""
    from pipeline.answering.comparison import compare
    from pipeline.answering.report import headline, ways_in_lines, write_report

    say("Asking the tuned model the same questions, and every fact it was taught")
    comparison = compare(load_model(folder), folder)
    write_report(folder, comparison)
    for line in (headline(comparison), *ways_in_lines(comparison)):
        say(line)
