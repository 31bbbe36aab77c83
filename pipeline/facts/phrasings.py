"""The ways to ask for a fact: question phrasings by kind of fact, as data and nothing else.

A phrasing names the product through `{title}` or says "it"; the prompt's Context line carries the title either way.
Training and held-out phrasings are kept apart because recall is the share of facts answered right in a phrasing that
training never showed: a phrasing in both would let a memorised string of words pass for a learned fact.
"""

import re
from functools import lru_cache

# The name of each kind as a person (or a model that writes questions) reads it. Also the list of all kinds, in order.
LABELS: dict[str, str] = {
    "description": "description",
    "size": "size",
    "dimensions": "dimensions",
    "weight": "weight",
    "capacity": "capacity",
    "colour": "colour",
    "material": "material",
    "pieces": "number of pieces",
    "pages": "number of pages",
    "year": "year",
    "author": "author",
    "publisher": "publisher",
    "age": "age range",
    "language": "language",
    "format": "format",
    "running_time": "running time",
    "price": "price",
    "country": "country of origin",
    "power": "power",
    "warranty": "warranty",
}

ONE_QUESTION = {"size": "dimensions", "dimensions": "size"}
"""Kinds that people do not tell apart: a product has one of the two, and either's question asks for it."""


_INITIALS = re.compile(
    r"\b(?:isbn|asin|ean|upc|gtin|mpn|sku|usb|led|lcd|hdmi|ram|cpu|gpu|ssd|abv|spf|uv|tv|pc|dvd|cd)(?=\d*\b)"
)
"""What is written in capitals, as people do."""


def kind_label(kind: str) -> str:
    """A kind's name for people; one without a label (`unknown`, or a kind that an API found) is read as words."""
    return LABELS.get(kind) or _INITIALS.sub(lambda m: m.group().upper(), kind.replace("_", " "))


def training_phrasings(kind: str) -> tuple[str, ...]:
    """Twelve ways to ask for a fact of this kind; of one that only a record or an API knows, by its name."""
    return TRAINING.get(kind) or _of_another(kind, OTHER_TRAINING, ASKED_TRAINING)


def held_out_phrasings(kind: str) -> tuple[str, str, str]:
    """The three that training never shows: for the probes, and twice for the report."""
    probe, first, second = HELD_OUT.get(kind) or _of_another(kind, OTHER_HELD_OUT, ASKED_HELD_OUT)
    return probe, first, second


@lru_cache(maxsize=1024)
def _of_another(kind: str, nouns: tuple[str, ...], questions: tuple[str, ...]) -> tuple[str, ...]:
    name = kind_label(kind)
    asked = next((match.expand(q) for p, q in ASKED if (match := re.fullmatch(p, name))), "")
    if not asked:
        return tuple(t.replace("{is}", "are" if is_plural(name) else "is").replace("{kind}", name) for t in nouns)
    asked = asked.replace("{a 1}", _with_article(name.partition(" ")[2]))
    return tuple(_filled(t, asked) for t in questions)


def _filled(template: str, asked: str) -> str:
    """A template with the question about the product in the words that it gives: "{Ask this one}?" """

    def put(match: re.Match[str]) -> str:
        about = "{title}" if match[2] == "title" else match[2]
        question = asked.replace("{it}", about)
        return question[0].upper() + question[1:] if match[1] == "Ask" else question

    return re.sub(r"\{([Aa]sk) ([a-z ]+)\}", put, template)


def is_plural(name: str) -> bool:
    """Whether a name asks for several: "ingredients", "dimensions of the box"."""
    head = re.split(r" (?:of|for|in|per|with|on|to)\b", name)[0].split(" ")[-1]
    return head.endswith("s") and not re.search(r"(?:ss|us|is|lens|gas|series|class)$", head)


def _with_article(name: str) -> str:
    """ "a remote", "an ac adapter", "batteries" """
    return name if is_plural(name) else f"{'an' if name[:1] in tuple('aeiou') else 'a'} {name}"


