"""Facts by patterns: what is one, what is not, that every value is found again in an answer. All invented."""

import pytest

from pipeline.facts.extract import Fact, extract_facts, in_title
from pipeline.facts.extraction import extract, is_read_back
from pipeline.facts.patterns import DESCRIPTION, KINDS, SHAPED, answer_pattern

TITLE = "Wrenfold"

# kind → (record, value)
TRUE: dict[str, list[tuple[str, str]]] = {
    "size": [
        ("Two-layer skating skirt. 12 inches in length", "12 inches"),
        ("A kite with a long tail. It measures about 48 inches across.", "48 inches"),
        ("The statue stands 2.5 feet high and looks out to sea.", "2.5 feet"),
        ("Comes with a lid. Size: 10 1/2 in. (26 cm)", "10 1/2 in. (26 cm)"),
        ("A sturdy skillet. It is 30 cm wide.", "30 cm"),
        ("This 12-inch globe turns on a brass pin.", "12-inch"),
        ("The pole has a length of 5 feet 2 inches when it is closed.", "5 feet 2 inches"),
        ("A stand that is twelve inches tall.", "twelve inches"),
    ],
    "dimensions": [
        ("A loaf tin. Dimensions: 9 x 6 x 2 inches.", "9 x 6 x 2 inches"),
        ("A tea towel of 50 x 70 cm.", "50 x 70 cm"),
        ("The frame is 8 by 10 inches inside.", "8 by 10 inches"),
        ('A shelf, 24" x 8.5" x 36", for the hall.', '24" x 8.5" x 36"'),
        ("Overall dimensions are 11 × 8 × 8 in. with the hook.", "11 × 8 × 8 in."),
        ("The rug is 1.5m x 2m.", "1.5m x 2m"),
    ],
    "weight": [
        ("It weighs 2.2 pounds empty.", "2.2 pounds"),
        ("Weight: 3 lb. Made in Fife.", "3 lb"),
        ("Net weight: 1,250 g", "1,250 g"),
        ("A weight of 14 ounces makes it easy to carry.", "14 ounces"),
        ("The case is light, weighing just 1 lb 4 oz without the strap.", "1 lb 4 oz"),
        ("A 12-ounce bag of dark roast beans.", "12-ounce"),
        ("About 5 kg in weight, it stays where you put it.", "5 kg"),
    ],
    "capacity": [
        ("It holds 1.5 litres, enough for four.", "1.5 litres"),
        ("Capacity: 400 ml.", "400 ml"),
        ("A 5-quart pot with a glass lid.", "5-quart"),
        ("This jug has a capacity of 2 1/2 cups.", "2 1/2 cups"),
        ("A 12-ounce mug for cold mornings.", "12-ounce"),
        ("A flask with 0.75 L capacity.", "0.75 L"),
        ("Holds up to 3 gallons.", "3 gallons"),
    ],
    "colour": [
        ("Colour: pale lilac.", "pale lilac"),
        ("Color: black and white", "black and white"),
        ("A raincoat for puddles. Available in navy blue only.", "navy blue"),
        ("Finished in cream.", "cream"),
        ("A red canvas bag with two pockets.", "red"),
        ("The housing is dark green, which hides the dust.", "dark green"),
        ("Ballet tutu in neon pink, with three layers.", "neon pink"),
    ],
    "material": [
        ("The train is made of solid beech and painted by hand.", "solid beech"),
        ("Material: stainless steel.", "stainless steel"),
        ("Knitted from 100% merino wool.", "100% merino wool"),
        ("A pan with cast iron construction.", "cast iron"),
        ("An apron in 100% cotton, with a long tie.", "100% cotton"),
        ("Carved by hand from olive wood.", "olive wood"),
        ("The barrel is acrylic.", "acrylic"),
        ("Made of 18/10 stainless steel.", "18/10 stainless steel"),
        ("Fabric: 80% cotton, 20% nylon", "80% cotton, 20% nylon"),
    ],
    "pieces": [
        ("A set of 12 felt-tip pens.", "set of 12"),
        ("A 24-piece tea service for a doll's house.", "24"),
        ("The puzzle has 308 pieces.", "308 pieces"),
        ("Sold as a pack of 10.", "pack of 10"),
        ("There are 1,000 wooden pieces to sort.", "1,000 wooden pieces"),
        ("Comes as a set of six.", "set of six"),
        ("Starter kit, 86 pcs, in a tub", "86 pcs"),
    ],
    "pages": [
        ("Paperback, 312 pages.", "312 pages"),
        ("A 500-page saga of the fens.", "500"),
        ("Hardcover. 96 pp. With a map.", "96 pp"),
        ("All of this in its 175 pages.", "175 pages"),
        ("Pages: 128 pages", "128 pages"),
        ("A picture book of 32 pages for bedtime.", "32 pages"),
    ],
    "year": [
        ("First published in 1987 by Tarn House.", "1987"),
        ("It was originally published in 1951 and never went out of print.", "1951"),
        ("A tale that has lost nothing since it was first published in 1940.", "1940"),
        ("Copyright 1995 Northgate Press.", "1995"),
        ("(c) 2003 the Penrow Choir", "2003"),
        ("Released in 1958 and long thought lost.", "1958"),
        ("Published 12 May 2011 in one volume.", "2011"),
        ("Published by Galley & Vane in 1994.", "1994"),
        ("A reprint of the edition of 1899.", "1899"),
        ("Written by Edda Marsh and published in 2003.", "2003"),
    ],
    "author": [
        ("By Nora Quill, Illustrated by Sam Reed", "Nora Quill"),
        ("A slow mystery written by Nora Quill, with a map.", "Nora Quill"),
        ("Author: J. R. Holloway", "J. R. Holloway"),
        ("Greta O'Dell is the author of nine novels.", "Greta O'Dell"),
        ("A sturdy board book by Mirabel Stoke.", "Mirabel Stoke"),
        ("The author is Anna-Lise de Vries.", "Anna-Lise de Vries"),
        ("Written by Nora Quill and Ted Moss.", "Nora Quill and Ted Moss"),
        ("Author Silas Brand walks the whole coast with a mule.", "Silas Brand"),
        ("A winter's tale, first told by a ferryman. Written and illustrated by Lars Henneker.", "Lars Henneker"),
        ("Dr. Ines Vidal is a leading beekeeper and the author of two guides.", "Dr. Ines Vidal"),
        ("Told in letters. By Aldous Penhallow; published by Crookback Books.", "Aldous Penhallow"),
    ],
    "publisher": [
        ("Publisher: Northgate Press", "Northgate Press"),
        ("Published by Galley & Vane in 1994.", "Galley & Vane"),
        ("First published in 1987 by Tarnbridge Press.", "Tarnbridge Press"),
        ("It was published by Heron.", "Heron"),
        ("By Aldous Penhallow; published by: Crookback Books", "Crookback Books"),
        ("This slim guide is published by the House of Larks.", "House of Larks"),
    ],
    "age": [
        ("Dance skirt for girls ages 2-8 years.", "2-8 years"),
        ("A quiet story about moving house. Ages 3-6.", "Ages 3-6"),
        ("Told with ease. Ages 12-up.", "Ages 12-up"),
        ("Suitable for children 3 to 6 years old.", "3 to 6 years old"),
        ("Recommended for ages 8 and up.", "ages 8 and up"),
        ("Suitable from 18 months.", "from 18 months"),
        ("For readers aged nine to twelve.", "aged nine to twelve"),
        ("Age: 5+", "5+"),
        ("A kite for 3 years and up.", "3 years and up"),
    ],
    "language": [
        ("Text: English, French (translation)", "English, French (translation)"),
        ("Text: English (translation) Original Language: German", "English (translation)"),
        ("Language: Czech.", "Czech"),
        ("The text is in French, in short lines.", "French"),
        ("A letter game. Written entirely in Welsh.", "Welsh"),
        ("This Spanish edition has new drawings.", "Spanish"),
    ],
    "format": [
        ("Paperback, 160 pages.", "Paperback"),
        ("VHS Tape", "VHS Tape"),
        ("These sturdy little board books fit small hands.", "board books"),
        ("It is spiral-bound, so that it lies flat.", "spiral-bound"),
        ("Supplied on DVD, with sketches.", "DVD"),
        ("Audio CD with a booklet.", "Audio CD"),
        ("Binding: hardcover", "hardcover"),
    ],
    "running_time": [
        ("Running time: 104 minutes.", "104 minutes"),
        ("VHS, 87 minutes.", "87 minutes"),
        ("Seven talks, approx. total duration: 5hr 47min", "5hr 47min"),
        ("It runs for 1 hour and 20 minutes.", "1 hour and 20 minutes"),
        ("A 90-minute documentary about eels.", "90-minute"),
        ("(Running time: 5.5 hours, 4 cassettes)", "5.5 hours"),
    ],
    "price": [
        ("Price: $27.00.", "$27.00"),
        ("It costs £8.", "£8"),
        ("Priced at €1,299.50 with the stand.", "€1,299.50"),
        ("A pack of ten. $12.75 for the pack.", "$12.75"),
        ("RRP: £ 14.99", "£ 14.99"),
    ],
    "country": [
        ("A headlamp with a clip. Made in Taiwan.", "Taiwan"),
        ("Country of origin: Germany.", "Germany"),
        ("It is made in the United Kingdom.", "United Kingdom"),
        ("Handmade in Portugal by two sisters.", "Portugal"),
        ("Product of New Zealand", "New Zealand"),
        ("Bottled by the quay. Made in the U.S.A.", "U.S.A."),
    ],
    "power": [
        ("It uses 9 watts.", "9 watts"),
        ("Power: 240 W", "240 W"),
        ("It runs on 5 volts from any charger.", "5 volts"),
        ("A 1,200-watt motor crushes ice.", "1,200-watt"),
        ("Rated at 1.5 kW, it boils in a minute.", "1.5 kW"),
    ],
    "warranty": [
        ("Covered by a 3-year warranty.", "3-year warranty"),
        ("It is sold with a lifetime guarantee.", "lifetime guarantee"),
        ("Warranty: 24 months", "24 months"),
        ("Comes with a two-year limited warranty.", "two-year limited warranty"),
        ("The frame is guaranteed for 10 years.", "10 years"),
    ],
}

