"""Filling blocks: which are asked for often enough, and the thread that reads them.

A reading that misses goes to ClickHouse as if there were no blocks; here it only leaves a note. What has
been asked for `fill_after` times is read in the background, one statement at a time on one core, so a miss
costs its reader nothing. A reading of some of a metric's series counts a quarter: a block has them all.
Blocks that are not worth their memory are declined, and not tried again for a while. What was in memory
before a restart is filled after it (`restore`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from indexer.store import Store, StoreError
from indexer.written import Written
from shim.metrics import ShimMetrics
from shim.read.blocks.block import Block, Place, Source
from shim.read.blocks.cache import BlockCache, Watch
from shim.read.times import within
from shim.sql import nodes as sql
from shim.sql.render import render

_log = logging.getLogger("shim.blocks")

#: Buckets that one statement reads at most: a day of 60 s, four hours of 10 s.
MOST_CELLS: Final = 1_440
#: What a reading of all series of a metric counts for; one of some series counts for 1.
_WHOLE: Final = 4
#: Of a block's cells, from its first bucket with a row to its last, at least this share must have rows.
LEAST_DENSITY: Final = 0.1
#: How long what was declined is not tried again, in seconds.
DECLINED_S: Final = 600.0
#: Places that are remembered as asked for, and as declined.
_REMEMBERED: Final = 8_192
_QUEUED: Final = 64
_STATEMENT_S: Final = 10
#: How long INSERTs may be held up for a stretch that is written to all the time, in seconds.
_PAUSE_S: Final = 1.0
_TOO_MANY_ROWS: Final = 158  # ClickHouse's code


@dataclass(frozen=True, slots=True)
class Job:
    """Neighbouring blocks of one source and granularity."""

    places: tuple[Place, ...]

    @property
    def lo_s(self) -> int:
        return self.places[0].start_s

    @property
    def hi_s(self) -> int:
        return self.places[-1].end_s


class Filler:
    """See the module. Thread-safe."""

    def __init__(
        self, store: Store, cache: BlockCache, written: Written, fill_after: int, metrics: ShimMetrics
    ) -> None:
        self._store = store
        self._cache = cache
        self._written = written
        self._fill_after = fill_after
        self._metrics = metrics
        self._lock = threading.Lock()
        self._asked: OrderedDict[Place, int] = OrderedDict()
        self._declined: OrderedDict[Place, float] = OrderedDict()
        self._pending: set[Place] = set()
        self._queue: queue.Queue[Job | None] = queue.Queue(_QUEUED)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._one = threading.Lock()  # one statement at a time

    def ask(self, missing: Sequence[Place], *, whole: bool) -> None:
        """Note that a reading wanted these; `whole`: all their series."""
        due: list[Place] = []
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

    def _is_declined(self, place: Place) -> bool:
        until_s = self._declined.get(place)
        return until_s is not None and time.monotonic() < until_s

    def _submit(self, job: Job) -> None:
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

    def restore(self, places: Sequence[Place], goes_on: Callable[[], bool]) -> None:
        """Fill, in this thread, what was in memory before a restart; what was used last stands last, and is
        filled first. Before each statement `goes_on` is asked, which may wait; what it refuses is left.
        """
        used = {place: number for number, place in enumerate(places)}
        left = sorted(jobs(places), key=lambda job: max(used[place] for place in job.places))
        while left and not self._closed and goes_on():
            job = left.pop()
            with self._lock:
                due = [p for p in self._cache.lacks(job.places) if p not in self._pending]
                self._pending.update(due)
            for rest in jobs(due):
                self._do(rest)
            self._cache.unasked(due)
        self._metrics.block_fills.labels("left").inc(sum(len(job.places) for job in left))

    def wait(self) -> None:
        """Until all that was asked for is filled or declined."""
        self._queue.join()

    def close(self) -> None:
        """What waits is left; what runs is waited for."""
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

    def _do(self, job: Job) -> None:
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

    def _fill(self, job: Job) -> None:
        if self._try(job):
            return
        # It is written to while we read. Once more, and INSERTs wait for us.
        with self._written.paused(_PAUSE_S) as quiet:
            if not (quiet and self._try(job)):
                self._metrics.block_fills.labels("written").inc(len(job.places))

    def _try(self, job: Job) -> bool:
        """Whether the job is done with; False when something was written meanwhile."""
        source = job.places[0].source
        with self._cache.watch(source, job.lo_s, job.hi_s) as (watch, _):
            if watch.begun:
                return False
            text = statement(self._store.database, job, self._most_series(job))
            try:
                fetched = self._store.fetch(text, dtype(job))
            except StoreError as e:
                if e.code == _TOO_MANY_ROWS and len(job.places) > 1:
                    return all(self._try(Job((place,))) for place in job.places)
                self._decline(job.places, "large" if e.code == _TOO_MANY_ROWS else "failed")
                return True
            return self._keep(job, watch, fetched)

    def _most_series(self, job: Job) -> int:
        """So many that the job's blocks take a quarter of the memory at most."""
        first = job.places[0]
        cells = (job.hi_s - job.lo_s) // first.granularity_s
        return max(1, self._cache.max_bytes // (4 * first.source.cell_bytes * cells))

    def _keep(self, job: Job, watch: Watch, fetched: npt.NDArray[np.void]) -> bool:
        blocks = made(job, fetched)
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

    def _decline(self, places: Sequence[Place], reason: str) -> None:
        self._metrics.block_fills.labels(reason).inc(len(places))
        with self._lock:
            for place in places:
                self._declined.pop(place, None)
                self._declined[place] = time.monotonic() + DECLINED_S
            while len(self._declined) > _REMEMBERED:
                self._declined.popitem(last=False)


def jobs(due: Sequence[Place]) -> list[Job]:
    """Neighbours together, as far as one statement may go."""
    out: list[list[Place]] = []
    latest: dict[tuple[Source, int], list[Place]] = {}
    for place in sorted(due, key=lambda p: p.start_s):
        last = latest.get(place[:2])
        if last and last[-1].end_s == place.start_s and (len(last) + 1) * place.cells <= MOST_CELLS:
            last.append(place)
        else:
            latest[place[:2]] = one = [place]
            out.append(one)
    return [Job(tuple(found)) for found in out]


# ---------------------------------------------------------------- the statement


def statement(database: str, job: Job, most_series: int) -> str:
    """One row a series, with an array over all buckets of its sums and one of which have rows."""
    first = job.places[0]
    source, g = first.source, first.granularity_s
    cells = (job.hi_s - job.lo_s) // g
    over = (0, cells, 1)
    cell = sql.call("intDiv", sql.op("-", sql.call("toUInt32", "timestamp"), job.lo_s), g)
    where: list[sql.Expr] = [sql.op("=", "org_id", source.org_id)]
    if source.project_id is not None:
        where.append(sql.op("=", "project_id", source.project_id))
    where += [sql.member("metric_id", source.metric_ids), *within(g, job.lo_s, job.hi_s)]
    query = sql.Query(
        (
            sql.Named(sql.col("series_id"), "k"),
            sql.Named(sql.Func(f"{_merge(source)}Resample", (sql.col(source.column), cell), over), "v"),
            sql.Named(sql.Func("maxResample", (sql.call("toUInt8", 1), cell), over), "h"),
            sql.Named(sql.call("toUInt16", sql.call("min", "retention_days")), "d"),
        ),
        sql.Table(database, first.table),
        where=tuple(where),
        group_by=("k",),
        settings=(
            ("max_threads", 1),  # not at the cost of queries
            ("max_execution_time", _STATEMENT_S),
            ("max_rows_to_group_by", most_series),  # over it the statement fails, which is its default
        ),
    )
    return render(query)


def _merge(source: Source) -> str:
    """ClickHouse's name of how the column merges: the last value of a gauge is the greatest (time, value)."""
    return "max" if source.timed else source.merge


def dtype(job: Job) -> np.dtype[np.void]:
    """RowBinary: an array begins with its length, a varint."""
    first = job.places[0]
    cells = (job.hi_s - job.lo_s) // first.granularity_s
    size = f"V{max(1, -(-cells.bit_length() // 7))}"
    value = [("t", "<i8"), ("v", "<f8")] if first.source.timed else "<f8"
    fields: list[Any] = [
        ("k", "<u8"), ("n", size), ("v", value, (cells,)), ("m", size), ("h", "?", (cells,)), ("d", "<u2"),
    ]  # fmt: skip
    return np.dtype(fields)


def made(job: Job, fetched: npt.NDArray[np.void]) -> dict[Place, Block] | None:
    """The blocks of a job. Those where every series has rows share the array of ids.

    None where a gauge's time is not in its bucket: no block could hold it.
    """
    fetched = fetched[np.argsort(fetched["k"])]
    ids = np.ascontiguousarray(fetched["k"])
    kept_days = int(fetched["d"].min(initial=65_535))
    out = {}
    for number, place in enumerate(job.places):
        cells = slice(number * place.cells, (number + 1) * place.cells)
        values, rows = fetched["v"][:, cells], fetched["h"][:, cells]
        offset_ms = None
        if place.source.timed:
            starts_ms = (place.start_s + np.arange(place.cells) * place.granularity_s) * 1000
            since_ms = np.where(rows, values["t"] - starts_ms, 0)
            if len(ids) and not 0 <= since_ms.min() <= since_ms.max() < place.granularity_s * 1000:
                return None
            values, offset_ms = values["v"], since_ms.astype(np.uint32)
        there = rows.any(axis=1)
        used = slice(None) if there.all() else there
        out[place] = Block(
            ids if there.all() else ids[there], values[used].copy(), rows[used].copy(), kept_days,
            None if offset_ms is None else offset_ms[used], place.source.merge,
        )  # fmt: skip
    return out


def is_sparse(block: Block) -> bool:
    """Whether too few cells have rows, between the first bucket that has any and the last."""
    used = np.flatnonzero(block.rows.any(axis=0))
    if not len(used):
        return False
    cells = len(block.ids) * (used[-1] - used[0] + 1)
    return bool(np.count_nonzero(block.rows) < LEAST_DENSITY * cells)