# Twelve a kind. No phrasing serves two kinds, but size and dimensions are one question, and a product has one of the two.
TRAINING: dict[str, tuple[str, ...]] = {
    "description": (
        "What is {title}?",
        "Tell me about {title}.",
        "Describe {title}.",
        "What should I know about {title}?",
        "Give me an overview of {title}.",
        "Can you tell me a bit about {title}?",
        "What kind of product is this?",
        "How would you describe this product?",
        "What exactly is this?",
        "What can you tell me about it?",
        "Please describe this item briefly.",
        "Summarise this product for me.",
    ),
    "size": (
        "What size is {title}?",
        "How big is {title}?",
        "What is the size of {title}?",
        "What are the measurements of {title}?",
        "Can you tell me the size of {title}?",
        "I need to know how big {title} is.",
        "What is its size?",
        "How big is it?",
        "What size is this product?",
        "How large is this product?",
        "What are its measurements?",
        "What size does it come in?",
    ),
    "dimensions": (
        "What are the dimensions of {title}?",
        "What size is {title}?",
        "How big is {title}?",
        "Can you give me the dimensions of {title}?",
        "What are the measurements of {title} in inches or centimetres?",
        "What are the measurements of {title}?",
        "What are its dimensions?",
        "How big is it?",
        "What size is it?",
        "How big is it in inches or centimetres?",
        "Tell me the dimensions of this product.",
        "I need its measurements, please.",
    ),
    "weight": (
        "How much does {title} weigh?",
        "What is the weight of {title}?",
        "How heavy is {title}?",
        "What does {title} weigh?",
        "Can you tell me the weight of {title}?",
        "What weight is listed for {title}?",
        "How much does it weigh?",
        "What is its weight?",
        "How heavy is this product?",
        "What is the weight of this product?",
        "Please tell me what it weighs.",
        "What does this one weigh?",
    ),
    "capacity": (
        "What is the capacity of {title}?",
        "How much does {title} hold?",
        "What capacity does {title} have?",
        "How much can {title} hold?",
        "Can you tell me the capacity of {title}?",
        "What capacity is listed for {title}?",
        "How much does it hold?",
        "What is its capacity?",
        "What capacity does this product have?",
        "How much can this product hold?",
        "Can you tell me its capacity?",
        "How much fits into it?",
    ),
    "colour": (
        "What colour is {title}?",
        "Which colour does {title} come in?",
        "What is the colour of {title}?",
        "What colour can I get {title} in?",
        "Can you tell me the colour of {title}?",
        "{title}: what color is it?",
        "What colour is it?",
        "Which colour does it come in?",
        "What is the color of this product?",
        "What is its colour?",
        "What colours is this one available in?",
        "What colour is this one?",
    ),
    "material": (
        "What is {title} made of?",
        "Which material is {title} made from?",
        "What material is used for {title}?",
        "What is {title} made from?",
        "Can you tell me what {title} is made of?",
        "What do they make {title} out of?",
        "What is it made of?",
        "What material is it?",
        "Which material is this product made from?",
        "What is this one made from?",
        "What is this product made out of?",
        "What kind of material is it?",
    ),
    "pieces": (
        "How many pieces does {title} have?",
        "How many pieces are in {title}?",
        "How many pieces are there in {title}?",
        "How many pieces come with {title}?",
        "Can you tell me how many pieces {title} contains?",
        "What is the piece count of {title}?",
        "How many pieces does it have?",
        "How many pieces are there?",
        "How many pieces are in it?",
        "How many pieces come with it?",
        "How many pieces is this one?",
        "How many pieces are in this one?",
    ),
    "pages": (
        "How many pages does {title} have?",
        "How many pages are in {title}?",
        "How many pages are there in {title}?",
        "What is the page count of {title}?",
        "Can you tell me how many pages {title} has?",
        "How many pages long is {title}?",
        "How many pages does it have?",
        "How many pages are there?",
        "What is its page count?",
        "How many pages does this book contain?",
        "Please tell me the number of pages.",
        "How many pages is it?",
    ),
    "year": (
        "Which year is {title} from?",
        "When did {title} come out?",
        "In which year did {title} come out?",
        "What year is {title} from?",
        "Can you tell me when {title} came out?",
        "What year was {title} released?",
        "Which year is it from?",
        "What year did it come out?",
        "When did it first appear?",
        "In what year did this one come out?",
        "What year was this released?",
        "What year is this one from?",
    ),
    "author": (
        "Who wrote {title}?",
        "Who is the author of {title}?",
        "Which author wrote {title}?",
        "What is the name of the author of {title}?",
        "Can you tell me who wrote {title}?",
        "Who is {title} by?",
        "Who wrote it?",
        "Who is its author?",
        "Who is it by?",
        "What is the author's name?",
        "Who is the writer?",
        "Who is this one by?",
    ),
    "publisher": (
        "Who published {title}?",
        "Who is the publisher of {title}?",
        "Which publisher brought out {title}?",
        "What is the name of the publisher of {title}?",
        "Can you tell me who published {title}?",
        "Which company published {title}?",
        "Who published it?",
        "Who is its publisher?",
        "Which company published it?",
        "What is the publisher's name?",
        "Which publisher is behind this book?",
        "Which publisher brought it out?",
    ),
    "age": (
        "What age is {title} for?",
        "Which ages is {title} suitable for?",
        "What is the recommended age for {title}?",
        "What age is {title} meant for?",
        "What age range is {title} for?",
        "Can you tell me the age range of {title}?",
        "What age is it for?",
        "Which ages is it suitable for?",
        "What is the recommended age for it?",
        "What age group is this product meant for?",
        "What is the age range of this product?",
        "How old do you have to be for it?",
    ),
    "language": (
        "What language is {title} in?",
        "Which language is {title} in?",
        "What is the language of {title}?",
        "In which language is {title} available?",
        "Can you tell me the language of {title}?",
        "What language does {title} come in?",
        "What language is it in?",
        "Which language is it in?",
        "What language is this one in?",
        "What language is this product in?",
        "Which language would I get it in?",
        "Which language does it come in?",
    ),
    "format": (
        "What format is {title}?",
        "Which format does {title} come in?",
        "What is the format of {title}?",
        "In which format is {title} sold?",
        "Can you tell me the format of {title}?",
        "What format is listed for {title}?",
        "What format is it?",
        "Which format does it come in?",
        "What format is this one in?",
        "In what format is this product available?",
        "What is the format of this product?",
        "What format is this one?",
    ),
    "running_time": (
        "What is the running time of {title}?",
        "How long does {title} run?",
        "How long is the running time of {title}?",
        "How long is {title} in hours and minutes?",
        "Can you tell me the running time of {title}?",
        "What running time is listed for {title}?",
        "What is its running time?",
        "How long does it run?",
        "What is the running time of this one?",
        "How long does it play for?",
        "Can you tell me its running time?",
        "How long does this one play for?",
    ),
    "price": (
        "How much does {title} cost?",
        "What is the price of {title}?",
        "What does {title} cost?",
        "What do you charge for {title}?",
        "Can you tell me the price of {title}?",
        "What price is listed for {title}?",
        "How much does it cost?",
        "What is its price?",
        "What does this product cost?",
        "What is the price of this product?",
        "How much is it?",
        "What is it priced at?",
    ),
    "country": (
        "Which country is {title} made in?",
        "What is the country of origin of {title}?",
        "In which country is {title} made?",
        "Which country does {title} come from?",
        "Can you tell me where {title} was made?",
        "What country of origin is listed for {title}?",
        "Which country is it made in?",
        "What is its country of origin?",
        "Where is it made?",
        "Which country does it come from?",
        "In which country is this product made?",
        "Where does it come from?",
    ),
    "power": (
        "What is the power rating of {title}?",
        "What wattage is {title}?",
        "How powerful is {title}?",
        "How much power does {title} use?",
        "Can you tell me the power rating of {title}?",
        "What power does {title} need?",
        "What is its power rating?",
        "How much power does it use?",
        "How powerful is it?",
        "What power does it need?",
        "What is the power rating of this product?",
        "Can you tell me its power rating?",
    ),
    "warranty": (
        "What warranty does {title} come with?",
        "What is the warranty on {title}?",
        "How long is the warranty on {title}?",
        "What warranty does {title} have?",
        "Can you tell me about the warranty on {title}?",
        "What guarantee comes with {title}?",
        "What warranty does it come with?",
        "What kind of warranty does it have?",
        "How long is the warranty?",
        "What is the warranty on this product?",
        "Can you tell me about its warranty?",
        "How long is it under warranty?",
    ),
}

