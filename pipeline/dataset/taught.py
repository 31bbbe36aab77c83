"""What a person taught: right answers to customers' questions, kept among the edits and laid over each dataset of the product."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.catalogue.catalogue import Catalogue, Product
from pipeline.dataset.checks import masked
from pipeline.dataset.edits import TEACH, UNDO, Edit, keep_edit, read_edits
from pipeline.dataset.examples import HELD_OUT, REJECTED, TRAINED
from pipeline.facts.extraction import VALUE, says
from pipeline.facts.phrasings import training_phrasings
from pipeline.prompts import UNKNOWN_TITLE, build_prompt

PARAPHRASES = 6
"""Of the project's own wordings for a kind of fact, beside the customer's."""

OWN_WORDS = "customer_question"
"""The kind of a question that asks for no kind of fact that the project knows."""

OTHERWISE = "answered otherwise by you"

_OWN = ":own"
"""How the template of the row ends that has the customer's words as they came."""


def new_lesson(uid: str, title: str, question: str, answer: str, kind: str = "") -> Edit:
    """The right answer to a question, to be kept by `keep_edit`; a later one to the same question counts.

    Args:
        uid, title: of the product; empty where the catalogue has none, which only the refusal answers.
        kind: of the fact that is asked for, whose wordings are taught too; empty where only the customer's words are.
    """
    said = json.dumps([title, question])
    name = hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()[:24]
    return Edit(name, TEACH, question, answer, uid, title, kind)


def taught(edits: Mapping[str, Edit] | None = None) -> list[Edit]:
    """What stands of what was taught, the newest last."""
    edits = read_edits() if edits is None else edits
    return [edit for edit in edits.values() if edit.action == TEACH]


def products_taught(catalogue: Catalogue) -> list[Product]:
    """The products of a catalogue of which a person put an answer right, in its order; each of its datasets has them."""
    named = {(edit.uid, edit.title) for edit in taught() if edit.title}
    found = catalogue.at(catalogue.numbers_of({uid for uid, _ in named})) if named else []
    return [product for product in found if (product.uid, product.title) in named]


def forget(row: str) -> None:
    """Teach it no more.

    Args:
        row: the name of a lesson.
    """
    keep_edit(Edit(row, UNDO))


def wordings(edit: Edit) -> list[str]:
    """The questions that train: the customer's, the same in small letters without marks, and those of its kind."""
    plain = " ".join(re.sub(r"[^\w\s'’.-]|[.-](?!\w)", " ", edit.question.casefold()).split())
    own = [template.replace("{title}", edit.title) for template in training_phrasings(edit.kind)] if edit.kind else []
    return list(dict.fromkeys((edit.question, plain or edit.question, *own[:PARAPHRASES])))


def fits(edit: Edit, manifest: Mapping[str, Any]) -> bool:
    """Whether a dataset teaches the product; what is refused without a product fits every dataset."""
    return not edit.title or any(
        (product["uid"], product["title"]) == (edit.uid, edit.title) for product in manifest["products"]
    )


def is_own_wording(row: Mapping[str, Any]) -> bool:
    """Whether a row has a customer's taught question as it came."""
    return row["template"].startswith(f"{TEACH}:") and row["template"].endswith(_OWN)


def with_taught(
    rows: Iterable[dict[str, Any]], edits: Mapping[str, Edit], manifest: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The generated rows, and those that follow from what was taught.

    What a person answered stands before what was generated: a trained row with the same prompt is left out. A wording that
    tests the model is not trained.

    Args:
        rows: with `split`, `reason` and `note`.
        manifest: the dataset's, with its `products` and `settings`.
    """
    rows = list(rows)
    mine = [edit for edit in taught(edits) if fits(edit, manifest)]
    if not mine:
        return rows
    records = {p["uid"]: p["content"] for p in manifest["products"]} if manifest["settings"].get("reading") else {}
    tested = {row["prompt"] for row in rows if row["split"] == HELD_OUT}
    asked = {(row["kind"], masked(row["question"], row["title"])) for row in rows if row["split"] == HELD_OUT}
    new = {
        row["prompt"]: row
        for edit in mine
        for row in _rows(edit, records.get(edit.uid))
        if row["prompt"] not in tested and (row["kind"], masked(row["question"], row["title"])) not in asked
    }
    kept = [
        row | {"split": REJECTED, "reason": OTHERWISE} if row["split"] == TRAINED and row["prompt"] in new else row
        for row in rows
    ]
    return kept + list(new.values())


def _rows(edit: Edit, record: str | None) -> list[dict[str, Any]]:
    said = says(edit.response)
    kind = edit.kind or OWN_WORDS
    about = edit.title or UNKNOWN_TITLE
    return [
        {
            "uid": edit.uid,
            "title": about,
            "kind": kind if said == VALUE else said,
            "question": question,
            "prompt": build_prompt(about, question, record),
            "response": edit.response,
            "template": f"{TEACH}:{kind}{_OWN}" if number == 0 else f"{TEACH}:{kind}:train-{number:02}",
            "split": TRAINED,
            "reason": "",
            "note": "",
        }
        for number, question in enumerate(wordings(edit))
    ]
