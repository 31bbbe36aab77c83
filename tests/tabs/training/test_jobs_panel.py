"""The accordion “Run elsewhere” in a real browser: a run goes to a job and comes back."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.children import running
from tests.servers.hub import TOKEN
from tests.servers.hub_jobs import JobsHub
from tests.servers.hub_store import REPO
from tests.tabs.conftest import (
    FEW,
    PATIENCE,
    App,
    change_setting,
    open_page,
    open_tab,
    set_slider,
    start_app,
    until_told,
)

IN_A_HURRY = """
import runpy
from pipeline.space import elsewhere, watching
elsewhere.KEEP_SECONDS = watching.WATCH_SECONDS = 1.0
runpy.run_path("app.py", run_name="__main__")
"""
"""The app, whose jobs bring what they have every second, and which looks as often."""

ACCORDION = "Run elsewhere (Hugging Face Jobs)"


def unfold(page: Page) -> None:
    page.get_by_role("button", name=ACCORDION).click()


def test_a_run_is_sent_shown_and_cancelled(
    browser: Browser, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with JobsHub(tmp_path / "machines") as hub:
        told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "SHELFTALK_STORE": REPO, "HF_HUB_DISABLE_XET": "1"}
        process, url = start_app(home, *running(IN_A_HURRY)[1:], **told)
        try:
            _send_and_cancel(hub, open_page(App(url, home), browser), tiny_base, home)
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert TOKEN not in (home / "app.log").read_text()


def _send_and_cancel(hub: JobsHub, page: Page, base: Path, home: Path) -> None:
    set_slider(page, "teach", 2)
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts")).to_contain_text("2 products")
    page.locator("#go-training").click()
    expect(page.locator("#plan")).to_contain_text("Will it learn?")
    page.get_by_label("Base model").fill(str(base))
    page.get_by_label("Base model").press("Enter")
    for name, (value, words) in (FEW | {"set-max_steps": (2000, "Fixed number of updates 2")}).items():
        change_setting(page, name, value, words)
    unfold(page)
    until_told(page.locator("#elsewhere-problem"), "No hardware is chosen", page.locator("#elsewhere-start").click)
    page.get_by_label("Its hardware").click()
    page.get_by_role("option", name="t4-small · $0.40 an hour").click()
    page.locator("#elsewhere-start").click()
    expect(page.locator("#elsewhere-said")).to_contain_text("t4-small at $0.40 an hour")
    expect(page.locator("#run-headline")).to_contain_text("training")
    expect(page.locator("#status")).to_contain_text("a run trains elsewhere")
    expect(page.locator("#pace")).to_contain_text("step ", timeout=3 * PATIENCE * 1000)  # the job's, and brought here
    page.reload()
    open_tab(page, "2 Training")
    unfold(page)
    expect(page.locator("#elsewhere-said")).to_contain_text("so far")
    page.locator("#elsewhere-cancel").click()
    expect(page.locator("#elsewhere-said")).to_contain_text("was cancelled", timeout=3 * PATIENCE * 1000)
    expect(page.locator("#ending")).to_contain_text("Stopped")
    assert [job.cancelled for job in hub.jobs.values()] == [True]
    assert list(home.glob("runs/*/adapter/adapter_model.safetensors"))
    page.close()
