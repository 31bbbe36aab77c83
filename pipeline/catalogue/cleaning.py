"""What makes a row a product: the text of its fields, cleaned, and the reasons for which it cannot be taught.

This is the exact rule for every row. `plain.py` is its twin in SQL for rows that hold nothing odd; it must never say
anything else.
"""

import ast
import html
import html.entities
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex

MAX_LINE_BYTES = 4_000_000
MAX_TITLE_CHARACTERS = 300
MIN_CONTENT_WORDS = 4

NO_TITLE = "no title"
TITLE_TOO_LONG = f"title over {MAX_TITLE_CHARACTERS} characters"
NO_CONTENT = "no content"
STUB = f"content under {MIN_CONTENT_WORDS} words"
CONTENT_IS_TITLE = "content only repeats the title"
DUPLICATE = "the same product again"
AMBIGUOUS = "one title with different contents"
UNREADABLE = "line is not JSON"
NOT_TEXT = "line is not UTF-8 text"
LINE_TOO_LONG = f"line over {MAX_LINE_BYTES // 1_000_000} MB"
NOT_A_PRODUCT = "line is not a product"
DAMAGED = "the gzip file is damaged from here on"
TOO_MANY_VALUES = "row with more values than columns"
TOO_FEW_VALUES = "row with fewer values than columns"
UNREADABLE_LINE = (UNREADABLE, NOT_TEXT, LINE_TOO_LONG, NOT_A_PRODUCT, DAMAGED, TOO_MANY_VALUES, TOO_FEW_VALUES)
"""Reasons that say something about the file, not about a product."""
SAYS_NOTHING = (NO_CONTENT, STUB, CONTENT_IS_TITLE)
"""Reasons of rows that have a title and nothing to say about it."""

# What is opened again before it is closed is left to the last pattern, so hostile text costs linear time.
_TAG = re.compile(
    r"<(?:script|style)\b(?:(?!<(?:script|style)\b).)*?</(?:script|style)\s*>"
    r"|<!--(?:(?!<!--).)*?-->|</?[a-zA-Z][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_BLOCK = re.compile(
    r"</?(?:address|article|blockquote|br|d[dlt]|div|h[1-6]|hr|li|ol|p|pre|section|t(?:able|body|foot|head|[dhr])|ul)\b",
    re.IGNORECASE,
)
"""Tags after which another thing is said: they end a sentence, and so a value."""
_ROW = re.compile(r"<tr\b(?:(?!<tr\b).)*?</tr\s*>", re.DOTALL | re.IGNORECASE)
_NEXT_CELL = re.compile(r"</t[dh]\s*>\s*<t[dh]\b[^<>]*>", re.IGNORECASE)
_TERM = re.compile(r"</dt\s*>\s*<dd\b[^<>]*>", re.IGNORECASE)
_ENTITY = re.compile(
    r"&(?:#(?:[xX][0-9a-fA-F]{1,6}|[0-9]{1,7});?|[A-Za-z][A-Za-z0-9]{1,31};|(?:amp|lt|gt|quot|nbsp)(?![A-Za-z0-9=]))"
)
_BULLET = re.compile(r"[-*•·●▪–] (?!This (?:text|edition) refers)")
_LABEL = re.compile(r"[^\W\d][^\n:.!?]{0,40}: ?\S")
_END = "\x1e"
"""Stands between two things that a record says while it is cleaned."""
_CLOSED = tuple(".!?…:;,。！？：；，、")

_NONE = re.compile(r"[-+]?nan|null|none|n/a|#n/a(?: n/a)?|<na>|nat|undefined|nil|-?1\.#(?:ind|qnan)", re.IGNORECASE)
"""What programs write where there is no value."""

