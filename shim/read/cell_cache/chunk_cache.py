"""The chunks in memory: found by readers, kept by the filler, changed or dropped by writes.

Decides when a chunk may be used; all exactness of the cache rests on these rules:

* A chunk is kept only if no INSERT into its span ran or began while it was read (`WriteWatch`).
* While an INSERT runs, its chunks stay unchanged, as if it had not happened. When it has ended, and before
  its sender is answered, its rows are added to them. If it is uncertain which rows are new (a retry, a
  failure), the chunks are dropped.
* Adding happens in place, so a reader checks afterwards that its chunks were not touched meanwhile
  (`WriteWatch.ended`), and reads by statement if they were. An INSERT is thus seen whole or not at all.
* ClickHouse removes rows past their retention when it chooses. From the first such moment on, the
  chunk is not used.

At most `max_bytes`, least recently used first out. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.native_format import AnyArray
from indexer.clickhouse.native_format import Block as Written
from indexer.clickhouse.retention import Retention
from indexer.write.insert_feed import InsertFootprint, RowRange
from shim.metrics import ShimMetrics
from shim.read.cell_cache.chunk import Chunk, ChunkKey, Sketch, Source

_log = logging.getLogger("shim.blocks")

_DAY_S = 86_400

AnyChunk = Chunk | Sketch


@dataclass(slots=True, eq=False)
class WriteWatch:
    """A watch on writes to `[lo_s, hi_s)` of a source during a read."""

    source: Source
    lo_s: int
    hi_s: int
    begun: bool = False  # an INSERT was or is under way
    ended: bool = False  # an INSERT has ended


class ChunkCache:
    """See the module. An `InsertListener`. `now_s` is the wall clock."""

    def __init__(
        self,
        max_bytes: int,
        retention: Retention,
        metrics: ShimMetrics,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.max_bytes = max_bytes
        self._kept_days = {g.seconds: retention.days(g.name) for g in GRANULARITIES}
        self._metrics = metrics
        self._now_s = now_s
        self._lock = threading.Lock()
        self._held: OrderedDict[ChunkKey, AnyChunk] = OrderedDict()
        self._bytes = 0
        self._of_metric: dict[tuple[str, int, int], set[ChunkKey]] = {}  # by table, org id, metric id
        self._watches: set[WriteWatch] = set()
        self._under_way: list[InsertFootprint] = []
        self._unasked: set[ChunkKey] = set()  # filled again after a restart, and not asked for since

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size_bytes(self) -> int:
        """The bytes of all chunks."""
        return self._bytes

    # ------------------------------------------------------------ readers

    @contextmanager
    def watch(
        self, source: Source, lo_s: int, hi_s: int, wanted: Sequence[ChunkKey] = ()
    ) -> Iterator[tuple[WriteWatch, Mapping[ChunkKey, AnyChunk]]]:
        """Yield the wanted chunks that are in memory, with a watch on writes until the context ends.

        Chunks may be read only inside it, and results made from them are valid only while `ended` is not set.
        """
        watch = WriteWatch(source, lo_s, hi_s)
        with self._lock:
            watch.begun = any(_meet(watch, footprint) for footprint in self._under_way)
            found = {place: block for place in wanted if (block := self._find(place)) is not None}
            self._watches.add(watch)
        self._metrics.block_lookups.labels("hit").inc(len(found))
        self._metrics.block_lookups.labels("miss").inc(len(wanted) - len(found))
        try:
            yield watch, found
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _find(self, place: ChunkKey) -> AnyChunk | None:
        block = self._held.get(place)
        if block is None:
            return None
        if self.is_old(place, block):
            self._drop(place, "expired")
            return None
        self._held.move_to_end(place)
        self._unasked.discard(place)
        return block

    def asked(self) -> list[ChunkKey]:
        """Return the keys of chunks in memory that queries used, most recent last."""
        with self._lock:
            return [place for place in self._held if place not in self._unasked]

    # ------------------------------------------------------------ the filler

    def missing(self, places: Sequence[ChunkKey]) -> list[ChunkKey]:
        """Return the keys of chunks that are not in memory."""
        with self._lock:
            return [place for place in places if place not in self._held]

    def mark_prefetched(self, places: Sequence[ChunkKey]) -> None:
        """Mark chunks as filled without a query's request."""
        with self._lock:
            self._unasked.update(place for place in places if place in self._held)

    def keep(self, watch: WriteWatch, blocks: Mapping[ChunkKey, AnyChunk]) -> bool:
        """Keep chunks that were read under `watch`; return False if there was a write meanwhile."""
        with self._lock:
            if watch.begun or watch.ended:
                return False
            for place, block in blocks.items():
                self._put(place, block)
            self._bound()
        return True

    def is_old(self, place: ChunkKey, block: AnyChunk) -> bool:
        """Return whether rows of the chunk may have expired by now."""
        days = min(block.kept_days, self._kept_days[place.granularity_s])
        return not block.empty and place.start_s + days * _DAY_S <= self._now_s()

    def _put(self, place: ChunkKey, block: AnyChunk) -> None:
        if place in self._held:
            self._drop(place, None)
        self._held[place] = block
        self._bytes += block.size_bytes
        for metric in _metrics_of(place.source):
            self._of_metric.setdefault(metric, set()).add(place)

    def _bound(self) -> None:
        while self._bytes > self.max_bytes:
            self._drop(next(iter(self._held)), "evicted")
        self._metrics.block_bytes.set(self._bytes)

    def _drop(self, place: ChunkKey, reason: str | None) -> None:
        self._bytes -= self._held.pop(place).size_bytes
        self._unasked.discard(place)
        for metric in _metrics_of(place.source):
            places = self._of_metric[metric]
            places.discard(place)
            if not places:
                del self._of_metric[metric]
        if reason is not None:
            self._metrics.blocks_dropped.labels(reason).inc()

    # ------------------------------------------------------------ the writer

    def insert_started(self, footprint: InsertFootprint) -> None:
        """Note an INSERT before it begins."""
        with self._lock:
            self._under_way.append(footprint)
            for watch in self._watches:
                watch.begun = watch.begun or _meet(watch, footprint)

    def insert_finished(self, footprint: InsertFootprint, block: Written | None) -> None:
        """Add the rows of an INSERT to its chunks, or drop them if `block` is None."""
        with self._lock:
            self._under_way.remove(footprint)
            for watch in self._watches:  # before anything changes: see the module
                watch.ended = watch.ended or _meet(watch, footprint)
            for place, spans in self._touched(footprint).items():
                try:
                    if block is not None and self._add(place, spans, block):
                        continue
                except Exception:  # a mistake of ours must not fail the INSERT
                    _log.exception("event=block_add_failed place=%s", place)
                self._drop(place, "written")
            self._bound()

    def _touched(self, footprint: InsertFootprint) -> Mapping[ChunkKey, Sequence[RowRange]]:
        """Return the chunks that an INSERT writes to, each with the ranges of its rows."""
        out: dict[ChunkKey, list[RowRange]] = {}
        for (table, *metric), places in self._of_metric.items():
            spans = footprint.row_ranges(*metric) if table == footprint.kind else []
            for place in places if spans else ():
                found = [s for s in spans if _in(s, place.source, place.start_s, place.end_s)]
                if found:
                    out.setdefault(place, []).extend(found)
        return out

    def _add(self, place: ChunkKey, spans: Iterable[RowRange], written: Written) -> bool:
        """Add rows; return False if impossible: to sketches, or for a gauge's time outside its bucket."""
        held = self._held[place]
        if isinstance(held, Sketch):
            return False
        before = held.size_bytes
        try:
            return all(_merge(held, place, span, written) for span in spans)
        finally:
            self._bytes += held.size_bytes - before


