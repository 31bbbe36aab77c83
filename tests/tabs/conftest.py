"""The real app in a process of its own, with a home of its own, and a real browser that looks at it.

No request may leave this machine, and nothing that a catalogue holds may run: every page checks both when it closes.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from gradio_client import Client
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, ViewportSize, expect, sync_playwright

from pipeline.catalogue.uploads import open_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT
from pipeline.runs.manage import create_run
from tabs.chat import after_training
from tabs.training.settings_form import GROUPS
from tests.children import end
from tests.servers.hub import HubServer
from tests.tiny import build_model, tiny_settings, train_here

PATIENCE = 300
"""Seconds that something may take before a test gives up on it: the machine may be busy."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
]

STILL = """addEventListener("DOMContentLoaded", () => {
    const style = document.createElement("style")
    style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important }"
    document.head.append(style)
})"""
"""Nothing moves: without a GPU every frame of every spinner is drawn by the processor that the app needs."""

VIEW: ViewportSize = {"width": 1400, "height": 900}
"""Pixels of a page."""

expect.set_options(timeout=PATIENCE * 1000)


@dataclass
class App:
    """The running app: its address and its home."""

    url: str
    home: Path
    strangers: list[str] = field(default_factory=list)
    """Requests that would have left this machine."""


def start_app(
    home: Path, *program: str, folder: Path = PROJECT, **variables: str
) -> tuple[subprocess.Popen[bytes], str]:
    """Start `python app.py`, or another program that serves the app, in a folder and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "SHELFTALK_HOME": str(home),
        "PORT": str(port),
        "GRADIO_TEMP_DIR": str(home / "temporary"),
    }
    environment |= {"OPENAI_API_KEY": "", "SPACE_ID": "", after_training.OFF: "0", **variables}
    command = [sys.executable, *(program or ["app.py"])]
    with (home / "app.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return process, url
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"The app does not answer: {(home / 'app.log').read_text()}")


@contextmanager
def knowing_a_hub(home: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[HubServer, App]]:
    """An app of its own with that home, which knows a local Hub and no token."""
    with HubServer() as server:
        for name, value in {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}.items():
            patch.setenv(name, value)
        process, url = start_app(home)
        yield server, App(url, home)
        process.terminate()
        process.wait(PATIENCE)


def client_of(url: str, token: str | None = None) -> Client:
    """The app's API as another program sees it, with the patience of the tests: a client's own is five seconds."""
    return Client(url, token=token or False, verbose=False, httpx_kwargs={"timeout": PATIENCE})


@contextmanager
def an_app(home: Path) -> Iterator[App]:
    """The app with its home, until the block ends."""
    process, url = start_app(home)
    yield App(url, home)
    process.terminate()
    process.wait(PATIENCE)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with an_app(tmp_path_factory.mktemp("home")) as started:
        yield started
    end_trainings(started.home)


def end_trainings(home: Path) -> None:
    """A training outlives its app, but not the tests: one that failed may have left it running."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in process.info["cmdline"] or []):
            process.kill()
    end((home / "runs").glob("*/"))  # one that waited for its run does not name it


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A file has its own: while Playwright is there its thread has a running event loop, so `asyncio.run` fails in it."""
    path = os.environ.get("SHELFTALK_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, "No Chromium or Chrome was found; `make test` provides one, or set SHELFTALK_BROWSER."
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield found
        found.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


FAILED = pytest.StashKey[bool]()

FRAMES = """() => Promise.race([
    new Promise(done => requestAnimationFrame(() => done("frames come"))),
    new Promise(done => setTimeout(() => done("no frame comes"), 5000)),
])"""


def tell_what_it_does(page: Page) -> None:
    """Print what a page is at that no longer answers: Playwright says only that it waited."""
    session, stacks = page.context.new_cdp_session(page), []
    session.on("Debugger.paused", lambda event: stacks.append([f["functionName"] for f in event["callFrames"]]))
    with suppress(Error):
        session.send("Debugger.enable")
        session.send("Debugger.pause")
        page.wait_for_timeout(1000)
        session.send("Debugger.disable")
        print(f"The page is {page.evaluate('document.visibilityState')}; {page.evaluate(FRAMES)}.")
    print(f"It is at: {stacks or 'nothing'}")


@pytest.fixture
def page(app: App, browser: Browser, windows: list[Page], request: pytest.FixtureRequest) -> Iterator[Page]:
    """The app's page, opened for this test."""
    while windows:  # each window costs, also where nobody looks
        forget_page(windows.pop(), app.url)
    opened = open_page(app, browser)
    yield opened
    look_back(opened, app, request)
    forget_page(opened, app.url)


