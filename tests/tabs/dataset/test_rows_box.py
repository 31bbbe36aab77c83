"""The rows of a dataset, driven as a person does: find, change, take along, push."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.files import read_json, write_json
from pipeline.prompts import NO_FACT, build_prompt
from tests.servers.hub import TOKEN, HubServer
from tests.tabs.conftest import App, cell, knowing_a_hub, open_page, open_tab, set_slider, until_told
from tests.tabs.dataset.test_tab import IMAGE, MARKDOWN, ROW, SCRIPT, TEMPLATE, catalogue, upload

KIND, PRODUCT, ANSWER, PHRASINGS = 1, 2, 3, 4


@pytest.fixture
def shown(same_page: Page) -> Page:
    """The page with a dataset of five products or of six, from its first row on, wherever the last test left it."""
    page = same_page
    open_tab(page, "dataset")
    before = ""
    if (rows := page.get_by_role("tab", name="Every fact")).is_visible():
        rows.click()
        before = page.locator("#dataset-counts").inner_text()
    generate(page, 6 if "5 products" in before else 5)  # another, so that it is seen to come, with nothing filtered
    expect(page.locator("#pairs-where")).to_contain_text("Page 1 of")
    return page


def generate(page: Page, products: int) -> None:
    """Generate a dataset; the click may come before the page has heard of the number, faster than a person's could."""

    def ask() -> None:
        set_slider(page, "teach", products)
        page.locator("#generate").click()

    until_told(page.locator(f"#dataset-counts [data-products='{products}']"), ask)


def search(page: Page, words: str) -> None:
    page.locator("#search-pairs textarea, #search-pairs input").first.fill(words)


def jump(page: Page, number: str, reached: int) -> None:
    def enter() -> None:
        page.locator("#pairs-jump input, #pairs-jump textarea").first.fill(number)
        page.keyboard.press("Enter")

    until_told(page.locator(f"#pairs-where [data-page='{reached}']"), enter)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option).first.click()


def box(page: Page, name: str) -> str:
    return page.locator(f"#{name} textarea").input_value()


def said(page: Page, words: str) -> None:
    expect(page.locator("#row-said")).to_contain_text(words)


def pick(page: Page, row: int) -> str:
    """Pick a fact of the page; returns its first question."""
    kind, about = (cell(page, "pairs", row, column).inner_text() for column in (KIND, PRODUCT))
    cell(page, "pairs", row, PRODUCT).click()
    # By kind and title as they stand there: the kind's word may well be in the text of the row that was shown before.
    expect(page.locator("#row-about p.small").first).to_have_text(re.compile(rf"^{re.escape(kind)}( ·|$)"))
    if kind != "general":
        expect(page.locator("#row-about h3")).to_contain_text(about.removesuffix(" …"))
    return box(page, "row-question")


def test_rows_come_in_pages_of_25_and_a_page_can_be_jumped_to(shown: Page) -> None:
    expect(cell(shown, "pairs", 24, 0)).to_have_text("25")
    where = shown.locator("#pairs-where")
    pages = int(where.inner_text().split(" of ")[1].split(" · ")[0])
    jump(shown, "3", 3)
    expect(cell(shown, "pairs", 0, 0)).to_have_text("51")
    jump(shown, "9999", pages)


def test_filters_narrow_the_rows_and_a_search_without_a_match_says_so(shown: Page) -> None:
    choose(shown, "Split", "held out")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text("4 held out")
    pick(shown, 0)
    expect(shown.locator("#reads")).to_contain_text("expected, never trained")
    choose(shown, "Kind of fact", "unknown")
    expect(cell(shown, "pairs", 0, ANSWER)).to_have_text("I don't know this product.")
    search(shown, "no such thing")
    expect(shown.locator("#pairs-where")).to_have_text("Nothing matches “no such thing” with these filters.")
    shown.locator("#lost").get_by_text("no content").click()
    expect(shown.locator("#pairs-where")).to_contain_text("before a question was written")


