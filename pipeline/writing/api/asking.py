"""One request until there is a reply: from the journal, from another that asks the same, or from the server.

The only place that repeats a request. Every reply is in the journal before anybody gets it.
"""

import asyncio
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import GenerationError
from pipeline.writing.api.client import Trouble, async_client, send
from pipeline.writing.api.pool import Pool, backoff
from pipeline.writing.api.replies import NO_REPLY, Journal, Reply, Schema, UnusableReply, read_reply
from pipeline.writing.api.requests import ApiSettings, Dialect, Request
from pipeline.writing.api.spending import Ledger

if TYPE_CHECKING:
    import openai

MAX_TRIES = 8
"""Of a request that fails while others get replies."""
FIRST_TRIES = 4
"""Of a request while nothing has ever worked: then it is rather the address than the weather."""
MAX_REFUSALS = 10
"""Of a request (429) while no other gets a reply."""
MAX_LOST = 3
"""Requests given up one after another, without a reply between them, after which the run ends."""
MAX_WAIT = 600
"""Seconds a server may ask to wait; who asks for more has a limit a day, and the run ends."""
STEPS_OF_SENDING = 10
"""Turns of the event loop in which the HTTP library hands a request to the network."""
GRACE_SECONDS = 10
"""For replies that are on their way when the run ends with an error: they are paid for."""


class Interrupted(GenerationError):
    """Stopped by the user or by the cap; what has arrived is kept, and going on later asks only for the rest."""


class Halted(Exception):
    """The run is ending for a reason that is known already; nothing new is sent."""


