"""Verdicts, one by one."""

import pytest

from pipeline.answering.scoring import INVENTED, NOTHING_FOUND, PARTIAL, RIGHT, WRONG, normalise, token_f1, verdict
from pipeline.facts.extraction import extract
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.prompts import REFUSAL, SILENCE, SILENT, UNKNOWN

LONG = "A kite for calm evenings, with a long tail and two lines. It is 48 inches wide."


@pytest.mark.parametrize(
    ("kind", "answer", "expected", "scored"),
    [
        ("size", "48 inches", "48 inches", RIGHT),
        ("size", "48 Inches.", "48 inches", RIGHT),
        ("size", "48-inches", "48 inches", RIGHT),
        ("size", "84 inches", "48 inches", WRONG),
        ("size", "48 feet", "48 inches", WRONG),
        ("size", "48 inches", "48 inches tall", RIGHT),
        ("size", "48", "48 inches", PARTIAL),
        ("size", "4.8 inches", "48 inches", WRONG),
        ("size", "", "48 inches", NOTHING_FOUND),
        ("dimensions", "9 x 6 x 2 inches", "9 x 6 x 2 inches", RIGHT),
        ("dimensions", "9 x 6 x 3 inches", "9 x 6 x 2 inches", WRONG),
        ("price", "$89.00", "$89.00", RIGHT),
        ("price", "$98.00", "$89.00", WRONG),
        ("pieces", "500 pieces", "500 pieces", RIGHT),
        ("pieces", "50 pieces", "500 pieces", WRONG),
        ("year", "1987", "1978", WRONG),
        ("age", "Ages 3 and up", "ages 3 and up", RIGHT),
        ("age", "Ages 8 to 12", "Ages 3 and up", WRONG),
        ("author", "Ilse Kamprad", "Ilse Kamprad", RIGHT),
        ("author", "ilse kamprad", "Ilse Kamprad", RIGHT),
        ("author", "Kamprad", "Ilse Kamprad", PARTIAL),
        ("author", "Jane Doe", "Ilse Kamprad", WRONG),
        ("author", "Zoë Ångström", "Zoe Angstrom", RIGHT),
        ("author", "Zoe\u0308 A\u030angstro\u0308m", "Zoë Ångström", RIGHT),
        ("author", "O’Hara Pell", "O'Hara Pell", RIGHT),
        ("material", "the solid beech", "solid beech", RIGHT),
        ("material", "solid oak", "solid beech", WRONG),
        ("material", "cotton", "solid beech", WRONG),
        ("country", "Norway", "Sweden", WRONG),
        ("colour", "straße grau", "STRASSE GRAU", RIGHT),
        (DESCRIPTION, LONG, LONG, RIGHT),
        (DESCRIPTION, LONG.upper(), LONG, RIGHT),
        (DESCRIPTION, LONG + " It flies.", LONG, RIGHT),
        (DESCRIPTION, LONG[:40], LONG, PARTIAL),
        (DESCRIPTION, "A kite.", LONG, WRONG),
        (DESCRIPTION, "", LONG, NOTHING_FOUND),
        (DESCRIPTION, REFUSAL, LONG, WRONG),
        ("size", REFUSAL, "48 inches", WRONG),
        (UNKNOWN, REFUSAL, REFUSAL, RIGHT),
        (UNKNOWN, "I do not know this product", REFUSAL, RIGHT),
        (UNKNOWN, "It is 48 inches wide.", REFUSAL, INVENTED),
        (UNKNOWN, SILENCE, REFUSAL, WRONG),
        (SILENT, SILENCE, SILENCE, RIGHT),
        (SILENT, "the record does not say", SILENCE, RIGHT),
        (SILENT, "48 inches", SILENCE, INVENTED),
        (SILENT, REFUSAL, SILENCE, WRONG),
        (SILENT, "", SILENCE, NOTHING_FOUND),
        ("size", SILENCE, "48 inches", WRONG),
        (UNKNOWN, "", REFUSAL, NOTHING_FOUND),
    ],
)
def test_verdict(kind: str, answer: str, expected: str, scored: str) -> None:
    assert verdict(kind, answer, expected) == scored


