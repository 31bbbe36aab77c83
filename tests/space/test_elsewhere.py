"""A run that trains on Hugging Face Jobs: the real client, and a server that really runs the job's command elsewhere."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.store import Dataset
from pipeline.errors import PipelineError
from pipeline.files import PROJECT, home, read_json
from pipeline.runs import launcher
from pipeline.runs.checkpoints import saved_step
from pipeline.runs.events import read_events, told
from pipeline.runs.folder import JOB, has_adapter, list_runs
from pipeline.runs.manage import create_run, delete_run, rename_run
from pipeline.runs.status import is_elsewhere, status
from pipeline.space import elsewhere, watching
from pipeline.space.elsewhere import cancel_elsewhere, machines, read_job, start_elsewhere
from pipeline.space.files import files_for_space
from pipeline.space.keeping import Keeper
from pipeline.space.kept import LIST
from pipeline.space.settings import read_space
from pipeline.space.watching import JOB_LOG
from tests.servers.hub import TOKEN, Repository
from tests.servers.hub_jobs import JobsHub, RunningJob
from tests.servers.hub_store import PATIENCE, REPO, STORED, wait_for
from tests.tiny import tiny_settings

NAME = "far away"
LONG: dict[str, Any] = {"max_steps": 200, "save_steps": 50, "probes": 1, "questions": 1}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[JobsHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.setattr(elsewhere, "KEEP_SECONDS", 1.0)
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.1)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("SHELFTALK_STORE", REPO)
    with JobsHub(tmp_path / "machines") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@contextmanager
def an_app() -> Iterator[Keeper]:
    """What the app has running besides its page: the thread that keeps and watches."""
    keeper = Keeper(REPO)
    thread = threading.Thread(target=keeper.attend, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        assert keeper.finish(PATIENCE)
        thread.join(PATIENCE)


def a_run(dataset: Dataset, base: Path, **changes: Any) -> Path:
    return create_run(dataset, tiny_settings(base, **{**LONG, **changes}), home() / "runs" / NAME)


def steps(folder: Path) -> list[int]:
    return [event["step"] for event in told(read_events(folder)[0]) if event["type"] == "step"]


def the_job(hub: JobsHub) -> RunningJob:
    return next(reversed(hub.jobs.values()))


def over(hub: JobsHub, folder: Path) -> Callable[[], bool]:
    """Whether the run is not elsewhere any more; what the machine said is shown where that takes too long."""
    return lambda: folder.exists() and not is_elsewhere(folder)


def holds_token(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_a_run_trains_elsewhere_and_comes_back(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = a_run(dataset, tiny_base)

    def again(run: Path) -> Any:
        return start_elsewhere(run, "t4-small")

    with an_app():
        job = start_elsewhere(folder, "t4-small")
        assert (job.id, job.owner, job.price) == ("job1", "mira", pytest.approx(0.4))
        assert status(folder).state == "running"
        for action in (launcher.start, delete_run, lambda run: rename_run(run, "near"), again):
            with pytest.raises(PipelineError, match="training"):
                action(folder)
        wait_for(lambda: steps(folder) or not is_elsewhere(folder))
        assert is_elsewhere(folder) and not has_adapter(folder), the_job(hub).log  # it is shown while it trains
        wait_for(over(hub, folder), 3 * PATIENCE)
        assert status(folder).state == "finished", the_job(hub).log
    ended = read_job(folder)
    assert ended and ended.stage == "COMPLETED" and ended.ended > ended.began > 0 and ended.cost
    assert steps(folder) == list(range(1, 201)) and has_adapter(folder)
    stored = hub.store.files
    assert {path.split("/")[1] for path in stored if path.startswith("runs/")} == {NAME}
    for name in ("adapter/adapter_model.safetensors", "events.jsonl", "train.log", JOB):
        assert stored[f"runs/{NAME}/{name}"] == (folder / name).read_bytes(), name
    sent = the_job(hub).sent
    assert (
        sent["flavor"] == "t4-small" and sent["timeoutSeconds"] == 24 * 3600 and sent["secrets"] == {"HF_TOKEN": TOKEN}
    )
    assert "pip install --quiet -r requirements.txt" in the_job(hub).log
    assert TOKEN not in f"{caplog.text}{the_job(hub).log}{sent['command']}{sent['environment']}"
    assert not holds_token(home()) and not holds_token(tmp_path / "machines")
    assert not any(TOKEN.encode() in data for data in stored.values())


def test_a_run_that_is_being_kept_while_it_is_sent_stays_one(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_run(dataset, tiny_base)
    begun, answer = threading.Event(), hub.answer

    def slow(method: str, path: str, *rest: Any) -> Any:
        if "/commit/" in path and not begun.is_set():  # the run, by whoever keeps this home
            begun.set()
            time.sleep(1)
        return answer(method, path, *rest)

    monkeypatch.setattr(hub, "answer", slow)
    with an_app():
        assert begun.wait(PATIENCE)
        assert start_elsewhere(folder, "cpu-basic").kept == NAME
        cancel_elsewhere(folder)
        wait_for(over(hub, folder))
    assert {path.split("/")[1] for path in hub.store.files if path.startswith("runs/")} == {NAME}
    assert [run.name for run in list_runs()] == [NAME]


def test_a_run_whose_name_another_machine_has_in_the_store_goes_there_under_another_and_comes_back_into_its_folder(
    hub: JobsHub, dataset: Dataset, tiny_base: Path
) -> None:
    folder = a_run(dataset, tiny_base, max_steps=100_000)
    with an_app():
        wait_for(lambda: STORED in hub.repositories and f"runs/{NAME}/{LIST}" in hub.store.files)
    of_another = hub.list_of(f"runs/{NAME}") | {"writer": "another machine"}
    hub.store.files[f"runs/{NAME}/{LIST}"] = json.dumps(of_another).encode()
    hub.store.commits.append("Keep it, by another machine")
    with an_app():
        job = start_elsewhere(folder, "cpu-basic")
        assert job.kept.startswith(f"{NAME}-")
        wait_for(lambda: steps(folder))
        cancel_elsewhere(folder)
        wait_for(over(hub, folder))
        assert status(folder).state == "stopped", the_job(hub).log
    assert {path.split("/")[1] for path in hub.store.files if path.startswith("runs/")} == {NAME, job.kept}
    assert [run.name for run in list_runs()] == [NAME]


def test_one_that_is_cancelled_keeps_what_it_has(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["spaces/mira/shop"] = Repository(True, files_for_space(PROJECT, read_space()))
    monkeypatch.setenv("SPACE_ID", "mira/shop")  # its code is there
    folder = a_run(dataset, tiny_base, max_steps=100_000, save_steps=5)
    with an_app():
        start_elsewhere(folder, "cpu-basic")
        assert not any(path.startswith("code/") for path in hub.store.files)
        wait_for(lambda: steps(folder) or not is_elsewhere(folder))
        cancel_elsewhere(folder)
        wait_for(over(hub, folder))
        assert status(folder).state == "stopped", the_job(hub).log
        job = read_job(folder)
        assert job and job.stage == "CANCELED"
        assert has_adapter(folder) and 0 < len(steps(folder)) < 100_000  # it was told, and kept that too
        with pytest.raises(PipelineError, match="nothing to cancel"):
            cancel_elsewhere(folder)
        step = saved_step(folder)
        wait_for(
            lambda: hub.store.files.get(f"runs/{NAME}/{JOB}") == (folder / JOB).read_bytes()
        )  # it is kept from here again
        start_elsewhere(folder, "cpu-basic")  # and goes on there, too
        events = lambda: [event for event in read_events(folder)[0] if event["type"] == "resumed"]  # noqa: E731
        wait_for(lambda: events() or not is_elsewhere(folder))
        assert [event["step"] for event in events()] == [step] and step > 0, the_job(hub).log
        cancel_elsewhere(folder)
        wait_for(over(hub, folder))
        assert status(folder).state == "stopped", the_job(hub).log


def test_a_job_that_fails_at_once_says_why(hub: JobsHub, dataset: Dataset, tiny_base: Path) -> None:
    hub.pip_fails = True
    folder = a_run(dataset, tiny_base)
    with an_app():
        start_elsewhere(folder, "t4-small")
        wait_for(over(hub, folder))
    failed = status(folder)
    assert failed.state == "failed"
    assert failed.message.startswith("The job on t4-small ended in an error before the training did; look at its log")
    assert "pip install --quiet huggingface_hub==" in failed.message
    assert "pip install" in (folder / JOB_LOG).read_text()
    start_elsewhere(folder, "t4-small")  # and it may be tried again
    assert len(hub.jobs) == 2


def test_an_app_that_comes_up_on_an_empty_disk_goes_on_watching(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, on_disk: Callable[[str], Path]
) -> None:
    folder = a_run(dataset, tiny_base)
    with an_app():
        start_elsewhere(folder, "t4-small")
    fresh = on_disk("fresh") / "runs" / NAME
    with an_app():
        wait_for(lambda: fresh.exists() and is_elsewhere(fresh) and steps(fresh))
        wait_for(over(hub, fresh), 3 * PATIENCE)
        assert status(fresh).state == "finished", the_job(hub).log
    assert steps(fresh) == list(range(1, 201)) and has_adapter(fresh) and len(hub.jobs) == 1
    assert [run.name for run in list_runs()] == [NAME]


def test_a_job_whose_start_was_not_answered_is_found(hub: JobsHub, dataset: Dataset, tiny_base: Path) -> None:
    hub.silent = True
    folder = a_run(dataset, tiny_base, max_steps=5)
    assert not start_elsewhere(folder, "t4-small").id
    hub.silent = False
    with an_app():
        wait_for(over(hub, folder), 3 * PATIENCE)
    assert status(folder).state == "finished" and len(hub.jobs) == 1, the_job(hub).log


def test_a_job_that_never_was_ends_the_run(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_run(dataset, tiny_base)
    start_elsewhere(folder, "t4-small")
    the_job(hub).end()
    hub.jobs.clear()
    monkeypatch.setattr(watching, "LATE_SECONDS", 0)
    with an_app():
        wait_for(over(hub, folder))
    assert "is not known to the Hub any more" in status(folder).message


@pytest.mark.parametrize(
    ("code", "said"), [(402, "asks for payment"), (403, "may not run jobs"), (429, "too many"), (503, "of its own")]
)
def test_a_refusal_is_a_sentence_and_changes_nothing(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, code: int, said: str
) -> None:
    folder = a_run(dataset, tiny_base)
    hub.failures["/api/jobs/mira"] = code
    with pytest.raises(PipelineError, match=said) as refused:
        start_elsewhere(folder, "t4-small")
    assert TOKEN not in str(refused.value)
    assert status(folder).state == "new" and not (folder / JOB).exists() and not hub.jobs
    Keeper(REPO).round()  # what was sent of it is this home's own, and no second run
    assert {path.split("/")[1] for path in hub.store.files if path.startswith("runs/")} == {NAME}
    assert f"runs/{NAME}/{JOB}" not in hub.store.files


def test_what_cannot_go_is_told_before_anything_is_sent(
    hub: JobsHub, dataset: Dataset, tiny_base: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_run(dataset, tiny_base)
    assert machines() == {"cpu-basic": pytest.approx(0.01), "t4-small": pytest.approx(0.4)}
    with pytest.raises(PipelineError, match="no hardware 'h900' for jobs; choose one of cpu-basic, t4-small"):
        start_elsewhere(folder, "h900")
    with pytest.raises(PipelineError, match="is not a run under"):
        start_elsewhere(finished_run, "cpu-basic")
    monkeypatch.setenv("SHELFTALK_STORE", "")
    with pytest.raises(PipelineError, match="set SHELFTALK_STORE to user/name, and HF_TOKEN"):
        start_elsewhere(folder, "cpu-basic")
    assert not hub.repositories and not hub.jobs


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"label": "a"}', '{"ended": 0}', '{"label": 1, "hardware": 2, "asked": "x"}']
)
def test_a_damaged_job_file_harms_nothing(dataset: Dataset, tiny_base: Path, text: str) -> None:
    folder = a_run(dataset, tiny_base)
    (folder / JOB).write_text(text)
    assert read_job(folder) is None
    assert status(folder).state in ("new", "running")


@pytest.mark.parametrize("value", ['"id": "../../whoami-v2?"', '"id": ".."', '"owner": "a/b"', '"kept": "../runs"'])
def test_an_address_is_never_made_of_what_a_store_says(dataset: Dataset, tiny_base: Path, value: str) -> None:
    folder = a_run(dataset, tiny_base)
    (folder / JOB).write_text(f'{{"label": "a", "hardware": "b", "asked": 1, {value}}}')
    assert read_job(folder) is None


def test_the_command_starts_a_job_and_prints_where_it_is(hub: JobsHub, dataset: Dataset, tiny_base: Path) -> None:
    folder = a_run(dataset, tiny_base)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "pipeline", "elsewhere", *words]
        return subprocess.run(line, cwd=PROJECT, env=os.environ, capture_output=True, text=True)

    done = command(NAME, "--hardware", "t4-small")
    assert done.stdout.split() == ["job1", f"{hub.url}/jobs/mira/job1"], done.stderr
    assert "$0.40 an hour" in done.stderr and read_json(folder / JOB)["id"] == "job1"
    again = command(str(folder), "--hardware", "t4-small")
    assert (
        again.returncode == 2
        and again.stderr.strip() == f"Run {NAME} is training already; duplicate it to train it elsewhere."
    )
