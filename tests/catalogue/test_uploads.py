"""What a person brings along: kept, replaced, read by chosen columns, found where it lies, removed."""

import gzip
import json
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

from pipeline.catalogue import reading, uploads
from pipeline.catalogue.cache import cache_dir
from pipeline.catalogue.columns import SHOPIFY, Columns
from pipeline.catalogue.json_reader import OnProgress
from pipeline.errors import CatalogueError, ColumnsError
from tabs.dataset import catalogue_view as catalogues

MARKUP = "<script>window.ranAway=1</script>"
CHOSEN = Columns("What", ("Story",))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def odd_csv(folder: Path, name: str = "odd.csv") -> Path:
    return written(folder / name, "What,Story\nKettle,It holds 2 litres of water\nMug,It holds 30 cl of tea\n")


def good_csv(folder: Path, title: str = "Kettle", name: str = "good.csv") -> Path:
    return written(folder / name, f"name,description\n{title},It holds 2 litres of water\n")


def keep_upload(path: Path) -> str:
    """What the page does with a file that is brought along; returns its name in the list."""
    placed = uploads.place_upload(path)
    uploads.verify_upload(placed)
    return placed.name


def listed() -> list[str]:
    return [value for _, value in uploads.catalogue_choices()]


def test_columns_that_are_not_recognised_are_chosen_once(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnsError, match="What, Story"):
        keep_upload(odd_csv(tmp_path))
    assert listed() == ["", "odd.csv"]  # it waits for its columns
    with pytest.raises(ColumnsError):
        uploads.open_catalogue("odd.csv")
    assert uploads.use_columns("odd.csv", CHOSEN).usable == 2
    assert uploads.chosen_columns("odd.csv") == CHOSEN
    assert uploads.open_catalogue("odd.csv").page()[0].title == "Kettle"


def test_columns_that_give_no_product_are_not_kept(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnsError):
        keep_upload(odd_csv(tmp_path))
    uploads.use_columns("odd.csv", CHOSEN)
    with pytest.raises(CatalogueError):
        uploads.use_columns("odd.csv", Columns("What", ("What",)))
    assert uploads.chosen_columns("odd.csv") == CHOSEN


def test_json_with_other_fields_is_read_by_chosen_ones(home: Path, tmp_path: Path) -> None:
    row = {"wat": "Kettle", "verhaal": "It holds 2 litres of water"}
    with pytest.raises(ColumnsError):
        keep_upload(written(tmp_path / "odd.json", json.dumps(row)))
    assert uploads.fields_of(uploads.catalogue_path("odd.json")) == ["wat", "verhaal"]
    assert uploads.use_columns("odd.json", Columns("wat", ("verhaal",))).usable == 1


def test_a_new_upload_of_a_name_keeps_the_columns_that_it_has(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnsError):
        keep_upload(odd_csv(tmp_path))
    uploads.use_columns("odd.csv", CHOSEN)
    keep_upload(odd_csv(tmp_path))
    assert uploads.chosen_columns("odd.csv") == CHOSEN
    keep_upload(good_csv(tmp_path, name="odd.csv"))
    assert uploads.chosen_columns("odd.csv") is None


def test_a_bad_upload_gives_the_one_that_it_replaced_back(home: Path, tmp_path: Path) -> None:
    keep_upload(good_csv(tmp_path))
    placed = uploads.place_upload(written(tmp_path / "good.csv", "name,description\nKettle,\n"))
    assert placed.old
    with pytest.raises(CatalogueError, match="No product of"):
        uploads.verify_upload(placed)
    assert uploads.open_catalogue("good.csv").usable == 1
    assert [p.name for p in uploads.uploads_dir().iterdir()] == ["good.csv"]


def test_an_upload_whose_name_is_being_read_touches_neither_file(home: Path, tmp_path: Path) -> None:
    """It is refused before it is in its place, so that neither becomes an orphan and a bad one takes no other along."""
    go_on = threading.Event()
    keep_upload(good_csv(tmp_path))
    first = reading.start("good.csv", lambda _: [go_on.wait(30), uploads.open_catalogue("good.csv")][1])
    second = written(tmp_path / "good.csv", "name,description\nPot,A pot that holds 3 litres of soup\n")
    with pytest.raises(CatalogueError, match=r"good\.csv is being read at the moment"):
        reading.start(uploads.upload_name(second), partial(uploads.take_upload, second))
    assert second.exists() and [p.name for p in uploads.uploads_dir().iterdir()] == ["good.csv"]
    go_on.set()
    assert first.wait(30)
    taken = reading.start(uploads.upload_name(second), partial(uploads.take_upload, second)).wait(30)
    assert taken and taken.page()[0].title == "Pot"
    assert [p.name for p in uploads.uploads_dir().iterdir()] == ["good.csv"] and not second.exists()


