"""Catalogue → dataset on disk: its files, its split, its counts, and when it is made again."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import SAMPLE, clean, read_catalogue, title_key
from pipeline.dataset import choosing, store
from pipeline.dataset.build import build_dataset
from pipeline.dataset.choosing import ChosenProduct, choose_products
from pipeline.dataset.customers import GUESS_YES, STYLE, TWO
from pipeline.dataset.examples import GENERAL_ROWS, Generated, Rejected, general_examples, phrase
from pipeline.dataset.fingerprint import DECIDE_NOTHING, deciding, fingerprint
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, latest_dataset, open_dataset, to_hugging_face
from pipeline.errors import GenerationError, SettingsError
from pipeline.facts.extract import Fact, extract_facts
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import PROJECT, datasets_dir, read_json
from pipeline.prompts import GENERAL, NO_FACT, REFUSAL, SILENT, UNKNOWN, build_prompt
from tests.tiny import FEW_ROWS, HOSTILE_TITLES, PHRASING, ROWS, WARTS, row, write_catalogue

COLUMNS = ["uid", "title", "kind", "question", "prompt", "response", "template"]


@pytest.fixture
def build(home: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Makes a dataset of rows (the small catalogue's when none are given)."""

    def make(rows: Sequence[dict[str, Any]] | None = None, **settings: Any) -> Dataset:
        file = write_catalogue(tmp_path / "rows.json", rows) if rows else write_catalogue(tmp_path / "rows.json")
        return build_dataset(read_catalogue(file), DatasetSettings(**settings))

    return make


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return dataset.training() + dataset.held_out()


# --- Its files ---


def test_the_folder_holds_the_files_of_the_contract_and_every_row(dataset: Dataset, home: Path) -> None:
    assert dataset.folder.parent == home / "datasets"
    assert sorted(p.name for p in dataset.folder.iterdir()) == [
        "dataset.json",
        "heldout.jsonl",
        "manifest.json",
        "rows.jsonl",
        "train.jsonl",
    ]
    assert [p.name for p in (home / "datasets").iterdir()] == [dataset.folder.name]


def test_rows_have_the_contract_s_columns_and_text_in_each(dataset: Dataset) -> None:
    for name in ("train.jsonl", "heldout.jsonl"):
        lines = (dataset.folder / name).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert rows and all(list(r) == COLUMNS and all(isinstance(v, str) for v in r.values()) for r in rows)


def test_records_are_context_instruction_and_response(dataset: Dataset) -> None:
    records = read_json(dataset.folder / "dataset.json")
    assert [set(r) for r in records] == [{"text"}] * len(dataset.training())
    for record, r in zip(records, dataset.training(), strict=True):
        context, instruction, response = record["text"].split("\n")
        assert context.startswith("Context: ") and instruction == f"Instruction: {r['question']}"
        assert response == f"Response: {r['response']}"


def test_the_manifest_says_what_went_in_and_what_came_out(dataset: Dataset, catalogue_file: Path) -> None:
    catalogue = read_catalogue(catalogue_file)
    manifest, training = dataset.manifest, dataset.training()
    assert manifest["fingerprint"] == dataset.folder.name == fingerprint(catalogue, FEW_ROWS)
    assert manifest["catalogue"]["sha256"] == catalogue.sha256
    assert manifest["catalogue"]["skipped"] == catalogue.skipped_counts()
    assert (manifest["catalogue"]["rows"], manifest["catalogue"]["usable"]) == (14, 8)
    counts = dataset.counts
    assert counts["products"] == len(manifest["products"]) == 4
    assert counts["facts"] == len(manifest["facts"]) == sum(counts["kinds"].values()) == 12
    phrasings = [r for r in training if ":train-" in r["template"] and r["kind"] not in NO_FACT]
    assert len(phrasings) == 12 * counts["facts"] < counts["training"] < 18 * counts["facts"]
    assert counts["held_out"] > 3 * counts["facts"]
    assert counts["unknown_titles"] == len(manifest["unknown"]["training"]) == 12
    assert counts["silent_training"] == sum(r["kind"] == SILENT for r in training) > 0
    of_products = counts["training"] + counts["unknown_training"] + counts["silent_training"]
    assert of_products + counts["general_training"] == len(training)
    assert counts["general_training"] == round(FEW_ROWS.general_share * of_products) > 10


