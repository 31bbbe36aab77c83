"""Requests, what servers understand of them, and what their headers say."""

import socket
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from pipeline.errors import GenerationError, SettingsError
from pipeline.writing.api import ApiSettings, Price, Request, list_models
from pipeline.writing.api.limits import asked_wait, duration, exhausted_for
from pipeline.writing.api.requests import Dialect, strict_schema
from tests.servers.api import KEY, MODEL, ApiServer, _schema_problem


class Item(BaseModel):
    kind: Literal["a", "b"]
    note: str | None = Field(default=None, description="default")


class Form(BaseModel):
    first: Item = Field(description="a reference with something beside it")
    items: list[Item]
    by_name: str = "x"


REQUEST = Request("You echo.", '{"title": "Kite"}', Form, 500, "1")


def test_the_schema_is_strict() -> None:
    assert (
        _schema_problem(
            {"type": "json_schema", "json_schema": {"name": "f", "strict": True, "schema": strict_schema(Form)}}
        )
        == ""
    )
    assert strict_schema(Form)["properties"]["first"] == {"$ref": "#/$defs/Item"}
    assert "default" not in strict_schema(Form)["properties"]["by_name"]
    assert strict_schema(Form)["$defs"]["Item"]["properties"]["note"]["description"] == "default"


def test_the_key_of_a_request_is_of_all_that_decides_its_reply() -> None:
    class Other(BaseModel):
        items: list[Item]

    def key(model: str = "m", url: str = "http://h/v1", **changed: Any) -> str:
        return Request(**{**vars(REQUEST), **changed}).key(model, url)

    changes: list[dict[str, Any]] = [
        {"system": "s"},
        {"user": "u"},
        {"schema": Other},
        {"max_tokens": 1},
        {"version": "2"},
    ]
    keys = {key(), key("n"), key(url="http://h/v2"), key(temperature=0.0), *(key(**change) for change in changes)}
    assert len(keys) == 4 + len(changes)
    assert key() == key(url=" http://h/v1/ ")
    assert len(key()) == 64
    assert key(user="\ud800")  # half a letter, as a file name can have it


def test_openai_gets_its_own_names() -> None:
    of_openai = Dialect.of(ApiSettings()).body(REQUEST, "gpt-6-luna")
    assert of_openai["max_completion_tokens"] == 500
    assert of_openai["reasoning_effort"] == "none"
    assert "temperature" not in of_openai
    assert "reasoning_effort" not in Dialect.of(ApiSettings("gpt-4.1-mini")).body(REQUEST, "gpt-4.1-mini")
    of_others = Dialect.of(ApiSettings("gpt-6-luna", "http://localhost:8080/v1")).body(REQUEST, "m")
    assert of_others["max_tokens"] == 500
    assert not {"max_completion_tokens", "reasoning_effort"} & of_others.keys()


def test_a_dialect_learns_each_thing_once() -> None:
    dialect = Dialect(reasoning_effort=True)
    for message in (
        "response_format is not supported",
        "use max_completion_tokens",
        "unknown reasoning_effort",
        "temperature",
    ):
        assert dialect.learned(message) != dialect
        dialect = dialect.learned(message)
        assert dialect.learned(message) == dialect
    body = dialect.body(Request("s", "u", Form, 5, "1", temperature=0.5), "m")
    assert body["response_format"] == {"type": "json_object"}
    assert '"items"' in body["messages"][0]["content"]
    assert body.keys() == {"model", "messages", "response_format", "max_completion_tokens"}
    assert dialect.learned("your prompt is bad") == dialect


def test_settings_are_checked_and_hide_the_key() -> None:
    for wrong in (0, 65, -1):
        with pytest.raises(SettingsError, match=f"{wrong} requests at once"):
            ApiSettings(workers=wrong)
    for cap in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="The cap is"):
            ApiSettings(cap=cap)
    with pytest.raises(SettingsError, match="The price is -1"):
        Price(-1, 0)
    assert KEY not in repr(ApiSettings(api_key=KEY))


def test_waits_that_are_asked_for() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert asked_wait({"retry-after": "20"}) == 20
    assert asked_wait({"retry-after": " 1.5 "}) == 1.5
    assert asked_wait({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    assert asked_wait({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, now) == 30
    assert asked_wait({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, now) == 0
    for nothing in ({}, {"retry-after": ""}, {"retry-after": "soon"}, {"retry-after": "-5"}, {"retry-after": "nan"}):
        assert asked_wait(nothing) is None


def test_durations() -> None:
    assert [duration(text) for text in ("1s", "6m0s", "120ms", "1h2m3.5s", "2.5")] == [1, 360, 0.12, 3723.5, 2.5]
    assert [duration(text) for text in ("", "s", "1 year", "-1s", "6m0")] == [None] * 5


def test_what_is_left_of_a_limit() -> None:
    def headers(remaining: str, reset: str, resource: str = "requests", limit: str = "500") -> dict[str, str]:
        named = {"limit": limit, "remaining": remaining, "reset": reset}
        return {f"x-ratelimit-{name}-{resource}": value for name, value in named.items()}

    assert exhausted_for({}, 100) == 0
    assert exhausted_for(headers("1", "60s"), 100) == 0
    assert exhausted_for(headers("0", "1m"), 100) == 60
    assert exhausted_for(headers("99", "120ms", "tokens"), 100) == 0.12
    assert exhausted_for(headers("100", "120ms", "tokens"), 100) == 0
    assert exhausted_for(headers("99", "120ms", "tokens", "50"), 100) == 0  # never enough
    assert exhausted_for(headers("no", "who knows"), 100) == 0
    assert exhausted_for(headers("0", "who knows"), 100) == 0


def test_models_are_listed() -> None:
    with ApiServer() as api:
        assert list_models(api.url, KEY) == ["another", MODEL]
        with pytest.raises(GenerationError, match=r"does not accept the API key \(401\)"):
            list_models(api.url, "sk-wrong")
        with pytest.raises(GenerationError, match="has no list of models"):
            list_models(api.url + "/deeper", KEY)


def test_nobody_at_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, and nobody else gets the port
        port = taken.getsockname()[1]
        with pytest.raises(GenerationError, match=f"127.0.0.1:{port} cannot be reached"):
            list_models(f"http://127.0.0.1:{port}/v1", KEY)


NO_ADDRESSES = ["", "api.openai.com/v1", "ftp://host/v1", "file:///etc/passwd", "http://", "http://a b/v1"]
NO_ADDRESSES += ["http://a..b/v1", "http://" + "a" * 64, "http://host:99999/v1", "http://[::zz]/v1"]


@pytest.mark.parametrize("address", [*NO_ADDRESSES, "http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(GenerationError, match="The API's address") as caught:
        list_models(address, KEY)
    assert "secret" not in str(caught.value)
