"""sum_over_time, count_over_time, avg_over_time.

Samples with aggregates (gauges) use their own sums and counts, so that nothing between two flushes is lost.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.eval.histogram.arithmetic import divide
from shim.eval.numerics import compensated_mean, compensated_sum
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.histograms import HistogramCells, window_sums
from shim.eval.window.mixed import Combined, RefusesMixed
from shim.eval.window.stored import FromDeltas, FromObservations, Observations, UnionOfMembers
from shim.model.values import Floats, Histogram

#: Whole numbers below it are exact, and so are their sums.
_EXACT: Final = 2.0**53


def _sum(cells: WindowCells) -> Floats:
    totals = cells.samples.values if cells.samples.total is None else cells.samples.total
    return _summed(cells, totals)


def _count(cells: WindowCells) -> Floats:
    counts = cells.samples.count
    return cells.counts.astype(np.float64) if counts is None else _summed(cells, counts)


def _avg(cells: WindowCells) -> Floats:
    totals, counts = cells.samples.total, cells.samples.count
    if totals is not None and counts is not None:
        counted = _summed(cells, counts)
        return cells.by_block(lambda block: compensated_mean(block.padded(totals), counted[block.cells]))
    values = cells.samples.values
    return cells.by_block(
        lambda block: compensated_mean(block.padded(values), block.count.astype(np.float64))
    )


def _summed(cells: WindowCells, flat: Floats) -> Floats:
    """Sum each window; whole numbers are summed as a difference of running totals, without a gather."""
    with np.errstate(all="ignore"):
        if (flat == np.rint(flat)).all() and np.abs(flat).sum() < _EXACT:
            running = np.concatenate([np.zeros(1), np.cumsum(flat)])
            found: Floats = running[cells.end] - running[cells.begin]
            return found
    return cells.by_block(lambda block: compensated_sum(block.padded(flat)))


def _histogram_sum(cells: HistogramCells) -> Histogram:
    return window_sums(cells.samples, cells.begin, cells.end)


def _histogram_avg(cells: HistogramCells) -> Histogram:
    return divide(_histogram_sum(cells), cells.counts)


def _mean_of_observations(windows: Observations) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(windows.sums("sum") / windows.count)


FUNCTIONS = (
    RangeFunction(
        "sum_over_time",
        "The sum of the values; of a set, the number of distinct members",
        _sum,
        merges=True,
        histograms=_histogram_sum,
        mixed=RefusesMixed(),
        distribution=FromDeltas(),
        members=UnionOfMembers(),
        gauge=("sum",),
    ),
    RangeFunction(
        "count_over_time",
        "The number of values",
        _count,
        histograms_to_floats=lambda cells: cells.counts,
        mixed=Combined(np.add),
        distribution=FromObservations(("count",), lambda windows: windows.count),
        gauge=("count",),
    ),
    RangeFunction(
        "avg_over_time",
        "The mean of the values",
        _avg,
        histograms=_histogram_avg,
        mixed=RefusesMixed(),
        distribution=FromObservations(("count", "sum"), _mean_of_observations),
        gauge=("sum", "count"),
    ),
)
