"""Reading and cleaning: real data's warts, and files that are not what they should be."""

import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue import cleaning
from pipeline.catalogue import cleaning as module
from pipeline.catalogue import json_reader as rows
from pipeline.catalogue.catalogue import SAMPLE, Catalogue, Product, clean, read_catalogue, title_key
from pipeline.errors import CatalogueError
from tests.tiny import ROWS, row, write_catalogue

GOOD = row("1", "Wrenfold Kite", "A kite that flies on very little wind.")
OTHER = row("2", "Basecamp Mug", "A mug with a rolled rim, from Poland.")


def lines(*rows: Any) -> bytes:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows).encode()


@pytest.fixture(autouse=True)
def own_cache(home: Path) -> Path:
    """The prepared copies of these tests' files end with them."""
    return home


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Catalogue]:
    def read_bytes(data: bytes) -> Catalogue:
        file = tmp_path / "upload.json"
        file.write_bytes(data)
        return read_catalogue(file)

    return read_bytes


def many_rows(count: int = 3000) -> bytes:
    """Rows that compress badly, so that half a gzip file holds half of them."""
    noise = random.Random(0)
    return lines(
        *(row(str(n), f"Thing {n}", f"A thing of {noise.getrandbits(200):x} and no other.") for n in range(count))
    )


# --- What is used ---


