"""resets and changes: how often the value falls, and how often it changes."""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.arithmetic import equals
from shim.eval.window.extended import Steps
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.histograms import HistogramCells, picked, resets_between
from shim.eval.window.mixed import Neighbours
from shim.eval.window.stored import FromSamples
from shim.model.values import Bools, Floats, Histogram


def resets(cells: WindowCells) -> Floats:
    """Count the falls in each window."""
    values = cells.samples.values
    return _counted(cells, fell(values[:-1], values[1:]))


def changes(cells: WindowCells) -> Floats:
    """Count the changes in each window."""
    values = cells.samples.values
    return _counted(cells, changed(values[:-1], values[1:]))


def fell(before: Floats, after: Floats) -> Bools:
    """Return whether a value is less than the one before it."""
    found: Bools = after < before
    return found


def changed(before: Floats, after: Floats) -> Bools:
    """Return whether a value differs from the one before it; NaN after NaN does not."""
    both_nan = np.isnan(after) & np.isnan(before)
    found: Bools = (after != before) & ~both_nan
    return found


def _counted(cells: WindowCells, differ: Bools) -> Floats:
    """Count the true values of `differ`, one per pair of neighbours in the flat arrays, in each window."""
    before = np.concatenate([[0], np.cumsum(differ)]) if len(differ) else np.zeros(1, dtype=np.int64)
    return (before[cells.last] - before[cells.begin]).astype(np.float64)


def _changed_between(h: Histogram) -> Bools:
    places = np.arange(len(h.count))
    return ~equals(picked(h, places[1:]), picked(h, places[:-1]))


def _histogram_resets(cells: HistogramCells) -> Floats:
    return _counted_histograms(cells, resets_between(cells.samples))


def _histogram_changes(cells: HistogramCells) -> Floats:
    return _counted_histograms(cells, _changed_between(cells.samples))


def _counted_histograms(cells: HistogramCells, differ: Bools) -> Floats:
    before = np.concatenate([[0], np.cumsum(differ)])
    found: Floats = (before[cells.last] - before[cells.begin]).astype(np.float64)
    return found


FUNCTIONS = (
    RangeFunction(
        "resets",
        "How often the value falls",
        resets,
        histograms_to_floats=_histogram_resets,
        mixed=Neighbours(fell, resets_between),
        extended=Steps(fell),
        distribution=FromSamples(),
    ),
    RangeFunction(
        "changes",
        "How often the value changes",
        changes,
        histograms_to_floats=_histogram_changes,
        mixed=Neighbours(changed, _changed_between),
        extended=Steps(changed),
        distribution=FromSamples(),
    ),
)
