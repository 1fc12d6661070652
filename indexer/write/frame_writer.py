"""Writes frames exactly once when several indexers may run: each frame is an INSERT.

Its identity is the token, so a resent frame may reach any indexer. Each INSERT is synchronous: nothing is
left to the server's queue of async inserts. Nothing is kept here either: a frame that is not stored is
answered 503, and its sender keeps it.

Runs in one event loop; the store's calls run in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final, cast

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Refused, Unavailable
from indexer.write.gate_waits import GateWaits
from indexer.write.health import Health
from indexer.write.held_bytes import HeldBytes
from indexer.write.inserter import Inserter
from indexer.write.org_turns import OrgTurns
from indexer.write.series_limit import SeriesLimit

log = logging.getLogger(__name__)

#: When to retry a frame of too many new series: some of them may be known by then.
_SERIES_WAIT_S: Final = 60


class FrameWriter:
    """Writes each frame by itself under its identity."""

    def __init__(
        self,
        inserter: Inserter,
        settings: Settings,
        metrics: Metrics,
        limit: SeriesLimit | None = None,
        health: Health | None = None,
    ) -> None:
        self._limit = limit
        self._health = health or Health()
        self._inserter = inserter
        self._gate_waits = GateWaits(inserter.gate)
        self._settings = settings
        self._metrics = metrics
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._begun_s: dict[
            str, float
        ] = {}  # of those that wait for no deletion; monotonic, the oldest first
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="indexer-writer")
        self._stopping = False
        self._held = HeldBytes(settings.bounds.queue_bytes)
        self._heavy = OrgTurns(max(1, settings.connections // 2))

    @property
    def held_bytes(self) -> int:
        """Bytes of frames that are being written."""
        return self._held.total

    def oldest_waiting_s(self) -> float:
        """Return how long the oldest frame in progress has waited; 0 for none."""
        oldest_s = next(iter(self._begun_s.values()), None)
        return 0.0 if oldest_s is None else time.monotonic() - oldest_s

    async def start(self) -> None:
        """Do nothing: senders resend frames that were not stored."""

    async def write(self, unit: AcceptedFrame) -> None:
        """Write a frame. Raises WriteError."""
        held = self._in_flight.get(unit.identity)
        if held is None:
            if self._stopping:
                raise Unavailable("shutting down", begun=False)
            if not self._held.take(unit.frame.org_id, unit.held_bytes, unit.frame.agent):
                self._metrics.refused.labels(reason="queue_full").inc()
                raise Unavailable("too much is waiting to be written", begun=False)
            held = self._in_flight[unit.identity] = asyncio.create_task(self._insert(unit))
            held.add_done_callback(lambda t: t.cancelled() or t.exception())  # there may be no waiter
        try:
            async with asyncio.timeout(self._settings.acknowledge_s):
                await asyncio.shield(held)
        except TimeoutError:
            raise Unavailable("not written yet") from None

    async def knows(self, unit: AcceptedFrame) -> bool:  # noqa: ARG002  # the server knows, by tokens
        """Return False: the server recognises a frame that is stored."""
        return False

    async def stop(self, deadline_s: float) -> None:
        """Wait for the frames in progress, until the deadline."""
        self._stopping = True
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=deadline_s)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _insert_gated(self, unit: AcceptedFrame) -> int | None:
        """Write the frame unless a deletion of its org runs; None: one does.

        The gate is entered here, so that a deletion waits for INSERTs that run, and for none in the queue.
        """
        org_id, gate = unit.frame.org_id, self._inserter.gate
        if gate.enter((org_id,)):
            return None
        try:
            return self._insert_within_limit(unit)
        finally:
            gate.leave((org_id,))

    def _insert_within_limit(self, unit: AcceptedFrame) -> int:
        """Write the frame. Raises StoreError, and Limited if it has too many new series."""
        if self._limit is not None and self._limit.near([unit]):
            (beyond,) = self._limit.excess(self._inserter.resolve([unit]))
            if beyond.series:
                self._metrics.limited("series", unit.frame.org_id, unit.frame.rows)
                raise Limited("too many new series today: indexer.limits.series_per_day", _SERIES_WAIT_S)
        return self._inserter.insert(unit.identity, [unit], entered=True)

    async def _insert(self, unit: AcceptedFrame) -> None:
        try:
            began = time.perf_counter()
            loop, rows = asyncio.get_running_loop(), None
            while rows is None:
                await self._gate_waits.opened(unit.frame.org_id)
                self._begun_s[unit.identity] = time.monotonic()
                async with self._turn(unit):
                    rows = await loop.run_in_executor(self._threads, self._insert_gated, unit)
                del self._begun_s[unit.identity]
            self._metrics.wrote(1, rows, time.perf_counter() - began)
        except StoreError as e:
            self._metrics.store_failed(e)
            self._health.store_failed(e)
            if e.fault is not Fault.BYTES or not await self._is_refused(unit, e):
                raise Unavailable(e.told, retry_after_s=2) from e
            log.error("event=frame_refused frame=%s error=%s", unit.identity, e)
            self._metrics.frames.labels(outcome="refused").inc()
            raise Refused(e.told) from e
        else:
            self._health.store_works()
        finally:
            self._held.release(unit.frame.org_id, unit.held_bytes, unit.frame.agent)
            del self._in_flight[unit.identity]
            self._begun_s.pop(unit.identity, None)

    def _turn(self, unit: AcceptedFrame) -> AbstractAsyncContextManager[None]:
        if unit.heavy:
            return self._heavy.turn(unit.frame.org_id)
        self._heavy.note(unit.frame.org_id)
        return nullcontext()

    async def _is_refused(self, unit: AcceptedFrame, error: StoreError) -> bool:
        """Return whether the frame's bytes cause an error that suggests it."""
        if not error.kind:
            return False
        refused = partial(self._inserter.refused, [unit], cast("Kind", error.kind))
        try:
            return bool(await asyncio.get_running_loop().run_in_executor(self._threads, refused))
        except StoreError:
            return False
