"""Which language a text is in, as far as its letters and its commonest words tell."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

ENGLISH = "en"
READ = 1_000
"""Characters of a text that are looked at."""
LEAST_WORDS = 2
"""Of a language's commonest words, from which a text is taken for it."""
SHARE = 0.05
"""Of several texts those in a language, from which it is one of theirs."""

_LETTER = re.compile(r"[^\W\d_]")
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(letters))
    for code, letters in (
        ("ja", "[\u3040-\u30ff]"),
        ("ko", "[\uac00-\ud7a3\u1100-\u11ff]"),
        ("zh", "[\u3400-\u9fff]"),
        ("th", "[\u0e00-\u0e7f]"),
        ("he", "[\u0590-\u05ff]"),
        ("fa", "[پچژگیک]"),
        ("ar", "[\u0600-\u06ff]"),
        ("hi", "[\u0900-\u097f]"),
        ("bn", "[\u0980-\u09ff]"),
        ("ta", "[\u0b80-\u0bff]"),
        ("te", "[\u0c00-\u0c7f]"),
        ("ka", "[\u10a0-\u10ff]"),
        ("hy", "[\u0530-\u058f]"),
        ("el", "[\u0370-\u03ff]"),
        ("uk", "[іїєґ]"),
        ("ru", "[\u0400-\u04ff]"),
    )
)
"""A language by letters that it has; where several share them, the one with letters of its own comes first."""
_WORDS: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        ENGLISH: "the and of with this that from you your for to by are it on is an has a in as who its his her at be or",
        "de": "der das und ist mit für ein eine einer eines aus von dem den zu im nicht auf wird sind auch bei",
        "fr": "le les des du et est pour avec un une dans qui cette ce ses votre sont aux vous",
        "es": "el los las y es con para una del que por su sus este esta como muy tiene al",
        "it": "il lo gli di è per che una con della dello delle nel questo questa sono dei alla",
        "pt": "os é com para uma um dos das que por não sua seu na em",
        "nl": "het een van en voor zijn deze dit niet ook wordt uit op te bij",
        "sv": "och är med för en ett av som den det till på från inte",
        "da": "og er til en et af som den det på fra ikke",
        "pl": "i jest z na w się nie dla oraz ze który",
        "cs": "je s na v se pro z který jako není",
        "tr": "ve bir için ile bu olan da çok olarak",
        "fi": "ja joka ei myös sekä kanssa",
        "hu": "az és egy hogy nem van ez",
        "ro": "și este cu pentru un din care sunt",
    }.items()
}


@lru_cache(maxsize=4096)
def language_of(text: str) -> str:
    """The ISO 639-1 code of the language that a text is most probably in; empty where it tells too little."""
    text = text[:READ]
    letters = len(_LETTER.findall(text))
    own = [(code, len(pattern.findall(text))) for code, pattern in _SCRIPTS] if not text.isascii() else []
    if sum(number for _, number in own) * 2 > letters:
        return next(code for code, number in own if number * 20 > letters)
    words = Counter(re.findall(r"[^\W\d_]+", text.casefold()))
    found = {code: sum(words[word] for word in known) for code, known in _WORDS.items()}
    best = max(found, key=lambda code: found[code])
    distinct = sum(word in words for word in _WORDS[best])
    return best if distinct >= LEAST_WORDS and found[best] > (found[ENGLISH] if best != ENGLISH else 0) else ""


def is_foreign(text: str) -> bool:
    """Whether a text is certainly in another language than English."""
    return language_of(text) not in ("", ENGLISH)


def languages_of(texts: Iterable[str]) -> list[str]:
    """The codes of the languages that texts are in, the commonest first; of one that few are in, none is said."""
    found = Counter(map(language_of, texts))
    found.pop("", None)
    return [code for code, number in found.most_common() if number >= SHARE * found.total()]
