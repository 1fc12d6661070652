"""last_over_time, first_over_time, present_over_time, and the times of first and last."""

from __future__ import annotations

import numpy as np

from shim.eval.range.signature import Cells, RangeFunction
from shim.values import Floats


def _last(cells: Cells) -> Floats:
    return cells.samples.values[cells.last]


def _first(cells: Cells) -> Floats:
    return cells.samples.values[cells.begin]


def _present(cells: Cells) -> Floats:
    return np.ones(len(cells.begin))


def _time_of_last(cells: Cells) -> Floats:
    return cells.samples.times_ms[cells.last] / 1000


def _time_of_first(cells: Cells) -> Floats:
    return cells.samples.times_ms[cells.begin] / 1000


FUNCTIONS = (
    RangeFunction("last_over_time", _last, keeps_name=True),
    RangeFunction("first_over_time", _first, keeps_name=True),
    RangeFunction("present_over_time", _present),
    RangeFunction("ts_of_last_over_time", _time_of_last),
    RangeFunction("ts_of_first_over_time", _time_of_first),
)
