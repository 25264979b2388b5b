"""How many requests somebody may make: a bucket of tokens for each key, filled at a steady rate."""

import math
import threading
import time
from collections.abc import Callable

KEYS = 10_000  # buckets kept; full ones are forgotten first, since a new one is full too


class Rate:
    """`burst` requests at once, then `per_second` of them. Safe to use from several threads."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic):
        self.burst = burst
        self.per_second = per_second
        self.clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # key: (tokens, when there were so many)
        self._lock = threading.Lock()

    def wait(self, key: str) -> int:
        """0 where `key` may go on, which takes one token; else the seconds until it may, at least 1."""
        with self._lock:
            now = self.clock()
            tokens = self._tokens(key, now)
            if tokens < 1:
                return max(1, math.ceil((1 - tokens) / self.per_second))
            if key not in self._buckets and len(self._buckets) >= KEYS:
                self._forget(now)
            self._buckets[key] = tokens - 1, now
            return 0

    def _tokens(self, key: str, now: float) -> float:
        tokens, since = self._buckets.get(key, (self.burst, now))
        return min(self.burst, tokens + (now - since) * self.per_second)

    def _forget(self, now: float) -> None:
        waiting = {key: value for key, value in self._buckets.items() if self._tokens(key, now) < self.burst}
        fullest = sorted(waiting, key=lambda key: self._tokens(key, now), reverse=True)
        for key in fullest[: max(0, len(waiting) - KEYS // 2)]:  # a flood of addresses: the busiest ones stay known
            del waiting[key]
        self._buckets = waiting
