"""The values of expressions: whole grids in NumPy arrays, never a Python object per sample. Pure.

Every vector has one row per series and one slot per grid point (`steps` of them). `present` says where a
series has a value; elsewhere `values` is meaningless (so NaN can be a real value). Operators return new
values and never write into their operands.

A vector holds floats and native histograms side by side, because one selector can match both. A label set
occurs at most once among the floats of a vector, and once among its histograms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shim.model.labels import Labels

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One float for every step."""

    values: Floats  # (steps,)


@dataclass(frozen=True, slots=True)
class String:
    """A string literal."""

    text: str


@dataclass(frozen=True, slots=True)
class Spans:
    """Exponential buckets of one series over a grid: those that occur at any step, each a column.

    Column `j` is bucket `indices[j]` of schema 5: `(2^((i-1)/32), 2^(i/32)]`, mirrored when negative.
    Two observations far apart are two columns, not the thousands between them.
    """

    indices: Ints  # (buckets,), ascending
    counts: Floats  # (steps, buckets), 0 where empty

    @staticmethod
    def empty(steps: int) -> Spans:
        """Return no buckets."""
        return Spans(np.zeros(0, dtype=np.int64), np.zeros((steps, 0)))

    @staticmethod
    def dense(first: int, counts: Floats) -> Spans:
        """Return neighbouring buckets from `first` on."""
        return Spans(first + np.arange(counts.shape[1], dtype=np.int64), counts)


@dataclass(frozen=True, slots=True)
class Histogram:
    """One series of native histograms (schema 5, zero threshold 0) over a grid.

    With `low` and `high` it is *observed*: counts are of whole observations, and these are their extremes.
    """

    present: Bools  # (steps,)
    count: Floats  # (steps,)
    sum: Floats  # (steps,)
    zero: Floats  # (steps,)
    positive: Spans
    negative: Spans
    low: Floats | None = None  # (steps,), NaN without observations
    high: Floats | None = None

    @property
    def buckets(self) -> int:
        """Columns of both sides."""
        return len(self.positive.indices) + len(self.negative.indices)


@dataclass(frozen=True, slots=True)
class Vector:
    """An instant vector at every point of a grid."""

    steps: int
    labels: Sequence[Labels]  # one per row of values
    values: Floats  # (len(labels), steps)
    present: Bools  # (len(labels), steps)
    histogram_labels: Sequence[Labels] = ()
    histograms: Sequence[Histogram] = ()  # one per entry of histogram_labels
    ordered: bool = False  # rows are in the order of a sort function

    @staticmethod
    def empty(steps: int) -> Vector:
        """Return a vector without series."""
        return Vector(steps, (), np.zeros((0, steps)), np.zeros((0, steps), dtype=bool))

    @property
    def cells(self) -> int:
        """The number of numbers it holds."""
        return self.values.size + self.steps * sum(h.buckets + 3 for h in self.histograms)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of many series. Floats are flat: series `i` has `[offsets[i]:offsets[i+1]]`, times ascending.

    Histograms are apart, one entry a series: its steps are samples, all present, at `histogram_times_ms`.

    Gauge samples also carry the aggregates of their 10 s bucket (`low`, `high`, `total`, `count`). For
    samples of a subquery these are None, and each sample is its own aggregate.
    """

    labels: Sequence[Labels]
    offsets: Ints  # (len(labels) + 1,)
    times_ms: Ints
    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    total: Floats | None = None
    count: Floats | None = None
    histogram_labels: Sequence[Labels] = ()
    histogram_times_ms: Sequence[Ints] = ()  # ascending
    histograms: Sequence[Histogram] = ()
    #: (series, times): how many samples each series has up to each of ascending times; None: searched for.
    upto: Callable[[Ints], Ints] | None = field(default=None, compare=False, repr=False)


#: The place of an expression in the query: child numbers on the path from the root.
ExprPath = tuple[int, ...]
_Told = dict[str, ExprPath | None]


@dataclass(frozen=True, slots=True)
class Annotations:
    """Warnings and infos of one query in order of appearance, each once, in Prometheus' words.

    `at` and `argument` return the same notes bound to another expression: notes made through them are about
    that expression. A note on several expressions has the position of the last, as in Prometheus.
    """

    place: ExprPath | None = None  # None: about no expression
    told_warnings: _Told = field(default_factory=dict)
    told_infos: _Told = field(default_factory=dict)

    def at(self, place: ExprPath | None) -> Annotations:
        """Return the notes bound to the expression at `place`."""
        return Annotations(place, self.told_warnings, self.told_infos)

    def argument(self, number: int) -> Annotations:
        """Return the notes bound to an argument (of an aggregation: 0 its parameter, 1 its operand)."""
        return self if self.place is None else self.at((*self.place, number))

    def warn(self, text: str) -> None:
        """Add a warning."""
        _tell(self.told_warnings, text, self.place)

    def info(self, text: str) -> None:
        """Add an info."""
        _tell(self.told_infos, text, self.place)

    @property
    def warnings(self) -> list[str]:
        """The texts of the warnings."""
        return list(self.told_warnings)

    @property
    def infos(self) -> list[str]:
        """The texts of the infos."""
        return list(self.told_infos)

    @property
    def placed(self) -> bool:
        """Whether any note is about an expression."""
        return any(p is not None for told in (self.told_warnings, self.told_infos) for p in told.values())

    def positioned(self, positions: Mapping[ExprPath, str]) -> Annotations:
        """Return the notes with positions appended, as in Prometheus: ` (1:25)`."""

        def shown(told: _Told) -> _Told:
            at = {text: positions.get(place) if place is not None else None for text, place in told.items()}
            return {f"{text} ({found})" if found else text: None for text, found in at.items()}

        return Annotations(None, shown(self.told_warnings), shown(self.told_infos))


def _tell(told: _Told, text: str, place: ExprPath | None) -> None:
    before = told.get(text)
    told[text] = place if before is None or place is None else max(before, place)


Value = Scalar | String | Vector
