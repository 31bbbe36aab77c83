"""A dataset's rows as the page shows them: filtered, counted, in words."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.dataset.edits import ACCEPTED, EDITED
from pipeline.dataset.examples import HELD_OUT, REJECTED, TRAINED
from pipeline.dataset.store import MANIFEST, Dataset, open_dataset
from pipeline.errors import PipelineError, SettingsError
from pipeline.facts.phrasings import kind_label
from pipeline.files import datasets_dir, home
from pipeline.prompts import GENERAL, REFUSAL
from tabs.dataset.catalogue_view import no_match, short
from tabs.ui.files import stamp
from tabs.ui.table import LazyRows
from tabs.ui.text import count, html, html_of

TITLE, ANSWER = 60, 45
"""Characters of them shown in the table; a picked row shows all."""

SPLITS = {TRAINED: "trained", HELD_OUT: "held out", REJECTED: "rejected"}

IN_CATALOGUE = "catalogue: "
"""Before the reason for which the catalogue's reader skipped a row: there is no row of the dataset then."""


@lru_cache(maxsize=2)
def _pairs(folder: str, _changed: int, _edited: tuple[str, int, int]) -> list[dict[str, Any]]:
    return open_dataset(Path(folder)).rows()


def pairs_of(dataset: Dataset) -> list[dict[str, Any]]:
    """Every row with its split, status and reason (see `Dataset.rows`), read once until something changes them."""
    return _pairs(*_state(dataset.folder))


def _state(folder: Path) -> tuple[str, int, tuple[str, int, int]]:
    edits = home() / "edits.jsonl"
    changed = (folder / MANIFEST).stat().st_mtime_ns
    return str(folder), changed, stamp(edits) if edits.is_file() else ("", 0, 0)


def dataset_named(name: str) -> Dataset:
    """The dataset of that name (looked up among those there are, never made into a path).

    Raises:
        SettingsError: there is none, or it is damaged.
    """
    folder = next((m.parent for m in _manifests() if m.parent.name == name), None)
    if folder is None:
        raise SettingsError(f"There is no dataset {name} any more; generate it again, or choose another.")
    return open_dataset(folder)


def dataset_choices() -> list[tuple[str, str]]:
    """Every whole dataset with what tells it from the others, the newest first."""
    newest = sorted(_manifests(), key=lambda m: m.stat().st_mtime, reverse=True)
    told = [(_dataset_words(*stamp(manifest)), manifest) for manifest in newest]
    return [
        (f"{datetime.fromtimestamp(m.stat().st_mtime):%-d %b %H:%M} · {words}", m.parent.name)
        for words, m in told
        if words
    ]


def _manifests() -> list[Path]:
    return [m for m in datasets_dir().glob("*/" + MANIFEST) if not m.parent.name.startswith(".")]


@lru_cache(maxsize=200)
def _dataset_words(manifest: str, _changed: int, _size: int) -> str:
    """A dataset in a line of a list; nothing for a damaged one."""
    try:
        dataset = open_dataset(Path(manifest).parent)
        counts, settings = dataset.counts, dataset.manifest["settings"]
        numbers = f"{count(counts['products'], 'product')}, {count(counts['training'], 'pair')}"
        return (
            f"{dataset.manifest['catalogue']['name']} · {numbers} · {settings['generator']} · seed {settings['seed']}"
        )
    except (PipelineError, KeyError, TypeError):
        return ""


@dataclass(frozen=True)
class Filters:
    """Which rows a reader wants to see; what is empty lets all through."""

    split: str = ""
    kind: str = ""
    status: str = ""
    reason: str = ""
    words: str = ""

    def passing(self, rows: list[dict[str, Any]]) -> list[int]:
        """The places of the rows that pass."""
        fields = ("split", "kind", "status", "reason")
        exact = [(name, value) for name in fields if (value := getattr(self, name))]
        wanted = self.words.casefold().split()
        found = [place for place, row in enumerate(rows) if all(row[name] == value for name, value in exact)]
        return [place for place in found if not wanted or _holds(rows[place], wanted)]


def _holds(row: dict[str, Any], words: list[str]) -> bool:
    text = f"{row['uid']} {row['title']} {row['question']} {row['response']}".casefold()
    return all(word in text for word in words)


@lru_cache(maxsize=16)
def _chosen(state: tuple[str, int, tuple[str, int, int]], filters: Filters) -> list[int]:
    return filters.passing(_pairs(*state))


