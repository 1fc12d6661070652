"""Stores the messages of a stream exactly once: reads a batch, writes it, commits its position.

A batch is written under its position, so a batch that is read again after a crash is known. A batch waits
while ClickHouse takes nothing or its org is past a limit: the stream keeps all later entries. While Redis is
away the consumer waits, and says so. For one event loop; calls of Redis run in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import redis

from indexer.access.grants import Grant, Right, parse_tenant
from indexer.metrics import Metrics
from indexer.settings import Settings
from indexer.streams.batch import Batch, ReadBatch, read
from indexer.streams.redis_stream import RedisStream
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Unavailable, WriteError
from indexer.write.health import Health
from indexer.write.split_by_day import RetentionRules

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How long an empty stream is left alone.
_POLL_S: Final = 0.1
#: How long Redis is left alone after a failure.
_REST_S: Final = 1.0


class StreamConsumer:
    """Consumes the stream of the settings. `write` stores frames and raises WriteError."""

    def __init__(
        self,
        settings: Settings,
        consumer: str,
        write: Callable[[Sequence[AcceptedFrame]], Awaitable[None]],
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._stream = RedisStream(settings.stream, consumer, settings.bounds.body_bytes)
        self._write = write
        self._metrics = metrics
        self._health = health
        self._keep_s = settings.stream.claim_s / 3
        self._read = partial(
            read,
            grant=Grant(parse_tenant(settings.stream.tenants), frozenset({Right.WRITE})),
            rules=RetentionRules(settings.retention, settings.limits.retention_steps),
            future_s=settings.bounds.future_s,
            max_messages=settings.bounds.messages,
        )
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="indexer-stream")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start consuming. Does not raise if Redis is down."""
        self._task = asyncio.create_task(self._run(), name="indexer-stream")

    async def stop(self) -> None:
        """End; a batch in progress is taken up again at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.to_thread(self._threads.shutdown)
        self._stream.close()

    async def _run(self) -> None:
        while True:
            try:
                batch = await self._call(self._stream.next)
                self._health.stream_works()
                if batch is None:
                    await asyncio.sleep(_POLL_S)
                else:
                    await self._consume(batch)
            except (redis.RedisError, OSError) as e:
                self._health.stream_failed(str(e))
                await asyncio.sleep(_REST_S)
            except Exception:  # a mistake of ours: the batch is tried again
                log.exception("event=stream_batch_failed")
                await asyncio.sleep(_REST_S)

    async def _consume(self, batch: Batch) -> None:
        self._metrics.stream_taken_over.inc(batch.taken_over)
        keeping = asyncio.create_task(self._keep(batch))
        try:
            found = await self._call(self._read, batch)
            rows = await self._store(found)
            committed = await self._call(self._stream.commit, batch, rows, len(found.good), found.bad)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        if committed:
            self._count(found)

    async def _store(self, found: ReadBatch) -> int:
        """Write the frames of a batch, however long it takes; return their rows."""
        rows, waiting = 0, found.units
        while waiting:
            results = await asyncio.gather(*(self._write([u]) for u in waiting), return_exceptions=True)
            again: list[AcceptedFrame] = []
            wait_s = 0
            for unit, result in zip(waiting, results, strict=True):
                match result:
                    case None:
                        rows += unit.frame.rows
                    case Unavailable() | Limited():
                        again.append(unit)
                        wait_s = max(wait_s, result.retry_after_s)
                    case WriteError():
                        found.refuse(unit, str(result))
                    case _:
                        raise result
            waiting = again
            if waiting:
                await asyncio.sleep(wait_s)
        return rows

    async def _keep(self, batch: Batch) -> None:
        """Tell the other consumers from time to time that this one lives."""
        while True:
            await asyncio.sleep(self._keep_s)
            with suppress(redis.RedisError, OSError):  # the commit will tell
                await self._call(self._stream.keep, batch)

    def _count(self, found: ReadBatch) -> None:
        self._metrics.stream_batches.inc()
        self._metrics.dropped_rows.labels(reason="expired").inc(found.expired)
        self._metrics.messages.labels(outcome="accepted").inc(len(found.good))
        self._metrics.messages.labels(outcome="rejected").inc(len(found.bad) - found.forbidden)
        self._metrics.messages.labels(outcome="forbidden").inc(found.forbidden)
        self._metrics.dead_letters.inc(len(found.bad))

    async def _call(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
