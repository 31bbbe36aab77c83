"""An OpenAI-compatible API: a request sent once, the list of models, and its errors as sentences.

Knows nothing of products and facts, nor of when to send. A reply is taken as bytes, because the client's own parsing
takes a server at its word, and many servers are only almost compatible.
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import GenerationError, Unreachable
from pipeline.writing.api import guarded
from pipeline.writing.api.limits import asked_wait, exhausted_for
from pipeline.writing.api.replies import MAX_REPLY_BYTES, REFUSED, TOO_LONG, Reply, UnusableReply, reply_of
from pipeline.writing.api.requests import ApiSettings

if TYPE_CHECKING:  # the client takes a second to import, and the page must open before
    import openai

TIMEOUT_SECONDS = 300
"""For one reply, whole. A small machine takes minutes for a long one."""
CONNECT_SECONDS = 15

_LABEL = "[a-z0-9_-]{1,63}"
_ADDRESS = re.compile(
    rf"https?://({_LABEL}(?:\.{_LABEL})*\.?|\[::1\])(:\d{{1,5}})?(?:/[^\s?#]*)?", re.IGNORECASE | re.ASCII
)
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")
_FILTERED = ("content_filter", "content_policy_violation")
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
_PASSING = (408, 409, 425)
"""Statuses below 500 that may go away by themselves."""


@dataclass
class Trouble(Exception):
    """Why a request brought no reply."""

    kind: str
    """`limit`: too many requests (429). `failed`: may go away by itself. `fatal`: every other request would fail too."""
    sentence: str
    wait: float | None = None
    """Seconds that the server asks to wait."""
    message: str = ""
    """What the server said, for `Dialect.learned`; it may hold the key and is shown to nobody."""
    sent: bool = True
    """Whether the server may have begun to write a reply that will be paid for."""


@dataclass(frozen=True)
class Answer:
    """A reply with what its headers tell."""

    reply: Reply
    pause: float
    """Seconds until the server takes requests again."""


async def send(client: "openai.AsyncOpenAI", body: dict[str, Any], api: ApiSettings, tokens: int) -> Answer:
    """Send a request once.

    Args:
        tokens: what it may take of a limit on tokens.

    Raises:
        Trouble: there is no reply.
        UnusableReply: the server refuses this request for what is in it, and would take others.
    """
    import openai

    begun = time.monotonic()
    host = host_of(api.base_url)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            content, headers = await _bytes(client, body)
    except TimeoutError:
        raise Trouble("failed", _sentence(None, host, api.model, api.api_key)) from None
    except openai.OpenAIError as error:
        raise _trouble(error, host, api) from None
    reply = reply_of(content, api.api_key.strip(), round(time.monotonic() - begun, 3))
    return Answer(reply, exhausted_for(headers, tokens))


async def _bytes(client: "openai.AsyncOpenAI", body: dict[str, Any]) -> tuple[bytes, Mapping[str, str]]:
    """A response's body, of one that is too large no more than shows that, and its headers."""
    import openai

    content = bytearray()
    # As an extra body it is sent as it is; else every dictionary of the schema is looked at for each request.
    rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
    create = client.chat.completions.with_streaming_response.create
    async with create(model=body["model"], messages=body["messages"], extra_body=rest) as response:
        try:
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    break
        except (openai.OpenAIError, TimeoutError):
            raise
        except Exception as error:  # the HTTP library's own kinds of broken bodies
            raise openai.APIConnectionError(request=response.http_request) from error
        return bytes(content), response.headers


def _trouble(error: "openai.OpenAIError", host: str, api: ApiSettings) -> Exception:
    import openai

    sentence = _sentence(error, host, api.model, api.api_key)
    if isinstance(error, openai.APIConnectionError):
        return Trouble("failed", sentence, sent=type(error.__cause__).__name__ not in _NOT_SENT)
    if not isinstance(error, openai.APIStatusError):
        return Trouble("fatal", sentence)
    wait = asked_wait(error.response.headers)
    if error.status_code == 429 and not _no_credit(error):
        return Trouble("limit", sentence, wait, sent=False)
    if error.status_code >= 500 or error.status_code in _PASSING:
        return Trouble("failed", sentence, wait, sent=False)
    if error.code in _TOO_LONG:
        return UnusableReply(TOO_LONG)
    if error.code in _FILTERED:
        return UnusableReply(REFUSED)
    message = str(error.message) if error.status_code in (400, 422) else ""
    return Trouble("fatal", sentence, message=message, sent=False)


class _Model(BaseModel):
    id: str


class _ModelList(BaseModel):
    data: list[_Model]


def list_models(base_url: str, api_key: str) -> list[str]:
    """Names of the models that the API offers to this key, sorted.

    Raises:
        GenerationError: the API refused, could not be reached, or has no such list.
    """
    with connection(base_url, api_key) as client:
        body = client.models.with_raw_response.list().content
    try:
        return sorted(model.id for model in _ModelList.model_validate_json(body).data)
    except ValidationError as error:
        raise GenerationError(f"{host_of(base_url)} gives no list of models; type the model's name.") from error


