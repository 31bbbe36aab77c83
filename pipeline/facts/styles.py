"""How customers put a question, as data: in a few words, with a guess at the answer, out of a situation.

Written apart from the phrasings, and in two halves: what trains, and what is only asked to see whether training reached
it. {it} is where the product's name stands, or "it"; {v} where a value does.
"""

from dataclasses import dataclass

from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import kind_label


@dataclass(frozen=True)
class Words:
    """How a kind of fact is asked for.

    Attributes:
        short: questions in a few words.
        guess: questions that name a value and are answered with yes or no; none for what nobody guesses.
    """

    short: tuple[str, ...]
    guess: tuple[str, ...] = ()


TRAINED: dict[str, Words] = {
    DESCRIPTION: Words(("whats {it}", "what is {it} exactly", "{it}, what is that")),
    "size": Words(("how big is {it}", "size of {it}?", "is {it} large or small"), ("is {it} {v}", "is the size of {it} {v}")),
    "dimensions": Words(
        ("what are the measurements of {it}", "{it} dimensions", "how much room does {it} take"),
        ("does {it} measure {v}", "is {it} {v}"),
    ),
    "weight": Words(
        ("how heavy is {it}", "what does {it} weigh", "{it} weight?", "is {it} heavy"),
        ("does {it} weigh {v}", "is {it} {v} in weight"),
    ),
    "capacity": Words(
        ("how much fits into {it}", "how much can {it} hold", "capacity of {it}?"),
        ("does {it} hold {v}", "is {it} good for {v}"),
    ),
    "colour": Words(
        ("what colour is {it}", "which color does {it} have", "{it} colour?"),
        ("is {it} {v}", "does {it} come in {v}", "can i get {it} in {v}"),
    ),
    "material": Words(
        ("what is {it} made of", "what material is {it}", "whats {it} made out of"),
        ("is {it} {v}", "is {it} made of {v}", "is {it} really {v}"),
    ),
    "pieces": Words(
        ("how many are in {it}", "how many pieces has {it}", "how many do i get with {it}"), ("do i get {v} with {it}",)
    ),
    "pages": Words(("how many pages has {it}", "{it} pages?", "how thick is {it}"), ("does {it} have {v}",)),
    "year": Words(
        ("when did {it} come out", "what year is {it}", "how old is {it}"), ("did {it} come out in {v}", "is {it} from {v}")
    ),
    "author": Words(("who wrote {it}", "who is {it} by", "{it} author"), ("did {v} write {it}", "is {it} by {v}")),
    "publisher": Words(("who published {it}", "which publisher is {it} from"), ("is {it} published by {v}",)),
    "age": Words(
        ("how old should you be for {it}", "what age is {it} for", "which ages does {it} suit"), ("is {it} for {v}",)
    ),
    "language": Words(
        ("what language is {it} in", "which language does {it} come in"), ("is {it} in {v}", "can i get {it} in {v}")
    ),
    "format": Words(("what format is {it}", "what does {it} come as"), ("does {it} come as {v}", "is {it} on {v}")),
    "running_time": Words(
        ("how long is {it}", "how long does {it} go on", "{it} length?"), ("is {it} {v} long", "does {it} last {v}")
    ),
    "price": Words(
        ("how much is {it}", "what does {it} cost", "{it} price"), ("does {it} cost {v}", "is {it} {v}")
    ),
    "country": Words(
        ("where is {it} made", "where does {it} come from", "which country makes {it}"),
        ("is {it} made in {v}", "does {it} come from {v}"),
    ),
    "power": Words(
        ("how many watts or volts has {it}", "how many watts does {it} need", "what power does {it} have"),
        ("is {it} {v}", "does {it} run on {v}"),
    ),
    "warranty": Words(
        ("how long is the warranty on {it}", "is there a guarantee on {it}", "{it} warranty?", "what if {it} breaks"),
        ("does {it} have a {v}",),
    ),
}  # fmt: skip

GRADED: dict[str, Words] = {
    DESCRIPTION: Words(("what sort of thing is {it}",)),
    "size": Words(("what size do i get with {it}",), ("would {it} be {v}",)),
    "dimensions": Words(("what would a tape measure say for {it}",), ("are the measurements of {it} {v}",)),
    "weight": Words(("how much do i carry with {it}",), ("would {it} come to {v}",)),
    "capacity": Words(("what amount goes into {it}",), ("would {v} fit into {it}",)),
    "colour": Words(("what shade is {it}",), ("would {it} be {v}",)),
    "material": Words(("what did they use to make {it}",), ("did they use {v} for {it}",)),
    "pieces": Words(("count of things in {it}",), ("are there {v} in {it}",)),
    "pages": Words(("number of pages in {it}",), ("would {it} run to {v}",)),
    "year": Words(("which year does {it} date from",), ("was {it} out in {v}",)),
    "author": Words(("whose book is {it}",), ("was {it} written by {v}",)),
    "publisher": Words(("which house brought out {it}",), ("did {v} bring out {it}",)),
    "age": Words(("what age do kids need for {it}",), ("would {it} suit {v}",)),
    "language": Words(("in what language is {it}",), ("would {it} be in {v}",)),
    "format": Words(("in which format do they sell {it}",), ("would i get {it} as {v}",)),
    "running_time": Words(("how many minutes is {it}",), ("would {it} take {v}",)),
    "price": Words(("how much do they want for {it}",), ("would {it} be {v}",)),
    "country": Words(("what country was it that made {it}",), ("was {it} made in {v}",)),
    "power": Words(("what does {it} draw from the socket",), ("does {it} use {v}",)),
    "warranty": Words(("how long am i covered with {it}",), ("is {it} sold with a {v}",)),
}