def filtered_rows(dataset: Dataset, filters: Filters) -> list[dict[str, Any]]:
    """Those that pass, whole."""
    rows = pairs_of(dataset)
    return [rows[place] for place in _chosen(_state(dataset.folder), filters)]


def fact_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What rows have in common that are phrasings of one question; a general question has one phrasing alone."""
    return row["uid"], row["title"], row["kind"], row["question"] if row["kind"] == GENERAL else ""


@lru_cache(maxsize=16)
def _facts(state: tuple[str, int, tuple[str, int, int]], filters: Filters) -> list[list[int]]:
    """The places of the rows that pass, those of each fact together."""
    rows, facts = _pairs(*state), dict[tuple[str, ...], list[int]]()
    for place in _chosen(state, filters):
        facts.setdefault(fact_of(rows[place]), []).append(place)
    return list(facts.values())


def fact_cells(name: str, filters: Filters) -> LazyRows:
    """The facts of which a row passes, as cells; the last cell is the key of the first such row (see `row_of`)."""
    if not name:
        return LazyRows(0, lambda start, stop: [])
    dataset = dataset_named(name)
    rows, facts = pairs_of(dataset), _facts(_state(dataset.folder), filters)
    return LazyRows(
        len(facts), lambda start, stop: [_cells([rows[p] for p in places], places[0]) for places in facts[start:stop]]
    )


def _cells(phrasings: list[dict[str, Any]], place: int) -> list[str]:
    first = phrasings[0]
    said = short(first["response"], ANSWER)
    if all(row["split"] == REJECTED for row in phrasings):
        said = f"✘ {first['reason']}" + (f" · {said}" if said else "")
    about = first["question"] if first["kind"] == GENERAL else first["title"]
    words = [kind_label(first["kind"]), short(about, TITLE), said, _phrasings_line(phrasings)]
    return [*words, f"{place}-{first['id']}"]


def _phrasings_line(phrasings: list[dict[str, Any]]) -> str:
    """How many phrasings there are of each split, and of them edited."""
    splits = Counter(row["split"] for row in phrasings)
    told = [f"{splits[split]:,} {words}" for split, words in SPLITS.items() if splits[split]]
    edited = sum(row["status"] == EDITED for row in phrasings)
    return " · ".join([*told, f"{edited:,} edited"] if edited else told)


def phrasings_of(dataset: Dataset, key: str) -> list[tuple[str, str]]:
    """Every phrasing of the fact that a row of this key is one of, and its key."""
    rows, fact = pairs_of(dataset), fact_of(row_of(dataset, key))
    marks = {HELD_OUT: "held out · ", REJECTED: "✘ "}
    return [
        (marks.get(row["split"], "") + (row["question"] or "(no question)"), f"{place}-{row['id']}")
        for place, row in enumerate(rows)
        if fact_of(row) == fact
    ]


def row_of(dataset: Dataset, key: str) -> dict[str, Any]:
    """The row of a key: its place among the dataset's rows, which never changes, and its id.

    Raises:
        SettingsError: there is no such row in this dataset.
    """
    place, _, name = key.partition("-")
    rows = pairs_of(dataset)
    if place.isdecimal() and int(place) < len(rows) and rows[int(place)]["id"] == name:
        return rows[int(place)]
    raise SettingsError("This row is not in the dataset that is shown; pick it again.")


def nothing_found(filters: Filters) -> str:
    """What to say where no row passes."""
    if filters.reason.startswith(IN_CATALOGUE):
        return "These were left out before a question was written. The catalogue's own list, at the top, has them."
    if filters.words.strip():
        return no_match(filters.words) + (" with these filters." if _narrow(filters) else ".")
    return "No row passes these filters."


def _narrow(filters: Filters) -> bool:
    return bool(filters.split or filters.kind or filters.status or filters.reason)


def filter_choices(dataset: Dataset) -> dict[str, list[tuple[str, str]]]:
    """The choices of each filter with their counts, as the dataset stands."""
    rows = pairs_of(dataset)
    counted = {name: Counter(row[name] for row in rows) for name in ("split", "status", "kind")}
    kinds = [kind for kind, _ in counted["kind"].most_common()]
    return {
        "split": [("all", ""), *((f"{words} ({counted['split'][s]:,})", s) for s, words in SPLITS.items())],
        "kind": [("every kind", ""), *((f"{kind_label(kind)} ({counted['kind'][kind]:,})", kind) for kind in kinds)],
        "status": [("any", ""), *((f"{s} ({counted['status'][s]:,})", s) for s in (ACCEPTED, EDITED, REJECTED))],
        "reason": [("everything", ""), *_lost(dataset)],
    }


def _lost(dataset: Dataset) -> list[tuple[str, str]]:
    """What each filter lost, the catalogue's first."""
    skipped = dataset.manifest["catalogue"]["skipped"]
    lost = [(f"catalogue: {number:,} × {reason}", IN_CATALOGUE + reason) for reason, number in skipped.items()]
    rejected = dataset.counts.get("rejected", {})
    return lost + [(f"{number:,} × {reason}", reason) for reason, number in rejected.items()]


