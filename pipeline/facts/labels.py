"""Attributes that a record names itself: "Compatible devices: Otter 3, Heron 7." is a name and a value, whatever the name.

Owns where such a value begins and ends, and what kind of fact a name makes. The whole of what stands under a name is the
value, or there is none: half of a list is no answer. Knows no shapes of values and no questions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.facts.sentences import sentences

VALUE_LIMIT = 2_000
"""Characters of a value; what is longer is a text of its own."""
READ = 100_000
"""Characters of a record in which names are looked for."""
MAX_KIND_CHARACTERS = 40


@dataclass(frozen=True)
class Labelled:
    """A name and its value in a record: `content[start:end]` is the value, `content[begin:end]` has the name as well."""

    name: str
    begin: int
    start: int
    end: int


_KINDS: dict[str, str] = {
    name: kind
    for kind, names in {
        "size": "size|overall size|item size|product size|finished size|"
        "größe|taille|tamaño|talla|taglia|maat|尺寸|尺码|サイズ|размер",
        "dimensions": "dimensions|dimension|product dimensions|item dimensions|overall dimensions|finished dimensions|"
        "measurements|maße|abmessungen|dimensiones|medidas|dimensioni|afmetingen|габариты",
        "weight": "weight|item weight|product weight|net weight|gewicht|poids|peso|重量|重さ|вес",
        "capacity": "capacity|volume|fassungsvermögen|inhalt|capacité|capacidad|capacità|inhoud|容量|объем|объём",
        "colour": "colour|color|colours|colors|farbe|farben|couleur|couleurs|colore|cor|kleur|颜色|色|カラー|цвет",
        "material": "material|materials|fabric|composition|fabric composition|main material|materialien|matière|matières|"
        "matériau|matériaux|materiale|materiali|materiales|materiaal|材质|素材|材料|материал",
        "pieces": "pieces|number of pieces|piece count",
        "pages": "pages|number of pages|page count|print length|seiten|seitenzahl|nombre de pages|páginas|pagine",
        "year": "year|publication year|year of publication|year published|release year",
        "author": "author|authors|written by|autor|autorin|autoren|auteur|auteurs|autore|作者|автор",
        "publisher": "publisher|published by|verlag|éditeur|editorial|editore|uitgever|出版社|издательство",
        "age": "age|ages|age range|recommended age|recommended ages|reading age|suitable age|suitable ages",
        "language": "language|languages|text|sprache|langue|idioma|lingua|taal|语言|язык",
        "format": "format|binding",
        "running_time": "running time|run time|runtime|playing time|total running time|duration",
        "price": "price|list price|rrp|msrp|our price|preis|prix|precio|prezzo|prijs|价格|цена",
        "country": "country|country of origin|origin|made in|country of manufacture|herkunftsland|hergestellt in|"
        "pays d'origine|país de origen|paese di origine|land van herkomst|产地|страна",
        "power": "power|wattage|power output|power consumption",
        "warranty": "warranty|guarantee|warranty description",
    }.items()
    for name in names.split("|")
}
"""Names that mean one of the project's own kinds, whatever the value looks like."""

