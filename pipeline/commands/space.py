"""`deploy`, `front-matter`, `elsewhere` and `train-kept`: the app on a Space, and a run on Hugging Face Jobs."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.terminal import confirmed, say
from pipeline.errors import HubError

app = typer.Typer()


@app.command()
def deploy(
    space: Annotated[
        str, typer.Option(metavar="USER/NAME", help="the Space", show_default="by space.yaml, under your own name")
    ] = "",
    hardware: Annotated[str, typer.Option(metavar="NAME", show_default="by space.yaml")] = "",
    private: Annotated[
        bool, typer.Option("--private", help="a new Space is for you alone (default: for everybody)")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="take hardware that costs money without asking")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only list every call; needs no token and no network")
    ] = False,
) -> None:
    """Make or update a Hugging Face Space. Takes the token in HF_TOKEN, and prints the addresses."""
    from pipeline.space.deploy import ANY_USER, Deployment
    from pipeline.space.settings import read_space

    settings = read_space()
    deployment = Deployment(
        settings,
        space or f"{ANY_USER}/{settings.name}",
        hardware or settings.hardware,
        private,
        say,
        secret=ask_secret,
        confirm=lambda words: yes or agreed_to_pay(words),
    )
    print(*(deployment.calls() if dry_run else deployment.run()), sep="\n")


@app.command()
def front_matter() -> None:
    """Write space.yaml's settings at the top of README.md."""
    from pipeline.space.settings import write_front_matter

    say("README.md has the settings of space.yaml." if write_front_matter() else "README.md had them already.")


@app.command()
def elsewhere(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="its folder or its name; one that has not finished")],
    hardware: Annotated[str, typer.Option(metavar="NAME", help="as l4x1; what is wrong is told with all there is")],
) -> None:
    """Train a run on Hugging Face Jobs. Prints the job's id and address; the app brings the run back."""
    from pipeline.files import runs_dir
    from pipeline.publishing.hub import hub_api
    from pipeline.space.elsewhere import start_elsewhere

    folder = run if run.is_dir() else runs_dir() / run.name
    job = start_elsewhere(folder, hardware)
    if not job.id:
        say("The Hub did not answer, so it is not known yet whether the job began; the app looks for it.")
        return
    price = "" if job.price is None else f" (${job.price:.2f} an hour)"
    say(f"Run {folder.name} trains on {job.hardware}{price}; the app shows it while it runs, and brings it back.")
    print(job.id, f"{hub_api().endpoint}/jobs/{job.owner}/{job.id}", sep="\n")


@app.command()
def train_kept(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the run's name in the store")],
    every: Annotated[float, typer.Option(metavar="SECONDS", help="between commits")] = 40,
) -> None:
    """Train and keep a run of the store, as a job does. Exits with 1 where the training failed."""
    from pipeline.space import job

    if not job.train_kept(name, every):
        raise typer.Exit(1)


def ask_secret(name: str, why: str, there: bool) -> str:
    """A secret, typed without echo; without a terminal the environment's, unless the Space has one."""
    if not sys.stdin.isatty():
        return "" if there else os.environ.get(name, "")
    return getpass(f"{name}: {why} Enter {'keeps the one that the Space has' if there else 'leaves it out'}: ")


def agreed_to_pay(words: str) -> bool:
    """Whether the person at the terminal agrees.

    Raises:
        HubError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise HubError(f"{words} Add --yes to have it, or --hardware cpu-basic for hardware without a price.")
    return confirmed(f"{words} Go on?")