class _UnderWay:
    """The requests that this process waits for, of all its threads, so that two who ask the same send one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[tuple[str, str], Future[None]] = {}

    def claim(self, name: tuple[str, str]) -> Future[None] | None:
        """Nothing if the request is now the caller's to send; else what ends when the other's has."""
        with self._lock:
            if name in self._futures:
                return self._futures[name]
            self._futures[name] = Future()
            return None

    def release(self, name: tuple[str, str]) -> None:
        with self._lock:
            future = self._futures.pop(name)
        future.set_result(None)


_UNDER_WAY = _UnderWay()


@dataclass
class Tally:
    """What the replies of one product, or of a run, came to."""

    asked: int = 0
    """Replies that were paid for."""
    reused: int = 0
    """Replies that were in the journal."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Of all replies, paid for now or earlier."""
    paid: float = 0.0
    """USD for `asked`, if the price is known."""
    seconds: float = 0.0
    """That the replies took, one after another."""

    def add(self, other: "Tally") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Asker:
    """Gets replies for a run. `halt` ends it: what is under way may arrive, nothing new is sent."""

    api: ApiSettings
    journal: Journal
    pool: Pool
    ledger: Ledger
    dialect: Dialect
    refused: int = 0
    failed: int = 0
    sleeping: int = 0
    arrived: int = 0
    reused: int = 0
    reason: BaseException | None = None
    _lost: int = 0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _requests: set[asyncio.Task[Reply]] = field(default_factory=set)
    _client: "openai.AsyncOpenAI | None" = None

    @classmethod
    def of(cls, api: ApiSettings, journal: Journal) -> "Asker":
        return cls(api, journal, Pool(api.workers), Ledger(api.known_price, api.cap), Dialect.of(api))

    async def ask(self, request: Request[Schema], tally: Tally) -> Schema:
        """The reply to a request, in its schema.

        Raises:
            UnusableReply: it is of no use.
            Halted: the run is ending.
            GenerationError: the API refuses every request, or cannot be reached.
        """
        key = request.key(self.api.model, self.api.base_url)
        name = (str(self.journal.path), key)
        while (reply := self.journal.get(key)) is None:
            if self.reason:
                raise Halted
            if other := _UNDER_WAY.claim(name):
                await asyncio.shield(asyncio.wrap_future(other))
                continue
            reply = await asyncio.shield(self._start(self._fetch(request, key), name))
            self._count(tally, request, reply, paid=True)
            # What is done with a reply takes a while; let the request that has its place go out first.
            for _ in range(STEPS_OF_SENDING):
                await asyncio.sleep(0)
            return read_reply(reply, request.schema)
        self.reused += 1
        self._count(tally, request, reply, paid=False)
        return read_reply(reply, request.schema)

    def halt(self, reason: BaseException) -> None:
        """End the run; the first reason is the one that is told."""
        if not self.reason and not isinstance(reason, Interrupted):
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abandon)
        self.reason = self.reason or reason
        self._ended.set()
        self.pool.wake()

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._requests, return_exceptions=True)
        if self._client:
            await self._client.close()

    def _abandon(self) -> None:
        for task in self._requests:
            task.cancel()

    def _start(self, fetching: Coroutine[Any, Any, Reply], name: tuple[str, str]) -> "asyncio.Task[Reply]":
        """A request of its own: it goes on, and its reply is kept, though whoever asked has gone."""
        task = asyncio.get_running_loop().create_task(fetching)
        self._requests.add(task)

        def ended(task: "asyncio.Task[Reply]") -> None:
            self._requests.discard(task)
            _UNDER_WAY.release(name)
            if not task.cancelled():
                task.exception()  # seen, though nobody may ask for it any more

        task.add_done_callback(ended)
        return task

    def _count(self, tally: Tally, request: Request[Any], reply: Reply, paid: bool) -> None:
        tokens_in, tokens_out, _ = _tokens(request, reply)
        price = self.ledger.price.of(tokens_in, tokens_out) if self.ledger.price and paid else 0.0
        tally.add(Tally(int(paid), int(not paid), tokens_in, tokens_out, price, reply.seconds))

    async def _fetch(self, request: Request[Any], key: str) -> Reply:
        self._client = self._client or async_client(self.api)
        tokens = request.most_tokens()
        worst = self.ledger.worst(tokens, request.max_tokens)
        tries = _Tries(self.arrived)
        while True:
            sent = await self.pool.admit(lambda: self._may_send(worst))
            dialect = self.dialect
            self.ledger.reserved += worst
            try:
                body = dialect.body(request, self.api.model)
                answer = await send(self._client, body, self.api, tokens // 4 + request.max_tokens)
            except Trouble as trouble:
                self.ledger.reserved -= worst
                self.ledger.perhaps += worst * trouble.sent
                if trouble.kind == "limit":
                    self.pool.refused(sent, trouble.wait)
                    await self._sleep(self._delay_of_refusal(trouble, tries))
                elif trouble.kind == "failed":
                    self.pool.failed(sent)
                    await self._sleep(self._delay_of_failure(trouble, tries))
                else:
                    self.pool.failed(sent)
                    self._adapt(dialect, trouble)
                continue
            except BaseException:
                self.ledger.reserved -= worst
                self.pool.failed(sent)
                raise
            self._arrived(request, key, answer.reply, worst)
            self.pool.replied(sent, answer.pause)
            return answer.reply

    def _may_send(self, worst: float) -> bool:
        if self.reason:
            raise Halted
        if self.ledger.fits(worst):
            return True
        if self.pool.control.in_flight:
            return False  # the others may cost less than what is reserved for them
        reached = Interrupted(
            f"The cap of {self.api.cap:.2f} USD leaves no room for another request ({self.ledger.spent:.4f} USD spent); "
            "raise it to go on: only the rest is asked for."
        )
        raise self._ended_by(reached)

    def _ended_by(self, error: GenerationError) -> GenerationError:
        """The error, after which nothing is sent any more: others' turn would come before it reaches the run."""
        self.halt(error)
        return error

    def _arrived(self, request: Request[Any], key: str, reply: Reply, worst: float) -> None:
        self.ledger.reserved -= worst
        self.ledger.pay(*_tokens(request, reply))
        self.arrived += 1
        self._lost = 0
        self.journal.append(key, reply)

    def _adapt(self, used: Dialect, trouble: Trouble) -> None:
        """Go on in a way that the server understands, or end."""
        if self.dialect == used:
            self.dialect = used.learned(trouble.message)
        if self.dialect == used:
            raise self._ended_by(GenerationError(trouble.sentence)) from None

    def _delay_of_refusal(self, trouble: Trouble, tries: "_Tries") -> float:
        self.refused += 1
        tries.refusals += 1
        if trouble.wait is not None and trouble.wait > MAX_WAIT:
            minutes = round(trouble.wait / 60)
            asked = f"{trouble.sentence[:-1]}: it asks to wait {minutes:,} minutes."
            raise self._ended_by(GenerationError(asked)) from None
        if tries.refusals % MAX_REFUSALS == 0:
            if self.arrived == tries.arrived:
                raise self._ended_by(GenerationError(trouble.sentence)) from None
            tries.arrived = self.arrived
        return backoff(tries.refusals) if trouble.wait is None else trouble.wait + random.uniform(0, 0.1)

    def _delay_of_failure(self, trouble: Trouble, tries: "_Tries") -> float:
        self.failed += 1
        tries.failures += 1
        worked = self.arrived or self.reused
        if tries.failures >= (MAX_TRIES if worked else FIRST_TRIES):
            self._lost += 1
            if not worked or self._lost >= MAX_LOST:
                raise self._ended_by(GenerationError(trouble.sentence)) from None
            raise UnusableReply(NO_REPLY) from None
        return min(trouble.wait or 0.0, MAX_WAIT) + backoff(tries.failures)

    async def _sleep(self, seconds: float) -> None:
        """Wait before the next try, without a place in the pool; no longer than the run goes on."""
        self.sleeping += 1
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
        finally:
            self.sleeping -= 1
        raise Halted


@dataclass
class _Tries:
    """Of one request."""

    arrived: int
    """Replies to others when it was first sent, or last judged."""
    failures: int = 0
    refusals: int = 0


def _tokens(request: Request[Any], reply: Reply) -> tuple[int, int, bool]:
    """Tokens in and out, and whether they are estimated by length: four letters a token."""
    if reply.tokens_in is not None and reply.tokens_out is not None:
        return reply.tokens_in, reply.tokens_out, False
    return request.most_tokens() // 4, len(reply.content or "") // 4 + 1, True