def test_products_are_cleaned_and_keep_their_order(read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(lines({"uid": " A&amp;1 ", "title": "Tom &amp; Ada", "content": ["A game.", "For two."]}, GOOD))
    assert catalogue.page() == [
        Product("A&1", "Tom & Ada", "A game. For two."),
        Product("1", "Wrenfold Kite", GOOD["content"]),
    ]
    assert catalogue.rows == 2 and not catalogue.skipped()


@pytest.mark.parametrize(
    "data",
    [
        lines(GOOD, OTHER),
        lines(GOOD, OTHER).rstrip(b"\n"),
        b"\n\n" + lines(GOOD, "", OTHER),
        b"\xef\xbb\xbf" + lines(GOOD, OTHER),
        lines(GOOD, OTHER).replace(b"\n", b"\r\n"),
        json.dumps([GOOD, OTHER]).encode(),
        b"\xef\xbb\xbf \n" + json.dumps([GOOD, OTHER], indent=1).encode(),
        gzip.compress(lines(GOOD, OTHER), mtime=0),
        gzip.compress(lines(GOOD), mtime=0) + gzip.compress(lines(OTHER), mtime=0),
        gzip.compress(json.dumps([GOOD, OTHER]).encode(), mtime=0),
        lines({**GOOD, "target_ind": [1, 2], "target_rel": [1.0]}, OTHER),
    ],
    ids=["lines", "no last line end", "empty lines", "bom", "crlf", "list", "indented list", "gzip", "two gzips", "gzipped list",
         "more fields"],
)  # fmt: skip
def test_every_form_of_the_file_gives_the_same_products(data: bytes, read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(data)
    assert [(p.uid, p.title, p.content) for p in catalogue.page()] == [tuple(GOOD.values()), tuple(OTHER.values())]
    assert not catalogue.skipped()


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Tom &amp; Ada", "Tom & Ada"),
        ("It&#8217;s here", "It’s here"),
        ("It&amp;#8217;s here", "It’s here"),
        ("It&amp;amp;#x2019;s here", "It’s here"),
        ("caf&eacute; cr&amp;egrave;me", "café crème"),
        ("<b>Bold</b> and<br/>plain", "Bold and plain"),
        ("&lt;p class=&quot;a&quot;&gt;Text&lt;/p&gt;", "Text"),
        ("<script>alert(1)</script>Kite", "Kite"),
        ("a <STYLE media='x'>p {}</Style > b", "a b"),
        ("a <!-- not this --> b", "a b"),
        ("<script>a<script>b</script>c", "a c"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("I <3 kites", "I <3 kites"),
        ("A fine book. --This text refers to the Hardcover edition.", "A fine book."),
        ("A fine book.\n  - This edition refers to another one. And more.", "A fine book."),
        ("This text refers to nothing.", "This text refers to nothing."),
        (" a \t b\r\nc\u00a0d\u2003e ", "a b c d e"),
        ("zero\u200bwidth\ufeff \u202eturned \u0000nul", "zerowidth turned nul"),
        ("cafe\u0301", "café"),
        ("lone \ud800 half", "lone half"),
        ("{title} stays", "{title} stays"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("", ""),
    ],
)  # fmt: skip
def test_cleaning(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "seed", [" ", "<script", "<!--", "<style>", "-", "- ", "&amp;", "<a", "</script", "<", "\u200b", " -"]
)
def test_hostile_text_is_cleaned_in_linear_time(seed: str) -> None:
    clean(seed * (1_000_000 // len(seed)) + " end")  # in quadratic time: minutes


@pytest.mark.parametrize("seed", ["+", "#", "-1", "</td> <td>", "<li>", "\n- ", "A: b\n", "<br>a", "é\u200c"])
def test_hostile_records_and_titles_are_read_in_linear_time(seed: str) -> None:
    text = seed * (300_000 // len(seed)) + " end"
    module.clean_record(text)
    title_key(text)


def test_entities_leave_no_digits_behind() -> None:
    assert "8217" not in clean("Oskar&#8217;s, Oskar&amp;#8217;s, Oskar&amp;amp;#8217;s")


@pytest.mark.parametrize(
    ("same", "different"),
    [("The Salt-Road", "the salt road!"), ("Ünder", "ünder"), ("A  B", "a b")],
)
def test_title_key_sees_words_alone(same: str, different: str) -> None:
    assert title_key(same) == title_key(different)


# --- What is skipped, each with its reason ---


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"title": "", "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": None, "content": GOOD["content"]}, module.NO_TITLE),
        ({"content": GOOD["content"]}, module.NO_TITLE),
        ({"title": "!?…", "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": True, "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": {"a": 1}, "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": float("nan"), "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": "<script>x()</script>", "content": GOOD["content"]}, module.NO_TITLE),
        ({"title": "Kite " * 61, "content": GOOD["content"]}, module.TITLE_TOO_LONG),
        ({"title": "Kite", "content": ""}, module.NO_CONTENT),
        ({"title": "Kite", "content": None}, module.NO_CONTENT),
        ({"title": "Kite"}, module.NO_CONTENT),
        ({"title": "Kite", "content": float("nan")}, module.NO_CONTENT),
        ({"title": "Kite", "content": [[["A kite", "that flies"], "high"]]}, module.NO_CONTENT),
        ({"title": "Kite", "content": [{"text": "A kite that flies high"}]}, module.NO_CONTENT),
        ({"title": "Kite", "content": "&nbsp;<br/> "}, module.NO_CONTENT),
        ({"title": "Kite", "content": "Book by"}, module.STUB),
        ({"title": "A Kite of Red Silk", "content": "a kite of red silk."}, module.CONTENT_IS_TITLE),
        ("[1, 2]", module.NOT_A_PRODUCT),
        ('"text"', module.NOT_A_PRODUCT),
        ("null", module.NOT_A_PRODUCT),
        ("12", module.NOT_A_PRODUCT),
        ('{"uid": "9", "title": "Cut in the mid', module.UNREADABLE),
        ("not JSON at all", module.UNREADABLE),
        ('{"title": "Deep", "content": ' + "[" * 100_000 + "]" * 100_000 + "}", module.UNREADABLE),
        ('{"title": 1' + "0" * 6000 + "}", module.UNREADABLE),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_by_its_line_and_the_rest_is_used(
    bad: Any, reason: str, read: Callable[[bytes], Catalogue]
) -> None:
    catalogue = read(lines(GOOD, bad, OTHER))
    assert [p.uid for p in catalogue.page()] == ["1", "2"]
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(2, reason)]
    assert catalogue.skipped_counts() == {reason: 1}
    assert catalogue.rows == 3


def test_a_line_in_another_encoding_is_named_and_the_rest_is_used(read: Callable[[bytes], Catalogue]) -> None:
    latin = '{"title": "Café", "content": "Vier Wörter und mehr."}\n'.encode("latin-1")
    catalogue = read(lines(GOOD) + latin + lines(OTHER))
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(2, module.NOT_TEXT)]
    assert len(catalogue.page()) == 2


def test_a_last_line_cut_in_the_middle_is_named(read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read((lines(GOOD) + lines(OTHER))[:-20])
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(2, module.UNREADABLE)]


def test_a_line_that_is_too_long_is_passed_over(
    read: Callable[[bytes], Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "MAX_LINE_BYTES", 500)
    for length in (400, 499, 500, 501, 999, 1000, 1001, 5000):
        bad = json.dumps({"title": "Long", "content": "word " * length})[:length].ljust(length, "x")
        catalogue = read(lines(GOOD, bad, OTHER))
        assert [p.uid for p in catalogue.page()] == ["1", "2"], length
        assert [s.line for s in catalogue.skipped()] == [2], length
    assert catalogue.skipped()[0].reason == module.LINE_TOO_LONG


def test_a_line_of_200_mb_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    with file.open("wb") as out:
        out.write(lines(GOOD) + b'{"title": "Long", "content": "')
        for _ in range(200):
            out.write(b"x" * 1_000_000)
        out.write(b'"}\n' + lines(OTHER))
    catalogue = read_catalogue(file)
    file.unlink()
    assert [p.uid for p in catalogue.page()] == ["1", "2"]
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(2, module.LINE_TOO_LONG)]


def test_a_title_with_two_contents_is_left_out_with_all_its_rows(read: Callable[[bytes], Catalogue]) -> None:
    twice = [row("a", "Twice Told", "The first of two stories."), row("b", "TWICE TOLD!", "The second of two stories.")]
    catalogue = read(lines(twice[0], GOOD, twice[1], twice[0]))
    assert [p.uid for p in catalogue.page()] == ["1"]
    assert sorted((s.line, s.reason) for s in catalogue.skipped()) == [
        (1, module.AMBIGUOUS),
        (3, module.AMBIGUOUS),
        (4, module.DUPLICATE),
    ]


def test_the_same_row_again_is_counted_once(read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(lines(GOOD, GOOD, {**GOOD, "uid": "other"}))
    assert [p.uid for p in catalogue.page()] == ["1"]
    assert catalogue.skipped_counts() == {module.DUPLICATE: 2}


def test_every_product_has_a_uid_of_its_own(read: Callable[[bytes], Catalogue]) -> None:
    rows = [{**GOOD, "uid": uid, "title": f"Kite {n}"} for n, uid in enumerate(["5", "5", "", None, 5, "5-2"])]
    uids = [p.uid for p in read(lines(*rows)).page()]
    assert uids == ["5", "5-2", "3", "4", "5-5", "5-2-6"]
    assert len(set(uids)) == len(rows)


def test_numbers_are_text(read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(lines({"uid": 7, "title": 1984, "content": "A novel about a year that never ended."}))
    assert catalogue.page() == [Product("7", "1984", "A novel about a year that never ended.")]


def test_titles_without_content_are_those_that_no_product_has(read: Callable[[bytes], Catalogue]) -> None:
    rows = [
        row("a", "Empty Shelf", ""),
        row("b", "EMPTY shelf", "Stub"),
        row("c", "Wrenfold kite", ""),
        GOOD,
        row("d", "", "x"),
    ]
    assert read(lines(*rows)).titles_without_content() == ["EMPTY shelf"]


def test_search_finds_all_words_in_any_order_and_case(read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(lines(*ROWS))
    assert [p.uid for p in catalogue.page(words="atlas SALT")] == ["T3"]
    assert catalogue.page(words="atlas kite") == []
    assert catalogue.matching("") == len(ROWS)


# --- Files of which nothing can be used: one sentence ---


def workbook() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"   \n\n", "is not a catalogue"),
        (b"Once upon a time\nthere was no JSON.\n", "is not a catalogue"),
        (b"title,content\nKite,A kite that flies\n", "is not a catalogue"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is a picture"),
        (b"PAR1" + bytes(100), "is a Parquet file; write it as CSV, in Python by pandas.read_parquet"),
        (b"<?xml version='1.0'?><rss></rss>", "is XML"),
        (workbook(), "is an Excel workbook; save the sheet of products as CSV in UTF-8"),
        (b"\0" * 5000, "is not a catalogue"),
        ('{"title": "Çà", "content": "Übergrößenträger für alle"}\n'.encode("latin-1") * 3, "not UTF-8"),
        (json.dumps(ROWS).encode()[:-30], "breaks off"),
        (json.dumps(ROWS, indent=1).encode()[:-30], "breaks off at line"),
        ('[{"title": "Çà"}]'.encode("latin-1"), "not UTF-8"),
        (b"[" * 100_000, "breaks off"),
        (b"[]", "is not a catalogue"),
        (b"[[1, 2], [3]]", "is not a catalogue"),
        (b"{}\n{}\n", "No product"),
        (lines({"heading": "Kite", "content": "A kite that flies"}), "no field named title (its fields are content, heading)"),
        (lines({"title": "Kite", "prose": "A kite that flies"}), "no field named content"),
        (lines({"na\nme <b>": 1, "\ud800": 2}), "no field named title or content (its fields are na me"),
        (lines({"title": "Kite", "content": ""}, {"title": "", "content": "A kite that flies"}), "No product"),
        (gzip.compress(b"", mtime=0), "is not a catalogue"),
        (gzip.compress(lines(GOOD), mtime=0)[:12], "damaged gzip"),
        (gzip.compress(many_rows(), mtime=0)[:15], "damaged gzip"),
        (b"\x1f\x8b" + bytes(100), "damaged gzip"),
    ],
)  # fmt: skip
def test_a_useless_file_is_refused_in_one_sentence(data: bytes, said: str, read: Callable[[bytes], Catalogue]) -> None:
    with pytest.raises(CatalogueError) as refused:
        read(data)
    message = str(refused.value)
    assert said in message and "upload.json" in message
    assert "\n" not in message and len(message) < 400
    message.encode()  # printable everywhere


@pytest.mark.parametrize("path", ["", "missing.json", "/dev/null", "/dev/zero", "/"])
def test_what_is_no_file_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogueError, match="There is no file"):
        read_catalogue(Path(path))


def test_an_item_that_never_ends_is_refused_before_it_fills_the_memory(
    read: Callable[[bytes], Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_ITEM_CHARACTERS", 50)
    with pytest.raises(CatalogueError, match="breaks off at line 1"):
        read(b'[{"title": "Kite", "content": "' + b"a kite " * 1_000_000)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "wrapped",
    [
        {"products": ROWS},
        {"total": 8, "page": {"next": None}, "products": ROWS, "more": []},
        {"data": {"products": ROWS}},
        {"categories": [{"id": 1, "label": "Kites"}], "items": ROWS},
    ],
    ids=str,
)
def test_a_list_of_products_is_found_in_the_object_around_it(
    wrapped: dict[str, Any], indent: int | None, read: Callable[[bytes], Catalogue]
) -> None:
    catalogue = read(json.dumps(wrapped, indent=indent).encode())
    assert [p.title for p in catalogue.page()] == [clean(r["title"]) for r in ROWS] and not catalogue.skipped_total


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_with_or_without_its_mark(encoding: str, read: Callable[[bytes], Catalogue]) -> None:
    data = "\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS).encode(encoding)
    assert [p.title for p in read(data).page()] == [clean(r["title"]) for r in ROWS]


def test_python_s_dictionaries_are_read(read: Callable[[bytes], Catalogue]) -> None:
    said = {"asin": "B1", "title": 'Ada\'s "Mug"', "description": "A mug of tin, made True to size.", "price": None}
    catalogue = read(f"{said!r}\n{{'title': 'broken\n".encode())
    assert [(p.uid, p.title, p.content) for p in catalogue.page()] == [("B1", said["title"], said["description"])]
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(2, module.UNREADABLE)]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("<ul><li>Made of beech</li><li>Linen bag included</li></ul>", "Made of beech. Linen bag included"),
        ("<p>Weight: 3 lb</p><p>6 oz tin in the box</p>", "Weight: 3 lb • 6 oz tin in the box"),
        ("Made by hand<br>Oiled twice<br/>and waxed.", "Made by hand. Oiled twice and waxed."),
        ("<table><tr><th>Material</th><td>oak</td></tr><tr><td>Finish:</td><td>oil</td></tr></table>",
         "Material: oak. Finish: oil"),
        ("A bench.\nMaterial: oak\nFinish: oil\n\nFor two,\nby the door.",
         "A bench. Material: oak. Finish: oil. For two, by the door."),
        ("It has:\n- two legs\n- one seat", "It has: two legs. one seat"),
        ("black&notes and R&D &copy; &amp here", "black&notes and R&D © & here"),
        ("black&notes; it", "black&notes; it"),
        (["Made of tin", "Rim is rolled.", None, "nan"], "Made of tin. Rim is rolled."),
        ('["Made of tin", "Lid included"]', "Made of tin. Lid included"),
        ("['Made of tin', 'Ada\\'s lid']", "Made of tin. Ada's lid"),
        ("[new] A tin mug.", "[new] A tin mug."),
    ],
)  # fmt: skip
def test_a_paragraph_an_item_and_a_labelled_line_end_a_sentence(raw: Any, said: str) -> None:
    assert module.record_of(module.unpacked(raw)) == said


