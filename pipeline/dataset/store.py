"""A dataset on disk: its rows as they were generated, what a person changed of them, and the files that follow from both.

`rows.jsonl` has every row that was ever written for the dataset, rejected ones too, and never changes. What a person edits,
rejects or takes after all is kept apart (`edits`), so that generating anew loses none of it. `train.jsonl`,
`heldout.jsonl`, `dataset.json` and the counts follow from the two, and `manifest.json` is written last.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline.dataset.checks import leakage
from pipeline.dataset.edits import EDITED, Edit, apply_edits, check_edit, digest_of, keep_edit, read_edits
from pipeline.dataset.examples import HELD_OUT, REJECTED, TRAINED
from pipeline.dataset.taught import with_taught
from pipeline.errors import SettingsError
from pipeline.files import (
    datasets_dir,
    locked,
    read_json,
    read_jsonl,
    taking_away,
    whole_folder,
    write_json,
    write_jsonl,
)
from pipeline.prompts import GENERAL, NO_FACT, OPEN, REVERSE, SILENT, UNKNOWN

if TYPE_CHECKING:
    import datasets

TRAIN_FILE, HELD_OUT_FILE, RECORDS, ROWS, MANIFEST = (
    "train.jsonl",
    "heldout.jsonl",
    "dataset.json",
    "rows.jsonl",
    "manifest.json",
)
COLUMNS = ("uid", "title", "kind", "question", "prompt", "response", "template")
"""The columns of `train.jsonl` and `heldout.jsonl`; all are text."""


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk."""

    folder: Path
    manifest: dict[str, Any] = field(compare=False)

    @property
    def counts(self) -> dict[str, Any]:
        return self.manifest.get("counts", {})

    @property
    def kinds(self) -> list[str]:
        """The kinds of its facts."""
        return sorted({fact["kind"] for fact in self.manifest.get("facts", ())})

    def training(self) -> list[dict[str, Any]]:
        return list(read_jsonl(self.folder / TRAIN_FILE))

    def held_out(self) -> list[dict[str, Any]]:
        return list(read_jsonl(self.folder / HELD_OUT_FILE))

    def rows(self) -> list[dict[str, Any]]:
        """Every row with its `split` (train, held out, rejected), its `status` (accepted, edited, rejected) and `reason`.

        A row that was edited has its first words under `original`. Older datasets know only what they kept.
        """
        if not (self.folder / ROWS).is_file():
            known = [(TRAINED, self.training()), (HELD_OUT, self.held_out())]
            return apply_edits([row | {"split": s, "reason": "", "note": ""} for s, rows in known for row in rows], {})
        edits = read_edits()
        return apply_edits(with_taught(read_jsonl(self.folder / ROWS), edits, self.manifest), edits)


def write_dataset(folder: Path, rows: Iterable[dict[str, Any]], manifest: dict[str, Any]) -> Dataset:
    """Write a dataset's folder whole.

    Args:
        rows: every row, with `split`, `reason` and `note` beside the columns.
        manifest: what went in, and the counts that do not follow from the rows.
    """
    with _only_one(folder), whole_folder(folder) as aside:
        write_jsonl(aside / ROWS, rows)
        _settle(aside, manifest | {"fingerprint": folder.name})
    return open_dataset(folder)


def change_row(dataset: Dataset, edit: Edit) -> Dataset:
    """Keep what a person says of a row, and write the dataset's files anew.

    Raises:
        SettingsError: the row cannot be changed so, or is not there any more.
    """
    check_edit(edit, dataset.rows())
    keep_edit(edit)
    return with_every_edit(dataset)


def with_every_edit(dataset: Dataset) -> Dataset:
    """The dataset with its files written anew where a person has changed rows since; one without rows stays as it is."""
    folder = dataset.folder
    if not (folder / ROWS).is_file() or dataset.manifest.get("edits", "") == digest_of(read_edits()):
        return dataset
    with _only_one(folder):
        _settle(folder, dataset.manifest)
    return open_dataset(folder)


def _only_one(folder: Path) -> AbstractContextManager[None]:
    """One writer of datasets at a time, in whatever process."""
    return locked(folder.parent.with_name("datasets.lock"))


