"""The twin in SQL says what Python says, on rows made to set them apart; and it does take what is plain."""

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue import build as catalogue_build
from pipeline.catalogue import plain
from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.catalogue.cleaning import clean, title_key
from pipeline.catalogue.columns import PLAIN, Columns
from pipeline.catalogue.json_reader import Lines
from tests.tiny import row

PIECES = [
    "kite",
    "Kite",
    "the",
    "The",
    "book",
    "ÉCLAIR",
    "éclair",
    "Straße",
    "STRASSE",
    "ſalt",
    "\u212aite",
    "ﬁn",
    "İ",
    "ı",
    "ŉ",
    "Σας",
    "&amp;",
    "&amp;amp;",
    "&amp;amp;amp;amp;",
    "&quot;",
    "&#39;",
    "&#8217;",
    "&amp;#8217;",
    "&#8217",
    "&nbsp;",
    "&lt;b&gt;",
    "&",
    "& ",
    "&;",
    "&#",
    "&a",
    "&&amp;",
    "&#amp;",
    "R&D",
    "AT&T;",
    "&#x1f600;",
    "&zwj;",
    "&shy;",
    "&NotEqualTilde;",
    "<b>",
    "</b>",
    "<br/>",
    "<",
    ">",
    "<3",
    "<script>x</script>",
    "<!-- x -->",
    "< b",
    " ",
    "  ",
    "   ",
    "     ",
    "\t",
    "\n",
    "\r\n",
    "\v",
    "\x1c",
    "\x85",
    "\u00a0",
    "\u2003",
    "\u2028",
    "\u3000",
    "\u1680",
    "\u200b",
    "\ufeff",
    "\u202e",
    "\u0000",
    "\x07",
    "\x7f",
    "\u00ad",
    "\ud800",
    "\U000e0001",
    "\ue000",
    "\u0378",
    "e\u0301",
    "\u0301",
    "\u0327\u0301",
    "\u1100\u1161",
    "가\u11a8",
    "가",
    "각",
    "\u2126",
    "\u212b",
    "Å",
    "が",
    "か\u3099",
    "\u0958",
    "--This text refers to the Hardcover edition.",
    " - this EDITION refers to x",
    "-- Thiſ text refers to",
    "---This text refers to y",
    "--Thıs text refers to",
    "- This text refers",
    "refers to",
    "-",
    "--",
    "–",
    "—",
    "’",
    "“",
    "”",
    "…",
    "®",
    "™",
    "½",
    "🪁",
    "日本",
    "_",
    ".",
    ",",
    "!",
    "?",
    "'",
    '"',
    "\\",
    "/",
    "{title}",
    "nan",
    "],",
    ",]",
    "$.title",
    "%s",
    "';--",
    "0",
    "1984",
    "٣",
]

ODD_LINES = [
    "",
    "   ",
    "null",
    "12",
    '"text"',
    "[]",
    "{}",
    "not JSON",
    '{"title": "Cut in the',
    '{"title": "Kite", "content": "A kite of", }',
    '{"title": "Kite of lists", "content": "A kite of four words", "tags": [1, 2, ]}',
    '{"title": "Twice named", "content": "The first of two", "content": "The second of them"}',
    '{"t\\u0069tle": "Escaped name", "content": "A name in other letters"}',
    '\ufeff{"title": "Marked", "content": "A mark before the line"}',
    '{"title": "Kite", "content": NaN}',
    '{"title": "Kite", "content": nan}',
    '{"title": "Endless kite", "content": Infinity}',
    '{"title": 7, "content": "A title of a number"}',
    '{"title": "Number", "content": 12345}',
    '{"title": "List", "content": ["a b", "c d", 5]}',
    '{"title": "Nothing", "content": null}',
    '{"title": null, "content": "Nothing is its title"}',
    '{"content": "There is no title here"}',
    '{"title": "No content"}',
    '{"title": "True", "content": true}',
    '{"title": "Deep", "content": {"title": "x"}}',
    '{"title": "A" "b"}',
    '{"uid": 12, "title": "Uid of digits", "content": "A uid of two digits"}',
    '{"uid": 1.50, "title": "Uid of halves", "content": "A uid of a half"}',
    '{"uid": 123456789012345678901234567890, "title": "Uid long", "content": "A uid of many digits"}',
    '{"uid": -0, "title": "Uid nought", "content": "A uid of nought only"}',
    '{"uid": 1e3, "title": "Uid grown", "content": "A uid of a thousand"}',
    '{"uid": "", "title": "Uid empty", "content": "A uid of no letters"}',
    '{"uid": null, "title": "Uid null", "content": "A uid of nothing more"}',
    '{"uid": ["a"], "title": "Uid list", "content": "A uid of a list"}',
    '{"uid": true, "title": "Uid true", "content": "A uid of some truth"}',
    '{"uid": " a&amp;b ", "title": "Uid odd", "content": "A uid of odd letters"}',
    '{"title": "Control\x01", "content": "A raw control is there"}',
    "{'title': 'Kite'}",
    '{"title": "Kite"} {"title": "Kite"}',
    "// x",
    '{"title": "\\x"}',
    '{"title": "' + "Long " * 61 + '", "content": "A title of many words"}',
    '{"title": "Ünder long ' + "é" * 290 + '", "content": "A title of many words"}',
]


LOOSE = re.compile(r", ?[\]}]")


def text(rng: random.Random, most: int) -> str:
    return rng.choice(["", " ", " "]).join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))


