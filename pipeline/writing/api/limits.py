"""What a server's headers say about its limits, in seconds to wait. Whatever cannot be read says nothing."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RESOURCES = ("requests", "tokens")


def asked_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a refusal asks to wait (`retry-after-ms`, `Retry-After` as seconds or as a date), if it does."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def exhausted_for(headers: Mapping[str, str], tokens: int) -> float:
    """Seconds until the server takes another request that needs `tokens`, by its `x-ratelimit-*` headers; 0 is now."""
    needed = {"requests": 1, "tokens": tokens}
    waits = [0.0]
    for resource in _RESOURCES:
        limit = _number(headers.get(f"x-ratelimit-limit-{resource}", ""))
        remaining = _number(headers.get(f"x-ratelimit-remaining-{resource}", ""))
        # A limit below one request's need would never have room: then the server decides, not its headers.
        if remaining is not None and remaining < needed[resource] <= (math.inf if limit is None else limit):
            waits.append(duration(headers.get(f"x-ratelimit-reset-{resource}", "")) or 0.0)
    return max(waits)


def duration(text: str) -> float | None:
    """Seconds in a text like "1s", "6m0s", "120ms" or "2.5"."""
    text = text.strip()
    if (plain := _number(text)) is not None:
        return plain
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
