"""last_over_time, first_over_time, present_over_time, and the times of the first and the last sample."""

from __future__ import annotations

import numpy as np

from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.mixed import Combined, OneSample
from shim.eval.window.stored import FromObservations, FromSamples, LatestValue, Presence
from shim.model.values import Floats


def _last(cells: WindowCells) -> Floats:
    return cells.samples.values[cells.last]


def _first(cells: WindowCells) -> Floats:
    return cells.samples.values[cells.begin]


def _present(cells: WindowCells) -> Floats:
    return np.ones(len(cells.begin))


def _time_of_last(cells: WindowCells) -> Floats:
    return cells.samples.times_ms[cells.last] / 1000


def _time_of_first(cells: WindowCells) -> Floats:
    return cells.samples.times_ms[cells.begin] / 1000


FUNCTIONS = (
    RangeFunction(
        "last_over_time",
        "The last value",
        _last,
        keeps_name=True,
        histograms=lambda cells: cells.at(cells.last),
        mixed=OneSample(last=True),
        counter=LatestValue(),
        distribution=LatestValue(),
        members=LatestValue(),
    ),
    RangeFunction(
        "first_over_time",
        "The first value",
        _first,
        keeps_name=True,
        histograms=lambda cells: cells.at(cells.begin),
        mixed=OneSample(last=False),
        distribution=FromSamples(),
    ),
    RangeFunction(
        "present_over_time",
        "1 where the window holds anything",
        _present,
        histograms_to_floats=lambda cells: np.ones(len(cells.begin)),
        mixed=Combined(np.maximum),
        buckets=Presence(),
        distribution=FromObservations(("count",), lambda windows: np.ones_like(windows.count)),
        members=Presence(),
    ),
    RangeFunction(
        "ts_of_last_over_time",
        "The time of the last sample, in seconds",
        _time_of_last,
        experimental=True,
        histograms_to_floats=lambda cells: cells.times_ms[cells.last] / 1000,
        mixed=Combined(np.maximum),
        distribution=FromSamples(),
    ),
    RangeFunction(
        "ts_of_first_over_time",
        "The time of the first sample, in seconds",
        _time_of_first,
        experimental=True,
        histograms_to_floats=lambda cells: cells.times_ms[cells.begin] / 1000,
        mixed=Combined(np.minimum),
        distribution=FromSamples(),
    ),
)
