"""The rows of a dataset, driven as a person does: find, change, take along, push."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.dataset.edits import ACCEPT, BY_YOU, EDIT, EDITED, REJECT, UNDO
from pipeline.dataset.examples import HELD_OUT, REJECTED, TRAINED
from pipeline.facts.phrasings import kind_label
from pipeline.files import read_json, write_json
from pipeline.prompts import GENERAL, NO_FACT, REFUSAL, UNKNOWN, build_prompt
from tabs.dataset.row_panel import EXPECTED
from tabs.dataset.rows_view import SPLITS
from tests.servers.hub import TOKEN, HubServer
from tests.tabs.conftest import (
    App,
    cell,
    choose,
    generate,
    knowing_a_hub,
    open_page,
    open_tab,
    set_slider,
    tells,
    text_box,
    unfold,
    until_told,
)
from tests.tabs.dataset.test_tab import (
    IMAGE,
    MARKDOWN,
    ROW,
    SCRIPT,
    TEMPLATE,
    catalogue,
    dataset_count,
    upload,
)

KIND, PRODUCT, ANSWER, PHRASINGS = 1, 2, 3, 4


@pytest.fixture
def shown(same_page: Page) -> Page:
    """The page with a dataset of five products or of six, from its first row on, wherever the last test left it."""
    page = same_page
    open_tab(page, "dataset")
    before = 0
    if page.locator("#dataset-views").is_visible():
        open_tab(page, "rows")
        before = dataset_count(page, "products")
    generate(page, 6 if before == 5 else 5)  # another, so that it is seen to come, with nothing filtered
    tells(page, "pairs-where", page=1)
    return page


def search(page: Page, words: str) -> None:
    text_box(page, "search-pairs").fill(words)


def jump(page: Page, number: str, reached: int) -> None:
    def enter() -> None:
        text_box(page, "pairs-jump").fill(number)
        page.keyboard.press("Enter")

    until_told(page.locator(f"#pairs-where [data-page='{reached}']"), enter)


def box(page: Page, name: str) -> str:
    return page.locator(f"#{name} textarea").input_value()


def done(page: Page, what: str) -> None:
    """Wait until it is said that this was done with the row."""
    tells(page, "row-said", state=what)


def refused(page: Page, words: str) -> None:
    expect(page.locator("#row-said .problem")).to_contain_text(words)


def held_out_only(page: Page) -> None:
    choose(page, "pairs-split", SPLITS[HELD_OUT])
    expect(cell(page, "pairs", 0, PHRASINGS)).to_have_text(f"4 {SPLITS[HELD_OUT]}")


def pick(page: Page, row: int) -> str:
    """Pick a fact of the page; returns its first question."""
    kind, about = (cell(page, "pairs", row, column).inner_text() for column in (KIND, PRODUCT))
    cell(page, "pairs", row, PRODUCT).click()
    # By kind and title as they stand there: the kind's word may well be in the text of the row that was shown before.
    expect(page.locator("#row-about p.small").first).to_have_text(re.compile(rf"^{re.escape(kind)}( ·|$)"))
    if kind != kind_label(GENERAL):
        expect(page.locator("#row-about h3")).to_contain_text(about.removesuffix(" …"))
    return box(page, "row-question")


def test_rows_come_in_pages_of_25_and_a_page_can_be_jumped_to(shown: Page) -> None:
    expect(cell(shown, "pairs", 24, 0)).to_have_text("25")
    pages = shown.locator("#pairs-where [data-pages]").get_attribute("data-pages")
    jump(shown, "3", 3)
    expect(cell(shown, "pairs", 0, 0)).to_have_text("51")
    jump(shown, "9999", int(pages or 0))


def test_filters_narrow_the_rows_and_a_search_without_a_match_says_so(shown: Page) -> None:
    held_out_only(shown)
    pick(shown, 0)
    expect(shown.locator("#reads")).to_contain_text(EXPECTED)
    choose(shown, "pairs-kind", kind_label(UNKNOWN))
    expect(cell(shown, "pairs", 0, ANSWER)).to_have_text(REFUSAL)
    where = shown.locator("#pairs-where")
    search(shown, "no such thing")
    tells(shown, "pairs-where", rows=0)
    expect(where).to_contain_text("“no such thing”")
    shown.locator("#lost input[value$='no content']").check()
    expect(where).not_to_contain_text("“no such thing”")  # but why there are none
    tells(shown, "pairs-where", rows=0)


def test_an_edit_lasts_through_a_reload_and_generating_anew_and_can_be_undone(shown: Page, app: App) -> None:
    products = dataset_count(shown, "products")
    jump(shown, "2", 2)
    expect(cell(shown, "pairs", 0, 0)).to_have_text("26")
    first = pick(shown, 4)
    answer = box(shown, "row-answer")
    shown.locator("#row-save").click()
    done(shown, "same")
    shown.locator("#row-question textarea").fill(f"In other words? {MARKDOWN} {SCRIPT}")
    shown.locator("#row-save").click()
    done(shown, EDIT)
    tells(shown, "pairs-where", page=2)
    expect(cell(shown, "pairs", 4, PHRASINGS)).to_contain_text(f"1 {EDITED}")
    expect(shown.locator("#row-about")).to_contain_text(f"{first} → {answer}")
    tells(shown, "dataset-counts", edited=1)
    shown.reload()
    search(shown, "In other words?")
    tells(shown, "pairs-where", rows=1)
    generate(shown, products, "#reused [data-state=reused]")
    tells(shown, "dataset-counts", edited=1)
    search(shown, "In other words?")
    tells(shown, "pairs-where", rows=1)
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_contain_text(f"1 {EDITED}")
    cell(shown, "pairs", 0, PRODUCT).click()
    expect(shown.locator("#reads")).to_contain_text("Instruction: In other words?")
    shown.locator("#row-undo").click()
    done(shown, UNDO)
    tells(shown, "pairs-where", rows=0)
    assert box(shown, "row-question") == first
    tells(shown, "dataset-counts", edited=0)


def test_words_that_cannot_be_taught_get_a_sentence_beside_the_row(shown: Page) -> None:
    pick(shown, 3)
    shown.locator("#row-answer textarea").fill("  ")
    shown.locator("#row-save").click()
    refused(shown, "empty")
    held_out_only(shown)
    kept = pick(shown, 0)
    choose(shown, "pairs-split", SPLITS[TRAINED])
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_contain_text(SPLITS[TRAINED])
    pick(shown, 0)
    expect(shown.locator("#row-question textarea")).not_to_have_value(kept)
    shown.locator("#row-question textarea").fill(kept)
    shown.locator("#row-save").click()
    refused(shown, "leaked")


def test_a_rejected_row_is_found_by_its_reason_and_can_be_had_back(shown: Page) -> None:
    question = pick(shown, 2)
    shown.locator("#row-reject").click()
    done(shown, REJECT)
    expect(shown.locator("#row-about")).to_contain_text(BY_YOU)
    expect(shown.locator("#row-accept")).to_be_hidden()
    by_you = shown.locator(f"#lost input[value='{BY_YOU}']")
    by_you.check()
    tells(shown, "pairs-where", rows=1)
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text(f"1 {SPLITS[REJECTED]}")
    expect(cell(shown, "pairs", 0, ANSWER)).to_contain_text(BY_YOU)
    assert box(shown, "row-question") == question
    shown.locator("#row-undo").click()
    done(shown, UNDO)
    expect(by_you).to_have_count(0)
    tells(shown, "pairs-where", page=1)
    expect(cell(shown, "pairs", 24, 0)).to_have_text("25")


def test_what_a_filter_rejected_is_taught_after_all(shown: Page, app: App) -> None:
    """The dataset on the disk gets a rejected question, as an API's would have it; the page reads it from there."""
    folder = max((app.home / "datasets").glob("*/manifest.json"), key=lambda m: m.stat().st_mtime).parent
    row = json.loads((folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()[0])
    question = "Does it come in 99 colours?"
    row |= {
        "question": question, "prompt": build_prompt(row["title"], question), "split": "rejected",
        "reason": "number that neither record nor title has", "note": f"99 {IMAGE}", "template": "",
    }  # fmt: skip
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"edits": "others"})  # so its files are written anew
    shown.reload()
    tells(shown, "dataset-counts", left_out=1)
    choose(shown, "pairs-status", REJECTED)
    tells(shown, "pairs-where", rows=1)
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text(f"1 {SPLITS[REJECTED]}")
    pick(shown, 0)
    expect(shown.locator("#row-question textarea")).to_have_value(question)
    expect(shown.locator("#row-about")).to_contain_text("number that neither record nor title has")
    expect(shown.locator("#row-about")).to_contain_text(f"99 {IMAGE}")
    shown.locator("#row-accept").click()
    done(shown, ACCEPT)
    assert question in (folder / "train.jsonl").read_text(encoding="utf-8")
    shown.locator("#row-undo").click()
    done(shown, UNDO)
    assert question not in (folder / "train.jsonl").read_text(encoding="utf-8")


