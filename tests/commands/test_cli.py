"""`python -m pipeline` as a person types it: exit codes, and what is printed where.

What trains or prints results is a real process; what is refused is called in this one, which knows torch already.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest

from pipeline.__main__ import main
from pipeline.commands import dataset as dataset_commands
from pipeline.commands import publishing, training
from pipeline.dataset import export
from pipeline.dataset.store import open_dataset
from pipeline.files import PROJECT, read_json, taken_away
from pipeline.publishing import publish
from pipeline.runs.events import append_event
from pipeline.runs.folder import read_settings, run_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.recipes import command_line, recipe
from pipeline.runs.settings import PRESETS
from tests.servers.hub import TOKEN, HubServer
from tests.tiny import write_catalogue

Done = subprocess.CompletedProcess[str]


def pipeline(home: Path, *arguments: str | Path) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=PROJECT,
        env=os.environ | {"SHELFTALK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=550,
    )


def called(home: Path, *arguments: str | Path) -> Done:
    """The same in this process."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("SHELFTALK_HOME", str(home))
        code = main([str(argument) for argument in arguments])
    return Done([], code, out.getvalue(), err.getvalue())


def refused(done: Done) -> str:
    """The one sentence of a command that was given something wrong."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].endswith(".") and "Traceback" not in done.stderr, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def demo(home: Path, tiny_base: Path) -> tuple[Path, Done]:
    """The whole loop on eight products with the tiny model: the run folder, and the command as it ended."""
    catalogue, run = write_catalogue(home / "catalogue.json"), home / "run"
    return run, pipeline(
        home, "demo", catalogue, "--products", "50", "--questions", "7", "--base", tiny_base, "--out", run,
        "--set", "logging_steps=2",
    )  # fmt: skip


def test_demo_runs_the_whole_loop_and_says_how_it_goes(demo: tuple[Path, Done]) -> None:
    run, done = demo
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "You asked for 50 products; going on with the 8 there are." in done.stderr
    assert "14 rows, 8 usable; skipped: " in done.stderr
    assert "Step 150 of 150" in done.stderr and "Recall on held-out questions at step 150" in done.stderr
    files = "settings.json baseline.json events.jsonl train.log comparison.json report.html report.md"
    assert all((run / name).is_file() for name in files.split())
    assert all((run / name).is_dir() for name in ("adapter", "checkpoints", "dataset"))
    comparison = read_json(run / "comparison.json")
    summary = comparison["summary"]
    assert len(comparison["questions"]) == summary["total"] == 7
    assert f"of {summary['total']}" in done.stderr and str(run / "report.html") in done.stderr
    settings = read_json(run / "settings.json")
    assert (settings["preset"], settings["questions"], settings["seed"], settings["logging_steps"]) == (
        "quick",
        7,
        0,
        2,
    )


def test_demo_keeps_its_dataset_for_the_next_run(home: Path, demo: tuple[Path, Done]) -> None:
    made = [p.name for p in (home / "datasets").iterdir()]
    assert made == [read_json(demo[0] / "dataset" / "manifest.json")["fingerprint"]]


def test_ask_prints_both_sides(home: Path, demo: tuple[Path, Done]) -> None:
    done = pipeline(home, "ask", demo[0], "How wide is the Brindlewick Kite?")
    assert done.returncode == 0, done.stderr
    base, tuned = done.stdout.splitlines()
    assert base.startswith("Base:  ") and tuned.startswith("Tuned: ")
    assert "About: Brindlewick Kite" in done.stderr
    run, question, title = demo[0], "How wide is it?", ("--title", "Brindlewick Kite")
    for words in ((run, question, *title), (run, *title, question), (*title, run, question)):
        assert "About: Brindlewick Kite" in called(home, "ask", *words).stderr


def test_ask_with_a_file_prints_json_and_nothing_else(home: Path, demo: tuple[Path, Done]) -> None:
    asked = [
        {"title": "The Salt Road Atlas", "question": "Who wrote it?"},
        {"question": "How many pieces does the Tin Harbour Puzzle have?"},
        {"title": "No Such <b>Thing</b>", "question": "What colour is it?"},
    ]
    (home / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    done = pipeline(home, "ask", demo[0], "--file", home / "questions.json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [a["title"] for a in answers] == ["The Salt Road Atlas", "Tin Harbour Puzzle", "No Such <b>Thing</b>"]
    assert [a["question"] for a in answers] == [a["question"] for a in asked]
    for answer in answers:
        assert set(answer) == {"title", "question", "base", "tuned"}
        for side in ("base", "tuned"):
            assert set(answer[side]) == {"raw", "answer"}
            assert all(isinstance(text, str) for text in answer[side].values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "There is no file nowhere.jsonl"),
        (["empty.jsonl"], "empty.jsonl is empty"),
        (["text.jsonl"], "is not a catalogue"),
        (["useless.jsonl"], "No product of useless.jsonl can be used"),
        (["--products", "0"], "products is 0"),
        (["--products", "many"], "Invalid value for '--products': Input should be a valid integer"),
        (["--questions", "-1"], "questions is -1"),
        (["--seed", "-5"], "seed is -5"),
        (["--preset", "magic"], "'magic' is not one of 'quick', 'recall', 'original'"),
        (["--base", "/nowhere/model"], "There is no folder /nowhere/model"),
        (["--base", ""], "No base model is chosen"),
        (["--frobnicate"], "No such option: --frobnicate; `python -m pipeline demo --help` shows what there is."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_demo_refuses_bad_input_in_one_sentence_and_leaves_nothing(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "text.jsonl").write_text("no JSON at all\n")
    (tmp_path / "useless.jsonl").write_text('{"title": "Kite", "content": ""}\n')
    paths = [str(tmp_path / a) if a.endswith(".jsonl") else a for a in arguments]
    done = called(tmp_path, "demo", "--out", tmp_path / "run", *paths)
    if "--base" in arguments and arguments[-1]:  # the dataset is made by then, and is kept
        assert done.returncode == 2 and said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    else:
        assert said in refused(done)
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_a_folder_that_is_not_empty_is_refused_and_overwrite_spares_it_until_all_is_well(
    home: Path, demo: tuple[Path, Done], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(demo[0], tmp_path / "run"))
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert "is not empty" in refused(called(home, "demo", home / "catalogue.json", "--out", run))
    assert "There is no file" in refused(called(home, "demo", home / "none.json", "--out", run, "--overwrite"))
    done = called(home, "demo", home / "catalogue.json", "--out", run, "--overwrite", "--base", "./nowhere")
    assert done.returncode == 2 and "There is no folder ./nowhere" in done.stderr
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "is not a run folder" in refused(called(home, "demo", "--out", tmp_path / "mine", "--overwrite"))
    assert "learning_speed" in refused(called(home, "demo", "--out", tmp_path / "new", "--set", "learning_speed=1"))
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_ask_refuses_what_it_cannot_answer(home: Path, demo: tuple[Path, Done], tmp_path: Path) -> None:
    run = demo[0]
    assert "is not a run folder" in refused(called(home, "ask", tmp_path, "Who?"))
    assert "File name too long" in refused(called(home, "demo", "--out", tmp_path / ("x" * 300)))
    assert "10,000" in refused(called(home, "ask", run, "x" * 10_000))
    assert "question" in refused(called(home, "ask", run, "   "))
    assert "cannot be read as JSON" in refused(called(home, "ask", run, "--file", tmp_path / "none.json"))
    (tmp_path / "wrong.json").write_text('[{"title": "Kite"}]')
    assert "needs a list" in refused(called(home, "ask", run, "--file", tmp_path / "wrong.json"))
    untrained = Path(shutil.copytree(run, tmp_path / "untrained", ignore=shutil.ignore_patterns("adapter")))
    assert "has no adapter" in refused(called(home, "ask", untrained, "Who wrote The Salt Road Atlas?"))
    broken = Path(shutil.copytree(run, tmp_path / "broken"))
    (broken / "adapter" / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    done = called(home, "ask", broken, "Who wrote The Salt Road Atlas?")
    assert done.returncode == 2 and "is broken" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


# --- how a command ends ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command; `python -m pipeline --help` shows what there is."),
        (["frobnicate"], "No such command 'frobnicate'; `python -m pipeline --help` shows what there is."),
        (["ask"], "Missing argument 'DIR'; `python -m pipeline ask --help` shows what there is."),
        (["elsewhere", "x"], "Missing option '--hardware'; `python -m pipeline elsewhere --help` shows what there is."),
        (["generate", "--price", "1"], "Option '--price' requires 2 arguments; `python -m pipeline generate --help`"),
        (["demo", "--products", "many"], "a valid integer, unable to parse string as an integer: 'many'; `python"),
        (["demo", "a.json", "b.json"], "Got unexpected extra argument(s) (b.json); `python -m pipeline demo --help`"),
        (["demo", "--title-column", "x"], "Only one of --title-column and --content-column is given; name both."),
        (["generate", "--batch"], "--batch, --judge, --cap and --price need a model; name it with --model."),
        (["publish", "x", "--form", "zip", "--out", "y"], "'zip' is not one of 'adapter', 'merged', 'gguf'; `python"),
    ],
    ids=" ".join,
)
def test_what_no_command_understands_is_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(called(tmp_path, *arguments))


def test_a_refusal_waits_neither_for_torch_nor_for_the_database(tmp_path: Path) -> None:
    lines = [["ask", str(tmp_path), "Who?"], ["demo", "--preset", "magic"], ["publish", "x"], ["resume", str(tmp_path)]]
    script = f"""
