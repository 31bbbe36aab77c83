"""The catalogue box, driven as a person does: files of every kind, columns chosen by hand, files of this machine."""

import gzip
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Page, expect

from pipeline.files import locked
from tests.tabs.conftest import VIEW, App, cell
from tests.tabs.dataset.test_tab import IMAGE, MARKDOWN, ROW, SCRIPT, TEMPLATE, catalogue, upload


def choose(page: Page, label: str, option: str) -> None:
    expect(page.get_by_role("option")).to_have_count(0)  # the list that was open before is gone
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def counts(page: Page, words: str) -> None:
    expect(page.locator("#catalogue-counts")).to_contain_text(words)


def open_path(page: Page, typed: str) -> None:
    if not page.locator("#path input, #path textarea").first.is_visible():
        page.get_by_role("button", name="open a file on this machine").click()
    page.locator("#path input, #path textarea").first.fill(typed)
    page.locator("#path-open").click()


def csv_file(path: Path, headers: str, titles: list[str]) -> Path:
    rows = "".join(f'{title},"It holds {n} litres, or so",x\n' for n, title in enumerate(titles, start=2))
    path.write_text(f"{headers}\n{rows}", encoding="utf-8")
    return path


def test_the_skipped_rows_are_shown_by_reason(same_page: Page) -> None:
    page = same_page
    page.get_by_role("button", name="Why 13 are skipped").click()
    expect(page.locator("#skipped-where")).to_contain_text("13 rows")
    page.locator("#skipped-reason").get_by_text("no content").click()
    expect(page.locator("#skipped-where")).not_to_contain_text("13 rows")
    expect(cell(page, "skipped", 0, 3)).to_have_text("no content")


def test_generate_comes_before_the_products_on_a_phone(same_page: Page) -> None:
    page = same_page
    page.set_viewport_size({"width": 400, "height": 900})
    tops = [page.locator(f"#{name}").bounding_box() for name in ("upload", "generate", "products")]
    assert all(tops)
    places = [box["y"] for box in tops if box]
    assert places == sorted(places)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size(VIEW)


def test_a_csv_is_recognised_and_one_of_the_same_name_replaces_it(same_page: Page, tmp_path: Path) -> None:
    page = same_page
    upload(page, csv_file(tmp_path / "known.csv", "Name,Description,Price", ["Kettle", "Mug"]))
    counts(page, "2 products · 2 usable · 0 skipped")
    said = "Recognised: title from “Name”, description from “Description”."
    expect(page.locator("#catalogue-columns")).to_have_text(said)
    expect(page.locator("#columns-form")).not_to_be_visible()
    upload(page, csv_file(tmp_path / "known.csv", "Name,Description,Price", ["Kettle", "Mug", "Jug"]))
    counts(page, "3 usable")
    expect(page.locator("#catalogue-told")).to_contain_text("It replaces the known.csv")
    (tmp_path / "known.csv").write_text("Name,Description\nKettle,\n")
    upload(page, tmp_path / "known.csv")
    expect(page.locator("#dataset-problem")).to_contain_text("No product of known.csv")
    counts(page, "3 usable")
    cell(page, "products", 2, 1).click()
    expect(page.locator("#record-title")).to_contain_text("Jug")


def test_a_shopify_export_is_recognised(same_page: Page, tmp_path: Path) -> None:
    page = same_page
    path = tmp_path / "shop.csv"
    path.write_text(
        "Handle,Title,Body (HTML),Option1 Name,Option1 Value\n"
        "jug,Jug,<p>It holds 2 litres of water</p>,Colour,Red\njug,,,,Blue\n",
        encoding="utf-8",
    )
    upload(page, path)
    counts(page, "1 product · 1 usable")
    expect(page.locator("#catalogue-columns")).to_contain_text("Recognised as a Shopify export")
    expect(cell(page, "products", 0, 2)).to_contain_text("It holds 2 litres of water. Colour: Red, Blue.")


