"""stddev_over_time, stdvar_over_time, mad_over_time: the spread of the values in a window."""

from __future__ import annotations

import numpy as np

from shim.eval.numerics import row_quantile, variance
from shim.eval.sample_windows import Block
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.stored import FromObservations, Observations
from shim.model.values import Floats


def _stdvar(cells: WindowCells) -> Floats:
    """Return the population variance."""
    values = cells.samples.values
    return cells.by_block(
        lambda block: variance(block.values(values), block.valid, block.count.astype(np.float64))
    )


def _stddev(cells: WindowCells) -> Floats:
    return np.sqrt(_stdvar(cells))


def _mad(cells: WindowCells) -> Floats:
    """Return the median distance from the median."""

    def compute(block: Block) -> Floats:
        half = np.full(len(block.cells), 0.5)
        values = block.values(cells.samples.values)
        median = row_quantile(half, values, block.valid)
        return row_quantile(half, np.abs(values - median[:, None]), block.valid)

    return cells.by_block(compute)


def _variance_of_observations(windows: Observations) -> Floats:
    """Return the population variance from the stored moments: the mean of squares, less the squared mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = windows.sums("sum") / windows.count
        of_squares = windows.sums("sum_squares") / windows.count
        return np.maximum(of_squares - mean * mean, 0)  # rounding may give a small negative number


FUNCTIONS = (
    RangeFunction(
        "stdvar_over_time",
        "The variance of the values",
        _stdvar,
        distribution=FromObservations(("count", "sum", "sum_squares"), _variance_of_observations),
    ),
    RangeFunction(
        "stddev_over_time",
        "The standard deviation of the values",
        _stddev,
        distribution=FromObservations(
            ("count", "sum", "sum_squares"), lambda windows: np.sqrt(_variance_of_observations(windows))
        ),
    ),
    RangeFunction("mad_over_time", "The median distance from the median", _mad, experimental=True),
)
