"""rate, increase, delta: the change over the window, extrapolated to its edges.

Source of behaviour: Prometheus 3.x extrapolatedRate. Where a counter falls it was reset, and starts from 0.
"""

from __future__ import annotations

import numpy as np

from shim.eval.kernel import compensated_sum
from shim.eval.range.signature import Cells, RangeFunction
from shim.eval.range.turns import resets
from shim.eval.windows import Block, blocks
from shim.values import Floats, Ints


def _rate(cells: Cells) -> Floats:
    return _extrapolated(cells, counter=True) / (cells.width_ms / 1000)


def _increase(cells: Cells) -> Floats:
    return _extrapolated(cells, counter=True)


def _delta(cells: Cells) -> Floats:
    return _extrapolated(cells, counter=False)


def _extrapolated(cells: Cells, *, counter: bool) -> Floats:
    """To the edge when a sample is near it (1.1 average intervals), else by half an interval.

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
    """What the change between the first and the last sample of each window is to be multiplied by."""
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


def reset_correction(cells: Cells) -> Floats:
    """What the resets within each window hide: the sum of the values before them.

    Only the windows that have a reset are looked at sample by sample.
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


FUNCTIONS = (
    RangeFunction("rate", _rate, at_least=2, expects_counter=True),
    RangeFunction("increase", _increase, at_least=2, expects_counter=True),
    RangeFunction("delta", _delta, at_least=2),
)