def dataset_line(dataset: Dataset) -> Markup:
    """What came out, in numbers."""
    c = dataset.counts
    unknown = f"{count(c['unknown_titles'], 'unknown product')} ({count(c['unknown_training'], 'pair')})"
    general = [count(c["general_training"], "pair") + " of general knowledge"] if c.get("general_training") else []
    numbers = [
        count(c["products"], "product"),
        count(c["facts"], "fact"),
        count(c["training"], "training pair"),
        f"{c['held_out']:,} held out",
        unknown,
        *general,
    ]
    return html("<b>{}</b>", html_of(numbers, "</b> · <b>"))


def about_dataset(dataset: Dataset) -> str:
    """What came out: the figures in tiles, whether the test has leaked, and what went in, as HTML."""
    catalogue, settings = dataset.manifest["catalogue"], dataset.manifest["settings"]
    context = "the title with the record" if settings["reading"] else "the title only"
    return html(
        "{}{}{}<p class='small'>From {} · context: {} · questions from {} · seed {}</p>",
        _tiles(dataset),
        leakage_line(dataset),
        Markup("").join(html("<p class='remark'>{}</p>", said) for said in dataset.manifest.get("remarks", ())),
        catalogue["name"],
        context,
        settings["generator"],
        settings["seed"],
    )


def _tiles(dataset: Dataset) -> Markup:
    c = dataset.counts
    others = {
        "silent_training": "about what a record does not say",
        "reverse_training": "that ask for the product",
        "open_book_training": "about a part of a record that stands in the prompt",
        "general_training": "of general knowledge",
    }
    besides = "".join(f", + {c[name]:,} {words}" for name, words in others.items() if c.get(name))
    testing = len(dataset.manifest.get("unknown", {}).get("held_out", ()))
    left_out = sum(c.get("rejected", {}).values())
    tiles = [
        (count(c["products"], "product"), f"taught, with {count(c['facts'], 'fact')}"),
        (count(c["training"], "training pair"), f"about these facts{besides}"),
        (f"{c['held_out']:,} held out", "the same facts in words that are never trained: they test what was learned"),
        (
            count(c["unknown_titles"], "unknown product"),
            f"it learns to answer with “{REFUSAL}” ({count(c['unknown_training'], 'pair')}); {testing:,} others test it",
        ),
        (f"{left_out:,} left out", f"by the filters or by you; {c.get('edited', 0):,} edited"),
    ]
    return html(
        "<div class='tiles' data-products='{}' data-training='{}' data-held-out='{}' data-unknown='{}' data-left-out='{}' "
        "data-edited='{}'>{}</div>",
        c["products"],
        c["training"],
        c["held_out"],
        c["unknown_titles"],
        left_out,
        c.get("edited", 0),
        html_of(html("<div><b>{}</b> <span>{}</span></div>", big, small) for big, small in tiles),
    )


def leakage_line(dataset: Dataset) -> Markup:
    """Whether training shows anything of what tests it, as HTML; nothing for an older dataset, which was not checked."""
    leaks = dataset.manifest.get("leakage")
    if leaks is None:
        return Markup()
    if not any(leaks.values()):
        held_out = count(dataset.counts["held_out"], "held-out question")
        fine = f"No leak: none of the {held_out} is trained, and no title that tests the refusal is."
        return html("<p class='right leak'>✔ {}</p>", fine)
    told = {
        "prompts": "held-out question trained word for word",
        "questions": "held-out question trained about another product or in other letters",
        "unknown_titles": "title that tests the refusal, trained",
    }
    found = "; ".join(f"{leaks[name]:,} × {words}" for name, words in told.items() if leaks.get(name))
    return html(
        "<p class='wrong leak'>⚠ Leak: {}. Held-out scores will look better than they are: edit or reject those.</p>",
        found,
    )
