"""rate, increase, delta: the change over the window, extrapolated to its edges.

Source: Prometheus 3.x extrapolatedRate. A counter that falls was reset, and starts from 0.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.eval.histogram.arithmetic import add, divide, multiply, subtract
from shim.eval.numerics import compensated_sum
from shim.eval.range.resets_changes import resets
from shim.eval.sample_windows import Block, blocks
from shim.eval.window.extended import Change
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.histograms import HistogramCells, picked, resets_between, window_sums
from shim.eval.window.mixed import RefusesMixed
from shim.eval.window.stored import FromDeltas, Refused
from shim.model.values import Floats, Histogram, Ints


def _rate(cells: WindowCells) -> Floats:
    return _extrapolated(cells, counter=True) / (cells.width_ms / 1000)


def _increase(cells: WindowCells) -> Floats:
    return _extrapolated(cells, counter=True)


def _delta(cells: WindowCells) -> Floats:
    return _extrapolated(cells, counter=False)


def _extrapolated(cells: WindowCells, *, counter: bool) -> Floats:
    """Extrapolate to the edge if a sample is near it (1.1 average intervals), else by half an interval.

    A counter is not extrapolated below zero at its start.
    """
    values, times = cells.samples.values, cells.samples.times_ms
    first = values[cells.begin]
    change = values[cells.last] - first
    if counter:
        change = change + reset_correction(cells)
    first_ms, last_ms = times[cells.begin], times[cells.last]
    return change * extrapolation(
        first_ms,
        last_ms,
        cells.counts,
        cells.end_ms,
        cells.width_ms,
        first=first,
        change=change,
        counter=counter,
    )


def extrapolation(
    first_ms: Ints,
    last_ms: Ints,
    counts: Ints,
    end_ms: Ints,
    width_ms: int,
    *,
    first: Floats,
    change: Floats,
    counter: bool,
) -> Floats:
    """Return the factor for the change between the first and the last sample of each window."""
    to_start = (first_ms - (end_ms - width_ms)) / 1000
    to_end = (end_ms - last_ms) / 1000
    sampled = (last_ms - first_ms) / 1000
    average = sampled / (counts - 1)
    threshold = average * 1.1
    to_start = np.where(to_start >= threshold, average / 2, to_start)
    if counter:
        to_zero = np.where((change > 0) & (first >= 0), sampled * (first / change), to_start)
        to_start = np.where(to_zero < to_start, to_zero, to_start)
    to_end = np.where(to_end >= threshold, average / 2, to_end)
    return np.asarray((sampled + to_start + to_end) / sampled)


def reset_correction(cells: WindowCells) -> Floats:
    """Return the sum of the values before the resets in each window, which the change lacks.

    Only windows with a reset are inspected sample by sample.
    """
    values = cells.samples.values
    having = np.flatnonzero(resets(cells))
    correction = np.zeros(len(cells.begin))
    for block in blocks(cells.begin[having], cells.end[having]):
        correction[having[block.cells]] = _lost(block, values)
    return correction


def _lost(block: Block, flat: Floats) -> Floats:
    values = block.values(flat)
    fell = (values[:, 1:] < values[:, :-1]) & block.valid[:, 1:]
    return compensated_sum(np.where(fell, values[:, :-1], 0.0))


# ---------------------------------------------------------------- native histograms


def _histogram_rate(cells: HistogramCells) -> Histogram:
    return divide(_extrapolated_histogram(cells, counter=True), cells.width_ms / 1000)


def _histogram_increase(cells: HistogramCells) -> Histogram:
    return _extrapolated_histogram(cells, counter=True)


def _histogram_delta(cells: HistogramCells) -> Histogram:
    return _extrapolated_histogram(cells, counter=False)


def _extrapolated_histogram(cells: HistogramCells, *, counter: bool) -> Histogram:
    change = subtract(cells.at(cells.last), cells.at(cells.begin))
    if counter:
        change = _with_resets(cells, change)
    factor = extrapolation(
        cells.times_ms[cells.begin],
        cells.times_ms[cells.last],
        cells.end - cells.begin,
        cells.end_ms,
        cells.width_ms,
        first=cells.samples.count[cells.begin],
        change=change.count,
        counter=counter,
    )
    return multiply(change, factor)


def _with_resets(cells: HistogramCells, change: Histogram) -> Histogram:
    """Add the samples before the resets in each window, which the change lacks."""
    fell = resets_between(cells.samples)
    if not fell.any():
        return change
    before = picked(cells.samples, np.arange(len(fell)))
    lost = multiply(before, np.where(fell, 1.0, 0.0))  # row i: lost between samples i and i + 1
    return add(change, window_sums(lost, cells.begin, cells.last))


_NOT_OF_SETS: Final = Refused("sum_over_time is meant, the union of its members")

FUNCTIONS = (
    RangeFunction(
        "rate",
        "Per-second increase of a counter",
        _rate,
        min_samples=2,
        expects_counter=True,
        merges=True,
        histograms=_histogram_rate,
        mixed=RefusesMixed(),
        extended=Change(counter=True, per_second=True),
        counter=FromDeltas(per_second=True),
        distribution=FromDeltas(per_second=True),
        members=_NOT_OF_SETS,
    ),
    RangeFunction(
        "increase",
        "Increase of a counter",
        _increase,
        min_samples=2,
        expects_counter=True,
        merges=True,
        histograms=_histogram_increase,
        mixed=RefusesMixed(),
        extended=Change(counter=True),
        counter=FromDeltas(),
        distribution=FromDeltas(),
        members=_NOT_OF_SETS,
    ),
    RangeFunction(
        "delta",
        "Difference between the last value of a gauge and the first",
        _delta,
        min_samples=2,
        expects_gauge=True,
        histograms=_histogram_delta,
        mixed=RefusesMixed(),
        extended=Change(counter=False),
        counter=FromDeltas(),
        distribution=FromDeltas(),
        members=_NOT_OF_SETS,
    ),
)