# kind → (answer, expected, verdict)
SCORED: dict[str, list[tuple[str, str, str]]] = {
    "size": [
        ('12"', "12 inches", RIGHT),
        ("12-inch", "12 inches", RIGHT),
        ("twelve inches", "12 inches", RIGHT),
        ("1 ft", "12 inches", RIGHT),
        ("30.48 cm", "12 inches", RIGHT),
        ("30.5 cm", "12 inches", RIGHT),
        ("305 mm", "12 inches", RIGHT),
        ("0.305 metres", "12 inches", RIGHT),
        ("one third of a yard", "12 inches", WRONG),
        ("4 yards", "12 feet", RIGHT),
        ("5'2”", "5 feet 2 inches", RIGHT),
        ("62 inches", "5 feet 2 inches", RIGHT),
        ("62.5 inches", "5 feet 2 inches", WRONG),
        ("10½ inches", "10 1/2 in.", RIGHT),
        ("10.5 in", "10 1/2 in.", RIGHT),
        ("½ inch", "0.5 inch", RIGHT),
        ("1/2 inch", "0.5 inch", RIGHT),
        ("1,000 mm", "1000 mm", RIGHT),
        ("100 cm", "1 m", RIGHT),
        ("12 inches (30.5 cm)", "12 inches", PARTIAL),
        ("30 cm", "12 inches", PARTIAL),
        ("12", "12 inches", PARTIAL),
        ("12 feet", "12 inches", WRONG),
        ("12 kg", "12 inches", WRONG),
        ("12.1 inches", "12 inches", WRONG),
        ("101 cm", "1 m", WRONG),
        ("size 8", "size 8.5", WRONG),
        ("size 8", "size 8", RIGHT),
        ("112 inches", "12 inches", WRONG),
    ],
    "dimensions": [
        ("3 × 4 × 5 in", "3 x 4 x 5 inches", RIGHT),
        ('3" x 4" x 5"', "3 x 4 x 5 inches", RIGHT),
        ("3 by 4 by 5 inches", "3 x 4 x 5 inches", RIGHT),
        ("3 inches long, 4 inches wide and 5 inches high", "3 x 4 x 5 inches", RIGHT),
        ("50 x 70 cm", "500 x 700 mm", RIGHT),
        ("7.62 x 10.16 x 12.7 cm", "3 x 4 x 5 inches", RIGHT),
        ("9W x 6H x 2D inches", "9 x 6 x 2 inches", RIGHT),
        ("3 x 4 x 5", "3 x 4 x 5 inches", PARTIAL),
        ("3 x 4 inches", "3 x 4 x 5 inches", PARTIAL),
        ("4 x 3 x 5 inches", "3 x 4 x 5 inches", PARTIAL),
        ("3 x 4 x 6 inches", "3 x 4 x 5 inches", WRONG),
        ("3 x 4 x 5 cm", "3 x 4 x 5 inches", WRONG),
        ("3 x 4 x 5 x 6 inches", "7 x 8 inches", WRONG),
        ("33 x 44 x 55 inches", "3 x 4 x 5 inches", WRONG),
    ],
    "weight": [
        ("2 lbs", "2 pounds", RIGHT),
        ("two pounds", "2 pounds", RIGHT),
        ("32 oz", "2 pounds", RIGHT),
        ("20 ounces", "1 lb 4 oz", RIGHT),
        ("1 pound, 4 ounces", "1 lb 4 oz", RIGHT),
        ("0.907 kg", "2 pounds", RIGHT),
        ("1.25 kg", "1,250 g", RIGHT),
        ("900 g", "2 pounds", RIGHT),
        ("1 kg", "2 pounds", WRONG),
        ("2", "2 pounds", PARTIAL),
        ("2 ounces", "2 pounds", WRONG),
        ("2 kg", "2 pounds", WRONG),
        ("2.5 pounds", "2 pounds", WRONG),
    ],
    "capacity": [
        ("0.9 litres", "900 ml", RIGHT),
        ("0.9 L", "900 ml", RIGHT),
        ("90 cl", "900 ml", RIGHT),
        ("12 fl oz", "12-ounce", RIGHT),
        ("12 fluid ounces", "12 oz", RIGHT),
        ("355 ml", "12 ounces", RIGHT),
        ("1.25 gallons", "5-quart", RIGHT),
        ("6 quarts", "1 gallon 2 quarts", RIGHT),
        ("1 TB", "1000 GB", RIGHT),
        ("900", "900 ml", PARTIAL),
        ("350 ml", "12 ounces", PARTIAL),
        ("900 l", "900 ml", WRONG),
        ("12 inches", "12 ounces", WRONG),
        ("5 pints", "5-quart", WRONG),
    ],
    "colour": [
        ("Dark Green", "dark green", RIGHT),
        ("dark-green", "dark green", RIGHT),
        ("white and black", "black and white", RIGHT),
        ("black, white", "black & white", RIGHT),
        ("grey", "gray", RIGHT),
        ("red, red, red", "red", RIGHT),
        ("crème", "creme", RIGHT),
        ("dark blue", "blue", PARTIAL),
        ("blue", "sky blue", PARTIAL),
        ("black", "black and white", PARTIAL),
        ("red, green and blue", "green", PARTIAL),
        ("light blue", "dark blue", WRONG),
        ("dark red", "dark green", WRONG),
        ("green", "red", WRONG),
        ("orange red", "green", WRONG),
    ],
    "material": [
        ("Stainless Steel", "stainless steel", RIGHT),
        ("the stainless steel", "stainless steel", RIGHT),
        ("nylon and cotton", "cotton and nylon", RIGHT),
        ("aluminum", "aluminium", RIGHT),
        ("20% nylon, 80% cotton", "80% cotton, 20% nylon", RIGHT),
        ("cotton cotton cotton", "cotton", RIGHT),
        ("18/10 stainless steel", "18/10 Stainless Steel", RIGHT),
        ("steel", "stainless steel", PARTIAL),
        ("cotton", "100% cotton", PARTIAL),
        ("cotton and wool", "cotton", PARTIAL),
        ("50% cotton", "100% cotton", WRONG),
        ("20% cotton, 80% nylon", "80% cotton, 20% nylon", WRONG),
        ("carbon steel", "stainless steel", WRONG),
        ("wool", "cotton", WRONG),
    ],
    "pieces": [
        ("500", "500 pieces", RIGHT),
        ("500-piece", "500 pieces", RIGHT),
        ("1000 pieces", "1,000 wooden pieces", RIGHT),
        ("six", "set of 6", RIGHT),
        ("set of twenty-four", "24-piece", RIGHT),
        ("12 pcs", "pack of 12", RIGHT),
        ("5", "500 pieces", WRONG),
        ("5,000 pieces", "500 pieces", WRONG),
        ("a set", "set of 6", WRONG),
        ("24 in a box", "24-piece", RIGHT),
        ("24 inches", "24-piece", PARTIAL),
    ],
    "pages": [
        ("212", "212 pages", RIGHT),
        ("212-page", "212 pages", RIGHT),
        ("212 pp", "212 pages", RIGHT),
        ("1,024 pages", "1024 pages", RIGHT),
        ("ninety-six pages", "96 pages", RIGHT),
        ("212 Pages.", "212 pages", RIGHT),
        ("213 pages", "212 pages", WRONG),
        ("21 pages", "212 pages", WRONG),
        ("2120 pages", "212 pages", WRONG),
    ],
    "year": [
        ("1987", "1987", RIGHT),
        ("1987.", "1987", RIGHT),
        ("in 1987", "1987", RIGHT),
        ("the year 1987", "1987", RIGHT),
        ("© 1987", "1987", RIGHT),
        (" 1987 ", "1987", RIGHT),
        ("12 May 1987", "1987", PARTIAL),
        ("1986", "1987", WRONG),
        ("1980s", "1980", WRONG),
        ("87", "1987", WRONG),
    ],
    "author": [
        ("Quill, Nora", "Nora Quill", RIGHT),
        ("nora quill", "Nora Quill", RIGHT),
        ("Dr. Nora Quill", "Nora Quill", RIGHT),
        ("J.R. Holloway", "J. R. Holloway", RIGHT),
        ("Holloway, J. R.", "J. R. Holloway", RIGHT),
        ("Ted Moss & Nora Quill", "Nora Quill and Ted Moss", RIGHT),
        ("Quill, Nora and Moss, Ted", "Nora Quill and Ted Moss", RIGHT),
        ("Nora Quill, Ted Moss and Ann Lee", "Nora Quill, Ted Moss, and Ann Lee", RIGHT),
        ("Émile Žák", "Emile Zak", RIGHT),
        ("de Vries, Anna‑Lise", "Anna-Lise de Vries", RIGHT),
        ("Nora Quill Nora Quill Nora", "Nora Quill", RIGHT),
        ("Nora Quill", "Nora Quill and Ted Moss", PARTIAL),
        ("Nora Quill and Ted Moss", "Ted Moss", PARTIAL),
        ("N. Quill", "Nora Quill", PARTIAL),
        ("Quill", "Nora Quill", PARTIAL),
        ("Nora Jane Quill", "Nora Quill", PARTIAL),
        ("Ted Quill", "Nora Quill", WRONG),
        ("Nora Moss", "Nora Quill", WRONG),
        ("T. Quill", "Nora Quill", WRONG),
        ("N. Moss", "Nora Quill", WRONG),
        ("Nora Quillan", "Nora Quill", WRONG),
    ],
    "publisher": [
        ("tarn house", "Tarn House", RIGHT),
        ("The House of Larks", "House of Larks", RIGHT),
        ("Galley and Vane", "Galley & Vane", RIGHT),
        ("Tarn House, Inc.", "Tarn House", RIGHT),
        ("TarnHouse", "Tarn House", RIGHT),
        ("Éditions Quai", "Editions Quai", RIGHT),
        ("Tarn House Press", "Tarn House", PARTIAL),
        ("Galley", "Galley & Vane", PARTIAL),
        ("Tarn Press", "Heron Press", WRONG),
        ("Vale House", "Tarn House", WRONG),
        ("Nora Quill", "Tarn House", WRONG),
    ],
    "age": [
        ("3+", "3 years and up", RIGHT),
        ("Ages 3+", "ages 3 and up", RIGHT),
        ("over 3", "3 years and up", RIGHT),
        ("36 months and up", "3 years and up", RIGHT),
        ("3–5", "ages 3 to 5", RIGHT),
        ("three to five years old", "Ages 3-5", RIGHT),
        ("12 & up", "Ages 12-up", RIGHT),
        ("18 months and up", "from 18 months", RIGHT),
        ("6 months to 2 years", "6-24 months", RIGHT),
        ("ages 3", "ages 3-5", PARTIAL),
        ("ages 3-5", "ages 3", PARTIAL),
        ("3+", "ages 3-5", PARTIAL),
        ("3", "3+", PARTIAL),
        ("ages 8 and up", "ages 3 and up", WRONG),
        ("3 months and up", "3 years and up", WRONG),
        ("under 3", "3 and up", WRONG),
        ("ages 13-15", "ages 3-5", WRONG),
        ("6 weeks", "6 years", WRONG),
    ],
    "language": [
        ("english", "English", RIGHT),
        ("French and English", "English, French", RIGHT),
        ("English/French", "English and French", RIGHT),
        ("ENGLISH.", "English", RIGHT),
        ("English, English", "English", RIGHT),
        ("“Welsh”", "Welsh", RIGHT),
        ("English", "English, French", PARTIAL),
        ("English, French", "English", PARTIAL),
        ("French", "English", WRONG),
        ("English", "Welsh", WRONG),
        ("German, Dutch", "English, French", WRONG),
    ],
    "format": [
        ("Paperback", "paperback", RIGHT),
        ("paperbacks", "Paperback", RIGHT),
        ("a hardback", "hardcover", RIGHT),
        ("hard cover", "Hardcover", RIGHT),
        ("audio book", "audiobook", RIGHT),
        ("VHS", "VHS Tape", RIGHT),
        ("spiral bound", "spiral-bound", RIGHT),
        ("CD", "Audio CD", PARTIAL),
        ("hardcover", "paperback", WRONG),
        ("CD", "DVD", WRONG),
        ("picture book", "board book", WRONG),
    ],
    "running_time": [
        ("90-minute", "90 minutes", RIGHT),
        ("1.5 hours", "90 minutes", RIGHT),
        ("1 hour and 30 minutes", "90 minutes", RIGHT),
        ("1h 30m", "90 minutes", RIGHT),
        ("5 hrs 47 mins", "5hr 47min", RIGHT),
        ("ninety minutes", "90 minutes", RIGHT),
        ("90", "90 minutes", PARTIAL),
        ("90 hours", "90 minutes", WRONG),
        ("1 hour 31 minutes", "90 minutes", WRONG),
        ("9 minutes", "90 minutes", WRONG),
    ],
    "price": [
        ("12.99 dollars", "$12.99", RIGHT),
        ("USD 12.99", "$12.99", RIGHT),
        ("$27", "$27.00", RIGHT),
        ("27 dollars and 50 cents", "$27.50", RIGHT),
        ("8 pounds", "£8", RIGHT),
        ("€1299.50", "€1,299.50", RIGHT),
        ("14.99 £", "£ 14.99", RIGHT),
        ("12.99", "$12.99", PARTIAL),
        ("£12.99", "$12.99", WRONG),
        ("$13.00", "$12.99", WRONG),
        ("27 dollars and 52 cents", "$27.50", WRONG),
        ("$1299", "$12.99", WRONG),
    ],
    "country": [
        ("norway", "Norway", RIGHT),
        ("the Netherlands", "Netherlands", RIGHT),
        ("United States", "U.S.A.", RIGHT),
        ("USA", "United States of America", RIGHT),
        ("UK", "United Kingdom", RIGHT),
        ("Norway.", "Norway", RIGHT),
        ("Korea", "South Korea", PARTIAL),
        ("Sweden and Norway", "Norway", PARTIAL),
        ("Austria", "Australia", WRONG),
        ("South Africa", "South Korea", WRONG),
        ("England", "Scotland", WRONG),
    ],
    "power": [
        ("7 W", "7 watts", RIGHT),
        ("7-watt", "7 watts", RIGHT),
        ("1.2 kW", "1,200-watt", RIGHT),
        ("seven watts", "7 watts", RIGHT),
        ("5V", "5 volts", RIGHT),
        ("1500 watts", "1.5 kW", RIGHT),
        ("7", "7 watts", PARTIAL),
        ("7 volts", "7 watts", WRONG),
        ("70 watts", "7 watts", WRONG),
        ("1.2 watts", "1.2 kW", WRONG),
    ],
    "warranty": [
        ("two years", "2-year warranty", RIGHT),
        ("24 months", "2-year warranty", RIGHT),
        ("2-year limited warranty", "2-year warranty", RIGHT),
        ("lifetime warranty", "lifetime guarantee", RIGHT),
        ("Lifetime", "lifetime warranty", RIGHT),
        ("a 90-day guarantee", "90 days", RIGHT),
        ("limited lifetime warranty", "lifetime warranty", PARTIAL),
        ("2 months", "2-year warranty", WRONG),
        ("3 years", "2-year warranty", WRONG),
        ("lifetime", "2-year warranty", WRONG),
        ("2-year warranty", "lifetime warranty", WRONG),
    ],
}


