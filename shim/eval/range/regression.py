"""deriv and predict_linear: a straight line through the samples of a window, by least squares.

Source: Prometheus 3.x linearRegression.
"""

from __future__ import annotations

import numpy as np

from shim.eval.numerics import compensated_sum
from shim.eval.sample_windows import Block
from shim.eval.window.function import RangeFunction, WindowCells
from shim.model.values import Floats, Ints


def _deriv(cells: WindowCells) -> Floats:
    """Return the slope per second; times count from the first sample, for less rounding error."""
    origin = cells.samples.times_ms[cells.begin]
    return cells.by_block(lambda block: _line(cells, block, origin)[0])


def _predict(cells: WindowCells) -> Floats:
    """Return the line's value the given seconds after the time of evaluation."""
    ahead_s = cells.parameters[0]

    def compute(block: Block) -> Floats:
        slope, intercept = _line(cells, block, cells.eval_ms)
        return slope * ahead_s[block.cells] + intercept

    return cells.by_block(compute)


def _line(cells: WindowCells, block: Block, origin_ms: Ints) -> tuple[Floats, Floats]:
    """Return slope and value at the origin; equal values give exactly slope 0, equal infinities NaN."""
    times = cells.samples.times_ms[block.index] - origin_ms[block.cells][:, None]
    x = np.where(block.valid, times / 1e3, 0.0)
    y = block.padded(cells.samples.values)
    n = block.count
    sum_x, sum_y = compensated_sum(x), compensated_sum(y)
    covariance = compensated_sum(x * y) - sum_x * sum_y / n
    slope = covariance / (compensated_sum(x * x) - sum_x * sum_x / n)
    intercept = sum_y / n - slope * sum_x / n
    first = y[:, :1]
    constant = ((y == first) | ~block.valid).all(axis=1)
    level = np.where(np.isinf(first[:, 0]), np.nan, first[:, 0])
    return np.where(constant, level * 0, slope), np.where(constant, level, intercept)


FUNCTIONS = (
    RangeFunction("deriv", "Per-second slope of a line through the samples", _deriv, min_samples=2),
    RangeFunction(
        "predict_linear",
        "The value that a line through the samples reaches after the given seconds",
        _predict,
        min_samples=2,
        args=("matrix", "scalar"),
    ),
)
