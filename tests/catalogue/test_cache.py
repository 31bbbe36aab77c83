"""The prepared copy of a catalogue: made once, made again when it must be, and read in pages."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.catalogue import build as catalogue_build
from pipeline.catalogue import catalogue as module
from pipeline.catalogue.cache import RENEWED, cache_dir
from pipeline.catalogue.catalogue import (
    SAMPLE,
    Catalogue,
    Columns,
    Product,
    find_catalogue,
    peek,
    read_catalogue,
    title_key,
)
from pipeline.dataset import unknown_titles
from pipeline.dataset.build import build_dataset
from pipeline.dataset.choosing import choose_products
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import delete_dataset
from pipeline.errors import CatalogueError
from pipeline.files import PROJECT, read_json, runs_dir, write_json, write_text
from tests.tiny import FEW_ROWS, ROWS, WARTS, row, write_catalogue


@pytest.fixture(autouse=True)
def own_cache(home: Path) -> Path:
    return home


def caches() -> list[Path]:
    return sorted(p for p in cache_dir().iterdir() if p.is_dir())


def many(count: int) -> list[dict[str, Any]]:
    things = [
        row(f"u{n}", f"Thing {n} of brass", f"A thing of brass. It is {n % 90 + 10} inches wide.") for n in range(count)
    ]
    return [r for n, thing in enumerate(things) for r in (thing, row(f"e{n}", f"Empty shelf {n}", ""))]


# --- Made once, and again when it must be ---


def test_the_second_reading_takes_what_the_first_has_made(catalogue_file: Path) -> None:
    first = read_catalogue(catalogue_file)
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")}
    again = read_catalogue(catalogue_file)
    assert again == first and again.page() == first.page()
    assert {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")} == before


def test_a_changed_file_is_read_again_and_its_old_copy_goes(catalogue_file: Path) -> None:
    first = read_catalogue(catalogue_file)
    write_catalogue(catalogue_file, ROWS[:3])
    assert read_catalogue(catalogue_file).usable == 3
    assert first.folder not in caches() and len(caches()) == 1


def test_a_file_of_the_same_size_is_read_again_when_its_time_is_another(catalogue_file: Path) -> None:
    read_catalogue(catalogue_file)
    changed = catalogue_file.read_text().replace("Brindlewick", "Grindlewick")
    catalogue_file.write_text(changed)
    os.utime(catalogue_file, ns=(1, 1))
    assert read_catalogue(catalogue_file).page()[0].title == "Grindlewick Kite"


def test_the_copies_of_files_that_are_gone_go_too(catalogue_file: Path, tmp_path: Path) -> None:
    read_catalogue(catalogue_file)
    catalogue_file.unlink()
    kept = read_catalogue(write_catalogue(tmp_path / "other.json", ROWS))
    assert caches() == [kept.folder]


def test_the_copy_that_a_dataset_or_a_run_names_stays_until_both_are_gone(catalogue_file: Path) -> None:
    first = read_catalogue(catalogue_file)
    products, made = first.page(), build_dataset(first, FEW_ROWS)
    write_catalogue(catalogue_file, ROWS[:3])
    second = read_catalogue(catalogue_file)
    assert caches() == sorted([first.folder, second.folder])
    assert find_catalogue(first.sha256) == first and first.page() == products

    run = runs_dir() / "one"
    shutil.copytree(made.folder, run / "dataset")
    delete_dataset(made.folder)
    catalogue_file.unlink()
    third = read_catalogue(write_catalogue(catalogue_file.with_name("other.json"), ROWS[:2]))
    assert caches() == sorted([first.folder, third.folder])
    assert find_catalogue(first.sha256) == first and first.page() == products

    shutil.rmtree(run)
    write_catalogue(catalogue_file, ROWS[:4])
    assert caches_after_reading(catalogue_file) == sorted([third.folder, read_catalogue(catalogue_file).folder])


def test_the_copy_that_a_run_answers_from_stays_until_it_answers_from_another(catalogue_file: Path) -> None:
    first = read_catalogue(catalogue_file)
    renewed = runs_dir() / "one" / "dataset" / RENEWED
    write_json(renewed, {"name": "catalogue.json", "sha256": first.sha256, "since": "2026-12-01T08:00:00+00:00"})
    for damaged in ("{", "[]", '"x"'):
        other = runs_dir() / "two" / "dataset" / RENEWED
        write_text(other, damaged)
        write_catalogue(catalogue_file, ROWS[: 3 + len(damaged)])
        assert first.folder in caches_after_reading(catalogue_file)
    write_json(renewed, read_json(renewed) | {"sha256": "another"})
    write_catalogue(catalogue_file, ROWS[:3])
    assert len(caches_after_reading(catalogue_file)) == 1


def caches_after_reading(file: Path) -> list[Path]:
    read_catalogue(file)
    return caches()


def test_a_copy_that_older_code_made_stays_until_the_present_code_has_made_one(
    catalogue_file: Path, tmp_path: Path
) -> None:
    older = of_older_code(read_catalogue(catalogue_file))
    build_dataset(older, FEW_ROWS)
    other = write_catalogue(tmp_path / "other.json", ROWS[:2])
    assert older.folder in caches_after_reading(other)
    assert find_catalogue(older.sha256) == older and len(older.page()) == older.usable

    anew = read_catalogue(catalogue_file)
    assert anew.folder != older.folder and find_catalogue(older.sha256) == anew
    write_catalogue(other, ROWS[:3])
    assert caches_after_reading(other) == sorted([anew.folder, read_catalogue(other).folder])


def test_a_copy_that_cannot_be_read_any_more_goes_though_a_dataset_names_it(
    catalogue_file: Path, tmp_path: Path
) -> None:
    older = of_older_code(read_catalogue(catalogue_file), without="key")
    build_dataset(older, FEW_ROWS)
    assert find_catalogue(older.sha256) is None
    assert older.folder not in caches_after_reading(write_catalogue(tmp_path / "other.json", ROWS[:2]))


def of_older_code(catalogue: Catalogue, without: str = "") -> Catalogue:
    """The catalogue with its copy as an earlier version's: under another name, and perhaps without a column of its products."""
    folder = catalogue.folder.rename(catalogue.folder.with_name(f"{catalogue.folder.name[:16]}-{'0' * 16}"))
    about = read_json(folder / "catalogue.json")
    about["state"][3] = "earlier"
    if without:
        products = folder / "products.parquet"
        table = f"SELECT * EXCLUDE {without} FROM read_parquet('{products}')"
        duckdb.sql(f"COPY ({table}) TO '{folder / 'new'}' (FORMAT parquet)")
        (folder / "new").replace(products)
        about["files"][products.name] = products.stat().st_size
    write_json(folder / "catalogue.json", about)
    return replace(catalogue, folder=folder)


