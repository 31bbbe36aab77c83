"""A found part of a record → what a customer is told: short, in the record's words, with yes or no where it is certain.

Nothing is said that the record does not say: the value comes out of it verbatim, and "Yes" or "No" stands before it only where
the question names a value of the same sort and the record names the same or another one.
"""

import itertools
import re
from collections.abc import Callable, Sequence, Set

from pipeline.catalogue.finding.amounts import agrees, amounts
from pipeline.catalogue.finding.measures import wanted, without_measures
from pipeline.catalogue.finding.names import ASKING, GENERIC, PARTS, SAME, SAYS_NOTHING, spelled
from pipeline.catalogue.finding.sentences import shown
from pipeline.catalogue.finding.units import Unit
from pipeline.catalogue.finding.words import STOP, plain_words, stem
from pipeline.facts.extract import Fact

YES, NO = "Yes", "No"

_YES_NO = re.compile(
    r"(?:^|[.,;:!?]\s*|\b(?:and|but|so|hi|hello|ok)[\s,]+)(?:is|are|was|were|do|does|dose|did|can|could|will|would|should|has|have|am)"
    r"(?:n['’]?t)?\s+\w",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"(?:,\s*(?:yes|no|(?:is|are|does|do|was|has|can|will)n['’]?t (?:it|they|this|that|there))|"
    r"(?:,\s*|(?<!\bthe)(?<!\bis)(?<!\bit)(?<!\bthis)(?<!\bthat)\s)(?:right|correct))\s*\??\s*$",
    re.IGNORECASE,
)
_SO = re.compile(r"^so\b.*\?\s*$", re.IGNORECASE)
"""A statement that wants to hear yes or no: "it is green, isn't it?", "so it is green?"."""

_HAS = re.compile(r"\b(?:have|has|got|come with|comes with|includes?|included)\b", re.IGNORECASE)
_GIVES = re.compile(r"\b(?:come with|comes with|includes?|included|supplied)\b", re.IGNORECASE)
_GIVEN = re.compile(
    r"\b(?:with|includ\w+|in the (?:box|lid|pack|set)|supplied|set|pack|kit|bundle|plus|free|attached)\b", re.IGNORECASE
)
"""What a question for what is in the box says, and a sentence that tells it: others may name a thing that is not."""

_THICK = re.compile(r"\b(?:thick|thickness|deep|depth)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.?!;:,]\s+|(?<!\s)\s+(?:if|because|since|but|so|when)\s+", re.IGNORECASE)
_CHOICE = re.compile(r"\bor\b", re.IGNORECASE)
_OPEN = re.compile(r"\b(?:how|what|whats|which|who|whose|where|when|why)\b", re.IGNORECASE)
DENIED = re.compile(
    r"\b(?:no|not|never|without|none|nor|cannot|\w+n['’]t|except|excluded|sold separately|instead)\b", re.IGNORECASE
)

KINDS_OF = {
    "weight": ("weight",),
    "size": ("dimensions", "size", "running_time", "pages"),
    "colour": ("colour",),
    "material": ("material",),
    "warranty": ("warranty",),
    "country": ("country",),
    "count": ("pieces", "pages"),
    "price": ("price",),
    "power": ("power",),
    "age": ("age",),
    "capacity": ("capacity",),
    "author": ("author",),
    "publisher": ("publisher",),
    "year": ("year",),
    "pages": ("pages",),
    "language": ("language",),
}
"""The kinds of facts that can answer a question for a measure."""

KINDS_OF_AMOUNT = {
    "weight": ("weight",),
    "length": ("dimensions", "size"),
    "volume": ("capacity",),
    "charge": ("capacity",),
    "memory": ("capacity",),
    "power": ("power",),
    "voltage": ("power",),
    "current": ("power",),
    "time": ("running_time",),
    "pages": ("pages",),
    "count": ("pieces",),
    "money": ("price",),
}
"""Those that answer whether it has an amount that is guessed, "is it 18 volts?"."""

_COMPARED = {
    measure: frozenset(words.split())
    for measure, words in {
        "weight": "lighter lightest heavier heaviest weighs",
        "price": "cheaper cheapest dearer pricier costlier expensive",
        "size": "bigger biggest smaller smallest larger largest taller tallest longer longest shorter shortest wider widest",
        "power": "powerful stronger strongest",
        "year": "older oldest newer newest",
        "pages": "thicker thickest pages",
    }.items()
}
"""Words that compare two products, by the measure that they compare."""

