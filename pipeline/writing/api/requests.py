"""What is asked: the settings of an API, a structured request with its key, and how it is put to a server."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic
from urllib.parse import urlsplit

from pydantic import BaseModel

from pipeline.errors import SettingsError
from pipeline.files import HALF_CHARACTERS
from pipeline.writing.api.replies import Schema, address_of
from pipeline.writing.api.spending import DEFAULT_MODEL, OPENAI_HOST, OPENAI_URL, Price, price_of

MAX_WORKERS = 64

_REASONS = re.compile(r"gpt-(5\.[1-9]|[6-9])")
"""OpenAI's models that think before they reply unless told not to; thoughts are paid for and cut replies off."""


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

    def less(self, paid: float) -> "ApiSettings":
        """The same with a cap less what was paid already, in USD."""
        return self if self.cap is None else replace(self, cap=max(0.0, self.cap - paid))

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS:
            raise SettingsError(f"{self.workers} requests at once is not possible; choose 1 to {MAX_WORKERS}.")
        if self.cap is not None and not (math.isfinite(self.cap) and self.cap >= 0):
            raise SettingsError(f"The cap is {self.cap} USD; it must be 0 or more.")

    @property
    def address(self) -> str:
        """`base_url` as it is compared and named by."""
        return address_of(self.base_url)

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
        asked = [model, address_of(base_url), self.max_tokens, self.temperature, self.version]
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
