"""The first tab, driven as a person does: choose, generate, read, upload."""

import gzip
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.examples import HELD_OUT
from pipeline.dataset.fingerprint import fingerprint
from pipeline.dataset.settings import DatasetSettings
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import kind_label
from tabs.dataset.rows_view import SPLITS
from tests.tabs.conftest import App, cell, choose, generate, has_controls, open_tab, tells, text_box, unfold

ROW = {
    "uid": "1",
    "title": "Quillon Brass Kettle",
    "content": "A kettle of solid brass. It holds 2 litres. Colour: brass.",
}

SCRIPT = "<script>window.ranAway=1</script>"
IMAGE = "<img src=x onerror=window.ranAway=2>"
MARKDOWN = "![seen](http://192.0.2.1/seen.png) [press](javascript:window.ranAway=3)"
TEMPLATE = "${window.ranAway=4} {{constructor}}"


def catalogue(folder: Path, rows: list[dict[str, str]], name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def upload(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(path)


def dataset_count(page: Page, name: str) -> int:
    """A figure of the dataset that is shown."""
    return int(page.locator("#dataset-counts .tiles").get_attribute(f"data-{name}") or 0)


def test_a_first_visit_generates_a_dataset_and_reads_its_pairs(same_page: Page, app: App) -> None:
    page = same_page
    tells(page, "catalogue-counts", products=64, usable=51, skipped=13)
    page.locator("#generate").click()
    tells(page, "dataset-counts", products=15)
    assert all(dataset_count(page, name) > 0 for name in ("training", "held-out", "unknown"))
    tells(page, "pairs-where", page=1)
    expect(cell(page, "pairs", 0, 4)).to_contain_text(f"4 {SPLITS[HELD_OUT]}")
    reads = page.locator("#reads")
    expect(reads).to_contain_text("Context:")
    expect(reads).to_contain_text("Instruction:")
    expect(reads).to_contain_text("Response:")
    open_tab(page, "pictures")
    expect(page.locator("#kinds")).to_contain_text(kind_label(DESCRIPTION))
    open_tab(page, "publish")
    with page.expect_download() as download:
        page.locator("#download-dataset").click()
    records = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    same = fingerprint(read_catalogue(SAMPLE), DatasetSettings())  # what the command makes without any option
    assert (app.home / "datasets" / same / "manifest.json").is_file()
    assert all(record["text"].startswith("Context: ") for record in records)
    page.locator("#generate").click()
    tells(page, "reused", state="reused")
    open_tab(page, "rows")


def test_the_main_controls_have_roles_and_names(same_page: Page) -> None:
    open_tab(same_page, "dataset")
    controls = (
        ("tab", "1 Dataset"),
        ("combobox", "Catalogue"),
        ("button", "Upload a catalogue"),
        ("textbox", "Search titles"),
        ("spinbutton", "Products to teach"),
        ("radio", "A language model"),
        ("button", "Generate the dataset"),
        ("button", "Go on to 2 Training"),
        ("textbox", "Search rows"),
    )
    has_controls(same_page, controls)


def test_a_picked_pair_shows_what_the_model_reads(same_page: Page) -> None:
    page = same_page
    generate(page, 6)
    text_box(page, "search-pairs").fill("Wrenwave")
    for row in range(3):  # the table comes after the line under it
        expect(cell(page, "pairs", row, 2)).to_contain_text("Wrenwave")
    kind, title, response = (cell(page, "pairs", 2, column).inner_text() for column in (1, 2, 3))
    cell(page, "pairs", 2, 2).click()
    expect(page.locator("#row-about h3")).to_contain_text(title.removesuffix(" …"))
    expect(page.locator("#row-about")).to_contain_text(kind)
    phrasing = page.locator("#phrasings-of label").nth(3)
    phrasing.click()
    question = phrasing.inner_text().strip()
    expect(page.locator("#row-question textarea")).to_have_value(question)
    expect(page.locator("#reads")).to_contain_text(f"Instruction: {question}")
    expect(page.locator("#reads .highlighted .text").filter(has_text=response.removesuffix(" …"))).to_be_visible()


def test_products_come_in_pages_a_search_narrows_them_and_a_row_opens_the_record(same_page: Page) -> None:
    page = same_page
    first = cell(page, "products", 0, 1).inner_text()
    page.locator("#products-next").click()
    tells(page, "products-where", page=2, pages=7)
    expect(cell(page, "products", 0, 0)).to_have_text("9")
    assert cell(page, "products", 0, 1).inner_text() != first
    text_box(page, "search-products").fill("lamp")
    tells(page, "products-where", page=1, pages=1)
    expect(cell(page, "products", 0, 1)).to_contain_text("Lamp")
    cell(page, "products", 0, 1).click()
    expect(page.locator("#record-title")).to_contain_text("Lamp")
    expect(page.locator("#record")).to_contain_text("watts")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"this is no JSON\nat all\n", "is not a catalogue"),
        (b'{"name": "x", "text": "y"}\n', "content under 4 words"),
        (b"PAR1" + bytes(200), "is a Parquet file"),
        (b'{"title": "Only a title", "content": ""}\n', "No product of"),
    ],
    ids=["empty", "not JSON", "a stub", "Parquet", "no content"],
)
def test_a_bad_file_gets_one_sentence_and_loses_nothing(
    same_page: Page, tmp_path: Path, content: bytes, said: str
) -> None:
    page = same_page
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    upload(page, path)
    expect(page.locator("#dataset-problem")).to_contain_text(said)
    assert "Traceback" not in page.locator("body").inner_text()
    tells(page, "catalogue-counts", usable=51)


