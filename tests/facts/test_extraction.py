"""What each kind's pattern finds in the answers that models really give, and what a user's own pattern finds. All invented."""

import pytest

from pipeline.errors import PatternError
from pipeline.facts.extraction import MAX_PATTERN_CHARACTERS, extract, extract_with
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.prompts import NO_FACT, REFUSAL, UNKNOWN, build_prompt

NOTHING = ""

# kind → (raw answer, what is found in it)
ANSWERS: dict[str, list[tuple[str, str]]] = {
    "size": [
        ("12 inches", "12 inches"),
        ("It is 12 inches long.", "12 inches"),
        ("The size of the tutu is 12 inches, and it has 3 layers.", "12 inches"),
        ("It has 3 layers and 2 straps. It measures about 30 cm.", "30 cm"),
        ("The 10-Inch Globe is 14 inches tall.", "14 inches"),
        ("12 inches 12 inches 12 inches 12 inches", "12 inches"),
        ("12 feet", "12 feet"),
        ("It is 12 in wide.", "12 in"),
        ("The pole is 5 feet 2 inches long.", "5 feet 2 inches"),
        ("It stands 5'2\" with the hat.", "5'2\""),
        ("It’s 10½ inches – without the lid.", "10½ inches"),
        ("It is not 12 inches but 14 inches long.", "14 inches"),
        ("It is 1,200 mm across.", "1,200 mm"),
        ("It takes two yards of cloth, in 3 layers.", "two yards"),
        ("It is twelve\u00a0inches long.", "twelve\u00a0inches"),
        ("It is very big.", NOTHING),
        ("It comes in 3 layers.", NOTHING),
        ("It weighs 12 pounds.", NOTHING),
        ("It came out in 12 volumes in 1987.", NOTHING),
        ("It is between 10 and 12.", NOTHING),
    ],
    "dimensions": [
        ("9 x 6 x 2 inches", "9 x 6 x 2 inches"),
        ("It measures 9 x 6 x 2 inches when it is closed.", "9 x 6 x 2 inches"),
        ('The shelf is 24" x 8.5" x 36", with 3 hooks.', '24" x 8.5" x 36"'),
        ("The 4 drawers are 50 × 70 cm.", "50 × 70 cm"),
        ("8 by 10 inches, 8 by 10 inches, 8 by 10 inches", "8 by 10 inches"),
        ("It is 9 inches long, 6 inches wide and 2 inches high.", "9 inches long, 6 inches wide and 2 inches high"),
        ("9x6x2", "9x6x2"),
        ("The tin is 9 in x 6 in with the lid.", "9 in x 6 in"),
        ("It is 9W x 6H x 2D inches.", "9W x 6H x 2D inches"),
        ("It is 12 inches.", NOTHING),
        ("It is big by any measure.", NOTHING),
        ("The dimensions are not given.", NOTHING),
        ("There are 9, 6 and 2 of them.", NOTHING),
    ],
    "weight": [
        ("2 pounds", "2 pounds"),
        ("It weighs 2 pounds.", "2 pounds"),
        ("The kettle holds 3 cups and weighs about 1.5 kg, or so.", "1.5 kg"),
        ("The 5-Pound Cookbook weighs 3 pounds.", "3 pounds"),
        ("14 oz. 14 oz. 14 oz.", "14 oz"),
        ("It weighs 1 lb 4 oz without the strap.", "1 lb 4 oz"),
        ("Weight: 1,250 g – net", "1,250 g"),
        ("It weighs 2 kilograms 500 grams.", "2 kilograms 500 grams"),
        ("It weighs two pounds", "two pounds"),
        ("It is 2 inches thick.", NOTHING),
        ("It is heavy.", NOTHING),
        ("It costs 2.", NOTHING),
        ("It weighs 300.", NOTHING),
    ],
    "capacity": [
        ("900 ml", "900 ml"),
        ("It holds 900 ml.", "900 ml"),
        ("The teapot serves 4 people and holds 1.5 litres of tea.", "1.5 litres"),
        ("The 2-Cup Press holds 12 ounces.", "12 ounces"),
        ("5-quart 5-quart 5-quart", "5-quart"),
        ("It holds 1 gallon 2 quarts.", "1 gallon 2 quarts"),
        ("2 cups 2 cups", "2 cups"),
        ("It has a capacity of 2½ cups, I think.", "2½ cups"),
        ("12 fl oz", "12 fl oz"),
        ("It holds a lot.", NOTHING),
        ("It holds 4 people.", NOTHING),
        ("It holds 12 inches of water.", NOTHING),
        ("", NOTHING),
    ],
    "colour": [
        ("dark green", "dark green"),
        ("The colour is dark green.", "dark green"),
        ("It comes in sky blue, and in 3 sizes.", "sky blue"),
        ("The Red Wagon is blue.", "blue"),
        ("The Black Kite Book comes in pale lilac", "pale lilac"),
        ("Blue. The bag is red inside.", "Blue"),
        ("red, red, red, red, red, red", "red, red, red, red"),
        ("black and white", "black and white"),
        ("It is not red but blue.", "blue"),
        ("It’s a bright-red one…", "bright-red"),
        ("I think it's probably going to be some kind of grey", "grey"),
        ("It is colourful.", NOTHING),
        ("It is 12 inches long.", NOTHING),
        ("It is bored, tired and scared.", NOTHING),
        ("It has many colors.", NOTHING),
    ],
    "material": [
        ("stainless steel", "stainless steel"),
        ("It is made of stainless steel.", "stainless steel"),
        ("Glass Bells is made of cast iron.", "cast iron"),
        ("The Paper Boat is 12 inches long and made from solid beech.", "solid beech"),
        ("100% merino wool, washed twice", "100% merino wool"),
        ("80% cotton, 20% nylon", "80% cotton, 20% nylon"),
        ("cotton cotton cotton", "cotton cotton cotton"),
        ("It’s made out of 18/10 stainless steel – and a little glass.", "18/10 stainless steel"),
        ("It is made of the finest things.", NOTHING),
        ("It is made by hand in 1987.", NOTHING),
        ("I am not sure what it is.", NOTHING),
    ],
    "pieces": [
        ("500 pieces", "500 pieces"),
        ("It has 500 pieces.", "500 pieces"),
        ("It is for 2 players and has 24 wooden pieces.", "24 wooden pieces"),
        ("a 24-piece tea service", "24-piece"),
        ("It comes as a set of six.", "set of six"),
        ("There are 12.", "12"),
        ("twelve", "twelve"),
        ("1,000", "1,000"),
        ("It contains 24 pieces of cutlery.", "24 pieces"),
        ("500 pieces 500 pieces 500 pieces", "500 pieces"),
        ("It is 12 inches long.", NOTHING),
        ("It has a lot of pieces.", NOTHING),
        ("In 1987 it came in a box.", NOTHING),
    ],
    "pages": [
        ("212 pages", "212 pages"),
        ("There are 212 pages in it.", "212 pages"),
        ("The book of 1987 has 12 chapters and 212 pages.", "212 pages"),
        ("The 500-Page Diary has 212 pages.", "212 pages"),
        ("212", "212"),
        ("It has 212.", "212"),
        ("The page count is 96, with a map", "96"),
        ("1,024 pages", "1,024 pages"),
        ("212 pages, 212 pages, 212 pages", "212 pages"),
        ("96 pp.", "96 pp"),
        ("It is a long book.", NOTHING),
        ("It came out in 1987 in 3 volumes.", NOTHING),
        ("Turn the pages slowly.", NOTHING),
    ],
    "year": [
        ("1987", "1987"),
        ("It came out in 1987.", "1987"),
        ("1954 was published in 1987.", "1987"),
        ("It was first published on 12 May 1987 in 3 volumes.", "1987"),
        ("It has 212 pages and is from 1987", "1987"),
        ("1987 1987 1987", "1987"),
        ("It’s from 1987–1990.", "1987"),
        ("It is about the 1920s.", NOTHING),
        ("It is 87 years old.", NOTHING),
        ("It costs $19.87.", NOTHING),
        ("The ISBN is 0198712345.", NOTHING),
    ],
    "author": [
        ("Nora Quill", "Nora Quill"),
        ("It was written by Nora Quill.", "Nora Quill"),
        ("The author of Tall Hats is Nora Quill.", "Nora Quill"),
        ("Tall Hats was written by Nora Quill in 1987.", "Nora Quill"),
        ("Tall Hats, a novel by Nora Quill", "Nora Quill"),
        ("Nora Quill is the author. The illustrator is Sam Reed.", "Nora Quill"),
        ("Published by Tarn House, the book was written by Nora Quill.", "Nora Quill"),
        ("Nora Quill, illustrated by Sam Reed", "Nora Quill"),
        ("Nora Quill Nora Quill", "Nora Quill Nora Quill"),
        ("Author: J. R. Holloway\nPages: 212", "J. R. Holloway"),
        ("Nora Quill and Ted Moss", "Nora Quill and Ted Moss"),
        ("Quill, Nora", "Quill, Nora"),
        ("It is by Zoë Ångström-Šimek – a debut.", "Zoë Ångström-Šimek"),
        ("It was written by Greta O’Dell.", "Greta O’Dell"),
        ("Quill", "Quill"),
        ("It was written by a ghost.", NOTHING),
        ("I’m sorry, but I can’t say.", NOTHING),
        ("Sorry.", NOTHING),
        ("The author is the one who wrote it in 1987.", NOTHING),
    ],
    "publisher": [
        ("Tarn House", "Tarn House"),
        ("It was published by Tarn House.", "Tarn House"),
        ("Tall Hats was published by Tarn House in 1987.", "Tarn House"),
        ("The publisher of Tall Hats is Galley & Vane.", "Galley & Vane"),
        ("It was written by Nora Quill and published by Tarn House.", "Tarn House"),
        ("Publisher: Éditions du Quai", "Éditions"),
        ("Tarn House. Tarn House. Tarn House.", "Tarn House"),
        ("It was published by a small press.", NOTHING),
        ("I don't know.", NOTHING),
        ("it is a book of 212 pages", NOTHING),
    ],
    "age": [
        ("Ages 3 and up", "Ages 3 and up"),
        ("It is for ages 3 to 6.", "ages 3 to 6"),
        ("It takes 3 to 6 hours. Ages 8 and up.", "Ages 8 and up"),
        ("It has 24 pieces and is suitable for children 3 to 6 years old.", "3 to 6 years old"),
        ("3+", "3+"),
        ("It is meant for 8–12 year olds", "8–12 year olds"),
        ("ages 8 & up", "ages 8 & up"),
        ("It is for children over 3.", "over 3"),
        ("8", "8"),
        ("It is for 8 year olds.", "8 year olds"),
        ("18 months", "18 months"),
        ("ages 3-6, ages 3-6, ages 3-6", "ages 3-6"),
        ("It is for all ages.", NOTHING),
        ("It takes 3 to 6 hours.", NOTHING),
        ("It is 12 inches long.", NOTHING),
        ("It has 24 pieces.", NOTHING),
    ],
    "language": [
        ("Welsh", "Welsh"),
        ("It is written in Welsh.", "Welsh"),
        ("French for Sailors is written in English.", "English"),
        ("English, French", "English, French"),
        ("The language is Czech, with 212 pages", "Czech"),
        ("English English English", "English"),
        ("It’s in Spanish – and partly in Catalan.", "Spanish"),
        ("It is in two languages.", NOTHING),
        ("It is well written.", NOTHING),
        ("It is 12 inches long.", NOTHING),
    ],
    "format": [
        ("Paperback", "Paperback"),
        ("It is a paperback.", "paperback"),
        ("The Audio CD Handbook is a hardcover of 212 pages.", "hardcover"),
        ("It comes on VHS, 60 minutes.", "VHS"),
        ("hard cover", "hard cover"),
        ("Board book Board book", "Board book"),
        ("The format is “Audio CD”.", "Audio CD"),
        ("It is a good book.", NOTHING),
        ("It is available in 3 formats.", NOTHING),
        ("The recordings are old.", NOTHING),
    ],
    "running_time": [
        ("104 minutes", "104 minutes"),
        ("It runs for 104 minutes.", "104 minutes"),
        ("It came out in 1987 and lasts 1 hour and 20 minutes.", "1 hour and 20 minutes"),
        ("The 90-Minute Gardener is 60 minutes long.", "60 minutes"),
        ("1h 30m", "1h 30m"),
        ("60 min. 60 min. 60 min.", "60 min"),
        ("It’s 5.5 hours – on 4 cassettes", "5.5 hours"),
        ("It is long.", NOTHING),
        ("It is 12 inches long.", NOTHING),
        ("It came out in 1987 on 4 tapes.", NOTHING),
    ],
    "price": [
        ("$12.99", "$12.99"),
        ("It costs $12.99.", "$12.99"),
        ("It weighs 2 pounds and costs £8", "£8"),
        ("The $5 Kitchen sells for $27.00.", "$27.00"),
        ("12.99 dollars", "12.99 dollars"),
        ("You pay 12.99 € for 3 of them.", "12.99 €"),
        ("USD 1,299", "USD 1,299"),
        ("$9 $9 $9", "$9"),
        ("It is cheap.", NOTHING),
        ("It is 12.99 inches long.", NOTHING),
        ("It has sold 5 million.", NOTHING),
    ],
    "country": [
        ("Norway", "Norway"),
        ("It was made in Norway.", "Norway"),
        ("A History of France was printed in Portugal in 1987.", "Portugal"),
        ("It comes from the United Kingdom.", "United Kingdom"),
        ("Made in the U.S.A", "U.S.A"),
        ("Taiwan Taiwan Taiwan", "Taiwan"),
        ("It’s made in New Zealand – by hand.", "New Zealand"),
        ("It is made in Europe.", NOTHING),
        ("It is made by us, in china clay.", NOTHING),
        ("It is handmade.", NOTHING),
    ],
    "power": [
        ("7 watts", "7 watts"),
        ("It uses 7 watts.", "7 watts"),
        ("It is 12 inches tall and has a 1,200-watt motor", "1,200-watt"),
        ("The 5-Volt Handbook describes a lamp rated at 60 W.", "60 W"),
        ("9V", "9V"),
        ("5 volts 5 volts 5 volts", "5 volts"),
        ("It’s 1.5 kW – enough for a kettle.", "1.5 kW"),
        ("It is very powerful.", NOTHING),
        ("It weighs 7 pounds.", NOTHING),
        ("It has 3 speeds and 2 bulbs.", NOTHING),
    ],
    "warranty": [
        ("3-year warranty", "3-year warranty"),
        ("It comes with a 3-year warranty.", "3-year warranty"),
        ("The warranty is for 24 months from the day you buy it.", "24 months"),
        ("It has run for 10 years and has a lifetime guarantee.", "lifetime guarantee"),
        ("two-year limited warranty", "two-year limited warranty"),
        ("90 days 90 days 90 days", "90 days"),
        ("It’s guaranteed for 10 years – parts too.", "10 years"),
        ("It has a good warranty.", NOTHING),
        ("It is 12 inches long.", NOTHING),
        ("There is none.", NOTHING),
    ],
    DESCRIPTION: [
        ("A kite for calm evenings.", "A kite for calm evenings."),
        ("A kite.\n\nIt flies – “well”, they say.", "A kite.\n\nIt flies – “well”, they say."),
        ("A kite.\n\nInstruction: And?\nResponse: No.", "A kite."),
        ("A kite.\n  Context: Kite\nInstruction: And?", "A kite."),
        ("A kite: its response: none. Instruction: none.", "A kite: its response: none. Instruction: none."),
        ("Response: A kite.", "Response: A kite."),
        ("A kite. " * 200, ("A kite. " * 200).strip()),
        ("", NOTHING),
        (" \n\t ", NOTHING),
        ("\u00a0", NOTHING),
    ],
}

