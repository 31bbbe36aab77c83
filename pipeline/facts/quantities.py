"""Numbers with units in a text: how much a measure, a price or a count says, however it is written."""

import re
import unicodedata
from dataclasses import dataclass, replace

from pipeline.facts.patterns import TEENS_WORD, TENS_WORD, UNITS_WORD

_UNIT_TABLE = """
    length   imperial  25.4           inch inches in "
    length   imperial  304.8          foot feet ft '
    length   imperial  914.4          yard yards yd yds
    length   metric    1              mm millimeter millimeters millimetre millimetres
    length   metric    10             cm centimeter centimeters centimetre centimetres
    length   metric    1000           m meter meters metre metres
    mass     imperial  28.349523125   oz ounce ounces
    mass     imperial  453.59237      lb lbs pound pounds
    mass     metric    1              g gram grams gramme grammes
    mass     metric    1000           kg kilo kilos kilogram kilograms kilogramme kilogrammes
    volume   imperial  29.5735295625  floz
    volume   imperial  236.5882365    cup cups
    volume   imperial  473.176473     pint pints
    volume   imperial  946.352946     quart quarts
    volume   imperial  3785.411784    gallon gallons
    volume   metric    1              ml milliliter milliliters millilitre millilitres
    volume   metric    10             cl
    volume   metric    1000           l liter liters litre litres
    charge   metric    1              mah
    data     metric    1              gb
    data     metric    1000           tb
    time     -         1              sec secs second seconds
    time     -         60             min mins minute minutes
    time     -         3600           h hr hrs hour hours
    days     -         1              d day days
    days     -         7              week weeks
    months   -         1              month months
    months   -         12             yr yrs year years
    power    metric    1              w watt watts
    power    metric    1000           kw kilowatt kilowatts
    voltage  metric    1              v volt volts
    dollars  -         1              $ dollar dollars usd
    dollars  -         0.01           cent cents
    euros    -         1              € euro euros eur
    sterling -         1              £ gbp
"""
"""What it measures, the system, the size in the measure's base unit, the names. US customary units, as NIST Handbook 44
has them in appendix C; a currency is a measure of its own, since nobody knows the rate."""


@dataclass(frozen=True)
class Unit:
    """A unit; `per_base` is its size in its measure's base unit (mm, g, ml, s, …). No measure: none was given."""

    measure: str = ""
    system: str = ""
    per_base: float = 1.0


@dataclass(frozen=True)
class Quantity:
    """A number with its unit."""

    number: float
    unit: Unit


NO_UNIT = Unit()
NO_SYSTEM = "-"
_UNITS: dict[str, Unit] = {
    name: Unit(measure, system, float(per_base))
    for measure, system, per_base, *names in map(str.split, _UNIT_TABLE.strip().splitlines())
    for name in names
}
_LOCAL: dict[str, dict[str, Unit]] = {
    "capacity": {name: _UNITS["floz"] for name in ("oz", "ounce", "ounces")},
    "price": {"pounds": _UNITS["£"], "pound": _UNITS["£"]},
    "running_time": {"m": _UNITS["min"]},
    # "24 in a box", "1987 in three volumes"
    **{kind: {"in": NO_UNIT} for kind in ("pieces", "pages", "year")},
}
"""What a unit's name means for one kind only."""

_ONES: dict[str, int] = dict(zip(f"{UNITS_WORD}|{TEENS_WORD}".split("|"), range(1, 20), strict=True))
_TENS: dict[str, int] = dict(zip(TENS_WORD.split("|"), range(20, 100, 10), strict=True))
_NUMBER_WORD = re.compile(rf"\b(?:({TENS_WORD})(?:[- ]({UNITS_WORD}))?|({TEENS_WORD}|{UNITS_WORD}))\b")
_TYPOGRAPHY = str.maketrans({**dict.fromkeys("”“″", '"'), **dict.fromkeys("’‘′", "'"), **dict.fromkeys("‐‑–—", "-")})
_SIDE = re.compile(r"(?<=\d) ?[whdl]\b")
"""The letter in "9W x 6H", which would be a unit elsewhere."""
_SYMBOL = "[$€£]"
_NAME = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?:(?P<before>{_SYMBOL}|\b(?:usd|gbp|eur)) ?)?"
    r"(?P<whole>(?>\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?!/\d))?(?P<decimals>\.\d++)?"
    r"(?:(?<=\d)[ -](?=\d+/\d))?(?P<fraction>(?<![\d.])\d{1,3}/[1-9]\d{0,2})?"
    rf"(?:[ -]?(?P<unit>{_NAME})(?![^\W\dx])|(?![^\W\dx]))"
)


def quantities(kind: str, text: str) -> list[Quantity]:
    """The numbers of a text in order, each with its unit; one without takes that of the next ("3 x 4 inches")."""
    text = _digits(text)
    if kind == "dimensions":
        text = _SIDE.sub("", text)
    found: list[tuple[Quantity, int, int]] = []
    for match in _QUANTITY.finditer(text):
        if not (match["whole"] or match["decimals"] or match["fraction"]):
            continue
        name = match["unit"] or match["before"] or ""
        unit = _LOCAL.get(kind, {}).get(name, _UNITS.get(name, NO_UNIT))
        found.append((Quantity(_number(match), unit), match.start(), match.end()))
    joined: list[Quantity] = []
    end = 0
    for quantity, start, stop in found:
        if joined and re.fullmatch(r"[, ]*(?:and )?", text[end:start]) and _is_part(quantity, of=joined[-1]):
            quantity = _sum(joined.pop(), quantity)
        joined.append(quantity)
        end = stop
    for i in range(len(joined) - 2, -1, -1):
        if joined[i].unit == NO_UNIT:
            joined[i] = replace(joined[i], unit=joined[i + 1].unit)
    return joined


def _digits(text: str) -> str:
    """Small letters, digits for number words and fractions, one sort of quotes and dashes."""
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text.translate(_TYPOGRAPHY))
    text = unicodedata.normalize("NFKC", text).casefold().replace("⁄", "/").replace("''", '"')
    text = re.sub(r"\b(?:fl\.? ?oz|fluid ounces?)\b", "floz", text)
    return _NUMBER_WORD.sub(lambda m: str(_TENS[m[1]] + _ONES.get(m[2], 0) if m[1] else _ONES[m[3]]), text)


def _number(match: re.Match[str]) -> float:
    number = float((match["whole"] or "0").replace(",", "") + (match["decimals"] or ""))
    if match["fraction"]:
        over, under = match["fraction"].split("/")
        number += int(over) / int(under)
    return number


def _is_part(small: Quantity, of: Quantity) -> bool:
    """Whether it is the inches after the feet, the minutes after the hours."""
    same = small.unit.measure and (small.unit.measure, small.unit.system) == (of.unit.measure, of.unit.system)
    return bool(same) and small.unit.per_base < of.unit.per_base


def _sum(large: Quantity, small: Quantity) -> Quantity:
    return Quantity(large.number * large.unit.per_base / small.unit.per_base + small.number, small.unit)
