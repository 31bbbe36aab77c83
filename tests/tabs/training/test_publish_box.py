"""A run's model published by clicking: downloaded as one file, and pushed to a local Hub."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, expect

from tests.servers.hub import TOKEN, HubServer
from tests.tabs.conftest import (
    PATIENCE,
    App,
    choose,
    click_row,
    knowing_a_hub,
    open_page,
    open_tab,
    run_row,
    text_box,
    unfold,
    until_told,
)


@pytest.fixture
def hub(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HubServer, App]]:
    """An app of its own with a finished run, which knows a local Hub and no token."""
    shutil.copytree(finished_run, tmp_path / "runs" / "kites")
    with knowing_a_hub(tmp_path, monkeypatch) as known:
        yield known


@contextmanager
def holding(server: HubServer, word: str) -> Iterator[None]:
    """Until the block ends, the Hub answers nothing whose path holds the word: what the page shows meanwhile stays."""
    go = Event()

    def hold(method: str, path: str, sent: dict[str, Any]) -> None:
        if word in path:
            go.wait()

    server.extensions.append(hold)
    try:
        yield
    finally:
        go.set()


def test_a_model_is_downloaded_and_pushed_and_the_token_is_kept_nowhere(
    hub: tuple[HubServer, App], browser: Browser
) -> None:
    server, app = hub
    page = open_page(app, browser)
    open_tab(page, "training")
    unfold(page, "history")
    until_told(page.locator("#picked-about", has_text="kites"), lambda: click_row(run_row(page, "kites")))
    unfold(page, "publish-model")
    token, said = page.locator("#model-token input"), page.locator("#model-said")
    with page.expect_download(timeout=3 * PATIENCE * 1000) as download:
        page.locator("#model-make").click()
    assert download.value.suggested_filename == "kites-adapter.zip"
    with ZipFile(download.value.path()) as archive:
        assert {"kites-adapter/README.md", "kites-adapter/adapter_model.safetensors"} < set(archive.namelist())
    expect(said.locator(".done")).to_be_visible()

    token.fill(TOKEN)
    page.locator("#model-push").click()
    expect(said).to_contain_text("license")
    expect(token).to_have_value("")
    choose(page, "model-license", "cc-by-4.0")
    text_box(page, "model-repo").fill("mira/kites")
    token.fill(TOKEN)
    with holding(server, "/preupload/"):
        page.locator("#model-push").click()
        for button in ("#model-make", "#model-push"):
            expect(page.locator(button)).to_be_disabled()
    expect(said.locator("a")).to_have_attribute("href", f"{server.url}/mira/kites", timeout=3 * PATIENCE * 1000)
    expect(page.locator("#model-push")).to_be_enabled()
    expect(said.locator("[data-vllm=yes]")).to_contain_text("vllm serve")
    repository = server.repositories["models/mira/kites"]
    assert repository.private and b"license: cc-by-4.0" in repository.files["README.md"]
    assert TOKEN not in page.content()
    page.close()
    kept = [p for p in app.home.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()]
    assert not kept and not app.strangers