SITUATIONS = (
    "I want it for my daughter, so",
    "my old one broke.",
    "We have very little room.",
    "it would be a birthday present,",
    "I've never bought one before.",
    "my husband asks",
    "I need to be sure:",
    "we are moving house and",
    "Looking for one for the office,",
    "I'm new to this,",
    "A friend told me about it.",
    "thinking of ordering two,",
)
GRADED_SITUATIONS = (
    "our neighbour has one and",
    "It's for a trip next month.",
    "I have to send it back otherwise,",
    "my son keeps asking me,",
)

NOT_SAID_OF_ANY: tuple[tuple[str, str], ...] = (
    # A question, and the words that a record holds where it may answer it.
    ("can i return {it} if i don't like it", r"return|refund|exchange|money back"),
    ("how long does delivery of {it} take", r"deliver|ship|dispatch|post"),
    ("does {it} come gift wrapped", r"gift|wrap|ribbon|box|present"),
    ("is there a discount on {it}", r"discount|price|\$|sale|offer|cost"),
    ("when will {it} be back in stock", r"stock|availab|sold out"),
)
NOT_SAID: tuple[tuple[str, str], ...] = (
    ("does {it} smell when it is new", r"smell|scent|odou?r|fragran|perfum"),
    ("is {it} loud", r"loud|quiet|silent|noise|noisy|sound|hush"),
    ("can i put {it} in the dishwasher", r"dish|wash|clean|rinse"),
    ("do i need batteries for {it}", r"batter|charge|power|volt|solar|wind-?up|electric|plug|usb"),
    ("is {it} waterproof", r"water|rain|wet|splash|dry|leak|moist|weather"),
    ("does {it} come with a bag", r"\bbag|case|pouch|sack|sleeve|box"),
    ("is {it} easy to put together", r"assembl|put together|built|mount|install|tool|snap|screw"),
    ("is {it} safe for my dog", r"dog|pet|cat\b|animal|puppy"),
    ("can you buy spare parts for {it}", r"spare|replac|refill|parts?\b"),
    ("does {it} work with an app", r"\bapp\b|phone|bluetooth|wi-?fi|smart|digital"),
    ("is there a bigger one of {it}", r"size|large|small|big|xl|inch|cm|mm"),
    ("how long will {it} last", r"last|year|month|durab|warrant|guarantee|life"),
    ("is {it} vegan", r"vegan|leather|wool|milk|meat|egg|animal|silk|feather|plant"),
    ("does {it} scratch easily", r"scratch|dent|tough|hard|durab|coat"),
)
"""What no kind of fact stands for, and customers ask all the same: about any product, and about a thing."""

GRADED_NOT_SAID_OF_ANY: tuple[tuple[str, str], ...] = (
    ("do they ship {it} to france", r"ship|deliver|france|french|europe"),
    ("can i get {it} with my name on it", r"name|engrav|personal|monogram|letter"),
)
GRADED_NOT_SAID: tuple[tuple[str, str], ...] = (
    ("will {it} go rusty outside", r"rust|outdoor|outside|weather|steel|stainless|coat|galvan"),
    ("is there a video of how {it} works", r"video|film|dvd|watch|instruction|manual|guide"),
    ("does {it} need ironing", r"iron|crease|wrinkle|wash|press"),
    ("is {it} allergy tested", r"allerg|skin|hypo|itch|test"),
)

OTHER_TRAINED = Words(("{it} {kind}?", "whats the {kind} of {it}", "{kind} of {it}?"), ("is the {kind} of {it} {v}",))
OTHER_GRADED = Words(("anything on the {kind} of {it}",), ("would the {kind} of {it} be {v}",))


def trained_words(kind: str) -> Words:
    """How questions that train ask for a fact of this kind; one that only a record names, by its name."""
    return TRAINED.get(kind) or _of_another(kind, OTHER_TRAINED)


def graded_words(kind: str) -> Words:
    """The same for questions that training never shows."""
    return GRADED.get(kind) or _of_another(kind, OTHER_GRADED)


def _of_another(kind: str, words: Words) -> Words:
    label = kind_label(kind)
    return Words(*(tuple(t.replace("{kind}", label) for t in some) for some in (words.short, words.guess)))