def test_hostile_columns_are_chosen_by_hand_and_stay_chosen(same_page: Page, app: App, tmp_path: Path) -> None:
    page = same_page
    headers = f'"{SCRIPT}","{MARKDOWN}","{TEMPLATE} {IMAGE}"'
    path = csv_file(tmp_path / "odd.csv", headers, [f"Kettle {IMAGE}", f"Mug {TEMPLATE}", "Jug"])
    upload(page, path)
    expect(page.locator("#columns-form")).to_be_visible()
    samples = page.locator("#columns-samples")
    expect(samples).to_contain_text(SCRIPT)
    expect(samples).to_contain_text(f"Kettle {IMAGE}")
    assert page.locator("#columns-form img, #columns-form script").count() == 0
    page.locator("#columns-use").click()
    expect(page.locator("#dataset-problem")).to_contain_text("not chosen yet")
    choose(page, "Title", SCRIPT)
    choose(page, "Description", MARKDOWN.split(" ")[0] + " …")  # shortened
    page.locator("#columns-use").click()
    counts(page, "3 products · 3 usable")
    expect(page.locator("#columns-form")).not_to_be_visible()
    page.reload()
    counts(page, "51 usable")
    choose(page, "Catalogue", "odd.csv")
    counts(page, "3 usable")
    expect(page.locator("#catalogue-columns")).to_contain_text(f"Chosen: title from “{SCRIPT}”")
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts")).to_contain_text("3 products")
    page.locator("#catalogue-remove").click()
    page.locator("#remove-keep").click()
    expect(page.locator("#remove-sure")).not_to_be_visible()
    page.locator("#catalogue-remove").click()
    page.locator("#remove-really").click()
    expect(page.locator("#catalogue-told")).to_contain_text("odd.csv is removed.")
    counts(page, "51 usable")
    assert not (app.home / "uploads" / "odd.csv").exists()


def test_a_file_of_this_machine_is_opened_where_it_lies(same_page: Page, app: App, tmp_path: Path) -> None:
    page = same_page
    there = tmp_path / "trn.json.gz"
    lines = catalogue(tmp_path, [ROW | {"title": f"Kettle {n}", "uid": str(n)} for n in range(9)]).read_bytes()
    there.write_bytes(gzip.compress(lines))
    for typed, said in (("trn.json.gz", "no file"), (f"/{SCRIPT}.json", "no file"), ("/etc/passwd", "by its name")):
        open_path(page, typed)
        expect(page.locator("#dataset-problem")).to_contain_text(said)
    counts(page, "51 usable")
    bad = tmp_path / "bad.json"
    bad.write_text("this is no JSON")
    open_path(page, str(bad))
    expect(page.locator("#dataset-problem")).to_contain_text("is not a catalogue")
    open_path(page, str(there))
    counts(page, "9 products · 9 usable")
    expect(page.locator("#products-where")).to_contain_text("Page 1 of 2")
    assert not (app.home / "uploads" / "trn.json.gz").exists()
    page.reload()
    counts(page, "51 usable")
    page.get_by_label("Catalogue", exact=True).click()
    expect(page.get_by_role("option", name="bad.json")).to_have_count(0)
    page.get_by_role("option", name=f"trn.json.gz · in {tmp_path}").click()
    counts(page, "9 usable")
    page.locator("#catalogue-remove").click()
    expect(page.locator("#remove-sure")).to_contain_text("the file itself stays")
    page.locator("#remove-really").click()
    counts(page, "51 usable")
    assert there.exists()


def test_the_first_rows_are_shown_while_a_file_is_read(same_page: Page, app: App, tmp_path: Path) -> None:
    page = same_page
    path = catalogue(tmp_path, [ROW | {"title": f"Kettle {n}", "uid": str(n)} for n in range(99)], "long.jsonl")
    with ExitStack() as held:  # nothing can be prepared meanwhile, as if the file were long
        for place in "0123456789abcdef":
            held.enter_context(locked(app.home / "cache" / "catalogues" / f".lock-{place}"))
        upload(page, path)
        counts(page, "these are its first rows")
        expect(cell(page, "products", 0, 1)).to_have_text("Kettle 0")
        cell(page, "products", 1, 1).click()
        expect(page.locator("#record-title")).to_contain_text("Kettle 1")
        page.goto(app.url)  # a window that is opened meanwhile follows it too
        counts(page, "these are its first rows")
    counts(page, "99 products · 99 usable")
    search = page.locator("#search-products textarea, #search-products input").first
    search.fill("kettle 98")
    expect(page.locator("#products-where")).to_contain_text("1 row")
    cell(page, "products", 0, 1).click()
    expect(page.locator("#record-title")).to_contain_text("Kettle 98")
    search.fill("no such thing")
    expect(page.locator("#products-where")).to_have_text("Nothing matches “no such thing”.")
