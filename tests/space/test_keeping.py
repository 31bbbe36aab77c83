"""Runs kept in a store on the Hub and brought back: the real client against a local server, real trainings, real folders."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pipeline import files
from pipeline.answering.renewed import as_it_was
from pipeline.catalogue.cache import RENEWED
from pipeline.dataset.store import Dataset, delete_dataset, open_dataset
from pipeline.files import (
    KEEPING,
    PROJECT,
    append_jsonl,
    clear_work_folders,
    home,
    read_json,
    read_jsonl,
    write_json,
    write_text,
)
from pipeline.runs import launcher
from pipeline.runs.checkpoints import last_checkpoint, saved_step, seal
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import GOING_DOWN, QUEUED, RESTORED, list_runs
from pipeline.runs.manage import create_run, delete_run, rename_run
from pipeline.runs.queue import queued_runs
from pipeline.runs.settings import preset
from pipeline.runs.status import check_whole, status
from pipeline.space import keeping
from pipeline.space.keeping import Keeper
from pipeline.space.kept import LIST, belongs
from pipeline.space.restoring import queue_again
from tests.children import running, waiting
from tests.servers.hub import TOKEN, HubServer, Repository
from tests.servers.hub_store import PATIENCE, REPO, STORED, Hub, wait_for
from tests.tiny import tiny_settings, train_here

OnDisk = Callable[[str], Path]


def small_run(dataset: Dataset, name: str, *events: tuple[str, dict[str, Any]]) -> Path:
    """A run as its folder tells it, without the seconds that a training takes."""
    folder = create_run(dataset, preset("quick"), home() / "runs" / name)
    for kind, values in events:
        append_event(folder, kind, **values)
    return folder


def kept_by_two(on_disk: OnDisk) -> tuple[Keeper, Keeper, Path]:
    """Two machines that have all of this home; the process is on the second one's disk, which is returned, too."""
    one = Keeper(REPO)
    one.round()
    second = on_disk("second")
    two = Keeper(REPO)
    two.round()
    return one, two, second


def checkpoint(folder: Path, step: int, size: int = 1000) -> Path:
    """A whole checkpoint of random bytes."""
    made = folder / "checkpoints" / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (made / name).write_bytes(os.urandom(size))
    seal(made, {})
    return made


def adapter(folder: Path) -> Path:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(os.urandom(1000))
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    return folder / "adapter" / "adapter_model.safetensors"


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


STARTED = ("started", {"steps": 6})
STEP = ("step", {"step": 1, "total": 6, "loss": 3.0, "tokens_per_second": 9.0, "memory_bytes": 1})


# --- What is kept ---


def test_a_run_and_its_dataset_arrive_privately(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "first", STARTED, STEP)
    weights = adapter(folder)
    for step in (1, 2):
        checkpoint(folder, step)
    torn = folder / "checkpoints" / "checkpoint-3"
    shutil.copytree(folder / "checkpoints" / "checkpoint-2", torn)
    (torn / "optimizer.pt").write_bytes(b"cut short")
    write_json(folder / "process.json", {"pid": 1})
    Keeper(REPO).round()
    assert hub.store.private
    kept = {path for path in hub.store.files if path.startswith("runs/first/")}
    assert "runs/first/events.jsonl" in kept and "runs/first/dataset/train.jsonl" in kept
    assert hub.store.files["runs/first/adapter/adapter_model.safetensors"] == weights.read_bytes()
    assert {path.split("/")[3] for path in kept if "/checkpoints/" in path} == {"checkpoint-2"}
    assert not any("process.json" in path or "/." in path.removesuffix(LIST) + "x" for path in kept if LIST not in path)
    assert f"datasets/{dataset.folder.name}/manifest.json" in hub.store.files
    told = hub.list_of("runs/first")["files"]
    assert {f"runs/first/{name}" for name in told} == kept - {f"runs/first/{LIST}"}
    for name, file in told.items():
        data = hub.store.files[f"runs/first/{name}"]
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_newer_catalogue_that_a_run_answers_from_comes_along_and_goes_when_it_is_taken_back(
    hub: Hub, dataset: Dataset, on_disk: OnDisk
) -> None:
    chosen = small_run(dataset, "first", STARTED, STEP) / "dataset" / RENEWED
    write_json(chosen, {"name": "newer.json", "sha256": "1" * 64, "since": "2026-12-01T08:00:00+00:00"})
    one, first = Keeper(REPO), home()
    one.round()
    second = on_disk("second")
    Keeper(REPO).round()
    there = second / "runs" / "first" / "dataset" / RENEWED
    assert there.read_bytes() == chosen.read_bytes()
    as_it_was(second / "runs" / "first")
    Keeper(REPO).round()
    assert not there.exists() and f"runs/first/dataset/{RENEWED}" not in hub.store.files
    on_disk(first.name)
    Keeper(REPO).round()
    assert not chosen.exists()


