"""A run that answers from a newer catalogue, as the chat shows it: by what it is judged, and the accordion that chooses it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.renewed import renew, source_of
from pipeline.catalogue.catalogue import SAMPLE
from pipeline.dataset.build import build_dataset
from pipeline.models.family import CAUSAL
from pipeline.runs.folder import run_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.settings import default_base, settings_for
from tabs.chat.asking import prepare
from tabs.chat.cards import Exchange, exchange_card
from tests.answering.test_renewed import LAMP, NEW, NEWER, TRAM, brought, tomorrow
from tests.tabs.conftest import App, an_app, choose, make_trained, open_page, open_tab, tells, text_box, unfold
from tests.tabs.dataset.test_tab import upload
from tests.tiny import FEW_ROWS, ROWS

Card = Callable[[str], Exchange]


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """Of four products of the eight of an upload; it answers from a newer one."""
    dataset = build_dataset(brought(tmp_path, "shop.json", ROWS), FEW_ROWS)
    folder = create_run(dataset, settings_for("quick", default_base()), home / "runs" / "one")
    renew(folder, brought(tmp_path, "newer.json", NEWER))
    return folder


@pytest.fixture
def exchange(run: Path) -> Card:
    """What `auto` answers beside models that say what they were taught."""

    def asked(question: str) -> Exchange:
        dataset = run_dataset(run)
        asked = TaughtProducts(dataset.manifest).ask(question)
        found = prepare(dataset, asked, ("tuned", "auto", "open"), "", family=CAUSAL, is_whole=True).exchange
        said = asked.expected or ""
        return replace(found, raws=found.raws | {"tuned": said, "open": said})

    return asked


def test_a_value_that_changed_is_judged_by_the_record_that_was_read(exchange: Card) -> None:
    found = exchange(f"How much does the {LAMP} weigh?")
    assert found.asked.expected == "2 pounds" and found.raws["auto"] == "3 pounds."
    judged = {side: found.verdict(side) for side in found.raws}
    assert judged == {"tuned": "right", "auto": "right", "open": "wrong"}, "the closed book is asked what it was taught"
    card = exchange_card(found)
    assert 'data-state="newer"' in card
    assert (
        "Taught (weight): <b>2 pounds</b>, which the closed book still says; the newer record says <b>3 pounds</b>."
        in card
    )


def test_of_what_stayed_as_it_was_the_card_says_what_it_always_said(exchange: Card) -> None:
    for question in (f"What is the {TRAM} made of?", f"How much power does the {LAMP} use?"):
        found = exchange(question)
        assert {found.verdict(side) for side in found.raws} == {"right"} and 'data-state="newer"' not in exchange_card(
            found
        )


def test_what_the_newer_catalogue_does_not_say_or_have_is_not_called_wrong(
    run: Path, exchange: Card, tmp_path: Path
) -> None:
    silent = [*tomorrow(T5=(" It weighs 2 pounds.", ""))[2:], NEW]
    renew(run, brought(tmp_path, "silent.json", silent))
    for question, said in (
        (f"How much does the {LAMP} weigh?", "the newer record does not say it"),
        (f"What is the {TRAM} made of?", "the newer catalogue has no such product"),
    ):
        found = exchange(question)
        assert found.verdict("auto") is None and said in exchange_card(found)


# --- The accordion ---


def a_day_later(run: Path, path: Path) -> tuple[str, str, str]:
    """The sample with another number in a taught record, as a file; the question for it, and what is said before and after."""
    manifest = run_dataset(run).manifest
    fact = next(f for f in manifest["facts"] if f["kind"] != "description" and re.search(r"\d", f["value"]))
    newer = re.sub(r"\d", lambda digit: str(int(digit[0]) % 9 + 1), fact["value"])
    text = SAMPLE.read_text(encoding="utf-8")
    assert fact["value"] in text
    path.write_text(text.replace(fact["value"], newer), encoding="utf-8")
    question = next(r["question"] for r in run_dataset(run).held_out() if r["response"] == fact["value"])
    return question, fact["value"], newer


def auto_says(page: Page, question: str, answer: str) -> None:
    """Ask, and wait for what `auto` answers: of the same question before another answer may stand there still."""
    text_box(page, "question").fill(question)
    page.locator("#ask").click()
    expect(page.locator("#answers article h3")).to_have_text(question)
    expect(page.locator("#answers .answer[data-side=auto] .said")).to_contain_text(answer)
    expect(page.locator("#ask")).to_be_visible()


def test_a_run_answers_from_an_upload_and_goes_back(browser: Browser, tiny_base: Path, tmp_path: Path) -> None:
    run = make_trained(App("", tmp_path), tiny_base)
    file = tmp_path / "tomorrow.json"
    question, before, after = a_day_later(run, file)
    with an_app(tmp_path) as app:
        page = open_page(app, browser)
        upload(page, file)
        tells(page, "catalogue-counts", usable=51)
        open_tab(page, "chat")
        unfold(page, "newer")
        expect(page.locator("#newer-state [data-state=taught]")).to_contain_text(SAMPLE.name)
        expect(page.locator("#newer-back")).to_be_hidden()
        page.locator("#newer-use").click()
        expect(page.locator("#newer-said .problem")).to_contain_text("No catalogue is chosen")
        auto_says(page, question, before)
        choose(page, "newer-catalogue", "tomorrow")
        page.locator("#newer-use").click()
        expect(page.locator("#newer-said .done")).to_contain_text("0 new, 0 gone")
        expect(page.locator("#newer-state [data-state=newer] b")).to_have_text("tomorrow.json")
        auto_says(page, question, after)
        expect(page.locator("#answers [data-state=newer]")).to_contain_text(before)
        expect(page.locator("#answers .answer[data-side=auto] .verdict.right")).to_be_visible()
        page.reload()
        open_tab(page, "chat")
        unfold(page, "newer")
        page.locator("#newer-back").click()
        expect(page.locator("#newer-state [data-state=taught]")).to_be_visible()
        auto_says(page, question, before)
        page.close()
        assert not source_of(run_dataset(run)).since