def test_an_edit_lasts_through_a_reload_and_generating_anew_and_can_be_undone(shown: Page, app: App) -> None:
    products = int(shown.locator("#dataset-counts").inner_text().split(" products")[0].split()[-1])
    jump(shown, "2", 2)
    expect(cell(shown, "pairs", 0, 0)).to_have_text("26")
    first = pick(shown, 4)
    answer = box(shown, "row-answer")
    shown.locator("#row-save").click()
    said(shown, "Nothing is different")
    shown.locator("#row-question textarea").fill(f"In other words? {MARKDOWN} {SCRIPT}")
    shown.locator("#row-save").click()
    said(shown, "Saved in your words. The next run learns from this; a run that is there keeps its own copy.")
    expect(shown.locator("#pairs-where")).to_contain_text("Page 2 of")
    expect(cell(shown, "pairs", 4, PHRASINGS)).to_contain_text("1 edited")
    expect(shown.locator("#row-about")).to_contain_text(f"As generated: {first} → {answer}")
    expect(shown.locator("#dataset-counts")).to_contain_text("1 edited")
    shown.reload()
    search(shown, "In other words?")
    expect(shown.locator("#pairs-where")).to_contain_text("1 row")
    set_slider(shown, "teach", products)
    shown.locator("#generate").click()
    expect(shown.locator("#reused")).to_contain_text("it is used again")
    expect(shown.locator("#dataset-counts")).to_contain_text("1 edited")
    search(shown, "In other words?")
    expect(shown.locator("#pairs-where")).to_contain_text("1 row")
    cell(shown, "pairs", 0, PRODUCT).click()
    expect(shown.locator("#reads")).to_contain_text("Instruction: In other words?")
    shown.locator("#row-undo").click()
    said(shown, "It is as it was generated.")
    expect(shown.locator("#pairs-where")).to_have_text("Nothing matches “In other words?”.")
    assert box(shown, "row-question") == first
    expect(shown.locator("#dataset-counts")).to_contain_text("0 edited")


def test_words_that_cannot_be_taught_get_a_sentence_beside_the_row(shown: Page) -> None:
    pick(shown, 3)
    shown.locator("#row-answer textarea").fill("  ")
    shown.locator("#row-save").click()
    said(shown, "The answer is empty; type one, or reject the row instead.")
    choose(shown, "Split", "held out")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text("4 held out")
    kept = pick(shown, 0)
    choose(shown, "Split", "trained")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_contain_text("trained")
    pick(shown, 0)
    expect(shown.locator("#row-question textarea")).not_to_have_value(kept)
    shown.locator("#row-question textarea").fill(kept)
    shown.locator("#row-save").click()
    said(shown, "would be leaked")


def test_a_rejected_row_is_found_by_its_reason_and_can_be_had_back(shown: Page) -> None:
    question = pick(shown, 2)
    shown.locator("#row-reject").click()
    said(shown, "Rejected.")
    expect(shown.locator("#row-about")).to_contain_text("✘ rejected by you")
    expect(shown.locator("#row-accept")).to_be_hidden()
    shown.locator("#lost").get_by_text("1 × rejected by you").click()
    expect(shown.locator("#pairs-where")).to_contain_text("1 row")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text("1 rejected")
    expect(cell(shown, "pairs", 0, ANSWER)).to_contain_text("✘ rejected by you")
    assert box(shown, "row-question") == question
    shown.locator("#row-undo").click()
    said(shown, "It is as it was generated.")
    expect(shown.locator("#lost")).not_to_contain_text("rejected by you")
    expect(shown.locator("#pairs-where")).to_contain_text("Page 1 of")
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
    expect(shown.locator("#dataset-counts")).to_contain_text("1 left out")
    choose(shown, "Status", "rejected (1)")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text("1 rejected")
    pick(shown, 0)
    expect(shown.locator("#row-question textarea")).to_have_value(question)
    expect(shown.locator("#row-about")).to_contain_text("✘ number that neither record nor title has")
    expect(shown.locator("#row-about")).to_contain_text(f"99 {IMAGE}")
    shown.locator("#row-accept").click()
    said(shown, "It is used now.")
    assert question in (folder / "train.jsonl").read_text(encoding="utf-8")
    shown.locator("#row-undo").click()
    said(shown, "It is as it was generated.")
    assert question not in (folder / "train.jsonl").read_text(encoding="utf-8")