_JOINERS = re.compile("(?<=[^\x00-\x7f\\s])[\u200c\u200d]+(?=[^\x00-\x7f\\s])")
"""Between two letters (Persian, Hindi) or emoji they are part of the word."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of languages that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_SAME = {0x2212: "-", 0x200C: None, 0x200D: None}
LETTERS_A_WORD = 2
"""Of such a language, about."""

_BOILERPLATE = re.compile(r" ?-{1,2} ?This (?:text|edition) refers to .*$", re.IGNORECASE)
_WORD = regex.compile(r"(?:(?<![\p{L}\p{N}_)\]])[-+]\.?(?=\d))?[+#]{0,3}[\p{L}\p{N}_][\p{L}\p{N}_\p{M}+#]*")
"""A word with its marks, also C++, C#, and the sign of a number."""


@dataclass(frozen=True)
class Product:
    """One product, cleaned: plain text on one line each."""

    uid: str
    title: str
    content: str
    attributes: tuple[tuple[str, str], ...] = ()
    """Names and values that the catalogue gives apart from its text; the content ends with them as "Name: value."."""

    def __post_init__(self) -> None:
        # A manifest has lists, and one of an earlier version has none.
        object.__setattr__(self, "attributes", tuple((name, value) for name, value in self.attributes))


@dataclass(frozen=True)
class SkippedRow:
    """Stands where a row would, and says why there is none."""

    reason: str


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be taught, and why. `line` counts from 1 (for a JSON list, its items do; for CSV, its rows)."""

    line: int
    title: str
    reason: str


class Checked(NamedTuple):
    """A row as it stands by itself: whether another row has the same title is not known yet."""

    line: int
    uid: str
    title: str
    content: str
    key: str
    folded: str | None
    """The title as searching sees it, where that is not merely its ASCII letters in lower case."""
    reason: str
    attributes: str = ""
    """JSON, a list of names and values; empty where there is none."""

    def product(self) -> Product:
        return product_of(self.uid, self.title, self.content, self.attributes)


def product_of(uid: str, title: str, content: str, attributes: str) -> Product:
    """A product from what is stored of it."""
    return Product(uid, title, content, json.loads(attributes) if attributes else ())


def clean(text: str) -> str:
    """Unescape entities (twice where they were escaped twice), drop tags and boilerplate, fold white space."""
    text = _unescaped(text)
    return _tidied(_TAG.sub(" ", text) if "<" in text else text)


def clean_record(text: str) -> str:
    """The same for a text of several things: where a paragraph, an item or a line with a label ends, a sentence does."""
    text = _unescaped(text)
    if "<" not in text and "\n" not in text:
        return _tidied(text)
    if "refers" in text.casefold() and _BOILERPLATE.search(folded := " ".join(_TAG.sub(" ", text).split())):
        return _tidied(folded)  # whatever follows belongs to it
    text = text.replace(_END, " ").replace("\r\n", "\n")
    if "<t" in text or "<T" in text:
        text = _ROW.sub(_told_row, text)
    text = _TAG.sub(_end_or_space, _TERM.sub(": ", text)) if "<" in text else _END.join(_lines(text))
    return sentences_of(map(_tidied, text.split(_END)))


def sentences_of(parts: Iterable[str]) -> str:
    """Several things that are said, as one text in which each is a sentence."""
    told = [*filter(None, parts)] or [""]
    for n, after in enumerate(told[1:]):
        if not told[n].endswith(_CLOSED):
            told[n] += " •" if after[0].isdigit() else "."  # "2 lb. 8 oz" would be one weight
    return " ".join(told)


def _unescaped(text: str) -> str:
    for _ in range(3):
        if "&" not in text:
            break
        unescaped = _ENTITY.sub(_character, text)
        if unescaped == text:
            break
        text = unescaped
    return text


def _character(entity: re.Match[str]) -> str:
    """What an entity stands for; "black&notes;" has none, though HTML's readers would see a "not" in it."""
    name = entity.group()
    return html.unescape(name) if name[1] == "#" or name[-1] != ";" or name[1:] in html.entities.html5 else name


