"""The project's own kinds of facts: the shape of each one's values, how prose gives it, how an answer says it.

Knows no prompts and no questions, no model and no API, and reads no file. What a record names itself needs no shape
(`labels`). A wrong fact trains a lie, so every choice here prefers no fact to a doubtful one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

DESCRIPTION = "description"


# --- Building blocks. Every repeat is bounded or starts at a word boundary, so hostile text costs linear time. ---


def _any(words: str) -> str:
    """Alternatives from a |-separated list, longest first, so that "cast iron" wins over "cast"."""
    return "(?:" + "|".join(sorted((word.strip() for word in words.split("|")), key=len, reverse=True)) + ")"


DIGITS = r"(?:\d{1,3}(?:,\d{3}){1,2}|\d{1,7})(?:\.\d{1,4}|,\d{1,2}(?![\d,])|[ -]\d{1,2}/\d{1,2}|/\d{1,2})?[½¼¾]?"
UNITS_WORD = "one|two|three|four|five|six|seven|eight|nine"
TEENS_WORD = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
TENS_WORD = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
NUMBER_WORD = f"(?:(?:{TENS_WORD})(?:-(?:{UNITS_WORD}))?|{TEENS_WORD}|{UNITS_WORD})"
# Not the end of a range or a sum ("3-12", "10 to 12", "9 x 6", "1.5"), which would give half a value.
ALONE = r"(?<![\w.,/×$£€-])(?<!\d–)(?<!\d to )(?<!\d x )(?<!\d × )(?<!\d by )(?<![\"”] x )(?<!['’′])(?<!['’′] )"
NUMBER = f"{ALONE}(?:{DIGITS}|{NUMBER_WORD})"
WORD = r"[\w'’-]{1,20}"
START = r"(?:^|(?<=[.!?:;\"'”’)] ))"


def _measure(units: str, large: str = "", small: str = "", joint: str = r"\.? ") -> str:
    """A number with a unit, or a large and a small one together ("5 feet 2 inches", "1 hour and 20 minutes").

    Two numbers with one unit are no measure: a model that repeats itself says "12 inches 12 inches".
    """
    one = rf"{NUMBER}[ -]?(?:{units})(?!\w)"
    rest = rf"{joint}(?:{DIGITS}|{NUMBER_WORD})[ -]?(?:{small})(?!\w)"
    return rf"(?:{NUMBER}[ -]?(?:{large})(?!\w){rest}|{one})" if large else one


# Abbreviations go without their full stop, so that a sentence's end does not change the value; only "in." needs it.
LENGTH_UNIT = r"(?:inch(?:es)?|in\.|feet|foot|ft|centimet(?:er|re)s?|cm|millimet(?:er|re)s?|mm|met(?:er|re)s?|m|[\"”″])"
FEET = rf"{ALONE}\d{{1,2}} ?['’′] ?\d{{1,2}}[½¼¾]? ?(?:[\"”″]|'')"
LENGTH_SMALL = r"inch(?:es)?|in\.|in(?! (?:the|an?|all|total|each|one|your|its|this)\b)|[\"”″]|centimet(?:er|re)s?|cm"
LENGTH = rf"(?:{FEET}|{_measure(LENGTH_UNIT, 'feet|foot|ft|met(?:er|re)s?|m', LENGTH_SMALL)})(?! ?[x×] ?\d)"
SIDE = rf"{DIGITS}(?:[ -]?{LENGTH_UNIT})?(?: ?[WHDLwhdl]\b)?"
DIMENSIONS = (
    rf"{ALONE}{SIDE}(?:(?: ?[x×] ?| by ){SIDE})?(?: ?[x×] ?| by ){DIGITS}[ -]?{LENGTH_UNIT}(?!\w)(?: ?[WHDL]\b)?"
)
WEIGHT = _measure(
    "pounds?|lbs?|ounces?|oz|kilogram(?:me)?s?|kilos?|kg|gram(?:me)?s?|g",
    "pounds?|lbs?|kilogram(?:me)?s?|kilos?|kg",
    "ounces?|oz|gram(?:me)?s?|g",
)
VOLUME_UNIT = (
    r"(?:lit(?:er|re)s?|millilit(?:er|re)s?|ml|cl|l|gallons?|quarts?|pints?|cups?|fl\.? oz|fluid ounces?|mah|gb|tb)"
)
# A unit that is small beside one and large beside another, but never beside itself.
VOLUME_LARGE = "|".join(["gallons?", *(rf"{unit}s?(?!\W\S{{1,12}}[ -]{unit})" for unit in ("quart", "pint", "cup"))])
VOLUME = _measure(VOLUME_UNIT, VOLUME_LARGE, "quarts?|pints?|cups?|ounces?|oz")
CAPACITY = f"{VOLUME}|" + _measure("(?:ounces?|oz)")
TIME = _measure("hours?|hrs?|minutes?|mins?", "hours?|hrs?", "minutes?|mins?", joint="(?:, | and | )")
POWER = _measure(r"(?:kilowatts?|kw|watts?|w|volts?|v)")
AGE_UNIT = r"(?:years?|yrs?|months?)(?:[ -]olds?| of age)?"
AGE_NUMBER = rf"(?:\d{{1,2}}|{NUMBER_WORD})"
AGE_RANGE = rf"{AGE_NUMBER}(?: {AGE_UNIT})?(?: ?[-–] ?| to | and ){AGE_NUMBER}"
AGE = (
    rf"(?<![\w$£€.-])(?:(?:age[sd]? )?{AGE_NUMBER}(?:[ -]{AGE_UNIT})?"
    r"(?: ?\+| and (?:up|over|older|above|upwards?)\b|[ -]up\b)"
    rf"|(?:age[sd]? (?:of )?{AGE_RANGE}(?![ -]{AGE_UNIT})|{AGE_RANGE}(?:[ -]{AGE_UNIT})?)\b"
    rf"|from (?:birth|{AGE_NUMBER} {AGE_UNIT})\b)"
)
YEAR = r"\b(?:1[5-9]|20)\d\d\b(?!-\d)"
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
DATE = rf"(?:\d{{1,2}} )?(?:{MONTH} )?(?:\d{{1,2}}, )?"
PRICE = (
    r"[$£€] ?(?:\d{1,3}(?:,\d{3})+|\d{1,7})(?:\.\d\d)?(?![.,]?\d|\w)(?! ?(?:million|billion|[mk]\b|off\b|discount\b))"
)
SEVERAL = rf"(?!one\b){NUMBER}"
PIECES = (
    rf"(?:\b(?:pack|box|packet|bundle|case|tin) of {DIGITS}|\bset of (?:{DIGITS}|{NUMBER_WORD}))\b"
    r"(?!\.\d| (?:hundred|thousand))(?: (?:pieces|pairs|pcs)\b)?"
    rf"|{SEVERAL}(?=[ -](?:piece|pc|count)\b(?! (?:of|band|suit|orchestra)))"
    rf"|{SEVERAL}[ -](?:DVD|CD|disc|book|volume|card)[ -]set\b(?! (?:of|band|suit|orchestra))"
    rf"|{SEVERAL} (?:(?:interlocking|wooden|plastic|puzzle|jigsaw|building) )?(?:pieces|pcs)\b"
    r"(?! (?:of|by|for|that|from))"
)
# "500-page" says how many but does not answer "How many pages?": the number alone does.
PAGES = rf"{ALONE}(?:\d{{2,4}}|\d,\d{{3}})(?:(?=-pages?\b)| ?(?:pages?|pp)\b)"
WARRANTY_TERM = rf"(?:{NUMBER}[ -](?:year|month|day)s?|\b(?:limited )?lifetime)\b"
WARRANTY_WORD = r"(?:(?: (?:limited|full|money-back|manufacturer['’]s|parts)){0,2} (?:warranty|guarantee))"
WARRANTY = f"{WARRANTY_TERM}{WARRANTY_WORD}?"

SHADE = _any(
    "dark|light|bright|deep|pale|soft|navy|forest|sky|royal|baby|hot|neon|olive|midnight|dusty|mint|pastel|"
    "bottle|moss|slate|ice|lemon|mustard|brick|cherry|rose|duck-egg|racing|off|matt|matte|metallic|burnt|sea|"
    "sage|raspberry|sunflower|poppy|cornflower|buttercup|plum|pea|apple|blood|butter|steel|coral|ruby|wine"
)
HUE = _any(
    "black|white|red|blue|green|yellow|orange|purple|pink|brown|grey|gray|navy|turquoise|teal|beige|ivory|cream|"
    "maroon|burgundy|crimson|scarlet|violet|lavender|lilac|indigo|magenta|khaki|olive|charcoal|gold|silver|tan|"
    "coral|aqua|mustard|terracotta|ochre|oatmeal|amber|bronze|copper"
)
ONE_COLOUR = rf"\b(?:{SHADE}[ -]){{0,2}}{HUE}\b"
COLOUR = rf"{ONE_COLOUR}(?:(?:, | and |, and |/| & ){ONE_COLOUR}){{0,3}}"
# Stories are full of colours; only the colour of a thing that one buys is a fact.
GOODS = _any(
    "bag|backpack|mug|cup|bowl|plate|pot|pan|kettle|teapot|jug|vase|lamp|lantern|candle|cushion|pillow|blanket|"
    "throw|rug|towel|shirt|t-shirt|dress|skirt|tutu|leotard|jacket|coat|hat|cap|scarf|gloves|mittens|socks|shoes|"
    "boots|slippers|apron|umbrella|wallet|belt|bracelet|necklace|pen|pencil|notebook|journal|folder|case|box|"
    "basket|chair|stool|table|desk|shelf|clock|watch|bicycle|scooter|kite|yo-yo|ball|costume|cape|wig|raincoat|"
    "jersey|jumper|sweater|cardigan|tray|bottle|flask|lunchbox|tent|hammock|sleeping bag|leash|collar|headphones|"
    "speaker|radio|casserole|skillet|oven|toaster|blender|ribbon|yarn|ink|paint"
)

TREATED = _any(
    "solid|italian|pure|organic|recycled|stainless|cast|sterling|brushed|polished|food-grade|heavy|heavyweight|thick|"
    "soft|waxed|full-grain|genuine|real|tempered|toughened|borosilicate|powder-coated|anodised|anodized|bpa-free|"
    "merino|egyptian|carbon|faux|natural|oiled|lacquered|glazed|vitreous|galvanised|galvanized|hard-anodised|"
    "hard-anodized|combed|ripstop|cold-rolled|hand-blown|high-carbon|unbleached|untreated|quilted|woven|"
    "double-walled|lead-free|acid-free|reclaimed|spun|boiled|washed|vegetable-tanned|seam-taped|western|red|"
    "white|black|rubberwood|fsc-certified|water-resistant|waterproof|chrome"
)
STUFF = _any(
    "wood|hardwood|plywood|beech|beechwood|oak|pine|walnut|maple|birch|ash|cherry|teak|acacia|cedar|mahogany|"
    "rosewood|spruce|lime wood|olive wood|bamboo|cotton|wool|linen|silk|polyester|nylon|canvas|leather|suede|"
    "felt|denim|steel|metal|iron|aluminium|aluminum|brass|copper|tin|enamel|glass|fibreglass|fiberglass|ceramic|"
    "porcelain|stoneware|earthenware|bone china|clay|terracotta|plastic|silicone|rubber|latex|foam|cork|paper|"
    "cardboard|card|wax|beeswax|soy wax|marble|granite|slate|stone|soapstone|vinyl|mesh|tulle|satin|velvet|"
    "fleece|flannel|jute|hemp|rattan|wicker|willow|sisal|bronze|pewter|silver|titanium|zinc|acrylic|"
    "polycarbonate|polypropylene|resin|neoprene|microfibre|microfiber|cashmere|merino|alpaca|mohair|spandex|"
    "elastane|lycra|rayon|viscose|chrome|vanadium|needlecord|plush|fibre|fiber|twill|corduroy|jersey|lambswool|"
    "gold|abs|rubberwood|modal|lyocell|tencel|mango wood|paulownia|larch|elm|hickory|ebony|sheesham|mdf|chipboard|veneer|"
    "melamine|pvc|eva|tpu|polyurethane|polyethylene|feathers|horn|bone|crystal|concrete|plaster|raffia|seagrass|abaca|ramie|"
    "chenille|tweed|muslin|gauze|organza|chiffon|lace|burlap|hessian|polyamide|polyimide|kevlar|graphite"
)
ONE_MATERIAL = rf"(?:\b\d{{1,3}}% |\b18/\d{{1,2}} )?\b(?:(?:{TREATED}|{STUFF})[ -]){{0,3}}{STUFF}\b"
# Of shares in per cent, any words: "80% cotton, 20% modal".
SHARE = r"\b\d{1,3} ?% (?!(?:off|discount|of|more|less)\b)[a-z][a-z-]{2,20}(?: [a-z][a-z-]{2,20})?"
SHARES = rf"{SHARE}(?:(?:, and |, | and | & | ?/ ?){SHARE}){{1,4}}"
MATERIAL = rf"(?:{SHARES}|{ONE_MATERIAL}(?:(?:, and |, | and | & |/){ONE_MATERIAL}){{0,3}})"

LANGUAGE_NAME = _any(
    "English|French|German|Spanish|Italian|Portuguese|Dutch|Latin|Greek|Hebrew|Arabic|Russian|Polish|Czech|"
    "Hungarian|Swedish|Norwegian|Danish|Finnish|Icelandic|Welsh|Irish|Gaelic|Scots|Japanese|Chinese|Mandarin|"
    "Cantonese|Korean|Hindi|Urdu|Bengali|Tamil|Turkish|Persian|Farsi|Yiddish|Vietnamese|Thai|Catalan|Basque|"
    "Esperanto|Ukrainian|Romanian|Swahili|Sanskrit"
)
LANGUAGE = rf"\b{LANGUAGE_NAME}\b(?:(?:, and |, | and |/){LANGUAGE_NAME}\b){{0,3}}"
FORMAT = (
    r"\b"
    + _any(
        "mass market paperback|paperback|hardcover|hardback|softcover|clothbound|board book|picture book|"
        "spiral[ -]bound|ring[ -]bound|loose[ -]leaf|vhs tape|vhs cassette|vhs|dvd|blu-ray|audio cd|mp3 cd|cd-rom|cd|"
        "audio ?book|audio cassette|cassette tape|cassette|vinyl lp|lp|e-?book|pop-up book|sheet music|flash ?cards|"
        "pdf"
    )
    + r"s?\b(?!-)"
)
COUNTRY = (
    r"\b"
    + _any(
        "England|Scotland|Wales|Ireland|Northern Ireland|Great Britain|Britain|United Kingdom|UK|U\\.K\\.|France|"
        "Germany|Italy|Spain|Portugal|Netherlands|Belgium|Switzerland|Austria|Denmark|Sweden|Norway|Finland|Iceland|"
        "Estonia|Latvia|Lithuania|Poland|Czech Republic|Slovakia|Slovenia|Croatia|Serbia|Hungary|Romania|Bulgaria|"
        "Greece|Turkey|Ukraine|Russia|United States of America|United States|USA|U\\.S\\.A\\.|U\\.S\\.|US|America|"
        "Canada|Mexico|Brazil|Argentina|Chile|Peru|Colombia|Ecuador|Guatemala|China|Hong Kong|Taiwan|Japan|"
        "South Korea|Korea|India|Pakistan|Bangladesh|Sri Lanka|Nepal|Thailand|Vietnam|Cambodia|Indonesia|Malaysia|"
        "Philippines|Singapore|Australia|New Zealand|South Africa|Kenya|Ghana|Nigeria|Ethiopia|Egypt|Morocco|Tunisia|"
        "Israel|Malta|Cyprus|Luxembourg"
    )
    + r"(?!\w)"
)

# Capitalised words that begin sentences or credits, never names.
NO_NAME = _any(
    "The|It|Its|This|That|These|A|An|And|In|On|At|Of|By|With|From|For|Author|Authors|Written|Published|Publisher|"
    "Illustrated|Edited|Translated|Narrated|Read|Foreword|Introduction|Answer|Yes|No|He|She|They|His|Her|I|We|"
    "You|My|Our|First|Pages|Hardcover|Paperback|Ages|Language|Format|Copyright|Winner|Text|Illustrator|Is|Was|"
    "Born|Since|When|As|If|There|What|Who|About|Also|Sure|Book|Novel|Sorry|Unknown|None|Not|Unfortunately|However|"
    "According|Please|Thank|Thanks|Title|Context|Instruction|Response|Question"
)
CAPITAL = "[A-ZÀ-ÖØ-Þ" + "".join(chr(code) for code in range(0x100, 0x180) if chr(code).isupper()) + "]"
NAME_WORD = rf"(?!{NO_NAME}\b){CAPITAL}(?:\w|['’](?!s\b)(?=\w)){{1,20}}(?:-{CAPITAL}\w{{1,20}})?"
INITIALS = r"[A-Z]\.(?: ?[A-Z]\.){0,2}"
NAME_PART = rf"(?:{INITIALS}|{NAME_WORD}|(?:de|van|von|der|den|la|le|du|di|da|ter)\b)"
ONE_AUTHOR = rf"\b(?:(?:Dr|Sir|Dame|Prof|Rev)\.? )?(?:{INITIALS}|{NAME_WORD})(?: {NAME_PART}){{0,3}} {NAME_WORD}(?!\w)"
TITLED_AUTHOR = rf"\b(?:Dr|Mrs?|Sir|Dame)\.? {NAME_WORD}"
AUTHOR = rf"(?:{ONE_AUTHOR}|{TITLED_AUTHOR})(?:(?:, {ONE_AUTHOR}){{0,3}},? (?:and|&) {ONE_AUTHOR})?"
# A name is whole if no capital follows, and a person's if not "New York Times bestselling author".
NAME_END = r"(?! ?[A-Z&])(?! (?:#?1 )?(?:best|award|author|columnist|critic|editor|reporter|journalist))"
PUBLISHER = rf"\b{NAME_WORD}(?:(?: (?:&|and|of))? {NAME_WORD}){{0,4}}(?!\w)"

# --- How an answer may say it where a record may not: in an answer to "how many pages", a bare number is the number. ---

AT_END = r"(?=[.!]?(?:\s*\Z|\n)|[.!]\s)"
COUNT_SAID = rf"(?:\A|(?<=\bhas )|(?<=\bare )|(?<=\bis )|(?<=\bfor )|(?<=\bare: ))(?:{DIGITS}|{NUMBER_WORD}){AT_END}"
UNIT_SAID = rf"(?:{LENGTH_UNIT}|in|yards?|yds?|['’′])"
SIZE_SAID = (
    rf"(?:{ALONE}\d{{1,2}} ?['’′] ?\d{{1,2}} ?(?:[\"”″]|'')|{LENGTH}|{NUMBER}[ -]?(?:yards?|yds?)(?!\w)"
    rf"|{NUMBER} ?in\b(?! ?[x×]){AT_END}|{NUMBER} ?in\b(?= (?:long|wide|tall|high|deep|thick|across)\b))"
)
EXTENT = r"(?:long|wide|high|tall|deep|thick|in (?:length|width|height|depth)|[WHDL])\b"
SIDE_SAID = rf"{DIGITS}(?: ?[WHDL]\b)?(?:[ -]?{UNIT_SAID}(?!\w))?(?: ?{EXTENT})?"
DIMENSIONS_SAID = (
    rf"(?:{ALONE}{SIDE_SAID}(?: ?[x×*] ?| by ){SIDE_SAID}(?:(?: ?[x×*] ?| by ){SIDE_SAID})?(?!\w)"
    rf"|{ALONE}{DIGITS}[ -]?{UNIT_SAID} {EXTENT}(?:(?:, and |, | and | by ){DIGITS}[ -]?{UNIT_SAID} {EXTENT}){{1,2}})"
)
PIECES_SAID = rf"(?:{NUMBER}[ -](?:{WORD} )?(?:pieces?|pcs?|parts|items)\b|{PIECES}|{COUNT_SAID})"
PAGES_SAID = (
    rf"(?:{NUMBER}[ -]?(?:pages?|pp)\b|(?:(?<=\bcount is )|(?<=\bcount: )|(?<=\bpages: )){DIGITS}|{COUNT_SAID})"
)
AGE_SAID = (
    rf"(?:(?:{AGE}|(?<![\w$£€.,-])(?:(?:age[sd]? )?{AGE_NUMBER}(?:[ -]{AGE_UNIT})?(?: ?& up| or (?:older|over|above|up))\b"
    rf"|(?:over|under|at least|above) (?:(?:the )?age (?:of )?)?{AGE_NUMBER}(?: {AGE_UNIT})?\b"
    rf"|age[sd]? (?:of )?{AGE_NUMBER}(?: {AGE_UNIT})?\b|{AGE_NUMBER}[ -]{AGE_UNIT}\b))"
    r"(?![.,]\d| ?(?:%|hours?|minutes?|days?|weeks?|inch|feet|cm|pages?|pieces?|players?|people|pounds?|cups?)"
    rf"|[ -](?:year|month|{AGE_NUMBER}))|{COUNT_SAID})"
)
TIME_SAID = rf"(?:{ALONE}\d{{1,2}} ?h ?\d{{1,2}} ?m(?:in)?\b|{TIME}|{NUMBER}[ -]?(?:seconds?|secs?)\b)"
AMOUNT = r"(?:\d{1,3}(?:,\d{3})+|\d{1,7})(?:\.\d\d)?"
PRICE_SAID = (
    rf"(?:{PRICE}|{ALONE}{AMOUNT} ?(?:(?:US |U\.S\. )?dollars?|pounds|euros?|USD|GBP|EUR|[€£$])(?!\w)(?: and \d\d? cents)?"
    rf"|\b(?:USD|GBP|EUR) ?{AMOUNT}(?![.,]?\d|\w))"
)
FORMAT_SAID = rf"(?:{FORMAT}|\b(?:hard[ -]cover|soft[ -]cover|paper[ -]back|kindle|digital download|magazine)\b)"
COUNTRY_SAID = rf"(?:{COUNTRY}|\bU\.S\.A\b|\bU\.[SK]\b)"
WARRANTY_SAID = rf"(?:{WARRANTY}|{NUMBER}[ -]?(?:yr|week)s?\b{WARRANTY_WORD}?)"
# One capitalised word is a name only where nothing but a name can stand; "Last, First" ends its line.
ALONE_ON_LINE = r"(?:\A|(?<=\n)|(?<=\b[Bb]y ))"
AUTHOR_SAID = (
    rf"(?:{AUTHOR}|{ALONE_ON_LINE}(?:(?:de|van|von|der|la|le) ){{0,2}}{NAME_WORD},"
    rf" (?:{INITIALS}|{NAME_WORD})(?: (?:{INITIALS}|{NAME_WORD}))?{AT_END}"
    rf"|{ALONE_ON_LINE}{NAME_WORD}{AT_END})"
)


# --- The table. ---

# "Over 300 pages" and "up to 12 inches" bound the value instead of giving it.
NO_BOUND = r"(?<!\bover )(?<!\bthan )(?<!nearly )(?<!almost )(?<!up to )(?<!at least )(?<!\bunder )"
PAUSE = r"(?:[.;!?](?:\s|\Z)|,(?! (?:[a-z]+ ){0,2}by\b)|\s*(?:\Z|\n)| wrote\b)"
ARTICLE = r"(?i:an? |the |about |approximately |around |roughly |only |just )?"
NOT_DENIED = r"(?<!\b[Nn]ot )(?<!n't )(?<!n’t )"
ABOUT = r"(?i:approx(?:\.|imately)? |about |around |just |only |roughly |the )?"

# What every text has that has a value of the kind, where that is found faster than the value.
MARKS = {
    "dimensions": r"\d ?(?:[x×]|[a-z\"”″]+ (?:[x×]|by)\b|by\b)|\d[\"”″] ?[x×]|[x×]",
    "weight": r"pound|\blbs?\b|\dlbs?\b|ounce|oz\b|gram|kilo|k?g\b",
    "capacity": r"lit(?:er|re)|[mc]?l\b|gallon|quart|pint|cup|oz\b|ounce|mah|[gt]b\b",
    "pieces": r"piece|pcs?\b|count\b|set\b|\b(?:pack|box|packet|bundle|case|tin) of ",
    "pages": r"page|pp\b",
    "year": r"1[5-9]\d\d|20\d\d",
    "age": r"age|year|yr|month|\d ?\+|birth|\d ?[-–] ?\d|\d to \d|up\b",
    "running_time": r"hour|hr|min",
    "price": r"[$£€]",
    "power": r"watt|volt|kw|[wv]\b",
}


@dataclass(frozen=True)
class Kind:
    """An attribute: `value` is its shape; a record gives it after one of the `labels` and a colon, or in a context.

    In `contexts` `VALUE` stands for the value. Of `patterns` the clearest wording comes first: the label's.
    `said` is its shape in an answer, where that is wider; it finds whatever `value` finds. An answer that begins with the
    value and then ends or pauses gives that one, else the one after the first of the `leads` that leads to any ("Glass
    Bells is made of cast iron"), else the first. `exclusive`: a second, different value anywhere in the record makes one
    without a label doubtful.
    A kind is `marked` in a text that may have a value of it at all.
    """

    name: str
    value: str
    labels: str
    contexts: tuple[str, ...]
    exclusive: bool = False
    flags: re.RegexFlag = re.IGNORECASE
    said: str = ""
    leads: tuple[str, ...] = (r"(?:is|are) ",)

    # Compiled when they are first used: that takes a second for all kinds, which a process that only trains does not need.

    @cached_property
    def answer(self) -> re.Pattern[str]:
        said = f"(?:{self.said or self.value})"
        first = rf"\A(?={said}(?:{PAUSE}| (?:is|are|was) (?:the|its) (?i:{self.labels})\b))"
        led = "".join(rf"|\A[\s\S]{{0,300}}?\b{lead}{ARTICLE}" for lead in self.leads)
        return re.compile(rf"(?:{first}{led})?{NOT_DENIED}(?P<value>{said})", self.flags)

    @cached_property
    def mention(self) -> re.Pattern[str]:
        return re.compile(self.value, self.flags)

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        value = f"{ABOUT}{NO_BOUND}(?P<value>{self.value})"
        label = rf"{OWN_LABEL}(?i:{self.labels}) ?: ?VALUE"
        return tuple(re.compile(wording.replace("VALUE", value), self.flags) for wording in (label, *self.contexts))

    @cached_property
    def after(self) -> tuple[re.Pattern[str] | None, ...]:
        # A wording that begins with its value would be tried at every word: only where the words after the value come at all.
        after = [w.partition("VALUE")[2] if w.startswith("VALUE") else "" for w in ("", *self.contexts)]
        return tuple(re.compile(words, self.flags) if words else None for words in after)

    @cached_property
    def named(self) -> re.Pattern[str]:
        return re.compile(rf"\b(?:{self.labels})(?=\n|$)", re.IGNORECASE)

    @cached_property
    def marked(self) -> re.Pattern[str]:
        return re.compile(MARKS.get(self.name, ""), re.IGNORECASE)


# "Weight: 2 lb" within a sentence, but not "Package weight" or "Maximum user weight", which are another's.
OWN_LABEL = (
    r"(?:^|(?<=[.!?;:,(\[•·|–—-] )|(?<=[(\n])|(?<=\b[Tt]otal )|(?<=\b[Oo]verall )|(?<=\b[Nn]et )|(?<=\b[Ii]tem )"
    r"|(?<=\b[Pp]roduct ))"
)
READERS = r"(?:children|kids|girls|boys|readers|toddlers|babies|infants|players|people|adults|everyone|dancers)"
ITSELF = rf"(?:\b[Ii]t|\b[Tt]his (?:{WORD} )?{WORD}|\b[Tt]he (?:book|novel|album|film|edition|game|recording))"
NO_OTHER = r"(?<!\bto )(?<!\bof )(?<!\bby )(?<!\bin )"  # "a sequel to the book published in 1987"
MAKING = (
    r"\b(?:made|handmade|crafted|handcrafted|constructed|carved|turned|woven|knitted|knit|sewn|stitched|cast|moulded|"
    r"molded|forged|built|blown|cut|machined|pressed|spun|felted|hand-?(?:made|crafted|woven|carved|knitted|sewn))"
)
BOOK = r"(?:novel|story|stories|book|tale|tales|poems|guide|memoir|cookbook|collection|mystery|thriller|biography)"
PART = r"(?:surface|shell|body|barrel|box|frame|housing|handle|casing|finish|cover|case|blade|base|bag|lid|top)"
PRINTED = r"(?:[Ww]ritten|[Pp]ublished|[Pp]rinted|[Ss]ung|[Nn]arrated|[Rr]ead|[Pp]erformed|[Ss]poken)"

# One wording a line, one kind a block; the formatter would make a column of it.
# fmt: off
KIND_TABLE = (
    Kind("size", LENGTH, "size|length|height|width|diameter|overall length", (
        r"\bmeasur(?:es|ing) VALUE",
        r"(?<!\bhe is )(?<!\bhe was )VALUE[ -](?:long|wide|tall|high|deep|thick|across)\b",
        r"VALUE in (?:length|height|width|diameter|depth)\b",
        r"\b(?:stands|(?:length|height|diameter|width|size) (?:of|is)) VALUE",
        r"\b(?:an?|this|our) (?P<value>\d{1,3}(?:\.\d{1,2})?[ -]?(?:inch|cm|mm))\b(?= [a-z])",
    ), exclusive=True, said=SIZE_SAID, leads=("(?:measures|measuring|size is|size of|size:) ", "(?:is|are|of) ")),
    Kind("dimensions", DIMENSIONS, "dimensions|product dimensions|measurements|size", ("VALUE",), exclusive=True,
         said=DIMENSIONS_SAID, leads=("(?:measures|measuring|dimensions:) ", "(?:is|are|of) ")),
    Kind("weight", WEIGHT, "weight|net weight|item weight", (
        r"(?<!he )\bweigh(?:s|ing)(?: in at)? VALUE",
        r"\bweight (?:of|is) VALUE",
        r"VALUE in weight\b",
        r"\b(?:an?|each|one) VALUE (?:bag|box|tin|bar|jar|pack|packet|package|pouch|block|tub|sack|dumbbell)\b",
    ), leads=("(?:weighs|weighing|weight is|weight of|weight:) ", "(?:is|are) ")),
    Kind("capacity", CAPACITY, "capacity|volume", (
        r"\b(?:holds|holding|capacity (?:of|is)) (?:up to )?(?P<value>" + CAPACITY + ")",
        r"VALUE (?:in )?capacity\b",
        rf"\b(?:an?|this|our) (?P<value>{VOLUME})(?= [a-z])(?! of\b)",
        rf"\b(?:an?|this|our) VALUE (?:{WORD} )?(?:mug|cup|bottle|glass|tumbler|flask|jug)\b",
    ), leads=("(?:holds|hold|holding|capacity is|capacity of|capacity:) ", "(?:is|are|of) ")),
    Kind("colour", COLOUR, "colou?rs?", (
        r"\b(?:available|comes|come|finished|painted|glazed|dyed|upholstered|enamelled) in (?:an? )?VALUE(?!-)",
        rf"\b{GOODS} (?:{WORD} ){{0,3}}?in VALUE(?!-| (?:ink|wine|light|paper))",
        r"VALUE (?:in colou?r|finish|glaze|enamel|lacquer|fabric|upholstery)\b",
        rf"\b(?:it is|the {PART} is) (?:{WORD} {WORD} {WORD} and )?VALUE(?=[,.;]|$| all\b| with\b)",
        rf"{START}(?:an?|this|our|these) (?:{WORD},? ){{0,2}}?VALUE,? (?:{WORD} ){{0,2}}?{GOODS}"
        r"(?= (?:with|for|that|in|made|and|from)\b|[,.;]|$)",
    ), exclusive=True, leads=("(?:colou?rs? (?:is|are|of)|colou?r:|(?:comes?|sold|available) in) ", "(?:is|are|in) ")),
    Kind("material", MATERIAL, "materials?|fabric|composition|shell", (
        rf"{MAKING}(?: {WORD}ly)?(?: by hand)? (?:of|from|out of|in) (?:an? |the finest )?(?:single bar of )?VALUE",
        rf"(?P<value>100% {MATERIAL})",
        rf"(?P<value>{SHARES})",
        r"VALUE construction\b",
        rf"\b(?:the|its) {PART} is VALUE",
    ), leads=(rf"{MAKING} (?:up )?(?:of|from|out of|with|in) ", "(?:is|are|in|of) ")),
    Kind("pieces", PIECES, "pieces|number of pieces|contents", (r"(?<!\bin )(?<!\binto )VALUE",), exclusive=True,
         said=PIECES_SAID, leads=("(?:has|have|contains?|includes?|comes? with|comes? in|is|are) ",)),
    Kind("pages", PAGES, "pages|page count|length|print length", (
        r"(?<!first )(?<!last )(?<!next )(?<!opening )(?<!read )VALUE"
        r"(?! (?:of (?:colou?r|black|photo|illus|plates|glossy|notes|maps|art|b)|later|a day|per\b|into\b|in\b))",
    ), exclusive=True, said=PAGES_SAID, leads=("(?:has|have|contains?|is|are) ",)),
    Kind("year", YEAR, "published|publication date|publication year|year|release date|released|first published", (
        rf"{START}(?:First |Originally )?[Pp]ublished (?:by [^.;:]{{1,50}}?,? )?(?:in |on )?{DATE}VALUE",
        rf"{NO_OTHER}{ITSELF} (?:was |is )?(?:first |originally )?(?:published|released|issued|recorded) (?:in|on) {DATE}VALUE",
        rf"\b[Ww]ritten by {AUTHOR} and (?:first )?published in VALUE",
        r"\bsince (?:it was |its |being )(?:first |originally )?(?:published|released|publication|release) in VALUE",
        r"(?:©|\([Cc]\)|\b[Cc]opyright(?: ©| \([Cc]\))?) ?VALUE(?!,? (?:by )?(?:Reed|Cahners|American|Kirkus|Audio))",
        rf"{START}(?:First )?(?:[Rr]eleased|[Rr]ecorded|[Ii]ssued) (?:in|on) {DATE}VALUE",
        r"\b(?:[Tt]his|[Tt]he) VALUE (?:edition|recording|release|printing)\b",
        r"\bedition of VALUE",
        rf"(?:[Tt]his|[Tt]he|['’]s) (?:{WORD} ){{0,2}}?VALUE (?:novel|classic|thriller|mystery|memoir|film)\b",
    ), flags=re.NOFLAG, leads=(
        rf"(?:published|released|issued|recorded|printed|came out|year) (?:in|on|is)(?: the year)? {DATE}",
        rf"(?:in|is|from) {DATE}",
    )),
    Kind("author", AUTHOR, "authors?|written by", (
        rf"^By VALUE{NAME_END}",
        rf"\b[Ww]ritten(?: and illustrated)? by VALUE{NAME_END}",
        rf"{START}By VALUE(?=[;,.](?: [A-Za-z]+ by\b|$)|$)",
        r"\b[Tt]he author is VALUE",
        rf"{START}(?:An?|The|This) (?:{WORD} ){{0,6}}{BOOK} by VALUE{NAME_END}",
        rf"{START}Author VALUE(?= [a-z]|,)",
    ), flags=re.NOFLAG, said=AUTHOR_SAID, leads=(
        r"(?:[Ww]ritten (?:and illustrated )?by|[Aa]uthors?:|[Aa]uthors?\b[^.\n]{0,120}? (?:is|are|was|were)) ",
        r"(?<!illustrated )(?<!published )(?<!edited )(?<!translated )(?<!narrated )[Bb]y ",
        "(?:is|are|was) ",
    )),
    Kind("publisher", PUBLISHER, "publisher|published by", (
        rf"{START}(?:First )?[Pp]ublished (?:in {YEAR} )?by VALUE",
        rf"{ITSELF} (?:was |is )?(?:first )?published (?:in {YEAR} )?by VALUE",
    ), flags=re.NOFLAG, leads=(
        r"(?:[Pp]ublished (?:in \d{4} )?by|[Pp]ublishers?:|[Pp]ublisher\b[^.\n]{0,120}? (?:is|was)) ", "(?:is|was) ", "[Bb]y ",
    )),
    Kind("age", AGE, "ages?|age range|recommended age|reading age|suitable ages?", (
        r"\b(?=(?:ages|aged) )VALUE",
        r"\b(?:suitable|recommended|intended|designed|fits?)(?: for)?(?: ages| aged| children| readers)? VALUE",
        r"\bage range (?:is |of )?VALUE",
        rf"\bfor (?P<value>{AGE_NUMBER} {AGE_UNIT} and (?:up|over|older|above))\b",
        rf"\bfor (?:{WORD} ){{0,2}}{READERS}(?: ages| aged| of| from)? VALUE",
    ), said=AGE_SAID, leads=(
        "(?=age[sd]? )", rf"(?:for|range is|age is|age:|range:) (?:{READERS} )?", "(?:is|are) ",
    )),
    Kind("language", LANGUAGE, "text|languages?", (
        rf"\b(?:text|book|edition|album|recording|guide|[Ii]t) (?:is|are) (?:entirely |all )?(?:{PRINTED} )?in VALUE",
        rf"{START}{PRINTED} (?:entirely )?in VALUE(?=[.,;]|$| with\b| throughout\b)",
        r"\b(?:[Tt]his|[Aa]n?) (?:new |bilingual )?VALUE(?:-language| language)? (?:edition|text|version)\b",
    ), flags=re.NOFLAG, leads=(rf"(?:(?:{PRINTED}|text is|it is) in|[Ll]anguages? (?:is|are)|[Ll]anguage:) ", "(?:in|is|are) ")),
    Kind("format", FORMAT, "format|binding", (
        rf"{START}VALUE(?=[.,;]|$| with\b)",
        r"\bpages?,? (?:in )?VALUE",
        rf"{START}an? (?:{WORD} ){{0,2}}?VALUE(?=[.,;]|$| by\b| with\b| edition\b| of \d)",
        rf"\b(?:this|these) (?:(?!(?:and|or|of|with|big) ){WORD} ){{0,2}}?VALUE(?! (?:player|drive|case|rack|is included))",
        r"\b(?:supplied|issued|released|reading|comes|bound|presented|recorded) (?:in|on|as an?) VALUE(?! and)",
        r"\bit is VALUE",
    ), exclusive=True, said=FORMAT_SAID, leads=(
        "(?:format is|format:|(?:comes?|available|sold|issued) (?:in|on|as)) ", "(?:is|are|in|on) ",
    )),
    Kind("running_time", TIME, "(?:running|run|playing|total)[ -]?time|runtime|duration|length", (
        r"\b(?:running|playing|run|total)[ -]?time (?:of|is) VALUE",
        r"VALUE (?:running|playing) time\b",
        r"(?<!he )\b(?:runs|plays)(?: for)? VALUE(?! (?:on|per|between|after|before)\b)",
        rf"\b(?:VHS|DVD|CD|cassette|Blu-ray)s?, (?:{WORD}, )?VALUE",
        rf"\ban? VALUE (?:{WORD} )?(?:film|documentary|video|dvd|recording|programme|program|concert|workout|movie)\b",
    ), said=TIME_SAID, leads=("(?:(?:runs|plays|lasts)(?: for)?|(?:time|length|duration) (?:is|of)|time:) ", "(?:is|are) ")),
    Kind("price", PRICE, "price|list price|rrp|msrp|our price", (
        r"\b(?:costs|priced at|sells for|retails (?:at|for)|price (?:of|is)|yours for) VALUE",
        rf"{START}VALUE(?= for | each|[.,]|$)",
    ), exclusive=True, said=PRICE_SAID, leads=(
        "(?:costs?|price is|price of|price:|priced at|sells for|sold for|pay) ", "(?:is|at|for) ",
    )),
    Kind("country", COUNTRY, "country|country of origin|origin|made in|country of manufacture", (
        rf"(?:{START}|\b(?:is|are|and) |, )(?i:(?:hand-?)?(?:made|crafted|woven|knitted|sewn|assembled|manufactured|"
        rf"printed|produced))(?: {WORD}ly| by hand)? in (?:the )?VALUE",
        r"\b(?:[Pp]roduct of|[Ii]mported from) (?:the )?VALUE",
    ), flags=re.NOFLAG, said=COUNTRY_SAID, leads=(
        rf"(?i:{MAKING}|manufactured|produced|printed|assembled) in ",
        "(?:[Ff]rom|[Oo]f|origin is|origin:) ",
        "(?:is|in) ",
    )),
    Kind("power", POWER, "power|wattage|voltage|output|power output|motor|battery", (
        r"\b(?:uses|draws|consumes|delivers|rated at|runs (?:at|on)|powered by an?|output of|power of|puts out) VALUE",
        rf"VALUE (?:{WORD} )?(?:motor|bulb|lamp|adapter|charger|battery|heater|element|speaker|output|engine|led)\b",
    ), leads=("(?:uses|draws|consumes|power is|power of|power:|rating is|rating of|rated at|runs (?:at|on)) ", "(?:is|are) ")),
    Kind("warranty", WARRANTY, "warranty|guarantee", (
        rf"(?P<value>{WARRANTY_TERM}{WARRANTY_WORD})(?! (?:on|for) (?:the|all|parts|its|each)\b)",
        r"\b(?:guaranteed|warranted|warranty (?:of|for|lasts)|guarantee (?:of|for)) (?:for )?VALUE",
    ), said=WARRANTY_SAID, leads=(
        rf"(?={WARRANTY_TERM}{WARRANTY_WORD})",
        "(?:warranty (?:is|of|lasts|for)(?: for)?|guaranteed for|has|with) ",
        "(?:is|are) ",
    )),
)
# fmt: on

KINDS: tuple[str, ...] = tuple(kind.name for kind in KIND_TABLE)
"""The attributes' names, in the order in which facts are listed."""

SHAPED: tuple[str, ...] = (DESCRIPTION, *KINDS)
"""The kinds whose value has a shape in an answer."""

# A small model that runs on writes the prompt's next "Instruction:" line itself; the answer ends before that.
_DESCRIBED = re.compile(r"\S+(?:\s+(?!(?<=\n)(?:Context|Instruction|Response):)\S+)*")
_TABLE = {kind.name: kind for kind in KIND_TABLE}


def answer_pattern(kind: str) -> re.Pattern[str]:
    """Finds the value of a kind of `SHAPED` inside a free answer: the group "value" where the pattern has one, else the
    whole match.

    Every repeat is bounded, or cannot match what follows it, and a search over 300 characters is made at the start alone:
    the time grows with the text's length, whatever the text.
    """
    return _DESCRIBED if kind == DESCRIPTION else _TABLE[kind].answer
