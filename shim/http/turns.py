"""Turns: how many queries run at a time, how many may wait, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shim.errors import TimedOut
from shim.metrics import ShimMetrics


class Turns:
    """At most `running` at a time; at most `waiting` more wait, and the next one is refused.

    A query that ran out of time gives its turn back at once, though its thread may finish a little later:
    the pool of threads is the harder bound.
    """

    def __init__(self, running: int, waiting: int, metrics: ShimMetrics) -> None:
        self._running = asyncio.Semaphore(running)
        self._most_waiting = waiting
        self._waiting = 0
        self._taken = 0
        self._metrics = metrics

    @property
    def busy(self) -> bool:
        """Whether a query runs now; for any thread to ask."""
        return self._taken > 0

    @asynccontextmanager
    async def turn(self, timeout_s: float) -> AsyncIterator[None]:
        """Waits for a turn, and holds the body to `timeout_s` from now. Raises TimedOut."""
        if timeout_s <= 0:
            raise TimedOut("query timed out in expression evaluation")
        if self._running.locked() and self._waiting >= self._most_waiting:
            self._metrics.refused.labels("too_many_waiting").inc()
            raise TimedOut(f"{self._waiting} queries wait already (setting max_waiting)")
        where = "query queue"
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait()
                where = "expression evaluation"
                try:
                    self._taken += 1
                    with self._metrics.in_flight.track_inprogress():
                        yield
                finally:
                    self._taken -= 1
                    self._running.release()
        except TimeoutError:
            raise TimedOut(f"query timed out in {where}") from None

    async def _wait(self) -> None:
        self._waiting += 1
        self._metrics.waiting.inc()
        try:
            await self._running.acquire()
        finally:
            self._waiting -= 1
            self._metrics.waiting.dec()
