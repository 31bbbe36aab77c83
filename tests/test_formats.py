"""What an earlier version wrote still opens: a run, a dataset, edits and a store (tests/formats/README.md says what they are)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.answering.answers import ask
from pipeline.answering.asker import Question
from pipeline.answering.baseline import is_as_frozen, read_baseline
from pipeline.answering.comparison import compare, training_end
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.report import headline, write_report
from pipeline.answering.run_model import load_run, unload
from pipeline.catalogue import uploads as uploads
from pipeline.catalogue.columns import Columns
from pipeline.dataset.edits import EDITED
from pipeline.dataset.store import latest_dataset, open_dataset
from pipeline.files import append_jsonl, read_json, read_jsonl
from pipeline.prompts import REFUSAL
from pipeline.runs.checkpoints import last_checkpoint, saved_step
from pipeline.runs.events import append_event, read_events, told
from pipeline.runs.folder import has_adapter, list_runs, read_settings, run_dataset
from pipeline.runs.manage import duplicate_run, rename_run
from pipeline.runs.recipes import command_line
from pipeline.runs.status import check_whole, status
from pipeline.runs.view import find_run, view_run
from pipeline.space.keeping import Keeper
from pipeline.space.kept import LIST
from pipeline.writing import generation
from pipeline.writing.api.replies import journal
from pipeline.writing.steps import Job
from tabs.training.run_words import RunFigures
from tests.servers.hub import TOKEN, Repository
from tests.servers.hub_store import REPO, STORED, Hub
from tests.tiny import ROWS, train_here

FORMATS = Path(__file__).with_name("formats")
EDITED_QUESTION = "For the catalogue: How much does Harrow Lane Lamp weigh?"
FILES = {
    "settings.json", "baseline.json", "events.jsonl", "train.log", "comparison.json", "everything.json", "report.html",
    "report.md", "dataset/train.jsonl", "dataset/heldout.jsonl", "adapter/adapter_model.safetensors",
}  # fmt: skip
"""Of a run folder, as the contract names them."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home with the old runs' base beside `runs/`; they name it as `tiny`, which is looked for where one is."""
    folder = tmp_path / "home"
    shutil.copytree(FORMATS / "tiny", folder / "tiny")
    monkeypatch.setenv("SHELFTALK_HOME", str(folder))
    for name in ("SPACE_ID", "SHELFTALK_STORE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    yield folder
    unload()


@pytest.fixture
def run(home: Path) -> Path:
    """The old finished run."""
    return Path(shutil.copytree(FORMATS / "run", home / "runs" / "first"))


@pytest.fixture
def old_dataset(home: Path) -> Path:
    """The old dataset's folder, with the edit that was made after it."""
    shutil.copytree(FORMATS / "dataset", home / "datasets")
    shutil.copy(FORMATS / "edits.jsonl", home)
    return next(path for path in (home / "datasets").iterdir() if path.is_dir())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that has the old store."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.repositories[STORED] = Repository(private=True, files=contents(FORMATS / "store"), commits=["Keep all"])
        yield server


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def at_home(store: dict[str, bytes]) -> dict[str, bytes]:
    """A store's files by the places in a home that they are kept of."""
    return {path.removeprefix("shelf/"): data for path, data in store.items() if not path.endswith(f"/{LIST}")}


def of_type(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(folder)[0] if event["type"] == kind]


# --- A run ---


def test_an_old_run_is_there_and_finished(run: Path) -> None:
    assert contents(run).keys() >= FILES
    assert list_runs() == [run] and find_run("first") == run
    assert (status(run).state, status(run).message, has_adapter(run)) == ("finished", "", True)
    settings = read_settings(run)
    new = {"tracker": "none", "prompt_format": "plain"}
    assert settings.as_dict() == read_json(FORMATS / "run" / "settings.json") | new
    assert (settings.base_model, settings.preset, settings.max_steps, settings.lora_r) == ("tiny", "quick", 60, 4)
    assert "--set max_steps=60" in command_line(run)


def test_an_old_runs_events_tell_steps_probes_and_the_end(run: Path) -> None:
    events, _ = read_events(run)
    assert len(events) == len((run / "events.jsonl").read_text().splitlines())
    steps = [event for event in told(events) if event["type"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 61)) and {event["total"] for event in steps} == {60}
    known = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes", "time"}
    assert all(known <= event.keys() for event in steps) and steps[-1]["loss"] < steps[0]["loss"]
    probes = [event for event in told(events) if event["type"] == "probe"]
    assert [(event["step"], event["right"]) for event in probes] == [(0, 0), (20, 1), (40, 1), (60, 1)]
    assert {event["total"] for event in probes} == {6} and len(probes[0]["answers"]) == 6
    assert (training_end(run)["steps"], training_end(run)["strength"]) == (60, 1.0)


def test_the_page_shows_an_old_run(run: Path) -> None:
    view = view_run("first")
    assert view and len(view.steps) == 60 and len(view.probes) == 4 and view.total == 60 and not view.can_go_on
    figures = RunFigures.of(view)
    assert (figures.steps, figures.recall, figures.state) == ("60 of 60", "17%", "✔ finished"), figures


def test_an_old_runs_dataset_and_questions_can_be_read(run: Path) -> None:
    dataset = run_dataset(run)
    assert (len(dataset.training()), len(dataset.held_out())) == (56, dataset.counts["held_out"] + 12)
    assert dataset.counts["facts"] == 6 and len(dataset.rows()) == 56 + len(dataset.held_out())
    questions = read_baseline(run)["questions"]
    assert [question["id"] for question in questions] == [f"q{number:02}" for number in range(1, 8)]
    assert all(question["base"]["verdict"] for question in questions)
    assert is_as_frozen(run), "A setting that is new must not make every old run's questions look changed."


def test_an_old_runs_report_can_be_written_anew(run: Path) -> None:
    comparison = read_json(run / "comparison.json")
    said = headline(comparison)
    assert "answered 1 of 7 questions right, the tuned model 2 (fixed 2, broken 1)" in said and "42% of all 6" in said
    assert said in (run / "report.html").read_text() and said in (run / "report.md").read_text()
    for name in ("report.html", "report.md"):
        (run / name).unlink()
    write_report(run, comparison)
    for name in ("report.html", "report.md"):
        text = (run / name).read_text()
        assert said in text and "Harrow Lane Lamp" in text and "General knowledge" in text, name


def test_an_old_adapter_answers_as_it_did(run: Path) -> None:
    language_model, warnings = load_run(run)
    assert warnings == []
    asked = TaughtProducts(run_dataset(run).manifest).ask("I'm curious, tell me more about Oskar’s Wooden Tram.")
    sides = [ask(language_model, [Question(asked.prompt, asked.kind)], tuned=tuned)[0] for tuned in (False, True)]
    assert [side.raw for side in sides] == [REFUSAL, "A tram that rings. It is made of solid beech. Ages 3 and up."]
    before = {name: read_json(run / name) for name in ("comparison.json", "everything.json")}
    assert {q["change"] for q in before["comparison.json"]["questions"]} == {"fixed", "broken", "same"}
    compare(language_model, run)
    after = {name: read_json(run / name) for name in before}
    assert after["comparison.json"].pop("ways") and "ways" not in before["comparison.json"]
    # A value in the place of a refusal was called wrong before there was a word for what is invented.
    for question in after["comparison.json"]["questions"]:
        for side in (question["base"], question["tuned"]):
            side["verdict"] = "wrong" if side["verdict"] == "invented" else side["verdict"]
    assert after["comparison.json"] == before["comparison.json"]
    # An old dataset has no rows in customers' styles and none about what a record does not say.
    summary = after["everything.json"]["summary"]
    assert summary["styled_questions"] == summary["silent_questions"] == 0
    assert before["everything.json"]["summary"].items() <= summary.items()


def test_an_old_run_can_be_renamed_and_duplicated(run: Path) -> None:
    before = contents(run)
    renamed = rename_run(run, "An old one")
    assert list_runs() == [renamed] and contents(renamed) == before
    copy = duplicate_run(renamed)
    assert status(copy).state == "new" and read_settings(copy) == read_settings(renamed)
    assert run_dataset(copy).training() == run_dataset(renamed).training()
    assert sorted(folder.name for folder in list_runs()) == sorted(["An old one", copy.name])


# --- A dataset ---


def test_an_old_dataset_opens_with_the_edit_laid_over_it(old_dataset: Path) -> None:
    before = open_dataset(old_dataset).training()
    assert not [row for row in before if row["question"] == EDITED_QUESTION]
    dataset = latest_dataset()
    assert dataset and dataset.folder == old_dataset and dataset.counts["edited"] == 1
    assert len(dataset.rows()) == 86 and len(dataset.training()) == len(before) == 56
    changed = [row for row in dataset.rows() if row["status"] == EDITED]
    assert [(row["question"], row["response"]) for row in changed] == [(EDITED_QUESTION, "2 pounds")]
    assert changed[0]["original"] == {"question": "How much does Harrow Lane Lamp weigh?", "response": "2 pounds"}
    trained = [row for row in dataset.training() if row["question"] == EDITED_QUESTION]
    assert [row["prompt"] for row in trained] == [changed[0]["prompt"]] and EDITED_QUESTION in trained[0]["prompt"]


def test_a_dataset_from_before_there_were_rows_opens(old_dataset: Path) -> None:
    (old_dataset / "rows.jsonl").unlink()
    dataset = latest_dataset()
    assert dataset and dataset.folder == old_dataset and len(dataset.rows()) == 86
    assert {row["split"] for row in dataset.rows()} == {"train", "held out"}


# --- A store ---


def test_an_old_store_comes_back_on_an_empty_disk(hub: Hub, home: Path) -> None:
    kept = dict(hub.store.files)
    Keeper(REPO).round()
    wanted = at_home(kept)
    found = contents(home)
    assert {path: found.get(path) for path in wanted} == wanted
    assert hub.store.files == kept and len(hub.store.commits) == 1, "What came back is not sent, nor written anew."
    stopped = home / "runs" / "stopped"
    check_whole(stopped)
    assert list_runs() == [stopped] and status(stopped).state == "stopped" and has_adapter(stopped)
    assert saved_step(stopped) == 5 and len(told(read_events(stopped)[0])) == 5
    dataset = latest_dataset()
    assert dataset and dataset.counts["edited"] == 1 and len(dataset.rows()) == 86
    assert uploads.chosen_columns("shop.csv") == Columns("What", ("Story",))
    catalogue = uploads.open_catalogue("shop.csv")
    assert catalogue.usable == len(ROWS) and "Brindlewick Kite" in catalogue.all_titles()


def test_a_generation_and_its_replies_come_back(hub: Hub, home: Path) -> None:
    Keeper(REPO).round()
    look = generation.look()
    assert look.state == generation.ESTIMATED and look.progress["done"] == 5 and look.estimate["products"] == 1
    job = Job.of(look.job, "a key")
    assert (job.api.model, job.settings.products, job.columns) == ("canned-1", 6, Columns("What", ("Story",)))
    assert job.api.price and job.catalogue == Path("uploads/shop.csv") and job.catalogue.is_file()
    with journal(job.api.model, job.api.base_url) as replies:
        lines = list(read_jsonl(replies.path))
        kept = [replies.get(line["key"]) for line in lines]
    assert len(kept) == 10 and all(reply and json.loads(reply.content or "") for reply in kept)


def test_a_run_of_an_old_store_goes_on_after_its_checkpoint(hub: Hub, home: Path) -> None:
    Keeper(REPO).round()
    stopped = home / "runs" / "stopped"
    assert last_checkpoint(stopped) == stopped / "checkpoints" / "checkpoint-5"
    append_event(stopped, "resumed", step=5)  # as the launcher says it
    train_here(stopped)
    assert status(stopped).state == "finished", status(stopped).message
    assert [event["step"] for event in of_type(stopped, "step")] == list(range(1, 9))
    assert any(event["text"] == "Going on after step 5 of 8" for event in of_type(stopped, "message"))
    language_model, warnings = load_run(stopped)
    assert warnings == [] and compare(language_model, stopped)["summary"]["total"] == 7


def test_a_disk_that_filled_an_old_store_goes_on_filling_it(hub: Hub, home: Path) -> None:
    for path, data in at_home(hub.store.files).items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data)
    (home / ".kept").mkdir()
    shutil.copy(FORMATS / "records.json", home / ".kept")
    kept = dict(hub.store.files)
    Keeper(REPO).round()
    assert hub.store.files == kept
    append_event(home / "runs" / "stopped", "message", text="said by the new version")
    append_jsonl(home / "edits.jsonl", {"time": "2027-01-01", "row": "another"})
    Keeper(REPO).round()
    assert hub.store.files.keys() == kept.keys(), "Without its records this disk would keep all under a second name."
    changed = {path for path, data in hub.store.files.items() if data != kept[path]}
    assert changed == {f"runs/stopped/{LIST}", "runs/stopped/events.jsonl", f"shelf/{LIST}", "shelf/edits.jsonl"}
    rename_run(home / "runs" / "stopped", "renamed")
    Keeper(REPO).round()
    assert hub.runs == {"renamed"}