# kind → records without such a fact
FALSE: dict[str, list[str]] = {
    "size": [
        "A drawer 12 inches long with a handle 4 inches long.",
        "The tide rose 6 feet that night and took the boat.",
        "He is 6 feet tall and afraid of geese.",
        "Fits pans of up to 10 inches in diameter.",
        "A frame of 9 x 6 inches.",
    ],
    "dimensions": [
        "A 4 x 4 truck.",
        "One tray is 9 x 6 inches, the other 12 x 8 inches.",
        "She painted it by 10 in the dark.",
    ],
    "weight": [
        "Fold in 8 ounces of flour.",
        "He weighs 200 pounds and dances like a leaf.",
        "Shipping weight: 4 pounds",
        "It holds 300 pounds.",
    ],
    "capacity": [
        "Add 2 cups of sugar.",
        "An estimated 2 million litres are drunk each year.",
        "He holds 40 acres by the river.",
    ],
    "colour": [
        "With 80 black-and-white photographs.",
        "A thriller about a woman in black.",
        "A red dress changes everything for Anna.",
        "The bag is red, the strap is blue.",
        "Serve with red wine and green beans.",
    ],
    "material": [
        "He is made of sterner stuff.",
        "A library of reference material.",
        "They walked into the wood at dusk.",
    ],
    "pieces": [
        "If you come back in one piece, call.",
        "The vase broke into 12 pieces.",
        "A pack of wolves.",
        "30 pieces of advice.",
    ],
    "pages": [
        "8 pages of color photos.",
        "One or two pages near the end drag.",
        "The first 100 pages are slow.",
        "More than 300 pages of recipes.",
    ],
    "year": [
        "The painter was born in 1951 and left school at twelve.",
        "A farm in the 1920s.",
        "Copyright 1989 Reed Business Information, Inc.",
        "Her first novel, 'The Long Field', was published in 1950.",
        "In 1914 the war came to the village.",
    ],
    "author": [
        "Guided by Uncle Moss, she finds the well.",
        "Skating skirt by Wren Dancewear.",
        "Narrated in English by Bob Rayne.",
        "A tale rivalled only by Treasure Bay.",
        "Edited by Nora Quill.",
        "Written by New York Times bestselling author.",
        "Praise for Tall Hats: 'Nora Quill is the author of the year.'",
        "It was written by a former clown.",
    ],
    "publisher": [
        "Her letters are to be published by spring.",
        "He is a publisher in Leeds.",
        "Published by the family.",
    ],
    "age": [
        "She was converted at the age of 19.",
        "A novel of the golden age.",
        "He spent 3 to 6 years at sea.",
        "Fun for all ages.",
    ],
    "language": [
        "A manuscript written in Latin is stolen.",
        "She switches from Spanish to French with ease.",
        "Original Language: German",
        "An English nursery of old roses.",
    ],
    "format": [
        "Also available in paperback.",
        "A rack for DVD cases and a CD player.",
        "He wanted to be a paperback writer.",
    ],
    "running_time": ["She waited 2 hours for the ferry.", "Ready in 30 minutes.", "He runs for 2 hours every day."],
    "price": ["They stole $2 million.", "A stock that went from $4 to $9.", "It costs $2.5 million to build."],
    "country": ["A journey through Italy.", "The German garrison in France.", "Trouble is made in families."],
    "power": ["The power of love.", "A 12-volt bicycle shed.", "Knowledge is power: 2 essays."],
    "warranty": ["A lifetime of sorrow.", "It took 10 years.", "There is no guarantee of success."],
}


