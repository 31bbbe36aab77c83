"""A record → the parts of it that can answer a question: its sentences, and each "Name: value." by itself."""

import itertools
import re
from dataclasses import dataclass

LABEL = re.compile(r"([A-Z][^\W\d_][^:.;!?]{0,48}):\s+(?=\S)")
"""What a record writes before a value that it names, as in "Item weight: 3 pounds."."""

_STOP = re.compile(
    r"(?<=[.!?])[\"'”’)\]]{0,2}\s+(?=[\"'“‘(\[]{0,2}[A-Z0-9À-ÞŒŠŽ$£€])|(?<=[;])\s+(?=[A-Z][^:.;!?]{0,48}: )"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|St|Prof|Rev|Sr|Jr|Inc|Ltd|Co|Vol|vs|ca|cf|ed|eds|pp|Capt|Sgt|Mt|[Aa]pprox|[Dd]ia|[Oo]z|[Ff]t|"
    r"[Ll]bs?|[Ii]n|[Mm]ax|[Mm]in|[Pp]cs|[Ss]q|[Tt]b?sp|e\.g|i\.e|No)|(?<![\w'’])[A-Z])\.$"
)
"""What ends with a full stop and not a sentence; a named value after it begins a unit all the same."""


MAX_WORDS = 40
"""A customer reads no more than so many words; of a longer unit the part that is asked about is shown."""


@dataclass(frozen=True)
class Unit:
    """A part of a record: `content[start:end] == text`; `name` is what the record calls the value, if it does."""

    text: str
    start: int
    end: int
    name: str = ""


def units(content: str) -> list[Unit]:
    """The parts of a cleaned record in their order; together they are all of its words."""
    ends = [stop.start() for stop in _STOP.finditer(content) if not _goes_on(content, stop)]
    bounds = [0, *ends, len(content)]
    found = (_unit(content, start, end) for start, end in itertools.pairwise(bounds))
    return [unit for unit in found if unit]


def _goes_on(content: str, stop: re.Match[str]) -> bool:
    """Whether the sentence goes on after a stop: an abbreviation's, or a number's, as in "8., 1., 12. inches"."""
    before, after = content[max(0, stop.start() - 12) : stop.start()], content[stop.end() : stop.end() + 60]
    if LABEL.match(after):
        return False
    return bool(_ABBREVIATION.search(before)) or bool(re.search(r"\d\.$", before) and re.match(r"\d", after))


def _unit(content: str, start: int, end: int) -> Unit | None:
    text = content[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    if not re.search(r"\w", text):
        return None
    label = LABEL.match(text)
    return Unit(text, start, start + len(text), label[1] if label else "")
