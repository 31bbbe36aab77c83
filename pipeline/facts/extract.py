"""A record → facts: what it says the product is, the attributes that it names itself, and those that its prose states.

A wrong fact trains a lie and half a value is no value, so every choice here prefers no fact to a doubtful one. What a fact
is good for (whether it is taught, say) is decided elsewhere.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.facts.authors import author_span
from pipeline.facts.extraction import has_shape
from pipeline.facts.labels import is_value, kind_of, labelled, own_kind
from pipeline.facts.patterns import CAPITAL, DESCRIPTION, KIND_TABLE, KINDS, Kind
from pipeline.facts.sentences import NOWHERE, Span, description_span, quote, sentence_ends

PROSE_READ = 20_000
"""Characters of a record in which prose is searched; a longer one tells its attributes before."""
CLAUSE = 200
"""Characters before a value in which its owner is looked for."""

Attributes = Sequence[tuple[str, str]]
"""Names and values that a catalogue gives beside its text."""


@dataclass(frozen=True)
class Fact:
    """One thing a record says; `value` and `quote` are verbatim in the record, and `value` is in `quote`."""

    uid: str
    title: str
    kind: str
    value: str
    quote: str


def extract_facts(uid: str, title: str, content: str, attributes: Attributes = ()) -> list[Fact]:
    """What the cleaned record says about the product: the description, attributes in the order of KINDS, then its own.

    Args:
        attributes: what the catalogue names in columns or fields of their own; they go before what the text says.
    """
    named = named_facts(uid, title, content, attributes)
    kinds = {fact.kind for fact in named}
    prose = [fact for fact in _in_prose(uid, title, content) if fact.kind not in kinds]
    place = {kind: number for number, kind in enumerate(KINDS)}
    return described(uid, title, content) + sorted([*named, *prose], key=lambda f: place.get(f.kind, len(place)))


def described(uid: str, title: str, content: str) -> list[Fact]:
    """The description as a fact, if any sentence says what the product is, beyond the title."""
    lead = content[slice(*description_span(content, title))]
    return [Fact(uid, title, DESCRIPTION, lead, lead)] if lead and not in_title(lead, title) else []


# --- Attributes that have a name ---


def named_facts(uid: str, title: str, content: str, attributes: Attributes = ()) -> list[Fact]:
    """A fact for each name: the whole value, or none where two values stand under one name."""
    given = [(name, value, f"{name}: {value}") for name, value in attributes if is_value(value)]
    known = {own_kind(name) for name, _ in attributes}  # the content tells them again
    given += [
        (one.name, content[one.start : one.end], content[one.begin : one.end])
        for one in labelled(content)
        if own_kind(one.name) not in known
    ]
    found: dict[str, Fact] = {}
    doubtful: set[str] = set()
    for name, value, said in given:
        kind = kind_of(name)
        if ";" in value and len(whole := _before_other_things(kind, value)) < len(value):
            value, said = whole, said[: said.index(value) + len(whole)]
        if kind in found and found[kind].value != value:
            if own_kind(name) in (kind, ""):
                doubtful.add(kind)
                continue
            kind = own_kind(name)  # "Size: twin. Item dimensions: …" are two things
        if kind and found.setdefault(kind, Fact(uid, title, kind, value, said)).value != value:
            doubtful.add(kind)
    return [fact for kind, fact in found.items() if kind not in doubtful]


def _before_other_things(kind: str, value: str) -> str:
    """ "2 lb" of "2 lb; 8 oz cup in the box", where a list's items were two things; "250 g; 500 g" is one list."""
    parts = value.split("; ")
    shaped = [has_shape(kind, part) for part in parts]
    return parts[0] if shaped[0] and not all(shaped) else value


# --- Attributes in prose ---


