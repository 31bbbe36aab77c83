"""The API's addresses: who may ask, reading a request, standing in line, replying."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.answering.speaker import BATCH_SIZE, GPU_BATCH_SIZE
from pipeline.runs.settings import gpu_name
from pipeline.serving import asked, wire
from pipeline.serving.callers import Rate, is_address, is_loopback, is_own_host, network_of
from pipeline.serving.desk import Desk, Reply
from pipeline.serving.keys import BEGIN, KeyRing
from pipeline.serving.line import MOST_WAITING, Job, Line
from pipeline.serving.streams import Outbox, Stream
from pipeline.serving.transport import as_api_error, error_reply, event, hung_up, json_reply, read_body
from pipeline.serving.wire import ApiError

EMBED = Path(__file__).parent / "assets" / "embed.js"

PAGE_A_MINUTE, PAGE_WAITING = 20, 4
"""Questions of one address on the pages of the owner's list, which bring no key."""
TELL_SECONDS = 5
"""Between two comments in a stream that say which place it has."""

NO_KEY = "none"
"""What a client on this machine may send in the place of a key: most insist on one."""


@dataclass(frozen=True)
class Settings:
    """How it is served.

    Attributes:
        host, port: where it listens; port 0 is any that is free.
        origins: of the pages that may ask without a key, as browsers send them.
        is_behind_proxy: whether a proxy stands before it: then who comes from this machine is nobody special, and the address
            of a caller is the last that `X-Forwarded-For` has.
        keep_days: for how many days questions are kept; 0 is not at all.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    origins: tuple[str, ...] = ()
    is_behind_proxy: bool = False
    keep_days: int = 0


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: by which the waiting questions are counted.
        rate: by which the requests are; None where nobody counts.
        waiting: the most that may wait.
        is_page: whether it is a page of the owner's list, which may ask the served run and no other model.
    """

    name: str
    rate: Rate | None
    waiting: int
    is_page: bool = False


