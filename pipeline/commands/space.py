"""`python -m pipeline deploy`, `… front-matter`, `… elsewhere` and `… train-kept`."""

import argparse
import os
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Any

from pipeline.errors import HubError

Say = Callable[[str], None]


def add_commands(commands: Any, say: Say) -> None:
    """Add them to a parser's commands.

    Args:
        say: tells progress.
    """
    put = commands.add_parser("deploy", help="make or update a Hugging Face Space, with the token in HF_TOKEN")
    put.add_argument("--space", default="", metavar="USER/NAME", help="default: by space.yaml, under your own name")
    put.add_argument("--hardware", default="", metavar="NAME", help="default: by space.yaml")
    put.add_argument("--private", action="store_true", help="a new Space is for you alone (default: for everybody)")
    put.add_argument("--yes", action="store_true", help="take hardware that costs money without asking")
    put.add_argument("--dry-run", action="store_true", help="only list every call; needs no token and no network")
    put.set_defaults(function=lambda args: deploy(args, say))
    top = commands.add_parser("front-matter", help="write the Space's settings in space.yaml at the top of README.md")
    top.set_defaults(function=lambda _: front_matter(say))
    away = commands.add_parser("elsewhere", help="train a run on Hugging Face Jobs; the app brings it back")
    away.add_argument("run", type=Path, metavar="RUN", help="its folder or its name; one that has not finished")
    away.add_argument(
        "--hardware", required=True, metavar="NAME", help="as l4x1; what is wrong is told with all there is"
    )
    away.set_defaults(function=lambda args: elsewhere(args, say))
    kept = commands.add_parser("train-kept", help="what such a job does: train a run of the store, and keep it there")
    kept.add_argument("name", metavar="NAME", help="the run's name in the store")
    kept.add_argument(
        "--every", type=float, default=40, metavar="SECONDS", help="between commits (default: %(default)s)"
    )
    kept.set_defaults(function=train_kept)


def deploy(args: argparse.Namespace, say: Say) -> None:
    """Make or update the Space, and print its addresses; or print every call that this would make.

    Raises:
        PipelineError: see `Deployment.run`.
    """
    from pipeline.space.deploy import ANY_USER, Deployment
    from pipeline.space.settings import read_space

    settings = read_space()
    deployment = Deployment(
        settings,
        args.space or f"{ANY_USER}/{settings.name}",
        args.hardware or settings.hardware,
        args.private,
        say,
        secret=ask_secret,
        confirm=lambda words: args.yes or confirm(words),
    )
    print(*(deployment.calls() if args.dry_run else deployment.run()), sep="\n")


def front_matter(say: Say) -> None:
    """Write the top of README.md."""
    from pipeline.space.settings import write_front_matter

    say("README.md has the settings of space.yaml." if write_front_matter() else "README.md had them already.")


def elsewhere(args: argparse.Namespace, say: Say) -> None:
    """Start a run on Hugging Face Jobs, and print the job's id and address.

    Raises:
        PipelineError: see `start_elsewhere`.
    """
    from pipeline.files import runs_dir
    from pipeline.publishing.hub import hub_api
    from pipeline.space.elsewhere import start_elsewhere

    folder = args.run if args.run.is_dir() else runs_dir() / args.run.name
    job = start_elsewhere(folder, args.hardware)
    if not job.id:
        say("The Hub did not answer, so it is not known yet whether the job began; the app looks for it.")
        return
    price = "" if job.price is None else f" (${job.price:.2f} an hour)"
    say(f"Run {folder.name} trains on {job.hardware}{price}; the app shows it while it runs, and brings it back.")
    print(job.id, f"{hub_api().endpoint}/jobs/{job.owner}/{job.id}", sep="\n")


def train_kept(args: argparse.Namespace) -> None:
    """Do a job's work; exits with 1 where the training failed.

    Raises:
        PipelineError: see `job.train_kept`.
    """
    from pipeline.space import job

    if not job.train_kept(args.name, args.every):
        sys.exit(1)


def ask_secret(name: str, why: str, there: bool) -> str:
    """A secret, typed without echo; without a terminal the environment's, unless the Space has one."""
    if not sys.stdin.isatty():
        return "" if there else os.environ.get(name, "")
    return getpass(f"{name}: {why} Enter {'keeps the one that the Space has' if there else 'leaves it out'}: ")


def confirm(words: str) -> bool:
    """Whether the person at the terminal agrees.

    Raises:
        HubError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise HubError(f"{words} Add --yes to have it, or --hardware cpu-basic for a free Space.")
    print(f"{words} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
