"""resets and changes: how often the value fell, how often it changed."""

from __future__ import annotations

import numpy as np

from shim.eval.range.signature import Cells, RangeFunction
from shim.values import Bools, Floats


def resets(cells: Cells) -> Floats:
    values = cells.samples.values
    return _counted(cells, values[1:] < values[:-1])


def _changes(cells: Cells) -> Floats:
    """NaN after NaN is no change."""
    values = cells.samples.values
    both_nan = np.isnan(values[1:]) & np.isnan(values[:-1])
    return _counted(cells, (values[1:] != values[:-1]) & ~both_nan)


def _counted(cells: Cells, turns: Bools) -> Floats:
    """How many of `turns` (from each sample of the flat arrays to the next) lie within each window."""
    before = np.concatenate([[0], np.cumsum(turns)]) if len(turns) else np.zeros(1, dtype=np.int64)
    return (before[cells.last] - before[cells.begin]).astype(np.float64)


FUNCTIONS = (RangeFunction("resets", resets), RangeFunction("changes", _changes))
