"""Text → sentences, and those of them that say what the product is.

Owns where a sentence ends, and the choice of a description: the sentences that answer "What is it?". Many records hold
anything but that (praise from a newspaper or for another book, the author's life, a quotation), and then there is none.
Knows no facts: text in, offsets out.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from pipeline.facts.languages import is_foreign

DESCRIPTION_LIMIT = 240
"""Characters; a small model learns descriptions of this length whole (benchmarks/RESULTS.md)."""
SENTENCE_LIMIT = 300
"""Characters of a description that is one sentence: it is taken whole, since half of a sentence says something else."""
STUB_WORDS = 3
STUB_CHARACTERS = 8
"""A description of fewer words ("Book by", "Audio CD") says nothing worth a training example."""
READ = 20_000
"""Characters of a record in which a description is looked for."""

Span = tuple[int, int]
NOWHERE: Span = (0, 0)

# --- Where sentences end ---

_STOP = re.compile(
    r"[.!?…]{1,4}[\"'”’)\]]{0,3}"
    r"(?: (?=[\"'“‘(\[«„¿¡]{0,2}(?:[^\W_a-zß-öø-ÿ\u03ac-\u03ce\u0430-\u045f]|[$£€•*]))"
    r"|(?<=[a-z\d)”\"][.!?])(?=[A-Z][a-z]|[AI] ))"  # glued, as in "glued.Together"
    r"|[。！？।۔؟]"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|St|Prof|Rev|Sr|Jr|Inc|Ltd|Co|Vol|vs|approx|ca|cf|e\.g|i\.e|ed|eds|pp|Lt|Col|Gen|Capt|Sgt|Mt|"
    r"Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|U\.S|U\.K|U\.S\.A|a\.m|p\.m)"
    r"|(?<![\w'’])[A-Z]|\.[A-Z])$"
)
_UNIT = re.compile(r"\d ?(?:in|oz|lbs?|ft)$")
_NUMBER = re.compile(r"\b[Nn]os?$")


def sentence_ends(content: str) -> Iterator[int]:
    """Offsets just after each sentence's last character."""
    for stop in _STOP.finditer(content):
        before, after = content[max(0, stop.start() - 12) : stop.start()], content[stop.end() : stop.end() + 1]
        goes_on = stop.group().strip() == "." and (
            _ABBREVIATION.search(before)
            or (after.isdigit() and _NUMBER.search(before))
            or (not after.isupper() and _UNIT.search(before))
        )
        if not goes_on:
            yield stop.start() + len(stop.group().rstrip())
    yield len(content)


def sentences(content: str) -> Iterator[Span]:
    """Start and end of each sentence, without the space between them."""
    start = 0
    for end in sentence_ends(content):
        while start < end and content[start].isspace():
            start += 1
        if start < end:
            yield start, end
        start = end


def quote(content: str, start: int, end: int) -> str:
    """The sentence around the value, or, where that is very long, the clause."""
    first = max(0, start - 4 * DESCRIPTION_LIMIT)
    ends = [first + at for at in sentence_ends(content[first : end + 4 * DESCRIPTION_LIMIT])]
    left = max((stop for stop in ends if stop <= start), default=first)
    right = min(stop for stop in ends if stop >= end)
    if right - left > 2 * DESCRIPTION_LIMIT:
        left = max(left, content.rfind("; ", left, start) + 1, content.rfind(", ", left, start) + 1)
        right = min([right, *(at for mark in (";", ", ") if (at := content.find(mark, end, right)) >= 0)])
    return content[left:right].strip()


# --- What is quoted: a reviewer's words, or a character's ---

