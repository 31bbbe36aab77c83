"""The catalogue box, driven as a person does: files of every kind, columns chosen by hand, files of this machine."""

import gzip
import re
from contextlib import ExitStack
from pathlib import Path

import gradio as gr
from playwright.sync_api import Page, expect

from pipeline.answering.renewed import renew
from pipeline.catalogue import uploads
from pipeline.dataset.build import build_dataset
from pipeline.files import locked
from pipeline.runs.manage import create_run
from pipeline.runs.settings import default_base, settings_for
from tabs.dataset.catalogue_box import CatalogueBox
from tests.tabs.conftest import VIEW, App, cell, choose, option, tells, text_box, unfold
from tests.tabs.dataset.test_tab import IMAGE, MARKDOWN, ROW, SCRIPT, TEMPLATE, catalogue, upload
from tests.tiny import FEW_ROWS, ROWS, write_catalogue


def counts(page: Page, **numbers: int) -> None:
    tells(page, "catalogue-counts", **numbers)


def open_path(page: Page, typed: str) -> None:
    if not text_box(page, "path").is_visible():
        unfold(page, "open-path")
    text_box(page, "path").fill(typed)
    page.locator("#path-open").click()


def test_what_runs_lose_by_a_removal_is_said_before(home: Path, tmp_path: Path) -> None:
    uploads.take_upload(write_catalogue(tmp_path / "shop.json"))
    made = build_dataset(uploads.open_catalogue("shop.json"), FEW_ROWS)
    with gr.Blocks():
        box = CatalogueBox()
    assert "Runs" not in box.ask_to_remove("shop.json")[box.lost]
    for number in range(5):
        create_run(made, settings_for("quick", default_base()), home / "runs" / f"of-the-shop-{number}")
    sample = build_dataset(uploads.open_catalogue(""), FEW_ROWS)
    create_run(sample, settings_for("quick", default_base()), home / "runs" / "of-the-sample")
    uploads.take_upload(write_catalogue(tmp_path / "shop.json", ROWS[:5]))  # their own goes with the new one
    said = box.ask_to_remove("shop.json")[box.lost]
    assert "of-the-shop-4, of-the-shop-3, of-the-shop-2 and 2 more" in said and "of-the-sample" not in said


def test_a_run_that_answers_from_a_newer_upload_loses_that_one(home: Path, tmp_path: Path) -> None:
    for name, rows in (("shop.json", ROWS), ("newer.json", ROWS[1:])):
        uploads.take_upload(write_catalogue(tmp_path / name, rows))
    made = build_dataset(uploads.open_catalogue("shop.json"), FEW_ROWS)
    renew(
        create_run(made, settings_for("quick", default_base()), home / "runs" / "renewed"),
        uploads.open_catalogue("newer.json"),
    )
    with gr.Blocks():
        box = CatalogueBox()
    assert "Runs that answer from it (renewed)" in box.ask_to_remove("newer.json")[box.lost]
    assert "Runs" not in box.ask_to_remove("shop.json")[box.lost]


def csv_file(path: Path, headers: str, titles: list[str]) -> Path:
    rows = "".join(f'{title},"It holds {n} litres, or so",x\n' for n, title in enumerate(titles, start=2))
    path.write_text(f"{headers}\n{rows}", encoding="utf-8")
    return path


def test_the_skipped_rows_are_shown_by_reason(same_page: Page) -> None:
    page = same_page
    unfold(page, "why-skipped")
    tells(page, "skipped-where", rows=13)
    page.locator("#skipped-reason input[value='no content']").check()
    expect(page.locator("#skipped-where [data-rows]")).not_to_have_attribute("data-rows", "13")
    expect(cell(page, "skipped", 0, 3)).to_have_text("no content")


def test_generate_comes_before_the_products_on_a_phone(same_page: Page) -> None:
    page = same_page
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("document.documentElement.scrollWidth <= 400")  # it lies as it will by then
    tops = [page.locator(f"#{name}").bounding_box() for name in ("upload", "generate", "products")]
    assert all(tops)
    places = [box["y"] for box in tops if box]
    assert places == sorted(places)
    page.set_viewport_size(VIEW)