@pytest.mark.parametrize("none", ["nan", "NaN", "NULL", "None", "n/a", "N/A", "#N/A", "undefined", "&nbsp;", " null "])
def test_what_programs_write_for_nothing_is_nothing(none: str, read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(
        lines(
            GOOD,
            {"uid": none, "title": "Mug", "content": "A mug of tin with a lid."},
            {"title": none, "content": GOOD["content"]},
            {"title": "Pot", "content": none},
        )
    )
    assert [(p.uid, p.title) for p in catalogue.page()] == [(GOOD["uid"], GOOD["title"]), ("2", "Mug")]
    assert [s.reason for s in catalogue.skipped()] == [module.NO_TITLE, module.NO_CONTENT]
    assert module.text_of("Nana") == "Nana" and module.text_of("None of Them") == "None of Them"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Lens +2.00", "Lens -2.00"), ("Lens −2.00", "Lens 2.00"), ("Primer C", "Primer C++"), ("Primer C#", "Primer C"),
     ("कि", "की"), ("Set A+B", "Set A B"), ("Lens -.5", "Lens +.5")],
)  # fmt: skip
def test_signs_and_marks_make_another_title(one: str, other: str) -> None:
    assert title_key(one) != title_key(other)
    assert title_key("Lens −2.00") == title_key("lens (-2.00)") and title_key("Well-made") == "well made"