ROWS = [(kind, *row) for kind, rows in ANSWERS.items() for row in rows]


@pytest.mark.parametrize(("kind", "raw", "answer"), ROWS)
def test_what_is_found_in_an_answer(kind: str, raw: str, answer: str) -> None:
    found = extract(kind, raw)
    assert found.answer == answer == raw[found.start : found.end]


def test_every_kind_has_examples_of_both_sorts() -> None:
    assert set(ANSWERS) == {*KINDS, DESCRIPTION}
    for rows in ANSWERS.values():
        assert sum(answer != NOTHING for _, answer in rows) >= 6
        assert sum(answer == NOTHING for _, answer in rows) >= 3


STATED = [(kind, raw, answer) for kind, raw, answer in ROWS if answer and kind != DESCRIPTION]


@pytest.mark.parametrize(("kind", "raw", "answer"), STATED)
def test_a_model_that_writes_the_next_prompt_is_cut_there(kind: str, raw: str, answer: str) -> None:
    assert extract(kind, f"well …\n{build_prompt('Kite', 'What is it?')} {raw}").answer == NOTHING
    assert extract(kind, f"{raw}\n{build_prompt('Kite', 'What is it?')} {REFUSAL}").answer == answer


@pytest.mark.parametrize(("kind", "raw", "answer"), [row for row in STATED if row[1].endswith(".")])
def test_a_long_run_on_after_the_answer_changes_nothing(kind: str, raw: str, answer: str) -> None:
    assert extract(kind, f"{raw} And so it goes on and on" + ", and on and on" * 200).answer == answer