_QUOTATION = re.compile(
    r"“[^“”]*(?:”|$)|\"[^\"]*(?:\"|$)"
    r"|(?<![^\s(\[—–.!?,:-])‘(?:[^‘’]|’(?=\w))*(?:’|$)"
    r"|(?<![^\s(\[—–.!?,:’”\"-])'(?=[^\s'])(?:[^']|'(?=[a-z]{1,2}\b)|(?<=[sn])'(?= [a-z]))*(?:'|$)"
)
QUOTED_WORDS = 5
"""A shorter quotation is a name, or a word within a sentence."""
_PAPER = re.compile(
    r"\b(?:(?:Sunday|Daily|Evening|Saturday|Mail on|Irish|Financial|Yorkshire|Birmingham|Manchester|Glasgow|Washington|Oxford|"
    r"New York|Los Angeles|Boston|Chicago|London|Woman['’]s|Good) (?:Times|Telegraph|Express|Mail|Mirror|Sunday|Observer|"
    r"Guardian|Independent|Spectator|Herald|Standard|Post|Sun|Globe|Tribune|Press|News|Journal|Review|Own|Realm|World|Book)"
    r"|(?:The )?(?:Sun|Times|Observer|Guardian|Spectator|Scotsman|Independent|Bookseller|Economist|Telegraph|Tablet|Oldie)"
    r"(?=[ '\"‘“.)]|$)(?! [a-z])"
    r"|Publishers? Weekly|Kirkus|Booklist|Library Journal|Literary (?:Review|Supplement)|USA Today|Asimov['’]s|Newsweek|"
    r"Cosmopolitan|Marie Claire|TLS|BBC|TIME OUT|(?:THE )?(?:TIMES|TELEGRAPH|GUARDIAN|OBSERVER|SPECTATOR)|[A-Z]+ MAIL|"
    r"DAILY [A-Z]+|SUNDAY [A-Z]+|MAIL ON SUNDAY)"
)
BLURBS = 2
"""Newspapers named in a record from which it is taken for a string of quotations, with or without quotation marks."""
BLURBS_WITHIN = 3_000


# --- What says that a sentence is about the product ---


def _any(words: str) -> str:
    return "(?:" + "|".join(sorted((word.strip() for word in words.split("|")), key=len, reverse=True)) + ")"


# What a book, a film or a recording is called, and what anything that is sold may be called.
_WORK = _any(
    "book|volume|novel|novella|story|tale|thriller|mystery|whodunit|collection|anthology|guide|guidebook|handbook|manual|"
    "history|memoir|memoirs|autobiography|biography|account|chronicle|cookbook|cookbooks|series|installment|instalment|edition|"
    "dictionary|encyclopedia|encyclopaedia|atlas|companion|introduction|overview|survey|study|retelling|adaptation|"
    "paraphrase|romance|fantasy|saga|epic|sequel|prequel|trilogy|audiobook|recording|album|film|movie|documentary|video|"
    "dvd|cd|course|workbook|textbook|primer|diary|directory|treatise|essays|poems|stories|tales|novels|books|fairy tale|"
    "tribute|portrayal|translation|reissue|resource|almanac|songbook|melodrama|satire|farce|page-turner|romp|reading|scene|"
    "adventure|allegory|fable|comedy|portrait|look|exploration|examination|analysis|glimpse|offering|work|entry|addition|"
    "release|field guide|reference|debut|impression|gathering|picture book|board books"
)
_THING = _any(
    "kit|set|toy|tool|pack|game|puzzle|device|unit|system|machine|appliance|accessory|part|replacement|product|item|model|"
    "design|piece|range|gift|instrument|garment|blend"
)
_WORD = r"[\w'’&/-]{1,24}"
_NO_ADJECTIVE = (
    r"(?!(?:of|in|to|by|for|from|at|on|with|is|are|was|were|has|have|had|that|which|who|whose|reading|began|as|than|when|"
    r"where|will|would|may|can|it|he|she|they|you)\b)"
)
_ADJECTIVE = rf"(?:{_NO_ADJECTIVE}\(?{_WORD}\)?,? (?:(?:if|but|yet|and|or) )?)"
_OVER = r"(?=[\s,.;:—–-]|$)"

