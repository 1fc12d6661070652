"""How a stored type answers a function of its windows: the options of a record. Pure.

A record (function.py) chooses one option per stored type, and shim/read implements it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shim.eval.budget import Take
from shim.model.values import Floats, Histogram

#: Columns that a bucket of a gauge aggregates, next to its last sample.
GaugeColumn = Literal["min", "max", "sum", "count"]
#: Columns of a distribution's bucket. `zero` comes with the positive and negative exponential buckets.
DistributionColumn = Literal["count", "sum", "sum_squares", "zero", "min", "max"]


@dataclass(frozen=True, slots=True)
class FromSamples:
    """Compute it from samples; a delta type gives its running total at the end of each bucket with data."""


@dataclass(frozen=True, slots=True)
class FromDeltas:
    """Sum the deltas of each window exactly; a distribution gives the histogram of its observations."""

    per_second: bool = False


class Observations(Protocol):
    """The observations of all windows of a distribution; arrays `(keys, steps)`."""

    @property
    def count(self) -> Floats:
        """The number of observations in each window."""

    @property
    def parameters(self) -> Sequence[Floats]:
        """The scalar arguments, one value per step."""

    @property
    def take(self) -> Take:
        """The budget to ask for memory and time."""

    def sums(self, column: DistributionColumn) -> Floats:
        """Return the sum of a column over each window."""

    def minima(self, column: DistributionColumn) -> Floats:
        """Return the minimum of a column over each window."""

    def maxima(self, column: DistributionColumn) -> Floats:
        """Return the maximum of a column over each window."""

    def histograms(self) -> Iterable[Histogram]:
        """Return one histogram per key, with a point per window. Needs the column `zero`."""


@dataclass(frozen=True, slots=True)
class FromObservations:
    """Compute it from the raw observations, given `columns` of the buckets."""

    columns: tuple[DistributionColumn, ...]
    compute: Callable[[Observations], Floats]

    @property
    def needs_buckets(self) -> bool:
        """Whether the exponential buckets are read."""
        return "zero" in self.columns


@dataclass(frozen=True, slots=True)
class LatestValue:
    """Take the instant value at the window's end, with the window as lookback."""


@dataclass(frozen=True, slots=True)
class UnionOfMembers:
    """Count the members of the union of a set's buckets."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Give 1 where the window holds anything."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Raise BadData with a reason that names the function to use instead."""

    reason: str


Answer = FromSamples | FromDeltas | FromObservations | LatestValue | UnionOfMembers | Presence | Refused