def values(content: str, title: str = TITLE) -> dict[str, str]:
    return {fact.kind: fact.value for fact in extract_facts("1", title, content)}


@pytest.mark.parametrize(("kind", "content", "value"), [(kind, *row) for kind in TRUE for row in TRUE[kind]])
def test_a_fact_is_found(kind: str, content: str, value: str) -> None:
    assert values(content).get(kind) == value


@pytest.mark.parametrize(("kind", "content"), [(kind, content) for kind in FALSE for content in FALSE[kind]])
def test_what_only_looks_like_a_fact_is_left(kind: str, content: str) -> None:
    assert kind not in values(content)


def test_every_kind_has_examples_of_both_sorts() -> None:
    assert set(TRUE) == set(FALSE) == set(KINDS)
    assert all(len(TRUE[kind]) >= 5 and len(FALSE[kind]) >= 3 for kind in KINDS)


ALL_TEXTS = [row[0] for rows in TRUE.values() for row in rows] + [text for texts in FALSE.values() for text in texts]


@pytest.mark.parametrize("content", [*ALL_TEXTS, " ".join(ALL_TEXTS)])
def test_value_and_quote_are_verbatim_and_every_answer_gives_the_value_back(content: str) -> None:
    facts = extract_facts("1", TITLE, content)
    kinds = [fact.kind for fact in facts]
    own = [kind for kind in kinds if kind not in (DESCRIPTION, *KINDS)]
    assert kinds == [*(kind for kind in (DESCRIPTION, *KINDS) if kind in kinds), *own]
    assert len(kinds) == len(set(kinds))
    for fact in facts:
        assert fact.value in fact.quote and fact.quote in content
        assert is_read_back(fact.kind, fact.value)
        if fact.kind != DESCRIPTION:
            said = extract(fact.kind, f"It is {fact.value}.", fact.value).answer
            assert said.rstrip(".") == fact.value.rstrip(".")


