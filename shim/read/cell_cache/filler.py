"""Fills chunks: decides which are used often enough, and reads them in a thread.

A read that misses goes to ClickHouse as if there were no cache; here it only leaves a note. After
`fill_after` misses a chunk is read in the background, one statement after another on one core, so a miss
costs its reader nothing. A read of some of a metric's series counts a quarter, because a chunk holds all of
them. Chunks that are not worth their memory are declined, and not tried again for a while. Chunks of before a
restart are filled after it (`restore`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from indexer.clickhouse.store import Store, StoreError
from indexer.write.insert_feed import InsertFeed
from shim.metrics import ShimMetrics
from shim.read.cell_cache.chunk import CELL_BYTES, CHUNK_SPAN_S, ChunkKey
from shim.read.cell_cache.chunk_cache import ChunkCache, WriteWatch
from shim.read.cell_cache.fill_statements import (
    FilledMatrices,
    FillJob,
    TooManySeriesError,
    fetch,
    is_sparse,
    jobs,
    made,
)

_log = logging.getLogger("shim.blocks")

#: The weight of a read of all series of a metric; a read of some series has weight 1.
_WHOLE: Final = 4
#: Seconds for which declined chunks are not tried again.
DECLINED_S: Final = 600.0
#: Places that are remembered as asked for, and as declined.
_REMEMBERED: Final = 8_192
_QUEUED: Final = 64
#: How long INSERTs may be held up for a stretch that is written to all the time, in seconds.
_PAUSE_S: Final = 1.0


class Filler:
    """See the module. Thread-safe."""

    def __init__(
        self, store: Store, cache: ChunkCache, insert_feed: InsertFeed, fill_after: int, metrics: ShimMetrics
    ) -> None:
        self._store = store
        self._cache = cache
        self._insert_feed = insert_feed
        self._fill_after = fill_after
        self._metrics = metrics
        self._lock = threading.Lock()
        self._asked: OrderedDict[ChunkKey, int] = OrderedDict()
        self._declined: OrderedDict[ChunkKey, float] = OrderedDict()
        self._pending: set[ChunkKey] = set()
        self._queue: queue.Queue[FillJob | None] = queue.Queue(_QUEUED)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._one = threading.Lock()  # only one statement runs

    @property
    def max_series(self) -> int:
        """The number of series with which a chunk of the finest rollup takes a quarter of the memory."""
        finest_s = min(CHUNK_SPAN_S)
        return int(self._cache.max_bytes // (4 * CELL_BYTES * (CHUNK_SPAN_S[finest_s] // finest_s)))

    def ask(self, missing: Sequence[ChunkKey], *, whole: bool) -> None:
        """Note that a reading wanted these; `whole`: all their series."""
        due: list[ChunkKey] = []
        with self._lock:
            for place in missing:
                times = self._asked.pop(place, 0) + (_WHOLE if whole else 1)
                self._asked[place] = times
                if (
                    times >= _WHOLE * self._fill_after
                    and place not in self._pending
                    and not self._is_declined(place)
                ):
                    due.append(place)
            while len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
            for job in jobs(due):
                self._submit(job)

    def _is_declined(self, place: ChunkKey) -> bool:
        until_s = self._declined.get(place)
        return until_s is not None and time.monotonic() < until_s

    def _submit(self, job: FillJob) -> None:
        if self._closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fill", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(job)
        except queue.Full:  # it is asked for again
            self._metrics.block_fills.labels("queue_full").inc(len(job.places))
            return
        self._pending.update(job.places)

    def restore(self, places: Sequence[ChunkKey], goes_on: Callable[[], bool]) -> None:
        """Fill, in this thread, the chunks of before a restart: `places`, ordered by last use, from the end.

        Before each statement it calls `goes_on`, which may wait; False ends the filling.
        """
        used = {place: number for number, place in enumerate(places)}
        left = sorted(jobs(places), key=lambda job: max(used[place] for place in job.places))
        while left and not self._closed and goes_on():
            job = left.pop()
            with self._lock:
                due = [p for p in self._cache.missing(job.places) if p not in self._pending]
                self._pending.update(due)
            for rest in jobs(due):
                self._do(rest)
            self._cache.mark_prefetched(due)
        self._metrics.block_fills.labels("left").inc(sum(len(job.places) for job in left))

    def wait(self) -> None:
        """Wait until all requested chunks are filled or declined."""
        self._queue.join()

    def close(self) -> None:
        """Drop waiting jobs, and wait for the running one."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        with self._one:  # a job of `restore`
            pass
        if thread is not None:
            while True:  # room for the last word
                try:
                    self._queue.get_nowait()
                    self._queue.task_done()
                except queue.Empty:
                    break
            self._queue.put(None)
            thread.join()

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._do(job)
            self._queue.task_done()
        self._queue.task_done()

    def _do(self, job: FillJob) -> None:
        try:
            with self._one:
                if not self._closed:
                    self._fill(job)
        except Exception:  # a mistake of ours: queries go on without these blocks
            _log.exception("event=fill_failed source=%s", job.places[0].source)
            self._decline(job.places, "failed")
        finally:
            with self._lock:
                self._pending.difference_update(job.places)

    def _fill(self, job: FillJob) -> None:
        if self._try(job):
            return
        # It is written to while we read. Once more, and INSERTs wait for us.
        with self._insert_feed.paused(_PAUSE_S) as quiet:
            if not (quiet and self._try(job)):
                self._metrics.block_fills.labels("written").inc(len(job.places))

    def _try(self, job: FillJob) -> bool:
        """Try a job; return False when something was written meanwhile."""
        source = job.places[0].source
        with self._cache.watch(source, job.lo_s, job.hi_s) as (watch, _):
            if watch.begun:
                return False
            try:
                found = fetch(self._store, job, self._most_series(job))
            except TooManySeriesError:
                if len(job.places) > 1:
                    return all(self._try(FillJob((place,))) for place in job.places)
                self._decline(job.places, "large")
                return True
            except StoreError:
                self._decline(job.places, "failed")
                return True
            return self._keep(job, watch, found)

    def _most_series(self, job: FillJob) -> int:
        """Return the number of series with which the job's chunks take a quarter of the memory."""
        return max(1, self._cache.max_bytes // (4 * job.places[0].source.cell_bytes * job.cells))

    def _keep(self, job: FillJob, watch: WriteWatch, found: FilledMatrices) -> bool:
        blocks = made(job, found)
        if blocks is None:
            self._decline(job.places, "failed")
            return True
        old = [p for p, b in blocks.items() if self._cache.is_old(p, b)]
        sparse = [p for p, b in blocks.items() if p not in old and is_sparse(b)]
        worth = {p: b for p, b in blocks.items() if p not in old and p not in sparse}
        if not self._cache.keep(watch, worth):
            return False
        self._metrics.block_fills.labels("kept").inc(len(worth))
        self._decline(old, "expired")
        self._decline(sparse, "sparse")
        with self._lock:
            for place in job.places:
                self._asked.pop(place, None)
        return True

    def _decline(self, places: Sequence[ChunkKey], reason: str) -> None:
        self._metrics.block_fills.labels(reason).inc(len(places))
        with self._lock:
            for place in places:
                self._declined.pop(place, None)
                self._declined[place] = time.monotonic() + DECLINED_S
            while len(self._declined) > _REMEMBERED:
                self._declined.popitem(last=False)