def _settle(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the files that follow from the rows and the edits; the manifest last."""
    edits = read_edits()  # once: what is said of a row meanwhile must not count as laid over the rows
    rows = apply_edits(with_taught(read_jsonl(folder / ROWS), edits, manifest), edits)
    training = [row for row in rows if row["split"] == TRAINED]
    held_out = [row for row in rows if row["split"] == HELD_OUT]
    write_json(folder / RECORDS, [{"text": f"{row['prompt']} {row['response']}"} for row in training])
    write_jsonl(folder / TRAIN_FILE, map(_columns, training))
    write_jsonl(folder / HELD_OUT_FILE, map(_columns, held_out))
    leaked = leakage(*([(r["title"], r["kind"], r["question"], r["prompt"]) for r in s] for s in (training, held_out)))
    counts = manifest["counts"] | _counts(rows, training, held_out)
    write_json(folder / MANIFEST, manifest | {"counts": counts, "leakage": leaked, "edits": digest_of(edits)})


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS}


def _counts(
    rows: list[dict[str, Any]], training: list[dict[str, Any]], held_out: list[dict[str, Any]]
) -> dict[str, Any]:
    kinds = Counter(row["kind"] for row in training)
    return {
        "training": sum(n for kind, n in kinds.items() if kind not in NO_FACT),
        "held_out": sum(row["kind"] not in NO_FACT for row in held_out),
        "unknown_training": kinds[UNKNOWN],
        "silent_training": kinds[SILENT],
        "general_training": kinds[GENERAL],
        "reverse_training": kinds[REVERSE],
        "open_book_training": kinds[OPEN],
        "edited": sum(row["status"] == EDITED for row in rows),
        "rejected": dict(Counter(row["reason"] for row in rows if row["split"] == REJECTED).most_common()),
    }


_TABLES = ("catalogue", "settings", "counts", "unknown")
_LISTED = {"products": ("uid", "title", "content"), "facts": ("uid", "title", "kind", "value")}
"""What a manifest lists, and the texts of each."""


def _is_manifest(manifest: Any) -> bool:
    """Whether what it says has the form that everybody reads it in; it may come from a store, or be damaged."""
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(name, {}), dict) for name in _TABLES):
        return False
    for name, texts in _LISTED.items():
        listed = manifest.get(name, [])
        if not isinstance(listed, list) or not all(
            isinstance(one, dict) and all(isinstance(one.get(text), str) for text in texts) for one in listed
        ):
            return False
    return True


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset's folder.

    Raises:
        SettingsError: it is not a whole dataset.
    """
    problem = f"There is no whole dataset in {folder}; generate it again in the first tab."
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError) as error:
        raise SettingsError(problem) from error
    whole = all((folder / name).is_file() for name in (RECORDS, TRAIN_FILE, HELD_OUT_FILE))
    if not whole or not _is_manifest(manifest):
        raise SettingsError(problem)
    return Dataset(folder, manifest)


def delete_dataset(folder: Path) -> None:
    """Remove a dataset for good; the runs that it trained have copies of their own.

    Raises:
        SettingsError: it is no dataset of its own.
        OSError: something in it cannot be removed.
    """
    if not (folder / MANIFEST).is_file() or folder.resolve().parent != datasets_dir().resolve():
        raise SettingsError(f"{folder} is no dataset under {datasets_dir()} (any more), so there is nothing to delete.")
    with _only_one(folder), taking_away(folder):
        aside = folder.rename(folder.with_name(f".{uuid4().hex}.deleted"))
    shutil.rmtree(aside)


def latest_dataset() -> Dataset | None:
    """The dataset that was generated or asked for last, if any; damaged ones are passed over."""
    made: list[tuple[float, Path]] = []
    for manifest in datasets_dir().glob("*/" + MANIFEST):
        with suppress(OSError):  # it was just removed
            made.append((manifest.stat().st_mtime, manifest.parent))
    for _, folder in sorted(made, reverse=True):
        if not folder.name.startswith("."):
            with suppress(SettingsError):
                return with_every_edit(open_dataset(folder))
    return None


def to_hugging_face(dataset: Dataset) -> "datasets.Dataset":
    """The training rows as a Hugging Face Dataset, with the whole text of each in a column `text`."""
    import datasets as hugging_face

    rows = [row | {"text": f"{row['prompt']} {row['response']}"} for row in dataset.training()]
    return hugging_face.Dataset.from_list(rows)