class Api:
    """The addresses.

    Attributes:
        line: where questions wait; once it is closed, new ones are refused.
    """

    def __init__(self, desk: Desk, settings: Settings) -> None:
        self.desk, self.settings = desk, settings
        self.line = Line(self._answer, GPU_BATCH_SIZE if gpu_name() or desk.backend else BATCH_SIZE)
        self._keys = KeyRing()
        self._rates: dict[tuple[str, int], Rate] = {}
        self._pages = Rate(PAGE_A_MINUTE, 60)
        self._outbox: Outbox | None = None

    def app(self) -> ASGIApp:
        routes = [
            Route("/health", _quick(self.health), methods=["GET"]),
            Route("/embed.js", _guarded(self.embed), methods=["GET"]),
            Route("/v1/models", _quick(self.models), methods=["GET"]),
            Route("/v1/models/{name:path}", _quick(self.model), methods=["GET"]),
            Route("/v1/chat/completions", _guarded(self.chat), methods=["POST"]),
            Route("/v1/completions", _guarded(self.complete), methods=["POST"]),
        ]
        return Door(Starlette(routes=routes, exception_handlers={HTTPException: _no_such_address}), self.settings)

    def close(self) -> None:
        """Refuse what comes from here on; what was taken is answered."""
        self.line.close()

    # --- Addresses ---

    def health(self, request: HttpRequest) -> Any:
        return {"status": "stopping" if self.line.is_closed else "ok"}

    def models(self, request: HttpRequest) -> Any:
        self.caller_of(request)
        return {"object": "list", "data": [wire.model_entry(name) for name in self.desk.models()]}

    def model(self, request: HttpRequest) -> Any:
        self.caller_of(request)
        name = request.path_params["name"]
        if self.desk.asked(name) is None:
            raise self._no_model(name)
        return wire.model_entry(name)

    async def embed(self, request: HttpRequest) -> Response:
        """The question box for a shop's pages, which asks the served run."""
        script = EMBED.read_text(encoding="utf-8").replace('"__MODEL__"', json.dumps(self.desk.run.name))
        headers = {
            "cache-control": "max-age=300",
            "cross-origin-resource-policy": "cross-origin",
            "x-content-type-options": "nosniff",
        }
        return Response(script, 200, headers, "text/javascript")

    async def chat(self, request: HttpRequest) -> Response:
        return await self._ask(request, is_chat=True)

    async def complete(self, request: HttpRequest) -> Response:
        return await self._ask(request, is_chat=False)

    async def _ask(self, request: HttpRequest, *, is_chat: bool) -> Response:
        caller = self.caller_of(request)
        wanted = wire.read_request(await read_body(request), is_chat=is_chat)
        jobs = self._admit(wanted, caller)
        stream = self._stream_of(jobs) if wanted.is_stream else None
        before = self.line.join(jobs)
        headers = {"x-queue-place": str(before), "x-queue-seconds": str(self.line.seconds(before))}
        if stream:
            headers |= {"cache-control": "no-store", "x-accel-buffering": "no"}
            return StreamingResponse(self._streamed(wanted, jobs, stream), 200, headers, "text/event-stream")
        replies = await self._whole(request, jobs)
        return json_reply(wire.whole(wanted, replies), 200, headers)

    def _admit(self, wanted: wire.Request, caller: Caller) -> list[Job]:
        """The request's questions, ready to stand in line.

        Raises:
            ApiError: there is no such model, or the caller has had enough for now.
        """
        found = self.desk.asked(wanted.model)
        if found is None or (caller.is_page and wanted.model != self.desk.run.name):
            raise self._no_model(wanted.model)
        waiting, more = self.line.waiting(), len(wanted.questions)
        if waiting + more > MOST_WAITING:
            seconds = self.line.seconds(waiting)
            raise ApiError(
                503, f"{waiting} questions wait already; ask again in {seconds} s.", "overloaded", retry_after=seconds
            )
        own = self.line.waiting(caller.name)
        if own + more > caller.waiting:
            seconds = self.line.seconds(own)
            message = f"{own} of your questions wait and the most is {caller.waiting}; ask again in {seconds} s."
            raise ApiError(429, message, "rate_limit_exceeded", retry_after=seconds)
        for _ in range(more if caller.rate else 0):
            assert caller.rate
            if wait := caller.rate.wait(caller.name):
                seconds = int(wait) + 1
                message = f"The limit is {caller.rate.most} questions a minute; ask again in {seconds} s."
                raise ApiError(429, message, "rate_limit_exceeded", retry_after=seconds)
        folder, way = found
        return [Job(folder, way, question, wanted.product, caller.name) for question in wanted.questions]

    async def _whole(self, request: HttpRequest, jobs: Sequence[Job]) -> list[Reply]:
        """The replies, unless the caller hangs up, who then leaves the line."""
        gone = asyncio.ensure_future(hung_up(request))
        replies = asyncio.ensure_future(_replies(jobs))
        try:
            await asyncio.wait({gone, replies}, return_when=asyncio.FIRST_COMPLETED)
            if not replies.done():
                raise ApiError(499, "The caller has gone.")
            return await replies
        finally:
            gone.cancel()
            replies.cancel()
            self.line.leave(jobs)

    def _stream_of(self, jobs: Sequence[Job]) -> Stream:
        """A stream that hears what is said of these jobs' answers."""
        self._outbox = self._outbox or Outbox(asyncio.get_running_loop())
        stream = Stream()
        for at, job in enumerate(jobs):
            job.tell = partial(self._outbox.put, stream, at)
        return stream

    async def _streamed(self, wanted: wire.Request, jobs: Sequence[Job], stream: Stream) -> AsyncIterator[bytes]:
        """A stream's events; whoever hangs up closes it, and leaves the line."""
        replies = asyncio.ensure_future(_replies(jobs))
        replies.add_done_callback(lambda _: stream.wake())
        chunks = wire.Chunks(wanted)
        try:
            while not replies.done():
                said = await stream.take(TELL_SECONDS)
                if not said and not replies.done():
                    yield f": place {self.line.place(jobs[-1])}\n\n".encode()
                for at, words in said.items():
                    yield event(chunks.words(at, words))
            for at, words in (await stream.take(0)).items():
                yield event(chunks.words(at, words))
            for chunk in chunks.ending(await replies):
                yield event(chunk)
        except Exception as error:
            yield event(as_api_error(error).body)
        finally:
            replies.cancel()
            self.line.leave(jobs)
        yield b"data: [DONE]\n\n"

    def _answer(self, jobs: Sequence[Job]) -> list[Reply]:
        replies = self.desk.answer(jobs)
        if self.settings.keep_days:
            whole = [reply for reply, job in zip(replies, jobs, strict=True) if not job.is_gone]
            asked.keep(whole, self.settings.keep_days)
        return replies

    # --- Callers ---

    def caller_of(self, request: HttpRequest) -> Caller:
        """Who asks.

        Raises:
            ApiError: somebody who may not.
        """
        word = request.headers.get("authorization", "")
        secret = word[7:].strip() if word[:7].casefold() == "bearer " else word.strip()
        if secret and secret != NO_KEY:
            key = self._keys.find(secret)
            if key is None:
                raise ApiError(
                    401,
                    "This key is not known, or was revoked; the owner makes one with `python -m pipeline keys add NAME`.",
                    "invalid_api_key",
                )
            return Caller(f"key {key.id}", self._rate(key.id, key.per_minute), key.waiting)
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin in self.settings.origins:
            return Caller(f"page {network_of(self._address(request))}", self._pages, PAGE_WAITING, is_page=True)
        if origin is not None or site not in (None, "none", "same-origin"):
            raise ApiError(
                403,
                f"Pages of {wire.shown_name(origin or 'another site')} may not ask here; the owner allows them with --origin.",
                "origin_not_allowed",
            )
        if self._is_here(request):
            return Caller("this machine", None, MOST_WAITING)
        raise ApiError(
            401, f"A key is needed (it begins with {BEGIN}); send it as `Authorization: Bearer …`.", "no_api_key"
        )

    def _is_here(self, request: HttpRequest) -> bool:
        return not self.settings.is_behind_proxy and is_loopback(request.client.host if request.client else "")

    def _address(self, request: HttpRequest) -> str:
        if self.settings.is_behind_proxy and (told := request.headers.getlist("x-forwarded-for")):
            return told[-1].rpartition(",")[2].strip()  # what stands before it, the caller may have written
        return request.client.host if request.client else ""

    def _rate(self, key: str, per_minute: int) -> Rate:
        return self._rates.setdefault((key, per_minute), Rate(per_minute, 60))

    def _no_model(self, name: str) -> ApiError:
        message = f"There is no model {wire.shown_name(name)} (any more); `/v1/models` lists those that there are."
        return ApiError(404, message, "model_not_found", "model")


