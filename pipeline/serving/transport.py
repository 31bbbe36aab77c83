"""How a request comes and what goes back: its body, who hangs up, replies, errors and a stream's events."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.errors import PipelineError, RunError, unexpected
from pipeline.serving import wire
from pipeline.serving.wire import ApiError

LARGEST_BODY = 1_000_000
"""Bytes of a request."""
BODY_SECONDS = 30
"""Until a request's body must be there."""


async def read_body(request: Request) -> bytes:
    """A request's body.

    Raises:
        ApiError: it is too long (what is beyond is not read), or does not come.
    """
    too_long = ApiError(413, f"The request is longer than {LARGEST_BODY:,} bytes; send less.", "request_too_large")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise too_long
    if request.headers.get("content-type", "").partition(";")[0].strip().casefold() != "application/json":
        raise ApiError(415, "The body's content type is application/json.", "unsupported_media_type")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise too_long
    except TimeoutError:
        raise ApiError(408, f"The request did not come within {BODY_SECONDS} s; send it again.", "timeout") from None
    return body


async def hung_up(request: Request) -> None:
    """Returns once the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(wire.as_json(value), status, headers, "application/json")


def event(value: Any) -> bytes:
    """An object of a stream, as server-sent events have it."""
    return b"data: " + wire.as_json(value) + b"\n\n"


def error_reply(error: ApiError) -> Response:
    """An error in OpenAI's shape."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    if error.status == 413:
        headers["connection"] = "close"  # the rest is not read
    return json_reply(error.body, error.status, headers)


def as_api_error(error: Exception) -> ApiError:
    """Any problem as a caller is told it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RunError):
        return ApiError(404, str(error), "model_not_found", "model")
    if isinstance(error, PipelineError):
        return ApiError(503, str(error), "not_available", retry_after=60)
    return ApiError(500, unexpected(error), "internal_error")