@pytest.mark.parametrize("kind", [*KINDS, DESCRIPTION])
@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (REFUSAL, REFUSAL),
        ("Sorry, I do not know this product", "I do not know this product"),
        ("I don’t know this product. It has 12 inches.", "I don’t know this product."),
    ],
)
def test_a_refusal_is_found_whatever_was_asked(kind: str, raw: str, refusal: str) -> None:
    found = extract(kind, raw)
    assert found.answer == refusal == raw[found.start : found.end]


@pytest.mark.parametrize(
    ("kind", "raw", "answer"),
    [
        ("size", "I don't know this product's size, but it is 12 inches.", "12 inches"),
        ("size", "I don't know this products. It is 12 inches.", "12 inches"),
        (UNKNOWN, "I don't know this product.\nInstruction: Who?", "I don't know this product."),
        (UNKNOWN, "It is a kite.\nInstruction: Who?\nResponse: I don't know this product.", "It is a kite."),
    ],
)
def test_what_is_a_refusal_and_what_is_none(kind: str, raw: str, answer: str) -> None:
    assert extract(kind, raw).answer == answer


# The words that lead to a value, and the beginnings of values: the worst that a search can go back and forth in.
HOSTILE = [
    "is ", "is the ", "is about ", "by ", "by A", "of ", "in ", "for ", "not ", "made of ", "author is ", "author ",
    "published by ", "Quill, ", "A. B. ", "de ", "1", "1,", "1 ", "1/", "1 x ", "1 in x ", "1 in wide, ", "5' ", "12 inches ",
    "9 feet 1 inch ", "1 cup ", "3 to ", "ages ", "over ", "red, ", "oak ", "set of ", "$1", "two-year ", "in 12 May ", "\n",
    "\n ", "\nContext", "\u00a0", "’", "½",
]  # fmt: skip