def test_a_file_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("not JSON\n" * 3)
    with pytest.raises(CatalogueError):
        read_catalogue(bad)
    assert caches() == []


@pytest.mark.parametrize("damage", ["cut", "missing", "folder", "about", "about is a list"])
def test_a_damaged_copy_is_made_again(damage: str, catalogue_file: Path) -> None:
    first = read_catalogue(catalogue_file)
    products = first.page()
    if damage == "cut":
        os.truncate(first.folder / "products.parquet", 100)
    elif damage == "missing":
        (first.folder / "skipped.parquet").unlink()
    elif damage == "folder":
        shutil.rmtree(first.folder / "contents")
    else:
        (first.folder / "catalogue.json").write_text("{" if damage == "about" else "[]")
    assert read_catalogue(catalogue_file).page() == products
    assert len(caches()) == 1


@pytest.mark.parametrize("file", ["products.parquet", "contents/00000.parquet"])
def test_a_copy_whose_bytes_are_wrong_is_said_to_be_and_made_again(file: str, catalogue_file: Path) -> None:
    catalogue = read_catalogue(catalogue_file)
    damaged = catalogue.folder / file
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    with pytest.raises(CatalogueError, match=r"catalogue\.json cannot be read; open the catalogue again"):
        catalogue.page()
    assert read_catalogue(catalogue_file).usable == len(catalogue.page())


