"""What a question wants to be told, such as a weight, and which texts can tell one: as data.

The words are the field's own. They veto: a question for a weight is not answered by a record in which nothing weighs
anything, however near another sentence may be.
"""

import re

_NUMBER = r"\d[\d,./ ]{0,24}+[\s-]{0,3}+"
"""With what stands between it and its unit; bounded, as a text of digits alone would be read from each of them to its end."""

MEASURES: dict[str, tuple[str, str]] = {
    # kind: (how a question asks for it, what a text that tells it has)
    "weight": (
        r"\bhow (?:heavy|light)\b|\bweigh(?:s|t|ts|ing)?\b",
        _NUMBER + r"(?:pounds?|lbs?|ounces?|oz|kg|kilograms?|grams?|g)\b|\bweigh",
    ),
    "size": (
        r"\bhow (?:big|large|tall|high|wide|deep|thick|small)\b|\bdimensions?\b|"
        r"(?<!\byou )(?<!\bi )(?<!\bto )\bmeasure(?:s|ments?)?\b|"
        r"\b(?:height|width|length|depth|diameter|circumference)\b|\bhow long(?:'?s| is| are| of| and)\b|"
        r"\bwhat(?:'?s| is| are)?(?: the)? sizes?\b|\bsize and\b|\b(?:inches|cm|mm)\b",
        _NUMBER + r"(?:\"|”|''|inch(?:es)?|in\b|cm\b|mm\b|centimet|millimet|feet|foot|ft\b|yards?|met(?:er|re)s?|"
        r"x\s*\d|minutes?|hours?|pages?)|\bsize\b|\bdimension|\b\d+[A-Z]?\b",
    ),
    "colour": (
        r"\bcolou?rs?\b|\bshades?\b",
        r"\bcolou?rs?\b|\b(?:black|white|red|blue|green|yellow|orange|purple|pink|brown|gr[ae]y|silver|gold|ivory|cream|"
        r"beige|navy|turquoise|lilac|burgundy|oatmeal|mustard|clear|bronze|charcoal|crimson|teal|maroon|tan|khaki)\b",
    ),
    "material": (
        r"\bmade (?:of|from|out of|with)\b|\bmaterials?\b|\bfabric\b|\bwhat(?:'?s| is| are) (?:it|this|they|the [\w ]+) made\b",
        r"\bmaterial|\bfabric|\b(?:made|built|cut|knitted|sewn|turned|forged|pressed|moulded|molded|woven) (?:of|from)|"
        r"\b(?:plastic|metal|wood(?:en)?|leather|cotton|rubber|glass|steel|alumini?um|porcelain|nylon|polyester|"
        r"\w*wool|silicone|vinyl|acrylic|oak|pine|cedar|beech|brass|ceramic|paper|canvas|latex|foam|iron|cork|silk|linen|"
        r"bamboo|copper|enamel|cardboard?|\w*cord|wax)\b",
    ),
    "warranty": (
        r"\bwarrant|\bguarantee|\b(?:am i|is it|are they|be) covered\b",
        r"\bwarrant|\bguarantee|\blifetime\b",
    ),
    "country": (
        r"\bmade in\b|\bwhere(?:'?s| is| are| was| were| does| do)\b.*\b(?:made|manufactured|produced|from)\b|\bcountry\b|"
        r"\bmanufactured\b|\b(?:american|british|canadian|chinese|danish|dutch|english|french|german|indian|irish|italian|"
        r"japanese|korean|mexican|polish|portuguese|spanish|swedish|swiss|taiwanese|turkish|usa?) made\b|"
        r"\b(?:is|are|was|were)\b(?:(?!\b(?:sent|ship|deliver|sold))[^.?!]){0,40}\bfrom (?:the )?(?:china|japan|germany|taiwan|"
        r"italy|canada|india|mexico|korea|france|spain|england|britain|uk|usa?|america|ireland|poland|denmark|sweden|portugal|turkey)\b",
        r"\bmade in\b|\bcountry\b|\borigin\b|\bmanufactured in\b|\bimported\b",
    ),
    "count": (
        r"\bhow many\b|\bquantity\b|\bnumber of\b",
        r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|pairs?|single|dozen|twenty|thirty|forty|fifty)\b",
    ),
    "price": (
        r"\bprice\b|\bcosts?\b|\bhow much (?:is|are|for)\b|\bhow much do i pay\b|\bexpensive\b",
        r"[$£€]\s*\d|\bprice\b|\bcosts?\b",
    ),
    "power": (
        r"\bwatt(?:s|age)?\b|\bvolt(?:s|age)?\b|\bamp(?:s|erage)?\b|\bhow powerful\b",
        r"\bwatt|\bvolt|\bamp(?:s|erage)?\b|\d ?[vwa]\b",
    ),
    "age": (
        r"\bwhat ages?\b|\bage range\b|\bages?\b.*\bfor\b|\bhow old (?:does|do|should|must)\b|"
        r"\b(?:for|fine|good|ok(?:ay)?|safe|suit\w*|right|appropriate)\b[^.?!]{0,30}\b\d{1,2}[ -]?"
        r"(?:years?|yrs?|months?)[ -]?olds?\b"
        r"(?! (?!and\b|or\b|to\b|in\b|at\b|who\b|boy|girl|kid|child|toddler|son|daughter|grand)\w)",
        r"\bage[sds]?\b|\byears?\b|\bmonths?\b|\btoddler|\bbirth\b|\bkids?\b|\bchild|\badult",
    ),
    "capacity": (
        r"\bcapacity\b|\bhow much (?:does|can|will|do)\b.*\bhold\b|\bhow many (?:gallons|liters|litres|cups|gb|ml|quarts)\b",
        r"\bcapacity\b|\bholds?\b|"
        + _NUMBER
        + r"(?:gallons?|lit(?:er|re)s?|quarts?|cups?|ml|gb|mb|tb|mah|oz|ounces?)\b",
    ),
    "author": (
        r"\bwho (?:wrote|writes?|is the author|is it by|is this by)\b|\bauthors?\b|\bwriter\b",
        r"\bauthor|\bby\b|\bwritten\b|\bwrote\b|\bwriter\b",
    ),
    "publisher": (
        r"^(?!.*\bwhen\b).*\bpublishe[rds]+\b(?! (?:in|date))|\bpublishes\b|\bpublisher\b",
        r"\bpublished by\b|\bpublisher\b|\bpress\b|\bbooks\b|\bimprint\b|\bmanufacturer\b|\bbrand\b",
    ),
    "maker": (
        r"\bwho (?:makes?|made|manufactures?|produces?|builds?|built)\b|\bmanufacturer\b|"
        r"\b(?:what|which) (?:brand|company|make)\b",
        r"\bbrand|\bmanufactur|\b(?:made|built|crafted|designed|produced|sewn|knitted|worked|painted)\b[^.]{0,40}\b(?:by|for) |"
        r"\b(?:by|from) (?-i:[A-Z])|\b(?:compan(?:y|ies)|inc|corp|ltd|gmbh)\b",
    ),
    "binding": (
        r"\b(?:hard|paper|soft)[ -]?(?:cover|back)s?\b|\bbinding\b|\bkindle\b|\be-?books?\b|\baudio ?books?\b",
        r"\b(?:hard|paper|soft)[ -]?(?:cover|back|bound)|\bboard book|\bspiral|\bbinding|\bbound\b|\bkindle|\be-?book|\baudio|"
        r"\bcd\b",
    ),
    "year": (
        r"\b(?:what|which) year\b|\bwhen (?:was|did|were)\b.*\b(?:out|published|released|made|recorded|written)\b|"
        r"\byear .*\bfrom\b",
        r"\b(?:1[5-9]|20)\d\d\b",
    ),
    "pages": (
        r"\bhow many pages\b|\bpage count\b|\bnumber of pages\b|\b\d+ pages\b",
        r"\d[ -]{0,2}pages?\b|\bpages?\W{1,3}\d|\bleaves\b",
    ),
    "language": (
        r"\blanguage\b|\bin (?:easy |plain |simple )?(?:english|french|german|spanish|italian|czech|dutch|polish|danish|swedish|"
        r"portuguese|chinese|japanese|korean|russian)\b",
        r"\b[Ll]anguages?\b|\bin (?:[A-Z][a-z]+(?:ish|ese|ian|an|ch|ic|in))\b|\b[A-Z][a-z]+(?:ish|ese) ",
    ),
    "sizes": (
        r"\b(?:what|which) sizes\b|\bsizes? (?:does|do) .*come in\b",
        r"\bsizes?\b|\b(?:small|medium|large|xl|s/m|x-large)\b",
    ),
}