def test_an_upload_is_used_and_found_again_after_a_reload(same_page: Page, tmp_path: Path) -> None:
    page = same_page
    rows = [ROW | {"title": f"{ROW['title']} {n}", "uid": str(n)} for n in range(3)]
    path = catalogue(tmp_path, rows, "kettles.jsonl")
    packed = tmp_path / "kettles.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + b'{"title": "cut in the midd'))
    upload(page, packed)
    tells(page, "catalogue-counts", products=4, usable=3, skipped=1)
    unfold(page, "why-skipped")
    expect(cell(page, "skipped", 0, 1)).to_have_text("4")
    expect(cell(page, "skipped", 0, 3)).to_have_text("line is not JSON")
    generate(page, 2, "#dataset-counts:has-text('kettles.gz')")
    page.reload()
    expect(page.locator("#dataset-counts")).to_contain_text("kettles.gz")
    choose(page, "catalogue", "kettles.gz")
    tells(page, "catalogue-counts", usable=3)


def test_markup_in_a_title_is_text_and_nothing_runs(same_page: Page, tmp_path: Path) -> None:
    page = same_page
    titles = [f"Kettle 1 &lt;b&gt; {TEMPLATE}", f"Kettle 2 {MARKDOWN}"]
    # Cleaning drops tags; escaped three times, they are text that looks like a tag.
    titles += [f"Kettle 3 {tag}".replace("<", "&amp;amp;amp;lt;") for tag in (SCRIPT, IMAGE)]
    rows = [
        ROW | {"title": title, "uid": str(n), "content": f"{ROW['content']} {n} {title}"}
        for n, title in enumerate(titles)
    ]
    upload(page, catalogue(tmp_path, rows, "hostile.jsonl"))
    tells(page, "catalogue-counts", usable=4)
    expect(page.locator("#products")).to_contain_text("${window.ranAway=4}")
    for row in range(4):
        cell(page, "products", row, 1).click()
        expect(page.locator("#record-title")).to_contain_text("Kettle")
    generate(page, 4, "#dataset-counts:has-text('hostile.jsonl')")
    expect(page.locator("#reads")).to_contain_text("Kettle")
    open_tab(page, "training")
    expect(page.locator("#plan [data-state]")).to_be_visible()
    assert page.locator("#products img, #reads img, #record img").count() == 0


def test_an_api_without_a_model_is_told_what_to_do(same_page: Page) -> None:
    page = same_page
    open_tab(page, "dataset")
    page.locator("#source input[value=api]").check()
    expect(page.locator("#api-key input")).to_be_visible()
    page.locator("#api-model input").fill("")
    page.locator("#api-model input").press("Tab")
    page.locator("#generate").click()
    expect(page.locator("#dataset-problem")).to_contain_text("No model is named")