def test_a_csv_is_recognised_and_one_of_the_same_name_replaces_it(same_page: Page, tmp_path: Path) -> None:
    page = same_page
    upload(page, csv_file(tmp_path / "known.csv", "Name,Description,Price", ["Kettle", "Mug"]))
    counts(page, products=2, usable=2, skipped=0)
    tells(page, "catalogue-columns", state="recognised")
    expect(page.locator("#catalogue-columns")).to_contain_text(re.compile("“Name”.*“Description”"))
    expect(page.locator("#columns-form")).not_to_be_visible()
    upload(page, csv_file(tmp_path / "known.csv", "Name,Description,Price", ["Kettle", "Mug", "Jug"]))
    counts(page, usable=3)
    expect(page.locator("#catalogue-told .done")).to_contain_text("known.csv")
    (tmp_path / "known.csv").write_text("Name,Description\nKettle,\n")
    upload(page, tmp_path / "known.csv")
    expect(page.locator("#dataset-problem .problem")).to_contain_text("known.csv")
    choose(page, "catalogue", "known.csv")  # where the bad one took a second to read, the sample is open now
    expect(page.locator("#dataset-problem .problem")).to_have_count(0)
    counts(page, usable=3)
    expect(cell(page, "products", 2, 1)).to_have_text("Jug")
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
    counts(page, products=1, usable=1)
    expect(page.locator("#catalogue-columns")).to_contain_text("Shopify")
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
    for number, name in enumerate(("columns-title", "columns-contents")):
        expect(page.locator("[role=option]")).to_have_count(0)  # the list that was open before is gone
        choose(page, name, number)
    page.locator("#columns-use").click()
    counts(page, products=3, usable=3)
    expect(page.locator("#columns-form")).not_to_be_visible()
    page.reload()
    counts(page, usable=51)
    choose(page, "catalogue", "odd.csv")
    counts(page, usable=3)
    tells(page, "catalogue-columns", state="chosen")
    expect(page.locator("#catalogue-columns")).to_contain_text(f"“{SCRIPT}”")
    page.locator("#generate").click()
    tells(page, "dataset-counts", products=3)
    page.locator("#catalogue-remove").click()
    page.locator("#remove-keep").click()
    expect(page.locator("#remove-sure")).not_to_be_visible()
    page.locator("#catalogue-remove").click()
    page.locator("#remove-really").click()
    expect(page.locator("#catalogue-told .done")).to_contain_text("odd.csv")
    counts(page, usable=51)
    assert not (app.home / "uploads" / "odd.csv").exists()


def test_a_file_of_this_machine_is_opened_where_it_lies(same_page: Page, app: App, tmp_path: Path) -> None:
    page = same_page
    there = tmp_path / "trn.json.gz"
    lines = catalogue(tmp_path, [ROW | {"title": f"Kettle {n}", "uid": str(n)} for n in range(9)]).read_bytes()
    there.write_bytes(gzip.compress(lines))
    script = f"/{SCRIPT}.json"
    for typed, said in (
        ("trn.json.gz", "no file trn.json.gz;"),  # each with its path, so that none stands there already
        (script, f"no file {script};"),
        ("/etc/passwd", "by its name"),
    ):
        open_path(page, typed)
        expect(page.locator("#dataset-problem")).to_contain_text(said)
    counts(page, usable=51)
    bad = tmp_path / "bad.json"
    bad.write_text("this is no JSON")
    open_path(page, str(bad))
    expect(page.locator("#dataset-problem")).to_contain_text("is not a catalogue")
    open_path(page, str(there))
    counts(page, products=9, usable=9)
    tells(page, "products-where", page=1, pages=2)
    assert not (app.home / "uploads" / "trn.json.gz").exists()
    page.reload()
    counts(page, usable=51)
    page.locator("#catalogue input").click()
    of_this_machine = option(page, "catalogue", "trn.json.gz")
    expect(of_this_machine).to_contain_text(str(tmp_path))
    expect(option(page, "catalogue", "bad.json")).to_have_count(0)
    of_this_machine.click()
    counts(page, usable=9)
    page.locator("#catalogue-remove").click()
    tells(page, "remove-sure", state="path")  # and not an upload, which would be deleted
    page.locator("#remove-really").click()
    counts(page, usable=51)
    assert there.exists()


def test_the_first_rows_are_shown_while_a_file_is_read(same_page: Page, app: App, tmp_path: Path) -> None:
    page = same_page
    path = catalogue(tmp_path, [ROW | {"title": f"Kettle {n}", "uid": str(n)} for n in range(99)], "long.jsonl")
    with ExitStack() as held:  # nothing can be prepared meanwhile, as if the file were long
        for place in "0123456789abcdef":
            held.enter_context(locked(app.home / "cache" / "catalogues" / f".lock-{place}"))
        upload(page, path)
        tells(page, "catalogue-counts", state="reading")
        expect(cell(page, "products", 0, 1)).to_have_text("Kettle 0")
        cell(page, "products", 1, 1).click()
        expect(page.locator("#record-title")).to_contain_text("Kettle 1")
        page.goto(app.url)  # a window that is opened meanwhile follows it too
        tells(page, "catalogue-counts", state="reading")
    counts(page, products=99, usable=99)
    search = text_box(page, "search-products")
    search.fill("kettle 98")
    tells(page, "products-where", rows=1)
    expect(cell(page, "products", 0, 1)).to_have_text("Kettle 98")
    cell(page, "products", 0, 1).click()
    expect(page.locator("#record-title")).to_contain_text("Kettle 98")
    search.fill("no such thing")
    tells(page, "products-where", rows=0)
    expect(page.locator("#products-where")).to_contain_text("“no such thing”")
