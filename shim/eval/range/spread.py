"""stddev_over_time, stdvar_over_time, mad_over_time: how far the values of a window lie apart."""

from __future__ import annotations

import numpy as np

from shim.eval.kernel import row_quantile, variance
from shim.eval.range.signature import Cells, RangeFunction
from shim.eval.windows import Block
from shim.values import Floats


def _stdvar(cells: Cells) -> Floats:
    """Of the population."""
    values = cells.samples.values
    return cells.by_block(
        lambda block: variance(block.values(values), block.valid, block.count.astype(np.float64))
    )


def _stddev(cells: Cells) -> Floats:
    return np.sqrt(_stdvar(cells))


def _mad(cells: Cells) -> Floats:
    """The median distance from the median."""

    def compute(block: Block) -> Floats:
        half = np.full(len(block.cells), 0.5)
        values = block.values(cells.samples.values)
        median = row_quantile(half, values, block.valid)
        return row_quantile(half, np.abs(values - median[:, None]), block.valid)

    return cells.by_block(compute)


FUNCTIONS = (
    RangeFunction("stdvar_over_time", _stdvar),
    RangeFunction("stddev_over_time", _stddev),
    RangeFunction("mad_over_time", _mad),
)
