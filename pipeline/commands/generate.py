"""`python -m pipeline generate`: a dataset from a catalogue, by templates or by a model behind an API.

The same steps as the first tab's, on the command line: a pilot with an estimate, then the rest, at once or as a batch.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.catalogue.catalogue import SAMPLE, Catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.choosing import ChosenProduct, choose_products
from pipeline.dataset.settings import TEMPLATE_PHRASINGS, DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.errors import GenerationError, SettingsError
from pipeline.writing.api import MAX_WORKERS, OPENAI_URL, ApiSettings, Price, Progress
from pipeline.writing.job import BATCH_SECONDS
from pipeline.writing.steps import (
    PILOT_PRODUCTS,
    Job,
    advance_batch,
    batch_file,
    generator_name,
    key_for,
    pilot,
    writer,
)

SAY_SECONDS = 2.0

Say = Callable[[str], None]


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add `generate` to the commands of a parser."""
    command = commands.add_parser("generate", help="only the dataset, by templates or by a model behind an API")
    command.add_argument("catalogue", nargs="?", type=Path, default=SAMPLE, help="default: the sample catalogue")
    command.add_argument("--products", type=int, default=15, help="products to teach (default: %(default)s)")
    command.add_argument("--phrasings", type=int, default=12, help="training rows a fact (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    command.add_argument("--model", help="the model that writes the questions (default: none, templates write them)")
    command.add_argument(
        "--base-url", default=os.environ.get("OPENAI_BASE_URL") or OPENAI_URL, help="default: %(default)s"
    )
    command.add_argument("--workers", type=int, default=8, help=f"requests at once, up to {MAX_WORKERS} (default: 8)")
    command.add_argument("--cap", type=float, metavar="USD", help="what it may cost at most")
    command.add_argument("--price", type=float, nargs=2, metavar=("IN", "OUT"), help="USD for a million tokens")
    command.add_argument("--judge", action="store_true", help="let the model check its rows in a third call")
    command.add_argument("--batch", action="store_true", help="through the Batch API; run again to collect")
    command.add_argument("--wait", action="store_true", help="with --batch: look every half minute until it is done")
    command.add_argument("--yes", action="store_true", help="pay for the rest without asking after the estimate")
    return command


def generate(args: argparse.Namespace, catalogue: Catalogue, say: Say) -> Dataset | None:
    """The dataset; nothing where the rest is not wanted yet, or a batch is not done.

    Raises:
        PipelineError: it cannot be made.
    """
    if args.model is None:
        if args.batch or args.judge or args.cap is not None or args.price:
            raise SettingsError("--batch, --judge, --cap and --price need a model; name it with --model.")
        if args.phrasings > TEMPLATE_PHRASINGS:
            raise SettingsError(f"Templates have {TEMPLATE_PHRASINGS} ways to ask; ask for fewer, or name a --model.")
        return build_dataset(catalogue, DatasetSettings(args.products, args.phrasings, seed=args.seed))
    name = generator_name(args.model, args.base_url)
    settings = DatasetSettings(args.products, args.phrasings, generator=name, judge=args.judge, seed=args.seed)
    price = Price(*args.price) if args.price else None
    api = ApiSettings(args.model, args.base_url, key_for(args.base_url), args.workers, args.cap, price)
    job = Job(args.catalogue, settings, api, args.batch)
    with suppress(SettingsError):  # made before
        return build_dataset(catalogue, settings)
    chosen = choose_products(catalogue, settings.products, settings.seed)
    told = _Told(say)
    # A batch that was sent has been asked about already.
    if not batch_file(job).exists():
        if not _wanted(args, job, chosen, told):
            return None
    elif not args.batch:
        raise GenerationError("A batch of this job is at the API; collect it with --batch.")
    api = api.less(told.spent)
    if args.batch and not _collected(args, replace(job, api=api), chosen, say):
        return None
    return build_dataset(catalogue, settings, generate=writer(api, settings, _Told(say)))


class _Told:
    """Says how far it is, every other second."""

    def __init__(self, say: Say) -> None:
        self.say, self.last = say, 0.0
        self.spent = 0.0

    def __call__(self, p: Progress) -> None:
        self.spent = p.spent or 0.0
        if time.monotonic() - self.last < SAY_SECONDS and p.done < p.total:
            return
        self.last = time.monotonic()
        left = f", {p.seconds_left:.0f} s left" if p.seconds_left else ""
        waiting = f" ({p.waiting})" if p.waiting else ""
        self.say(
            f"{p.done} of {p.total} products, {p.asked} replies and {p.reused} that were there, {p.per_second:.1f} a second, "
            f"{usd(p.spent)} spent{left}{waiting}"
        )


def _wanted(args: argparse.Namespace, job: Job, chosen: list[ChosenProduct], told: _Told) -> bool:
    """Try a few products, say what the rest will take, and ask."""
    say, rest = told.say, len(chosen) - PILOT_PRODUCTS
    if rest <= 0:
        return True
    say(f"Trying the first {PILOT_PRODUCTS} products")
    found = pilot(chosen, job.api, job.settings, on_progress=told)
    cost = found.batch_cost if job.batch else found.cost
    say(f"The other {rest} products: about {found.requests} requests, {found.seconds:.0f} s at once, {usd(cost)}")
    if args.yes:
        return True
    if not sys.stdin.isatty():
        say("Nothing more is paid for yet; run it again with --yes to go on. What was written is kept.")
        return False
    say("Go on? [y/N]")
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _collected(args: argparse.Namespace, job: Job, chosen: list[ChosenProduct], say: Say) -> bool:
    """Send and collect batches; tells whether every reply has arrived."""
    while True:
        status = advance_batch(chosen, job)
        say(status.message or f"{status.completed} of {status.requests} requests are done")
        if status.state == "done":
            return True
        if not args.wait:
            say("The API works on it; run the same command again to collect, or add --wait.")
            return False
        time.sleep(BATCH_SECONDS)


def usd(amount: float | None) -> str:
    return "cost unknown" if amount is None else f"{amount:.4f} USD"
