"""The buckets of gauges as dense matrices of series x buckets, and look-ups in them. Pure.

A bucket's sample has its own time, that of its last value, which lies in the bucket. So the bucket of a
sample is known without a search, and a look-up is a few passes over matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.wire.frame import ENDED
from indexer.clickhouse.schema.metric_types import BY_KIND, FLOAT_MERGES
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.values import Bools, Floats, Ints, Samples, Vector
from shim.read.column_merges import merge_of

Offsets = npt.NDArray[np.uint32]

#: How each column of a bucket merges; `last` merges with its time (`newest`).
MERGES: Final[Mapping[str, np.ufunc]] = {
    c.name: merge_of(c.name).ufunc for c in BY_KIND["gauges"].state if c.name in FLOAT_MERGES
}


@dataclass(frozen=True, slots=True)
class GaugeCells:
    """Buckets of a part's series; `values[column]` is (series, buckets) and means nothing without a row."""

    lo_s: int  # start of the first bucket
    granularity_s: int
    rows: Bools  # (series, buckets)
    offset_ms: Offsets  # (series, buckets), of the last value after the bucket's start
    values: Mapping[str, Floats]  # "last", and those of MERGES that were asked for

    @staticmethod
    def empty(series: int, lo_s: int, hi_s: int, granularity_s: int, columns: Sequence[str]) -> GaugeCells:
        """Return matrices without samples."""
        shape = (series, (hi_s - lo_s) // granularity_s)
        return GaugeCells(
            lo_s, granularity_s, np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.uint32),
            {column: np.zeros(shape) for column in columns},
        )  # fmt: skip

    def put(self, series: Ints, bucket: Ints, time_ms: Ints, columns: Mapping[str, Floats]) -> bool:
        """Put rows in place where buckets have none yet; rows of one bucket are merged.

        False, and nothing is of use, where a time lies outside of its bucket: no agent sends that.
        """
        size_ms = self.granularity_s * 1000
        offset_ms = time_ms - (self.lo_s * 1000 + bucket * size_ms)
        if len(offset_ms) and not 0 <= offset_ms.min() <= offset_ms.max() < size_ms:
            return False
        place = series * self.rows.shape[1] + bucket
        self.rows.reshape(-1)[place] = True
        if np.count_nonzero(self.rows) < len(place):
            place, offset_ms, columns = merged(place, offset_ms, columns)
        self.offset_ms.reshape(-1)[place] = offset_ms
        for column, values in columns.items():
            self.values[column].reshape(-1)[place] = values
        return True

    def grouped(self, group: Ints, groups: int) -> GaugeCells:
        """Return the cells with the series of each group merged."""
        hi_s = self.lo_s + self.rows.shape[1] * self.granularity_s
        out = GaugeCells.empty(groups, self.lo_s, hi_s, self.granularity_s, tuple(self.values))
        series, bucket = np.nonzero(self.rows)
        start_ms = (self.lo_s + bucket * self.granularity_s) * 1000
        columns = {column: values[series, bucket] for column, values in self.values.items()}
        out.put(group[series], bucket, start_ms + self.offset_ms[series, bucket], columns)
        return out

    def take(self, other: GaugeCells) -> None:
        """Put in all buckets of `other`, which lie within these, of the same series and columns."""
        first = (other.lo_s - self.lo_s) // self.granularity_s
        here = slice(first, first + other.rows.shape[1])
        self.rows[:, here], self.offset_ms[:, here] = other.rows, other.offset_ms
        for column, values in other.values.items():
            self.values[column][:, here] = values

    # ------------------------------------------------------------ looking up

    def latest(self, labels: Sequence[Labels], at: Grid, lookback_ms: int) -> tuple[Vector, Ints]:
        """Return the last sample in `(t - lookback, t]` at every `t`, and its time in ms.

        The buckets are those from `at.start_ms - lookback_ms` to `at.end_ms`.
        """
        size_ms = self.granularity_s * 1000
        since_ms = at.times_ms - self.lo_s * 1000
        bucket, rest_ms = np.divmod(since_ms, size_ms)
        before = np.maximum(bucket - 1, 0)
        # The sample of the step's own bucket may be later than the step; mostly there is one just before it.
        own = self.rows.take(bucket, axis=1) & (self.offset_ms.take(bucket, axis=1) <= rest_ms)
        last = self.rows.take(before, axis=1) & (bucket > 0)
        place = np.where(own, bucket, np.where(last, before, -1))
        last |= own
        found = np.count_nonzero(last)
        if found < last.size:
            if found < last.size // 2:  # all at once costs less than to pick out most of them
                place = np.where(own, bucket, self._newest().take(before, axis=1))
            else:
                series, step = np.nonzero(~last)
                place[series, step] = self._newest()[series, before[step]]
            place[:, bucket == 0] = np.where(own[:, bucket == 0], 0, -1)
        flat = np.maximum(place, 0) + (np.arange(len(labels)) * self.rows.shape[1])[:, None]
        times_ms = self.offset_ms.take(flat) + (place * size_ms + self.lo_s * 1000)
        values = self.values["last"].take(flat)
        present = (place >= 0) & (times_ms > at.times_ms - lookback_ms) & (values != ENDED)
        return Vector(at.steps, labels, values, present), times_ms

    def _newest(self) -> npt.NDArray[np.int32]:
        """Return for every bucket the last one with a row up to it, -1 where there is none."""
        number = np.arange(self.rows.shape[1], dtype=np.int32)
        found: npt.NDArray[np.int32] = np.where(self.rows, number, np.int32(-1))
        return np.maximum.accumulate(found, axis=1, out=found)

    def samples(self, labels: Sequence[Labels], after_ms: int, upto_ms: int) -> Samples:
        """Return the samples in `(after, upto]`, which lie in these buckets, all whole but first and last."""
        ended = self.values["last"] == ENDED
        rows = self.rows & ~ended if ended.any() else self.rows
        size_ms = self.granularity_s * 1000
        start_ms = self.lo_s * 1000 + np.arange(rows.shape[1]) * size_ms
        whole = (start_ms > after_ms) & (start_ms + size_ms - 1 <= upto_ms)
        if not whole.all():
            edges = np.flatnonzero(~whole)
            times_ms = start_ms[edges] + self.offset_ms[:, edges]
            rows = rows.copy() if rows is self.rows else rows
            rows[:, edges] &= (times_ms > after_ms) & (times_ms <= upto_ms)
        used = np.flatnonzero(rows.any(axis=0))
        some = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
        rows = rows[:, some]
        every = rows.all()

        def flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return values[:, some].reshape(-1) if every else values[:, some][rows]

        times: Ints = flat(self.offset_ms + start_ms)
        offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))]).astype(np.int64)
        found = {column: flat(values) for column, values in self.values.items()}
        return Samples(
            labels, offsets, times, found["last"],
            low=found.get("min"), high=found.get("max"), total=found.get("sum"), count=found.get("count"),
            upto=_Upto(start_ms[some], size_ms, self.offset_ms[:, some]) if every and len(used) else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Upto:
    """`Samples.upto` where every series has a sample in every bucket: the bucket's number, or one more."""

    start_ms: Ints  # (buckets,)
    size_ms: int
    offset_ms: Offsets  # (series, buckets)

    def __call__(self, times_ms: Ints) -> Ints:
        since_ms = times_ms - self.start_ms[0]
        bucket, rest_ms = np.divmod(np.maximum(since_ms, 0), self.size_ms)
        inside = np.minimum(bucket, len(self.start_ms) - 1)
        seen = self.offset_ms.take(inside, axis=1) <= rest_ms
        found: Ints = inside + (seen | (bucket > inside))
        found[:, since_ms < 0] = 0
        return found


def merged(
    place: Ints, time_ms: Ints, columns: Mapping[str, Floats]
) -> tuple[Ints, Ints, Mapping[str, Floats]]:
    """Merge rows of one place as ClickHouse does: the latest value, at equal times the greatest."""
    order = np.lexsort((columns["last"], time_ms, place))
    place = place[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    ends = np.append(starts[1:], len(place)) - 1
    out = {"last": columns["last"][order[ends]]}
    for column in columns.keys() & MERGES.keys():
        with np.errstate(over="ignore", invalid="ignore"):
            out[column] = MERGES[column].reduceat(columns[column][order], starts)
    return place[starts], time_ms[order[ends]], out
