"""The pool's decisions, against simulated servers: no sleeping, no sockets, the same every time."""

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipeline.writing.api.pool import START, Control, Pool, Sent, backoff
from tests.servers.rate_limits import LIMITERS, Limiter, TokenBucket

LATENCY = 0.5


@dataclass
class Simulation:
    """Requests through a control to a server that answers in half a second. Time is a number."""

    workers: int = 32
    limiter: Limiter | None = None
    retry_after: float | None = 1.0
    faulty: Callable[[float], str] = lambda now: ""
    """What becomes of a request: "" (its reply), "refused" or "failed"."""
    requests: int = 2000
    now: float = 0.0
    refused: int = 0
    failed: int = 0
    sends: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    replies: list[float] = field(default_factory=list)

    def run(self) -> "Simulation":
        control, order = Control(self.workers), itertools.count()
        draw = random.Random(1)
        events: list[tuple[float, int, str, Sent | None]] = []
        waiting, self.now = self.requests, 100.0  # no special moment of the clock
        begun = self.now
        while len(self.replies) < self.requests:
            while waiting and control.wait(self.now) <= 0:
                waiting -= 1
                sent = control.send(self.now)
                self.sends.append(self.now - begun)
                self.limits.append((self.now - begun, int(control.limit)))
                fate = self.faulty(self.now - begun) or (
                    "refused" if self.limiter and not self.limiter.allows(self.now + draw.uniform(0, 0.01)) else ""
                )
                delay = 0.005 if fate else LATENCY * draw.uniform(0.95, 1.05)
                heapq.heappush(events, (self.now + delay, next(order), fate or "replied", sent))
            wait = control.wait(self.now) if waiting else math.inf
            if not events or self.now + wait < events[0][0]:
                self.now += max(wait, 1e-9)
                continue
            self.now, _, what, sent = heapq.heappop(events)
            if what == "back":
                waiting += 1
            elif sent and what == "replied":
                control.replied(sent, self.now)
                self.replies.append(self.now - begun)
            elif sent:
                if what == "refused":
                    self.refused += 1
                    control.refused(sent, self.now, self.retry_after)
                    pause = draw.uniform(0, 1) if self.retry_after is None else self.retry_after + draw.uniform(0, 0.1)
                else:
                    self.failed += 1
                    control.failed(sent, self.now)
                    pause = draw.uniform(0, 0.5)
                heapq.heappush(events, (self.now + pause, next(order), "back", None))
        return self

    @property
    def per_second(self) -> float:
        return self.requests / self.replies[-1]

    @property
    def refused_share(self) -> float:
        return self.refused / len(self.sends)


def test_a_server_without_limits_gets_all_workers() -> None:
    done = Simulation().run()
    assert done.per_second >= 0.9 * 32 / LATENCY
    assert sum(second < 0.1 for second in done.sends) == START


@pytest.mark.parametrize("kind", LIMITERS)
@pytest.mark.parametrize("workers", [32, 64])
def test_a_server_at_its_limit_is_used_and_seldom_refuses(kind: str, workers: int) -> None:
    done = Simulation(workers, LIMITERS[kind](40)).run()
    assert done.per_second >= 0.9 * 40
    assert done.refused_share < 0.05


@pytest.mark.parametrize("kind", LIMITERS)
@pytest.mark.parametrize("per_second", [3, 10, 55])
def test_other_limits(kind: str, per_second: int) -> None:
    """A minute each: the lower the limit, the more of it is the finding out."""
    done = Simulation(32, LIMITERS[kind](per_second), requests=60 * per_second).run()
    assert done.per_second >= (0.7 if per_second < 10 else 0.85) * per_second
    assert done.refused <= 45


@pytest.mark.parametrize("kind", LIMITERS)
def test_a_limit_without_a_word_about_waiting(kind: str) -> None:
    done = Simulation(32, LIMITERS[kind](40), retry_after=None).run()
    assert done.per_second >= 0.9 * 40
    assert done.refused_share < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_sporadic_refusals_and_failures_cost_little(seed: int) -> None:
    draw = random.Random(seed)
    busy = Simulation(retry_after=None, faulty=lambda now: "refused" if draw.random() < 0.02 else "").run()
    poor = Simulation(faulty=lambda now: "failed" if draw.random() < 0.02 else "").run()
    assert busy.refused > 20
    assert busy.per_second >= 0.9 * 32 / LATENCY
    assert poor.failed > 20
    assert poor.per_second >= 0.9 * 32 / LATENCY


def test_a_limit_that_changes_is_followed() -> None:
    class Changing(TokenBucket):
        def allows(self, now: float) -> bool:
            self.per_second = 10 if 120 <= now < 150 else 40
            return super().allows(now)

    done = Simulation(32, Changing(40, 10)).run()
    assert sum(20 <= second < 50 for second in done.replies) >= 0.9 * 10 * 30
    assert sum(60 <= second < 70 for second in done.replies) >= 0.8 * 40 * 10
    assert done.refused_share < 0.05


def test_an_outage_narrows_the_pool_and_after_it_the_pool_widens() -> None:
    done = Simulation(faulty=lambda now: "failed" if 10 <= now < 15 else "", requests=1200).run()
    assert min(limit for second, limit in done.limits if 10 < second < 15) == 1
    assert sum(18 <= second < 19 for second in done.replies) >= 0.6 * 32 / LATENCY


def test_who_asks_for_a_long_wait_stops_all_sends() -> None:
    control = Control(8)
    sent = control.send(0.0)
    control.refused(sent, 0.1, 20.0)
    assert control.wait(0.2) == pytest.approx(19.9)
    assert control.paused_for(10.0) == pytest.approx(10.1)
    assert control.wait(20.2) == 0


def test_backing_off_grows_and_is_drawn() -> None:
    assert max(backoff(1) for _ in range(200)) <= 0.5
    assert 5 < max(backoff(5) for _ in range(200)) <= 8
    assert max(backoff(30) for _ in range(200)) <= 20


async def _several(pool: Pool, count: int) -> list[int]:
    under_way, seen = 0, []

    async def one() -> None:
        nonlocal under_way
        sent = await pool.admit()
        under_way += 1
        seen.append(under_way)
        await asyncio.sleep(0)
        under_way -= 1
        pool.replied(sent)

    await asyncio.gather(*(one() for _ in range(count)))
    return seen


def test_the_pool_lets_no_more_in_than_it_may() -> None:
    seen = asyncio.run(_several(Pool(3), 50))
    assert len(seen) == 50
    assert max(seen) == 3


def test_a_request_that_may_not_go_waits_until_another_ends() -> None:
    async def work() -> list[str]:
        pool, allowed, told = Pool(3), [False], []

        async def second() -> None:
            await pool.admit(lambda: allowed[0])
            told.append("second")

        first = await pool.admit()
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        told.append("first ends")
        allowed[0] = True
        pool.replied(first)
        await waiting
        return told

    assert asyncio.run(work()) == ["first ends", "second"]