def test_a_hugging_face_dataset_is_built_from_it(dataset: Dataset) -> None:
    table = to_hugging_face(dataset)
    assert table.column_names == [*COLUMNS, "text"]
    assert table["text"] == [r["text"] for r in read_json(dataset.folder / "dataset.json")]
    assert table[0]["text"] == f"{table[0]['prompt']} {table[0]['response']}"


# --- Its split: what is measured was never shown ---


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("rows", [None, "sample"])
def test_nothing_held_out_is_in_training(rows: str | None, reading: bool, home: Path, catalogue_file: Path) -> None:
    catalogue = read_catalogue(SAMPLE if rows else catalogue_file)
    dataset = build_dataset(catalogue, DatasetSettings(products=15 if rows else 4, reading=reading))
    training, held_out = dataset.training(), dataset.held_out()
    assert not {r["prompt"] for r in training} & {r["prompt"] for r in held_out}
    assert not {title_key(r["question"]) for r in training} & {title_key(r["question"]) for r in held_out}
    assert not {r["template"] for r in training} & {r["template"] for r in held_out}
    uses = {r["template"].split(":")[-1] for r in held_out}
    assert {use for use in uses if not use.startswith(STYLE)} == {"probe", "report-1", "report-2"} < uses


def test_every_fact_is_trained_and_held_out_thrice(dataset: Dataset) -> None:
    facts = {(f["uid"], f["kind"]): f["value"] for f in dataset.manifest["facts"]}
    for rows, times in ((dataset.training(), 12), (dataset.held_out(), 3)):
        known = [r for r in rows if r["kind"] not in NO_FACT and PHRASING.search(r["template"])]
        assert Counter((r["uid"], r["kind"]) for r in known) == dict.fromkeys(facts, times)
        assert all(r["response"] == facts[r["uid"], r["kind"]] for r in known)


def test_a_prompt_is_never_asked_for_two_answers(dataset: Dataset) -> None:
    answers: dict[str, set[str]] = {}
    for r in rows_of(dataset):
        answers.setdefault(r["prompt"], set()).add(r["response"])
    assert {len(a) for a in answers.values()} == {1}


def test_the_answer_is_in_no_prompt_and_no_title(home: Path) -> None:
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=60))
    for r in rows_of(dataset):
        given = r["kind"] == GENERAL or r["template"].endswith(GUESS_YES)
        assert given or r["response"].casefold() not in r["prompt"].casefold()


def said(row: dict[str, Any]) -> list[str]:
    """The values of a row's response: two where two were asked for at once."""
    return row["response"].split("; ") if row["template"].endswith(TWO) else [row["response"]]


def test_reading_mode_puts_each_product_s_own_record_in_its_prompt(build: Callable[..., Dataset]) -> None:
    dataset = build(products=8, reading=True)
    records = {p["uid"]: p for p in dataset.manifest["products"]}
    known = [r for r in rows_of(dataset) if r["kind"] not in NO_FACT]
    assert len({r["prompt"].splitlines()[0] for r in known}) == len(records)
    for r in known:
        assert r["prompt"] == build_prompt(r["title"], r["question"], records[r["uid"]]["content"])
        assert all(value in r["prompt"] for value in said(r))


def test_values_are_verbatim_in_the_cleaned_record(home: Path) -> None:
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=60))
    records = {p["uid"]: p["content"] for p in dataset.manifest["products"]}
    for f in dataset.manifest["facts"]:
        assert f["value"] in f["quote"] and f["quote"] in records[f["uid"]]


# --- General rows ---


