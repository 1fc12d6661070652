"""The mergeable state of one series in one 10 s bucket, one class per metric type.

Owns how samples become state (design/semantics.md "Stored state"). The usual samples of gauges and
distributions are only put aside (`pending`) and worked in many at a time by `fold`, because built-in
functions over a list cost a fraction of a method call per sample. Read a cell's state after `fold()` only.

No cell knows its series, so nothing here makes reference cycles: the service can all but switch Python's
garbage collector off, which would look at every cell over and over.

Pure; not thread-safe.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from math import frexp, inf
from operator import mul
from typing import Final

from agent.line import Kind
from agent.sketch import EDGES, PER_OCTAVE, index_of

#: How many samples a cell puts aside at most; the callers that append to `pending` keep it.
PENDING_MAX: Final = 64


class Series:
    """A metric name, type and tags; compared by identity.

    `gauge` is its latest cell, which deltas start from.
    """

    __slots__ = ("__weakref__", "gauge", "kind", "name", "size_bytes", "tags")

    def __init__(self, kind: Kind, name: str, tags: tuple[tuple[str, str], ...]) -> None:
        self.kind = kind
        self.name = name
        self.tags = tags
        self.gauge: GaugeCell | None = None
        #: Its strings in a frame, about.
        self.size_bytes = len(name) + sum(len(key) + len(value) + 8 for key, value in tags)


class CounterCell:
    """Sum of deltas."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class GaugeCell:
    """Last value with its time, and min, max, sum, count of all values."""

    __slots__ = ("count", "last", "last_ms", "max", "min", "pending", "pending_ms", "sum")

    def __init__(self) -> None:
        self.pending: list[float] = []
        self.pending_ms = 0  # time of the last pending value
        self.last = 0.0
        self.last_ms = -1
        self.min = inf
        self.max = -inf
        self.sum = 0.0
        self.count = 0

    @property
    def time_ms(self) -> int:
        """Time of the last value; -1 if there is none."""
        return max(self.last_ms, self.pending_ms) if self.pending else self.last_ms

    @property
    def has_value(self) -> bool:
        """False until the first value came."""
        return bool(self.pending) or self.count > 0

    def add(self, value: float, time_ms: int) -> None:
        """One value at its own time; of values with the same time the last to come is kept."""
        self.fold()
        self.pending.append(value)
        self.pending_ms = time_ms
        self.fold()

    def fold(self) -> int:
        """Works the pending values in. A gauge takes no more memory with more values: 0."""
        pending = self.pending
        if not pending:
            return 0
        if self.pending_ms >= self.last_ms:
            self.last_ms = self.pending_ms
            self.last = pending[-1]
        self.min = min(self.min, *pending)
        self.max = max(self.max, *pending)
        self.sum += sum(pending)
        self.count += len(pending)
        pending.clear()
        return 0


class DistributionCell:
    """Exponential buckets (agent/sketch.py), count, sum, sum of squares, min, max; counts are weights."""

    __slots__ = (
        "count", "max", "min", "negative", "pending", "positive", "sum", "sum_squares", "zero",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pending: list[float] = []  # of weight 1
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
        """One value that stands for `weight` values; gives by how many entries the bucket maps grew."""
        entries = self.entries
        if value > 0.0:
            _count(self.positive, [index_of(value)], weight)
        elif value < 0.0:
            _count(self.negative, [index_of(-value)], weight)
        else:
            self.zero += weight
        self.count += weight
        self.sum += value * weight
        self.sum_squares += value * value * weight
        self.min = min(self.min, value)
        self.max = max(self.max, value)
        return self.entries - entries

    def fold(self) -> int:
        """Works the pending values in; gives by how many entries the bucket maps grew."""
        pending = self.pending
        if not pending:
            return 0
        entries = self.entries
        low, high = min(pending), max(pending)
        self.min = min(self.min, low)
        self.max = max(self.max, high)
        self.count += len(pending)
        self.sum += sum(pending)
        self.sum_squares += sum(map(mul, pending, pending))
        if low > 0.0:
            _count(self.positive, _indexes(pending), 1.0)
        else:
            _count(self.positive, _indexes([v for v in pending if v > 0.0]), 1.0)
            _count(self.negative, _indexes([-v for v in pending if v < 0.0]), 1.0)
            self.zero += pending.count(0.0)
        pending.clear()
        return self.entries - entries


def _indexes(values: Iterable[float]) -> list[int]:
    """`sketch.index_of` of each value, without a call for each."""
    return [bisect_left(EDGES, m) + PER_OCTAVE * (e - 1) for m, e in map(frexp, values)]


def _count(buckets: dict[int, float], indexes: list[int], weight: float) -> None:
    for index, times in Counter(indexes).items():
        buckets[index] = buckets.get(index, 0.0) + times * weight


class SetCell:
    """The 64-bit hashes of a set's members: `xxhash.xxh64_intdigest(member)`, seed 0."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: set[int] = set()


Cell = CounterCell | GaugeCell | DistributionCell | SetCell

_CELLS: Final[dict[Kind, type[CounterCell | GaugeCell | DistributionCell | SetCell]]] = {
    Kind.COUNTER: CounterCell,
    Kind.GAUGE: GaugeCell,
    Kind.DISTRIBUTION: DistributionCell,
    Kind.SET: SetCell,
}


def new_cell(kind: Kind) -> Cell:
    """An empty cell of a type."""
    return _CELLS[kind]()


class Bucket:
    """All cells of one 10 s interval."""

    __slots__ = ("cells", "entries", "start_s")

    def __init__(self, start_s: int) -> None:
        self.start_s = start_s
        self.cells: dict[Series, Cell] = {}
        #: Its share of the aggregator's memory: itself, cells, set members, entries of bucket maps, bindings.
        self.entries = 1
