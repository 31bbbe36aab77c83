"""What a person changed of generated rows: kept apart from every dataset, and laid over each that has the same row.

A row is known by what it was when it was generated: its title, kind, question and response. So a catalogue with another
value, or a question in other words, is another row, while the same one is found again in a dataset of more products, of
another seed, or generated anew after a crash.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.dataset.checks import masked
from pipeline.dataset.examples import GENERAL_EDITED, HELD_OUT, REJECTED, TRAINED
from pipeline.errors import SettingsError
from pipeline.files import append_jsonl, home, read_log
from pipeline.prompts import GENERAL, with_question

EDIT, REJECT, ACCEPT, UNDO, TEACH = "edit", "reject", "accept", "undo", "teach"
"""Other words; not to be used; to be used although a filter rejected it; as it was generated; no generated row but an answer of
the person's own (see `pipeline.dataset.taught`)."""

ACCEPTED, EDITED = "accepted", "edited"
"""What became of a row that is used; one that is not is REJECTED, which is its split too."""

BY_YOU = "rejected by you"

MAX_CHARACTERS = 1_000
"""Of a question or an answer that a person writes."""


@dataclass(frozen=True)
class Edit:
    """One thing that a person says of a row.

    Attributes:
        row: the row's id, see `row_id`.
        uid, title, kind: of what is taught, the product and the kind of fact asked for; empty otherwise.
    """

    row: str
    action: str
    question: str = ""
    response: str = ""
    uid: str = ""
    title: str = ""
    kind: str = ""


_ABOUT = ("uid", "title", "kind")


def row_id(row: Mapping[str, Any]) -> str:
    """Names a generated row wherever it turns up."""
    said = json.dumps([row["title"], row["kind"], row["question"], row["response"]])
    return hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()[:24]


def edits_file() -> Path:
    return home() / "edits.jsonl"


def read_edits() -> dict[str, Edit]:
    """What stands of everything that was said, by row; a line torn by a crash is left out."""
    edits: dict[str, Edit] = {}
    path = edits_file()
    lines = read_log(path) if path.is_file() else ()
    for line in sorted(lines, key=lambda line: str(line.get("time", ""))):  # another machine's were added at the end
        with suppress(KeyError, TypeError):
            about = {name: line[name] for name in _ABOUT if name in line}
            edit = Edit(line["row"], line["action"], line["question"], line["response"], **about)
            if all(isinstance(said, str) for said in vars(edit).values()):
                edits.pop(edit.row, None)  # the last comes last
                edits[edit.row] = edit
    return {name: edit for name, edit in edits.items() if edit.action != UNDO}


def digest_of(edits: Mapping[str, Edit]) -> str:
    """Changes when anything that is said of any row does."""
    stated = sorted(
        (edit.row, edit.action, edit.question, edit.response, *([edit.kind] if edit.action == TEACH else []))
        for edit in edits.values()
    )
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16] if stated else ""


def keep_edit(edit: Edit) -> None:
    """Write it down; a later one about the same row counts."""
    home().mkdir(parents=True, exist_ok=True)
    said = {name: value for name, value in asdict(edit).items() if name not in _ABOUT or edit.action == TEACH}
    append_jsonl(edits_file(), {"time": datetime.now(UTC).isoformat(timespec="seconds"), **said})


def apply_edits(rows: Iterable[dict[str, Any]], edits: Mapping[str, Edit]) -> list[dict[str, Any]]:
    """The rows as they stand, each with its `id` and `status`; edited ones keep their first words as `original`.

    Of rows that say the same, an edit changes the first: the others are repeats, and were rejected as such.
    """
    seen: set[str] = set()
    applied = []
    for row in rows:
        name = row_id(row)
        repeat = row["split"] == REJECTED and name in seen
        applied.append(_applied(row, name, None if repeat else edits.get(name)))
        seen.add(name)
    return applied


def _applied(row: dict[str, Any], name: str, edit: Edit | None) -> dict[str, Any]:
    status = REJECTED if row["split"] == REJECTED else ACCEPTED
    row = row | {"id": name, "status": status}
    if edit is None:
        return row
    if edit.action == REJECT:
        return row | {"split": REJECTED, "status": REJECTED, "reason": BY_YOU, "generated_in": row["split"]}
    used = row if row["split"] != REJECTED else row | {"split": TRAINED, "reason": ""}
    if edit.action == ACCEPT:
        return used | {"status": ACCEPTED}
    original = {"question": row["question"], "response": row["response"]}
    changed = {
        "question": edit.question,
        "response": edit.response,
        "prompt": with_question(used["prompt"], edit.question),
    }
    if row["kind"] == GENERAL:
        changed["template"] = GENERAL_EDITED
    return used | changed | {"status": EDITED, "original": original}


def check_edit(edit: Edit, rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse what would spoil the dataset.

    Args:
        rows: the dataset's, as they stand.

    Raises:
        SettingsError: the row is not there, its new words are empty or too long, or are asked in the other split.
    """
    rows = list(rows)
    row = next((r for r in rows if r["id"] == edit.row), None)
    if row is None:
        raise SettingsError("This row is no longer in the dataset; pick it again.")
    if edit.action == ACCEPT and not (row["question"] and row["response"]):
        raise SettingsError("A rejected fact has no question to teach; only questions can be taken after all.")
    if edit.action == EDIT:
        _check_words(edit)
    if edit.action != REJECT:
        _check_leak(edit, row, rows)


def _check_words(edit: Edit) -> None:
    for name, text in (("question", edit.question), ("answer", edit.response)):
        if not text.strip():
            raise SettingsError(f"The {name} is empty; type one, or reject the row instead.")
        if len(text) > MAX_CHARACTERS:
            raise SettingsError(f"The {name} has {len(text):,} characters and the most is {MAX_CHARACTERS:,}.")


def _check_leak(edit: Edit, row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Whatever is taken, taken back or typed must not be asked in the other split."""
    question = edit.question if edit.action == EDIT else row.get("original", row)["question"]
    # Without the edit a row is where it was generated; a rejected one that is taken is trained.
    where = row.get("generated_in", row["split"])
    other = TRAINED if where == HELD_OUT else HELD_OUT
    said = row["kind"], masked(question, row["title"])
    if any(r["split"] == other and (r["kind"], masked(r["question"], r["title"])) == said for r in rows):
        raise SettingsError(
            "The same question is asked in the other split, so the answer would be leaked; put it in other words."
        )