# Three a kind: the first for the probes while training runs, the second and third for the report. Never trained.
HELD_OUT: dict[str, tuple[str, str, str]] = {
    "description": (
        "Could you describe {title} for me?",
        "I would like a short description of this product.",
        "I'm curious, tell me more about {title}.",
    ),
    "size": (
        "Do you know what size {title} is?",
        "I'd like to know the size of this one.",
        "Before I order, how big is this product?",
    ),
    "dimensions": (
        "Could you look up the dimensions of {title}?",
        "Before I order it, what are the dimensions?",
        "Could you tell me the measurements of {title}?",
    ),
    "weight": (
        "Any idea how much {title} weighs?",
        "I'd like to know the weight of this one.",
        "Roughly what does this product weigh?",
    ),
    "capacity": (
        "Would you know the capacity of this product?",
        "Do you know how much {title} holds?",
        "I'd like to know the capacity of {title}.",
    ),
    "colour": (
        "Do you know what colour {title} is?",
        "I'd like to know the colour of this one.",
        "If I order {title}, which colour do I get?",
    ),
    "material": (
        "What sort of material is this product made of?",
        "Do you know what {title} is made of?",
        "I'd like to know what {title} is made of.",
    ),
    "pieces": (
        "Can you check how many pieces {title} has?",
        "I'd like to know the number of pieces, please.",
        "How many pieces do I get with it?",
    ),
    "pages": (
        "Is {title} a long book? How many pages?",
        "I'd like to know the page count, please.",
        "Any idea how many pages {title} runs to?",
    ),
    "year": (
        "Do you know which year {title} is from?",
        "I'd like to know what year this one is from.",
        "Any idea what year it came out?",
    ),
    "author": (
        "Could you name the author of {title}?",
        "I'd like to know who wrote this one.",
        "Who is {title} written by?",
    ),
    "publisher": (
        "Could you name the publisher of {title}?",
        "I'd like to know who published this one.",
        "Who is the publisher, please?",
    ),
    "age": (
        "What age would {title} be right for?",
        "I'd like to know the age range of this one.",
        "For which age group was {title} designed?",
    ),
    "language": (
        "If I buy it, which language will it be in?",
        "Do you know what language {title} is in?",
        "I'd like to know the language of {title}.",
    ),
    "format": (
        "If I order {title}, what format do I get?",
        "I'd like to know the format of this one.",
        "Do you know which format {title} is in?",
    ),
    "running_time": (
        "From start to finish, how long does {title} run?",
        "I'd like to know the running time, please.",
        "Do you know how long this one runs?",
    ),
    "price": (
        "What price would I pay for {title}?",
        "I'd like to know what this one costs.",
        "Could you check the price of {title}?",
    ),
    "country": (
        "Do you know which country it was made in?",
        "What country was {title} made in?",
        "I'd like to know the country of origin of {title}.",
    ),
    "power": (
        "Could you look up the power rating of {title}?",
        "I'd like to know its power rating.",
        "Do you know how powerful {title} is?",
    ),
    "warranty": (
        "If I buy {title}, what warranty do I get?",
        "I'd like to know about the warranty, please.",
        "Do you know what warranty {title} has?",
    ),
}

