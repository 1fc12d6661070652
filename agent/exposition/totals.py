"""The cumulative value of one series, one immutable class per type.

Owns how a row of a frame is added. A value is replaced and never changed, so that a copy of the table that
holds it is the state of one moment. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from agent.protocol.line import MAX_NUMBER

#: Resolution of stored distributions: factor 2^(1/32), see agent/aggregate/exponential_buckets.py.
SCHEMA: Final = 5
_MIN_SCHEMA: Final = -4  # of native histograms
#: Histogram buckets of one series; beyond it the resolution is halved.
MAX_BUCKETS: Final = 1_024


class CounterTotal(msgspec.Struct, frozen=True, gc=False):
    """The sum of deltas since `created_s`, and the highest sum so far, which is shown.

    A counter that falls would be a restart to Prometheus. So negative deltas wait for later positive ones.
    """

    created_s: float
    expires_s: float
    total: float = 0.0
    highest: float = 0.0

    def plus(self, delta: float, expires_s: float) -> CounterTotal:
        """Return the total after one more row."""
        total = _bounded(self.total + delta)
        return CounterTotal(self.created_s, expires_s, total, max(total, self.highest))


class GaugeValue(msgspec.Struct, frozen=True, gc=False):
    """The last value by its own time; of equal times the last to arrive."""

    expires_s: float
    time_ms: int
    value: float


class SetSize(msgspec.Struct, frozen=True, gc=False):
    """The number of distinct members in the latest bucket with any."""

    expires_s: float
    bucket_s: int
    size: int


class HistogramTotal(msgspec.Struct, frozen=True, gc=False):
    """All observations since `created_s`: exponential buckets by index, as in frames, with their `schema`.

    `whole`: no row had a fraction, as sample rates give them. A series that changed its kind of numbers with
    each scrape would cost a Prometheus a new chunk each.
    """

    created_s: float
    expires_s: float
    count: float = 0.0
    sum: float = 0.0
    zero: float = 0.0
    schema: int = SCHEMA
    positive: Mapping[int, float] = {}
    negative: Mapping[int, float] = {}  # by the index of the absolute value
    whole: bool = True

    @property
    def entries(self) -> int:
        """Number of its buckets."""
        return len(self.positive) + len(self.negative)

    def plus(self, row: HistogramRow, expires_s: float) -> HistogramTotal:
        """Return the total after one more row."""
        added = HistogramTotal(
            self.created_s,
            expires_s,
            _bounded(self.count + row.count),
            _bounded(self.sum + row.sum),
            _bounded(self.zero + row.zero),
            self.schema,
            _added(self.positive, row.positive, SCHEMA - self.schema),
            _added(self.negative, row.negative, SCHEMA - self.schema),
            self.whole and row.is_whole,
        )
        while added.entries > MAX_BUCKETS and added.schema > _MIN_SCHEMA:
            added = added.halved()
        return added

    def halved(self) -> HistogramTotal:
        """Return the same observations in buckets that are twice as wide."""
        if self.schema <= _MIN_SCHEMA:
            return self
        return msgspec.structs.replace(
            self,
            schema=self.schema - 1,
            positive=_added({}, self.positive.items(), 1),
            negative=_added({}, self.negative.items(), 1),
        )


class HistogramRow(msgspec.Struct, frozen=True, gc=False):
    """One row of a frame: the observations of one series in one bucket."""

    count: float
    sum: float
    zero: float
    positive: Sequence[tuple[int, float]]
    negative: Sequence[tuple[int, float]]

    @property
    def is_whole(self) -> bool:
        """Whether all its counts are whole numbers."""
        counts = (self.zero, *(n for _, n in self.positive), *(n for _, n in self.negative))
        return all(map(float.is_integer, counts))


def _added(before: Mapping[int, float], more: Iterable[tuple[int, float]], halvings: int) -> dict[int, float]:
    """Return the buckets with more of them added, whose indexes are of a schema that is `halvings` finer."""
    after = dict(before)
    get = after.get
    for index, count in more:
        at = ((index - 1) >> halvings) + 1
        after[at] = min(get(at, 0.0) + count, MAX_NUMBER)
    return after


def _bounded(value: float) -> float:
    return min(max(value, -MAX_NUMBER), MAX_NUMBER)