def test_each_download_holds_the_rows(shown: Page) -> None:
    held_out_only(shown)
    held_out = dataset_count(shown, "held-out")
    open_tab(shown, "publish")
    files = {}
    for name in ("download-dataset", "download-jsonl", "download-parquet", "download-filtered"):
        with shown.expect_download() as download:
            shown.locator(f"#{name}").click()
        files[name] = Path(download.value.path()), download.value.suggested_filename
    records = json.loads(files["download-dataset"][0].read_text(encoding="utf-8"))
    assert all(r["text"].startswith("Context: ") and "\nResponse: " in r["text"] for r in records)
    rows = [json.loads(line) for line in files["download-jsonl"][0].read_text(encoding="utf-8").splitlines()]
    assert sum(row["split"] == "train" for row in rows) == len(records)
    assert pyarrow.parquet.read_table(files["download-parquet"][0]).num_rows == len(rows)
    filtered = [json.loads(line) for line in files["download-filtered"][0].read_text(encoding="utf-8").splitlines()]
    assert sum(row["kind"] not in NO_FACT for row in filtered) == held_out < len(filtered)
    assert {row["split"] for row in filtered} == {"held out"}
    assert [Path(name).suffix for _, name in files.values()] == [".json", ".jsonl", ".parquet", ".jsonl"]


