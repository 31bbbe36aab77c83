"""From a fresh copy to a Space: deployed by one command, a training that outlives its container, and all of it there later.

The Hub is a local server; a "container" is a folder with nothing in it but what the deployment has sent there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from pipeline.files import PROJECT
from tests.servers.hub import TOKEN
from tests.servers.hub_spaces import SpacesHub
from tests.servers.hub_store import PATIENCE, wait_for
from tests.tabs.conftest import start_app

SPACE = "mira/shelftalk"
STORE = f"datasets/{SPACE}-data"
LONGER = {"timeout": PATIENCE}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpacesHub]:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # its storage is another server
    with SpacesHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def deploy() -> str:
    """Run the one command; returns what it prints."""
    command = [sys.executable, "-m", "pipeline", "deploy", "--hardware", "t4-small", "--yes"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ | {"HF_TOKEN": TOKEN},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


@contextmanager
def container(hub: SpacesHub, folder: Path, *, copy: bool = True) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """What the Hub starts: the Space's files in an empty folder, its variables and its secrets; killed at the end.

    Args:
        copy: off for one that runs the same files where they were sent from, which is started more quickly.
    """
    folder.mkdir()
    space = hub.spaces[SPACE]
    told = {"SPACE_ID": SPACE, "SPACE_AUTHOR_NAME": "mira", **space.variables, **space.secrets}
    if copy:
        for path, data in hub.repositories[f"spaces/{SPACE}"].files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        process, url = start_app(folder, str(folder / "app.py"), PYTHONPATH=str(folder), **told)
    else:
        process, url = start_app(folder, **told)
    try:
        yield process, url
    finally:
        process.kill()
        process.wait(PATIENCE)


def call(url: str, endpoint: str, token: str | None = TOKEN, **values: Any) -> Any:
    return Client(url, token=token or False, verbose=False, httpx_kwargs=LONGER).predict(api_name=endpoint, **values)


def test_a_run_is_there_the_next_day_though_its_space_went_down_twice(
    hub: SpacesHub, tiny_base: Path, tmp_path: Path
) -> None:
    assert f"/spaces/{SPACE}" in deploy()
    assert hub.spaces[SPACE].secrets == {"HF_TOKEN": TOKEN}
    yesterday, tonight, today = (tmp_path / name for name in ("yesterday", "tonight", "today"))

    with container(hub, yesterday) as (process, url):
        call(url, "/generate_dataset", products=2)
        # Longer than the seconds between two looks at what trains.
        name = call(url, "/start_training", preset="recall", base_model=str(tiny_base))["run"]
        events = yesterday / "runs" / name / "events.jsonl"
        wait_for(lambda: events.is_file() and '"step"' in events.read_text() and -1 in hub.spaces[SPACE].sleep_times)
        process.terminate()  # nobody is looking: the laptop is closed
        assert process.wait(PATIENCE) == 0
    assert -1 in hub.spaces[SPACE].sleep_times  # it may not sleep while a run is on
    assert f"runs/{name}/events.jsonl" in hub.repositories[STORE].files

    with container(hub, tonight, copy=False) as (process, url):
        adapter = f"runs/{name}/adapter/adapter_model.safetensors"
        wait_for(lambda: adapter in hub.repositories[STORE].files, 3 * PATIENCE)
        process.kill()  # and no word said

    with container(hub, today, copy=False) as (process, url):
        wait_for(lambda: any(run["run"] == name and run["state"] == "finished" for run in call(url, "/training_runs")))
        steps = [json.loads(line) for line in (today / "runs" / name / "events.jsonl").read_text().splitlines()]
        told = [event["step"] for event in steps if event["type"] == "step"]
        assert sorted(set(told)) == list(range(1, max(told) + 1)) and steps[-1]["type"] == "finished"
        wait_for(lambda: (today / "runs" / name / "adapter").is_dir())
        comparison = call(url, "/compare", run=name)
        assert comparison["training"]["steps"] == max(told) and comparison["questions"]
        visitor = call(url, "/ask", token=None, question=comparison["questions"][0]["question"])
        assert visitor["tuned"]["raw"] and "base" in visitor
        report = f"runs/{name}/report.html"
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert report in hub.repositories[STORE].files
    assert hub.repositories[STORE].private
    assert not any(TOKEN.encode() in data for data in hub.repositories[STORE].files.values())