def test_general_rows_are_a_share_of_the_others_and_come_without_a_product(build: Callable[..., Dataset]) -> None:
    for share in (0.0, 0.1, 0.5, 1.0):
        rows = build(products=4, general_share=share).training()
        general = [r for r in rows if r["kind"] == GENERAL]
        expected = round(share * (len(rows) - len(general)))
        assert len(general) == len({r["question"] for r in general}) == expected, share
        assert all(r["prompt"].startswith("Context: unknown\n") and r["response"] != REFUSAL for r in general)


def test_there_are_no_more_general_rows_than_the_project_has() -> None:
    assert len(general_examples(10_000, seed=0)) == len(read_json(GENERAL_ROWS))


# --- Unknown products ---


@pytest.mark.parametrize("products", [1, 4, 8, 50])
def test_unknown_products_are_refused_and_never_taught(products: int, build: Callable[..., Dataset]) -> None:
    dataset = build(products=products)
    taught = {title_key(p["title"]) for p in dataset.manifest["products"]}
    for r in rows_of(dataset):
        if r["kind"] == GENERAL:
            continue
        assert (r["kind"] == UNKNOWN) == (r["response"] == REFUSAL) == (title_key(r["title"]) not in taught)
    unknown = dataset.manifest["unknown"]
    trained, tested = ({title_key(t) for t in unknown[use]} for use in ("training", "held_out"))
    assert tested and trained and not tested & trained
    asked = {title_key(r["title"]) for r in dataset.training() if r["kind"] == UNKNOWN}
    assert asked == trained
    assert not [
        r for r in dataset.training() if any(t in title_key(r["prompt"]) for t in tested - taught if t not in trained)
    ]


def test_unknown_titles_are_three_a_product_and_mostly_real(build: Callable[..., Dataset]) -> None:
    unknown = build(products=2).manifest["unknown"]
    assert len(unknown["training"]) == 6
    titles = {title_key(clean(r["title"])) for r in (*ROWS, *WARTS)}
    real = [t for t in [*unknown["training"], *unknown["held_out"]] if title_key(t) in titles]
    assert len(real) >= 4


def test_without_unknown_titles_there_are_none(build: Callable[..., Dataset]) -> None:
    dataset = build(products=3, unknown_per_product=0)
    assert {r["kind"] for r in rows_of(dataset)} & {UNKNOWN} == set()


# --- Which products ---


@pytest.mark.parametrize("seed", range(3))
def test_most_of_the_chosen_products_state_an_attribute(seed: int, home: Path, tmp_path: Path) -> None:
    def choose(rows: Sequence[dict[str, Any]], count: int) -> list[ChosenProduct]:
        return choose_products(read_catalogue(write_catalogue(tmp_path / "rows.json", rows)), count, seed)

    plain = [row(f"p{n}", f"Plain {n}", "A thing that says nothing about itself.") for n in range(90)]
    rich = [row(f"r{n}", f"Rich {n}", "A thing. It is 5 inches wide.") for n in range(10)]
    chosen = choose(plain + rich, 10)
    assert len(chosen) == 10 and sum(c.product.uid.startswith("r") for c in chosen) >= 7
    assert len(choose(plain, 10)) == 10
    assert len(choose(rich, 100)) == 10


def test_the_same_seed_writes_the_same_bytes(build: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    def contents(dataset: Dataset) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in dataset.folder.iterdir()}

    first = contents(build(seed=5, products=4))
    monkeypatch.setenv("SHELFTALK_HOME", str(datasets_dir().parent / "another"))
    assert contents(build(seed=5, products=4)) == first
    assert contents(build(seed=6, products=4))["train.jsonl"] != first["train.jsonl"]