def hostile_lines(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    lines = []
    for n in range(count):
        title = text(rng, 4) + (f" {n}" if n % 10 else "") if n % 3 else f"Kite {n}"
        content = rng.choice(
            [text(rng, 12), text(rng, 12), title, title.upper() + " .", f"{title} {text(rng, 2)}", "A kite that flies."]
        )
        one = {"uid": rng.choice([str(n), text(rng, 1), n]), "title": title, "content": content}
        lines.append(json.dumps(one, ensure_ascii=rng.random() < 0.3) if n % 20 else rng.choice(ODD_LINES))
    return lines


def read_by(path: Path, monkeypatch: pytest.MonkeyPatch, worth_sql: float, home: Path) -> Catalogue:
    monkeypatch.setattr(catalogue_build, "WORTH_SQL", worth_sql)
    monkeypatch.setenv("SHELFTALK_HOME", str(home))
    return read_catalogue(path)


@pytest.mark.parametrize("seed", range(4))
def test_sql_and_python_make_the_same_catalogue(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hostile.json"
    lines = [line for line in [*ODD_LINES, *hostile_lines(seed, 6000)] if line.strip() and not LOOSE.search(line)]
    file.write_text("\n".join(lines), encoding="utf-8", errors="replace", newline="")
    by_python = read_by(file, monkeypatch, float("inf"), tmp_path / "python")
    left: list[int] = []
    take = plain.take_lines
    monkeypatch.setattr(plain, "take_lines", lambda *args: [left.append(len(odd := take(*args) or [])), odd][1])
    by_sql = read_by(file, monkeypatch, 0, tmp_path / "sql")
    assert 0 < sum(left) < len(lines)
    assert by_sql.page() == by_python.page()
    assert by_sql.skipped() == by_python.skipped()
    assert by_sql.skipped_counts() == by_python.skipped_counts()
    assert by_sql.titles_without_content() == by_python.titles_without_content()
    assert by_python.usable > 1000 and by_python.skipped_total > 500


@pytest.mark.parametrize("odd", ["", "  ", ODD_LINES[9], ODD_LINES[10]])
def test_lines_that_would_be_told_apart_otherwise_are_python_s(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "odd.json"
    good = [json.dumps(row("1", "Kite", "A kite that flies.")), json.dumps(row("2", "Mug", "A mug of tin."))]
    file.write_text("\n".join([good[0], odd, good[1]]), encoding="utf-8")
    catalogue = read_by(file, monkeypatch, 0, tmp_path)
    assert [p.uid for p in catalogue.page()] == ["1", "2"]
    assert [s.line for s in catalogue.skipped()] == ([2] if odd.strip() else [])


def test_searching_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hostile.json"
    file.write_text("\n".join(hostile_lines(9, 6000)), encoding="utf-8", errors="replace", newline="")
    catalogue = read_by(file, monkeypatch, 0, tmp_path)
    products = catalogue.page()
    for words in ("kite", "ÉCLAIR", "strasse", "the BOOK", "σασ", "%", "'", "no such word"):
        wanted = words.casefold().split()
        expected = [p for p in products if all(w in p.title.casefold() for w in wanted)]
        assert catalogue.page(words=words) == expected and catalogue.matching(words) == len(expected)


def test_letters_are_left_alone_by_cleaning() -> None:
    for letter in re.findall(f"[{plain.LETTERS}]", "".join(map(chr, range(0x21, 0xD800)))):
        assert clean(f"a{letter}b") == f"a{letter}b", hex(ord(letter))
        assert not unicodedata.combining(letter) and unicodedata.category(letter)[0] in "LNPS", hex(ord(letter))
        assert letter.isascii() or not re.search("[a-z0-9_]", letter.casefold()), hex(ord(letter))


def test_signs_part_the_words_of_a_title() -> None:
    for sign in re.findall(f"[{plain.SIGNS}]", "".join(map(chr, range(0x80, 0xD800)))):
        assert title_key(f"A{sign}b") == "a b" and sign.casefold() == sign and clean(f"a{sign}b") == f"a{sign}b", hex(
            ord(sign)
        )


def taken(rows: list[dict[str, Any]], tmp_path: Path, columns: Columns = PLAIN) -> list[int]:
    """Numbers of the lines that SQL takes."""
    lines = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()
    with catalogue_build.database(tmp_path) as connection:
        left = plain.take_lines(connection, Lines(1, lines), tmp_path / "lines.json", columns) or []
        found = [n for (n,) in connection.execute("SELECT line FROM part WHERE plain ORDER BY line").fetchall()]
    assert sorted([*found, *(n for n, _ in left)]) == list(range(1, len(rows) + 1))
    return found


def test_what_is_plain_is_not_left_to_python(tmp_path: Path) -> None:
    contents = [
        "A kite, for “calm” evenings – naïve?",
        "It&#8217;s  a kite &amp; more.",
        "Four words & more --This text refers to x.",
        "",
    ]
    rows = [
        {"uid": f"B00{n}", "title": f"Thing No. {n}, new!", "content": c, "tags": [1]} for n, c in enumerate(contents)
    ]
    assert taken(rows, tmp_path) == [1, 2, 3, 4]
    assert taken([{"name": "Kite", "text": "A thing that flies."}], tmp_path, Columns("name", ("text",))) == [1]
    rows = [{"order": 12, "select": "A kite", "group": "Something that flies."}]
    assert taken(rows, tmp_path, Columns("select", ("group",), "order")) == [1]


@pytest.mark.parametrize(
    "columns", [Columns("a b", ("c",)), Columns("a", ("b", "c")), Columns("a'", ("c",)), Columns("a", ("c",), "$")]
)
def test_names_that_need_escaping_are_left_to_python(columns: Columns) -> None:
    assert not plain.can_read(columns) and plain.can_read(PLAIN)