def test_the_pictures_follow_the_longest_example(shown: Page) -> None:
    open_tab(shown, "pictures")
    for name in ("kinds", "facts", "lengths"):
        expect(shown.locator(f"#{name} .barlayer .trace")).to_have_count(1)
    set_slider(shown, "look-length", 32)
    expect(shown.locator("#lengths .annotation")).to_contain_text(re.compile(r"\b32\b"))
    open_tab(shown, "rows")
    tells(shown, "row-tokens", most=32)


def test_an_older_dataset_is_chosen_again_for_training(shown: Page) -> None:
    older = dataset_count(shown, "products")
    generate(shown, 3)
    choose(shown, "datasets", 1)  # the one before the newest
    tells(shown, "dataset-counts", products=older)
    tells(shown, "reused", state="chosen")
    shown.locator("#go-training").click()
    tells(shown, "training-data", products=older)


def test_words_of_a_catalogue_stay_words_in_every_place(page: Page, tmp_path: Path) -> None:
    titles = [f"Kettle {n} {text}" for n, text in enumerate((TEMPLATE, MARKDOWN, "../../etc/passwd", "=1+1"))]
    titles += [f"Kettle 9 {tag}".replace("<", "&amp;amp;amp;lt;") for tag in (SCRIPT, IMAGE)]
    rows = [ROW | {"title": t, "uid": f"<b>{n}</b>", "content": f"{ROW['content']} {n}"} for n, t in enumerate(titles)]
    upload(page, catalogue(tmp_path, rows, "rows.jsonl"))
    tells(page, "catalogue-counts", products=len(rows))
    generate(page, len(rows), "#dataset-counts:has-text('rows.jsonl')")
    for title in ("ranAway=4", "seen.png", "passwd", "onerror"):
        search(page, title)
        expect(cell(page, "pairs", 0, PRODUCT)).to_contain_text(title)
        cell(page, "pairs", 0, PRODUCT).click()
        expect(page.locator("#row-about")).to_contain_text(title)
    page.locator("#row-reject").click()
    done(page, REJECT)
    open_tab(page, "pictures")
    expect(page.locator("#facts .js-plotly-plot")).to_be_visible()
    assert page.locator("#dataset-result img, #dataset-result b b").count() == 0


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HubServer, App]]:
    """An app of its own that knows a local Hub, and no token."""
    with knowing_a_hub(tmp_path, monkeypatch) as known:
        yield known


def test_a_push_asks_for_name_license_and_token_and_keeps_none(hub: tuple[HubServer, App], browser: Browser) -> None:
    server, app = hub
    page = open_page(app, browser)
    generate(page, 2)
    open_tab(page, "publish")
    unfold(page, "push")
    token = page.locator("#push-token input")

    def push(typed: str) -> None:
        token.fill(typed)
        page.locator("#push-now").click()

    def refused_push(words: str, typed: str = TOKEN) -> None:
        until_told(page.locator("#pushed .problem", has_text=words), lambda: push(typed))
        expect(token).to_have_value("")
        expect(page.locator("#pushed .generating")).to_have_count(0)  # till then the next push is passed over

    refused_push("license")
    choose(page, "push-license", "cc-by-4.0")
    unfold(page, "card-panel")
    expect(page.locator("#push-card textarea")).to_have_value(re.compile("license: cc-by-4.0"))
    refused_push("cannot be a name on the Hub")
    text_box(page, "push-repo").fill("mira/kites")
    refused_push("no token", "")
    refused_push("know this token", "hf_not-the-right-one")
    push(TOKEN)
    expect(page.locator("#pushed .done")).to_contain_text("mira/kites")
    expect(token).to_have_value("")
    link = page.locator("#pushed a")
    expect(link).to_have_attribute("href", f"{server.url}/datasets/mira/kites")
    assert (
        server.repositories["datasets/mira/kites"].private
        and "README.md" in server.repositories["datasets/mira/kites"].files
    )
    assert TOKEN not in page.content() and "hf_not-the-right-one" not in page.content()
    page.close()
    kept = [p for p in app.home.rglob("*") if p.is_file() and b"hf_test5f1c" in p.read_bytes()]
    assert not kept and not app.strangers