@pytest.fixture(scope="module")
def windows(browser: Browser) -> list[Page]:
    """The page that the tests of a file share, once one of them has opened it."""
    return []


@pytest.fixture
def same_page(app: App, browser: Browser, windows: list[Page], request: pytest.FixtureRequest) -> Iterator[Page]:
    """The app's page as the test before left it, if that had it from here and went well; else a new one.

    To open a page costs four seconds of a processor: a test that finds its way from wherever it is does without."""
    if not windows:
        windows.append(open_page(app, browser))
    (opened,) = windows
    yield opened
    if request.node.stash.get(FAILED, False):
        windows.clear()
    look_back(opened, app, request)
    if not windows:
        forget_page(opened, app.url)


def look_back(opened: Page, app: App, request: pytest.FixtureRequest) -> None:
    """What no page may have done, whatever the test was about."""
    if request.node.stash.get(FAILED, False):
        tell_what_it_does(opened)
    assert not app.strangers, "The page asked for something on another machine."
    assert opened.evaluate("window.ranAway") is None, "Text from a catalogue was run."


def open_page(app: App, browser: Browser) -> Page:
    """Open the app in a window; what would leave this machine is noted. All windows share what they have loaded once."""
    context = next(iter(browser.contexts), None) or _new_context(browser)
    opened = context.new_page()
    opened.on("request", lambda request: _note_strangers(app, request.url))
    opened.goto(app.url)
    expect(opened.locator("#catalogue-counts [data-usable]")).to_be_visible()
    return opened


def _new_context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport=VIEW, color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(STILL)
    return context


def _note_strangers(app: App, url: str) -> None:
    if not url.startswith((app.url, "data:", "blob:")):
        app.strangers.append(url)


def forget_page(page: Page, origin: str) -> None:
    """Close the page, and what it kept in the browser is gone."""
    session = page.context.new_cdp_session(page)
    session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "local_storage"})
    page.close()


# --- Found by ids and told by `data-…`, so that the words of the page may change ---


def open_tab(page: Page, name: str) -> None:
    """Open a tab by its id."""
    page.locator(f"[role=tab][data-tab-id={name}]").click()


def has_controls(page: Page, controls: Iterable[tuple[str, str]]) -> None:
    """The page shows controls of these roles and names, as a screen reader finds them; all other tests go by ids, so that words
    may change."""
    for role, name in controls:
        expect(page.get_by_role(cast(Any, role), name=name)).to_be_visible()


def unfold(page: Page, name: str) -> None:
    """Click on an accordion's head."""
    page.locator(f"#{name} > button.label-wrap").click()


def text_box(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} textarea, #{name} input").first


def option(page: Page, name: str, which: int | str) -> Locator:
    """An option of a list that is open: by its number, or by the value or name that it begins with."""
    wanted = (
        f"[data-index='{which}']"
        if isinstance(which, int)
        else f"[aria-label^={json.dumps(which, ensure_ascii=False)}]"
    )
    return page.locator(f"#{name} [role=option]{wanted}").first


def choose(page: Page, name: str, which: int | str) -> None:
    page.locator(f"#{name} input").click()
    option(page, name, which).click()


def tells(page: Page, place: str, /, **values: object) -> None:
    """Wait until a place of the page tells these values in `data-…`."""
    for name, value in values.items():
        told = f"data-{name.replace('_', '-')}"
        expect(page.locator(f"#{place} [{told}]")).to_have_attribute(told, str(value))


TRIES = (5, 10, 20, 40, PATIENCE)
"""Seconds that the page may take to tell of what was done before it is done again: in the moment in which a part unfolds,
or in which the answer to an earlier click ends, Gradio passes over what is clicked or typed there, faster than a person could."""


def until_told(place: Locator, action: Callable[[], None]) -> None:
    """Do something again until the page has heard of it, which is when `place` is there."""
    for seconds in TRIES[:-1]:
        action()
        with suppress(AssertionError):
            expect(place).to_be_visible(timeout=seconds * 1000)
            return
    expect(place).to_be_visible()


