"""Writing a dataset's rows with an API: what is to be made, and the steps to it, which the page and the command line share.

First a pilot, by which the rest is estimated; then the rest, at once or as batches. Which job is under way, and how it is
stopped and gone on with, is `job.py`'s business.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.catalogue.columns import Columns
from pipeline.dataset.build import Generate
from pipeline.dataset.choosing import ChosenProduct
from pipeline.dataset.examples import Generated
from pipeline.dataset.settings import DatasetSettings
from pipeline.errors import GenerationError, SettingsError
from pipeline.files import home
from pipeline.writing.api import (
    OPENAI_URL,
    ApiSettings,
    BatchStatus,
    Estimate,
    Interrupted,
    Price,
    WritingProgress,
    address_of,
    advance,
    estimate,
    work_through,
)
from pipeline.writing.writer import ProductWriter, finished

PILOT_PRODUCTS = 5
NO_KEY = "none"
"""A word for servers that want no key."""


@dataclass(frozen=True)
class Job:
    """What is to be made, of what, and who writes it."""

    catalogue: Path
    settings: DatasetSettings
    api: ApiSettings
    batch: bool = False
    columns: Columns | None = None
    """How the catalogue's columns are read, where it needs telling."""

    def as_dict(self) -> dict[str, Any]:
        """Without the key."""
        api = {name: value for name, value in asdict(self.api).items() if name != "api_key"}
        return asdict(self) | {"catalogue": str(self.catalogue), "api": api}

    @classmethod
    def of(cls, kept: dict[str, Any], key: str) -> "Job":
        """The job that was kept, with the key that was not.

        Raises:
            GenerationError: it was kept by another version.
        """
        try:
            price, columns = kept["api"]["price"], kept["columns"]
            api = ApiSettings(**kept["api"] | {"api_key": key, "price": Price(**price) if price else None})
            read = Columns.of(columns) if columns else None
            return cls(Path(kept["catalogue"]), DatasetSettings(**kept["settings"]), api, kept["batch"], read)
        except (KeyError, TypeError, ValueError, AttributeError, SettingsError) as error:
            raise GenerationError(
                "This job was kept by another version; press Generate again, no reply is lost."
            ) from error

    @property
    def name(self) -> str:
        """The same for the same rows wanted of the same model, however fast and at what cost."""
        columns = asdict(self.columns) if self.columns else None
        api = self.api
        said = [str(self.catalogue.resolve()), asdict(self.settings), api.model.strip(), api.address, columns]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def open_catalogue(self) -> Catalogue:
        """Raises:
        CatalogueError: it cannot be read any more.
        """
        return read_catalogue(self.catalogue, columns=self.columns)


def batch_file(job: Job) -> Path:
    return home() / "batches" / f"{job.name}.json"


def advance_batch(chosen: list[ChosenProduct], job: Job, paid: float = 0.0) -> BatchStatus:
    """One step of a batch; its notes go once it has ended.

    Args:
        paid: USD that the job has cost before, which count against its cap.

    Raises:
        Interrupted: it was cancelled.
        GenerationError: as `api.batches.advance`.
    """
    file = batch_file(job)
    file.parent.mkdir(parents=True, exist_ok=True)
    status = advance(chosen, _writer_of(job.settings).write, job.api, file, paid)
    if status.state in ("done", "cancelled"):
        file.unlink(missing_ok=True)
    if status.state == "cancelled":
        raise Interrupted("The batch was cancelled; what it had written is kept, and going on asks only for the rest.")
    return status


def pilot(
    chosen: list[ChosenProduct],
    api: ApiSettings,
    settings: DatasetSettings,
    *,
    on_progress: Callable[[WritingProgress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Estimate:
    """Write the first few products, and tell what the others will take; nothing that it pays for is lost.

    Raises:
        GenerationError: as `work_through`.
    """
    seen: list[WritingProgress] = []

    def told(progress: WritingProgress) -> None:
        seen[:] = [progress]
        on_progress(progress)

    written = work_through(chosen[:PILOT_PRODUCTS], _writer_of(settings).write, api, on_progress=told, stop=stop)
    finished(written)  # a model that writes nothing of use is found out before the rest is paid for
    return estimate(seen[0], len(chosen) - PILOT_PRODUCTS)


def writer(
    api: ApiSettings,
    settings: DatasetSettings,
    on_progress: Callable[[WritingProgress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Generate:
    """What `build_dataset` takes as `generate`."""

    def generate(chosen: Sequence[ChosenProduct]) -> Generated:
        return finished(work_through(chosen, _writer_of(settings).write, api, on_progress=on_progress, stop=stop))

    return generate


def _writer_of(settings: DatasetSettings) -> ProductWriter:
    return ProductWriter(settings.phrasings, settings.judge)


def generator_name(model: str, base_url: str) -> str:
    """Who writes the questions, as the dataset's settings and its card say it."""
    return f"{model.strip()} at {address_of(base_url)}"


def key_for(base_url: str, typed: str = "") -> str:
    """The key that was typed, else the environment's, which goes to the environment's own API and to no other.

    A server on this machine that wants none is given a word that is none.
    """
    address = address_of(base_url)
    if typed.strip():
        return typed.strip()
    own = address_of(os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
    key = os.environ.get("OPENAI_API_KEY", "") if address == own else ""
    return key or (NO_KEY if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1") else "")