def _end_or_space(tag: re.Match[str]) -> str:
    if not _BLOCK.match(tag.group()):
        return " "
    if tag.group()[1:3].lower() != "br":
        return _END
    # A line may also be broken within a sentence.
    after = tag.string[tag.end() : tag.end() + 60].lstrip()
    return " " if after[:1].islower() and not _LABEL.match(after) else _END


def _told_row(row: re.Match[str]) -> str:
    """A table's row of two cells is a name and its value."""
    cells = len(_NEXT_CELL.findall(row.group())) + 1
    return re.sub(r":\s{0,9}:", ":", _NEXT_CELL.sub(": " if cells == 2 else ", ", row.group()))


def _lines(text: str) -> list[str]:
    """Lines that are things of their own: with a bullet or a label, before and after an empty one. Others go on."""
    told, own = [""], True
    for line in map(str.strip, text.split("\n")):
        mine = not line or bool(_BULLET.match(line) or _LABEL.match(line))
        if own or mine:
            told.append(_BULLET.sub("", line, count=1) if _BULLET.match(line) else line)
        else:
            told[-1] += f" {line}"
        own = mine
    return told


def _tidied(text: str) -> str:
    printable = text.isprintable()  # then a space is its only white space
    text = text.strip(" ") if printable and "  " not in text else " ".join(text.split())
    if "-" in text and "refers to" in text.casefold():
        text = _BOILERPLATE.sub("", text)
    if not printable and not text.isprintable():
        # Invisible characters (zero-width, direction marks, controls) would make equal texts differ.
        joined = {found.start() for found in _JOINERS.finditer(text)}
        kept = (c for n, c in enumerate(text) if unicodedata.category(c)[0] != "C" or n in joined)
        text = " ".join("".join(kept).split())
    return unicodedata.normalize("NFC", text).strip()


def title_key(title: str) -> str:
    """What makes two titles the same: letters with their marks, digits with their signs, without case."""
    return " ".join(_WORD.findall(_keyed(title)))


def _keyed(text: str) -> str:
    return text.casefold() if text.isascii() else text.casefold().translate(_SAME)


def checked(line: int, uid: Any, title: Any, contents: Sequence[Any]) -> Checked:
    """A row from the values of its fields; several contents become one text, and a mapping among them its attributes."""
    name = text_of(title)
    values = [unpacked(value) for value in contents]
    content = _joined(map(record_of, values))
    attributes = _attributes(pair for value in values for pair in pairs_of(value))
    row = judged(line, text_of(uid) or str(line), name, _with_attributes(content, attributes))
    if not attributes:
        return row
    # However few words it has, an attribute is something to ask for.
    reason = "" if row.reason == STUB else row.reason
    return row._replace(attributes=json.dumps(attributes, ensure_ascii=False), reason=reason)


def _joined(parts: Iterable[str]) -> str:
    """What several fields say as one text; where one does not go on in small letters, the one before it ended."""
    told = ""
    for part in filter(None, parts):
        told = f"{told} {part}" if told and part[0].islower() else sentences_of([told, part])
    return told


_NO_VALUE = re.compile(
    r"[\W_]*|n\.a|t\.?b\.?[ad]|not (?:specified|applicable|available|set)|unspecified", re.IGNORECASE
)