_SAYS_WHAT = re.compile(
    # "In this splendid fantasy about two warriors", "These sturdy little board books"
    rf"\b[Tt]h(?:is|ese) {_ADJECTIVE}{{0,6}}?(?:{_WORK}|{_THING})\b{_OVER}"
    # "The sixth Robert Amiss mystery is …", "A beautifully photographed collection of …", "The remarkable story of …"
    rf"|^(?:An?|The|One of the|Another|Here is an?|Only (?:his|her)) {_ADJECTIVE}{{1,9}}?{_WORK}\b{_OVER}(?!['’]s)"
    rf"|^(?:An?|The) {_WORK}(?: of| about| from| to| for| in which| that)\b"
    r"|^(?:First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth|Last|Latest) (?:in|of) (?:the|a|this) "
    rf"(?:{_WORD} ){{0,6}}?(?:series|trilogy|books|novels)\b"
    # "… in Kimmel's intelligent debut novel, which …", "Her debut novel is an unpretentious gem of a book"
    rf"|(?:\b(?:[Ii]n|recounts?|with) (?:{_WORD} ){{1,4}}?(?<=['’]s )|\b[Ii]n (?:her|his|their) "
    rf"|\b(?:[Hh]er|[Hh]is|[Tt]heir) (?:debut|latest|new) ){_ADJECTIVE}{{0,6}}?"
    r"(?:novel|story|tale|thriller|mystery|memoir|history|biography|guide|book|collection|account|debut)\b"
    r"(?=,? (?:that|which|about|of|in which|charts|follows|tells|introduces|brings|offers)\b|[,.;]|$| \(published"
    r"| is (?:an?|the)\b| behind)"
    # "This is a lively overview of …", "It's an interesting mishmash of a novel"
    rf"|\b(?:[Tt]his|[Ii]t)(?:['’]s| is|—|-)[^.]{{0,30}}? an? {_ADJECTIVE}{{0,8}}?{_WORK}\b{_OVER}"
)
_SAYS_SOMETHING_ELSE = re.compile(
    r"\b(?:I|my|me|I've|I'm|we've)\b(?!['’])|\b[Tt]his is (?:his|her|their|more)\b|\b[Yy]ou feel\b"
    r"|\b(?:deserves?|[Rr]ecommended|first printing|author tour|Book Club|must-have|promotion|print run|dust jacket|marketing)\b"
    r"|\b[Tt]his (?:book|volume|novel|story|tale|guide|collection|series) (?:will|should|would|could|has|makes you|is a must|"
    r"is destined|never)\b|\bthis (?:book|volume)[.!]$"
    r"|\b(?:[Tt]he author of|bestselling author|born in|was born|lives (?:in|with|near)|divides (?:his|her) time|"
    r"has (?:written|published|sold)|is married)\b|^(?:He|She) (?:is|was|has|lives|writes|wrote|had)\b"
    r"|^(?:Praise|Acclaim|ACCLAIM|PRAISE|Reviews?|Text|Buy|Readers?|Fans|If|While|But|However|Yet|Still|Alas|Nevertheless|"
    r"Nonetheless|Expect|Come|Use|Choose|Send|Measure|Move|Get|Take|Make|Keep|Enjoy|Add|Wash|Apply|Shake|Store|Dry|Please|"
    r"Join|Discover|Understand|Learn|Let|Do|Not|Should|Any)\b"
    r"|Copyright|Unfortunately|suffers|disappoint|"
    r"\b(?:novel|edition|dictionary|books?)\b[^.]*\bw(?:as|ere) (?:first )?published\b"
    r"|\bfirst edition was\b|\b(?:book group|publishing (?:group|company|interests))\b|^[\[*•]|^[^a-z]*$"
)
# "Colour: red." and "George Needham" say nothing of the kind either.
_LABEL = re.compile(r"^[A-Z][\w’'/()&-]*(?: [\w’'/()&-]+){0,5} ?: ")
_FOREIGN_LABEL = re.compile(r"[^\W\d_][\w '’()/-]{0,40} ?[:：]")
_SIGNED = re.compile(r"(?:--|[-–—] ?)?(?:[A-Z][\w.’'-]*,? ?){1,5}")
_SIGNATURE = re.compile(r" ?(?:--|\()[A-Z][\w .’']{2,40}\)?$")
_GRADE = re.compile(
    r"^(?:Gr(?:ade|\.)s? ?[\dK^-]+(?:\.|-Up|(?: ?[-–—?] ?)|(?=[A-Z]))|PreSchool-(?:K|Grade \d)\s?[-–—?]?|Ages? \d+-\d+[.:]) ?"
)

