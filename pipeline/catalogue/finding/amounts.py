"""Amounts as people and records write them, a number with its unit: what two of them say to each other."""

import operator
import re
from dataclasses import dataclass

_MEASURED: dict[str, dict[str, float]] = {
    "length": {
        "mm": 0.1, "cm": 1, "inch inches in": 2.54, "ft feet foot": 30.48, "yard yards": 91.44,
        "m meter meters metre metres": 100,
    },
    "weight": {"g gram grams": 1, "oz ounce ounces": 28.35, "lb lbs pound pounds": 453.6, "kg kilo kilos": 1000},
    "volume": {
        "ml": 1, "cup cups": 240, "pint pints": 473, "quart quarts": 946, "l liter liters litre litres": 1000,
        "gallon gallons": 3785,
    },
    "time": {"minute minutes min mins": 1, "hour hours hr hrs": 60},
    "age": {"month months": 1, "year years yr yrs": 12},
    "power": {"watt watts w": 1},
    "voltage": {"volt volts v": 1},
    "current": {"amp amps": 1},
    "charge": {"mah": 1},
    "memory": {"mb": 1, "gb": 1000, "tb": 1e6},
    "count": {"piece pieces pcs": 1},
    "pages": {"page pages": 1},
    "money": {"dollar dollars usd bucks": 1, "euro euros": 1},
}  # fmt: skip
UNITS = {
    word: (measure, factor)
    for measure, units in _MEASURED.items()
    for words, factor in units.items()
    for word in words.split()
}
"""What a unit measures, and how much of that it is."""

_AMOUNT = re.compile(
    r"(?:(?<![\w.])|(?<=\dx))(\d[\d,]{0,12}(?:\.\d{1,6})?)(?:[ -]?([a-z]{1,9})\b|[\"”″])?", re.IGNORECASE
)
_RANGE = re.compile(r"\d[ \w]{0,12}?(?:\bto\b|-|–|\band\b(?! (?:up|over|older|above)\b))[ \w]{0,12}?\d", re.IGNORECASE)
_AND_UP = re.compile(
    r"\d(?:[ -]?(?:years?|yrs?|months?)(?:[ -]olds?)?)? ?(?:\+|(?:and|or) (?:up|over|older|above)\b)", re.IGNORECASE
)

_BOUNDS = [
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), holds)
    for words, holds in (
        ("at least|no less than", operator.ge),
        ("at most|no more than|not more than", operator.le),
        (
            "(?:more|greater|bigger|larger|longer|taller|wider|higher|deeper|heavier|stronger|thicker) than|over|above",
            operator.gt,
        ),
        ("(?:less|fewer|smaller|shorter|lower|lighter|narrower|thinner|cheaper) than|under|below", operator.lt),
    )
]
"""How a question says that an amount may be another, and what then holds between the told one and that; the first counts."""

_ELSE = re.compile(
    r"\b(?:fits?|fitting|reach|reaches|into|inside|between|within|enough|room|up to|holds?|with|works?|uses?|using|takes?|needs?|"
    r"requires?|compatible)\b",
    re.IGNORECASE,
)
"""Where a number is of something else, which it has to be large enough or right for."""

NEARLY = 0.02
"""Of an amount, what another may differ that was rounded in another unit."""


@dataclass(frozen=True)
class Amount:
    """Attributes:
    number: as it is written.
    measure: what its unit measures; empty where it has none.
    size: in that measure's smallest unit here.
    """

    number: float
    measure: str
    size: float

    def is_like(self, other: "Amount") -> bool:
        """Whether both can be compared."""
        return self.measure == other.measure or not (self.measure and other.measure)

    def less(self, other: "Amount") -> float:
        """How much less than another it is, as a share of it; 0 where they are the same, but for what rounding in another unit
        makes."""
        in_same_unit = not (self.measure and other.measure) or self.size * other.number == other.size * self.number
        mine, its = (self.number, other.number) if in_same_unit else (self.size, other.size)
        share = (its - mine) / (its or 1.0)
        return 0.0 if not in_same_unit and abs(share) <= NEARLY else share


def amounts(text: str) -> list[Amount]:
    """The amounts of a text. Of "9 x 5 inches" both are inches: a number without a unit has that of the next."""
    found: list[Amount] = []
    measure, factor = "", 1.0
    for match in reversed(list(_AMOUNT.finditer(text))):
        said = (match[2] or "").casefold()
        if match[0][-1] in '"”″':
            said = "in"
        if said in UNITS:
            measure, factor = UNITS[said]
        elif said not in ("", "x", "by", "to", "and"):
            measure, factor = "", 1.0
        number = float(match[1].replace(",", ""))
        found.append(Amount(number, measure, number * factor))
    return found[::-1]


def is_amount(word: str, after: str = "") -> bool:
    """Whether a word is a number with a unit, in one word or with the next: "18v", "20 volts"."""
    number = re.fullmatch(r"\d+(?:\.\d+)?([^\W\d_]*)", word)
    return bool(number) and (number[1] or after) in UNITS


def agrees(question: str, value: str) -> bool | None:
    """Whether the amounts of a value are as a question guesses: those it names, or more, or less; None where that is not certain.

    Args:
        value: of a fact.
    """
    asked, told = amounts(question), amounts(value)
    if not asked or not told or _ELSE.search(question):
        return None
    if not all(a.is_like(t) for a in asked for t in told):
        return None
    bound = next((holds for pattern, holds in _BOUNDS if pattern.search(question)), None)
    if len(asked) == 1:
        guess, low, high = asked[0], told[0], told[-1]
        if len(told) == 2 and _RANGE.search(value):
            return low.less(guess) >= 0 and guess.less(high) >= 0
        if len(told) == 1 and _AND_UP.search(value):
            return low.less(guess) >= 0
        if len(told) == 1 and bound:
            return bound(guess.less(low), 0)
    return None if bound else all(any(a.less(t) == 0 for t in told) for a in asked)