def test_a_handle_on_a_copy_that_is_gone_says_so(catalogue_file: Path) -> None:
    catalogue = read_catalogue(catalogue_file)
    shutil.rmtree(catalogue.folder)
    for ask in (catalogue.page, catalogue.skipped, lambda: catalogue.matching("kite"), catalogue.all_titles):
        with pytest.raises(CatalogueError, match="open the catalogue again"):
            ask()


def test_several_at_once_make_one_copy(tmp_path: Path) -> None:
    file = write_catalogue(tmp_path / "many.json", many(3000))
    code = """
import sys; from pathlib import Path; from pipeline.catalogue.catalogue import read_catalogue
catalogue = read_catalogue(Path(sys.argv[1])); print(catalogue.usable, len(catalogue.page()))
"""
    together = [
        subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {process.communicate(timeout=300)[0] for process in together} == {"3000 3000\n"}
    assert len(caches()) == 1 and caches()[0].name[0] != "."


def test_what_a_killed_builder_left_is_removed(catalogue_file: Path) -> None:
    catalogue = read_catalogue(catalogue_file)
    left = catalogue.folder.with_name(f".{catalogue.folder.name}.0123abcd")
    shutil.copytree(catalogue.folder, left)
    os.utime(catalogue_file, ns=(5, 5))
    read_catalogue(catalogue_file)
    assert not left.exists()


def test_columns_have_a_copy_each(catalogue_file: Path) -> None:
    plain = read_catalogue(catalogue_file)
    other = read_catalogue(catalogue_file, columns=Columns("title", ("content", "title")))
    assert plain.folder != other.folder and read_catalogue(catalogue_file).folder == plain.folder
    assert other.page()[0].content.endswith("Made in Norway. Brindlewick Kite") and other.page()[0].uid == "1"


@pytest.mark.parametrize("name", ["it's [1] *.json", "a'; DROP TABLE x; --.json", "$(x) ?{a,b}.json", "ünï\ncode.json"])
def test_names_of_files_and_folders_are_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("SHELFTALK_HOME", str(folder))
    catalogue = read_catalogue(write_catalogue(folder / name))
    assert len(catalogue.page()) == len(catalogue.sample(100, 1)) == catalogue.usable == 8
    assert len(catalogue.skipped()) == catalogue.skipped_total == 6


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "many.json.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in many(20_000)).encode()))
    told: list[tuple[int, int]] = []
    read_catalogue(file, on_progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (file.stat().st_size,) * 2


# --- Read in pages ---


def test_pages_together_are_the_catalogue(tmp_path: Path) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "many.json", many(300)))
    everything = catalogue.page()
    assert [p.uid for p in everything] == [f"u{n}" for n in range(300)]
    assert [p for start in range(0, 300, 7) for p in catalogue.page(start, 7)] == everything
    assert catalogue.page(298, 25) == everything[298:] and catalogue.page(300, 25) == [] and catalogue.page(0, 0) == []
    found = catalogue.page(words="OF 1")
    assert [p for start in range(0, len(found), 9) for p in catalogue.page(start, 9, "OF 1")] == found
    assert len(found) == catalogue.matching("OF 1") == 138
    skipped = catalogue.skipped()
    assert [s for start in range(0, 300, 11) for s in catalogue.skipped(start, 11)] == skipped
    assert [s.line for s in skipped] == list(range(2, 601, 2))


def test_a_file_of_several_blocks_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [r | {"content": r["content"] + " padding" * 40 if r["content"] else ""} for r in many(4000)]
    file = write_catalogue(tmp_path / "many.json", rows)
    whole = read_catalogue(file)
    blocks = catalogue_build.blocks
    monkeypatch.setattr(catalogue_build, "blocks", lambda path, told: blocks(path, told, size=300_000))
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path / "other"))
    several = read_catalogue(file)
    assert len(list((several.folder / "contents").iterdir())) > 1
    assert several.page() == whole.page() and several.skipped() == whole.skipped()