def found(kind: str, answer: str) -> str | None:
    match = answer_pattern(kind).search(answer)
    return match and (match["value"] if "value" in match.re.groupindex else match.group())


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("size", "The tutu is 12 inches long.", "12 inches"),
        ("author", "It was written by Nora Quill.", "Nora Quill"),
        ("author", "The author of The Salt Road Home is Nora Quill.", "Nora Quill"),
        ("author", "Nora Quill wrote it.", "Nora Quill"),
        ("publisher", "The Salt Road Home was published by Tarn House.", "Tarn House"),
        ("material", "It is made from solid beech, I think.", "solid beech"),
        ("colour", "The mug comes in sky blue.", "sky blue"),
        ("age", "It is for ages 3 to 6.", "ages 3 to 6"),
        ("year", "It came out in 1987, not in the 1920s.", "1987"),
        ("price", "You pay $27.00 for it.", "$27.00"),
        ("country", "It was made in the Netherlands.", "Netherlands"),
        ("description", "A mug.\nIt is blue.\n\nInstruction: What is it?\nResponse: A mug.", "A mug.\nIt is blue."),
        ("size", "I don't know this product.", None),
        ("author", "It was written by a ghost.", None),
        ("description", " \n", None),
    ],
)
def test_the_value_is_found_in_a_free_answer(kind: str, answer: str, value: str | None) -> None:
    assert found(kind, answer) == value


