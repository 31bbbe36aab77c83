"""The switch in the third tab: it serves, says where, survives a reload, and its examples work as they stand."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.tabs.conftest import PATIENCE, App, make_trained, open_page, open_tab, start_app, text_box, unfold


def open_serving(page: Page) -> None:
    open_tab(page, "chat")
    unfold(page, "serving")
    expect(page.locator("#serving-port")).to_be_visible()
    expect(page.locator("#serving-days")).to_be_visible()


def type_in(page: Page, name: str, value: str) -> None:
    box = text_box(page, name)
    box.fill(value)
    box.press("Enter")  # a number that is merely there may not have been taken yet
    box.blur()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_run_is_served_and_asked_by_the_examples_of_the_page(trained: App, page: Page, browser: Browser) -> None:
    port = free_port()
    open_serving(page)
    type_in(page, "serving-origin", "https://shop.example")
    type_in(page, "serving-port", str(port))
    page.locator("#serving-start").click()
    key = page.locator("#serving-key [data-key]").inner_text()
    on = page.locator("#serving-state [data-state=on]")
    expect(on.locator("[data-address]")).to_have_text(f"http://127.0.0.1:{port}/v1")
    box = f'<script src="http://127.0.0.1:{port}/embed.js" defer></script>'
    expect(on.locator("[data-example=box]")).to_have_text(box)
    assert b"shelftalk" in urllib.request.urlopen(f"http://127.0.0.1:{port}/embed.js", timeout=PATIENCE).read()
    environment = os.environ | {"SHELFTALK_KEY": key}
    for name, command in (("curl", ["sh", "-c"]), ("openai", [sys.executable, "-c"])):
        example = on.locator(f"[data-example={name}]").inner_text()
        done = subprocess.run([*command, example], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0 and done.stdout.strip() and "error" not in done.stdout, done.stderr

    other = open_page(trained, browser)  # as after a reload
    open_serving(other)
    expect(other.locator("#serving-state [data-state=on]")).to_be_visible()
    expect(other.locator("#serving-key [data-key]")).to_have_count(0)
    assert key not in other.content()
    other.locator("#serving-stop").click()
    expect(other.locator("#serving-start")).to_be_visible()
    other.close()
    expect(page.locator("#serving-start")).to_be_visible()
    expect(on).to_have_count(0)


def test_a_taken_port_is_told_in_a_sentence(trained: App, page: Page) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        open_serving(page)
        type_in(page, "serving-port", str(taken.getsockname()[1]))
        page.locator("#serving-start").click()
        expect(page.locator("#serving-state [data-state=failed]")).to_have_text(re.compile("cannot be served on"))
        expect(page.locator("#serving-start")).to_be_visible()


def test_on_a_space_it_says_what_to_do_instead(
    browser: Browser, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained(App("", tmp_path), tiny_base)
    process, url = start_app(tmp_path, SPACE_ID="lab/shelf", SPACE_AUTHOR_NAME="lab")
    try:
        page = open_page(App(url, tmp_path), browser)
        open_tab(page, "chat")
        unfold(page, "serving")
        expect(page.locator("#serving [data-state=space]")).to_be_visible()
        expect(page.locator("#serving-start")).to_be_hidden()
        page.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)
