"""Two catalogues compared: by uids where both have some, else by titles, whatever their order."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.catalogue.differences import Differences, differences
from pipeline.errors import CatalogueError
from tests.tiny import ROWS, row, write_catalogue

NEW = row("N", "Copper Fern Vase", "A vase for one flower.")


@pytest.fixture(autouse=True)
def own_cache(home: Path) -> Path:
    return home


def catalogue(path: Path, rows: list[dict[str, Any]], *, uids: bool = True) -> Catalogue:
    kept = rows if uids else [{"title": r["title"], "content": r["content"]} for r in rows]
    return read_catalogue(write_catalogue(path, kept))


@pytest.mark.parametrize("uids", [(True, True), (True, False), (False, True), (False, False)])
def test_new_gone_and_changed_products_are_counted(uids: tuple[bool, bool], tmp_path: Path) -> None:
    old = catalogue(tmp_path / "old.json", ROWS, uids=uids[0])
    changed = ROWS[4] | {"content": "A lamp. It weighs 9 pounds."}
    new = catalogue(tmp_path / "new.json", [NEW, changed, *ROWS[5:], *ROWS[2:4]], uids=uids[1])
    assert differences(old, new) == Differences(new=1, gone=2, changed=1)
    assert differences(new, old) == Differences(new=2, gone=1, changed=1)
    assert differences(old, old) == Differences(0, 0, 0)


def test_a_price_in_a_column_of_its_own_is_a_change_and_so_is_a_title_where_uids_tell(tmp_path: Path) -> None:
    def priced(name: str, price: str, title: str) -> Catalogue:
        file = tmp_path / name
        file.write_text(f"sku,title,description,price\nA7,{title},A kettle for camping.,{price}\n")
        return read_catalogue(file)

    old = priced("old.csv", "19.00", "Kettle")
    assert differences(old, priced("new.csv", "19.00", "Kettle")).changed == 0
    assert differences(old, priced("dearer.csv", "21.00", "Kettle")).changed == 1


def test_a_copy_that_is_gone_is_said(tmp_path: Path) -> None:
    old, new = catalogue(tmp_path / "old.json", ROWS), catalogue(tmp_path / "new.json", ROWS[1:])
    shutil.rmtree(old.folder / "contents")
    with pytest.raises(CatalogueError, match=r"old\.json and new\.json cannot be compared"):
        differences(old, new)