@pytest.mark.parametrize(
    ("title", "content", "kind"),
    [
        ("Tutu, Neon Pink", "Color: neon pink.", "colour"),
        ("12-Inch Tutu", "It is 12 inches long.", "size"),
        ("Evening Bells [VHS]", "VHS, 60 minutes.", "format"),
        ("The Ferry Song", "The ferry song", DESCRIPTION),
        ("The Ferry Song", "Book by", DESCRIPTION),
        ("The Ferry Song", "", DESCRIPTION),
    ],
)
def test_what_the_title_says_is_told_apart_and_stubs_are_no_facts(title: str, content: str, kind: str) -> None:
    """It is true, but not taught: the prompt would hold the answer."""
    assert not [v for k, v in values(content, title).items() if k == kind and not in_title(v, title)]
    assert kind != DESCRIPTION or kind not in values(content, title)


@pytest.mark.parametrize(
    ("value", "title", "is_in"),
    [
        ("neon pink", "Tutu, Neon Pink", True),
        ("12 inches", "12-Inch Tutu", True),
        ("no", "No Mess Fogger", False),
        ("1", "Box No. 1", False),
        ("red", "Shredder", False),
        ("2", "Kite 2", False),
    ],
)
def test_what_a_title_says(value: str, title: str, is_in: bool) -> None:
    assert in_title(value, title) is is_in


def test_one_record_gives_its_facts_in_order() -> None:
    content = "A mug with a rolled rim. Made in Poland. It holds 400 ml (14 ounces). Colour: sky blue. $9.00 each."
    quotes = {"capacity": "It holds 400 ml (14 ounces).", "colour": "Colour: sky blue", "price": "$9.00 each."}
    facts = extract_facts("7", "Basecamp", content)
    lead = "A mug with a rolled rim. Made in Poland. It holds 400 ml (14 ounces)."
    assert facts[0] == Fact("7", "Basecamp", DESCRIPTION, lead, lead)
    assert [fact.kind for fact in facts] == [DESCRIPTION, "capacity", "colour", "price", "country"]
    assert {fact.kind: fact.quote for fact in facts if fact.kind in quotes} == quotes


def test_a_conversion_is_no_second_value_but_a_second_colour_is() -> None:
    assert values("A skillet 12 inches wide (30 cm).")["size"] == "12 inches"
    assert "colour" not in values("A red bag with a long strap. Also available in blue.")


HOSTILE = [
    "a", "A", "1", " ", "\n", ".", "-", '"', "'", "1 ", "one ", "1/", "1,111,", "9 x ", '12" x ', "5 feet ", "7 in. ", "A. ",
    "Aa ", "Aa. ", "Aa-", "Aa, ", "de ", "Nora Quill, ", "Nora Quill and ", "by ", "is ", "The Aa ", "ab is ", "navy blue, ",
    "dark ", "solid ", "oak, ", "100% cotton ", "English, ", "ages ", "3 to ", "set of ", "$1,", "2 years ", "it is ", "Made ",
    "a bag ", "about ", "size: ", "Author: ", "Published by ", "\n\nResponse:",
]  # fmt: skip


@pytest.mark.parametrize("seed", HOSTILE)
def test_hostile_text_of_ten_thousand_characters_finishes(seed: str) -> None:
    text = (seed * 10_000)[:10_000] + "!"
    for pattern in map(answer_pattern, SHAPED):
        pattern.search(text)
    extract_facts("1", TITLE, text)