_SORTS = {
    "colour": """black white red blue green yellow orange purple pink brown grey gray silver gold ivory cream beige navy turquoise
        lilac burgundy oatmeal mustard bronze charcoal crimson teal maroon tan khaki raspberry violet""",
    "material": """plastic polypropylene acrylic vinyl pvc silicone | metal steel aluminium aluminum iron brass copper |
        wood wooden oak pine cedar beech olive bamboo | leather | cotton | rubber latex | glass | porcelain ceramic |
        nylon polyester | wool lambswool merino | paper cardboard card | canvas linen | cork | silk | wax beeswax""",
    "country": """china chinese | japan japanese | germany german | taiwan taiwanese | italy italian | canada canadian |
        india indian | mexico mexican | korea korean | france french | spain spanish | england english britain
        british uk | usa america american us | ireland irish | poland polish | denmark danish | sweden swedish |
        portugal portuguese | turkey turkish | vietnam | thailand | indonesia""",
    "cover": "hardcover hardback | paperback softcover | spiral | board",
    "disc": "dvd | vhs | cd | mp3 | bluray | vinyl | cassette",
    "language": """english | french | german | spanish | italian | czech | dutch | polish | danish | swedish | portuguese |
        chinese | japanese | korean | russian""",
}
SORTS = {
    sort: [frozenset(group.split()) for group in (words.split("|") if "|" in words else words.split())]
    for sort, words in _SORTS.items()
}
"""Values of one sort, those together that agree: what has one of them mostly has no other."""

_ASKED_SORTS = ("colour", "material", "country", "language")
"""Those that are kinds of facts, too."""

_IN_LANGUAGE = re.compile(
    rf"\bin (?!the\b|an?\b)(?:\w+ )?(?:{'|'.join(word for group in SORTS['language'] for word in group)})\b",
    re.IGNORECASE,
)

_LANDS, _OF_ORIGIN, _OF_PLACE = (
    frozenset(words.split())
    for words in (
        """china japan germany taiwan italy canada india mexico korea france spain england britain uk usa america us ireland
        poland denmark sweden portugal turkey vietnam thailand indonesia""",
        "made make makes manufactured produced built crafted assembled imported from origin product",
        """ship ships shipped shipping deliver delivers delivered delivery send sends sent post work works worked use used
        using plug plugs sell sells sold buy available live travel""",
    )
)
"""Lands, and the words by which a question that names one asks where a thing comes from, or tells where it goes."""

_SORT_WORDS = frozenset(stem(word) for groups in SORTS.values() for group in groups for word in group)

OF_THE_WHOLE = frozenset(("warranty", "price", "country", "author", "publisher", "year", "pages", "language", "age"))
"""Kinds that a product has as a whole; of the others, a part of it or another thing may have its own."""


def _named(words: Set[str], sort: str) -> list[frozenset[str]]:
    return [group for group in SORTS[sort] if group & words]


def is_yes_no(question: str) -> bool:
    """Whether yes or no answers a question; "is it red or blue" wants a value."""
    asks = _YES_NO.search(question) or _TAG.search(question) or _SO.search(question)
    return bool(asks) and not _CHOICE.search(question) and not _OPEN.match(question.strip())


def say(question: str, unit: Unit, beside: Set[str] = frozenset()) -> str:
    """The answer that a part of a record gives, in its own words.

    Args:
        beside: what the question names beside the product (`named_beside`): "yes" is said of nothing that the part leaves out.
    """
    word = yes_or_no(question, unit.text) if is_yes_no(question) else ""
    left_out = beside - set(map(stem, plain_words(unit.text)))
    if word == YES and left_out:
        word = ""
    if not word and _HAS.search(question) and is_yes_no(question) and beside & PARTS and not left_out:
        is_given = not _GIVES.search(question) or _GIVEN.search(unit.text)
        word = YES if is_given and not DENIED.search(unit.text) else ""
    text = shown(unit, question)
    return f"{word}. {text}" if word else text


def say_facts(question: str, facts: Sequence[Fact]) -> str:
    """The answer that facts give, which the question asks for by their kinds."""
    value = ", ".join(fact.value for fact in facts)
    word = yes_or_no(question, value, value) if is_yes_no(question) else ""
    return f"{word}, {_ended(value)}" if word else as_sentence(value)


def as_sentence(value: str) -> str:
    """A value as an answer, with a capital and a full stop."""
    return value[0].upper() + _ended(value)[1:]


def _ended(value: str) -> str:
    return value if value[-1] in ".!?" else f"{value}."


def kinds_asked(question: str) -> list[tuple[str, ...]]:
    """The kinds of facts that a question asks for: a group for each measure that it names, of which one fact is enough."""
    groups = [KINDS_OF.get(measure, ()) for measure in wanted(question)]
    if not groups and (sort := _offered(question)):
        return [(sort,)]
    if groups or not is_yes_no(question):
        return groups
    words = set(plain_words(question))
    sorts = [sort for sort in _ASKED_SORTS if _names(words, sort)]
    if sorts == ["country", "language"]:  # "french" is both
        return [("language",)] if _IN_LANGUAGE.search(question) else [("country", "language")]
    if len(sorts) == 1:
        return [(sorts[0],)]
    guessed = {one.measure for one in amounts(question)} & KINDS_OF_AMOUNT.keys() if not sorts else set()
    return [KINDS_OF_AMOUNT[measure] for measure in guessed] if len(guessed) == 1 else []