def test_only_what_changed_is_sent_and_old_checkpoints_go(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "first", STARTED)
    adapter(folder)
    checkpoint(folder, 1)
    keeper = Keeper(REPO)
    keeper.round()
    commits, uploads, requests = len(hub.store.commits), hub.uploads, len(hub.requests)
    keeper.writer.keep()
    assert len(hub.requests) == requests  # nothing has changed, so nothing is even asked
    append_event(folder, *STEP[:1], **STEP[1])
    keeper.round()
    assert len(hub.store.commits) == commits + 1 and hub.uploads == uploads
    assert sorted(hub.store.sent[-1]) == [f"runs/first/{LIST}", "runs/first/events.jsonl"]
    checkpoint(folder, 2)
    keeper.round()
    assert "runs/first/checkpoints/checkpoint-1/optimizer.pt" not in hub.store.files
    assert "runs/first/checkpoints/checkpoint-2/optimizer.pt" in hub.store.files
    assert hub.uploads == uploads + 2


def test_of_a_run_that_trains_a_checkpoint_is_sent_only_now_and_then(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "run", STARTED)
    with waiting(str(folder.resolve())) as training:
        write_json(folder / "process.json", {"pid": training.pid})
        writer = Keeper(REPO).writer
        sent = []
        for step, hurry in ((1, False), (2, False), (3, True)):
            checkpoint(folder, step)
            append_event(folder, *STEP[:1], **STEP[1])
            writer.keep(hurry=hurry)
            sent.append({path.split("/")[3] for path in hub.store.files if "/checkpoints/" in path})
            assert hub.store.files["runs/run/events.jsonl"] == (folder / "events.jsonl").read_bytes()
        training.kill()
    assert sent == [{"checkpoint-1"}, {"checkpoint-1"}, {"checkpoint-3"}]


def test_an_app_that_starts_again_on_its_disk_sends_nothing_anew(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "first", STARTED, STEP)
    Keeper(REPO).round()
    commits = list(hub.store.commits)
    Keeper(REPO).round()
    assert hub.store.commits == commits
    append_event(folder, "stopped", message="")
    Keeper(REPO).round()
    assert len(hub.store.commits) == len(commits) + 1 and hub.runs == {"first"}


# --- Coming back ---


def test_all_comes_back_on_an_empty_disk(hub: Hub, dataset: Dataset, on_disk: OnDisk) -> None:
    old = small_run(dataset, "old", STARTED, STEP, ("finished", {"steps": 6}))
    adapter(old)
    os.utime(old / "settings.json", (1_600_000_000, 1_600_000_000))
    cut = small_run(dataset, "cut off", STARTED, STEP)
    checkpoint(cut, 1)
    (home() / "uploads").mkdir()
    (home() / "uploads" / "my shop.csv").write_text("title,content\n")
    (home() / "uploads" / ".my shop.csv.json").write_text("{}")
    append_jsonl(home() / "edits.jsonl", {"time": "2026-01-01", "row": "a"})
    before = {name: everything(home() / name) for name in ("runs", "datasets", "uploads")}
    Keeper(REPO).round()
    fresh = on_disk("fresh")
    Keeper(REPO).round()
    marked = before["runs"] | {f"cut off/{RESTORED}": (fresh / "runs" / "cut off" / RESTORED).read_bytes()}
    after = {name: everything(fresh / name) for name in ("runs", "datasets", "uploads")}
    after["runs"].pop(".lock", None), marked.pop(".lock", None)
    assert after == {**before, "runs": marked}
    assert [run.name for run in list_runs()] == ["cut off", "old"]  # in the order they were made in
    assert status(fresh / "runs" / "cut off").message == (
        "The machine that trained it is gone or was restarted while this run was training; "
        "press Resume to go on after step 1."
    )
    assert list(read_jsonl(fresh / "edits.jsonl")) == [{"time": "2026-01-01", "row": "a"}]
    commits = len(hub.store.commits)
    Keeper(REPO).round()
    assert len(hub.store.commits) == commits  # what came back is not sent