def _merge(held: Chunk, place: ChunkKey, span: RowRange, written: Written) -> bool:
    names = ["bucket", "series_id", _days(place, written), place.source.column]
    if place.source.timed:
        names.append("last_ms")
    bucket, ids, days, values, *last_ms = (_rows(written, name, span) for name in names)
    if span.first_s < place.start_s or span.last_s >= place.end_s:
        inside = (bucket >= place.start_s) & (bucket < place.end_s)
        if not inside.any():
            return True
        bucket, ids, days, values, *last_ms = (c[inside] for c in (bucket, ids, days, values, *last_ms))
    cells = (bucket.astype(np.int64) - place.start_s) // place.granularity_s
    offset_ms = None
    if last_ms:
        offset_ms = place.offset_ms(cells, last_ms[0])
        if offset_ms is None:
            return False
    held.add(ids, cells, values, int(days.min()), offset_ms)
    return True


def _days(place: ChunkKey, written: Written) -> str:
    """Name the column of how long rows are kept: of the granularity, or of all (before migration 5)."""
    of_all = "retention_days"
    if of_all in written:
        return of_all
    return next(f"days_{g.name}" for g in GRANULARITIES if g.seconds == place.granularity_s)


def _meet(watch: WriteWatch, footprint: InsertFootprint) -> bool:
    """Return whether an INSERT writes into the watched span."""
    source = watch.source
    if footprint.kind != source.table:
        return False
    spans = (s for m in source.metric_ids for s in footprint.row_ranges(source.org_id, m))
    return any(_in(s, source, watch.lo_s, watch.hi_s) for s in spans)


def _in(span: RowRange, source: Source, lo_s: int, hi_s: int) -> bool:
    return source.project_id in (None, span.project_id) and span.first_s < hi_s and span.last_s >= lo_s


def _metrics_of(source: Source) -> Iterator[tuple[str, int, int]]:
    return ((source.table, source.org_id, metric_id) for metric_id in source.metric_ids)


def _rows(written: Written, name: str, span: RowRange) -> AnyArray:
    column = written[name]
    assert isinstance(column, np.ndarray)  # neither keys nor sums are ragged
    return column[span.begin : span.end]