def _names(words: Set[str], sort: str) -> bool:
    """Whether a question names a value of a sort, and asks about it: a land is asked about as the origin or as another place,
    "do you ship to France"."""
    is_place = sort == "country" and words & _LANDS and (words & _OF_PLACE or not words & _OF_ORIGIN)
    return not is_place and bool(_named(words, sort))


def _offered(question: str) -> str:
    """The sort of which a question names two values to choose from, as "is it metal or plastic?" does; empty where none."""
    words = set(plain_words(question)) if _CHOICE.search(question) else set()
    return next((sort for sort in _ASKED_SORTS if len(_named(words, sort)) > 1), "")


def facts_asked(question: str, facts: Sequence[Fact]) -> list[Fact]:
    """The facts that the question asks for by their kind: one for each measure that it names. Where it offers a choice, a value
    decides it that is known to be one or the other, or neither: "MDF" may be called wood."""
    found, sort = _of_kinds(kinds_asked(question), facts), _offered(question)
    flat = _THICK.search(question)  # which a length and a width do not tell
    return [
        fact
        for fact in found
        if (not sort or _named(set(plain_words(fact.value)), sort))
        and not (flat and fact.kind == "dimensions" and len(amounts(fact.value)) == 2)
    ]


def _of_kinds(groups: Sequence[tuple[str, ...]], facts: Sequence[Fact]) -> list[Fact]:
    """A fact of each group of kinds; none where one of them has none."""
    by_kind = {fact.kind: fact for fact in facts}
    found = [next((by_kind[kind] for kind in kinds if kind in by_kind), None) for kinds in groups]
    return list(dict.fromkeys(fact for fact in found if fact)) if all(found) else []


def facts_compared(question: str, of_each: Sequence[Sequence[Fact]]) -> list[list[Fact]]:
    """What each of several products states of what the question asks for, or compares ("which is lighter, A or B?").

    Args:
        of_each: the facts of each product.

    Returns:
        A list for each, empty where its record does not say; all are empty where no kind is asked for.
    """
    words = set(plain_words(question))
    groups = kinds_asked(question) or [KINDS_OF[measure] for measure, told in _COMPARED.items() if words & told]
    return [_of_kinds(groups[:1], facts) if groups else [] for facts in of_each]


def named_beside(question: str, title: str, is_word: Callable[[str], bool]) -> set[str]:
    """The stems of what a question names beside the product, the measure and the asking: "bolt" in "how long is the bolt".

    A situation told in a clause of its own does not count, nor does what is no word: it may be misspelled.
    """
    own = spelled(title)
    roots = set().union(*own.values())
    clauses = _CLAUSE.split(_TAG.sub("", question))
    asking = [clause for clause in clauses if wanted(clause)] or clauses
    # Of "wide or narrow" the answer should name one; "metal or plastic" asks for the material.
    values = frozenset() if _CHOICE.search(question) and not kinds_asked(question) else _SORT_WORDS
    found = set()
    for clause in asking:
        words = plain_words(without_measures(clause))
        joined = {word for pair in itertools.pairwise(words) if "".join(pair) in own for word in pair}
        for word in set(words) - joined - own.keys():
            root = stem(word)
            known = roots | SAYS_NOTHING | ASKING | GENERIC | values
            if root in known or word in SAYS_NOTHING or SAME.get(root, frozenset()) & roots:
                continue
            if len(word) > 2 and word.isalpha() and is_word(word):
                found.add(root)
    return found


def is_of_a_part(question: str, beside: Set[str], unit: Unit) -> bool:
    """Whether the question is about a part of the product that the unit does not name: whether there is one, or its colour or
    material (the handle's, where it is the head that is of steel)."""
    kinds = {kind for group in kinds_asked(question) for kind in group}
    asks = kinds <= {"colour", "material"} if kinds else is_yes_no(question) and _HAS.search(question)
    parts = beside & PARTS
    return bool(asks and parts and not parts & set(map(stem, plain_words(unit.text))))


def yes_or_no(question: str, text: str, value: str = "") -> str:
    """`Yes`, `No`, or nothing where the record's words do not decide it."""
    asked, told = set(plain_words(question)), set(plain_words(value or text))
    if DENIED.search(text):
        return ""
    for sort in SORTS:
        named, given = _named(asked, sort) if _names(asked, sort) else [], _named(told, sort)
        if named and given and not (sort == "language" and "made" in asked):
            return YES if all(group in given for group in named) else NO
    if value and amounts(question) and amounts(value):
        agree = agrees(question, value)
        return "" if agree is None else YES if agree else NO
    telling = {stem(w) for w in asked if w not in STOP and stem(w) not in _ASIDE}
    return YES if telling and len(telling & set(map(stem, plain_words(text)))) >= max(2, 0.8 * len(telling)) else ""


_ASIDE = frozenset(map(stem, ("included", "include", "real", "safe", "ok", "okay", "suitable", "really")))