def test_removing_takes_cache_and_columns_along(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnsError):
        keep_upload(odd_csv(tmp_path))
    uploads.use_columns("odd.csv", CHOSEN)
    assert list(cache_dir().glob("[!.]*"))
    uploads.remove("odd.csv")
    assert not list(cache_dir().glob("[!.]*")) and not list(uploads.uploads_dir().iterdir())
    assert listed() == [""]
    with pytest.raises(CatalogueError, match="sample"):
        uploads.remove("")


@pytest.mark.parametrize("kind", ["upload", "chosen columns", "elsewhere", "sample"])
def test_a_catalogue_whose_copy_is_gone_is_opened_again_of_its_own_file(kind: str, home: Path, tmp_path: Path) -> None:
    if kind == "sample":
        catalogue = uploads.open_catalogue("")
    elif kind == "elsewhere":
        catalogue = uploads.open_catalogue(uploads.keep_path(str(good_csv(tmp_path))))
    elif kind == "upload":
        keep_upload(good_csv(tmp_path))
        catalogue = uploads.open_catalogue("good.csv")
    else:
        with pytest.raises(ColumnsError):
            keep_upload(odd_csv(tmp_path))
        catalogue = uploads.use_columns("odd.csv", CHOSEN)
    products = catalogue.page()
    shutil.rmtree(cache_dir())
    assert uploads.is_at_hand(catalogue.sha256) and not cache_dir().exists()  # to look makes nothing
    again = uploads.catalogue_with(catalogue.sha256)
    assert again == catalogue and again.page() == products


def test_a_catalogue_whose_copy_is_gone_is_gone_where_its_file_is_another(home: Path, tmp_path: Path) -> None:
    keep_upload(good_csv(tmp_path))
    sha256 = uploads.open_catalogue("good.csv").sha256
    shutil.rmtree(cache_dir())
    keep_upload(written(tmp_path / "good.csv", "name,description\nPot,A pot that holds 3 litres of soup\n"))
    assert not uploads.is_at_hand(sha256) and uploads.catalogue_with(sha256) is None
    keep_upload(good_csv(tmp_path, name="again.csv"))
    found = uploads.catalogue_with(sha256)
    assert found and found.name == "again.csv"


def test_a_file_elsewhere_is_read_where_it_lies(home: Path, tmp_path: Path) -> None:
    there = tmp_path / "trn.json.gz"
    there.write_bytes(gzip.compress(b'{"title": "Kettle", "content": "It holds 2 litres of water"}\n'))
    name = uploads.keep_path(f' "{there}" ')
    assert name == str(there) and listed() == ["", name]
    assert uploads.open_catalogue(name).usable == 1
    assert not [p for p in uploads.uploads_dir().iterdir() if not p.name.startswith(".")]
    uploads.use_columns(name, Columns("title", ("content",)))
    assert listed() == ["", name]
    uploads.remove(name)
    assert there.exists() and listed() == [""] and not list(cache_dir().glob("[!.]*"))


def test_a_file_elsewhere_that_is_no_catalogue_is_forgotten_and_one_with_other_columns_stays(
    home: Path, tmp_path: Path
) -> None:
    """However long it takes to find out: who waits for it is told by the reading."""
    bad, odd = written(tmp_path / "bad.json", "this is no JSON"), odd_csv(tmp_path)
    for file, refused in ((bad, CatalogueError), (odd, ColumnsError)):
        name = uploads.keep_path(str(file))
        with pytest.raises(refused):
            reading.start(name, partial(uploads.verify_path, name)).wait(60)
    assert listed() == ["", str(odd)] and bad.exists()


@pytest.mark.parametrize(
    "typed",
    ["", "  ", "relative.csv", "/no/such.csv", "/x\0y.csv", "~nobody-there/x.csv", "/" + "x" * 5000 + ".csv", "/dev/zero",
     f"/{MARKUP}.json", "/etc/passwd", "/tmp"],
)  # fmt: skip
def test_a_path_that_leads_nowhere_gets_one_sentence(home: Path, typed: str) -> None:
    with pytest.raises(CatalogueError) as said:
        uploads.keep_path(typed)
    assert len(str(said.value)) < 330 and str(said.value).endswith(".")
    assert listed() == [""]


