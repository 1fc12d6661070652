"""What an expression evaluates to: whole grids in NumPy arrays, never a Python object per sample. Pure.

Every vector has one row per series and one slot per grid point (`steps` of them). `present` says where a
series has a value; what `values` holds elsewhere means nothing (so NaN can be a real value). Operators get
these and give new ones; they do not write into what they were given.

A vector holds floats and native histograms side by side, because one selector can match both. A label set
stands at most once among the floats of a vector, and once among its histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shim.labels import Labels

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scalar:
    values: Floats  # (steps,)


@dataclass(frozen=True, slots=True)
class String:
    text: str


@dataclass(frozen=True, slots=True)
class Spans:
    """Exponential buckets of one series over a grid, as a dense block.

    Column `j` is bucket index `first + j` of schema 5: `(2^((i-1)/32), 2^(i/32)]`, mirrored when negative.
    """

    first: int
    counts: Floats  # (steps, buckets), 0 where empty

    @staticmethod
    def empty(steps: int) -> Spans:
        return Spans(0, np.zeros((steps, 0)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """One series of native histograms (schema 5, zero threshold 0) over a grid."""

    present: Bools  # (steps,)
    count: Floats  # (steps,)
    sum: Floats  # (steps,)
    zero: Floats  # (steps,)
    positive: Spans
    negative: Spans


@dataclass(frozen=True, slots=True)
class Vector:
    """An instant vector at every point of a grid."""

    steps: int
    labels: Sequence[Labels]  # one per row of values
    values: Floats  # (len(labels), steps)
    present: Bools  # (len(labels), steps)
    histogram_labels: Sequence[Labels] = ()
    histograms: Sequence[Histogram] = ()  # one per entry of histogram_labels
    ordered: bool = False  # rows stand in the order a sort function asked for

    @staticmethod
    def empty(steps: int) -> Vector:
        return Vector(steps, (), np.zeros((0, steps)), np.zeros((0, steps), dtype=bool))


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of many series. Floats are flat: series `i` has `[offsets[i]:offsets[i+1]]`, times ascending.

    Histograms are apart, one entry a series: its steps are samples, all present, at `histogram_times_ms`.

    Gauge samples also carry what was aggregated in their 10 s bucket (`low`, `high`, `total`, `count`);
    samples of a subquery do not (None), and there each sample stands for itself.
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


@dataclass(slots=True)
class Annotations:
    """Warnings and infos of one query, in the order they came up, each once. Prometheus' texts."""

    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def info(self, text: str) -> None:
        if text not in self.infos:
            self.infos.append(text)


Value = Scalar | String | Vector