_WORD = r"(?![A-Z]\. )[^\W_][\w'’&/.+-]{0,24}"
_NAME = (
    rf"(?![a-zß-ÿ]|\d+ [A-Z])(?:\d{{1,3}}[ -](?=[a-z]))?{_WORD}(?: (?:{_WORD}|[-&])){{0,6}}(?: \([^()\n]{{1,24}}\))?"
)
_COLON = r" {0,2}(?::\s|：\s?)"
_LABEL = re.compile(rf"[-–•*·\s]{{0,3}}(?P<name>{_NAME}){_COLON}\s*(?=\S)")
_KNOWN = "|".join(
    sorted((name.capitalize() for name in (*_KINDS, "brand", "type", "style", "model")), key=len, reverse=True)
)
# The next name ends a value: after a mark that parts items, or glued to it ("German (translation)Original Language: …").
_NEXT = re.compile(
    rf"(?:(?:[;,|•·\n] ?|(?<=[a-z\d)”\"])(?=[A-Z][a-z])|[.!?] |(?<=\)) )(?={_NAME}{_COLON}))|(?<=\w) (?=(?:{_KNOWN}){_COLON})"
)
_NEXT_SENTENCE = re.compile(rf"[.!?] (?={_NAME}{_COLON})")
_LINES = re.compile(r"\n|[•·|] ")
# "SYSTEM: …" imitates a prompt, "The result: …", "He knew one thing: …", "Praise for Tall Hats: …" name no attribute.
_NO_NAME = re.compile(
    r"^(?i:system|context|instructions?|response|question|answer|user|assistant|human)$"
    r"|^(?:This|That|These|Those|It|Its|It['’]s|He|She|They|We|You|I|The|And|But|Or|So|If|When|While|Then|There|Here|Who|Why|"
    r"How|In|On|At|By|To|Of|With|Yet|However|Also|Plus|Even|Now|Not|No|Yes|Do|Does|Did|Some|One|Among|Because|Since|His|Her|"
    r"Their|Our|My|Your|Forecast|FYI|PS|Just|Once|Perhaps|Like|As|Take|After|Before|From (?!the manufacturer))\b"
    r"|(?<!^)\b(?:is|are|was|were|be|has|have|had|it|he|she|they|you|we|I|that|who|said|says|say|wrote|writes|will|would|"
    r"can|does|do|doesn['’]t|Is)\b|\b(?:[Pp]raise|PRAISE|[Aa]cclaim|ACCLAIM|[Rr]eviews?|comments)\b"
)
_NAME_AFTER_ALL = re.compile(r"^(?:What(?: is|['’]s) (?:in|included)|In the box$|Is |Are |Has |Does it )")
# A quotation and a sentence of its own are no values, nor is a text that names further things.
_NO_VALUE = re.compile(
    r"^(?:[\"“‘]|'(?=\w+ \w+ )|(?:This|These|Those|It|He|She|They|There|Here|I|We|You|Her|His|If|When|Because|Since)\b)"
    r"|(?:^|[\s(])[A-Z][\w'’-]*(?: [\w'’-]+){0,3} ?: "
)
NOTHING = frozenset(
    ("", "n", "na", "n a", "nan", "null", "none", "not applicable", "unknown", "tbd", "see description")
)
"""What is written where there is no value."""
_ELSEWHERE = re.compile(
    r"(?:please |as )?(?:see|refer to|shown|pictured|described|ask|contact|enquire|depends on)\b", re.IGNORECASE
)
"""A value that sends the reader elsewhere says nothing itself."""
_LETTERS = re.compile(r"\w+")


def labelled(content: str) -> list[Labelled]:
    """The names of a record with their values, in order.

    A name begins a sentence, a line or an item of a list; its value ends with the sentence, or before the next name.
    """
    found: list[Labelled] = []
    text = content[:READ]
    if ":" not in text and "：" not in text:
        return found
    for start, end in _pieces(text):
        while start < end:
            match = _LABEL.match(text, start, end)
            if match is None or not _is_name(match["name"]):
                following = _NEXT_SENTENCE.search(text, start, end)
            else:
                following = _NEXT.search(text, match.end(), end)
                value = text[match.end() : following.start() if following else end].rstrip(" .;,!。•·\n")
                if is_value(value):
                    found.append(Labelled(match["name"], match.start("name"), match.end(), match.end() + len(value)))
            start = following.end() if following else end
    return found


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Sentences, and within them lines and what bullets part."""
    for start, end in sentences(text):
        at = start
        for mark in _LINES.finditer(text, start, end):
            if mark.start() > at:
                yield at, mark.start()
            at = mark.end()
        if at < end:
            yield at, end


def _is_name(name: str) -> bool:
    return bool(_NAME_AFTER_ALL.match(name)) or not _NO_NAME.search(name)


def is_value(value: str) -> bool:
    """Whether a value says something, and no more than an attribute's value does."""
    words = " ".join(_LETTERS.findall(value[: VALUE_LIMIT + 1].casefold()))
    return (
        words not in NOTHING
        and not _ELSEWHERE.match(value)
        and len(value) <= VALUE_LIMIT
        and not _NO_VALUE.search(value)
    )


def kind_of(name: str) -> str:
    """The kind of fact that a name makes: one of the project's own, else the name itself (`compatible_devices`)."""
    return _KINDS.get(" ".join(_words(name))) or own_kind(name)


def own_kind(name: str) -> str:
    """The name as a kind of its own, without a remark in brackets; empty where it cannot be one."""
    kind = "_".join(_words(re.sub(r" \([^()]*\)$", "", name)))
    return kind if 1 < len(kind) <= MAX_KIND_CHARACTERS else ""


def _words(name: str) -> list[str]:
    return _LETTERS.findall(name.casefold().replace("'", "").replace("’", "").replace("_", " "))
