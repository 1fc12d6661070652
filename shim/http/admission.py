"""Admission of queries: how many run at once, how many may wait and how long, shared fairly between orgs.

A free slot goes to the org with the fewest running queries; ties go to an org other than the last one served,
then to its oldest query. With several orgs (`shared`), one org alone never holds every slot, so that others
need not wait for its long queries. When the queue is full, the newest query of the org with the most waiting
is refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from shim.metrics import ShimMetrics
from shim.model.errors import TimedOut


class _Waiting(NamedTuple):
    org_id: int
    turn: asyncio.Future[None]


class Slot:
    """The permission of one query to run."""

    def __init__(self) -> None:
        self._work: Future[Any] | None = None

    def lasts(self, work: Future[Any]) -> None:
        """Hold the slot until `work` has ended, even if its query is given up before."""
        self._work = work

    def ended(self, call: Callable[[], None]) -> None:
        """Call `call` in the running loop, now or when the work has ended; cancel work that has not begun."""
        work, loop = self._work, asyncio.get_running_loop()
        if work is None or work.done() or work.cancel():
            call()
            return

        def later(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: no query waits any more
                loop.call_soon_threadsafe(call)

        work.add_done_callback(later)


class Admission:
    """Admits at most `running` queries at once; at most `waiting` more wait, and the next one is refused.

    A query that ran out of time is answered at once, but keeps its slot until its thread has ended. Otherwise
    a client with short timeouts could occupy all threads, one after the other.
    """

    def __init__(self, running: int, waiting: int, metrics: ShimMetrics, *, shared: bool = False) -> None:
        self._most_running = running
        self._most_waiting = waiting
        self._most_of_one = running - 1 if shared and running > 1 else running
        self._shared = shared
        self._taken = 0
        self._running: Counter[int] = Counter()  # by org
        self._latest = 0  # who got the last turn
        self._waiting: list[_Waiting] = []  # the oldest first
        self._metrics = metrics

    @property
    def busy(self) -> bool:
        """Whether a query runs now; for any thread to ask."""
        return self._taken > 0

    @asynccontextmanager
    async def turn(self, timeout_s: float, org_id: int = 0) -> AsyncIterator[Slot]:
        """Wait for a slot, and limit the body to `timeout_s` from now. Raises TimedOut."""
        if timeout_s <= 0:
            raise TimedOut("query timed out in expression evaluation")
        where = "query queue"
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait(org_id)
                where = "expression evaluation"
                turn = Slot()
                try:
                    with self._metrics.in_flight.track_inprogress():
                        yield turn
                finally:
                    turn.ended(partial(self._give_back, org_id))
        except TimeoutError:
            raise TimedOut(f"query timed out in {where}") from None

    async def _wait(self, org_id: int) -> None:
        """Return when `org_id` has a slot, which the caller must give back."""
        if not self._waiting and self._may_run(org_id):
            self._take(org_id)
            return
        self._make_room(org_id)
        waiting = _Waiting(org_id, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._metrics.waiting.inc()
        self._hand_out()  # others may wait for a slot of this org
        try:
            await waiting.turn
        except BaseException:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif not waiting.turn.cancelled() and waiting.turn.exception() is None:
                self._give_back(org_id)  # it came at the moment we were given up
            raise
        finally:
            self._metrics.waiting.dec()

    def _may_run(self, org_id: int) -> bool:
        return self._taken < self._most_running and self._running[org_id] < self._most_of_one

    def _make_room(self, org_id: int) -> None:
        """Room for one more to wait. Raises TimedOut when it is this one that has to go."""
        if len(self._waiting) < self._most_waiting:
            return
        self._metrics.refused.labels("too_many_waiting").inc()
        refused = TimedOut("too many queries wait already (setting max_waiting)")
        counts = Counter(w.org_id for w in self._waiting)
        if self._shared and counts:
            org, most = counts.most_common(1)[0]
            if most > counts[org_id] + 1:
                newest = next(w for w in reversed(self._waiting) if w.org_id == org)
                self._waiting.remove(newest)
                newest.turn.set_exception(refused)
                return
        raise refused

    def _take(self, org_id: int) -> None:
        self._taken += 1
        self._running[org_id] += 1
        self._latest = org_id

    def _give_back(self, org_id: int) -> None:
        self._taken -= 1
        self._running[org_id] -= 1
        if not self._running[org_id]:
            del self._running[org_id]
        self._hand_out()

    def _hand_out(self) -> None:
        while ready := [w for w in self._waiting if self._may_run(w.org_id)]:
            chosen = min(ready, key=lambda w: (self._running[w.org_id], w.org_id == self._latest))
            self._waiting.remove(chosen)
            if not chosen.turn.done():  # given up, and not yet noticed
                self._take(chosen.org_id)
                chosen.turn.set_result(None)
