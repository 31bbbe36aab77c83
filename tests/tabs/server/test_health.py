"""What the app says of itself to whoever watches it: `GET /health`, its log as a Space, and the About panel."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.files import write_json
from pipeline.machine import NEARLY_FULL, VERSION, versions
from pipeline.runs.events import append_event
from pipeline.runs.folder import EVENTS, PROCESS
from tabs.about import about
from tabs.server import health
from tabs.ui.activity import doing
from tests.children import waiting
from tests.servers.hub import HubServer, account
from tests.tabs.conftest import PATIENCE, App, client_of, end_trainings, open_page, start_app, unfold
from tests.test_logs import parsed

SECRET = "topsecret-of-this-space"
OWNERS_TOKEN = "hf_owner1a2b3c4d"
QUESTION = "How large is the Brindlewick Kite, honestly?"


@pytest.fixture(scope="module")
def space(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app as a Space, with a run and an owner whom the Hub knows."""
    home = tmp_path_factory.mktemp("space")
    shutil.copytree(finished_run, home / "runs" / "tiny")
    with HubServer() as hub:
        hub.users[OWNERS_TOKEN] = account("someone")
        told = {"SHOP_API_TOKEN": SECRET, "HF_TOKEN": "hf_abcdEFGH12345678"}
        process, url = start_app(home, SPACE_ID="someone/space", HF_ENDPOINT=hub.url, **told)
        yield App(url, home)
        process.terminate()
        process.wait(PATIENCE)
        end_trainings(home)


def ask_health(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/health", timeout=PATIENCE) as reply:
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["cache-control"] == "no-store"
        return json.load(reply)


def test_health_is_answered_beside_the_page(space: App) -> None:
    found = ask_health(space.url)
    assert found["version"] == VERSION and found["state"] == "idle" and found["run"] is None
    assert found["uptime_seconds"] >= 0
    assert found["status"] == ("disk nearly full" if found["disk_nearly_full"] else "ok")
    assert urllib.request.urlopen(urllib.request.Request(f"{space.url}/health", method="HEAD")).status == 200
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(urllib.request.Request(f"{space.url}/health", method="POST", data=b""))


def test_health_holds_nothing_secret(space: App) -> None:
    with urllib.request.urlopen(f"{space.url}/health", timeout=PATIENCE) as reply:
        text = reply.read().decode()
    assert SECRET not in text and "hf_" not in text and str(space.home) not in text


def test_health_says_what_is_going_on(home: Path, finished_run: Path) -> None:
    run = home / "runs" / "tiny"
    shutil.copytree(finished_run, run)
    assert health.health()["state"] == "idle"
    with doing("answering a question"):
        assert health.health()["state"] == "answering"
    with waiting(str(run.resolve())) as child:
        (run / EVENTS).unlink()
        append_event(run, "started")
        write_json(run / PROCESS, {"pid": child.pid})
        found = health.health()
        assert (found["state"], found["run"]) == ("training", "tiny")
        child.kill()
    assert health.health()["run"] is None


def test_health_tells_of_a_disk_that_is_nearly_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.disk_usage("/").free
    monkeypatch.setattr(health, "NEARLY_FULL", 2 * free)
    assert health.health()["status"] == "disk nearly full" and health.health()["disk_nearly_full"]
    monkeypatch.setattr(health, "NEARLY_FULL", 0)
    assert health.health()["status"] == "ok"
    assert NEARLY_FULL > 0


def test_as_a_space_the_app_logs_json_with_runs_and_no_words_of_visitors(space: App) -> None:
    client = client_of(space.url)
    client.predict(question=QUESTION, run="tiny", api_name="/ask")
    with pytest.raises(Exception, match="is gone"):
        client.predict(question=QUESTION, run=SECRET, api_name="/ask")
    text = (space.home / "app.log").read_text()
    lines = parsed(text)
    answered = next(line for line in lines if line["message"].startswith("Question answered"))
    assert answered["run"] == "tiny" and answered["seconds"] >= 0 and answered["tokens"] > 0
    assert QUESTION not in text and "Brindlewick" not in text and SECRET not in text


def test_a_run_s_life_is_logged_with_its_name(space: App) -> None:
    client = client_of(space.url, OWNERS_TOKEN)
    client.predict(products=2, api_name="/generate_dataset")
    run = client.predict(preset="quick", api_name="/start_training")["run"]
    client.predict(api_name="/stop_training")
    said: list[str] = []
    for _ in range(PATIENCE * 10):
        said = [line["message"] for line in parsed((space.home / "app.log").read_text()) if line.get("run") == run]
        if any(message.startswith((f"Run {run} stopped", f"Run {run} failed")) for message in said):
            break
        time.sleep(0.1)
    assert said[0] == f"Run {run} started" and f"Run {run} is asked to stop" in said
    assert said[-1].startswith((f"Run {run} stopped", f"Run {run} failed"))


def test_about_is_text_to_copy_without_a_path_of_the_space(space: App, browser: Browser) -> None:
    page = open_page(space, browser)
    text = open_about(page)
    assert f"shelftalk {VERSION}" in text and f"gradio {versions()['gradio']}" in text and "Python 3." in text
    assert "core" in text and "GB free" in text and "Apache-2.0" in text and "https://huggingface.co/" in text
    assert str(space.home) not in text and SECRET not in text
    expect(page.locator("#about-text button")).to_be_visible()  # which copies it
    page.close()


def open_about(page: Page) -> str:
    unfold(page, "about")
    box = page.locator("#about-text .cm-content")
    expect(box).to_contain_text("gradio")
    box.press("ControlOrMeta+a")
    # The text can be selected, and so copied.
    page.wait_for_function("['gradio', '/health'].every(word => getSelection().toString().includes(word))")
    return box.inner_text()


def test_about_says_where_things_are_on_one_s_own_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert f"Kept in: {home}" in about()
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert str(home) not in about()


def test_versions_are_known_without_loading_what_they_are_of() -> None:
    script = "import sys; from pipeline.machine import versions; print('torch' in versions(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