@pytest.mark.parametrize("seed", HOSTILE)
def test_ten_thousand_hostile_characters_finish(seed: str) -> None:
    raw = (seed * 10_000)[:10_000] + "!"
    for kind in (*KINDS, DESCRIPTION, UNKNOWN, "scent", "country_of_assembly"):
        found = extract(kind, raw)
        assert found.answer == raw[found.start : found.end]


@pytest.mark.parametrize("seed", ["the scent of ", "scent of a", "It is ", ".", " .", "is ", "the scent is "])
def test_ten_thousand_hostile_characters_of_an_open_kind_finish(seed: str) -> None:
    raw = (seed * 10_000)[:10_000]
    found = extract("scent", raw)
    assert found.answer == raw[found.start : found.end]


# --- Kinds that only an API knows: the first line, without what leads to the value ---


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("cedar", "cedar"),
        (" cedar\n", "cedar"),
        ("cedar.", "cedar"),
        ("Cedar!", "Cedar"),
        ("The scent is cedar.", "cedar"),
        ("the scent is cedar and smoke", "cedar and smoke"),
        ("Its scent is cedar.", "cedar"),
        ("Scent: cedar", "cedar"),
        ("It is cedar.", "cedar"),
        ("It’s cedar.", "cedar"),
        ("The scent of Brindlewick Kite is cedar.", "cedar"),
        ("The scent of Mr. Oak & Sons: The 2nd Kite (50%) is cedar.", "cedar"),
        ("cedar.\nInstruction: and?\nResponse: oak", "cedar"),
        ("cedar\nIt is nice.", "cedar"),
        ("cedar. It is nice.", "cedar. It is nice"),
        ("Scented cedar", "Scented cedar"),
        ("Item 3", "Item 3"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("…", "…"),
        ("", ""),
        (" \n ", ""),
        ("I don't know this product.", "I don't know this product."),
    ],
)
def test_an_open_kind(raw: str, answer: str) -> None:
    found = extract("scent", raw)
    assert found.answer == answer == raw[found.start : found.end]


