"""The index on disk: made once, made again where it is damaged or another catalogue's, and quick in a large catalogue."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.catalogue.finding.index import FOLDER, open_index
from pipeline.catalogue.finding.products import ProductFinder


def shop(folder: Path, name: str, titles: list[str]) -> Catalogue:
    file = folder / name
    rows = [{"uid": str(n), "title": title, "content": f"It has {n + 2} legs."} for n, title in enumerate(titles)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return read_catalogue(file)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path / "home"))


def found(catalogue: Catalogue, question: str) -> list[str]:
    return [one.title for one in ProductFinder(open_index(catalogue)).find(question)]


def test_an_index_is_made_once(tmp_path: Path) -> None:
    catalogue = shop(tmp_path, "a.jsonl", ["Oak Stool", "Elm Bench"])
    assert found(catalogue, "how high is the oak stool") == ["Oak Stool"]
    made = (catalogue.folder / FOLDER / "about.json").stat().st_mtime_ns
    assert found(catalogue, "how high is the elm bench") == ["Elm Bench"]
    assert (catalogue.folder / FOLDER / "about.json").stat().st_mtime_ns == made


def test_an_index_of_another_catalogue_is_made_again(tmp_path: Path) -> None:
    one = shop(tmp_path, "a.jsonl", ["Oak Stool", "Elm Bench"])
    other = shop(tmp_path, "b.jsonl", ["Ash Table", "Fir Shelf"])
    open_index(one)
    shutil.copytree(one.folder / FOLDER, other.folder / FOLDER)  # of as many products
    assert found(other, "how high is the fir shelf") == ["Fir Shelf"]
    assert found(other, "how high is the oak stool") == []


@pytest.mark.parametrize("name", ["words.json", "starts.npy", "keys.npy", "weights.json", "about.json"])
@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_a_damaged_index_is_made_again(tmp_path: Path, name: str, harm: str) -> None:
    catalogue = shop(tmp_path, "a.jsonl", ["Oak Stool", "Elm Bench"])
    open_index(catalogue)
    file = catalogue.folder / FOLDER / name
    file.unlink() if harm == "removed" else file.write_bytes(file.read_bytes()[:10])
    assert found(catalogue, "how high is the oak stool") == ["Oak Stool"]
    assert np.load(catalogue.folder / FOLDER / "starts.npy").size


def test_among_many_products_one_is_found_in_a_moment(tmp_path: Path) -> None:
    titles = [f"{chr(97 + n % 26)}{n:05d}x Garden Lamp" for n in range(30_000)]
    finder = ProductFinder(open_index(shop(tmp_path, "many.jsonl", titles)))
    finder.find("how high is the c00002x lamp")
    begun = time.process_time()
    assert [one.title for one in finder.find("how high is the z29977x garden lamp")] == ["z29977x Garden Lamp"]
    assert finder.find("how heavy is the garden spade lamp") == []
    assert time.process_time() - begun < 1
