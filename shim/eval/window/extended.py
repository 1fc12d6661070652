"""`x[5m] anchored`, `x[5m] smoothed` and `x smoothed`: samples around a window give its end values. Pure.

Anchored: the last sample at or before the beginning, within the lookback, is the value at the beginning. The
last one in the window is the value at the end. Smoothed: values between two samples lie on the line between
them, also past the end, within the lookback. After a counter's restart the line begins at zero.

Source: Prometheus 3.x `promql/functions.go` (extendedRate) and extended_vectors.test. A counter stored as
deltas is exact, so these modifiers have no effect there (shim/read/part_reader.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shim.eval.merge import relabelled, without_empty_rows
from shim.eval.sample_windows import slices
from shim.model import labels as lbl
from shim.model.grid import Grid
from shim.model.values import Bools, Floats, Ints, Samples, Vector

Mode = Literal["anchored", "smoothed"]


@dataclass(frozen=True, slots=True)
class Change:
    """The change from the window's beginning to its end; of a counter that starts again, with its resets."""

    counter: bool
    per_second: bool = False
    modes: tuple[Mode, ...] = ("anchored", "smoothed")


@dataclass(frozen=True, slots=True)
class Steps:
    """The number of neighbouring samples, from the first to the last, that `differ` is true for."""

    differ: Callable[[Floats, Floats], Bools]  # (before, after)
    modes: tuple[Mode, ...] = ("anchored",)


Extended = Change | Steps


def extended(
    how: Extended, mode: Mode, samples: Samples, ends: Grid, window_ms: int, lookback_ms: int
) -> Vector:
    """Evaluate a function of `samples[window] mode` at every step of `ends`.

    `samples` reach back by `lookback_ms` before the windows, and for smoothed as far after them.
    """
    smooth = mode == "smoothed"
    end_ms = ends.times_ms
    start_ms = end_ms - window_ms
    ahead_ms = lookback_ms if smooth else 0
    where = slices(samples, end_ms + ahead_ms, window_ms + lookback_ms + ahead_ms)
    low, high = where.begin, where.end - 1
    present = where.counts > 0
    before = slices(samples, start_ms, lookback_ms).counts
    first = np.maximum(low, np.minimum(high, low + before) - 1)
    last = high
    if smooth:
        inside = slices(samples, end_ms - 1, window_ms + lookback_ms - 1).counts
        last = low + np.minimum(high - low, inside)
    times_ms = samples.times_ms
    first, last = (np.where(present, index, 0) for index in (first, last))
    if len(times_ms):
        present &= (times_ms[last] > start_ms) & (times_ms[first] <= end_ms)
    cells = _Cells(samples, first[present], last[present], present, start_ms, end_ms)
    values = np.zeros(present.shape)
    with np.errstate(all="ignore"):
        values[present] = cells.of(how, smooth=smooth)
    if isinstance(how, Change) and how.per_second:
        values /= window_ms / 1000
    found = Vector(ends.steps, samples.labels, values, present)
    return relabelled(without_empty_rows(found), lbl.dropping_name)


def smoothed_at(samples: Samples, at: Grid, lookback_ms: int) -> Vector:
    """Evaluate `samples smoothed` at every step of `at`.

    `samples` reach `lookback_ms` before and after it. Values begin at the first sample; the last value
    continues after the last sample.
    """
    at_ms = at.times_ms
    before = slices(samples, at_ms, lookback_ms)
    behind = slices(samples, at_ms + lookback_ms, lookback_ms)
    present = before.counts > 0
    steps = np.nonzero(present)[1]
    one = before.end[present] - 1
    other = np.where(behind.counts[present] > 0, behind.begin[present], one)
    values = np.zeros(present.shape)
    values[present] = _between(samples, one, other, at_ms[steps], counter=False)
    return without_empty_rows(Vector(at.steps, samples.labels, values, present))


class _Cells:
    """The windows that have a value, with the samples that give their end values."""

    def __init__(
        self, samples: Samples, first: Ints, last: Ints, present: Bools, start_ms: Ints, end_ms: Ints
    ) -> None:
        steps = np.nonzero(present)[1]
        self._samples, self._first, self._last = samples, first, last
        self._start_ms, self._end_ms = start_ms[steps], end_ms[steps]

    def of(self, how: Extended, *, smooth: bool) -> Floats:
        """Evaluate each window."""
        values = self._samples.values
        if isinstance(how, Steps):
            return self._counted(how.differ(values[:-1], values[1:]))
        left, right = self._ends(smooth=smooth, counter=how.counter)
        return right - left + (self._restarts(left, right) if how.counter else 0.0)

    def _counted(self, differ: Bools) -> Floats:
        """Count neighbours that differ, from the first to the last sample."""
        count = np.concatenate([[0], np.cumsum(differ)])
        found: Floats = (count[self._last] - count[self._first]).astype(float)
        return found

    def _ends(self, *, smooth: bool, counter: bool) -> tuple[Floats, Floats]:
        values, times_ms = self._samples.values, self._samples.times_ms
        left, right = values[self._first], values[self._last]
        if smooth:
            begins = times_ms[self._first] < self._start_ms
            following = np.where(begins, self._first + 1, self._first)
            left = _between(self._samples, self._first, following, self._start_ms, counter=counter)
            ends = (times_ms[self._last] > self._end_ms) & (self._last > self._first)
            leading = np.where(ends, self._last - 1, self._last)
            at_ms = np.where(ends, self._end_ms, times_ms[self._last])
            right = _between(self._samples, leading, self._last, at_ms, counter=counter)
        return left, right

    def _restarts(self, left: Floats, right: Floats) -> Floats:
        """Sum the values of a counter before each restart, between its values at the two ends."""
        values, times_ms = self._samples.values, self._samples.times_ms
        lost = np.where(values[1:] < values[:-1], values[:-1], 0.0)
        total = np.concatenate([[0.0], np.cumsum(lost)])
        begin = self._first + (times_ms[self._first] <= self._start_ms)
        end = self._last - (times_ms[self._last] >= self._end_ms)
        some = begin <= end
        begin, end = np.where(some, begin, 0), np.where(some, end, 0)
        inside = total[end] - total[begin]
        inside += np.where(values[begin] < left, left, 0.0)
        inside += np.where(right < values[end], values[end], 0.0)
        return np.where(some, inside, np.where(right < left, left, 0.0))


def _between(samples: Samples, one: Ints, other: Ints, at_ms: Ints, *, counter: bool) -> Floats:
    """Interpolate between two samples at a given time; after a counter's restart, from zero."""
    a, b = samples.values[one], samples.values[other]
    begin_ms, end_ms = samples.times_ms[one], samples.times_ms[other]
    apart = np.maximum(end_ms - begin_ms, 1)
    share = np.where(one == other, 0.0, (at_ms - begin_ms) / apart)
    base = np.where((b < a) & (one != other), 0.0, a) if counter else a
    return np.where(one == other, a, np.where(share == 0.0, a, base + (b - base) * share))