def test_a_space_opens_no_file_of_its_server(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = uploads.keep_path(str(good_csv(tmp_path)))
    monkeypatch.setenv("SPACE_ID", "mira/shelftalk")
    assert listed() == [""]
    with pytest.raises(CatalogueError, match="for you alone"):
        uploads.keep_path(name)
    with pytest.raises(CatalogueError, match="no uploaded"):
        uploads.catalogue_path(name)


def test_hidden_files_are_no_catalogues_and_damaged_ones_say_nothing(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnsError):
        keep_upload(odd_csv(tmp_path))
    uploads.use_columns("odd.csv", CHOSEN)
    (beside,) = [p for p in uploads.uploads_dir().iterdir() if p.name.startswith(".")]
    with pytest.raises(CatalogueError, match="no uploaded"):
        uploads.catalogue_path(beside.name)
    for damaged in ("{", "[]", '{"columns": {"content": 3}}', '{"columns": "x"}'):
        beside.write_text(damaged)
        assert uploads.chosen_columns("odd.csv") is None
        assert listed() == ["", "odd.csv"]


def test_a_long_name_is_shortened_and_keeps_its_ending(home: Path, tmp_path: Path) -> None:
    name = keep_upload(good_csv(tmp_path, name="ü" * 120 + ".csv"))
    assert name.endswith("ü.csv") and len(os.fsencode(name)) <= uploads.MAX_NAME_BYTES
    assert uploads.open_catalogue(name).usable == 1


def test_what_was_chosen_of_an_export_is_still_read_as_one(home: Path, tmp_path: Path) -> None:
    path = written(
        tmp_path / "shop.csv", "Handle,Title,Body (HTML),Vendor\nk,Kettle,<p>It holds 2 litres</p>,Quillon\n"
    )
    chosen = uploads.columns_chosen(path, "Title", ["Body (HTML)", "Vendor"], "Handle")
    assert chosen == Columns("Title", ("Body (HTML)", "Vendor"), "Handle", SHOPIFY)
    assert uploads.columns_chosen(path, "Vendor", ["Title"], "") == Columns("Vendor", ("Title",))
    for title, contents in ((None, ["Title"]), ("Title", [])):
        with pytest.raises(CatalogueError, match="not chosen"):
            uploads.columns_chosen(path, title, contents, None)


def test_a_reading_is_followed_by_every_window_and_shows_its_first_rows(home: Path, tmp_path: Path) -> None:
    keep_upload(good_csv(tmp_path))
    go_on = threading.Event()

    def slowly(tell: OnProgress) -> catalogues.Catalogue:
        tell(30, 120)
        go_on.wait(60)
        return uploads.open_catalogue("good.csv", tell)

    begun = reading.start("good.csv", slowly)
    assert begun.wait(0.01) is None
    assert reading.follow("good.csv") is begun and reading.latest() is begun
    with pytest.raises(CatalogueError, match="is being read"):
        reading.start("good.csv", slowly)
    assert "25% of 0 kB read" in catalogues.reading_line(begun)
    assert [cells[0] for cells in catalogues.product_cells("good.csv", "KETT")] == ["Kettle"]
    assert not catalogues.product_cells("good.csv", "mug")
    assert catalogues.product_of("good.csv", "2").title == "Kettle"
    go_on.set()
    done = begun.wait(60)
    assert done and done.usable == 1 and reading.latest() is None
    assert catalogues.product_of("good.csv", "2").title == "Kettle"
    with pytest.raises(CatalogueError, match="pick it again"):
        catalogues.product_of("good.csv", "99")


def test_a_reading_that_fails_says_so_to_whoever_waits(home: Path) -> None:
    with pytest.raises(CatalogueError, match="no uploaded catalogue gone"):
        reading.follow("gone.csv").wait(60)


def test_names_and_values_of_columns_are_text() -> None:  # the line is escaped where the page shows it
    fields = [MARKUP, *(f"c{n}" for n in range(40))]
    table = catalogues.samples_table(fields, [{MARKUP: f"{MARKUP} {'x' * 500}", "c1": None, "c2": ["a\nb"]}])
    assert (
        "<script>" not in table and "&lt;script&gt;" in table and "11 more columns" in table and "x" * 100 not in table
    )
    line = catalogues.columns_line(Columns(MARKUP, ("a", "b")), chosen=True)
    assert line.startswith(f"Chosen: title from “{MARKUP}”") and "from “a” and “b”." in line
    assert "a Shopify export" in catalogues.columns_line(Columns("t", ("c",), None, SHOPIFY), chosen=False)
