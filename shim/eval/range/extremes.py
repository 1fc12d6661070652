"""min_over_time, max_over_time, and the times of the extremes.

Samples with aggregates (gauges) use their own minima and maxima.
"""

from __future__ import annotations

import numpy as np

from shim.eval.sample_windows import Block, extremes
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.stored import FromObservations
from shim.model.values import Floats


def _min(cells: WindowCells) -> Floats:
    """Return the minimum; NaN only where every value is NaN."""
    low = cells.samples.values if cells.samples.low is None else cells.samples.low
    return extremes(low, cells.begin, cells.end, np.fmin, cells.take)


def _max(cells: WindowCells) -> Floats:
    high = cells.samples.values if cells.samples.high is None else cells.samples.high
    return extremes(high, cells.begin, cells.end, np.fmax, cells.take)


def _time_of_min(cells: WindowCells) -> Floats:
    low = cells.samples.values if cells.samples.low is None else cells.samples.low
    return cells.by_block(lambda block: _time_of(cells, block, -block.marked(low)))


def _time_of_max(cells: WindowCells) -> Floats:
    high = cells.samples.values if cells.samples.high is None else cells.samples.high
    return cells.by_block(lambda block: _time_of(cells, block, block.marked(high)))


def _time_of(cells: WindowCells, block: Block, values: Floats) -> Floats:
    """Return the time of the last of the greatest values, in seconds; of the last sample if all are NaN."""
    largest = np.fmax.reduce(values, axis=-1)[:, None]
    best = (values == largest) | (np.isnan(largest) & block.valid)
    place = values.shape[1] - 1 - np.argmax(best[:, ::-1], axis=1)
    times: Floats = cells.samples.times_ms[block.index[np.arange(len(place)), place]] / 1000
    return times


FUNCTIONS = (
    RangeFunction(
        "min_over_time",
        "The smallest value",
        _min,
        distribution=FromObservations(("count", "min"), lambda windows: windows.minima("min")),
        gauge=("min",),
    ),
    RangeFunction(
        "max_over_time",
        "The largest value",
        _max,
        distribution=FromObservations(("count", "max"), lambda windows: windows.maxima("max")),
        gauge=("max",),
    ),
    RangeFunction(
        "ts_of_min_over_time",
        "The time of the smallest value, in seconds",
        _time_of_min,
        experimental=True,
        gauge=("min",),
    ),
    RangeFunction(
        "ts_of_max_over_time",
        "The time of the largest value, in seconds",
        _time_of_max,
        experimental=True,
        gauge=("max",),
    ),
)