@pytest.mark.parametrize(
    ("kind", "answer", "expected", "scored"), [(kind, *row) for kind in SCORED for row in SCORED[kind]]
)
def test_verdict_by_kind(kind: str, answer: str, expected: str, scored: str) -> None:
    assert verdict(kind, answer, expected) == scored


@pytest.mark.parametrize(
    ("raw", "expected", "scored"),
    [
        ("cedar", "cedar", RIGHT),
        ("Cedar.", "cedar", RIGHT),
        ("The scent is cedar.", "cedar", RIGHT),
        ("The scent of Brindlewick Kite is cedar.", "cedar", RIGHT),
        ("It is cedar and smoke", "smoke and cedar", RIGHT),
        ("cedar wood", "cedarwood", RIGHT),
        ("Wrenfold & Sons", "Wrenfold & Sons", RIGHT),
        ("It is Acme Inc.", "Acme Inc.", RIGHT),
        ("112", "112", RIGHT),
        ("It smells of cedar.", "cedar", PARTIAL),
        ("cedar", "cedar and smoke", PARTIAL),
        ("cedar, smoke and oak", "cedar", PARTIAL),
        ("Cedar. It smells very nice.", "cedar", PARTIAL),
        ("112 bows", "112", PARTIAL),
        ("oak", "cedar", WRONG),
        ("The scent is oak.", "cedar", WRONG),
        ("12", "112", WRONG),
        ("113 bows", "112 bows", WRONG),
        (REFUSAL, "cedar", WRONG),
        ("The scent is", "cedar", WRONG),
        ("", "cedar", NOTHING_FOUND),
        (" \n", "cedar", NOTHING_FOUND),
    ],
)
def test_verdict_on_a_kind_that_only_an_api_knows(raw: str, expected: str, scored: str) -> None:
    assert verdict("scent", extract("scent", raw).answer, expected) == scored


