"""Works through products: many at once, each with the requests it takes, to results in the order of the products."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import GenerationError
from pipeline.writing.api.asking import Asker, Halted, Interrupted, Tally
from pipeline.writing.api.client import host_of
from pipeline.writing.api.progress import WritingProgress
from pipeline.writing.api.replies import Schema, journal, read_reply
from pipeline.writing.api.requests import ApiSettings, Request

TICK_SECONDS = 0.2
"""How often progress is told and `stop` is looked at."""

P = TypeVar("P")
"""What is written about; the transport knows nothing of it."""
T = TypeVar("T")


class Ask(Protocol):
    """`await ask(request)`: the reply in the request's schema, or `UnusableReply`."""

    def __call__(self, request: Request[Schema], /) -> Awaitable[Schema]: ...


Write = Callable[[P, Ask], Awaitable[T]]


def work_through(
    products: Sequence[P],
    write: Write[P, T],
    api: ApiSettings,
    *,
    on_progress: Callable[[WritingProgress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> list[T]:
    """Call `write` for every product, many at once, and give it replies.

    `write` awaits `ask(request)` as often as it needs, also for several requests at once. Every reply is kept before
    `ask` returns it, so a run that ends at any moment and is started again asks only for what is missing.

    Raises:
        Interrupted: `stop` was set, or the next request could pass the cap. What was under way is kept.
        GenerationError: the API refuses every request or cannot be reached, or there is a cap without a price.
    """
    check_cap(api)
    return asyncio.run(_work(products, write, api, on_progress, stop or threading.Event()))


def check_cap(api: ApiSettings) -> None:
    host_of(api.base_url)
    if api.cap is not None and api.known_price is None:
        raise GenerationError(
            f"The price of {api.model} is unknown, so a cap of {api.cap:.2f} USD cannot be kept; give the price, or take "
            "the cap off."
        )


async def _work(
    products: Sequence[P],
    write: Write[P, T],
    api: ApiSettings,
    on_progress: Callable[[WritingProgress], None],
    stop: threading.Event,
) -> list[T]:
    with journal(api.model, api.base_url) as replies:
        run = _Run(products, write, Asker.of(api, replies), on_progress, stop)
        return await run.work()


class _Run(Generic[P, T]):
    def __init__(
        self,
        products: Sequence[P],
        write: Write[P, T],
        asker: Asker,
        on_progress: Callable[[WritingProgress], None],
        stop: threading.Event,
    ) -> None:
        self.products, self.write, self.asker = products, write, asker
        self.on_progress, self.stop = on_progress, stop
        self.begun = time.monotonic()
        self.results: dict[int, T] = {}
        self.finished = Tally()
        self.paying = 0  # finished products with a reply that was paid for
        self.all = Tally()

    async def work(self) -> list[T]:
        todo = iter(enumerate(self.products))
        # More products than places, so that one whose request waits for its next try leaves no place empty.
        count = min(len(self.products), 2 * self.asker.api.workers)
        workers = [asyncio.create_task(self._worker(todo)) for _ in range(count)]
        ticker = asyncio.create_task(self._tick())
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        except asyncio.CancelledError as cancelled:
            self.asker.halt(cancelled)
            raise
        finally:
            await self.asker.close()
            ticker.cancel()
            await asyncio.gather(ticker, *workers, return_exceptions=True)
        self.on_progress(self.progress())
        reason = self.asker.reason
        if reason and (len(self.results) < len(self.products) or not isinstance(reason, Interrupted)):
            raise self._with_how_far(reason)
        return [self.results[index] for index in range(len(self.products))]

    async def _worker(self, todo: Iterator[tuple[int, P]]) -> None:
        for index, product in todo:
            if self.asker.reason:
                return
            try:
                await self._one(index, product)
            except Halted:
                return
            except Exception as error:
                self.asker.halt(error)
                return

    async def _one(self, index: int, product: P) -> None:
        tally = Tally()

        async def ask(request: Request[Schema], /) -> Schema:
            mine = Tally()
            try:
                return await self.asker.ask(request, mine)
            finally:
                tally.add(mine)
                self.all.add(mine)

        self.results[index] = await self.write(product, ask)
        if not len(self.results) % 64:
            await asyncio.sleep(0)  # products that the journal has all of would leave no moment to tell progress
        self.finished.add(tally)
        self.paying += bool(tally.asked)

    async def _tick(self) -> None:
        try:
            while True:
                self.on_progress(self.progress())
                await asyncio.sleep(TICK_SECONDS)
                if self.stop.is_set():
                    self.asker.halt(Interrupted("Stopped"))
        except Exception as error:
            self.asker.halt(error)

    def _with_how_far(self, reason: BaseException) -> BaseException:
        """The reason, with how far the run came."""
        if not isinstance(reason, Interrupted):
            return reason
        far = f"after {len(self.results):,} of {len(self.products):,} products"
        if str(reason) == "Stopped":
            return Interrupted(f"Stopped {far}; going on later asks only for the rest.")
        return Interrupted(f"{reason} It came to an end {far}.")

    def progress(self) -> WritingProgress:
        asker, ledger, control = self.asker, self.asker.ledger, self.asker.pool.control
        seconds = time.monotonic() - self.begun
        per_second = asker.arrived / seconds if seconds > 0 else 0.0
        left = len(self.products) - len(self.results)
        more = left * self.finished.asked / self.paying if self.paying else None
        requests = None if more is None else max(0.0, self.finished.asked + more - asker.arrived)
        projected = left * self.finished.paid / self.paying if self.paying else None
        worth = ledger.price.of(self.all.tokens_in, self.all.tokens_out) if ledger.price else None
        return WritingProgress(
            done=len(self.results),
            total=len(self.products),
            workers=asker.api.workers,
            asked=asker.arrived,
            reused=asker.reused,
            refused=asker.refused,
            failed=asker.failed,
            in_flight=control.in_flight,
            limit=int(control.limit),
            per_second=per_second,
            reply_seconds=self.all.seconds / max(1, self.all.asked + self.all.reused),
            seconds=seconds,
            seconds_left=0.0 if not left else requests / per_second if requests is not None and per_second else None,
            spent=ledger.spent,
            projected=self._projected(projected, left),
            worth=worth,
            tokens_in=ledger.tokens_in,
            tokens_out=ledger.tokens_out,
            estimated=ledger.estimated,
            waiting=self._waiting(),
        )

    def _projected(self, rest: float | None, left: int) -> float | None:
        spent = self.asker.ledger.spent
        if spent is None or not left:
            return spent
        return None if rest is None else max(spent, self.finished.paid + rest)

    def _waiting(self) -> str:
        asker = self.asker
        if (pause := asker.pool.paused_for) >= 1:
            return f"the server asks to wait {pause:.0f} s"
        if asker.sleeping and not asker.pool.control.in_flight:
            return "the server does not answer; trying again"
        return ""


class _Missing(Exception):
    """A reply that the journal lacks."""


def needed(products: Sequence[P], write: Write[P, Any], api: ApiSettings) -> list[Request[Any]]:
    """The requests whose replies the journal lacks, as far as can be told now: later calls may depend on their replies."""
    return asyncio.run(_needed(products, write, api))


async def _needed(products: Sequence[P], write: Write[P, Any], api: ApiSettings) -> list[Request[Any]]:
    missing: dict[str, Request[Any]] = {}
    with journal(api.model, api.base_url) as replies:

        async def ask(request: Request[Schema], /) -> Schema:
            key = request.key(api.model, api.base_url)
            if reply := replies.get(key):
                return read_reply(reply, request.schema)
            missing[key] = request
            raise _Missing

        for product in products:
            try:
                await write(product, ask)
            except _Missing:
                await asyncio.sleep(0)  # lets calls that were made at once with the missing one say what they need
    return list(missing.values())