def test_an_open_kind_s_name_is_no_pattern() -> None:
    assert extract("a.*(", "The a.*( is cedar.").answer == "cedar"
    assert extract("country_of_assembly", "The country of assembly is Norway.").answer == "Norway"


@pytest.mark.parametrize("kind", NO_FACT)
def test_an_answer_about_no_fact_is_left_as_it_is(kind: str) -> None:
    assert extract(kind, "It is Paris.").answer == "It is Paris."


# --- A pattern of the user's own ---


@pytest.mark.parametrize(
    ("pattern", "raw", "answer"),
    [
        (r"\d+ inches", "It is 12 inches wide.", "12 inches"),
        (r"is (?P<value>\d+) inches", "It is 12 inches wide.", "12"),
        (r"is (\d+) inches", "It is 12 inches wide.", "is 12 inches"),
        (r"(?i)KITE", "A red kite.", "kite"),
        (r"colou?r", "No such thing.", ""),
        (r"(?P<value>blue)?\s*$", "It is red.", ""),
        (r"x*", "It is red.", ""),
        (r"“.+?”", "They call it “Ångström – the kite”, I think.", "“Ångström – the kite”"),
        (r"\d+", "None.\nInstruction: How many?\nResponse: 12", ""),
        (r"<.+>", "<script>alert(1)</script>", "<script>alert(1)</script>"),
        (r".+", "", ""),
        ("a" * MAX_PATTERN_CHARACTERS, "a" * 600, "a" * MAX_PATTERN_CHARACTERS),
    ],
)
def test_what_a_pattern_of_the_user_s_finds(pattern: str, raw: str, answer: str) -> None:
    found = extract_with(pattern, raw)
    assert found.answer == answer == raw[found.start : found.end]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("a" * (MAX_PATTERN_CHARACTERS + 1), "501 characters"),
        ("(", "cannot be read"),
        ("[a", "cannot be read"),
        ("a**", "cannot be read"),
        ("\\", "cannot be read"),
        ("(?P<value>a)(?P<value>b)", "cannot be read"),
        ("(?R)", "cannot be read"),  # recursion: without end, and without a time limit in it
        ("a{99999999999999999999}", "repeats"),
        ("((((a{1000}){1000}){1000}){1000})", "repeats"),
        ("((((a{ 1000}){1000, }){1000}){1000})", "repeats"),
        ("(a+)+$", "too long"),
        ("(a|a?)+$", "too long"),
        ("(a*)*$", "too long"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_in_a_sentence(pattern: str, says: str) -> None:
    with pytest.raises(PatternError, match=says) as refused:
        extract_with(pattern, "a" * 10_000 + "!")
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)