def _attributes(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """Names and values, cleaned; of a list the whole of it is the value."""
    found: dict[str, str] = {}
    for name, value in pairs:
        parts = [text_of(part) for part in value] if isinstance(value, list | tuple) else [text_of(value)]
        told, label = ", ".join(filter(None, parts)).rstrip(" ."), text_of(name).strip(" .:")
        if label and not _NO_VALUE.fullmatch(told):
            found.setdefault(label, told)
    return list(found.items())


def _with_attributes(content: str, attributes: Sequence[tuple[str, str]]) -> str:
    """The record as it is read, by a person or a model: its text, then "Name: value." for each attribute."""
    text = f"{content}." if content and attributes and content[-1].isalnum() else content
    return " ".join([*([text] if text else []), *(f"{name}: {value}." for name, value in attributes)])


def judged(line: int, uid: str, title: str, content: str) -> Checked:
    """The same, from texts that are clean already."""
    key = title_key(title)
    reason = _reason_to_skip(title, key, content)
    folded = None if title.isascii() else title.casefold()
    return Checked(line, uid, title, content, key, folded, reason)


def not_a_row(line: int, reason: str) -> Checked:
    return Checked(line, "", "", "", "", None, reason)


def text_of(value: Any) -> str:
    """A value as one line of text; empty where it is none."""
    if isinstance(value, list):
        return clean(" ".join(str(v) for v in value if _is_plain(v)))
    return _unless_none(clean(str(value))) if _is_plain(value) else ""


def record_of(value: Any) -> str:
    """A value as what a record says: each item of a list is a sentence."""
    if isinstance(value, list):
        return sentences_of(_unless_none(clean_record(str(v))) for v in value if _is_plain(v))
    return _unless_none(clean_record(str(value))) if _is_plain(value) else ""


def _unless_none(text: str) -> str:
    return "" if len(text) < 10 and _NONE.fullmatch(text) else text


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """The names and values of a mapping, or of a list of {"name": …, "value": …} as shops' interfaces give them."""
    if isinstance(value, Mapping):
        return value.items()
    items = value if isinstance(value, list) else []
    named = [{str(k).lower(): v for k, v in item.items()} for item in items if isinstance(item, Mapping)]
    found = [
        (_first(item, "name", "label", "key"), _first(item, "value", "values", "option", "options")) for item in named
    ]
    return [(name, told) for name, told in found if name and told]


def _first(item: Mapping[str, Any], *names: str) -> Any:
    return next((item[name] for name in names if name in item), None)


def unpacked(value: Any) -> Any:
    """The list or mapping that a text holds as JSON, or as Python writes it; anything else as it is."""
    if isinstance(value, str) and (value[:1], value.rstrip()[-1:]) in (("[", "]"), ("{", "}")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
        with suppress(ValueError, RecursionError):
            return json.loads(as_json(value))
    return value


_PYTHON = re.compile(r"""(?:\b[uU])?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\b(?:None|True|False|nan)\b""", re.DOTALL)
_CONSTANTS = {"None": "null", "True": "true", "False": "false", "nan": "NaN"}


def as_json(text: str) -> str:
    """Python's dictionaries and lists, as JSON writes them.

    Raises:
        ValueError: a text in it is none of Python's.
    """
    try:
        return _PYTHON.sub(lambda m: _CONSTANTS.get(m.group()) or json.dumps(ast.literal_eval(m.group())), text)
    except (SyntaxError, MemoryError) as error:
        raise ValueError("It is no text of Python's.") from error


def _is_plain(value: Any) -> bool:
    """Text or a number; pandas writes what is missing as NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _reason_to_skip(title: str, key: str, content: str) -> str:
    if not key:
        return NO_TITLE
    if len(title) > MAX_TITLE_CHARACTERS:
        return TITLE_TOO_LONG
    if not content:
        return NO_CONTENT
    if _only_repeats(key, content):
        return CONTENT_IS_TITLE
    return (
        "" if len(content.split(None, MIN_CONTENT_WORDS - 1)) == MIN_CONTENT_WORDS or _says_unspaced(content) else STUB
    )


def _says_unspaced(content: str) -> bool:
    return not content.isascii() and len(_UNSPACED.findall(content[:200])) >= LETTERS_A_WORD * MIN_CONTENT_WORDS


def _only_repeats(key: str, content: str) -> bool:
    """Whether the content's key is `key`; most contents show with their first word that it is not."""
    first = _WORD.search(_keyed(content[:100]))
    return (first is None or key.startswith(first.group())) and title_key(content) == key
