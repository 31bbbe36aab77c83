"""What the base says to general questions, kept beside the home's other caches: it depends on the base alone, and to ask again at
each run's start would take two cores twenty seconds. A run keeps those that it is trained on beside its checkpoints, since the
base may say otherwise on the machine on which it goes on.
"""

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.files import home, whole_file
from pipeline.models.language_model import LanguageModel

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the file's form."""


@dataclass
class Kept:
    """A row of general knowledge as the base answers it: token ids.

    Attributes:
        end: the end token, or nothing where the answer was cut off: nobody shall learn to end there.
    """

    prompt: list[int]
    answer: list[int]
    end: list[int]


@dataclass(frozen=True)
class Note:
    """What the base says to a row, and its likeliest tokens at each token of that: both [tokens of the answer, k]."""

    row: Kept
    tokens: Tensor
    shares: Tensor


class BaseNotes:
    """The notes of one base as it is loaded here: `notes.get(row)`, `notes.add(row, note)`, `notes.save()`."""

    def __init__(self, path: Path, of_run: Path | None = None) -> None:
        """
        Args:
            path: where they are kept for all runs.
            of_run: where those are that this run began with, which count most.
        """
        self.path, self.of_run = path, of_run
        self._notes: dict[str, Note] = {}
        self._used: dict[str, Note] = {}
        self._new = False
        for file in (path, of_run):
            with suppress(OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError, RuntimeError):
                self._notes |= _read(file) if file else {}

    @classmethod
    def of(cls, language_model: LanguageModel, asked: str, of_run: Path | None = None) -> "BaseNotes":
        """Another number format or device says some things otherwise, so each has notes of its own.

        Args:
            of_run: as in `BaseNotes`.
            asked: how the base is asked and what is noted of that: what was asked otherwise is no answer.
        """
        name = f"{language_model.base_sha256[:32]}-{language_model.form}-{asked}.safetensors"
        return cls(home() / "cache" / "base_notes" / name, of_run)

    def get(self, row: Kept) -> Note | None:
        """What was noted of a row as it is written."""
        note = self._notes.get(_key(row))
        if note:
            self._used[_key(row)] = note
        return note

    def add(self, row: Kept, note: Note) -> None:
        self._notes[_key(row)] = self._used[_key(row)] = note
        self._new = True

    def save(self) -> None:
        """Write down what is new; a disk without room only costs the next run its time."""
        if self._new:
            _write(self.path, self._notes)
        if self.of_run and self._used and (self._new or not self.of_run.is_file()):
            _write(self.of_run, self._used)


def _write(path: Path, noted: dict[str, Note]) -> None:
    notes = list(noted.values())
    tensors = {
        "tokens": torch.cat([note.tokens for note in notes]).to(torch.int32),
        "shares": torch.cat([note.shares for note in notes]).to(torch.float32),
    }
    rows = [[note.row.prompt, note.row.answer, note.row.end] for note in notes]
    told = {"version": str(VERSION), "keys": json.dumps(list(noted)), "rows": json.dumps(rows)}
    try:
        with whole_file(path) as aside:
            save_file(tensors, aside, metadata=told)
    except (OSError, SafetensorError) as error:
        logger.warning("What the base says could not be kept (%s)", error)


def _key(row: Kept) -> str:
    return hashlib.sha256(json.dumps([row.prompt, row.answer, row.end]).encode()).hexdigest()


def _read(path: Path) -> dict[str, Note]:
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
        if told["version"] != str(VERSION):
            return {}
        tokens, shares = file.get_tensor("tokens").to(torch.long), file.get_tensor("shares")
    rows = [Kept(*row) for row in json.loads(told["rows"])]
    sizes = [len(row.answer) for row in rows]
    parts = zip(rows, tokens.split(sizes), shares.split(sizes), strict=True)
    return {key: Note(*part) for key, part in zip(json.loads(told["keys"]), parts, strict=True)}