_NOBODY = (
    r"(?!(?:man|woman|boy|girl|child|detective|widow|wife|husband|lawyer|doctor|student|killer|mother|father|son|daughter|"
    r"teacher|soldier|spy|agent|writer|author|pilot|clockmaker|crew|family|couple|prince|princess|king|queen|grandfather|"
    r"christian|assassin|host|reader|painter|artist|friend|life|world|day|night|fan|keeper|year|month|hour|minute|people|"
    r"photographer)s?\b)"
)
_VERB = (
    r"(?:can|could|will|would|may|might|must|should|is|was|are|were|has|had|have|be|been|do|did|(?!(?:glass|brass|canvas|"
    r"dress|wireless|stainless|cordless|seamless|goods|compass|cross|press|mattress|bus|class|less|gas|lens)\b)\w+s)\b"
)
_JOINT = r"(?:that|which|with|for|of|in|from|to|made|designed|by|so|whose|on|about|without|quiet|enough|worked)\b"
# "A reading lamp that folds …", "Forty slow loaves for people …": the thing itself, before any verb.
_NAMED_FIRST = re.compile(
    rf"^(?:An?|Our) (?:(?!{_VERB}){_NOBODY}[\w'’/&.-]+,? (?:and )?){{1,7}}?{_JOINT}"
    r"|^(?:Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten|Eleven|Twelve|Twenty|Thirty|Forty|Fifty|Sixty|\d{1,3}) "
    rf"(?:[\w'’-]+ ){{0,3}}?{_NOBODY}\w{{3,}}s,? (?:for|of|in|with|that|from|to|one|each|about)\b"
    # "Maps of roads nobody walks."
    rf"|^{_NOBODY}[a-z]{{3,}}s (?:of|for|about|from) ",
    re.IGNORECASE,
)
# What follows the product's own title: "Awareness is a guide …", "Someone Else's War reveals …".
_OF_TITLE = re.compile(
    r"[\"'”’,]?\s?(?:(?:is|are) (?!available|not|only|also available|considered|one of)(?:also )?(?:[\w'’-]+ )?"
    r"(?:an?|the|[\w'’-]+['’]s|about|\d+)"
    r"|tells|follows|features|offers|explores|reveals|covers|focuses|provides|presents|contains|collects|brings|includes|"
    r"comes with|introduces|describes|explains)\b"
)
# … and a word of it: "these stiff trays can be …", "The biggest mug is made for …", "Upright desk stand holds …"
_THIS = re.compile(r"\b(?:[Tt]his|[Tt]hese|[Oo]ur)((?: [a-z][\w'’-]*,?){1,6})(?!['’-])")
_THE = re.compile(r"^The ((?:[\w'’-]+,? ){1,5})(?:is|are) (?:an?|made for|meant for|designed|perfect|ideal)\b")
_FIRST_WORDS = re.compile(
    r"^(?!With|For|When|In|As|On|At|From)((?:[\w'’-]+,? ){0,6}?)([\w'’-]+)(?:(?= (?:for|with|in|that|of|from|made|to|"
    r"on|without|designed|by|holds|(?:is|are) (?:an?|the|used|made)|comes|features|makes|keeps|helps|offers|provides|fits)\b)"
    r"|(?=[.;]|$))"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "the and for with from new set pack size inch men women mens womens her his its our your pcs one two day days man woman "
        "people life story world time war year night love death child house town king queen book guide",
    )
)


