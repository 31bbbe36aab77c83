"""The accordion “Run elsewhere” in a real browser: a run goes to a job and comes back."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.children import running
from tests.servers.hub import TOKEN
from tests.servers.hub_jobs import JobsHub
from tests.servers.hub_store import REPO
from tests.tabs.conftest import (
    PATIENCE,
    STEPPED,
    App,
    choose,
    open_page,
    open_tab,
    plan_small,
    start_app,
    tells,
    unfold,
    until_told,
)

IN_A_HURRY = """
import runpy
from pipeline.space import elsewhere, watching
elsewhere.KEEP_SECONDS = watching.WATCH_SECONDS = 1.0
runpy.run_path("app.py", run_name="__main__")
"""
"""The app, whose jobs bring what they have every second, and which looks as often."""


def test_a_run_is_sent_shown_and_cancelled(
    browser: Browser, slow_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with JobsHub(tmp_path / "machines") as hub:
        told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "SHELFTALK_STORE": REPO, "HF_HUB_DISABLE_XET": "1"}
        process, url = start_app(home, *running(IN_A_HURRY)[1:], **told)
        try:
            _send_and_cancel(hub, open_page(App(url, home), browser), slow_base, home)
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert TOKEN not in (home / "app.log").read_text()


def _send_and_cancel(hub: JobsHub, page: Page, base: Path, home: Path) -> None:
    plan_small(page, base, 3000)  # it never finishes before it is cancelled
    unfold(page, "elsewhere")
    until_told(page.locator("#elsewhere-problem .problem"), page.locator("#elsewhere-start").click)
    expect(page.locator("#elsewhere-problem")).to_contain_text("hardware")
    choose(page, "elsewhere-hardware", "t4-small")
    page.locator("#elsewhere-start").click()
    expect(page.locator("#elsewhere-said")).to_contain_text(re.compile(r"t4-small.*\$0\.40"))
    tells(page, "run-headline", state="running")
    expect(page.locator("#status [data-state~=elsewhere]")).to_be_visible()
    expect(page.locator(STEPPED)).to_be_visible(timeout=3 * PATIENCE * 1000)  # the job's, and brought here
    page.reload()
    open_tab(page, "training")
    unfold(page, "elsewhere")
    expect(page.locator("#elsewhere-said")).to_contain_text(re.compile(r"\$0\.40.*\$\d"))  # what it has cost so far
    page.locator("#elsewhere-cancel").click()
    expect(page.locator("#elsewhere-said [data-stage=CANCELED]")).to_be_visible(timeout=3 * PATIENCE * 1000)
    tells(page, "ending", state="stopped")
    assert [job.cancelled for job in hub.jobs.values()] == [True]
    assert list(home.glob("runs/*/adapter/adapter_model.safetensors"))
    page.close()
