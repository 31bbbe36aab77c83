"""The page of a Space that may fall asleep while it trains says so where the run is."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pipeline.dataset.store import Dataset
from pipeline.runs import launcher
from pipeline.runs.manage import create_run
from pipeline.runs.status import status
from tests.children import end
from tests.servers.hub import TOKEN, Repository
from tests.servers.hub_spaces import Space, SpacesHub
from tests.tabs.conftest import PATIENCE, STEPPED, App, open_page, open_tab, start_app, tells
from tests.tiny import tiny_settings

SPACE = "mira/shelftalk"


@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_run_on_a_space_says_whether_it_may_be_put_to_sleep(
    token: str, dataset: Dataset, tiny_base: Path, home: Path, browser: Browser
) -> None:
    with SpacesHub() as hub:
        hub.repositories[f"spaces/{SPACE}"] = Repository(private=False)
        hub.spaces[SPACE] = Space(hardware="l4x1", sleep_time=1800, stages=["RUNNING"])
        process, url = start_app(home, SPACE_ID=SPACE, HF_TOKEN=token, HF_ENDPOINT=hub.url)
        folder = create_run(dataset, tiny_settings(tiny_base, max_steps=100_000))
        launcher.start(folder)
        try:
            page = open_page(App(url, home), browser)
            open_tab(page, "training")
            expect(page.locator(STEPPED)).to_be_visible()
            if token:
                until = time.monotonic() + PATIENCE
                while not hub.spaces[SPACE].sleep_times and time.monotonic() < until:
                    page.wait_for_timeout(100)
                expect(page.locator("#pace .notice")).to_have_count(0)
            else:
                expect(page.locator("#pace .notice")).to_contain_text("no HF_TOKEN")
            launcher.stop(folder)
            list(launcher.watch(folder))
            tells(page, "ending", state="stopped")
            expect(page.locator("#pace .notice")).to_have_count(0)
            page.close()
        finally:
            process.terminate()
            process.wait(PATIENCE)
            end([folder])
    assert status(folder).state == "stopped" and hub.spaces[SPACE].sleep_times == ([-1] if token else [])
