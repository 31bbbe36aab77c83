"""A good input, changed at random: by its bytes, or as the JSON that it is. The same chance makes the same changes."""

import json
import random
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 300_000
"""Of an input: what a change repeats is cut there."""

PIECES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n",
    b"\\", b"\\ud800", b"\\u0000", b"1e999", b"-1", b"NaN", b"Infinity", b"9" * 5000, b"null", b"true", b"{}",
    b"[]", b"\x1f\x8b", b"!!python/object:os.system ", b"&a ", b"*a", b"<<: ", b"---\n", b"%", b"=1+1",
    "\u2028\u202e\ufeff".encode(), b"- ", b"\t",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 10**30, -(10**400), 1e308, float("nan"), float("inf"), "", " ", "x", "../../x", "\ud800"),
    *("x" * 5000, "\0\n\u2028", [], {}, [None], [[]], {"": None}, {"a": {"b": []}}, ["a", 1], "1e5", "2026-01-01T00:00:00"),
)  # fmt: skip


def changed(example: bytes, chance: random.Random) -> bytes:
    """An example with a few changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        example = (_as_json if chance.random() < 0.6 else _as_bytes)(example, chance)[:MOST_BYTES]
    return example


def _as_bytes(data: bytes, chance: random.Random) -> bytes:
    at, until = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    until = min(until, at + chance.choice((1, 10, 1000)))
    part = data[at:until]
    match chance.randrange(7):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[until:]
        case 2:
            return data[:at] + part * chance.choice((2, 3, 50, 2000)) + data[until:]
        case 3:
            return data[:at]
        case 4:
            return data[:at] + chance.choice(PIECES) * chance.choice((1, 1, 1, 100, 20_000)) + data[at:]
        case 5:
            return data[:at] + chance.choice(PIECES) + data[until:]
        case _:
            return data[until:] + data[:at]


def _as_json(data: bytes, chance: random.Random) -> bytes:
    """One value of the JSON that it is, or of one of its lines, changed; where it is none, some bytes."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    for whole in (False, True):
        try:
            value = json.loads(data if whole else lines[at])
            if not isinstance(value, dict | list):
                continue
            said = json.dumps(_with_change(value, chance), ensure_ascii=chance.random() < 0.5).encode(errors="replace")
        except (ValueError, RecursionError):
            continue
        return said if whole else b"\n".join([*lines[:at], said, *lines[at + 1 :]])
    return _as_bytes(data, chance)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within with every key or number in it."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        for key, inner in found.items() if isinstance(found, dict) else enumerate(found):
            yield found, key
            if isinstance(inner, dict | list):
                waiting.append(inner)


def _with_change(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    if not places or chance.random() < 0.03:
        return chance.choice(VALUES)
    container, key = chance.choice(places)
    match chance.randrange(8):
        case 0:
            del container[key]
        case 1:
            container[key] = [container[key]]
        case 2:
            container[key] = _deep(chance.choice((10, 500, 3000)))
        case 3 if isinstance(container, dict):
            container[chance.choice(("", "x", "type", "\0", key.upper()))] = container.pop(key)
        case 4 if isinstance(container[key], str):
            container[key] += chance.choice([v for v in VALUES if isinstance(v, str)])
        case _:
            container[key] = chance.choice(VALUES)
    return value


def _deep(levels: int) -> Any:
    inner: Any = None
    for _ in range(levels):
        inner = [inner]
    return inner
