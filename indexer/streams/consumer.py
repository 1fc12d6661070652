"""Stores the messages of a stream exactly once: reads a batch, writes it, commits its position.

A batch is written under its position, so a batch that is read again after a crash is known. A batch waits
while ClickHouse takes nothing: the stream keeps all later entries. Messages of an org that is past a limit
are parked, and delay no others. While the server of the stream is away the consumer waits, and says so. For
one event loop; calls of the stream run in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from indexer.clickhouse.store_errors import StoreError
from indexer.metrics import Metrics
from indexer.streams.batch import Batch, Origin, ReadBatch, StoredBatch, read
from indexer.streams.source import Source, SourceError
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Unavailable, WriteError
from indexer.write.health import Health

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How long the server of a stream is left alone after a failure.
_REST_S: Final = 1.0
#: How long parked frames are left alone at most when all are still past a limit.
_PARKED_REST_S: Final = 10.0


class StreamConsumer:
    """Consumes one source, and closes it.

    `write` stores frames and raises WriteError; `note` notes a stored batch and raises StoreError.
    """

    def __init__(
        self,
        source: Source,
        write: Callable[[Sequence[AcceptedFrame]], Awaitable[None]],
        note: Callable[[Source, Batch, StoredBatch], None],
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._source = source
        self._write = write
        self._note = note
        self._metrics = metrics
        self._health = health
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="indexer-stream")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start consuming. Does not raise if the server of the stream is down."""
        self._task = asyncio.create_task(self._run(), name="indexer-stream")

    async def stop(self) -> None:
        """End; a batch in progress is taken up again at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._source.close)

    async def _run(self) -> None:
        while True:
            try:
                batch = await self._call(self._source.next)
                self._health.stream_works(self._source.part)
                if batch is None:
                    await asyncio.sleep(self._source.poll_s)
                elif rest_s := await self._consume(batch):
                    await asyncio.sleep(rest_s)
            except SourceError as e:
                self._health.stream_failed(self._source.part, str(e))
                await asyncio.sleep(_REST_S)
            except Exception:  # a mistake of ours: the batch is tried again
                log.exception("event=stream_batch_failed")
                await asyncio.sleep(_REST_S)

    async def _consume(self, batch: Batch) -> float:
        """Store and commit a batch; return for how long to rest."""
        self._metrics.stream_taken_over.inc(batch.taken_over)
        keeping = asyncio.create_task(self._keep(batch))
        try:
            found = await self._call(read, batch)
            rows, wait_s = await self._store(found)
            stored = found.stored(rows)
            await self._noted(batch, stored)
            committed = await self._call(self._source.commit, batch, stored)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        if committed:
            self._count(batch, found)
        return min(wait_s, _PARKED_REST_S) if batch.parked and not rows else 0.0

    async def _store(self, found: ReadBatch) -> tuple[int, int]:
        """Write or park the frames of a batch, however long it takes.

        Return the rows written, and how long the orgs of parked frames have to wait.
        """
        rows, parked_s, waiting = 0, 0, found.frames
        while waiting:
            writes = (self._write([unit]) for unit, _ in waiting)
            results = await asyncio.gather(*writes, return_exceptions=True)
            again: list[tuple[AcceptedFrame, Origin]] = []
            wait_s = 0
            for (unit, origin), result in zip(waiting, results, strict=True):
                match result:
                    case None:
                        rows += unit.frame.rows
                    case Limited() if found.park(unit, origin, self._source.max_parked_bytes):
                        parked_s = max(parked_s, result.retry_after_s)
                    case Unavailable() | Limited():
                        again.append((unit, origin))
                        wait_s = max(wait_s, result.retry_after_s)
                    case WriteError():
                        found.refuse(unit, origin, str(result))
                    case _:
                        raise result
            waiting = again
            if waiting:
                await asyncio.sleep(wait_s)
        return rows, parked_s

    async def _noted(self, batch: Batch, stored: StoredBatch) -> None:
        """Note a stored batch in ClickHouse, however long it takes."""
        while True:
            try:
                await self._call(self._note, self._source, batch, stored)
            except StoreError as e:
                self._metrics.store_failed(e)
                self._health.store_failed(e)
                await asyncio.sleep(_REST_S)
            else:
                return

    async def _keep(self, batch: Batch) -> None:
        """Tell the server from time to time that this consumer lives."""
        while True:
            await asyncio.sleep(self._source.keep_s)
            with suppress(SourceError):  # the commit will tell
                await self._call(self._source.keep, batch)

    def _count(self, batch: Batch, found: ReadBatch) -> None:
        self._metrics.stream_batches.inc()
        if batch.lost:
            self._metrics.stream_lost.inc(batch.lost)
            log.error("event=stream_messages_lost stream=%s before=%s", self._source.stream, batch.first)
        self._metrics.parked.labels(outcome="parked").inc(0 if batch.parked else len(found.parked))
        if batch.parked:
            self._metrics.parked.labels(outcome="ended").inc(len(batch.entries.ids) - len(found.parked))
        self._metrics.dropped_rows.labels(reason="expired").inc(found.expired)
        self._metrics.messages.labels(outcome="accepted").inc(found.messages)
        self._metrics.messages.labels(outcome="rejected").inc(len(found.bad) - found.forbidden)
        self._metrics.messages.labels(outcome="forbidden").inc(found.forbidden)
        self._metrics.dead_letters.inc(len(found.bad))

    async def _call(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
