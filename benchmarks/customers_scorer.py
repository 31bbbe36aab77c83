"""Whether an answer to a customer's question is right, and what a way of answering is worth.

An answer is right if it has at most 40 words, agrees on yes or no where both say so, and carries the reference's numbers, or
shares half of its words with the reference or its evidence (token F1 of 0.5). A way's worth is H, the harmonic mean of the
share answered right of what the record answers and the share admitted of what it does not: answering everything scores near 0,
and so does refusing everything.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

MAX_WORDS = 40
HALF = 0.5

_YES_NO = re.compile(r"\W*(yes|yep|yeah|no|nope)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z0-9]+(?:\.[0-9]+)?", text.lower()) if word not in ("a", "an", "the")]


def token_f1(answer: str, reference: str) -> float:
    got, wanted = Counter(words(answer)), Counter(words(reference))
    shared = (got & wanted).total()
    return 2 * shared / (got.total() + wanted.total()) if shared else 0.0


def numbers(text: str) -> set[float | str]:
    """Numbers by their value: "1,000" is "1000" and "24.0" is "24"; "1.2.3" is none and stays text."""
    found = (match.replace(",", "") for match in _NUMBER.findall(text))
    return {float(n) if n.count(".") < 2 else n for n in found}


def yes_or_no(text: str) -> str:
    found = _YES_NO.match(text)
    return "" if not found else "yes" if found[1].lower().startswith("y") else "no"


def is_right(answer: str, references: Iterable[str], evidence: Iterable[str] = ()) -> bool:
    if not answer.strip() or len(answer.split()) > MAX_WORDS:
        return False
    said = yes_or_no(answer)
    agreeing = [r for r in references if not (said and yes_or_no(r) and yes_or_no(r) != said)]
    for reference in agreeing:
        wanted = numbers(reference)
        if (wanted and wanted <= numbers(answer)) or token_f1(answer, reference) >= HALF:
            return True
    return bool(agreeing) and any(token_f1(answer, part) >= HALF for part in evidence)


def harmonic(right: float, admitted: float) -> float:
    return 2 * right * admitted / (right + admitted) if right + admitted else 0.0


def worth(questions: Sequence[dict], answers: Sequence[dict[str, str]]) -> dict[str, float]:
    """What a way's answers are worth.

    Args:
        questions: with `answerable`, `answers`, perhaps `evidence`, and `says` where an unknown product is asked about.
        answers: `{"answer", "says"}` of each.

    Returns:
        `right`, `admitted` and `h` as shares of 1, `refused` of the unknown products, and `invented`: values where none is.
    """
    pairs = list(zip(questions, answers, strict=True))
    answerable = [
        a["says"] == "value" and is_right(a["answer"], q["answers"], q.get("evidence", ()))
        for q, a in pairs
        if q["answerable"]
    ]
    silent = [a["says"] for q, a in pairs if not q["answerable"] and q.get("says") != "unknown"]
    unknown = [a["says"] for q, a in pairs if q.get("says") == "unknown"]
    right, admitted = _share(answerable), _share([one == "silent" for one in silent])
    return {
        "h": round(harmonic(right, admitted), 4),
        "right": right,
        "admitted": admitted,
        "refused": _share([one == "unknown" for one in unknown]),
        "invented": _share([one == "value" for one in [*silent, *unknown]]),
        "answerable": len(answerable),
        "silent": len(silent),
        "unknown": len(unknown),
    }


def _share(found: Sequence[bool]) -> float:
    return round(sum(found) / len(found), 4) if found else 0.0
