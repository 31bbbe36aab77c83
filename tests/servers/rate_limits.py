"""Three ways in which servers count requests. Each is told the time, so it serves a real server and a simulated one."""

from collections import deque
from typing import Protocol


class Limiter(Protocol):
    def allows(self, now: float) -> bool:
        """Whether one more request may pass now; if so it is counted."""
        ...


class TokenBucket:
    """Fills evenly, and lets a burst through when it is full."""

    def __init__(self, per_second: float, burst: float | None = None) -> None:
        self.per_second = per_second
        self.burst = per_second if burst is None else burst
        self.level, self.seen = self.burst, -1.0

    def allows(self, now: float) -> bool:
        if self.seen >= 0:
            self.level = min(self.burst, self.level + (now - self.seen) * self.per_second)
        self.seen = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class FixedWindow:
    """So many in each second of the clock."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self.window, self.used = -1, 0

    def allows(self, now: float) -> bool:
        if int(now) != self.window:
            self.window, self.used = int(now), 0
        if self.used >= self.per_second:
            return False
        self.used += 1
        return True


class SlidingWindow:
    """So many in any second."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self.passed: deque[float] = deque()

    def allows(self, now: float) -> bool:
        while self.passed and self.passed[0] <= now - 1:
            self.passed.popleft()
        if len(self.passed) >= self.per_second:
            return False
        self.passed.append(now)
        return True


LIMITERS = {"token bucket": TokenBucket, "fixed window": FixedWindow, "sliding window": SlidingWindow}
