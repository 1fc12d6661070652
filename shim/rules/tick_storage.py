"""Stores the parts of a tick: sends each under its key, and follows the cuts that an earlier shim made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from shim.indexers.message_writes import StoreMessages
from shim.metrics import ShimMetrics
from shim.model.errors import BadData, Unavailable
from shim.rules.tick_requests import TickPart, TickParts, TickRequest

_log: Final = logging.getLogger("shim.rules")

#: Seconds that a request to the indexers may take with the wait for a thread: then alerts go on without it.
_MAX_STORE_S: Final = 30.0
#: Messages that are taken apart here; more are handed to a thread.
_AT_ONCE: Final = 500
#: Requests of one tick that are sent at once.
_SENT_AT_ONCE: Final = 16
Outcome = Literal["stored", "known", "refused"]


@dataclass(slots=True)
class TickStorage:
    """The parts of one tick on their way.

    `apart` cuts a large part in a thread. `key`: of the tick; `group`: its name in the log.
    """

    store: StoreMessages
    apart: Callable[[Callable[[], Sequence[TickPart]]], Awaitable[Sequence[TickPart]]]
    metrics: ShimMetrics
    key: str
    group: str
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SENT_AT_ONCE))
    _is_cut: bool = False

    async def run(self, tick: TickParts) -> Outcome:
        """Store the parts that no shim has stored yet; return the outcome. Raises Unavailable."""
        found = await self._all(tick.parts)
        if tick.told and not self._is_cut:
            return _joined(found)
        end = await self._send(tick.end)
        return end if end == "refused" else _joined(found or [end])

    async def _all(self, parts: Sequence[TickPart]) -> list[Outcome]:
        found = await asyncio.gather(*map(self._part, parts), return_exceptions=True)
        outcomes: list[Outcome] = []
        for one in found:
            if isinstance(one, BaseException):
                raise one
            outcomes.append(one)
        return outcomes

    async def _part(self, part: TickPart) -> Outcome:
        """Store a part, as it is or as smaller ones."""
        if part.fits and (outcome := await self._send(part.request)) != "known":
            return outcome
        # Only under this key do other bytes count as known: messages of another evaluation, or the cut.
        outcome = await self._send(part.cut)
        if outcome != "stored":
            return outcome
        self._is_cut = True
        if len(part.whole.messages) > _AT_ONCE:
            smaller = await self.apart(part.smaller)
        else:
            smaller = part.smaller()
        return _joined(await self._all(smaller))

    async def _send(self, request: TickRequest) -> Outcome:
        """Send one request; return its outcome. Raises Unavailable."""
        try:
            async with self._slots, asyncio.timeout(_MAX_STORE_S):
                found = await self.store(request.body, f"{self.key}/{request.name}")
        except TimeoutError:
            raise Unavailable(f"no indexer stored the results in {_MAX_STORE_S:g} s") from None
        except BadData as e:
            self.metrics.rule_samples_dropped.labels("rejected").inc(len(request.messages))
            _log.warning("event=rule_tick_refused group=%s request=%s error=%s", self.group, self.key, e)
            return "refused"
        if found.rejected:
            self.metrics.rule_samples_dropped.labels("rejected").inc(found.rejected)
        return found.outcome


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of parts together."""
    if set(outcomes) == {"refused"}:
        return "refused"
    return "known" if "known" in outcomes else "stored"
