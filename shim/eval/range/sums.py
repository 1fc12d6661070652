"""sum_over_time, count_over_time, avg_over_time.

Samples that carry what was aggregated into them (gauges) give their own sums and counts, so that nothing
between two flushes is lost.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.eval.kernel import compensated_mean, compensated_sum
from shim.eval.range.signature import Cells, RangeFunction
from shim.values import Floats

#: Whole numbers below it, and their sums, are exact.
_EXACT: Final = 2.0**53


def _sum(cells: Cells) -> Floats:
    totals = cells.samples.values if cells.samples.total is None else cells.samples.total
    return _summed(cells, totals)


def _count(cells: Cells) -> Floats:
    counts = cells.samples.count
    return cells.counts.astype(np.float64) if counts is None else _summed(cells, counts)


def _avg(cells: Cells) -> Floats:
    totals, counts = cells.samples.total, cells.samples.count
    if totals is not None and counts is not None:
        counted = _summed(cells, counts)
        return cells.by_block(lambda block: compensated_mean(block.padded(totals), counted[block.cells]))
    values = cells.samples.values
    return cells.by_block(
        lambda block: compensated_mean(block.padded(values), block.count.astype(np.float64))
    )


def _summed(cells: Cells, flat: Floats) -> Floats:
    """The sum of each window. Of whole numbers it is what running totals differ by: nothing is gathered."""
    with np.errstate(all="ignore"):
        if (flat == np.rint(flat)).all() and np.abs(flat).sum() < _EXACT:
            running = np.concatenate([np.zeros(1), np.cumsum(flat)])
            found: Floats = running[cells.end] - running[cells.begin]
            return found
    return cells.by_block(lambda block: compensated_sum(block.padded(flat)))


FUNCTIONS = (
    RangeFunction("sum_over_time", _sum),
    RangeFunction("count_over_time", _count),
    RangeFunction("avg_over_time", _avg),
)