def test_joiners_stay_between_letters_and_emoji() -> None:
    for text in ("کتاب\u200cخانه", "क्\u200dष", "👩\u200d🔧 kit"):
        assert clean(text) == text
    assert clean("a\u200db \u200c کتاب\u200c") == "ab کتاب"


@pytest.mark.parametrize("text", ["木制茶几，手工打磨，结实耐用。", "手作りの木製ベンチです。", "ม้านั่งไม้ทำมือสำหรับสองคน"])
def test_languages_without_spaces_need_no_words(text: str, read: Callable[[bytes], Catalogue]) -> None:
    catalogue = read(lines({"title": "X1", "content": text}, {"title": "X2", "content": text[:3]}))
    assert [p.content for p in catalogue.page()] == [text] and catalogue.skipped_counts() == {module.STUB: 1}


@pytest.mark.parametrize("damage", ["cut", "checksum"])
def test_a_damaged_gzip_file_is_used_up_to_the_damage(damage: str, read: Callable[[bytes], Catalogue]) -> None:
    whole = gzip.compress(many_rows())
    catalogue = read(whole[: len(whole) // 2] if damage == "cut" else whole[:-8] + b"damaged!")
    assert 1000 < len(catalogue.page()) <= 3000
    assert [(s.line, s.reason) for s in catalogue.skipped()] == [(len(catalogue.page()) + 1, module.DAMAGED)]


def test_a_gzip_bomb_of_one_line_is_passed_over(read: Callable[[bytes], Catalogue]) -> None:
    bomb = gzip.compress(lines(GOOD)) + gzip.compress(b"x" * 50_000_000 + b"\n")
    assert read(bomb).skipped_counts() == {module.LINE_TOO_LONG: 1}


def test_the_checksum_is_the_file_s(tmp_path: Path) -> None:
    first, second = write_catalogue(tmp_path / "a.json"), write_catalogue(tmp_path / "b.json")
    assert read_catalogue(first).sha256 == read_catalogue(second).sha256
    os.truncate(second, second.stat().st_size - 1)
    assert read_catalogue(first).sha256 != read_catalogue(second).sha256


# --- The catalogue that ships ---


def test_the_sample_has_products_of_many_kinds_and_every_wart() -> None:
    catalogue = read_catalogue(SAMPLE)
    assert catalogue.rows >= 60 and len(catalogue.page()) >= 51
    assert {module.NO_CONTENT, module.STUB, module.CONTENT_IS_TITLE, module.AMBIGUOUS} <= set(
        catalogue.skipped_counts()
    )
    text = SAMPLE.read_text(encoding="utf-8")
    assert "&amp;#" in text and "--This text refers to" in text
    leftovers = ("&amp;", "&#", "8217", "This text refers")
    assert not [p for p in catalogue.page() if any(word in p.title + p.content for word in leftovers)]
    assert all(set(json.loads(line)) >= {"uid", "title", "content"} for line in text.splitlines())
