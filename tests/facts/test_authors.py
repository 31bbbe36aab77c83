"""Who wrote it, where a reader can tell, and where only somebody is named. All invented."""

import pytest

from pipeline.facts.extract import extract_facts

# (title, record, author)
TOLD = [
    ("Fenland", "Moll Ash was born in Ely in 1951. She has written nine novels.", "Moll Ash"),
    ("Fenland", "Moll Ash is a well-known pastel artist. She runs workshops in Ely.", "Moll Ash"),
    ("Fenland", "Moll Ash, author of Tall Hats, has run courses for years.", "Moll Ash"),
    ("Fenland", "Baptist pastor and writer, Moll Ash was born in 1850.", "Moll Ash"),
    ("Fenland", "In her patient history of eels, Moll Ash wades in.", "Moll Ash"),
    ("Fenland", "In this new account of mud, historian Moll Ash traces every dyke.", "Moll Ash"),
    ("Fenland", "Veteran horror writer Moll Ash brings back her heron.", "Moll Ash"),
    ("Fenland", "Nobody does it better than Moll Ash's Fenland, a joy.", "Moll Ash"),
    ("Fenland", "Fenland is Moll Ash's own story of a wet year.", "Moll Ash"),
    ("Fenland", "For the heroine of Moll Ash's prize-winning debut novel, mud is home.", "Moll Ash"),
    ("Fenland", "Praise for Moll Ash: 'Ash writes like rain.' Ida Roe", "Moll Ash"),
    ("Fenland", "'Moll Ash is a magnificent storyteller' Sunday Mirror", "Moll Ash"),
    ("Fenland", "ACCLAIM FOR MOLL ASH: 'Moll Ash writes like rain.'", "Moll Ash"),
    ("Fenland", "Written by Moll Ash and Ida Roe.", "Moll Ash and Ida Roe"),
]

UNTOLD = [
    ("Fenland", "Moll Ash is a noted historian. Ida Roe is a painter who teaches in Ely."),
    ("Fenland", "Moll Ash, a lapsed nun with psychic gifts, has a vision."),
    ("Fenland", "In this thriller, Moll Ash chases a heron."),
    ("Fenland", "English writer Moll Ash's money is gone, so she robs a bank."),
    ("Fenland", "'A magnificent storyteller' Moll Ash"),
    ("Fenland", "'Breathless.' --Moll Ash, author of Tall Hats"),
    ("Fenland", "Praise for Tall Hats: 'Moll Ash is the author of the year.'"),
    ("Fenland", "Harrow Publishers is one of the leading houses of the world, with books in ten languages."),
    ("Fenland", "Ash's wit is dry, and Ash writes well."),
    ("Fenland", "Mr Ash tells his tale with power."),
    ("Moll Ash: A Life", "Moll Ash was born in Ely and wrote nine novels."),
    ("Fenland", "Written by Moll Ash, and Quarrie."),
]


def author(title: str, content: str) -> str | None:
    return {fact.kind: fact.value for fact in extract_facts("1", title, content)}.get("author")


@pytest.mark.parametrize(("title", "content", "name"), TOLD)
def test_the_author_is_told(title: str, content: str, name: str) -> None:
    assert author(title, content) == name


@pytest.mark.parametrize(("title", "content"), UNTOLD)
def test_somebody_is_named_but_not_surely_the_author(title: str, content: str) -> None:
    assert author(title, content) is None
