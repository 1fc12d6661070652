"""One block: the buckets of all series of a metric over one stretch of a rollup, as dense matrices. Pure.

Not thread-safe: cache.py says who may write, and when a reader has to read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema.metric_types import FLOAT_MERGES, FloatMerge
from indexer.intern.sorted_ids import find_ids
from shim.model.values import Bools, Floats, Ints
from shim.read.column_merges import MERGES

Ids = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.uint32]

#: Seconds of one block by granularity.
CHUNK_SPAN_S: Final[Mapping[int, int]] = {g.seconds: g.chunk_s for g in GRANULARITIES}
#: The same for merged sketches.
_SKETCH_STRETCH_S: Final[Mapping[int, int]] = {g.seconds: g.sketch_chunk_s for g in GRANULARITIES}
_SUFFIX: Final = {g.seconds: g.name for g in GRANULARITIES}
#: Bytes of one cell: a float64, and whether there is a row.
CELL_BYTES: Final = 9
#: Of the last value of a gauge also its time.
_TIMED_CELL_BYTES: Final = 13
_LARGEST: Final = 65_535
#: Bytes of a sketch besides its counts: even an empty one counts against the bound.
_SKETCH_BYTES: Final = 1_024


class Source(NamedTuple):
    """The source of a chunk: a column of a tenant's metrics. `project_id` None: all projects together."""

    org_id: int
    project_id: int | None
    metric_ids: tuple[int, ...]
    table: str
    column: str
    selection: bytes = b""  # of merged sketches: which series, and in which groups

    @property
    def timed(self) -> bool:
        """Whether it is the last value of gauges, which merges by its time."""
        return (self.table, self.column) == ("gauges", "last")

    @property
    def merge(self) -> FloatMerge:
        """How values of one bucket merge; those that are not timed."""
        return FLOAT_MERGES.get(self.column, "sum")

    @property
    def cell_bytes(self) -> int:
        """The bytes of one cell."""
        return _TIMED_CELL_BYTES if self.timed else CELL_BYTES


class ChunkKey(NamedTuple):
    """Which block: `start_s` is a multiple of the granularity's stretch."""

    source: Source
    granularity_s: int
    start_s: int

    @property
    def table(self) -> str:
        """The rollup's name."""
        return f"{self.source.table}_{_SUFFIX[self.granularity_s]}"

    @property
    def end_s(self) -> int:
        """The end of the span, exclusive."""
        return self.start_s + _stretch_s(self.source, self.granularity_s)

    @property
    def cells(self) -> int:
        """The number of buckets."""
        return _stretch_s(self.source, self.granularity_s) // self.granularity_s

    def offset_ms(self, cells: Ints, times_ms: Ints) -> Ints | None:
        """Return times since the starts of their buckets; None if one lies outside its bucket."""
        since_ms = times_ms - (self.start_s + cells * self.granularity_s) * 1000
        if len(since_ms) and not 0 <= since_ms.min() <= since_ms.max() < self.granularity_s * 1000:
            return None
        return since_ms


def _stretch_s(source: Source, granularity_s: int) -> int:
    return (_SKETCH_STRETCH_S if source.selection else CHUNK_SPAN_S)[granularity_s]