@pytest.mark.parametrize("small", [True, False])
def test_draws_depend_on_the_seed_alone(small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "many.json", many(60)))
    monkeypatch.setattr(module, "SMALL", 60 if small else 5)
    sample = catalogue.sample(10, 3)
    assert sample == catalogue.sample(10, 3) != catalogue.sample(10, 4)
    assert len({p.uid for p in sample}) == 10
    assert {p.uid for p in catalogue.sample(100, 3)} == {f"u{n}" for n in range(60)}
    found = catalogue.sample(5, 3, "thing 1")
    assert len(found) == 5 and all("1" in p.title for p in found) and found == catalogue.sample(5, 3, "thing 1")
    empty = catalogue.titles_without_content(7, 3)
    assert len(set(empty)) == 7 and set(empty) <= set(catalogue.titles_without_content())
    assert empty == catalogue.titles_without_content(7, 3) != catalogue.titles_without_content(7, 4)


def test_titles_are_known_by_their_words(catalogue_file: Path) -> None:
    catalogue = read_catalogue(catalogue_file)
    keys = [title_key(t) for t in ("Brindlewick KITE!", "vesper row mug", "No such thing", "Twice Told", "")]
    assert catalogue.has_titles(keys) == {"brindlewick kite", "vesper row mug"}


def test_a_large_catalogue_makes_a_dataset_without_being_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "many.json", many(400)))
    monkeypatch.setattr(module, "SMALL", 50)
    monkeypatch.setattr(unknown_titles, "SMALL", 50)
    monkeypatch.setattr(module.Catalogue, "all_titles", lambda self: pytest.fail("It was listed."))
    made = build_dataset(catalogue, DatasetSettings(products=20))
    chosen = [p["uid"] for p in made.manifest["products"]]
    assert len(set(chosen)) == 20 and chosen == [c.product.uid for c in choose_products(catalogue, 20, 0)]
    unknown = made.manifest["unknown"]
    titles = [*unknown["training"], *unknown["held_out"]]
    assert len(set(map(title_key, titles))) == len(titles) == 65
    taught = {title_key(p["title"]) for p in made.manifest["products"]}
    assert not taught & set(map(title_key, titles))
    real = catalogue.has_titles(map(title_key, titles))
    assert len(real) == 45


def test_many_windows_read_one_catalogue_at_once(tmp_path: Path) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "many.json", many(400)))
    pages = [catalogue.page(start, 10) for start in range(0, 200, 10)]
    with ThreadPoolExecutor(8) as windows:
        for _ in range(3):
            assert list(windows.map(lambda start: catalogue.page(start, 10), range(0, 200, 10))) == pages


# --- The first rows at once ---


def test_the_first_rows_are_those_of_the_whole(catalogue_file: Path) -> None:
    assert peek(catalogue_file, 5) == read_catalogue(catalogue_file).page(0, 5)
    assert peek(SAMPLE, 3) == read_catalogue(SAMPLE).page(0, 3)


@pytest.mark.parametrize("form", ["lines", "list", "gzip", "cut gzip", "no last line end"])
def test_the_first_rows_need_no_more_than_the_file_s_beginning(form: str, tmp_path: Path) -> None:
    rows, file = many(20_000), tmp_path / "many.json"
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    packed = gzip.compress(lines)
    forms = {"lines": lines, "list": json.dumps(rows).encode(), "gzip": packed, "cut gzip": packed[:200_000]}
    file.write_bytes(forms.get(form, lines.rstrip()))
    assert peek(file, 2) == [Product(f"u{n}", f"Thing {n} of brass", rows[2 * n]["content"]) for n in (0, 1)]
    assert not cache_dir().exists()


def test_the_first_rows_of_a_short_file_are_all(tmp_path: Path) -> None:
    assert [p.uid for p in peek(write_catalogue(tmp_path / "few.json", [*WARTS[:3], *ROWS[:2]]))] == ["T1", "T2"]
    with pytest.raises(CatalogueError, match="There is no file"):
        peek(tmp_path / "none.json")
