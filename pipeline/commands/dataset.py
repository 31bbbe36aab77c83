"""`generate`, `export`, `push` and `delete`: a dataset by itself, without a training.

`generate` takes the same steps as the first tab: by templates, or by a model behind an API with a pilot and an estimate,
then the rest, at once or as a batch.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.commands.inputs import (
    CatalogueFile,
    ContentColumns,
    DatasetFolder,
    License,
    OpenBook,
    Products,
    Public,
    TitleColumn,
    open_catalogue,
    open_edited,
)
from pipeline.commands.terminal import confirmed, say
from pipeline.errors import GenerationError, SettingsError

if TYPE_CHECKING:
    from pipeline.catalogue.catalogue import Catalogue
    from pipeline.dataset.choosing import ChosenProduct
    from pipeline.dataset.store import Dataset
    from pipeline.writing.api import BatchStatus, WritingProgress
    from pipeline.writing.steps import Job

SAY_SECONDS = 2.0

Form = Literal["json", "jsonl", "parquet"]

app = typer.Typer()


@app.command()
def generate(
    catalogue: CatalogueFile = None,
    products: Products = 15,
    phrasings: Annotated[int, typer.Option(help="training rows a fact")] = 12,
    open_book: OpenBook = 0.0,
    seed: Annotated[int, typer.Option()] = 0,
    title_column: TitleColumn = "",
    content_column: ContentColumns = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="the model that writes the questions (default: templates do)")
    ] = None,
    base_url: Annotated[
        str, typer.Option(metavar="URL", envvar="OPENAI_BASE_URL", help="the API (default: OpenAI's)", show_envvar=True)
    ] = "",
    workers: Annotated[int, typer.Option(help="requests at once")] = 8,
    cap: Annotated[float | None, typer.Option(metavar="USD", help="what it may cost at most")] = None,
    price: Annotated[
        tuple[float, float] | None, typer.Option(metavar="IN OUT", help="USD for a million tokens")
    ] = None,
    judge: Annotated[bool, typer.Option("--judge", help="let the model check its rows in a third call")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="through the Batch API; run again to collect")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="with --batch: look every half minute until it is done")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="pay for the rest without asking after the estimate")] = False,
) -> None:
    """Make only the dataset. By templates, or by a model behind an API."""
    from pipeline.catalogue.catalogue import SAMPLE
    from pipeline.dataset.build import build_dataset
    from pipeline.dataset.settings import TEMPLATE_PHRASINGS, DatasetSettings
    from pipeline.writing.api import OPENAI_URL, ApiSettings, Price
    from pipeline.writing.steps import Job, generator_name, key_for

    if model is None and (batch or judge or cap is not None or price):
        raise SettingsError("--batch, --judge, --cap and --price need a model; name it with --model.")
    if model is None and phrasings > TEMPLATE_PHRASINGS:
        raise SettingsError(f"Templates have {TEMPLATE_PHRASINGS} ways to ask; ask for fewer, or name a --model.")
    path = catalogue or SAMPLE
    opened = open_catalogue(path, products, title_column, content_column)
    if model is None:
        dataset = build_dataset(opened, DatasetSettings(products, phrasings, open_book=open_book, seed=seed))
    else:
        url = base_url or OPENAI_URL
        generator = generator_name(model, url)
        settings = DatasetSettings(
            products, phrasings, open_book=open_book, generator=generator, judge=judge, seed=seed
        )
        api = ApiSettings(model, url, key_for(url), workers, cap, Price(*price) if price else None)
        dataset = _written(opened, Job(path, settings, api, batch), wait=wait, yes=yes)
    if dataset:
        tell_dataset(dataset)
        say(f"Dataset folder: {dataset.folder}")


@app.command()
def export(
    dataset: DatasetFolder,
    form: Annotated[Form, typer.Option()] = "parquet",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="default: a file in the dataset's folder, under export/")
    ] = None,
) -> None:
    """Write a dataset as one file, and print where."""
    from pipeline.dataset.export import export_dataset, export_to

    opened = open_edited(dataset)
    print(export_to(opened, form, out) if out else export_dataset(opened, form))


@app.command()
def push(
    dataset: DatasetFolder,
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="dataset on the Hub; made when it is not there")],
    license: License = "",
    source_url: Annotated[str, typer.Option(metavar="URL", help="where the catalogue comes from, for the card")] = "",
    public: Public = False,
) -> None:
    """Push a dataset to the Hugging Face Hub. Takes the token in HF_TOKEN, and prints its address."""
    from pipeline.publishing.hub import push_dataset

    print(push_dataset(open_edited(dataset), repo, license=license, private=not public, source_url=source_url))


@app.command()
def delete(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a dataset's folder, or a run's")],
    yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False,
) -> None:
    """Delete a dataset or a run. Where the app keeps it on the Hub, it goes there too, and from other machines."""
    from pipeline.dataset.store import MANIFEST, delete_dataset
    from pipeline.runs.manage import delete_run

    remove = delete_dataset if (folder / MANIFEST).is_file() else delete_run
    if folder.is_dir() and not yes and not confirmed(f"Delete {folder} for good?"):
        return
    remove(folder)


def tell_dataset(dataset: "Dataset") -> None:
    """Say what is in it, and what was left out."""
    c = dataset.counts
    say(
        f"Dataset {dataset.folder.name}: {c['products']} products, {c['facts']} facts, {c['training']} training pairs, "
        f"{c['held_out']} held out, {c['unknown_titles']} unknown titles"
    )
    if without := c.get("without_description"):
        say(f"{without} of the products have no sentence that says what they are, so no description is taught of them.")
    for remark in dataset.manifest.get("remarks", ()):
        say(remark)
    if c["rejected"]:
        say("Rejected: " + ", ".join(f"{n} × {reason}" for reason, n in c["rejected"].items()))


def _written(catalogue: "Catalogue", job: "Job", *, wait: bool, yes: bool) -> "Dataset | None":
    """The dataset that a model writes; nothing where the rest is not wanted yet, or a batch is not done.

    Raises:
        PipelineError: it cannot be made.
    """
    from pipeline.dataset.build import build_dataset
    from pipeline.dataset.choosing import choose_products
    from pipeline.writing.steps import batch_file, writer

    with suppress(SettingsError):  # made before
        return build_dataset(catalogue, job.settings)
    chosen = choose_products(catalogue, job.settings.products, job.settings.seed)
    told = _Told()
    # A batch that was sent has been asked about already.
    if not batch_file(job).exists():
        if not _wanted(job, chosen, told, yes):
            return None
    elif not job.batch:
        raise GenerationError("A batch of this job is at the API; collect it with --batch.")
    paid = told.spent
    if job.batch:
        status = _collected(job, chosen, wait, paid)
        if status is None:
            return None
        paid = status.paid + (status.spent or 0.0)
    return build_dataset(catalogue, job.settings, generate=writer(job.api.less(paid), job.settings, _Told()))


class _Told:
    """Says how far it is, every other second."""

    def __init__(self) -> None:
        self.last = 0.0
        self.spent = 0.0

    def __call__(self, p: "WritingProgress") -> None:
        self.spent = p.spent or 0.0
        if time.monotonic() - self.last < SAY_SECONDS and p.done < p.total:
            return
        self.last = time.monotonic()
        left = f", {p.seconds_left:.0f} s left" if p.seconds_left else ""
        waiting = f" ({p.waiting})" if p.waiting else ""
        say(
            f"{p.done} of {p.total} products, {p.asked} replies, {p.reused} reused, {p.per_second:.1f} a second, "
            f"{_usd(p.spent)} spent{left}{waiting}"
        )


def _wanted(job: "Job", chosen: "list[ChosenProduct]", told: _Told, yes: bool) -> bool:
    """Try a few products, say what the rest will take, and ask."""
    from pipeline.writing.steps import PILOT_PRODUCTS, pilot

    rest = len(chosen) - PILOT_PRODUCTS
    if rest <= 0:
        return True
    say(f"Trying the first {PILOT_PRODUCTS} products")
    found = pilot(chosen, job.api, job.settings, on_progress=told)
    cost = found.batch_cost if job.batch else found.cost
    say(f"The other {rest} products: about {found.requests} requests, {found.seconds:.0f} s at once, {_usd(cost)}")
    if yes:
        return True
    if not sys.stdin.isatty():
        say("Nothing more is paid for yet; run it again with --yes to go on. What was written is kept.")
        return False
    return confirmed("Go on?")


def _collected(job: "Job", chosen: "list[ChosenProduct]", wait: bool, paid: float) -> "BatchStatus | None":
    """Send and collect batches; what they came to once every reply has arrived, nothing before.

    Args:
        paid: USD for the products that were tried first; a later call knows them from the batch's notes.
    """
    from pipeline.writing.generation import BATCH_SECONDS
    from pipeline.writing.steps import advance_batch

    while True:
        status = advance_batch(chosen, job, paid)
        say(status.message or f"{status.completed} of {status.requests} requests are done")
        if status.state == "done":
            return status
        if not wait:
            say("The API works on it; run the same command again to collect, or add --wait.")
            return None
        time.sleep(BATCH_SECONDS)


def _usd(amount: float | None) -> str:
    return "cost unknown" if amount is None else f"{amount:.4f} USD"
