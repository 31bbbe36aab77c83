"""How many requests are under way and how fast they are sent: a pool that finds out what its server allows.

Two limits hold at once. `limit` is the number of requests under way: it grows with every reply (doubling at first) and
shrinks when a large share of what comes back is no reply. `rate` is the number of sends a second: it is infinite until
a server shows that it counts them, is then learned from what the server accepted, and from there creeps upward.
A few refusals without a request to wait (other customers' peaks) only delay the requests that they meet.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

START = 10
"""Requests under way at first, if there are that many workers."""
WINDOW_SECONDS = 1.0
"""Over which servers count, and so over which the accepted sends are counted."""
JUDGED = 60
"""The last results of which shares are taken."""
SPORADIC_SHARE = 0.15
"""Of refusals without a request to wait, below which they count as sporadic."""
SPORADIC_SHARE_AT_RATE = 0.1
"""The same once a rate is known, which is then the likelier cause."""
OVERLOAD_SHARE = 0.3
"""Of failures and refusals, from which on fewer requests are under way."""
SLOWER = 0.7
"""The factor of `limit` then."""
MARGIN = 0.985
"""The share of the measured rate that is sent."""
SLOWEST = 0.5
"""Sends a second, however often the server refuses: then each request's own wait is longer."""
STEP = 0.005
"""Of the rate, added after each second without a refusal."""
QUIET_STEPS = 3
STEP_GROWTH = 1.8
"""Of the step, after each second more than `QUIET_STEPS` without a refusal: the limit is not near, or was raised."""
KEPT_SECONDS = 4.0
"""For which sends are remembered."""
LONG_WAIT = 2.0
"""Seconds: who asks for more lets nobody else in either, so all wait."""
GAP = 0.5
"""Between two sends, of the even distance. Below 1, so that what a late wake-up missed is caught up with."""


@dataclass
class Sent:
    """One request under way."""

    time: float
    refused: bool = False