@contextmanager
def connection(base_url: str, api_key: str, model: str = "") -> "Iterator[openai.OpenAI]":
    """A client; what goes wrong with it inside the block leaves as one sentence.

    Raises:
        GenerationError: the address or the key cannot be one, or the API refuses or cannot be reached. It comes
            without its cause: servers echo keys in their messages, and a traceback would show those.
    """
    key = checked_key(base_url, api_key)
    import openai

    try:
        http = guarded.client(TIMEOUT_SECONDS)
        with openai.OpenAI(base_url=base_url.strip(), api_key=key, http_client=http, max_retries=2) as client:
            yield client
    except openai.OpenAIError as error:
        passing = isinstance(error, openai.APIConnectionError | openai.InternalServerError)
        kind = Unreachable if passing else GenerationError
        raise kind(_sentence(error, host_of(base_url), model, key)) from None


def async_client(api: ApiSettings) -> "openai.AsyncOpenAI":
    """A client that tries once: whoever paces the requests also repeats them."""
    key = checked_key(api.base_url, api.api_key)
    import openai

    timeout = openai.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
    http = guarded.async_client(timeout)
    return openai.AsyncOpenAI(base_url=api.base_url.strip(), api_key=key, http_client=http, max_retries=0)


def checked_key(base_url: str, api_key: str) -> str:
    """The key, if it and the address can be ones.

    Raises:
        GenerationError: they cannot.
    """
    host_of(base_url)
    key = api_key.strip()
    if not key:
        raise GenerationError(
            "There is no API key; set OPENAI_API_KEY or type one (any word for a server that needs none)."
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise GenerationError("The API key holds spaces or letters that no key has; copy it again.")
    return key


def host_of(base_url: str) -> str:
    """Host and port of an API's address.

    Raises:
        GenerationError: it is not an address of http or https, or holds a password, which would be logged.
    """
    if "@" in base_url:
        raise GenerationError("The API's address holds an @; leave name and password out of it and give a key instead.")
    if not (address := _ADDRESS.fullmatch(base_url.strip())) or int((address[2] or ":0")[1:]) > 65535:
        shown = base_url.split("?")[0][:100]
        raise GenerationError(f"The API's address is {shown!r}; it must be like https://api.openai.com/v1.")
    if _is_link_local(address[1]):
        raise GenerationError(
            f"The API's address is {address[1]}, where a machine's own settings are told; give an API's."
        )
    return address[1] + (address[2] or "")


def _is_link_local(host: str) -> bool:
    """Whether a host is 169.254.…, where clouds tell a machine its secrets, in any of the ways to write a number."""
    with suppress(OSError):
        return socket.inet_aton(host.rstrip(".")).startswith(b"\xa9\xfe")
    return False


def _no_credit(error: "openai.APIStatusError") -> bool:
    return error.status_code == 402 or any(code in _NO_CREDIT for code in (error.code, error.type))


def repeatable(message: str, key: str) -> str:
    """What a server says, on one line, short, without the key that it may echo, and without what a terminal obeys."""
    seen = "".join(c if c.isprintable() else " " for c in message[:10_000].replace(key.strip() or "\0", "…"))
    return " ".join(seen.split())[:200]


def _sentence(error: "openai.OpenAIError | None", host: str, model: str, key: str) -> str:
    """An error as a sentence; none is a reply that did not end in time."""
    import openai

    match error:
        case None | openai.APITimeoutError():
            return f"{host} did not answer within {TIMEOUT_SECONDS} seconds; try again later."
        case openai.APIConnectionError():
            return f"{host} cannot be reached; check the API's address and the network."
        case openai.AuthenticationError():
            return f"{host} does not accept the API key (401); check it or make a new one."
        case openai.PermissionDeniedError():
            return f"{host} does not let this API key do that (403); choose another model or another key."
        case openai.NotFoundError() if model:
            return f"{host} has no model {model} at this address (404); choose another model or check the address."
        case openai.NotFoundError():
            return f"{host} has no list of models at this address (404); check the address or type the model's name."
        case openai.APIStatusError() if _no_credit(error):
            return f"The account at {host} has no credit left; add some, or use another key."
        case openai.RateLimitError():
            return f"{host} gets more requests from this account than it allows (429); wait a minute and try again."
        case openai.APIStatusError() if 300 <= error.status_code < 400:
            return f"{host} sends on to another address ({error.status_code}), where nothing is sent; give that address itself."
        case openai.InternalServerError():
            return f"{host} fails ({error.status_code}); try again later."
        case openai.APIStatusError():
            said = repeatable(error.message, key)
            return f"{host} refuses the request ({error.status_code}: {said}); check the model and the address."
        case _:
            return f"{host} gives an answer that cannot be read; check that its address is that of an API."