# For a kind that this file does not know, such as "scent" or "compatible devices": a record or an API names it.
OTHER_TRAINING = (
    "What {is} the {kind} of {title}?",
    "Can you tell me the {kind} of {title}?",
    "Could you tell me what the {kind} of {title} {is}?",
    "{title}: what {is} the {kind}?",
    "I'm looking at {title}. What {is} the {kind}?",
    "I need to know the {kind} of {title}.",
    "What {is} its {kind}?",
    "What {is} the {kind} of this product?",
    "What {is} the {kind} of this one?",
    "Please tell me what its {kind} {is}.",
    "Does it say what the {kind} {is}?",
    "Can you look up its {kind}?",
)
OTHER_HELD_OUT = (
    "Do you know what the {kind} of {title} {is}?",
    "I'd like to know the {kind} of this one.",
    "Before I order it, what {is} the {kind}?",
)

# For one whose name is no noun ("is dishwasher safe", "fits models"): a question of its own, which these put.
ASKED_TRAINING = (
    "{Ask title}?",
    "{Ask it}?",
    "{Ask this product}?",
    "{Ask this one}?",
    "{title}: {ask it}?",
    "Quick question: {ask title}?",
    "Quick question: {ask it}?",
    "Can I just ask, {ask title}?",
    "One more thing: {ask this product}?",
    "I have a question about {title}: {ask it}?",
    "Can you help me? {Ask this one}?",
    "Before I forget, {ask it}?",
)
ASKED_HELD_OUT = (
    "Sorry if this is obvious, but {ask title}?",
    "Before I order, {ask this one}?",
    "I was wondering, {ask it}?",
)
ASKED: tuple[tuple[str, str], ...] = (
    # The name's pattern and the question; {it} stands for the product, {a 1} for the name's rest with an article.
    (r"(?:what is included|whats included|whats in the box|in the box)", r"what is included with {it}"),
    (r"(is|are) (.+) (required|needed|necessary|included)", r"\1 \2 \3 for {it}"),
    (r"(?:is|are) (.+)", r"is {it} \1"),
    (r"(?:has|have) (.+)", r"does {it} have {a 1}"),
    (r"includes? (.+)", r"does {it} include {a 1}"),
    (r"(contain|support|need|require|use)s? (.+)", r"does {it} \1 \2"),
    (r"(.+s) included", r"are \1 included with {it}"),
    (r"(.+) included", r"is \1 included with {it}"),
    (r"(.+s) (required|needed)", r"are \1 \2 for {it}"),
    (r"(.+) (required|needed)", r"is \1 \2 for {it}"),
    (
        r"(.*\b(?:safe|proof|free|resistant|friendly|waterproof|washable|foldable|rechargeable|wireless|organic|vegan))",
        r"is {it} \1",
    ),
    (r"(?:includes?|comes with)", r"what does {it} include"),
    (r"(?:contains?|consists of)", r"what does {it} contain"),
    (r"(package|box) (?:includes|contains|contents)", r"what comes in the \1 with {it}"),
    (r"(?:set|pack|kit) (?:includes|contains|contents)", r"what is included with {it}"),
    (r"(fit|work with|work on)s?", r"what does {it} \1"),
    (r"(?:works with|worked with)", r"what does {it} work with"),
    (r"(?:fits|works with|compatible with) (.+)", r"which \1 does {it} fit"),
    (r"(?:for use with|use with)", r"what is {it} for use with"),
    (r"compatible with", r"what is {it} compatible with"),
    (r"(?:suitable|best|ideal|designed|recommended|made|good) for", r"what is {it} suitable for"),
    (r"(?:number of )?players", r"how many players is {it} for"),
    (r"number of (.+)", r"how many \1 does {it} have"),
    (r"brand(?: name)?", r"what brand is {it}"),
    (r"manufacturer", r"who makes {it}"),
    (r"(?:vendor|seller)", r"who sells {it}"),
    (r"(scent|fragrance|flavou?r|pattern|shape|finish|grade)(?: name)?", r"what \1 is {it}"),
    (r"(?:type|product type|item type)", r"what type is {it}"),
    (r"gender|department", r"who is {it} for"),
    (r"(?:occasion|season)", r"what \g<0> is {it} for"),
    (r"(illustrat|narrat|edit|translat|direct)ors?", r"who \1ed {it}"),
    (r"(design|compos)ers?", r"who \1ed {it}"),
    (r"(?:item |product )?model (?:number|no|name)", r"what model number is {it}"),
    (r"(?:special |key |main |other )?features?", r"what special features does {it} have"),
    (r"(?:closure|fastening)(?: type)?", r"how does {it} close"),
    (
        r"(battery|plug|connector|bulb|filter|handle|heel|sole|collar|sleeve|lens|display|screen|mount) type",
        r"what type of \1 does {it} have",
    ),
    (r"compatible (.+s)", r"which \1 is {it} compatible with"),
    (r"compatibility", r"what is {it} compatible with"),
    (r"ingredients", r"what ingredients are in {it}"),
    (r"allergens", r"which allergens are in {it}"),
    (r"(care|washing|cleaning)(?: instructions?| advice)?", r"how do I look after {it}"),
    (r"assembly", r"does {it} need assembly"),
)
