"""Classic buckets of histograms: the boundaries of a metric, and the observations up to each of them.

A metric has the boundaries of its mapping file, else those of schema 2 between its smallest and its largest
observation, as `x_bucket` has in answers of the shim (shim/catalog/classic_bounds.py). At boundaries of
schema 2 the numbers are exact; elsewhere they are interpolated within one bucket, 2% wide. They are rounded
to whole observations, which keeps them ascending over boundaries and over time. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from agent.aggregate.exponential_buckets import EDGES, PER_OCTAVE, index_of
from agent.exposition.totals import SCHEMA, HistogramTotal
from agent.protocol.line import MAX_NUMBER

_CLASSIC_SCHEMA: Final = 2
#: Boundaries of one metric; where schema 2 would have more, a coarser schema is taken.
MAX_BOUNDS: Final = 256


class ClassicBound(msgspec.Struct, frozen=True):
    """A boundary, and its place among the exponential buckets of schema 5: index of its size, as a fraction.

    The size of a boundary is its distance from zero.
    """

    upper: float
    place: float


def mapped_bounds(uppers: Iterable[float]) -> list[ClassicBound]:
    """Return the boundaries of a mapping file, without +Inf."""
    return [ClassicBound(upper, _place(abs(upper))) for upper in uppers]


def bounds_of(histograms: Iterable[HistogramTotal]) -> list[ClassicBound]:
    """Return the boundaries between the smallest and the largest observation, ascending, without +Inf.

    On either side an empty bucket ends the ladder towards zero, so that interpolation starts at the edge of
    the lowest bucket. Between them is 0 where zeros or negative observations are.
    """
    positive, negative, zero = _Extent(), _Extent(), False
    for one in histograms:
        positive.extend(one.positive, SCHEMA - one.schema)
        negative.extend(one.negative, SCHEMA - one.schema)
        zero = zero or one.zero > 0
    schema = _CLASSIC_SCHEMA
    while len(positive.at(schema)) + len(negative.at(schema)) + 2 > MAX_BOUNDS:
        schema -= 1
    step = 1 << (SCHEMA - schema)
    down = [ClassicBound(-_upper(i, schema), i * step) for i in reversed(negative.at(schema))]
    up = [ClassicBound(_upper(i, schema), i * step) for i in positive.at(schema)]
    middle = [ClassicBound(0.0, -math.inf)] if zero or down else []
    distinct = {bound.upper: bound for bound in (*down, *middle, *up)}  # the smallest edge is 0
    return [bound for bound in distinct.values() if math.isfinite(bound.upper)]


def counts_up_to(histogram: HistogramTotal, bounds: Sequence[ClassicBound]) -> list[int]:
    """Return the observations up to each boundary, then all of them."""
    step = SCHEMA - histogram.schema
    above, below = _Cumulative(histogram.positive, step), _Cumulative(histogram.negative, step)
    not_positive = below.total + histogram.zero
    found = [
        not_positive + above.up_to(bound.place)
        if bound.upper > 0
        else not_positive
        if bound.upper == 0
        else below.total - below.up_to(bound.place)
        for bound in bounds
    ]
    whole = rounded(histogram.count)
    return [*(min(rounded(count), whole) for count in found), whole]


def rounded(count: float) -> int:
    """Round to a whole number; a half goes up, and infinity is the largest float."""
    return math.floor(count + 0.5) if count < MAX_NUMBER else int(MAX_NUMBER)


class _Extent:
    """The lowest and the highest bucket on one side of zero, by the index of schema 5."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._last: int | None = None

    def extend(self, buckets: Mapping[int, float], halvings: int) -> None:
        if buckets:
            first, last = ((i << halvings) for i in (min(buckets), max(buckets)))
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)

    def at(self, schema: int) -> range:
        """Return the indexes of the upper bounds, and of the lower bound of the first bucket."""
        if self._first is None or self._last is None:
            return range(0)
        first, last = (((i - 1) >> (SCHEMA - schema)) + 1 for i in (self._first, self._last))
        return range(first - 1, last + 1)


class _Cumulative:
    """The buckets of one side in order, with their running sums."""

    def __init__(self, buckets: Mapping[int, float], halvings: int) -> None:
        self._at = sorted(buckets)
        self._sums = [0.0, *accumulate(buckets[i] for i in self._at)]
        if self._sums[-1] > MAX_NUMBER:  # a difference of infinities is NaN
            self._sums = [min(one, MAX_NUMBER) for one in self._sums]
        self._scale = 0.5**halvings
        self.total = self._sums[-1]

    def up_to(self, place: float) -> float:
        """Return the observations up to a place, interpolated within its bucket."""
        place *= self._scale
        whole = math.floor(place) if math.isfinite(place) else self._at[0] - 1 if self._at else 0
        end = bisect_right(self._at, whole)
        found = self._sums[end]
        if place > whole and end < len(self._at) and self._at[end] == whole + 1:
            found += (place - whole) * (self._sums[end + 1] - found)
        return found


def _upper(index: int, schema: int) -> float:
    """Return the upper bound of a bucket; powers of two are exact."""
    if schema <= 0:
        return _power_of_two(1.0, index << -schema)
    return _power_of_two(2.0 ** ((index & ((1 << schema) - 1)) / (1 << schema)), index >> schema)


def _power_of_two(fraction: float, exponent: int) -> float:
    try:
        return math.ldexp(fraction, exponent)
    except OverflowError:  # the highest bucket ends at 2^1024
        return math.inf


def _place(size: float) -> float:
    """Return where a size lies among the buckets of schema 5: its bucket's index, less the part above it."""
    if not size:
        return -math.inf
    index = index_of(size)
    mantissa, exponent = math.frexp(size)
    if mantissa in EDGES:
        return float(index)
    exact = PER_OCTAVE * (math.log2(mantissa) + exponent)
    return min(max(exact, index - 1.0), float(index))
