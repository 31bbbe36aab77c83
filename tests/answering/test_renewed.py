"""A run that answers from a newer catalogue: at once and everywhere, until it is taken back; and what measures it does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.answering.customers import correction
from pipeline.answering.lookup import TaughtProducts
from pipeline.answering.put_right import with_put_right
from pipeline.answering.renewed import as_it_was, as_taught, renew, source_of, value_now
from pipeline.answering.shop import Told, missing_catalogue, shop_of
from pipeline.answering.ways import AUTO
from pipeline.catalogue import uploads
from pipeline.catalogue.cache import RENEWED, cache_dir
from pipeline.catalogue.catalogue import Catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.edits import keep_edit
from pipeline.errors import CatalogueError, RunError
from pipeline.files import PROJECT, read_json, write_json
from pipeline.prompts import REFUSAL
from pipeline.runs.folder import run_dataset
from pipeline.runs.manage import create_run, duplicate_run
from pipeline.runs.settings import default_base, settings_for
from pipeline.serving.desk import Desk
from pipeline.serving.line import Job
from tests.tiny import FEW_ROWS, ROWS, row, write_catalogue

LAMP, TRAM, TEAPOT = "Harrow Lane Lamp", "Oskar’s Wooden Tram", "Pell & Daughter Teapot"
"""Two that are taught, and one that is not."""
NEW = row("T9", "Copper Fern Vase", "A vase for one flower. It is 9 inches tall.")


def tomorrow(**changes: tuple[str, str]) -> list[dict[str, Any]]:
    """The rows with a part of the record of each product (by uid) replaced."""
    return [r | {"content": r["content"].replace(*changes.get(r["uid"], ("", "")))} for r in ROWS]


NEWER = [*tomorrow(T5=("2 pounds", "3 pounds"), T4=("pale green", "deep red"))[1:], NEW]
"""One new, one (the kite, which was not taught) gone, two changed."""


def brought(folder: Path, name: str, rows: list[dict[str, Any]]) -> Catalogue:
    uploads.take_upload(write_catalogue(folder / name, rows))
    return uploads.open_catalogue(name)


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """Of four products of the eight of an upload, without an adapter."""
    dataset = build_dataset(brought(tmp_path, "shop.json", ROWS), FEW_ROWS)
    assert {LAMP, TRAM} < {product["title"] for product in dataset.manifest["products"]}
    return create_run(dataset, settings_for("quick", default_base()), home / "runs" / "one")


@pytest.fixture
def newer(run: Path, tmp_path: Path) -> Catalogue:
    return brought(tmp_path, "newer.json", NEWER)


def told(run: Path, question: str) -> str:
    shop = shop_of(run_dataset(run))
    return shop.tell(shop.about(question)).answer


def test_what_changed_is_answered_at_once_what_is_new_is_found_what_is_gone_is_not_and_all_goes_back(
    run: Path, newer: Catalogue
) -> None:
    fingerprint = run_dataset(run).manifest["fingerprint"]
    questions = (f"How heavy is the {LAMP}?", f"How tall is the {NEW['title']}?", "How wide is the Brindlewick Kite?")
    before = [told(run, question) for question in questions]
    assert before == ["2 pounds.", REFUSAL, "48 inches."] and not source_of(run_dataset(run)).since
    said = renew(run, newer)
    assert said == "8 products, 1 new, 1 gone, 2 with another record than the taught catalogue's."
    assert [told(run, question) for question in questions] == ["3 pounds.", "9 inches.", REFUSAL]
    assert source_of(run_dataset(run)).name == "newer.json" and source_of(run_dataset(run)).since
    with as_taught():
        assert [told(run, question) for question in questions] == before, "what measures a run asks what it was taught"
    assert run_dataset(run).manifest["fingerprint"] == fingerprint
    twin = duplicate_run(run)
    assert told(twin, questions[0]) == before[0] and not (twin / "dataset" / RENEWED).exists()
    as_it_was(run)
    assert [told(run, question) for question in questions] == before
    as_it_was(run)  # nothing more to take back


def test_the_catalogue_that_it_was_taught_is_no_newer_one(run: Path, newer: Catalogue) -> None:
    renew(run, newer)
    assert renew(run, uploads.open_catalogue("shop.json")).startswith("8 products, 0 new, 0 gone, 0 with")
    assert not source_of(run_dataset(run)).since and not (run / "dataset" / RENEWED).exists()


def test_a_catalogue_without_any_taught_product_is_refused_and_all_stays(
    run: Path, newer: Catalogue, tmp_path: Path
) -> None:
    renew(run, newer)
    other = brought(tmp_path, "other.json", [row("X1", "Marble Top", "It is 3 inches wide."), NEW])
    with pytest.raises(CatalogueError) as refused:
        renew(run, other)
    assert str(refused.value) == (
        "other.json has none of the products that run one was taught (4); choose a newer file of the same shop, or make a new "
        "run of this one."
    )
    assert source_of(run_dataset(run)).name == "newer.json"
    with pytest.raises(RunError, match="is not a run folder"):
        renew(run / "dataset", newer)


def test_products_are_the_same_by_their_uids_though_all_have_other_titles(run: Path, tmp_path: Path) -> None:
    titled = [r | {"title": f"{r['title']} of 2027"} for r in ROWS]
    said = renew(run, brought(tmp_path, "titled.json", titled))
    assert said == "8 products, 0 new, 0 gone, 8 with another record than the taught catalogue's."


@pytest.mark.parametrize("copy", ["damaged", "gone"])
def test_without_the_taught_catalogue_it_is_said_how_many_taught_products_there_are(
    copy: str, run: Path, newer: Catalogue
) -> None:
    own = uploads.open_catalogue("shop.json")
    if copy == "damaged":
        next((own.folder / "contents").iterdir()).write_bytes(b"")
        about = read_json(own.folder / "catalogue.json")
        files = about["files"] | {name: 0 for name in about["files"] if name.startswith("contents")}
        write_json(own.folder / "catalogue.json", about | {"files": files})
    else:
        uploads.remove("shop.json")
    assert renew(run, newer) == "8 products, among them 4 of the 4 that were taught."
    assert told(run, f"How heavy is the {LAMP}?") == "3 pounds."


def test_numbers_of_lines_are_no_uids(home: Path, tmp_path: Path) -> None:
    def file(name: str, rows: list[dict[str, Any]]) -> Catalogue:
        return brought(tmp_path, name, [{"title": r["title"], "content": r["content"]} for r in rows])

    run = create_run(
        build_dataset(file("shop.json", ROWS), FEW_ROWS), settings_for("quick", default_base()), home / "runs" / "one"
    )
    shop = shop_of(run_dataset(run))
    keep_edit(correction(shop, "does it come with a bulb", LAMP, "Yes, one bulb.", ""))
    said = renew(run, file("newer.json", [NEW, *tomorrow(T5=("2 pounds", "3 pounds"))]))
    assert said == "9 products, 1 new, 0 gone, 1 with another record than the taught catalogue's."
    shop = shop_of(run_dataset(run))
    for title in (LAMP, ""):
        question = "does it come with a bulb" if title else f"does the {LAMP} come with a bulb"
        about = with_put_right(shop, question, shop.about(question, title), is_given=bool(title))
        assert about.put_right == Told("Yes, one bulb.", "value", by_shop=True), (
            "the owner's answer is still said first"
        )
    with pytest.raises(CatalogueError, match="has none of the products"):
        renew(run, file("other.json", [row("", f"Marble {n}", f"It is {n} inches wide.") for n in range(2, 9)]))


def ask(desk: Desk, question: str) -> str:
    (reply,) = desk.answer([Job(desk.run, desk.way, question, "", "")])
    return reply.said.answer


def test_a_server_that_runs_sees_what_another_process_has_chosen(run: Path, home: Path, tmp_path: Path) -> None:
    desk, question = Desk(run, AUTO), f"How heavy is the {LAMP}?"
    desk.get_ready(lambda text: pytest.fail(text))
    assert ask(desk, question) == "2 pounds."
    file = write_catalogue(tmp_path / "elsewhere.json", NEWER)
    for words, answer in (([str(file)], "3 pounds."), (["--back"], "2 pounds.")):
        command = [sys.executable, "-m", "pipeline", "renew", "one", *words]
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
        assert ask(desk, question) == answer


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b'{"name": "newer.json", "sha2',
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"name": 1, "sha256": 2, "since": 3}',
        b"[" * 9999,
    ],
)
def test_a_damaged_file_chooses_nothing(run: Path, newer: Catalogue, damaged: bytes) -> None:
    renew(run, newer)
    (run / "dataset" / RENEWED).write_bytes(damaged)
    assert told(run, f"How heavy is the {LAMP}?") == "2 pounds." and not missing_catalogue(run_dataset(run))


def test_a_file_that_is_gone_or_has_changed_is_named(run: Path, newer: Catalogue, tmp_path: Path) -> None:
    renew(run, newer)
    brought(tmp_path, "newer.json", NEWER[:5])
    assert not missing_catalogue(run_dataset(run)), "its prepared copy stays"
    for folder in cache_dir().iterdir():
        if folder.is_dir() and read_json(folder / "catalogue.json")["sha256"] == newer.sha256:
            (folder / "products.parquet").unlink()
    known = "so only the products that it taught (4) are known"
    which = "The catalogue that this run answers from, newer.json,"
    said = missing_catalogue(run_dataset(run))
    assert said == f"{which} has changed since it was chosen, {known}; choose it again as the newer catalogue."
    assert told(run, f"What colour is the {TEAPOT}?") == REFUSAL
    uploads.remove("newer.json")
    said = missing_catalogue(run_dataset(run))
    assert said == f"{which} is not on this machine any more, {known}; upload the same file in the first tab."


def test_a_value_now_is_the_record_s_own_or_the_taught_one_as_long_as_it_stands_there(run: Path) -> None:
    asked = TaughtProducts(run_dataset(run).manifest).ask(f"How much does the {LAMP} weigh?")
    product = asked.product
    assert product and value_now(asked, product) == "2 pounds"
    mood = type(asked)(**vars(asked) | {"kind": "mood", "expected": "for reading late"})
    longer = type(product)(product.uid, product.title, product.content + " It hums.")
    assert value_now(mood, longer) == "for reading late"
    assert value_now(mood, type(product)(product.uid, product.title, "A lamp.")) is None


def test_what_a_later_version_adds_is_passed_over(run: Path, newer: Catalogue) -> None:
    renew(run, newer)
    file = run / "dataset" / RENEWED
    write_json(file, read_json(file) | {"more": 1})
    assert source_of(run_dataset(run)).name == "newer.json"
    assert json.loads(file.read_text())["sha256"] == newer.sha256