def places(source: Source, granularity_s: int, lo_s: int, hi_s: int) -> list[ChunkKey]:
    """Return the keys of the chunks that hold `[lo_s, hi_s)`, in order."""
    stretch_s = _stretch_s(source, granularity_s)
    return [ChunkKey(source, granularity_s, s) for s in range(lo_s // stretch_s * stretch_s, hi_s, stretch_s)]


@dataclass(slots=True, eq=False)
class Chunk:
    """A matrix: `values[i, j]` is the value of series `ids[i]` in bucket `j`; `rows` says if it has a row.

    `ids` ascend; chunks may share the array. `kept_days`: the shortest retention of its rows. `offset_ms`:
    for last values of gauges, the time of each after its bucket's start; `merge` is then unused.
    """

    ids: Ids
    values: Floats
    rows: Bools
    kept_days: int
    offset_ms: Offsets | None = None
    merge: FloatMerge = "sum"

    @property
    def empty(self) -> bool:
        """Whether it has no series."""
        return not len(self.ids)

    @property
    def size_bytes(self) -> int:
        """The bytes of its arrays."""
        size = self.values.nbytes + self.rows.nbytes + self.ids.nbytes
        return size if self.offset_ms is None else size + self.offset_ms.nbytes

    def add(
        self, ids: Ids, cells: Ints, values: Floats, kept_days: int, offset_ms: Ints | None = None
    ) -> None:
        """Merge samples in, sorted by series and then cell, also of series that it has not seen."""
        firsts = np.concatenate(([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1))
        at, known = find_ids(self.ids, ids[firsts])
        if not known.all():
            self._take_in(ids[firsts])
            at, _ = find_ids(self.ids, ids[firsts])
        flat = at.repeat(np.diff(firsts, append=len(ids))) * self.values.shape[1] + cells
        starts = np.flatnonzero(np.diff(flat, prepend=-1))
        places = np.unravel_index(flat[starts], self.values.shape)
        if offset_ms is not None:
            self._put_newest(places, flat, starts, values, offset_ms)
        elif self.merge == "sum":
            self.values[places] += np.add.reduceat(values, starts)
        else:
            merge = MERGES[self.merge].ufunc
            found = merge.reduceat(values, starts)
            self.values[places] = np.where(self.rows[places], merge(self.values[places], found), found)
        self.rows[places] = True
        self.kept_days = min(self.kept_days, kept_days)

    def _put_newest(
        self, places: tuple[Ints, ...], flat: Ints, starts: Ints, values: Floats, offset_ms: Ints
    ) -> None:
        """Put the latest value of each bucket, at equal times the greatest, as ClickHouse does."""
        assert self.offset_ms is not None
        latest = np.lexsort((values, offset_ms, flat))[np.append(starts[1:], len(flat)) - 1]
        time_ms, value = offset_ms[latest], values[latest]
        held_ms, held = self.offset_ms[places], self.values[places]
        newer = ~self.rows[places] | (time_ms > held_ms) | ((time_ms == held_ms) & (value > held))
        self.values[places] = np.where(newer, value, held)
        self.offset_ms[places] = np.where(newer, time_ms, held_ms)

    def _take_in(self, ids: Ids) -> None:
        """Add rows for series that may be new, in new arrays: readers may hold the old ones."""
        merged = np.union1d(self.ids, ids)
        at = np.searchsorted(merged, self.ids)
        shape = (len(merged), self.values.shape[1])
        values, rows = np.zeros(shape), np.zeros(shape, dtype=bool)
        values[at], rows[at] = self.values, self.rows
        if self.offset_ms is not None:
            offset_ms = np.zeros(shape, dtype=np.uint32)
            offset_ms[at] = self.offset_ms
            self.offset_ms = offset_ms
        self.ids, self.values, self.rows = merged, values, rows


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Bucket counts of groups of distributions on one side of zero: `counts[key, cell, j]` of `first + j`.

    Nothing is ever added to it. Small whole numbers take two bytes.
    """

    first: int
    counts: npt.NDArray[np.uint16] | Floats
    kept_days: int

    @staticmethod
    def of(first: int, counts: Floats, kept_days: int) -> Sketch:
        """Without the outer buckets that are empty; the counts are copied."""
        used = np.flatnonzero(counts.any(axis=(0, 1)))
        if not len(used):
            return Sketch(0, np.zeros((*counts.shape[:2], 0)), kept_days)
        some = counts[:, :, used[0] : used[-1] + 1]
        first += int(used[0])
        if some.min() >= 0 and some.max() <= _LARGEST:
            small = some.astype(np.uint16)
            if (small == some).all():
                return Sketch(first, small, kept_days)
        return Sketch(first, some.copy(), kept_days)

    @property
    def empty(self) -> bool:
        """Whether it has no counts."""
        return not self.counts.size

    @property
    def size_bytes(self) -> int:
        """The bytes of its counts, and a constant."""
        return self.counts.nbytes + _SKETCH_BYTES


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows of a block make up which keys. `rows` go by key, ascending; None: row `i` is key `i`.

    `starts`: where in `rows` each key of `keys` begins; None: one row a key.
    """

    rows: Ints | None
    keys: Ints
    starts: Ints | None

    @property
    def alone(self) -> bool:
        """Every row of the block goes into the one key there is."""
        return self.rows is None and self.starts is not None

    def picked(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (keys, cells) of (rows, cells) where every key is one row; may be a view."""
        return values if self.rows is None else values.take(self.rows, axis=0)

    def merged(self, values: Floats, merge: np.ufunc) -> Floats:
        """Return (keys, cells) of (rows, cells); may be a view."""
        if self.alone:
            return np.asarray(merge.reduce(values, axis=0, keepdims=True))
        if self.rows is None:
            return values
        taken = values.take(self.rows, axis=0)
        return taken if self.starts is None else np.asarray(merge.reduceat(taken, self.starts, axis=0))

    def any(self, rows: Bools) -> Bools:
        """Return whether any row of each key is set."""
        if self.alone:
            return np.asarray(np.logical_or.reduce(rows, axis=0, keepdims=True))
        if self.rows is None:
            return rows
        taken = rows.take(self.rows, axis=0)
        if self.starts is None:
            return taken
        return np.asarray(np.logical_or.reduceat(taken, self.starts, axis=0))


def rows_of(block_ids: Ids, series_ids: Ids, group: Ints | None) -> Rows:
    """Return the rows of a chunk for series (ascending) that are keys themselves, or each in a group."""
    if len(series_ids) <= len(block_ids):
        at, known = find_ids(block_ids, series_ids)
        rows, series = at[known], np.flatnonzero(known)
    else:
        at, known = find_ids(series_ids, block_ids)
        rows, series = np.flatnonzero(known), at[known]
    every = len(rows) == len(block_ids)
    if group is None:
        whole = every and len(series) == len(series_ids)
        return Rows(None if whole else rows, series, None)
    key = group[series]
    if every and len(key) and (key == key[0]).all():
        return Rows(None, key[:1], np.zeros(1, dtype=np.int64))
    order = np.argsort(key, kind="stable")
    rows, key = rows[order], key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1)).astype(np.int64)
    return Rows(rows, key[starts], None if len(starts) == len(key) else starts)
