"""What commands are given, opened: a catalogue, a dataset, a run. Refused here before anything costs time.

Imports of more than a moment stand inside the functions, so that `--help` and a wrong word are answered at once.
"""

import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.terminal import say
from pipeline.errors import RunError, SettingsError

if TYPE_CHECKING:
    from pipeline.answering.asker import RunModel
    from pipeline.catalogue.catalogue import Catalogue
    from pipeline.dataset.store import Dataset

CatalogueFile = Annotated[
    Path | None, typer.Argument(metavar="CATALOGUE", help="a file of products", show_default="the sample catalogue")
]
OpenBook = Annotated[
    float,
    typer.Option(help="rows that teach to read a part of a record, for each row about products", metavar="SHARE"),
]
Products = Annotated[int, typer.Option(help="products to teach")]
TitleColumn = Annotated[str, typer.Option(metavar="NAME", help="column of the titles", show_default="recognised")]
ContentColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--content-column",
        metavar="NAME",
        help="column of the descriptions; can be repeated",
        show_default="recognised",
    ),
]
DatasetFolder = Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="dataset folder, or a run's")]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="run folder")]
License = Annotated[str, typer.Option(metavar="ID", help="the license that you give it, such as apache-2.0")]
Public = Annotated[bool, typer.Option("--public", help="for everybody to see (default: private)")]


TELL_EVERY = 5.0
"""Seconds between two words on how far a file is read."""


def open_catalogue(path: Path, products: int, title_column: str, content_columns: list[str] | None) -> "Catalogue":
    """The catalogue, after saying what can be used of it.

    Args:
        products: how many are asked for.

    Raises:
        PipelineError: it cannot be read, or only the title's or the content's column is named.
    """
    from pipeline.catalogue.catalogue import UNREADABLE_LINE, read_catalogue
    from pipeline.catalogue.uploads import columns_chosen

    if bool(title_column) != bool(content_columns):
        raise SettingsError("Only one of --title-column and --content-column is given; name both.")
    columns = columns_chosen(path, title_column, content_columns, None) if content_columns else None
    catalogue = read_catalogue(path, columns=columns, on_progress=_told_now_and_then(path))
    skipped = ", ".join(f"{n} {reason}" for reason, n in catalogue.skipped_counts().items())
    usable = f"{path.name}: {catalogue.rows} rows, {catalogue.usable} usable"
    say(usable + (f"; skipped: {skipped}" if skipped else ""))
    if unreadable := [str(s.line) for s in catalogue.skipped(count=11, reasons=UNREADABLE_LINE)]:
        say(f"Lines that cannot be read: {', '.join(unreadable[:10])}{' …' if len(unreadable) > 10 else ''}")
    if catalogue.usable < products:
        say(f"You asked for {products} products; going on with the {catalogue.usable} there are.")
    return catalogue


def _told_now_and_then(path: Path) -> Callable[[int, int], None]:
    """Says how far a large file is read."""
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            say(f"{path.name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB are read.")

    return tell


def open_edited(folder: Path) -> "Dataset":
    """The dataset in a folder, with what was changed of its rows since; a run's copy stays as it was trained on.

    Raises:
        PipelineError: there is no whole dataset.
    """
    from pipeline.dataset.store import open_dataset, with_every_edit
    from pipeline.files import datasets_dir

    dataset = open_dataset(folder)
    return with_every_edit(dataset) if folder.resolve().parent == datasets_dir().resolve() else dataset


def check_finished(folder: Path) -> None:
    """Refuse a run that has no adapter, before a model is loaded for it.

    Raises:
        RunError: there is none, or it is not a run.
    """
    from pipeline.runs.folder import has_adapter, read_settings

    read_settings(folder)
    if not has_adapter(folder):
        raise RunError(f"{folder} has no adapter; train it first with `python -m pipeline demo`.")


def load_model(folder: Path) -> "RunModel":
    """A run's base and adapter; what libraries print goes to stderr.

    Raises:
        PipelineError: it cannot be loaded.
    """
    with redirect_stdout(sys.stderr):
        from pipeline.answering.run_model import load_run

        language_model, warnings = load_run(folder)
    for warning in warnings:
        say(warning)
    return language_model