def _in_prose(uid: str, title: str, content: str) -> Iterator[Fact]:
    # "Praise for …" is mostly about the author's other books.
    praise = re.search(r"\b(?:Praise|Acclaim|acclaim) for\b", content)
    own = content[: min(praise.start() if praise else PROSE_READ, PROSE_READ)]
    ends = list(sentence_ends(own))
    names = [(one.start, one.end) for one in labelled(own)]
    before_colons = "\n".join(_BEFORE_COLON.findall(own))
    found: dict[str, Span] = {}
    for kind in KIND_TABLE:
        start, end = _find(kind, own, title, ends, before_colons) if kind.marked.search(own) else NOWHERE
        if kind.name == "author" and not end:
            start, end = author_span(content, title)
        # What stands under a name is that name's, whole.
        if end and not any(a < end and start < b for a, b in names) and is_findable(kind, content[start:end]):
            found[kind.name] = (start, end)
    if "dimensions" in found:
        found.pop("size", None)  # one question, and this is the fuller answer
    for name, (start, end) in found.items():
        yield Fact(uid, title, name, content[start:end], quote(content, start, end))


_BEFORE_COLON = re.compile(r"(?<![\w-])((?:[\w-]++ ){0,3}[\w-]++) ?:")  # linear: only whole words, none given back


def _find(kind: Kind, content: str, title: str, ends: Sequence[int], before_colons: str) -> Span:
    """The value's place: the first wording that matches decides, if it gives a single value, and the whole of it.

    Years must agree over all wordings: a new edition's is not the book's.
    """
    span = NOWHERE
    for number, (pattern, after) in enumerate(zip(kind.patterns, kind.after, strict=True)):
        if not (after.search(content) if after else number or kind.named.search(before_colons)):
            continue
        matches = [
            m
            for m in pattern.finditer(content)
            if not _is_anothers(kind, content, m.start("value"), title, ends) and _is_stated(content, m, ends)
        ]
        if not matches:
            continue
        values = {_plain(match["value"]) for match in matches}
        if kind.exclusive and number > 0:
            values |= _mentions(kind, content)
        if len(values) != 1 or any(_goes_on(kind, content, match.end("value")) for match in matches):
            return NOWHERE
        if kind.name != "year":
            return matches[0].span("value")
        if span != NOWHERE and content[slice(*span)] not in values:
            return NOWHERE
        span = matches[0].span("value")
    return span


def _mentions(kind: Kind, content: str) -> set[str]:
    """Every value of the kind in the record, without conversions: in "12 inches (30 cm)" the second is the first."""
    found = kind.mention.finditer(content)
    return {_plain(match.group()) for match in found if content[: match.start()].rstrip()[-1:] not in ("(", "/")}


_DENIED = re.compile(
    r"(?:\b(?:not|never|no longer|nor|neither|without|unlike|instead of|rather than)|n['’]t)\b[^,;:]*$", re.IGNORECASE
)


def _is_stated(content: str, match: re.Match[str], ends: Sequence[int]) -> bool:
    """Whether the sentence states it: "Not made of leather" and "Made of oak? No." do not."""
    at = bisect_right(ends, match.start("value"))
    begin, end = ends[at - 1] if at else 0, ends[at] if at < len(ends) else len(content)
    asks = content[end - 1 : end] == "?"
    return not asks and not _DENIED.search(content, max(begin, match.start("value") - CLAUSE), match.start("value"))


_LISTED = {"material", "colour", "language", "country", "author", "format"}
"""Kinds whose values are words, any of which may follow in a list."""
_JOINT = re.compile(r"(?:,? (?:and|or|&|plus)|,| ?/| ?\+| ?&) ?")
# What follows "and" or a comma where the list is over.
_NO_ITEM = re.compile(
    r"(?:is|are|was|were|has|have|had|will|can|does|comes?|stands?|fits?|holds?|measures?|weighs?|features?|includes?|makes?|"
    r"keeps?|needs?|feels?|looks?|goes|runs?|works?|gets?|lets?|takes?|it|its|it['’]s|she|he|so|then|with|without|for|in|on|"
    r"at|by|from|to|of|as|not|no|that|which|who|each|all|both|only|too|just|also|twice|once|built|cut|hung|sewn|spun|told|set|"
    r"\w+ed|\w+ly|\w+ing|[Ii]llustrat\w+|[Tt]ranslat\w+|[Ee]dit\w+|[Pp]ublished|[Nn]arrated|[Ww]ith)\b"
)
_ITEM = re.compile(r"(?:[a-z][\w-]* ){0,2}[a-z][\w-]*(?:,? (?:and|or) |, |[.;)]|$)")
_AND_MORE = re.compile(r" \w+(?: \w+)?(?:,| and| &) (?:\d|one|two|three|four|five|six)\b")


