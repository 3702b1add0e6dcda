"""Pace: how many calls run at once (additive increase, multiplicative decrease) and how many a minute."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets at most `limit` calls in; a 429 halves the limit, `limit` successes raise it by one.

    The limit stays between 1 and `concurrency`. A pause holds back all calls that have not started.
    """

    def __init__(self, concurrency: int) -> None:
        self._highest = concurrency
        self.limit = float(concurrency)
        self.inside = 0
        self.peak = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed_until = 0.0
        self._slowed_at = -math.inf

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, hold it; gives the time at which it began (time.monotonic)."""
        await self._enter()
        try:
            yield time.monotonic()
        finally:
            self.inside -= 1
            self._wake()

    def succeeded(self) -> None:
        """A call got a reply: raise the limit by 1/limit, that is by one every `limit` replies."""
        self.limit = min(self._highest, self.limit + 1 / self.limit)
        self._wake()

    def refused(self, began: float, wait: float) -> None:
        """A call that began at `began` met a 429: hold all calls for `wait` seconds, halve the limit.

        One overload answers many calls in flight with 429; only those that began after the last halving
        tell something new.
        """
        now = time.monotonic()
        if began > self._slowed_at:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)
        self._closed_until = max(self._closed_until, now + wait)

    async def _enter(self) -> None:
        while self.inside >= int(self.limit):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        try:
            while (left := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
        except BaseException:
            self.inside -= 1
            self._wake()
            raise

    def _wake(self) -> None:
        free = int(self.limit) - self.inside
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


class Pace:
    """Spreads requests and tokens evenly over the minutes: each moves the next start on by its share."""

    def __init__(self, rpm: float, tpm: float) -> None:
        self._seconds_per_request = 60 / rpm
        self._seconds_per_token = 60 / tpm
        self._next_request = 0.0
        self._next_token = 0.0

    async def reserve(self, tokens: float) -> None:
        """Wait until a request of about `tokens` tokens (prompt and reply) may start."""
        now = time.monotonic()
        start = max(now, self._next_request, self._next_token)
        self._next_request = start + self._seconds_per_request
        self._next_token = start + tokens * self._seconds_per_token
        if start > now:
            await asyncio.sleep(start - now)

    def correct(self, tokens: float) -> None:
        """A request took `tokens` more (or, negative, fewer) than was reserved for it."""
        self._next_token += tokens * self._seconds_per_token


def pause(attempt: int, first: float, cap: float) -> float:
    """Seconds to wait before repetition `attempt` (1, 2, …): even over 0..min(cap, first·2^(attempt-1)).

    The jitter is meant to differ between processes, so it is not seeded; no output depends on it.
    """
    return random.uniform(0, min(cap, first * 2 ** min(attempt - 1, 30)))