def test_small_files_come_first_and_a_run_cannot_start_before_it_is_whole(
    hub: Hub, dataset: Dataset, on_disk: OnDisk
) -> None:
    for name in ("a", "b"):
        folder = small_run(dataset, name, STARTED, STEP)
        checkpoint(folder, 1)
        adapter(folder)
    Keeper(REPO).round()
    fresh = on_disk("fresh")
    coming = Keeper(REPO).fetch()
    while len(list_runs()) < 2:
        next(coming)
    assert not list(fresh.glob("runs/*/adapter")) and not list(fresh.glob("runs/*/checkpoints"))
    with pytest.raises(Exception, match="Run a is still on its way back from the Hub"):
        launcher.start(fresh / "runs" / "a")
    with pytest.raises(Exception, match="still on its way back"):
        rename_run(fresh / "runs" / "a", "c")
    coming.close()  # the app ends here
    again = Keeper(REPO)
    again.round()
    assert saved_step(fresh / "runs" / "a") == saved_step(fresh / "runs" / "b") == 1
    assert all((fresh / "runs" / name / "adapter").is_dir() for name in "ab")


def test_a_run_that_is_deleted_while_it_comes_back_stays_deleted(hub: Hub, dataset: Dataset, on_disk: OnDisk) -> None:
    adapter(small_run(dataset, "a", STARTED, STEP))
    Keeper(REPO).round()
    fresh = on_disk("fresh")
    keeper = Keeper(REPO)
    coming = keeper.fetch()
    while not list_runs():
        next(coming)
    delete_run(fresh / "runs" / "a")
    list(coming)
    keeper.round()
    assert not list_runs() and hub.runs == set()