def _goes_on(kind: Kind, content: str, end: int) -> bool:
    """Whether the value is but the beginning of what the record says, as "oak" is of "oak and paulownia"."""
    following = content[end : end + 80]
    if kind.name in _LISTED and re.match(r"-[^\W\d]", following):
        return True  # "brass-plated steel"
    if kind.name == "material" and re.match(r" (?:on|over) (?!the\b|an?\b|all\b|both\b)[A-Za-z]", following):
        return True  # "oak veneer on pine"
    following = re.sub(r"^ ?\([^()]{1,20}\)", "", following)  # "cotton (70%) and wool"
    if kind.name == "pieces":
        return _AND_MORE.match(following) is not None
    joint = _JOINT.match(following)
    if not joint:
        return False
    rest, is_list = following[joint.end() :], joint.group().strip() == ","
    if kind.name == "publisher":
        return not is_list and not _NO_ITEM.match(rest)
    if kind.mention.match(rest):
        return "/" not in joint.group() or kind.name in _LISTED
    if kind.name not in _LISTED:
        return rest[:1].isdigit() and " or" in joint.group()
    if _NO_ITEM.match(rest):
        return False
    if is_list:
        return kind.name in ("material", "colour", "language") and _ITEM.match(rest) is not None
    return kind.name != "author" or re.match(CAPITAL, rest) is not None


_ACCESSORY = (
    r"(?:gift box|box|bag|pouch|cable|cord|lead|lid|strap|stand|charger|adapter|adaptor|battery|batteries|package|packaging|"
    r"parcel|carton|legs?|handle|remote|cup|hook|chain|manual|booklet|tray|wrapper|bracket|dock|sleeve|hose|plug)"
)
_SUBJECT = re.compile(rf"(?:(?:.* )?[Tt]he|Its|Each|.*\bits) (?:[\w-]+ ){{0,2}}?(?P<noun>{_ACCESSORY})\b")
_BESIDE = re.compile(
    rf"\b(?:in|with|and|plus|includes?|including|has) (?:an?|its|the|one|two|\d+) (?:[\w-]+ ){{0,3}}?"
    rf"(?P<noun>{_ACCESSORY}|case|frame|base|cover)s?\b[^,;:]*$"
)
_COMPARED = re.compile(
    r"\b(?:than|twice|size of (?:the|an?|your)|as \w+ as|compared (?:to|with)|looks? like)\b[^,;:]*$"
)
_OWNED = {"size", "dimensions", "weight", "capacity", "colour", "material", "running_time", "country", "power"}


def _is_anothers(kind: Kind, content: str, start: int, title: str, ends: Sequence[int]) -> bool:
    """Whether the value is an accessory's or the parcel's: "It comes in a gift box made of cardboard"."""
    if kind.name not in _OWNED:
        return False
    begin = max((end for end in ends if end <= start), default=0)
    clause = re.split(r"; |, and | but ", content[max(begin, start - CLAUSE) : start])[-1].lstrip()
    if _COMPARED.search(clause):
        return True
    found = _SUBJECT.match(clause) or _BESIDE.search(clause)
    return found is not None and found["noun"].casefold().removesuffix("s") not in title.casefold()


def is_findable(kind: Kind, value: str) -> bool:
    """Whether the value would be found again, whole, in an answer that states it."""
    answers = (value, f"It is {value}.", f"The answer is {value}.")
    matches = (kind.answer.search(answer) for answer in answers)
    return all(match and match["value"].rstrip(".") == value.rstrip(".") for match in matches)


def in_title(value: str, title: str) -> bool:
    """The prompt carries the title: a value in it, "12-inch" for "12 inches" too, would be in the question.

    "No" and "1" are in many a title without being the answer.
    """
    if len(value) < 2 or value.casefold() in ("yes", "no"):
        return False
    return (len(value) > 4 and value.casefold() in title.casefold()) or says(value, title)


def says(value: str, text: str) -> bool:
    """Whether a text has the value's words, in whatever number: "a 12-inch kite" says "12 inches"."""
    return f" {_plain(value)} " in f" {_plain(text)} " if _plain(value) else False


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Words in small letters, singular: enough to see that two spellings say the same."""
    return re.sub(r"(?:(?<=ch)e)?s\b", "", re.sub(r"[\W_]+", " ", text.casefold()).strip())