class Door:
    """ASGI middleware before all addresses: under which name the server is called, and which pages may read its replies."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        shared = _cors(origin) if origin in self.settings.origins else []

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *shared]
            await send(message)

        if not self._is_called_so(host):
            name = f"This is not served under the name {host[:100]!r}"
            message = f"{name}; if that is yours, start it with SHELFTALK_HOSTS=that.name."
            await error_reply(ApiError(403, message, "unknown_host"))(scope, receive, send)
        elif scope["method"] == "OPTIONS" and shared:
            await Response(status_code=204)(scope, receive, send_shared)
        else:
            await self.app(scope, receive, send_shared)

    def _is_called_so(self, host: str) -> bool:
        """Off this machine a number will do, too: no other site can make it lead here."""
        return is_own_host(host) or (not is_loopback(self.settings.host) and is_address(host))


def _cors(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-expose-headers", b"retry-after, x-queue-place, x-queue-seconds"),
        (b"access-control-max-age", b"600"),
        (b"vary", b"origin"),
    ]


Address = Callable[[HttpRequest], Awaitable[Response]]


def _guarded(address: Address) -> Address:
    """An address whose every problem is an error in OpenAI's shape."""

    async def answered(request: HttpRequest) -> Response:
        try:
            return await address(request)
        except Exception as error:
            return error_reply(as_api_error(error))

    return answered


def _quick(address: Callable[[HttpRequest], Any]) -> Address:
    async def answered(request: HttpRequest) -> Response:
        return json_reply(address(request))

    return _guarded(answered)


def _no_such_address(request: HttpRequest, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    what = "is not asked in this way" if status == 405 else "is no address of this API"
    return error_reply(ApiError(status, f"{request.method} {wire.shown_name(request.url.path)} {what}.", "unknown_url"))


async def _replies(jobs: Sequence[Job]) -> list[Reply]:
    return [await asyncio.wrap_future(job.reply) for job in jobs]