def test_a_part_that_is_damaged_there_does_not_hold_the_run_up(
    hub: Hub, dataset: Dataset, on_disk: OnDisk, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_run(dataset, "run", STARTED, STEP)
    checkpoint(folder, 1)
    weights = adapter(folder)
    Keeper(REPO).round()
    stored = f"runs/run/{weights.relative_to(folder)}"
    hub.store.files[stored] = damaged = bytes(len(hub.store.files[stored]))
    fresh = on_disk("fresh") / "runs" / "run"
    Keeper(REPO).round()
    check_whole(fresh)
    assert saved_step(fresh) == 1 and not (fresh / "adapter").exists()
    assert "is damaged and was left there" in caplog.text and hub.store.files[stored] == damaged


def test_a_training_killed_with_its_disk_goes_on_elsewhere(
    hub: Hub, dataset: Dataset, tiny_base: Path, on_disk: OnDisk, tmp_path: Path
) -> None:
    steps = 60  # many enough that it is still training when it is first looked at
    few = {"max_steps": steps, "probes": 0, "questions": 1, "per_device_train_batch_size": 4}
    folder = create_run(dataset, tiny_settings(tiny_base, **few, save_steps=1), home() / "runs" / "cut")
    keeper = Keeper(REPO)
    keeper.round()
    launcher.start(folder)
    child = psutil.Process(read_json(folder / "process.json")["pid"])
    wait_for(lambda: last_checkpoint(folder) or status(folder).state != "running")
    child.suspend()  # only so that a fast machine does not finish before it is killed
    keeper.round()
    child.kill()
    step = saved_step(folder)
    assert 0 < step < steps
    wait_for(lambda: any(e["type"] == "failed" for e in read_events(folder)[0]))
    shutil.rmtree(home())

    fresh = on_disk("fresh")
    code = f"from pipeline.space.keeping import Keeper; Keeper({REPO!r}).round()"
    subprocess.run(running(code), cwd=PROJECT, check=True)
    back = fresh / "runs" / "cut"
    assert status(back).state == "failed" and f"press Resume to go on after step {step}." in status(back).message
    launcher.start(back)
    for _ in launcher.watch(back):
        pass
    events, _ = read_events(back)
    assert status(back).state == "finished", status(back)
    assert [e["step"] for e in events if e["type"] == "resumed"] == [step]
    begun = next(n for n, e in enumerate(events) if e["type"] == "resumed")
    told = [e["step"] for e in events[begun:] if e["type"] == "step"]
    assert told == list(range(step + 1, steps + 1))
    again = open_dataset(fresh / "datasets" / dataset.folder.name)
    whole = create_run(again, tiny_settings(tiny_base, **few, save_steps=steps), tmp_path / "whole")
    train_here(whole)
    losses = [{e["step"]: e["loss"] for e in read_events(f)[0] if e["type"] == "step"} for f in (back, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    Keeper(REPO).round()
    assert hub.runs == {"cut"}
    assert not [path for path in hub.store.files if "/checkpoints/" in path]  # a finished run needs none
    assert "runs/cut/adapter/adapter_model.safetensors" in hub.store.files


# --- Two machines ---


def test_two_that_write_the_same_run_keep_both(hub: Hub, dataset: Dataset, on_disk: OnDisk) -> None:
    first = small_run(dataset, "run", STARTED)
    one, two, second_home = kept_by_two(on_disk)
    append_event(second_home / "runs" / "run", "message", text="from the second")
    two.round()
    append_event(first, "message", text="from the first")
    on_disk("home")
    for _ in range(2):
        one.writer.keep()  # it goes on writing to its own
        append_event(first, "message", text="and more")
    one.writer.keep()
    other = f"run-{one.writer.name[:4]}"
    assert hub.runs == {"run", other}
    assert b"from the second" in hub.store.files["runs/run/events.jsonl"]
    assert hub.store.files[f"runs/{other}/events.jsonl"] == (first / "events.jsonl").read_bytes()
    third = on_disk("third")
    Keeper(REPO).round()
    assert {run.name for run in list_runs()} == {"run", other}
    assert b"from the first" in (third / "runs" / other / "events.jsonl").read_bytes()


def test_one_that_commits_between_reading_and_writing_is_noticed(
    hub: Hub, dataset: Dataset, on_disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small_run(dataset, "run", STARTED)
    one, two, disk = kept_by_two(on_disk)
    second = disk / "runs" / "run"
    append_event(second, "message", text="from the second")
    on_disk("home")
    append_event(first, "message", text="from the first")
    read = one.writer.store.listing

    def overtaken(*args: Any) -> Any:
        monkeypatch.undo()
        found = read(*args)
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setenv("SHELFTALK_HOME", str(second.parent.parent))
            elsewhere.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
            two.writer.keep()
        monkeypatch.setenv("SHELFTALK_HOME", str(first.parent.parent))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        return found

    monkeypatch.setattr(one.writer.store, "listing", overtaken)
    one.writer.keep()
    assert b"from the second" in hub.store.files["runs/run/events.jsonl"]
    assert b"from the first" in hub.store.files[f"runs/run-{one.writer.name[:4]}/events.jsonl"]


def test_what_the_old_machine_keeps_at_its_end_comes_to_the_new_one(
    hub: Hub, dataset: Dataset, on_disk: OnDisk
) -> None:
    first = small_run(dataset, "run", STARTED)
    checkpoint(first, 1)
    one, two, disk = kept_by_two(on_disk)
    second = disk / "runs" / "run"
    assert saved_step(second) == 1
    on_disk("home")
    checkpoint(first, 2)
    append_event(first, "stopped", message="")
    one.round()
    on_disk("second")
    two.round()
    assert saved_step(second) == 2 and status(second).state == "stopped"
    assert not (second / RESTORED).exists() and hub.runs == {"run"}


def test_the_shelves_of_two_machines_are_put_together(hub: Hub, home: Path, on_disk: OnDisk) -> None:
    for name, row, time_ in (("one", "a", "2026-01-01"), ("two", "b", "2026-01-02")):
        disk = on_disk(name)
        (disk / "uploads").mkdir(parents=True)
        (disk / "uploads" / f"{name}.csv").write_text(name)
        (disk / "uploads" / "both.csv").write_text(f"both {name}")
        append_jsonl(disk / "edits.jsonl", {"time": time_, "row": row})
        Keeper(REPO).round()
    third = on_disk("third")
    Keeper(REPO).round()
    mark = hashlib.sha256(b"both two").hexdigest()[:8]
    uploads = {"one.csv": b"one", "two.csv": b"two", "both.csv": b"both one", f"both-{mark}.csv": b"both two"}
    assert everything(third / "uploads") == uploads
    assert {line["row"] for line in read_jsonl(third / "edits.jsonl")} == {"a", "b"}
    assert {path.split("/")[0] for path in hub.store.files} == {"shelf"}


# --- Deleted, renamed, lost ---


def test_what_a_person_deletes_or_renames_is_deleted_and_renamed_there(
    hub: Hub, dataset: Dataset, on_disk: OnDisk
) -> None:
    small_run(dataset, "gone", STARTED)
    adapter(small_run(dataset, "was", STARTED))
    keeper = Keeper(REPO)
    keeper.round()
    uploads = hub.uploads
    delete_run(home() / "runs" / "gone")
    rename_run(home() / "runs" / "was", "is")
    keeper.round()
    assert hub.runs == {"is"} and hub.uploads == uploads  # its weights were there already
    on_disk("fresh")
    Keeper(REPO).round()
    assert [run.name for run in list_runs()] == ["is"]


@pytest.mark.parametrize("lost", ["runs", "."])
def test_a_disk_that_lost_its_runs_does_not_wipe_the_store(hub: Hub, dataset: Dataset, lost: str) -> None:
    small_run(dataset, "run", STARTED)
    Keeper(REPO).round()
    kept = dict(hub.store.files)
    shutil.rmtree(home() / lost)
    home().mkdir(exist_ok=True)
    keeper = Keeper(REPO)
    keeper.writer.keep()  # even if nothing has been brought back yet
    assert hub.store.files == kept
    keeper.round()
    assert hub.store.files == kept and [run.name for run in list_runs()] == ["run"]


def test_a_run_that_another_machine_went_on_with_is_not_deleted(hub: Hub, dataset: Dataset, on_disk: OnDisk) -> None:
    first = small_run(dataset, "run", STARTED)
    one, two, disk = kept_by_two(on_disk)
    second = disk / "runs" / "run"
    append_event(second, "message", text="from the second")
    two.round()
    on_disk("home")
    delete_run(first)
    one.writer.keep()
    assert b"from the second" in hub.store.files["runs/run/events.jsonl"]
    one.round()
    assert [run.name for run in list_runs()] == ["run"]


def test_what_is_deleted_on_one_machine_goes_from_the_other_and_comes_back_on_none(
    hub: Hub, dataset: Dataset, on_disk: OnDisk
) -> None:
    for name in ("gone", "stays", "changed there"):
        small_run(dataset, name, STARTED)
    one, two, second = kept_by_two(on_disk)
    append_event(second / "runs" / "changed there", "message", text="from the second")
    on_disk("home")
    for name in ("gone", "changed there"):
        delete_run(home() / "runs" / name)
    delete_dataset(dataset.folder)
    one.round()
    assert hub.runs == {"stays"} and hub.list_of("runs/gone")["trail"] == [f"{one.writer.name} 1"]
    assert "files" not in hub.list_of("runs/gone")  # for an earlier version that is a list of somebody else's
    assert {path for path in hub.store.files if path.startswith("runs/gone/")} == {f"runs/gone/{LIST}"}
    left = {"stays", "changed there"}
    for machine, keeper in (("second", two), ("second", Keeper(REPO)), ("home", one), ("third", Keeper(REPO))):
        disk = on_disk(machine)
        keeper.round()
        assert {run.name for run in list_runs()} == hub.runs == left
        assert not list(disk.glob("datasets/[!.]*")) and not list(disk.glob("*/.*.deleted"))
    commits = len(hub.store.commits)
    small_run(open_dataset(home() / "runs" / "stays" / "dataset"), "gone", STARTED)  # of a name that was free
    Keeper(REPO).round()
    assert hub.runs == left | {"gone"} and hub.list_of("runs/gone")["revision"] == 3
    assert len(hub.store.commits) == commits + 1


def test_a_run_that_trains_or_waits_is_not_taken_from_under_it(hub: Hub, dataset: Dataset, on_disk: OnDisk) -> None:
    folder = small_run(dataset, "run", STARTED)
    one = Keeper(REPO)
    one.round()
    with waiting(str(folder.resolve())) as training:
        write_json(folder / "process.json", {"pid": training.pid})
        second = on_disk("second")
        two = Keeper(REPO)
        two.round()
        delete_run(second / "runs" / "run")
        two.round()
        on_disk("home")
        one.round()
        assert hub.runs == set() and list_runs() == [folder]
        append_event(folder, "message", text="more")
        one.round()
        assert hub.runs == {"run"}
        training.kill()


# --- Without the Hub ---


def test_what_cannot_be_sent_waits_and_is_said(
    hub: Hub, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with HubServer() as gone:
        away = gone.url
    monkeypatch.setenv("HF_ENDPOINT", away)
    monkeypatch.setattr(keeping, "LONGEST_PAUSE", 0.05)
    small_run(dataset, "run", STARTED)
    keeper = Keeper(REPO)
    threading.Thread(target=keeper.attend, args=(0.05,), daemon=True).start()
    wait_for(lambda: keeper.problem.text)
    assert keeper.state().text == "waiting for the Hub: It cannot be reached (ConnectError)."
    assert keeper.state().since and not keeper.state().done
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    wait_for(lambda: keeper.state().done)
    assert hub.runs == {"run"}
    hub.failures = {"/commit/": 403}
    append_event(home() / "runs" / "run", "message", text="kept later")
    wait_for(lambda: keeper.problem.text)
    assert f"HF_TOKEN may not write to {REPO}" in keeper.state().text
    hub.failures = {}
    assert keeper.finish(PATIENCE)
    assert keeper.state().done and b"kept later" in hub.store.files["runs/run/events.jsonl"]
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warned if "not on the Hub yet" in text]) == 2  # once for each reason
    assert "Traceback" not in caplog.text and TOKEN not in caplog.text


def test_of_two_apps_with_one_home_one_keeps_and_the_next_takes_over(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "run", STARTED)
    first, second = Keeper(REPO), Keeper(REPO)
    for keeper in (first, second):
        threading.Thread(target=keeper.attend, args=(0.05,), daemon=True).start()
        wait_for(lambda: first.state().done)
    assert not second.state().done
    left = home() / KEEPING / ("0" * 32)
    left.mkdir()
    code = "from pipeline.space.store import staging\nwith staging() as folder: print(folder, flush=True), input()"
    with subprocess.Popen(running(code), cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as another:
        assert another.stdout
        used = Path(another.stdout.readline().decode().strip())
        first.finish(PATIENCE)
        append_event(folder, "message", text="by the second")
        wait_for(lambda: b"by the second" in hub.store.files["runs/run/events.jsonl"])
        assert second.finish(PATIENCE) and hub.runs == {"run"} and not left.exists()
        assert used.is_dir()  # a run that is sent elsewhere from the command line, perhaps
        another.kill()
    clear_work_folders(home() / KEEPING)
    assert not used.exists()


def test_a_commit_whose_answer_was_lost_is_known_again(hub: Hub, dataset: Dataset) -> None:
    folder = small_run(dataset, "run", STARTED)
    Keeper(REPO).round()
    append_event(folder, "message", text="arrived")
    hub.lost = 1
    with pytest.raises(httpx.RemoteProtocolError):
        Keeper(REPO).round()
    assert b"arrived" in hub.store.files["runs/run/events.jsonl"]
    append_event(folder, "message", text="more")
    Keeper(REPO).round()
    assert hub.runs == {"run"} and b"more" in hub.store.files["runs/run/events.jsonl"]


def test_a_public_repository_is_refused(hub: Hub, dataset: Dataset) -> None:
    hub.repositories[STORED] = Repository(private=False)
    with pytest.raises(Exception, match="is public already"):
        Keeper(REPO).round()
    assert not hub.store.files


def test_one_file_that_the_hub_refuses_holds_nothing_up(hub: Hub, dataset: Dataset, home: Path) -> None:
    small_run(dataset, "bad", STARTED)
    small_run(dataset, "good", STARTED)
    real = hub._commit  # pyright: ignore[reportPrivateUsage]

    def refuse(name: str, repository: Repository, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        bad = any("runs/bad/" in line["value"].get("path", "") for line in lines)
        return (400, {"error": "No"}) if bad else real(name, repository, lines)

    hub._commit = refuse  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Exception, match="Bad request"):
        Keeper(REPO).round()
    assert hub.runs == {"good"}


# --- What a store may hold ---


HOSTILE = [
    "../escaped.json",
    "dataset/../../escaped.json",
    "/etc/escaped.json",
    "adapter/model.pkl",
    "adapter/pytorch_model.bin",
    "adapter/code.py",
    "checkpoints/checkpoint-1/evil.pt",
    "checkpoints/checkpoint-1/deep/optimizer.pt",
    "checkpoints/../adapter/optimizer.pt",
    "process.json",
    ".hidden.json",
    "dataset/.hidden.json",
    "dataset\\..\\x.json",
    "a\x00b.json",
    "a\nb.json",
    "",
    "dataset/",
    "x" * 300 + ".json",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_do_not_belong(name: str) -> None:
    assert not belongs("runs", name)


@pytest.mark.parametrize("name", ["../runs/x.json", "uploads/../x.csv", "uploads/x.py", "replies/.x.jsonl", "app.py"])
def test_names_that_do_not_belong_on_the_shelf(name: str) -> None:
    assert not belongs("shelf", name)


def put(hub: Hub, folder: str, inside: dict[str, bytes], **wrong: Any) -> None:
    """Write a thing into the store as an attacker would; `wrong` replaces what the list says of each file."""
    told = {
        n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest(), "time": 1.0} | wrong for n, d in inside.items()
    }
    listed = json.dumps({"writer": "x", "revision": 1, "files": told}).encode()
    hub.store.files |= {f"{folder}/{name}": data for name, data in inside.items()} | {f"{folder}/{LIST}": listed}


def test_a_hostile_store_brings_nothing_but_runs(
    hub: Hub, dataset: Dataset, on_disk: OnDisk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_run(dataset, "good", STARTED)
    Keeper(REPO).round()
    fine = {"settings.json": b"{}"}
    for number, name in enumerate(HOSTILE):
        put(hub, f"runs/evil{number}", {**fine, name: b"x"})
    put(hub, "runs/..", fine)
    put(hub, "runs/.hidden", fine)
    put(hub, "runs/a\\b", fine)
    put(hub, "runs/deep/er", fine)
    put(hub, "other/x", fine)
    put(hub, "..", fine)
    put(hub, "runs/size", fine, size=10**15)
    put(hub, "runs/negative", fine, size=-1)
    put(hub, "runs/time", fine, time=float("inf"))
    put(hub, "runs/checksum", fine, sha256="0" * 64)
    hub.store.files[f"runs/nonsense/{LIST}"] = b"[" * 100_000
    hub.store.files[f"runs/binary/{LIST}"] = os.urandom(100)
    for name, value in {"deleted": "yes", "trail": {}}.items():
        hub.store.files[f"runs/good-{name}/{LIST}"] = json.dumps(
            {"writer": "x", "revision": 1, "files": {}, name: value}
        ).encode()
    gone = json.dumps({"writer": "x", "revision": 1, "deleted": True}).encode()
    hub.store.files |= {
        f"{place}/{LIST}": gone for place in ("runs/..", "runs/../uploads", "datasets/.", "other", "runs")
    }
    fresh = on_disk("fresh")
    Keeper(REPO).round()
    assert [path.name for path in sorted((fresh / "runs").iterdir()) if path.name != ".lock"] == ["good"]
    assert {path.name for path in fresh.iterdir()} == {"runs", "datasets", ".kept"}
    assert not list(tmp_path.rglob("escaped*")) and not Path("/etc/escaped.json").exists()
    assert sorted(path.name for path in (fresh / ".kept").iterdir()) == ["records.json"]
    assert "was left there" in caplog.text


def test_what_the_disk_has_no_room_for_is_not_begun(
    hub: Hub, dataset: Dataset, on_disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_run(dataset, "run", STARTED)
    Keeper(REPO).round()
    on_disk("fresh")
    usage = shutil.disk_usage(PROJECT)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=10))
    keeper = Keeper(REPO)
    with pytest.raises(Exception, match="what is kept on the Hub needs about"):
        keeper.round()
    assert not list_runs()


# --- On a Space ---


def test_where_things_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SPACE_ID", "HF_TOKEN", "SHELFTALK_STORE", "SHELFTALK_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(files, "VOLUME", tmp_path / "data")
    assert (keeping.store_name(), files.home(), keeping.state().text) == ("", PROJECT, "")
    monkeypatch.setenv("SPACE_ID", "mira/shop")
    assert keeping.store_name() == "" and "lost when this Space restarts" in keeping.state().text
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert keeping.store_name() == REPO
    monkeypatch.setenv("SHELFTALK_STORE", "mira/other")
    assert keeping.store_name() == "mira/other"
    monkeypatch.delenv("SHELFTALK_STORE")
    (tmp_path / "data").mkdir()
    assert (keeping.store_name(), files.home(), keeping.state().text) == ("", tmp_path / "data", "")
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path / "mine"))
    assert files.home() == tmp_path / "mine"


@pytest.mark.parametrize("told", [GOING_DOWN, "by a person"])
@pytest.mark.parametrize("place", ["mira/shop", "mira/other", ""])
def test_only_what_its_own_space_took_down_goes_on_by_itself(
    told: str, place: str, hub: Hub, dataset: Dataset, on_disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", "mira/shop")
    stopping = ("message", {"text": "down", told: True})
    checkpoint(small_run(dataset, "run", STARTED, stopping, ("stopped", {})), 1)
    write_text(small_run(dataset, "waits") / QUEUED, "1\n")
    Keeper(REPO).round()
    fresh = on_disk("fresh") / "runs"
    monkeypatch.setenv("SPACE_ID", place)
    Keeper(REPO).round()
    same = place == "mira/shop"
    assert [f.name for f in queued_runs()] == ["run"] * (same and told == GOING_DOWN) + ["waits"] * same
    assert status(fresh / "run").state == "stopped" and status(fresh / "waits").state == ("queued" if same else "new")
    commits = len(hub.store.commits)
    Keeper(REPO).round()
    assert len(hub.store.commits) == commits  # nor is the other's queue changed


def test_a_space_with_its_own_storage_goes_on_too(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_run(dataset, "run", STARTED, ("message", {"text": "down", GOING_DOWN: True}), ("stopped", {}))
    write_json(folder / "process.json", {"pid": 2**22 + 1})
    queue_again(folder)
    assert not queued_runs()
    monkeypatch.setenv("SPACE_ID", "mira/shop")
    queue_again(folder)
    assert queued_runs() == [folder]


def test_the_status_line_says_whether_it_is_kept(hub: Hub, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from tabs.status_line import status_line

    assert "<b>kept</b>" not in status_line()
    keeper = Keeper(REPO)
    monkeypatch.setattr(keeping, "_keeper", keeper)
    assert "<b>kept</b> looking at the Hub<" in status_line()
    keeper.closing.set()
    keeper.attend()
    assert re.search(r"<b>kept</b> on the Hub, \d+ s ago<", status_line())
    hub.failures = {"/commit/": 503}
    append_event(small_run(dataset, "run"), "message", text="more")
    keeper.closed.clear()
    keeper.attend()
    said = r"<b>kept</b> waiting for the Hub: It has a problem of its own \(HTTP 503\). For \d+ s now.<"
    assert re.search(said, status_line())


def test_no_token_is_left_anywhere(hub: Hub, dataset: Dataset, on_disk: OnDisk, tmp_path: Path) -> None:
    small_run(dataset, "run", STARTED)
    for failing in ({}, {"/commit/": 403}, {"/api/datasets": 401}, {}):
        hub.failures = failing
        append_event(home() / "runs" / "run", "message", text="more")
        keeper = Keeper(REPO)
        keeper.closing.set()
        keeper.attend()
        assert TOKEN not in repr(keeper.state()) and keeper.state().done == (not failing)
    on_disk("fresh")
    Keeper(REPO).round()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert not [path for path, data in hub.store.files.items() if TOKEN.encode() in data]
