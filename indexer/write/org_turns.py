"""Turns for heavy work: one org never has all of them while another one works.

Heavy work is Python code and long C calls over whole columns: two such threads keep the interpreter from all
others. So an org has one turn at once as soon as a second org was seen, and a free turn goes to an org other
than the last one served, to its oldest request. Pure but for its futures.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class _Waiting(NamedTuple):
    org_id: int
    turn: asyncio.Future[None]


class OrgTurns:
    """Gives at most `max_running` turns at once, one per org if there are several. For one event loop."""

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._running: Counter[int] = Counter()
        self._waiting: list[_Waiting] = []
        self._first_org: int | None = None
        self._several = False
        self._latest: int | None = None

    def note(self, org_id: int) -> None:
        """Note that an org works; light work needs no turn."""
        if self._first_org is None:
            self._first_org = org_id
        self._several = self._several or org_id != self._first_org

    @asynccontextmanager
    async def turn(self, org_id: int, wait_s: float | None = None) -> AsyncIterator[None]:
        """Hold a turn of an org. Raises TimeoutError if it does not come within `wait_s`."""
        self.note(org_id)
        async with asyncio.timeout(wait_s):
            await self._wait(org_id)
        try:
            yield
        finally:
            self._give_back(org_id)

    async def _wait(self, org_id: int) -> None:
        if not self._waiting and self._may_run(org_id):
            self._take(org_id)
            return
        one = _Waiting(org_id, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._hand_out()  # those that wait may be of orgs that must
        try:
            await one.turn
        except BaseException:
            if one in self._waiting:
                self._waiting.remove(one)
            elif not one.turn.cancelled():
                self._give_back(org_id)  # served at the moment it was given up
            raise

    def _may_run(self, org_id: int) -> bool:
        alone = not self._several or not self._running[org_id]
        return self._running.total() < self._max_running and alone

    def _take(self, org_id: int) -> None:
        self._running[org_id] += 1
        self._latest = org_id

    def _give_back(self, org_id: int) -> None:
        self._running[org_id] -= 1
        if not self._running[org_id]:
            del self._running[org_id]
        self._hand_out()

    def _hand_out(self) -> None:
        while ready := [one for one in self._waiting if self._may_run(one.org_id)]:
            chosen = min(ready, key=lambda one: one.org_id == self._latest)
            self._waiting.remove(chosen)
            if not chosen.turn.done():  # given up, and not yet noticed
                self._take(chosen.org_id)
                chosen.turn.set_result(None)
