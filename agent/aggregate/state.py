"""The mergeable state of one series in one 10 s bucket, one class per metric type.

Owns how samples become state (docs/exactness.md). Part of the readable definition that the
native core is compared with, bit for bit, so the arithmetic is deliberately plain:

* Sums add one value after another, in order of arrival, in 64-bit floats, without compensation.
* Of equal values (`0` and `-0`) the first to arrive stays the minimum and the maximum.
* Sums and counts may overflow to an infinity or a NaN: agent/core/frame_builder.py brings them back into
  range.

Each cell counts its `lines`, so that a lost frame tells how many lines were lost with it.

No cell refers to its series, so there are no reference cycles. The service can therefore nearly switch off
Python's garbage collector, which would otherwise scan every cell repeatedly.

Pure; not thread-safe.
"""

from __future__ import annotations

from math import inf
from typing import Final

from xxhash import xxh64_intdigest

from agent.aggregate.exponential_buckets import index_of
from agent.aggregate.last_values import key_of
from agent.protocol.line import Kind


class Series:
    """A metric name, type and tags; compared by identity.

    `gauge` is its latest cell, from which deltas start. `deltas` tells whether deltas are possible; the cell
    is then also kept under `key`.
    """

    __slots__ = ("__weakref__", "deltas", "gauge", "key", "kind", "name", "overflow", "size_bytes", "tags")

    def __init__(self, kind: Kind, name: str, tags: tuple[tuple[str, str], ...]) -> None:
        self.kind = kind
        self.name = name
        self.tags = tags
        self.gauge: GaugeCell | None = None
        self.deltas = False
        self.overflow = False  # it holds the lines of series beyond a limit
        self.key = key_of(name, tags) if kind is Kind.GAUGE else 0
        #: Approximate size of its strings in a frame.
        self.size_bytes = len(name) + sum(len(key) + len(value) + 8 for key, value in tags)


class CounterCell:
    """The sum of deltas."""

    __slots__ = ("lines", "value")

    def __init__(self) -> None:
        self.lines = 0
        self.value = 0.0

    def add(self, value: float, weight: float) -> None:
        """Add one delta that counts as `weight` deltas."""
        self.value += value * weight


class GaugeCell:
    """The last value with its time, and min, max, sum and count of all values."""

    __slots__ = ("count", "last", "last_ms", "lines", "max", "min", "sum")

    def __init__(self) -> None:
        self.lines = 0
        self.last = 0.0
        self.last_ms = -1  # no value yet
        self.min = inf
        self.max = -inf
        self.sum = 0.0
        self.count = 0

    def add(self, value: float, time_ms: int) -> None:
        """Add one value at its own time; of values with equal times the last to arrive is kept."""
        if time_ms >= self.last_ms:
            self.last = value
            self.last_ms = time_ms
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        self.sum += value
        self.count += 1


class DistributionCell:
    """Exponential buckets, count, sum, sum of squares, min and max; counts are weights."""

    __slots__ = ("count", "lines", "max", "min", "negative", "positive", "sum", "sum_squares", "zero")

    def __init__(self) -> None:
        self.lines = 0
        self.positive: dict[int, float] = {}
        self.negative: dict[int, float] = {}  # by the index of the absolute value
        self.zero = 0.0
        self.count = 0.0
        self.sum = 0.0
        self.sum_squares = 0.0
        self.min = inf
        self.max = -inf

    @property
    def entries(self) -> int:
        """Entries of the bucket maps."""
        return len(self.positive) + len(self.negative)

    def add(self, value: float, weight: float) -> int:
        """Add one value that counts as `weight` values; return the number of new map entries: 0 or 1."""
        self.count += weight
        self.sum += value * weight
        self.sum_squares += value * value * weight
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        if value > 0.0:
            buckets, index = self.positive, index_of(value)
        elif value < 0.0:
            buckets, index = self.negative, index_of(-value)
        else:
            self.zero += weight
            return 0
        count = buckets.get(index)
        buckets[index] = weight if count is None else count + weight
        return 1 if count is None else 0


class SetCell:
    """The 64-bit hashes of a set's members: xxHash64 of the member's bytes, seed 0."""

    __slots__ = ("lines", "members")

    def __init__(self) -> None:
        self.lines = 0
        self.members: set[int] = set()

    def add(self, member: bytes) -> int:
        """Add one member; return 1 if it is new, else 0."""
        before = len(self.members)
        self.members.add(xxh64_intdigest(member))
        return len(self.members) - before


Cell = CounterCell | GaugeCell | DistributionCell | SetCell

_CELLS: Final[dict[Kind, type[CounterCell | GaugeCell | DistributionCell | SetCell]]] = {
    Kind.COUNTER: CounterCell,
    Kind.GAUGE: GaugeCell,
    Kind.DISTRIBUTION: DistributionCell,
    Kind.SET: SetCell,
}


def new_cell(kind: Kind) -> Cell:
    """Create an empty cell of a type."""
    return _CELLS[kind]()


class Bucket:
    """All cells of one 10 s interval, in the order of their first lines."""

    __slots__ = ("cells", "entries", "start_s")

    def __init__(self, start_s: int) -> None:
        self.start_s = start_s
        self.cells: dict[Series, Cell] = {}
        #: Its share of the aggregator's memory: itself, cells, set members and histogram entries.
        self.entries = 1