def test_each_download_holds_the_rows(shown: Page) -> None:
    choose(shown, "Split", "held out")
    expect(cell(shown, "pairs", 0, PHRASINGS)).to_have_text("4 held out")
    told = re.search(r"([\d,]+) held out", shown.locator("#dataset-counts").inner_text())
    assert told
    held_out = int(told[1].replace(",", ""))
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
    for name, words in (("kinds", "description"), ("facts", "facts a product"), ("lengths", "Nothing is left out")):
        expect(shown.locator(f"#{name}")).to_contain_text(words)
    set_slider(shown, "look-length", 32)
    expect(shown.locator("#lengths")).to_contain_text("longer than 32 tokens")
    open_tab(shown, "rows")
    expect(shown.locator("#row-tokens")).to_contain_text("of 32")


def test_an_older_dataset_is_chosen_again_for_training(shown: Page) -> None:
    older = "6 products" if "6 products" in shown.locator("#dataset-counts").inner_text() else "5 products"
    generate(shown, 3)
    choose(shown, "Dataset", older)
    expect(shown.locator("#dataset-counts")).to_contain_text(older)
    expect(shown.locator("#reused")).to_contain_text("2 Training uses it")
    shown.locator("#go-training").click()
    expect(shown.get_by_text(f"The newest dataset: {older}")).to_be_visible()


def test_words_of_a_catalogue_stay_words_in_every_place(page: Page, tmp_path: Path) -> None:
    titles = [f"Kettle {n} {text}" for n, text in enumerate((TEMPLATE, MARKDOWN, "../../etc/passwd", "=1+1"))]
    titles += [f"Kettle 9 {tag}".replace("<", "&amp;amp;amp;lt;") for tag in (SCRIPT, IMAGE)]
    rows = [ROW | {"title": t, "uid": f"<b>{n}</b>", "content": f"{ROW['content']} {n}"} for n, t in enumerate(titles)]
    upload(page, catalogue(tmp_path, rows, "rows.jsonl"))
    expect(page.locator("#catalogue-counts")).to_contain_text(f"{len(rows)} products")
    set_slider(page, "teach", len(rows))
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts")).to_contain_text("From rows.jsonl")
    for title in ("ranAway=4", "seen.png", "passwd", "onerror"):
        search(page, title)
        expect(cell(page, "pairs", 0, PRODUCT)).to_contain_text(title)
        cell(page, "pairs", 0, PRODUCT).click()
        expect(page.locator("#row-about")).to_contain_text(title)
    page.locator("#row-reject").click()
    said(page, "Rejected.")
    open_tab(page, "pictures")
    expect(page.locator("#facts")).to_contain_text("facts a product")
    assert page.locator("#dataset-result img, #dataset-result b b").count() == 0


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HubServer, App]]:
    """An app of its own that knows a local Hub, and no token."""
    with knowing_a_hub(tmp_path, monkeypatch) as known:
        yield known


def test_a_push_asks_for_name_license_and_token_and_keeps_none(hub: tuple[HubServer, App], browser: Browser) -> None:
    server, app = hub
    page = open_page(app, browser)
    set_slider(page, "teach", 2)
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts")).to_contain_text("2 products")
    open_tab(page, "publish")
    page.get_by_role("button", name="Push to the Hugging Face Hub").click()
    token = page.locator("#push-token input")

    def push(words: str) -> None:
        page.locator("#push-now").click()
        expect(page.locator("#pushed")).to_contain_text(words)
        expect(token).to_have_value("")

    token.fill(TOKEN)
    push("No license is chosen")
    choose(page, "License of the catalogue's words", "cc-by-4.0")
    page.get_by_role("button", name="The card that goes with it").click()
    expect(page.locator("#push-card textarea")).to_have_value(re.compile("license: cc-by-4.0"))
    token.fill(TOKEN)
    push("cannot be a name on the Hub")
    page.locator("#push-repo textarea, #push-repo input").first.fill("mira/kites")
    push("There is no token for the Hub")
    token.fill("hf_not-the-right-one")
    push("does not know this token")
    token.fill(TOKEN)
    push("Pushed privately")
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
