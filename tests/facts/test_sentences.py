"""Which sentences say what a product is, and where there is none. All invented."""

import pytest

from pipeline.facts.sentences import DESCRIPTION_LIMIT, NOWHERE, SENTENCE_LIMIT, description_span, sentences

# (title, record, description)
TOLD = [
    ("Brindlewick Kite", "A kite for calm evenings.", "A kite for calm evenings."),
    (
        "Fenland",
        "Starred Review. In this patient history of eels, Moll Ash wades in.",
        "In this patient history of eels, Moll Ash wades in.",
    ),
    (
        "Fenland",
        "The third Inspector Dray mystery is set among beekeepers.",
        "The third Inspector Dray mystery is set among beekeepers.",
    ),
    (
        "Fenland",
        "Grade 3-5-A girl tames a heron in this quiet story of the fens.",
        "A girl tames a heron in this quiet story of the fens.",
    ),
    (
        "Fenland",
        "A hermit keeps bees in Ash's debut novel, which never hurries.",
        "A hermit keeps bees in Ash's debut novel, which never hurries.",
    ),
    (
        "Fenland: A Life",
        "Nobody asked. Fenland is the story of one drowned village.",
        "Fenland is the story of one drowned village.",
    ),
    ("Fenland", "It's a wayward, funny look at drainage.", "It's a wayward, funny look at drainage."),
    (
        "Quayside Trays",
        "These stiff trays can be lifted by one corner.",
        "These stiff trays can be lifted by one corner.",
    ),
    ("Quayside Desk Stand", "Desk stand holds up to 96 brush pens.", "Desk stand holds up to 96 brush pens."),
    (
        "Bread for Grey Days",
        "Forty slow loaves for people with time. Hardcover.",
        "Forty slow loaves for people with time.",
    ),
    ("Ferry Lamp", "Send the boats home. This brass lamp swings on a hook.", "This brass lamp swings on a hook."),
    ("Ferry Lamp", "A lamp for the hall. Colour: red. It is a fine thing.", "A lamp for the hall."),
    ("Ferry Lamp", "Colour: red. A lamp for the hall, with a hook.", "A lamp for the hall, with a hook."),
    ("Fenland", "A collection of tales from the dykes.--Ada Moe", "A collection of tales from the dykes."),
]

# (title, record) without a sentence that says what it is
UNTOLD = [
    ("Fenland", "'Breathless and wet.' Sunday Telegraph 'A magnificent storyteller' Daily Mail"),
    ("Fenland", "Breathless... Ash is a superb novelist Sunday Express A thriller of quality Daily Telegraph"),
    ("Fenland", '"The best book about mud that I have ever read." --Ida Roe'),
    ("Fenland", "“A collection of tales as cold as the water they come from.” (The Leaden Post)"),
    ("Fenland", "Moll Ash was born in Ely in 1951. She lives in a mill and has written nine novels."),
    ("Fenland", "Moll Ash is the author of nine novels. This is her fourth book."),
    ("Fenland", "Praise for Tall Hats: 'A book to keep.'"),
    ("Fenland", "Text: English (translation)Original Language: Danish"),
    ("Fenland", "This book will change your life!"),
    ("Fenland", "This volume deserves to be in most libraries."),
    ("Fenland", "If this novel reminds you of home, stay dry."),
    ("Fenland", "Recommended for most collections.Copyright 1991 Ash Information, Inc."),
    ("Fenland", "A retired pilot walks far inland to return a letter."),
    ("Fenland", "Book by"),
    ("Fenland", ""),
    ("Ferry Lamp", "Colour: red. Weight: 2 lb."),
    ("Ferry Lamp", "Batteries included: no."),
]


@pytest.mark.parametrize(("title", "content", "description"), TOLD)
def test_the_sentences_that_say_what_it_is(title: str, content: str, description: str) -> None:
    assert content[slice(*description_span(content, title))] == description


@pytest.mark.parametrize(("title", "content"), UNTOLD)
def test_where_none_says_it_there_is_no_description(title: str, content: str) -> None:
    assert content[slice(*description_span(content, title))] == ""


def test_a_description_is_whole_sentences_of_limited_length() -> None:
    lead = "A lamp for the hall that " + "swings and " * 30 + "stops."
    assert len(lead) > SENTENCE_LIMIT and description_span(lead, "Lamp") == NOWHERE
    short = "A lamp for the hall."
    many = short + " It swings on a brass hook and never stops." * 12
    start, end = description_span(many, "Lamp")
    assert many[:end].endswith(".") and start == 0 and len(short) < end <= DESCRIPTION_LIMIT


@pytest.mark.parametrize(
    "lead",
    [
        "Dr. Vane met Mr. Moss at St. Anne's in the U.S. Embassy, near J. R. Holloway's house.",
        "It is 2.5 inches wide and fits lamp No. 7 only.",
        "“Wait… what?” she asks, and the tale begins!",
        "Holds 12 oz. of tea.",
        "It weighs 907. grams with the strap.",
    ],
)
def test_a_sentence_ends_where_it_ends(lead: str) -> None:
    text = f"{lead} The rest."
    assert [text[a:b] for a, b in sentences(text)] == [lead, "The rest."]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Weight: 3 lb. Made in Fife.", "Weight: 3 lb."),
        ("glued.Together it holds.", "glued."),
        ("木制灯。很高。", "木制灯。"),
    ],
)
def test_units_glue_and_full_width_stops(text: str, first: str) -> None:
    assert text[slice(*next(sentences(text)))] == first
