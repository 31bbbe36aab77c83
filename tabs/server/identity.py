"""Who a request comes from: the app's owner or a visitor.

Where the app runs for one person, whoever reaches it is its owner. On a Space the owner is the account that the Space
belongs to, and those named in `SHELFTALK_OWNERS`: users, or organisations with all their members. Who it is, is told by
the signed cookie of the Hub's sign-in, or by an access token that the Hub is asked about; by nothing else that a client
could write. `tabs.server.gate` refuses visitors what is not marked as open to them (`tabs.ui.events.open_to_all`).
"""

import hashlib
import ipaddress
import os
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import gradio as gr

from pipeline.machine import on_space
from pipeline.serving.callers import MOST_KEPT, Rate

TOKEN = re.compile(r"[Bb]earer (hf_[A-Za-z0-9]{8,200})")
"""A user's own access token. Those that other apps get by the Hub's sign-in have another form and are never taken: any
app that the owner has ever signed in to could come here with one."""
TOKEN_HEADERS = ("x-hf-authorization", "authorization")
"""Where Gradio's client puts a token, and where everything else does."""

KNOWN_SECONDS, UNKNOWN_SECONDS = 300, 60
"""How long it is remembered what the Hub said of a token: whose it is, or that it is nobody's."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: the user's name on the Hub; empty where nobody is signed in.
        key: by which requests are counted: the user's name, else the address.
    """

    name: str
    is_owner: bool
    key: str


@dataclass(frozen=True)
class Identity:
    """A user of the Hub and the organisations that the user belongs to."""

    name: str
    organisations: tuple[str, ...]


_lookups = Rate(10, 60)
_known: OrderedDict[str, tuple[float, Identity | None]] = OrderedDict()
_acting: ContextVar[Caller | None] = ContextVar("acting", default=None)


# --- Who is being served ---


def acts_for(caller: Caller) -> None:
    """Tell what runs from here on, in this task and the threads it starts, whom it serves."""
    _acting.set(caller)


def caller_now() -> Caller | None:
    """Whom what runs now serves; None where it serves no request."""
    return _acting.get()


def serves_owner() -> bool:
    """Whether what runs now serves the owner; where no request is served, it does unless this is a Space."""
    caller = caller_now()
    return caller.is_owner if caller else not on_space()


# --- Who asks ---


def owners() -> frozenset[str]:
    """The names, in small letters, of the users and organisations that may do everything on this Space."""
    space = os.environ.get("SPACE_ID", "")
    author = os.environ.get("SPACE_AUTHOR_NAME") or space.partition("/")[0]
    named = [author, *os.environ.get("SHELFTALK_OWNERS", "").split(",")]
    return frozenset(name.strip().casefold() for name in named if name.strip())


def can_sign_in() -> bool:
    """Whether the Space has what the Hub's sign-in needs; without that a launch with a login button fails."""
    needed = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
    return on_space() and os.environ.get("SYSTEM") == "spaces" and all(os.environ.get(name) for name in needed)


async def caller_of(request: Any) -> Caller:
    """Who a request comes from; the Hub is asked where it brings a token that is not known yet.

    Args:
        request: Gradio's or Starlette's; None where there is none.
    """
    request = request.request if isinstance(request, gr.Request) else request
    if request is None:
        return Caller("", not on_space(), "nobody")
    headers, address = request.headers, address_of(request)
    foreign = is_foreign(headers)
    if not on_space():
        return Caller("", not foreign, address)
    # A cookie comes along whatever page makes the browser send something; a token only from who knows it.
    who = await _by_token(headers, address) or (None if foreign else _signed_in(request.scope.get("session")))
    if who is None:
        return Caller("", False, address)
    names = {name.casefold() for name in (who.name, *who.organisations)}
    return Caller(who.name, not names.isdisjoint(owners()), f"user {who.name.casefold()}")


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether another website made the browser send this: Gradio lets every site read a Space's replies."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is not None:  # an older browser
        return urlsplit(origin).netloc != headers.get("host", "")
    return site not in (None, "same-origin", "none")


def address_of(request: Any) -> str:
    """The address that a request comes from, as the nearest proxy saw it.

    A proxy adds the address it sees at the end of `X-Forwarded-For`, and those of proxies inside the Space's network are
    private: the last public one is the client's. What stands before it, the client may have written itself.
    """
    forwarded = request.headers.get("x-forwarded-for", "").split(",") if on_space() else []
    peer = request.client.host if request.client else ""
    for text in [peer, *reversed(forwarded)]:
        try:
            address = ipaddress.ip_address(text.strip())
        except ValueError:
            continue
        if address.is_global:
            # One household has a whole network of the longer addresses.
            return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)
    return peer


def _signed_in(session: Any) -> Identity | None:
    """The user of a session whose cookie was signed with the Space's secret, while the sign-in is valid."""
    if not os.environ.get("OAUTH_CLIENT_SECRET") or not isinstance(session, Mapping):
        return None  # without the secret anybody could sign
    try:
        found = session["oauth_info"]
        if float(found["expires_at"]) < time.time():
            return None
        user = found["userinfo"]
        organisations = user.get("orgs") or ()
        return Identity(str(user["preferred_username"]), tuple(str(o["preferred_username"]) for o in organisations))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


async def _by_token(headers: Mapping[str, str], address: str) -> Identity | None:
    """The user whose access token a request brings. Tokens are remembered by their hash alone."""
    found = next((m for name in TOKEN_HEADERS if (m := TOKEN.fullmatch(headers.get(name, "")))), None)
    if found is None:
        return None
    token = found[1]
    digest, now = hashlib.sha256(token.encode()).hexdigest(), time.monotonic()
    until, who = _known.get(digest, (0.0, None))
    if now < until:
        return who
    if _lookups.wait(address):
        return None
    who = await anyio.to_thread.run_sync(_ask_the_hub, token)
    _known[digest] = time.monotonic() + (KNOWN_SECONDS if who else UNKNOWN_SECONDS), who
    if len(_known) > MOST_KEPT:
        _known.popitem(last=False)
    return who


def _ask_the_hub(token: str) -> Identity | None:
    """Whose token it is: of those only to whose repositories it may write, since the owner may do more than read."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from pipeline.publishing.hub import writes_for

    try:
        told = HfApi().whoami(token=token)
        auth = told["auth"]
        if told["type"] != "user" or auth["type"] != "access_token":
            return None
        names = [str(told["name"]), *(str(one["name"]) for one in told.get("orgs") or ())]
        writable = writes_for(auth["accessToken"])
        kept = [name for name in names if writable is None or name.casefold() in writable]
        return Identity(kept[0], tuple(kept[1:])) if kept else None
    except (HfHubHTTPError, httpx.HTTPError, OSError, KeyError, TypeError, ValueError):
        return None
