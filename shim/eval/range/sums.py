"""sum_over_time, count_over_time, avg_over_time.

Samples that carry what was aggregated into them (gauges) give their own sums and counts, so that nothing
between two flushes is lost.
"""

from __future__ import annotations

import numpy as np

from shim.eval.kernel import compensated_mean, compensated_sum
from shim.eval.range.signature import Cells, RangeFunction
from shim.eval.windows import Block
from shim.values import Floats


def _sum(cells: Cells) -> Floats:
    totals = cells.samples.values if cells.samples.total is None else cells.samples.total
    return cells.by_block(lambda block: compensated_sum(block.padded(totals)))


def _count(cells: Cells) -> Floats:
    counts = cells.samples.count
    if counts is None:
        return cells.counts.astype(np.float64)
    return cells.by_block(lambda block: compensated_sum(block.padded(counts)))


def _avg(cells: Cells) -> Floats:
    totals, counts = cells.samples.total, cells.samples.count
    if totals is not None and counts is not None:
        return cells.by_block(lambda block: _mean(block, totals, counts))
    values = cells.samples.values
    return cells.by_block(
        lambda block: compensated_mean(block.padded(values), block.count.astype(np.float64))
    )


def _mean(block: Block, totals: Floats, counts: Floats) -> Floats:
    return compensated_mean(block.padded(totals), compensated_sum(block.padded(counts)))


FUNCTIONS = (
    RangeFunction("sum_over_time", _sum),
    RangeFunction("count_over_time", _count),
    RangeFunction("avg_over_time", _avg),
)