def set_slider(page: Page, name: str, value: float) -> None:
    """Type a value into a slider's number box, opening the group it is in."""
    box = page.locator(f"#{name} input[type=number]")
    if not box.is_visible():
        unfold(page, GROUP_OF[name])
    box.fill(str(value))
    box.press("Enter")


def generate(page: Page, products: int, sign: str = "#dataset-counts") -> None:
    """Generate a dataset; the click may come before the page has heard of the number, faster than a person's could.

    Args:
        sign: what tells it from another of as many products that may be shown already.
    """

    def ask() -> None:
        set_slider(page, "teach", products)
        page.locator("#generate").click()

    of_so_many = page.locator("#dataset-result").filter(
        has=page.locator(f"#dataset-counts [data-products='{products}']")
    )
    until_told(of_so_many.filter(has=page.locator(sign)), ask)


GROUP_OF = {f"set-{c.name}": f"group-{number}" for number, group in enumerate(GROUPS.values()) for c in group}


def cell(page: Page, table: str, row: int, column: int) -> Locator:
    """A cell of a table by its row on the page and its column, both from 0."""
    return page.locator(f"#{table} [data-testid=cell-{row}-{column}]")


def run_row(page: Page, text: str, table: str = "runs") -> Locator:
    """The rows of a table of runs that hold a run's name, or a value of it."""
    return page.locator(f"#{table}").get_by_role("row").filter(has_text=text)


def click_row(row: Locator) -> None:
    """Pick the last of these rows."""
    row.last.get_by_role("gridcell").nth(2).click()


STEPPED = "#pace [data-step]:not([data-step='0'])"
"""What a run says once it has made a step."""

FEW_STEPS = 24
FEW = {"lora_r": 8, "questions": 3, "probes": 1}
"""Settings of a training of seconds."""


def changed(page: Page, setting: str, value: float) -> Locator:
    """Where the plan says that a setting is another than the preset's."""
    return page.locator(f"#plan [data-setting={setting}][data-value='{value}']")


def change_setting(page: Page, name: str, value: float) -> None:
    """Set a slider until the plan knows of it."""
    until_told(changed(page, name, value), lambda: set_slider(page, f"set-{name}", value))


def choose_base(page: Page, base: Path | str) -> None:
    page.locator("#base-model input").fill(str(base))
    page.locator("#base-model input").press("Enter")


def plan_small(page: Page, base: Path, steps: int) -> None:
    """Generate a dataset of two products and set a training of a few steps, all by clicking."""
    generate(page, 2)
    page.locator("#go-training").click()
    expect(page.locator("#plan [data-state]")).to_be_visible()
    choose_base(page, base)
    for name, value in (FEW | {"max_steps": steps}).items():
        change_setting(page, name, value)


def train_small(page: Page, base: Path, steps: int = FEW_STEPS) -> None:
    """Make a dataset and start a training, all by clicking."""
    plan_small(page, base, steps)
    page.locator("#start").click()
    tells(page, "run-headline", state="running")


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base of five million weights: its steps are slow enough to be watched."""
    return build_model(tmp_path_factory.mktemp("models") / "small", hidden_size=256, layers=6)


@pytest.fixture(scope="session")
def slow_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base of 25 million weights: on any machine 256 tokens take it seconds, and 1,000 steps of training minutes."""
    return build_model(tmp_path_factory.mktemp("models") / "slow", hidden_size=512, layers=12)


@pytest.fixture(scope="session")
def trained(app: App, tiny_base: Path) -> App:
    """The app with a finished run."""
    make_trained(app, tiny_base, questions=3)
    return app


def make_trained(app: App, base: Path, *, general_share: float = 0.05, **changes: Any) -> Path:
    """A finished run of two products in the app's home, made without the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(app.home))
        dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2, general_share=general_share))
        folder = create_run(dataset, tiny_settings(base, **{"questions": 1, **changes}))
        assert train_here(folder) == 0
    return folder


@pytest.fixture
def empty_app(tmp_path: Path) -> Iterator[App]:
    """The app as on its first day: nothing made yet."""
    process, url = start_app(tmp_path)
    yield App(url, tmp_path)
    process.terminate()
    process.wait(PATIENCE)
