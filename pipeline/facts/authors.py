"""Who wrote it, where a record lets a reader tell without "written by".

A life of the author in the place of a description, "In his lively history, …, James R. Gaines", "Simon Singh's Big Bang",
"Praise for …". A record that names two persons in such a place says nothing certain, and a surname is half a name.
"""

import re
from collections.abc import Iterator

from pipeline.facts.patterns import CAPITAL, INITIALS, NAME_PART, NAME_WORD
from pipeline.facts.sentences import NOWHERE, Span

READ = 6_000
"""Characters of a record in which an author is looked for."""
NAME_CHARACTERS = 60

_NOBODY = (
    r"(?:Mr|Mrs|Ms|Miss|Reading|Sunday|Daily|Evening|Times|New|Telegraph|Commander|Captain|Inspector|Detective|Princess|Prince|"
    r"Publishers?|Corporation|Company|Press|Books|Group|Limited|House|University|Society|Institute|Association|Centre|Center|"
    r"College)\b"
)
_STYLE = r"(?:Dr|Sir|Dame|Prof|Rev)"
_PERSON = (
    rf"(?!(?:[\w.'’-]+ ){{0,3}}{_NOBODY})(?:(?:{CAPITAL}\.){{2,3}} ?{NAME_WORD}"
    rf"|(?:{_STYLE}\.? )?(?:{INITIALS}|{NAME_WORD})(?: {NAME_PART}){{0,2}} {NAME_WORD})(?!\w)"
)
_NAME = rf"(?P<value>{_PERSON})"
_TRADE = (
    r"(?:author|writer|novelist|poet|journalist|historian|biographer|playwright|essayist|columnist|critic|artist|painter|"
    r"illustrator|photographer|teacher|tutor|lecturer|professor|therapist|psychotherapist|nutritionist|psychologist|"
    r"psychiatrist|osteopath|doctor|physician|specialist|expert|authority|consultant|practitioner|trainer|counsellor|chef|"
    r"cook|attorney|archaeologist|scientist|academic|president|director|founder|astrologer|broadcaster|cartoonist|herbalist|"
    r"speaker|medium|psychic|Grand Master|leader|graduate|editor|pastor|priest|rabbi|monk|minister|economist|philosopher|"
    r"humorist|comedian|actor|actress)"
)
# "Jackie Simmonds is a well-known pastel artist …": the first sentence of a life.
_LIFE = re.compile(
    rf"(?:{CAPITAL}[^.!?]{{2,110}}, )?{_NAME}(?: ?\([^()]{{1,40}}\))?(?:, [^.!?]{{1,90}}?,)? "
    r"(?:(?:is|was|has been)(?: \w+ly)? (?:director|president|professor|editor|founder) of\b"
    rf"|(?:is|was|has been)(?: \w+ly)? (?:an?|the|one of|[\w'’-]+['’]s?)\b[^.!?]{{0,120}}?\b{_TRADE}s?\b"
    r"|(?:was born (?:in|on|near|and|[A-Z][a-z]+)"
    r"|has (?:written|published|recently|worked|run|taught|had|been (?:teaching|writing|a))"
    r"|lives in|grew up|served in|teaches|trained|studied|writes|wrote|runs|is descended|published|died in"
    r"|is (?:known|married|one of|President|Director|Professor|editor))\b)"
)
_AT_WORK = re.compile(
    r"\b(?:[Aa]uthor|[Bb]ooks?|[Nn]ovels?|writ(?:es|er|ing|ten)|[Pp]ublish\w+|articles?|courses|workshops|teach\w*|lectur\w+|"
    r"translated|cartoonist|practition\w+|photograph\w+|bestseller\w*|therap\w+|Institute|University|[Pp]resident|[Dd]irector)\b"
)
_ANOTHER_LIFE = re.compile(rf"[.!?][’'\"”)]? {_NAME} (?:is|was|has|inherited|lives|and|teaches|runs)\b")
_TOLD = (
    r"(?:reveals|tells|brings|takes|follows|renders|discusses|explores|explains|offers|presents|describes|recounts|examines|"
    r"looks|sets|shows|traces|weaves|creates|introduces|draws|delivers|argues|turns|chronicles|considers|gives|shares|"
    r"provides|demonstrates|makes|conjures|unravels|charts|paints|captures|here|investigates|teaches|guides)"
)
_WRITTEN = (
    r"(?:renders|tells|offers|presents|describes|recounts|explores|explains|examines|traces|weaves|chronicles|charts|"
    r"demonstrates|argues|introduces|provides|captures|paints)"
)
_TRADE_AND = rf"(?:{_TRADE} (?:and [a-z]+ )?)?"
_HERE = (
    re.compile(
        r"\b(?:[Aa]uthor|[Ww]riter|[Nn]ovelist|[Pp]oet|[Jj]ournalist|[Hh]istorian|[Aa]rtist|[Cc]orrespondent|[Bb]iographer)"
        rf"(?: and [a-z]+)? {_NAME} {_TOLD}\b"
    ),
    # "In this thriller, …" may go on with its hero, "In his lively history, …" does not.
    re.compile(rf"\b[Ii]n this [^.!?;:\"”]{{3,120}}?, {_TRADE_AND}{_NAME} {_WRITTEN}\b"),
    re.compile(rf"\b[Ii]n (?:his|her|their) [^.!?;:\"”]{{3,120}}?, {_TRADE_AND}{_NAME} [a-z]+s\b"),
    re.compile(rf"\b{_NAME}['’]s? (?:[\w'’-]+ ){{0,5}}?(?:debut ?novel|first novel|new novel|latest novel|debut)\b"),
)
_PRAISE = re.compile(
    rf"\b(?:Praise|Acclaim|PRAISE|ACCLAIM)(?: for| FOR) (?P<value>{_PERSON}|{CAPITAL}[A-Z]+(?: [A-Z]\.)? {CAPITAL}[A-Z]+)"
    r"(?= and (?:her|his) (?:novels|books)|: ?[\"'“‘]|: )"
)
_PRAISE_OF_ALL = re.compile(r"\b(?:Praise|Acclaim) for\b")
_LAUDED = re.compile(
    rf"(?<![’'\"”] )(?<!--)(?<!- )\b{_NAME}(?:"
    r"(?:\.\.\.)? (?:is|was|remains)(?: \w+ly)? (?:an?|the|one of|at|unafraid)\b[^.!?'’‘“”\"]{0,70}?(?:writers?|story-?tellers?|"
    r"novelists?|authors?|master|mistress|craftsman|craft|power|game|leaders?|best|story|biographers?|historians?|genius|historical)\b"
    r"|['’]s? (?:story-?telling|writing|prose|talents?|research|sequence of|latest novel|novels? (?:is|are)|books? (?:is|are)|"
    r"brilliant books|position in the)"
    r"| (?:writes|never disappoints|reigns supreme|stands head and shoulders|has (?:a glinting|catapulted|written|irrevocably|"
    r"done it again|become|brought)|deserves|does justice|will do for|tells (?:a|her|his)|worked largely|has that happy|"
    r"comes to the rescue|keeps you)\b)"
)
_NAME_BEFORE = re.compile(rf"{_NAME}['’]s ?$")
_NAME_AFTER = re.compile(rf"[\"'”’,]? ?(?:is|by) {_NAME}(?:['’]s\b|(?=[,.]| and follows))")


