"""An OpenAI-compatible API: one structured request, the list of models, and its errors as sentences.

Knows nothing of products and facts. A reply is read here from its bytes, because the client's own parsing takes a
server at its word, and many servers are only almost compatible.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import GenerationError

if TYPE_CHECKING:  # the client takes a second to import, and the page must open before
    import openai
    from openai.types.chat import ChatCompletionMessageParam

MAX_REPLY_BYTES = 1_000_000
TIMEOUT_SECONDS = 120
RETRIES = 2
"""The client's own: after 429, 5xx and lost connections, with growing pauses or those that the server asks for."""

REFUSED = "reply refused by the model"
CUT_OFF = "reply cut off"
INVALID = "reply not in the form asked for"
TOO_LARGE = f"reply over {MAX_REPLY_BYTES // 1_000_000} MB"

_LABEL = "[a-z0-9_-]{1,63}"
_ADDRESS = re.compile(
    rf"https?://({_LABEL}(?:\.{_LABEL})*\.?|\[::1\])(:\d{{1,5}})?(?:/[^\s?#]*)?", re.IGNORECASE | re.ASCII
)

Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class ApiSettings:
    """Which model writes the questions, and where it is."""

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key: str = field(default="", repr=False)
    """It goes to `base_url` and nowhere else: no file, no log, no message."""
    phrasings: int = 12
    """Training questions a fact."""


class UnusableReply(Exception):
    """A reply that arrived and is of no use; `problem` can be told to the model that wrote it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem = f"{reason}: {detail}" if detail else reason


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The part of a chat completion that is used; compatible servers often leave out the rest."""

    choices: list[_Choice] = Field(min_length=1)


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
        raise GenerationError(f"{_host(base_url)} gives no list of models; type the model's name.") from error


def ask(
    client: "openai.OpenAI", model: str, messages: "list[ChatCompletionMessageParam]", schema: type[Schema]
) -> Schema:
    """Send one request and read its reply.

    Raises:
        UnusableReply: it is refused, cut off, too large, or not in the schema's form.
    """
    sent = client.chat.completions.with_raw_response.parse(model=model, messages=messages, response_format=schema)
    if len(sent.content) > MAX_REPLY_BYTES:
        raise UnusableReply(TOO_LARGE)
    try:
        choice = _Completion.model_validate_json(sent.content).choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise UnusableReply(REFUSED)
        if choice.finish_reason == "length":
            raise UnusableReply(CUT_OFF, "write less")
        return schema.model_validate_json(choice.message.content or "")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        detail = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()[:200]
        raise UnusableReply(INVALID, detail) from error


@contextmanager
def connection(base_url: str, api_key: str, model: str = "") -> "Iterator[openai.OpenAI]":
    """A client; what goes wrong with it inside the block leaves as one sentence.

    Raises:
        GenerationError: the address or the key cannot be one, or the API refuses or cannot be reached. It comes
            without its cause: servers echo keys in their messages, and a traceback would show those.
    """
    base_url, key = base_url.strip(), api_key.strip()
    host = _host(base_url)
    if not key:
        raise GenerationError(
            "There is no API key; set OPENAI_API_KEY or type one (any word for a server that needs none)."
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise GenerationError("The API key holds spaces or letters that no key has; copy it again.")
    import openai

    try:
        with openai.OpenAI(base_url=base_url, api_key=key, timeout=TIMEOUT_SECONDS, max_retries=RETRIES) as client:
            yield client
    except openai.OpenAIError as error:
        raise GenerationError(_sentence(error, host, model, key)) from None


def _host(base_url: str) -> str:
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


def _sentence(error: "openai.OpenAIError", host: str, model: str, key: str) -> str:
    import openai

    match error:
        case openai.APITimeoutError():
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
        case openai.RateLimitError() if "insufficient_quota" in (error.code, error.type):
            return f"The account at {host} has no credit left; add some, or use another key."
        case openai.RateLimitError():
            return f"{host} gets more requests from this account than it allows (429); wait a minute and try again."
        case openai.InternalServerError():
            return f"{host} fails ({error.status_code}); try again later."
        case openai.APIStatusError():
            said = " ".join(error.message.replace(key, "…").split())[:200]
            return f"{host} refuses the request ({error.status_code}: {said}); check the model and the address."
        case _:
            return f"{host} gives an answer that cannot be read; check that its address is that of an API."
