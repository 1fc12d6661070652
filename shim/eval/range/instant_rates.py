"""irate and idelta: from the last two samples of the window."""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.arithmetic import divide, multiply, subtract
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.histograms import HistogramCells, resets_between
from shim.eval.window.mixed import LastTwo
from shim.eval.window.stored import FromSamples
from shim.model.values import Floats, Histogram


def _irate(cells: WindowCells) -> Floats:
    """Return the increase per second; after a reset the last value itself is the increase."""
    last, before = _last_two(cells)
    increase = np.where(last < before, last, last - before)
    times = cells.samples.times_ms
    return increase / ((times[cells.last] - times[cells.last - 1]) / 1000)


def _idelta(cells: WindowCells) -> Floats:
    last, before = _last_two(cells)
    return last - before


def _last_two(cells: WindowCells) -> tuple[Floats, Floats]:
    return cells.samples.values[cells.last], cells.samples.values[cells.last - 1]


def _histogram_irate(cells: HistogramCells) -> Histogram:
    """Return the increase per second of the last two samples; after a reset the last is the increase."""
    last, before = cells.at(cells.last), cells.at(cells.last - 1)
    fell = resets_between(cells.samples)[cells.last - 1]
    change = subtract(last, multiply(before, np.where(fell, 0.0, 1.0)))
    return divide(change, (cells.times_ms[cells.last] - cells.times_ms[cells.last - 1]) / 1000)


def _histogram_idelta(cells: HistogramCells) -> Histogram:
    return subtract(cells.at(cells.last), cells.at(cells.last - 1))


FUNCTIONS = (
    RangeFunction(
        "irate",
        "Per-second increase between the last two samples of a counter",
        _irate,
        min_samples=2,
        histograms=_histogram_irate,
        mixed=LastTwo(),
        distribution=FromSamples(),
    ),
    RangeFunction(
        "idelta",
        "Difference between the last two samples of a gauge",
        _idelta,
        min_samples=2,
        expects_gauge=True,
        histograms=_histogram_idelta,
        mixed=LastTwo(),
        distribution=FromSamples(),
    ),
)
