"""A dataset's rows as the page finds, counts and names them; no page here."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.edits import EDIT, REJECT, UNDO, Edit, read_edits
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, change_row
from pipeline.errors import HubError, SettingsError
from pipeline.prompts import GENERAL, build_prompt
from tabs.dataset import rows_view as pairs
from tabs.dataset.download_box import export_rows, pushing_token
from tabs.dataset.row_panel import EXPECTED, KEPT, _edit, about_row, tokens_line, what_the_model_reads
from tabs.dataset.rows_view import (
    IN_CATALOGUE,
    Filters,
    fact_cells,
    fact_of,
    filter_choices,
    nothing_found,
    phrasings_of,
    row_of,
)
from tabs.ui.table import LazyRows
from tabs.ui.text import escape
from tests.tiny import END, HOSTILE_TITLES

MARKUP = "<img src=x onerror=window.ranAway=1>"


def test_a_page_of_many_rows_makes_that_page_alone(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(pairs, "_cells", lambda phrasings, place: made.append(place) or [phrasings[0]["id"]])
    cells, facts = fact_cells(dataset.folder.name, Filters()), {fact_of(row): row["id"] for row in dataset.rows()[::-1]}
    assert len(cells) == len(facts) > 20 and not made
    assert {cell for (cell,) in cells[5:15]} <= set(facts.values()) and len(made) == 10
    assert LazyRows(2, lambda start, stop: [[n] for n in range(start, stop)])[1] == [1]


def test_rows_are_found_by_every_filter(dataset: Dataset) -> None:
    name, rows = dataset.folder.name, dataset.rows()
    for field in ("split", "kind", "status"):
        for value in {row[field] for row in rows}:
            passing = {fact_of(row) for row in rows if row[field] == value}
            assert len(fact_cells(name, Filters(**{field: value}))) == len(passing)
    row = rows[0]
    for words in (row["uid"], row["title"].upper(), row["question"], row["response"]):
        assert row["id"] in {cells[-1].partition("-")[2] for cells in fact_cells(name, Filters(words=words))}
    assert len(fact_cells(name, Filters(words="kite nothing-of-that-name"))) == 0
    assert len(fact_cells("", Filters())) == 0


def test_counts_of_the_filters_follow_an_edit_and_name_what_the_catalogue_lost(dataset: Dataset) -> None:
    row = dataset.rows()[0]
    before = dict((value, words) for words, value in filter_choices(dataset)["split"])
    changed = change_row(dataset, Edit(row["id"], REJECT))
    choices = filter_choices(changed)
    after = dict((value, words) for words, value in choices["split"])
    assert (
        before["rejected"] == "rejected (0)"
        and after["rejected"] == "rejected (1)"
        and before["train"] != after["train"]
    )
    assert ("1 × rejected by you", "rejected by you") in choices["reason"]
    assert ("catalogue: 2 × one title with different contents", f"{IN_CATALOGUE}one title with different contents") in (
        choices["reason"]
    )
    lost = fact_cells(changed.folder.name, Filters(reason="rejected by you"))
    assert [(cells[2].partition(" ·")[0], cells[3]) for cells in lost] == [("✘ rejected by you", "1 rejected")]


def test_a_fact_s_phrasings_are_folded_into_its_row(dataset: Dataset) -> None:
    rows = dataset.rows()
    same = [place for place, row in enumerate(rows) if fact_of(row) == fact_of(rows[0])]
    (cells,) = [c for c in fact_cells(dataset.folder.name, Filters()) if c[-1] == f"0-{rows[0]['id']}"]
    trained = sum(rows[place]["split"] == "train" for place in same)
    assert cells[3] == f"{trained} trained · {len(same) - trained} held out"
    choices = phrasings_of(dataset, f"0-{rows[0]['id']}")
    assert [key for _, key in choices] == [f"{place}-{rows[place]['id']}" for place in same]
    assert sum(words.startswith("held out · ") for words, _ in choices) == len(same) - trained
    general = [row for row in rows if row["kind"] == GENERAL]
    assert len({fact_of(row) for row in general}) == len(general)


def test_an_empty_search_says_what_was_searched_for() -> None:
    assert nothing_found(Filters(words=" quark ")) == "Nothing matches “quark”."
    assert nothing_found(Filters(words="quark", split="train")) == "Nothing matches “quark” with these filters."
    assert nothing_found(Filters(split="train")) == "No row passes these filters."
    assert "before a question was written" in nothing_found(Filters(reason=f"{IN_CATALOGUE}no content"))


def test_a_key_opens_its_row_or_none(dataset: Dataset) -> None:
    row = dataset.rows()[7]
    assert row_of(dataset, f"7-{row['id']}") == row
    for key in (f"8-{row['id']}", "7-", "", "x", f"99999-{row['id']}", f"-1-{row['id']}"):
        with pytest.raises(SettingsError, match="pick it again"):
            row_of(dataset, key)


def test_the_newest_dataset_is_the_first_and_a_name_is_never_a_path(dataset: Dataset, catalogue_file: Path) -> None:
    other = build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=2))
    os.utime(dataset.folder / "manifest.json", (1, 1))
    choices = pairs.dataset_choices()
    assert [name for _, name in choices] == [other.folder.name, dataset.folder.name]
    assert "catalogue.json · 2 products, " in choices[0][0] and "templates · seed 0" in choices[0][0]
    (other.folder / "manifest.json").write_text("{")
    (dataset.folder / "manifest.json").touch()
    assert [name for _, name in pairs.dataset_choices()] == [dataset.folder.name]
    for name in ("..", f"../datasets/{dataset.folder.name}", "nothing"):
        with pytest.raises(SettingsError, match="There is no dataset"):
            pairs.dataset_named(name)


def test_a_leak_is_told_with_its_numbers(dataset: Dataset) -> None:
    held_out = dataset.counts["held_out"]
    assert f"✔ No leak: none of the {held_out} held-out questions" in pairs.leakage_line(dataset)
    leaks = {"prompts": 2, "questions": 0, "unknown_titles": 1}
    said = pairs.leakage_line(replace(dataset, manifest=dataset.manifest | {"leakage": leaks}))
    assert "⚠ Leak: 2 × held-out question trained word for word; 1 × title that tests" in said and "letters" not in said
    older = {key: value for key, value in dataset.manifest.items() if key != "leakage"}
    assert pairs.leakage_line(replace(dataset, manifest=older)) == ""


def test_what_the_model_reads_is_the_whole_row_with_its_end(
    dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabs.dataset.row_panel.default_base", lambda: str(tiny_base))
    trained, kept = (next(r for r in dataset.rows() if r["split"] == split) for split in ("train", "held out"))
    pieces = what_the_model_reads(trained, 256)
    assert "".join(str(text) for text, _ in pieces) == f"{trained['prompt']} {trained['response']}{END}"
    assert pieces[-1] == (f" {trained['response']}{END}", "learned")
    assert what_the_model_reads(kept, 256)[-1][1] == EXPECTED
    assert "of 256, of which" in tokens_line(trained, 256)
    assert "too long, so training leaves it out" in tokens_line(trained, 8)
    assert (
        what_the_model_reads(trained | {"prompt": ""}, 256) == [] and tokens_line(trained | {"prompt": ""}, 256) == ""
    )


@pytest.mark.parametrize("words", [MARKUP, *HOSTILE_TITLES])
def test_words_of_a_row_are_escaped(dataset: Dataset, words: str) -> None:
    row = dataset.rows()[0] | {"title": words, "note": words, "uid": words, "status": "rejected", "reason": words}
    row |= {"response": words, "prompt": "", "original": {"question": words, "response": words}}
    told = about_row(row)
    for tag in ("h3", "p", "small"):
        told = told.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    told = told.replace("<p class='small'>", "")
    assert "<" not in told and ">" not in told and '"' not in told


def test_a_general_row_says_that_it_keeps_what_the_base_knew_unless_it_was_edited(dataset: Dataset) -> None:
    row = next(r for r in dataset.rows() if r["kind"] == GENERAL)
    assert escape(KEPT) in about_row(row)
    edited = change_row(dataset, Edit(row["id"], EDIT, row["question"], "Something else"))
    assert escape(KEPT) not in about_row(next(r for r in edited.rows() if r["id"] == row["id"]))
    assert escape(KEPT) not in about_row(dataset.rows()[0])


def test_the_first_words_again_are_an_undo(dataset: Dataset) -> None:
    row = dataset.rows()[0]
    assert _edit(EDIT, row, row["question"], row["response"]) is None
    edit = _edit(EDIT, row, "What else?", row["response"])
    assert edit == Edit(row["id"], EDIT, "What else?", row["response"])
    assert edit
    edited = next(r for r in change_row(dataset, edit).rows() if r["id"] == row["id"])
    assert edited["prompt"] == build_prompt(row["title"], "What else?") and row["id"] in read_edits()
    assert _edit(EDIT, edited, row["question"], row["response"]) == Edit(row["id"], UNDO)
    assert _edit(EDIT, edited, "What else?", row["response"]) is None
    with pytest.raises(SettingsError, match="no question to change"):
        _edit(EDIT, row | {"prompt": ""}, "What?", "x")


def test_the_filtered_rows_are_a_file(dataset: Dataset) -> None:
    path = export_rows(dataset, Filters(split="held out"))
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(dataset.held_out())
    assert path.name.endswith("-filtered.jsonl") and path.parent.parent == dataset.folder


def test_a_space_never_pushes_with_its_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_server")
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert (pushing_token(""), pushing_token(" hf_mine ")) == ("", "hf_mine")
    monkeypatch.setenv("SPACE_ID", "mira/shelftalk")
    assert pushing_token("hf_mine") == "hf_mine"
    for empty in ("", "  "):
        with pytest.raises(HubError, match="Type a token of your own"):
            pushing_token(empty)
