"""irate and idelta: from the last two samples of the window."""

from __future__ import annotations

import numpy as np

from shim.eval.range.signature import Cells, RangeFunction
from shim.values import Floats


def _irate(cells: Cells) -> Floats:
    """Per second; after a reset the last value itself is the increase."""
    last, before = _last_two(cells)
    increase = np.where(last < before, last, last - before)
    times = cells.samples.times_ms
    return increase / ((times[cells.last] - times[cells.last - 1]) / 1000)


def _idelta(cells: Cells) -> Floats:
    last, before = _last_two(cells)
    return last - before


def _last_two(cells: Cells) -> tuple[Floats, Floats]:
    return cells.samples.values[cells.last], cells.samples.values[cells.last - 1]


FUNCTIONS = (
    RangeFunction("irate", _irate, at_least=2),
    RangeFunction("idelta", _idelta, at_least=2),
)
