"""Questions by an API, as a person has them written: pilot, estimate, the rest; stop, reload, go on."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from pipeline.writing.generation import ESTIMATED, FAILED, RUNNING, STOPPED, WAITING, Look
from tabs.dataset.generation_card import UNKNOWN, estimate_words, job_card, money, price_words
from tests.servers.api import KEY, MODEL, ApiServer, failure
from tests.tabs.conftest import App, an_app, option, set_slider, tells, unfold


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app for this file: a job that is left behind is what the next page shows."""
    with an_app(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def by_api(page: Page) -> None:
    page.locator("#source input[value=api]").check()


def choose_api(page: Page, api: ApiServer, key: str = KEY) -> None:
    by_api(page)
    for name, value in (("api-url", api.url), ("api-model", MODEL)):
        page.locator(f"#{name} input").fill(value)
        page.locator(f"#{name} input").press("Enter")
    page.locator("#api-key input").fill(key)
    expect(page.locator("#api-price")).to_contain_text(UNKNOWN)


def try_first(page: Page, api: ApiServer, products: int, key: str = KEY) -> None:
    """Have so many products written, of which the first are the pilot; it is begun once, so by one click."""
    set_slider(page, "teach", products)
    choose_api(page, api, key)
    expect(page.locator("#teach input[type=range]")).to_have_value(str(products))  # so the page has heard of the number
    page.locator("#generate").click()


def test_models_are_listed_and_a_cap_without_a_price_is_refused_before_anything_is_sent(
    same_page: Page, api: ApiServer
) -> None:
    page = same_page
    choose_api(page, api)
    page.locator("#find-models").click()
    page.locator("#api-model input").click()
    expect(option(page, "api-model", "another")).to_be_visible()
    page.keyboard.press("Escape")
    unfold(page, "more-settings")
    expect(page.locator("#phrasings input[type=range]")).to_have_attribute("max", "40")
    unfold(page, "api-more")
    page.locator("#api-cap input").fill("2")
    page.locator("#api-cap input").press("Enter")
    page.locator("#generate").click()
    expect(page.locator("#dataset-problem")).to_contain_text("a cap of 2.00 USD")
    assert not api.requests
    page.locator("#api-cap input").fill("")
    page.locator("#api-cap input").press("Enter")


def test_a_pilot_shows_what_the_rest_will_take_before_it_is_paid_for(same_page: Page, api: ApiServer, app: App) -> None:
    page = same_page
    try_first(page, api, 7)
    tells(page, "job", state=ESTIMATED)
    # Five are written; the other two take four requests.
    expect(page.locator("#job [data-state]")).to_contain_text(re.compile(r"\b5\b.*\b2\b.*\b4\b"))
    assert len(api.requests) == 10
    page.reload()
    tells(page, "job", state=ESTIMATED)
    by_api(page)
    page.locator("#api-key input").fill(KEY)
    expect(page.locator("#job-more")).to_contain_text(re.compile(rf"\b2\b.*{UNKNOWN}"))  # so many, and the cost
    page.locator("#job-more").click()
    tells(page, "dataset-counts", products=7)
    expect(page.locator("#dataset-counts")).to_contain_text(MODEL)
    assert len(api.requests) == 14
    for file in app.home.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_stopped_job_is_there_after_a_reload_and_goes_on(same_page: Page, api: ApiServer) -> None:
    page = same_page
    try_first(page, api, 40)
    tells(page, "job", state=ESTIMATED)
    expect(page.locator("#job [data-state]")).to_contain_text("35")
    api.seconds = 2  # the button is there, and pressed, before the last request is made
    page.locator("#job-more").click()
    tells(page, "job", state=RUNNING)
    page.locator("#job-stop").click()
    tells(page, "job", state=STOPPED)
    page.reload()
    tells(page, "job", state=STOPPED)
    api.seconds = 0.0
    by_api(page)
    page.locator("#api-key input").fill(KEY)
    page.locator("#job-more").click()
    tells(page, "dataset-counts", products=40)
    asked = [json.dumps(request["messages"]) for request in api.requests]
    assert len(asked) == len(set(asked)) > 40, "No reply is paid for twice."


def test_what_the_api_refuses_is_a_sentence(same_page: Page, api: ApiServer) -> None:
    page = same_page
    try_first(page, api, 4, key="sk-wrong")
    expect(page.locator("#job")).to_contain_text("(401)")
    assert "sk-wrong" not in page.locator("#job").inner_text()
    api.script.append(failure(404, "no <b>such</b> model", "model_not_found"))
    page.locator("#api-key input").fill(KEY)
    page.locator("#job-more").click()
    expect(page.locator("#job")).to_contain_text(f"has no model {MODEL}")


# --- Words ---


def test_what_is_not_known_is_never_0() -> None:
    assert [money(each) for each in (None, 0.0, 0.00042, 0.042, 1.299)] == [
        "unknown",
        "$0.00",
        "$0.0004",
        "$0.042",
        "$1.30",
    ]
    assert "unknown" in price_words("x", "http://localhost:1/v1") and "as you gave it" in price_words("x", "", 1, 2)
    words = estimate_words({"products": 1, "seconds": 61.0, "cost": None})
    assert words == "Go on: 1 more product, cost unknown, about 1 min"


PROGRESS = {
    "done": 3, "total": 9, "asked": 6, "reused": 2, "refused": 1, "failed": 1, "per_second": 2.0, "spent": 0.01,
    "projected": 0.03, "worth": 0.01, "seconds_left": 70.0, "waiting": "the server asks to wait <20> s", "in_flight": 4,
}  # fmt: skip


def test_the_card_escapes_what_a_server_says() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    batch = {"requests": 4, "completed": 1, "spent": None}
    for look in (
        Look(FAILED, hostile),
        Look(WAITING, hostile, batch=batch),
        Look(RUNNING, "", progress=PROGRESS | {"waiting": hostile}),
        Look(ESTIMATED, "", progress=PROGRESS, estimate={"products": 4, "requests": 8, "seconds": 3, "cost": 0.02}),
    ):
        assert "<img" not in job_card(look) and job_card(look)


def test_the_card_tells_counts_speed_cost_and_time() -> None:
    card = job_card(Look(RUNNING, "", progress=PROGRESS))
    for said in ("<b>3</b> of 9 products", "6 replies, 2 reused", "2.0 a second", "$0.01 spent of about $0.03",
                 "1 min left", "2 sent again", "aria-valuenow='33'"):  # fmt: skip
        assert said in card, said
    assert job_card(Look()) == ""
