"""Every example of the page's API in `docs/API.md`, run as it stands against the real app."""

import re
from pathlib import Path
from typing import Any

import gradio_client
import pytest

from pipeline.files import PROJECT
from tests.children import wait_for
from tests.tabs.conftest import App, an_app, end_trainings, make_trained
from tests.tabs.test_app import ENDPOINTS

CHAPTER = (PROJECT / "docs" / "API.md").read_text(encoding="utf-8").partition("## The page's own API")[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", CHAPTER, re.DOTALL)
HERE = "http://127.0.0.1:7860"


def test_the_examples_do_what_they_say(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with an_app(tmp_path) as app:
        connect = gradio_client.Client
        monkeypatch.setattr(
            gradio_client, "Client", lambda url: connect(app.url if url == HERE else url, verbose=False)
        )
        names: dict[str, Any] = {}
        for example in EXAMPLES:
            if "/judge" in example:  # of a run that is trained
                end_trainings(app.home)
                make_trained(App(app.url, tmp_path), tiny_base)
            exec(example, names)
            if "/start_training" in example:
                wait_for(lambda: names["client"].predict(run=names["run"], api_name="/training_status")["total"])
        said = capsys.readouterr().out
        end_trainings(app.home)
    assert names["made"]["counts"]["products"] == 4
    assert names["status"]["run"] == names["run"] and names["status"]["state"] == "running"
    assert [*names["answers"][0]["ways"]] == ["auto", "extractive"]
    assert said.splitlines()[-1] == "I don't know this product."


def test_every_name_is_told(app: App) -> None:
    assert {name for name in ENDPOINTS if f"`{name}`" not in CHAPTER and f'"{name}"' not in CHAPTER} == set()


def test_what_has_no_name_is_private(app: App) -> None:
    """Each handler of the page's own is listed nowhere, and no name is the handler's own by Gradio's default."""
    client = gradio_client.Client(app.url, verbose=False)
    listed = {
        f"/{d['api_name']}" for d in client.config["dependencies"] if d["api_visibility"] == "public" and d["api_name"]
    }
    assert listed == ENDPOINTS