def author_span(content: str, title: str) -> Span:
    """Start and end of the author's name; `NOWHERE` where none is told, or more than one may be meant."""
    text = content[:READ]
    spans = [span for span in _spans(text, title) if not re.fullmatch(rf"{_STYLE}\.? \S+", text[slice(*span)])]
    people = {(_initial(text[a:b]), text[a:b].split()[-1].casefold()) for a, b in spans}
    if len(people) != 1 or any(surname in title.casefold() for _, surname in people):
        return NOWHERE
    start, end = max(spans, key=lambda span: (not text[slice(*span)].isupper(), span[1] - span[0], -span[0]))
    name = text[start:end]
    if name.isupper():  # a headline; the name as it is written stands elsewhere, if at all
        start = text.find(name.title())
        return (start, start + len(name)) if start >= 0 else NOWHERE
    twice = re.fullmatch(r"(.+) \1", name)
    return start, start + len(twice[1]) if twice else end


def _initial(name: str) -> str:
    """Of the first name: "Dr. Yvonne Kason" and "Y. Kason" are one person."""
    return re.sub(rf"^{_STYLE}\.? ", "", name)[0].casefold()


def _spans(text: str, title: str) -> Iterator[Span]:
    """Every place where somebody is named as only the author is."""
    yield from _lives(text)
    yield from _beside_title(text, title)
    for pattern in _HERE:
        yield from (match.span("value") for match in pattern.finditer(text))
    yield from (match.span("value") for match in _PRAISE.finditer(text) if _is_writer(match, text))
    # Praise for another book may be praise for another author.
    others = (m.start() for m in _PRAISE_OF_ALL.finditer(text) if not _is_writer(_PRAISE.match(text, m.start()), text))
    yield from (match.span("value") for match in _LAUDED.finditer(text, 0, next(others, len(text))))


def _lives(text: str) -> Iterator[Span]:
    """Those whose lives a record tells that begins with one."""
    first = _LIFE.match(text)
    if first and _AT_WORK.search(text):
        yield first.span("value")
        yield from (other.span("value") for other in _ANOTHER_LIFE.finditer(text, first.end("value")))


def _beside_title(text: str, title: str) -> Iterator[Span]:
    """ "Simon Singh's Big Bang", "Fix-It Duck by Jez Alborough"; the space before the title is often lost."""
    lower = text.lower()
    for name in {title.strip().lower(), re.split(r" ?[(\[]|: ", title)[0].strip().lower()}:
        at = lower.find(name) if len(name) > 3 else -1
        while at >= 0:
            begin = max(0, at - NAME_CHARACTERS)
            if before := _NAME_BEFORE.search(text[begin:at]):
                yield begin + before.start("value"), begin + before.end("value")
            if after := _NAME_AFTER.match(text, at + len(name)):
                yield after.span("value")
            at = lower.find(name, at + len(name))


def _is_writer(praised: re.Match[str] | None, text: str) -> bool:
    """Whether the surname of whom is praised comes once more, as one who writes."""
    if praised is None:
        return False
    surname = re.escape(praised["value"].split()[-1])
    again = (
        rf"(?i:\b{surname})(?:['’]s?|\.\.\.)? (?:is|has|writes|shows|hands|can|knows|novels?|work|position|talents?|research|"
        r"characters|warmth)\b"
    )
    return re.search(again, text[praised.end("value") :]) is not None
