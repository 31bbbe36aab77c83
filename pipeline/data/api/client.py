"""An OpenAI-compatible API: one request, the list of models, and its errors as sentences.

Knows nothing of products and facts, nor of when to send. A reply is taken as bytes, because the client's own parsing
takes a server at its word, and many servers are only almost compatible.
"""

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Generic
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from pipeline.data.api.limits import asked_wait, exhausted_for
from pipeline.data.api.replies import MAX_REPLY_BYTES, REFUSED, TOO_LONG, Reply, Schema, UnusableReply, reply_of
from pipeline.data.api.spending import DEFAULT_MODEL, OPENAI_HOST, OPENAI_URL, Price, price_of
from pipeline.errors import GenerationError, SettingsError
from pipeline.files import HALF_CHARACTERS

if TYPE_CHECKING:  # the client takes a second to import, and the page must open before
    import openai

MAX_WORKERS = 64
TIMEOUT_SECONDS = 300
"""For one reply, whole. A small machine takes minutes for a long one."""
CONNECT_SECONDS = 15

_LABEL = "[a-z0-9_-]{1,63}"
_ADDRESS = re.compile(
    rf"https?://({_LABEL}(?:\.{_LABEL})*\.?|\[::1\])(:\d{{1,5}})?(?:/[^\s?#]*)?", re.IGNORECASE | re.ASCII
)
_REASONS = re.compile(r"gpt-(5\.[1-9]|[6-9])")
"""OpenAI's models that think before they reply unless told not to; thoughts are paid for and cut replies off."""

_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")
_FILTERED = ("content_filter", "content_policy_violation")
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
_PASSING = (408, 409, 425)
"""Statuses below 500 that may go away by themselves."""


@dataclass(frozen=True)
class ApiSettings:
    """Which model is asked, where it is, how fast, and for how much money at most."""

    model: str = DEFAULT_MODEL
    base_url: str = OPENAI_URL
    api_key: str = field(default="", repr=False)
    """It goes to `base_url` and nowhere else: no file, no log, no message."""
    workers: int = 8
    """Requests at once at most; fewer while the server asks for it."""
    cap: float | None = None
    """USD that a run may cost at most."""
    price: Price | None = None
    """Of the model, where it is not the published one."""

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS:
            raise SettingsError(f"{self.workers} requests at once is not possible; choose 1 to {MAX_WORKERS}.")
        if self.cap is not None and not (math.isfinite(self.cap) and self.cap >= 0):
            raise SettingsError(f"The cap is {self.cap} USD; it must be 0 or more.")

    @property
    def known_price(self) -> Price | None:
        return self.price or price_of(self.model, self.base_url)


@dataclass(frozen=True)
class Request(Generic[Schema]):
    """One structured call."""

    system: str
    user: str
    """The record, as data. One system and one user message: many local models accept no other order."""
    schema: type[Schema]
    max_tokens: int
    version: str
    """Of the prompt: another version is another request."""
    temperature: float | None = None
    """Not sent if there is none."""

    def key(self, model: str, base_url: str) -> str:
        """What names the reply in the journal: the same request to the same model has the same key."""
        asked = [model, base_url.strip().rstrip("/"), self.max_tokens, self.temperature, self.version]
        whole = json.dumps([*asked, _schema_text(self.schema), self.system, self.user])
        return hashlib.sha256(whole.encode()).hexdigest()

    def most_tokens(self) -> int:
        """No fewer tokens than its messages can have: a token has a byte at least."""
        return len((self.system + self.user + _schema_text(self.schema)).encode(errors=HALF_CHARACTERS)) + 100


@dataclass(frozen=True)
class Dialect:
    """What a server understands. Starts with what its address tells, and learns from refusals."""

    json_schema: bool = True
    limit: str = "max_tokens"
    """OpenAI's newer models refuse the old name; many compatible servers do not know the new one."""
    reasoning_effort: bool = False
    temperature: bool = True

    @classmethod
    def of(cls, api: ApiSettings) -> "Dialect":
        if urlsplit(api.base_url.strip()).hostname != OPENAI_HOST:
            return cls()
        return cls(limit="max_completion_tokens", reasoning_effort=bool(_REASONS.match(api.model)))

    def learned(self, message: str) -> "Dialect":
        """The dialect after a refusal (400) with this message; the same if it tells nothing."""
        if self.json_schema and re.search("response_format|json_schema", message):
            return replace(self, json_schema=False)
        if self.limit == "max_tokens" and "max_completion_tokens" in message:
            return replace(self, limit="max_completion_tokens")
        if self.reasoning_effort and "reasoning" in message:
            return replace(self, reasoning_effort=False)
        return replace(self, temperature=False) if "temperature" in message else self

    def body(self, request: Request[Any], model: str) -> dict[str, Any]:
        """What is sent."""
        schema = strict_schema(request.schema)
        system, form = request.system, {"type": "json_object"}
        if self.json_schema:
            form = {
                "type": "json_schema",
                "json_schema": {"name": request.schema.__name__, "strict": True, "schema": schema},
            }
        else:
            system += f"\nReply with JSON in the form of this schema:\n{json.dumps(schema)}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": _whole(request.user)}]
        body = {"model": model, "messages": messages, "response_format": form, self.limit: request.max_tokens}
        if self.reasoning_effort:
            body["reasoning_effort"] = "none"
        if self.temperature and request.temperature is not None:
            body["temperature"] = request.temperature
        return body


def _whole(text: str) -> str:
    """The text with half letters, which no JSON can carry, as escapes."""
    return text.encode(errors=HALF_CHARACTERS).decode()


@cache
def _schema_text(schema: type[BaseModel]) -> str:
    return json.dumps(schema.model_json_schema(), sort_keys=True)


@cache
def strict_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The schema as strict mode takes it: every object closed, all its properties required, no defaults."""

    def closed(node: Any) -> Any:
        if isinstance(node, list):
            return [closed(child) for child in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:  # strict mode takes nothing beside it
            return {"$ref": node["$ref"]}
        made = {name: closed(child) for name, child in node.items() if name != "default"}
        if node.get("type") == "object" and "properties" in node:
            made |= {"additionalProperties": False, "required": list(node["properties"])}
        return made

    return closed(schema.model_json_schema())


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
        with openai.OpenAI(base_url=base_url.strip(), api_key=key, timeout=TIMEOUT_SECONDS, max_retries=2) as client:
            yield client
    except openai.OpenAIError as error:
        raise GenerationError(_sentence(error, host_of(base_url), model, key)) from None


def async_client(api: ApiSettings) -> "openai.AsyncOpenAI":
    """A client that tries once: whoever paces the requests also repeats them."""
    key = checked_key(api.base_url, api.api_key)
    import openai

    timeout = openai.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
    return openai.AsyncOpenAI(base_url=api.base_url.strip(), api_key=key, timeout=timeout, max_retries=0)


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
    return address[1] + (address[2] or "")


def _no_credit(error: "openai.APIStatusError") -> bool:
    return error.status_code == 402 or any(code in _NO_CREDIT for code in (error.code, error.type))


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
        case openai.InternalServerError():
            return f"{host} fails ({error.status_code}); try again later."
        case openai.APIStatusError():
            said = " ".join(error.message.replace(key.strip() or "\0", "…").split())[:200]
            return f"{host} refuses the request ({error.status_code}: {said}); check the model and the address."
        case _:
            return f"{host} gives an answer that cannot be read; check that its address is that of an API."
