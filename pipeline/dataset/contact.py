"""Whether a text has an e-mail address or a phone number, which belong into no model. Knows nothing of products.

A phone number is told by its shape: a plus sign, the three groups of North America, the leading nought of most other
countries, or a word such as "call" before it. Other rows of digits are an ISBN, measures, years, a part's number.
"""

import re

_AT = re.compile(r"@|[(\[]at[)\]]", re.IGNORECASE)
_EMAIL = re.compile(
    r"[\w.+-]{1,64}(?:@| ?[(\[]at[)\]] ?)[\w-]{1,63}(?:(?:\.| ?[(\[]dot[)\]] ?)[\w-]{1,63}){0,4}"
    r"(?:\.| ?[(\[]dot[)\]] ?)[^\W\d_]{2,24}(?!\w)",
    re.IGNORECASE,
)
_INTERNATIONAL = r"(?<![\w+])\+\d(?:[ ()./-]{0,3}\d){7,14}(?!\d)"
_NORTH_AMERICAN = (
    r"(?<![\w.,+-])(?:1[ .-])?(?:\(\d{3}\)[ .-]?\d{3}[ .-]|\d{3}[.-]\d{3}[ .-]"
    r"|(?!\d\d0 \d\d0 \d{3}0)[2-9]\d\d \d{3}[ -])\d{4}(?!\w|[-.]\d)"
)
_TOLL_FREE = r"\b1[ .-]8(?:00|33|44|55|66|77|88)[ .-](?=[A-Z-]{0,6}\d|[A-Z-]{7})[\dA-Z][\dA-Z-]{5,9}\b"
_CALLED = (
    r"\b(?i:tel|telephone|phone|call|fax|mobile|cell|whatsapp|hotline)\b\.?"
    r"(?: (?i:us|me|now|toll|free|no|number|at|on|is)\b\.?){0,3} ?[:#]? ?\(?\d{3}(?:[ ().-]{0,2}\d){4,11}(?!\d)"
)
_PHONE = re.compile(f"{_INTERNATIONAL}|{_NORTH_AMERICAN}|{_TOLL_FREE}|{_CALLED}")
_NOUGHT = re.compile(r"(?<![\w.,+/-])(?:\(0\d{1,4}\)|0\d{1,4})(?P<rest>(?:[ ./-]{1,3}\d{2,8}){1,4})(?!\w|[./-]\d)")
_NUMBERED = re.compile(
    r"(?:\b(?:isbn(?:-1[03])?|upc|ean|sku|asin|item|model|part|art|ref|serial|catalog(?:ue)?)\b\.?"
    r"(?: (?:no|number|code)\b)?\.? ?[:#]? ?|\b97[89][ -])\Z",
    re.IGNORECASE,
)


def has_contact(text: str) -> bool:
    """Whether an e-mail address or a phone number stands in it."""
    if _AT.search(text) and _EMAIL.search(text):
        return True
    return any(_dials(match, text) for pattern in (_PHONE, _NOUGHT) for match in pattern.finditer(text))


def _dials(match: re.Match[str], text: str) -> bool:
    """Whether digits that look like a phone number are one, and not what an item is numbered by."""
    if _NUMBERED.search(text, max(0, match.start() - 32), match.start()):
        return False
    if match.re is _PHONE:
        return True
    digits, groups = sum(c.isdigit() for c in match.group()), len(re.findall(r"\d+", match["rest"]))
    return (9 if groups > 1 else 10) <= digits <= 14
