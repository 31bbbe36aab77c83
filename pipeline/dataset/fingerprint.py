"""A dataset's name: a digest of all that goes in, so that the same inputs find the same dataset again."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from pipeline.catalogue.catalogue import Catalogue
from pipeline.dataset.examples import GENERAL_ROWS
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.taught import products_taught
from pipeline.files import PROJECT

DECIDE_NOTHING = {
    "catalogue": ("cache", "differences", "file_types", "reading", "uploads"),
    "facts": (),
    "dataset": ("card", "edits", "export", "fingerprint", "store"),
    "writing": ("generation", "steps"),
}
"""The modules of the folders on a row's way that don't say what it is; every other one does, a new one too."""


def fingerprint(catalogue: Catalogue, settings: DatasetSettings) -> str:
    """Sixteen hex digits that change when anything that goes into the dataset does."""
    code = [file.read_bytes() for file in [*deciding(), PROJECT / "pipeline" / "prompts.py", GENERAL_ROWS]]
    put_right = [product.uid for product in products_taught(catalogue)]
    inputs = json.dumps([catalogue.sha256, asdict(settings), *put_right], sort_keys=True).encode()
    return hashlib.sha256(b"\0".join([inputs, *code])).hexdigest()[:16]


def deciding() -> list[Path]:
    """The modules that decide what the rows of a dataset are."""
    folders = ((PROJECT / "pipeline" / name, without) for name, without in DECIDE_NOTHING.items())
    return [f for folder, without in folders for f in sorted(folder.glob("*.py")) if f.stem not in without]