_COMPILED = {
    kind: (re.compile(asks, re.IGNORECASE), re.compile(tells, re.IGNORECASE if kind != "language" else 0))
    for kind, (asks, tells) in MEASURES.items()
}


_LASTS = re.compile(
    r"\b(?:how (?:long|big|large)|length)\b(?:(?!\b(?:and|or|but)\b)[^.,;:?!]){0,80}?\b(?:warrant\w*|guarantee\w*|"
    r"covered|coverage|(?:battery|shelf|service) life|life ?span|shipping|delivery|lead time|trial|charging time|"
    r"return (?:window|period|policy|time)|(?:cooking|drying|assembly|waiting) time)\b",
    re.IGNORECASE,
)
"""A question for a time, in words that others use for a size: "how long is the warranty"."""


def wanted(question: str) -> list[str]:
    """The measures that a question asks for, in the order in which it names them; mostly none or one."""
    sizes = _LASTS.sub(lambda match: " " * len(match[0]), question)
    searched = {kind: sizes if kind == "size" else question for kind in _COMPILED}
    found = {kind: match.start() for kind, (asks, _) in _COMPILED.items() if (match := asks.search(searched[kind]))}
    if len(found) > 1:
        found.pop("binding", None)  # "how long is the audio book" calls it so
    return sorted(found, key=found.__getitem__)


def without_measures(question: str) -> str:
    """The question without the words that ask for a measure."""
    for asks, _ in _COMPILED.values():
        question = asks.sub(" ", question)
    return question


EXACT = frozenset(("author", "binding", "country", "language", "maker", "pages", "power", "price", "publisher", "year"))
"""Measures that a text tells in few ways: what has none of them does not tell it, however near it is."""

_RIGHTS = re.compile(r"\bcopyright\b[^.]{0,60}(?:\b(?:inc|llc|ltd)\b)?", re.IGNORECASE)
"""Of a review that stands in a record, not of the product."""


def tells(kind: str, text: str) -> bool:
    """Whether a text can tell this measure."""
    return _COMPILED[kind][1].search(_RIGHTS.sub(" ", text)) is not None