def description_span(content: str, title: str = "") -> Span:
    """Start and end of the sentences that say what the product is; `NOWHERE` where none does.

    Whole sentences only, at most `DESCRIPTION_LIMIT` characters of them; one that is a little longer comes alone.
    """
    text = content[:READ]
    if len(_PAPER.findall(text, 0, BLURBS_WITHIN)) >= BLURBS:
        return NOWHERE
    if is_foreign(text):
        return _first_sentences(text)
    quoted = [m.span() for m in _QUOTATION.finditer(text) if m.group().count(" ") >= QUOTED_WORDS - 1]
    begin, stop = NOWHERE
    first = True  # of the sentences that are no label
    for start, end in sentences(text):
        if grade := _GRADE.match(text[start:end]):
            start += grade.end()
        fits = _may_describe(text, start, end, first=first) and not any(a < end and start < b for a, b in quoted)
        says = fits and _says_what(text[start:end], title, first=first)
        first = first and _LABEL.match(text[start:end]) is not None
        if not stop:
            if says:
                begin, stop = start, end
        # What follows the description of a work is its plot; of a thing it is what else there is to say.
        elif end - begin > DESCRIPTION_LIMIT or not fits or (not says and _SAYS_WHAT.search(text, begin, stop)):
            break
        else:
            stop = end
    signature = _SIGNATURE.search(text, begin, stop)
    return begin, signature.start() if signature else stop


def _first_sentences(text: str) -> Span:
    """Of a text whose words are not known here: the sentences that it begins with, as shops say first what a thing is."""
    begin, stop = NOWHERE
    for start, end in sentences(text):
        says = not _FOREIGN_LABEL.match(text, start, end) and not _QUOTATION.match(text, start, end)
        if not stop and says and end - start <= SENTENCE_LIMIT and _says_enough(text[start:end]):
            begin, stop = start, end
        elif stop and (not says or end - begin > DESCRIPTION_LIMIT):
            break
        elif stop:
            stop = end
    return begin, stop


def _says_enough(sentence: str) -> bool:
    """Languages without spaces have no words to count."""
    return len(sentence.split()) >= STUB_WORDS or (not sentence.isascii() and len(sentence) >= STUB_CHARACTERS)


def _may_describe(text: str, start: int, end: int, *, first: bool) -> bool:
    """Whether nothing tells that a sentence is about something else than the product."""
    sentence = text[start:end]
    return (
        end - start <= SENTENCE_LIMIT
        and not _SAYS_SOMETHING_ELSE.search(sentence)
        and not _PAPER.search(text, start, min(len(text), end + 40))
        and not _LABEL.match(sentence)
        and (first or not _SIGNED.fullmatch(sentence))
    )


def _says_what(sentence: str, title: str, *, first: bool) -> bool:
    if len(sentence.split()) < STUB_WORDS:
        return False
    if _SAYS_WHAT.search(sentence) or _has_title(sentence, title):
        return True
    words = _words_of(title)
    named = [m[1].replace(",", "").split() for m in (*_THIS.finditer(sentence), *_THE.finditer(sentence))]
    if any(word in words for these in named for word in these):
        return True
    return first and ": " not in sentence and bool(_NAMED_FIRST.match(sentence) or _begins_with(words, sentence))


def _has_title(sentence: str, title: str) -> bool:
    lower = sentence.lower()
    for name in {title.strip(), re.split(r" ?[(\[]|: ", title)[0].strip()}:
        at = lower.find(name.lower()) if len(name) > 3 else -1
        if at >= 0 and _OF_TITLE.match(sentence, at + len(name)):
            return True
    return False


def _begins_with(words: frozenset[str], sentence: str) -> bool:
    """Whether the product's own word ends the sentence's first words: a name among them is somebody's."""
    found = _FIRST_WORDS.match(sentence)
    return bool(found) and (found[2] in words or (not found[1] and found[2].lower() in words))


@lru_cache(maxsize=64)
def _words_of(title: str) -> frozenset[str]:
    """The title's words in small letters, in both numbers, without those that tell nothing."""
    head = re.split(r"[(:\[]", title)[0]
    words = {word for word in re.findall(r"[a-z][a-z-]{2,}", head.casefold()) if word not in _COMMON}
    singular = {word[:-1] for word in words if word.endswith("s") and len(word) > 4}
    return frozenset(words | singular | {word + "s" for word in words if word[-1] != "s"})
