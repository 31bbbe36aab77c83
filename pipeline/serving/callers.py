"""Whom a server listens to: under which names it may be called, by which pages, and how often by one caller."""

import ipaddress
import os
import re
import threading
import time
from collections import OrderedDict, deque
from urllib.parse import urlsplit

from pipeline.errors import ServingError
from pipeline.machine import on_space

_PORT = re.compile(r":\d+$")
_DEFAULT_PORTS = {"http": 80, "https": 443}

MOST_KEPT = 2000
"""Callers that are remembered, so that no crowd fills the memory."""


class Rate:
    """At most so many in so many seconds, for each key. The keys that were used last are kept."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Count one more of a key and return 0, or the seconds after which there may be one."""
        with self._lock:
            now, times = time.monotonic(), self._times.setdefault(key, deque(maxlen=self.most))
            self._times.move_to_end(key)
            if len(self._times) > MOST_KEPT:
                self._times.popitem(last=False)
            if len(times) == self.most and now - times[0] < self.seconds:
                return self.seconds - (now - times[0])
            times.append(now)
            return 0.0


def is_own_host(host: str) -> bool:
    """Whether a server of ours may be called by this name. Off a Space only by this machine's own: a name of somebody else's
    that leads here (DNS rebinding) would make the pages of its owner pages of the app.

    Args:
        host: of a request, with or without a port.
    """
    if on_space():
        return True
    named = {name.strip().casefold() for name in os.environ.get("SHELFTALK_HOSTS", "").split(",") if name.strip()}
    return _PORT.sub("", host).casefold() in {"localhost", "127.0.0.1", "[::1]", *named}


def is_loopback(host: str) -> bool:
    """Whether an address, or a name for one, is of this machine alone."""
    try:
        return host.casefold() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether a request's host is a number and no name: nobody can make another's number lead here."""
    try:
        return bool(ipaddress.ip_address(_PORT.sub("", host).strip("[]")))
    except ValueError:
        return False


def origin_of(text: str) -> str:
    """An origin as browsers send it, such as `https://shop.example`.

    Raises:
        ServingError: it is none.
    """
    wrong = ServingError(f"“{text[:80]}” is no origin; give scheme and name alone, as in https://shop.example.")
    try:
        parts = urlsplit(text.strip())
        name, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    is_more = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc or "*" in text
    if parts.scheme not in _DEFAULT_PORTS or not name or is_more:
        raise wrong
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}" + (f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else "")


def network_of(address: str) -> str:
    """By what a caller without a key is counted: the address; of the longer ones, of which one household has a network, that."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network(f"{ip}/64", strict=False)) if ip.version == 6 else str(ip)
