"""The record of a range function, and its input: all cells with enough samples at once.

A record holds everything the product knows of a function. The parser asks its signature, the planner and its
rules whether it merges, the readers how each stored type answers it, the documents its line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.sample_windows import Block, blocks
from shim.eval.window.extended import Extended
from shim.eval.window.histograms import HistogramCells
from shim.eval.window.mixed import Mixed
from shim.eval.window.stored import (
    Answer,
    FromDeltas,
    FromSamples,
    GaugeColumn,
    Presence,
)
from shim.model.values import Annotations, Floats, Histogram, Ints, Samples
from shim.promql.functions import ValueType


@dataclass(frozen=True, slots=True)
class WindowCells:
    """The cells to compute, each with at least as many samples as the function asks for; arrays (cells,)."""

    samples: Samples
    begin: Ints  # place of the first sample
    end: Ints  # one after the last sample
    end_ms: Ints  # the window's end
    eval_ms: Ints  # the time the query is evaluated at: the window's end but for offset and @
    width_ms: int
    parameters: tuple[Floats, ...]  # the scalar arguments
    take: Take = free

    @property
    def last(self) -> Ints:
        """The place of the last sample."""
        return self.end - 1

    @property
    def counts(self) -> Ints:
        """The number of samples."""
        return self.end - self.begin

    def by_block(self, compute: Callable[[Block], Floats]) -> Floats:
        """Compute one value per cell from the dense samples, block by block."""
        out = np.zeros(len(self.begin))
        with np.errstate(all="ignore"):
            for block in blocks(self.begin, self.end):
                self.take(0)
                out[block.cells] = compute(block)
        return out


_FROM_SAMPLES: Final = FromSamples()

Compute = Callable[[WindowCells], Floats]
#: Given the scalar arguments, one value per cell.
Check = Callable[[Sequence[Floats], Annotations], None]


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """A function of one range vector and scalars, in the order of `args`.

    A cell with fewer than `min_samples` samples has no result. `check` may warn or raise.
    """

    name: str
    doc: str  # one line for the documentation
    compute: Compute | None  # of floats; None for a function of sets alone
    min_samples: int = 1
    args: tuple[ValueType, ...] = ("matrix",)
    keeps_name: bool = False
    expects_counter: bool = False  # a name that is not a counter's gets a notice
    expects_gauge: bool = False  # histograms of a counter, as distributions are, get a warning
    experimental: bool = False
    check: Check | None = None
    merges: bool = False  # whether the sum over a group is the function of the group's merged state
    absent_of: str = ""  # a range function: the value is absent() of that function's

    # Native histograms, alone and next to floats of the same series. None: they are ignored.
    histograms: Callable[[HistogramCells], Histogram] | None = None
    histograms_to_floats: Callable[[HistogramCells], Floats] | None = None
    mixed: Mixed | None = None
    extended: Extended | None = None  # of windows that are anchored or smoothed

    # How each stored type answers. None: it does not.
    counter: Answer = _FROM_SAMPLES
    buckets: Answer | None = None  # of `x_bucket`; None: as a counter
    distribution: Answer | None = None
    members: Answer | None = None  # of a set
    gauge: tuple[GaugeColumn, ...] = ()  # columns that are read next to the last samples

    @property
    def parameters(self) -> int:
        """The number of scalar arguments."""
        return len(self.args) - 1

    @property
    def only_presence(self) -> bool:
        """Whether the value is 1 for every type."""
        return isinstance(self.members, Presence)

    @property
    def present_as_count(self) -> bool:
        """Whether the value of a distribution is present exactly where that of its `x_count` is."""
        exact = isinstance(self.counter, FromDeltas) and isinstance(self.distribution, FromDeltas)
        return exact and not self.expects_gauge