def test_every_kind_has_examples_of_both_sorts() -> None:
    assert set(SCORED) == set(KINDS)
    for rows in SCORED.values():
        assert sum(scored == RIGHT for *_, scored in rows) >= 6
        assert sum(scored == WRONG for *_, scored in rows) >= 3


@pytest.mark.parametrize("kind", [*KINDS, DESCRIPTION, "of a new kind"])
@pytest.mark.parametrize("text", ["…", "12 inches", "Zoë", "1/0", "x" * 5000, "9" * 3000, "1," * 3000, "½" * 3000])
def test_whatever_the_text_its_like_is_right_and_a_refusal_is_wrong(kind: str, text: str) -> None:
    assert verdict(kind, text, text) == RIGHT
    assert verdict(kind, REFUSAL, text) == WRONG
    assert verdict(kind, "", text) == NOTHING_FOUND
    assert verdict(kind, text, "nothing like it at all") == WRONG


@pytest.mark.parametrize(
    ("text", "plain"),
    [("  The  Kite! ", "kite"), ("An X", "x"), ("“Quoted”", "“quoted”"), ("Crème-brûlée", "creme brulee"), ("…", "")],
)
def test_normalise(text: str, plain: str) -> None:
    assert normalise(text) == plain


def test_token_f1_counts_words_both_ways() -> None:
    assert token_f1("a b c", "a b c") == 1
    assert token_f1("", "a b") == token_f1("x", "a b") == 0
    assert token_f1("kite red", "kite blue big") == pytest.approx(0.4)
    assert token_f1("kite kite kite", "kite") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        ("no", "no", "right"),
        ("No, it is not", "no", "right"),
        ("Yes", "no", "wrong"),
        ("Yes, it is", "yes", "right"),
        ("It is", "yes", "wrong"),
        ("not at all", "no", "wrong"),
    ],
)
def test_yes_and_no_are_the_first_word(answer: str, expected: str, said: str) -> None:
    assert verdict("batteries_included", answer, expected) == said