class Control:
    """Decides when the next request may be sent. It has no clock and never waits: every method is told the time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.limit = float(min(START, workers))
        self.rate = math.inf
        self.in_flight = 0
        self._threshold = math.inf  # of `limit`, up to which it doubles
        self._sends: deque[Sent] = deque()
        self._results: deque[bool] = deque(maxlen=JUDGED)  # refused?
        self._troubles: deque[bool] = deque(maxlen=20)  # refused or failed?
        self._paused_until = -math.inf
        self._slowed = -math.inf
        self._narrowed = -math.inf
        self._stepped = -math.inf
        self._quiet = 0
        self._worked = True  # something that was sent since it was narrowed

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent: 0 is now, infinity is when another ends."""
        if self._paused_until > now:
            return self._paused_until - now
        if self.in_flight >= max(1, int(self.limit)):
            return math.inf
        return max(0.0, self._due() - now)

    def paused_for(self, now: float) -> float:
        return max(0.0, self._paused_until - now)

    def send(self, now: float) -> Sent:
        sent = Sent(now)
        self.in_flight += 1
        self._sends.append(sent)
        while self._sends[0].time < now - KEPT_SECONDS:
            self._sends.popleft()
        self._probe(now)
        return sent

    def replied(self, sent: Sent, now: float) -> None:
        self._ended(refused=False, trouble=False)
        self._worked |= sent.time > self._narrowed
        if self.limit < self._threshold:
            self.limit += 1
        else:
            self.limit += max(1.0, self.limit / 8) / self.limit
        self.limit = min(self.limit, self.workers)

    def failed(self, sent: Sent, now: float) -> None:
        self._ended(refused=False, trouble=True)
        self._narrow(sent, now)

    def refused(self, sent: Sent, now: float, asked_wait: float | None) -> None:
        """The server took the request for one too many."""
        sent.refused = True
        self._ended(refused=True, trouble=True)
        if asked_wait is not None and asked_wait >= LONG_WAIT:
            self.pause(now, asked_wait)
        sporadic = SPORADIC_SHARE if math.isinf(self.rate) else SPORADIC_SHARE_AT_RATE
        if asked_wait is not None or sum(self._results) >= sporadic * JUDGED:
            self._slow(sent, now)
        self._narrow(sent, now)

    def pause(self, now: float, seconds: float) -> None:
        """Send nothing for a while."""
        self._paused_until = max(self._paused_until, now + seconds)

    def _due(self) -> float:
        """When the next send is due at the rate: no more in any second than that, and about evenly.

        It holds for a server that counts in windows of a second, fixed or sliding, and for one with a bucket of tokens.
        """
        if math.isinf(self.rate) or not self._sends:
            return -math.inf
        due = self._sends[-1].time + GAP / self.rate
        count = math.ceil(self.rate)
        return max(due, self._sends[-count].time + count / self.rate) if len(self._sends) >= count else due

    def _ended(self, refused: bool, trouble: bool) -> None:
        self.in_flight -= 1
        self._results.append(refused)
        self._troubles.append(trouble)

    def _narrow(self, sent: Sent, now: float) -> None:
        """Fewer at once, if trouble is common. What was sent before the last such step says nothing about it."""
        full = len(self._troubles) == self._troubles.maxlen
        if full and sum(self._troubles) >= OVERLOAD_SHARE * len(self._troubles) and sent.time > self._narrowed:
            self.limit = max(1.0, self.limit * SLOWER)
            if self._worked:  # an outage narrows again and again, and after it the pool may widen as fast as it did
                self._threshold = self.limit
            self._worked = False
            self._narrowed = now

    def _slow(self, sent: Sent, now: float) -> None:
        """Learn the rate from the second before a refusal: what the server accepted in it is what it allows.

        The first time all that was sent counts, too much rather than too little: that is soon found out. Later there are
        two measures, and the higher one counts: the other is too low where this process itself came late with its sends.
        """
        first = math.isinf(self.rate)
        end = now if first else sent.time  # what was sent after it may be refused yet
        begun = max(self._slowed, end - WINDOW_SECONDS, self._sends[0].time)
        self._quiet = 0
        if end - begun < (0.25 if first else 0.99) * WINDOW_SECONDS:
            return  # the change before has not shown its effect yet
        window = [other for other in self._sends if begun < other.time <= end]
        accepted = sum(not other.refused for other in window)
        measured = accepted / (end - begun)
        if not first:
            measured = MARGIN * min(self.rate, max(measured, self.rate * accepted / len(window)))
        self.rate = max(measured, SLOWEST) if first else max(measured, self.rate / 2, SLOWEST)
        self._slowed = self._stepped = now

    def _probe(self, now: float) -> None:
        """A little faster after each quiet second, if the rate is what holds the sends back."""
        if math.isinf(self.rate) or now - self._stepped < 1.0:
            return
        self._stepped = now
        recent = sum(other.time > now - 2 * WINDOW_SECONDS for other in self._sends)
        if recent >= 0.8 * self.rate * 2 * WINDOW_SECONDS - 1:
            self._quiet += 1
            self.rate += self.rate * STEP * STEP_GROWTH ** max(0, self._quiet - QUIET_STEPS)


class Pool:
    """A control with a clock: `await admit()` before a request, one of the endings after it."""

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.control = Control(workers)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def admit(self, ready: Callable[[], bool] = lambda: True) -> Sent:
        """Wait for one's turn.

        Args:
            ready: whether the request may be sent for reasons of its own; asked again whenever a request ends. What it
                raises leaves.
        """
        async with self._turn:
            while True:
                now = self._clock()
                wait = self.control.wait(now) if ready() else math.inf
                if wait <= 0:
                    return self.control.send(now)
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(wait) else wait):
                        await self._changed.wait()

    def replied(self, sent: Sent, pause: float = 0.0) -> None:
        """A reply came; `pause` is how long the server takes no more, by its headers."""
        now = self._clock()
        self.control.replied(sent, now)
        if pause:
            self.control.pause(now, pause)
        self.wake()

    def failed(self, sent: Sent) -> None:
        self.control.failed(sent, self._clock())
        self.wake()

    def refused(self, sent: Sent, asked_wait: float | None) -> None:
        self.control.refused(sent, self._clock(), asked_wait)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()

    @property
    def paused_for(self) -> float:
        return self.control.paused_for(self._clock())


def backoff(tries: int, base: float = 0.5, most: float = 20.0) -> float:
    """Seconds before the next try: exponential with full jitter, so that those who failed together return apart."""
    return random.uniform(0, min(most, base * 2 ** (tries - 1)))