import sys
from pipeline.__main__ import main
assert main(["--help"]) == 0 and not {{"duckdb", "pydantic"}} & set(sys.modules)
assert [main(line) for line in {lines!r}] == [2] * {len(lines)}
assert not {{"torch", "transformers", "openai", "gradio", "rich"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stderr.splitlines()) == len(lines), done.stderr


def test_a_real_process_exits_as_main_says(tmp_path: Path) -> None:
    assert "There is no file nowhere.jsonl" in refused(pipeline(tmp_path, "demo", "nowhere.jsonl"))
    shown = pipeline(tmp_path, "--help")
    assert shown.returncode == 0 and shown.stderr == "" and "train-kept" in shown.stdout and "╭" not in shown.stdout


def test_ctrl_c_exits_with_130_and_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.catalogue.catalogue.read_catalogue", interrupted)
    done = called(tmp_path, "demo")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Stopped; what was written and every reply that arrived is kept.\n"


def test_choices_are_those_of_the_pipeline() -> None:
    assert get_args(training.Preset) == tuple(PRESETS)
    assert get_args(dataset_commands.Form) == export.FORMS
    assert get_args(publishing.Form) == publish.FORMS


# --- train ---


def test_train_repeats_a_run_from_its_command_line_and_from_its_settings_file(
    home: Path, demo: tuple[Path, Done], tmp_path: Path
) -> None:
    run, few = demo[0], ["--set", "max_steps=3", "--set", "probes=1"]
    done = pipeline(home, *shlex.split(command_line(run))[3:], *few, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "Step 3 of 3" in done.stderr and "Recall on held-out questions" in done.stderr
    assert f"Adapter: {tmp_path / 'again' / 'adapter'}" in done.stderr
    assert (tmp_path / "again" / "adapter" / "adapter_model.safetensors").is_file()
    assert read_settings(tmp_path / "again") == replace(read_settings(run), max_steps=3, probes=1)
    assert (tmp_path / "again" / "dataset" / "train.jsonl").read_bytes() == (
        run / "dataset" / "train.jsonl"
    ).read_bytes()
    (tmp_path / "settings.yaml").write_text(recipe(tmp_path / "again"), encoding="utf-8")
    done = pipeline(home, "train", "--settings", tmp_path / "settings.yaml", "--set", "max_steps=2")
    assert done.returncode == 0, done.stderr
    made = next((home / "runs").glob("2*"))
    assert read_settings(made) == replace(read_settings(tmp_path / "again"), max_steps=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "nowhere"], "There is no whole dataset in nowhere"),
        (["--settings", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--settings", "bad.yaml"], "'rank' is not a training setting"),
        (["--settings", "bad.yaml", "--preset", "quick"], "leave out --preset and --base"),
        (["--preset", "magic"], "'magic' is not one of 'quick', 'recall', 'original'"),
        (["--base", ""], "No base model is chosen"),
        (["--base", "/nowhere/model"], "There is no folder /nowhere/model"),
        (["--set", "lora_r"], "'lora_r' sets nothing"),
        (["--set", "lora_r=many"], "lora_r is 'many'"),
        (["--set", "preset=quick"], "--preset"),
        (["--out", "here"], "is not empty"),
        (["--out", "here", "--overwrite"], "is not a run folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_train_refuses_bad_input_in_one_sentence_and_trains_nothing(
    arguments: list[str], said: str, home: Path, demo: tuple[Path, Done], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("rank: 8\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "letter.txt").write_text("dear")
    before = sorted((home / "runs").glob("*"))
    paths = [str(tmp_path / a) if a in ("bad.yaml", "here") else a for a in arguments]
    assert said in refused(called(home, "train", *paths))
    assert sorted((home / "runs").glob("*")) == before and (tmp_path / "here" / "letter.txt").is_file()


def test_train_needs_a_dataset_and_spares_the_one_it_trains_on(demo: tuple[Path, Done], tmp_path: Path) -> None:
    assert "There is no dataset yet" in refused(called(tmp_path, "train"))
    run = Path(shutil.copytree(demo[0], tmp_path / "run"))
    said = refused(called(tmp_path, "train", "--dataset", run / "dataset", "--out", run, "--overwrite"))
    assert "The dataset is inside" in said and (run / "dataset" / "train.jsonl").is_file()


def test_resume_goes_on_then_asks_and_reports_and_tells_nothing_twice(
    demo: tuple[Path, Done], home: Path, tmp_path: Path
) -> None:
    done_before = demo[0]
    folder = create_run(run_dataset(done_before), replace(read_settings(done_before), max_steps=3), tmp_path / "run")
    append_event(folder, "started", steps=3)
    append_event(folder, "message", text="Said when it was on before")
    append_event(folder, "failed", message="The power was gone.")
    done = pipeline(home, "resume", folder)
    assert done.returncode == 0, done.stderr
    assert "Step 3 of 3" in done.stderr and "Said when it was on before" not in done.stderr
    assert read_json(folder / "comparison.json")["training"]["steps"] == 3 and (folder / "report.html").is_file()
    assert refused(called(home, "resume", folder)) == "Run run has finished; duplicate it to train it again."
    assert "is not a run folder" in refused(called(home, "resume", tmp_path))


# --- export and push ---


def test_export_prints_where_the_file_is(demo: tuple[Path, Done], home: Path, tmp_path: Path) -> None:
    dataset = next((home / "datasets").iterdir())
    done = called(home, "export", dataset)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{dataset / 'export' / f'catalogue-{dataset.name}.parquet'}\n"
    assert Path(done.stdout.strip()).read_bytes()[:4] == b"PAR1"
    done = called(home, "export", demo[0] / "dataset", "--form", "jsonl", "--out", tmp_path / "mine.jsonl")
    assert done.stdout == f"{tmp_path / 'mine.jsonl'}\n" and (tmp_path / "mine.jsonl").read_text().startswith('{"split')
    assert "There is no whole dataset in nowhere" in refused(called(home, "export", "nowhere"))
    assert "'xlsx' is not one of 'json'" in refused(called(home, "export", dataset, "--form", "xlsx"))
    assert "cannot be used" in refused(called(home, "export", dataset, "--out", "/proc/no/file.parquet"))


def test_delete_removes_a_dataset_or_a_run_once_it_is_sure(
    made_datasets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    dataset = Path(shutil.copytree(made_datasets["plain"], tmp_path / "datasets" / made_datasets["plain"].name))
    run = create_run(open_dataset(dataset), PRESETS["quick"], tmp_path / "runs" / "first")
    (tmp_path / ".kept").mkdir()
    assert "is no dataset" in refused(called(tmp_path, "delete", run / "dataset", "--yes"))
    for answer, left in (("n\n", True), ("y\n", False)):
        monkeypatch.setattr(sys, "stdin", StringIO(answer))
        assert called(tmp_path, "delete", dataset).returncode == 0 and dataset.is_dir() == left
    assert called(tmp_path, "delete", run, "--yes").returncode == 0 and not run.exists()
    assert taken_away() == {f"datasets/{dataset.name}", "runs/first"}
    assert "first is not a run" in refused(called(tmp_path, "delete", run, "--yes"))


def test_push_prints_the_address_and_asks_for_what_is_missing(
    demo: tuple[Path, Done], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    push = ("push", demo[0] / "dataset", "--repo", "mira/kites")
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "No license is chosen" in refused(called(home, *push))
        assert "There is no token" in refused(called(home, *push, "--license", "mit"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        done = pipeline(home, *push, "--license", "mit")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{hub.url}/datasets/mira/kites\n"
        assert TOKEN not in done.stderr and hub.repositories["datasets/mira/kites"].private
        assert "cannot be a name" in refused(called(home, *push[:3], "no name!", "--license", "mit"))