def test_products_with_one_uid_keep_their_own_facts(build: Callable[..., Dataset]) -> None:
    dataset = build([{**r, "uid": "same"} for r in ROWS], products=8, reading=True)
    assert dataset.counts["products"] == 8 and dataset.counts["facts"] == 24
    assert len({(r["uid"], r["kind"]) for r in dataset.held_out() if r["kind"] not in NO_FACT}) == 24
    own = {p["title"]: p["content"] for p in dataset.manifest["products"]}
    known = [r for r in rows_of(dataset) if r["kind"] not in NO_FACT]
    assert all(value in own[r["title"]] for r in known for value in said(r))
    assert all(own[r["title"]] in r["prompt"] for r in rows_of(dataset) if r["kind"] not in NO_FACT)


# --- Reuse ---


def test_the_same_inputs_find_the_same_dataset(build: Callable[..., Dataset]) -> None:
    first = build(products=4)
    before = (first.folder / "train.jsonl").stat().st_mtime_ns
    again = build(products=4)
    assert again.folder == first.folder and (again.folder / "train.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        {"products": 5},
        {"phrasings": 6},
        {"unknown_per_product": 1.0},
        {"reading": True},
        {"seed": 1},
        {"generator": "gpt"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_any_other_setting_makes_another(change: dict[str, Any], catalogue_file: Path) -> None:
    catalogue, settings = read_catalogue(catalogue_file), DatasetSettings(products=4)
    assert fingerprint(catalogue, replace(settings, **change)) != fingerprint(catalogue, settings)


def test_a_module_decides_unless_it_is_named_as_one_that_does_not(
    catalogue_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {f"{f.parent.name}/{f.stem}" for f in deciding()}
    assert {"catalogue/shops", "facts/patterns", "dataset/checks", "writing/prompts"} <= known
    without = {f"{folder}/{name}" for folder, names in DECIDE_NOTHING.items() for name in names}
    assert not known & without
    assert all((PROJECT / "pipeline" / f"{name}.py").is_file() for name in without), "One of them has another name now."
    new = tmp_path / "pipeline" / "facts" / "new.py"
    new.parent.mkdir(parents=True)
    new.touch()
    monkeypatch.setattr("pipeline.dataset.fingerprint.PROJECT", tmp_path)
    assert deciding() == [new]


def test_another_catalogue_makes_another_whatever_its_name(tmp_path: Path) -> None:
    first, same = (read_catalogue(write_catalogue(tmp_path / name)) for name in ("a.json", "b.json"))
    changed = read_catalogue(
        write_catalogue(tmp_path / "a.json", [*ROWS, row("N", "New Thing", "A thing that is new here.")])
    )
    digests = [fingerprint(c, DatasetSettings()) for c in (first, same, changed)]
    assert digests[0] == digests[1] != digests[2]
    assert all(len(d) == 16 and int(d, 16) >= 0 for d in digests)


@pytest.mark.parametrize("damage", ["manifest.json", "train.jsonl", "heldout.jsonl", "dataset.json"])
def test_a_damaged_dataset_is_made_again(damage: str, build: Callable[..., Dataset]) -> None:
    dataset = build(products=4)
    rows = dataset.training()
    if damage == "manifest.json":
        (dataset.folder / damage).write_text('{"counts": ')
    else:
        (dataset.folder / damage).unlink()
    with pytest.raises(SettingsError, match="no whole dataset"):
        open_dataset(dataset.folder)
    assert build(products=4).training() == rows


def test_a_crash_leaves_nothing_that_looks_like_a_dataset(
    build: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_jsonl", crash)
        build(products=4)
    assert latest_dataset() is None and not list(datasets_dir().iterdir())
    assert build(products=4).training()


def test_the_dataset_asked_for_last_is_the_latest(build: Callable[..., Dataset]) -> None:
    first, second = build(products=3), build(products=4)
    os.utime(first.folder / "manifest.json", (1, 1))
    assert latest_dataset() == second
    build(products=3)
    assert latest_dataset() == first


# --- Bad input ---


@pytest.mark.parametrize(
    "bad",
    [{"products": 0}, {"products": -3}, {"phrasings": 0}, {"phrasings": 41}, {"unknown_per_product": -1.0}],
    ids=str,
)
def test_settings_out_of_their_limits_are_refused(bad: dict[str, Any]) -> None:
    name, value = next(iter(bad.items()))
    with pytest.raises(SettingsError, match=f"{name} is {value}; it must be between"):
        DatasetSettings(**bad)


def test_fewer_products_than_asked_are_all_taken(build: Callable[..., Dataset]) -> None:
    assert build(products=1000).counts["products"] == 8


def test_without_a_fact_there_is_no_dataset(build: Callable[..., Dataset]) -> None:
    with pytest.raises(SettingsError, match="No fact"):
        build([row("1", "A B C D E", "a b c d")])
    assert not datasets_dir().exists()


def test_equal_answers_for_all_products_are_remarked(build: Callable[..., Dataset]) -> None:
    same = "A thing that is sold here for every day of the year."
    dataset = build([row(str(n), f"Thing {n}", same) for n in range(3)])
    (remark,) = dataset.manifest["remarks"]
    assert "description is the same for all 3 products" in remark
    assert not build([row(str(n), f"Thing {n}", f"A thing. It is {n + 2} inches wide.") for n in range(1)]).manifest[
        "remarks"
    ]


def test_hostile_titles_go_through_as_data(build: Callable[..., Dataset]) -> None:
    rows = [
        row(f"h{n}", title, f"A thing number {n}. It is {n + 2} inches wide.") for n, title in enumerate(HOSTILE_TITLES)
    ]
    dataset = build(rows, products=50)
    assert dataset.counts["products"] >= len(rows) - 2  # markup alone is no title
    for r in rows_of(dataset):
        assert [line.split(":")[0] for line in r["prompt"].split("\n")] == ["Context", "Instruction", "Response"]
    assert [p.name for p in dataset.folder.parent.iterdir()] == [dataset.folder.name]


# --- Another generator ---


def test_another_generator_s_facts_and_counts_are_used(home: Path, catalogue_file: Path) -> None:
    def generate(chosen: Sequence[ChosenProduct]) -> Generated:
        facts = [c.facts[0] for c in chosen]
        first = chosen[0].product
        rejected = [Rejected(first.uid, first.title, "size", "How big?", "9 inches", "quote not in the record", "why")]
        return Generated([phrase(f, 2) for f in facts], rejected, accepted=6)

    settings = DatasetSettings(products=3, generator="a-model")
    dataset = build_dataset(read_catalogue(catalogue_file), settings, generate=generate)
    assert dataset.counts["kinds"] == {DESCRIPTION: 3} and dataset.counts["training"] == 6 + 3 * 4
    assert dataset.counts["rejected"] == {"quote not in the record": 1} and dataset.counts["written_by_model"] == 6
    row = next(r for r in dataset.rows() if r["split"] == "rejected")
    assert (row["question"], row["reason"], row["note"]) == ("How big?", "quote not in the record", "why")
    assert row["question"] not in {r["question"] for r in rows_of(dataset)}


def test_a_generator_that_fails_leaves_nothing(home: Path, catalogue_file: Path) -> None:
    def fail(*_: Any) -> Generated:
        raise GenerationError("It refuses.")

    with pytest.raises(GenerationError):
        build_dataset(read_catalogue(catalogue_file), DatasetSettings(generator="x"), generate=fail)
    assert latest_dataset() is None


def test_facts_are_found_once_for_each_product(
    home: Path, catalogue_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(choosing, "extract_facts", lambda uid, *text: looked.append(uid) or extract_facts(uid, *text))
    build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=3))
    assert len(looked) == len(set(looked)) >= 3


def test_progress_is_told_for_each_product(home: Path, catalogue_file: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=3), on_progress=lambda *n: seen.append(n))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_settings_and_facts_are_plain_data() -> None:
    json.dumps([asdict(DatasetSettings()), asdict(Fact("1", "t", "size", "v", "q"))])
