"""Which product is meant: by title, part of it, misspelling, another word for it; and when none is."""

import json
from pathlib import Path

import pytest

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.finding.index import FOLDER, open_index
from pipeline.catalogue.finding.products import ProductFinder
from pipeline.catalogue.finding.spelling import meant, slips_between


@pytest.fixture(scope="module")
def finder() -> ProductFinder:
    return ProductFinder(open_index(read_catalogue(SAMPLE)))


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Who wrote Bread for Grey Days?", "Bread for Grey Days"),
        ("how heavy is the bike headlamp", "Kestrel Point Bicycle Headlamp"),
        ("who is the author of the bee book", "Bees of the Northern Hedgerow"),
        ("how much does the paddle board weigh", "Coldmere Inflatable Paddle Board"),
        ("is the ollie and finch lunchbox metal", "Ollie & Finch Lunch Box"),
        ("whats the gristwel peper mill made of", "Gristwell Pepper Mill"),
        ("how tall is the otter", "Tumblewick Otter Soft Toy, Bramble"),
        ("what colour is the red lodge mug", "Hearthlow Enamel Mug, Lodge"),
        ("How heavy are the Fellgate gaiters?", "Fellgate Winter Gaiters"),  # its row says nothing, and it is known
    ],
)
def test_the_product_is_found(finder: ProductFinder, question: str, title: str) -> None:
    assert finder.find(question)[0].title == title


@pytest.mark.parametrize(
    "question",
    [
        "how much is the torvald belt sander",
        "what size is the mossgate wheelbarrow",
        "Is the Whiskerby toaster two or four slice?",
        "does the iphone 17 have a camera",
        "how many pieces in the castle jigsaw",
        "what is the capital of france",
        "🙂🙂🙂",
        "",
        "?" * 10_000,
    ],
)
def test_what_the_catalogue_does_not_have_is_not_found(finder: ProductFinder, question: str) -> None:
    assert finder.find(question) == []


def test_where_several_fit_all_are_candidates(finder: ProductFinder) -> None:
    titles = {one.title for one in finder.find("how much does the hearthlow enamel mug hold")}
    assert {"Hearthlow Enamel Mug, Trail", "Hearthlow Enamel Mug, Lodge", "Hearthlow Enamel Mug, Basecamp"} <= titles


def test_a_title_is_found_as_a_person_may_spell_it(finder: ProductFinder) -> None:
    number = finder.by_title("ollie & finch LUNCH box")
    assert number is not None and finder.index.title(number) == "Ollie & Finch Lunch Box"
    assert finder.by_title("Samsung Fridge") is None


@pytest.mark.parametrize(
    ("word", "other", "slips"),
    [
        ("wieght", "weight", 1),
        ("bak", "bank", 1),
        ("kiite", "kite", 1),
        ("bord", "bird", 1),
        ("bekt", "best", None),
        ("cat", "dog", None),
    ],
)
def test_slips(word: str, other: str, slips: int | None) -> None:
    assert slips_between(word, other, 1) == slips


def test_the_nearest_spelling_wins() -> None:
    assert meant("hamer", ["hammer", "hammock", "camera"]) == "hammer"


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "shop.json"
    file.write_text(json.dumps({"uid": "1", "title": "Oak Stool", "content": "A stool of oak with three legs."}) + "\n")
    catalogue = read_catalogue(file)
    assert ProductFinder(open_index(catalogue)).find("how many legs has the oak stool")
    (catalogue.folder / FOLDER / "about.json").unlink()
    assert ProductFinder(open_index(catalogue)).find("how many legs has the oak stool")
