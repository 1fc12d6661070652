"""Range functions of native histograms: samples of one series as the rows of one Histogram. Pure.

Source of behaviour: Prometheus 3.x `promql/functions.go`: rate and its kin extrapolate as for floats, a reset
is a fall of the count, of the zero bucket or of any bucket. Functions that are not here see floats only,
there as here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.eval.histogram.arithmetic import add, divide, equals, multiply, subtract
from shim.eval.histogram.merging import trimmed
from shim.eval.range.rates import extrapolation
from shim.values import Bools, Floats, Histogram, Ints, Spans


@dataclass(frozen=True, slots=True)
class HistogramCells:
    """The windows of one series with enough samples; arrays (cells,). A window's samples: `[begin, end)`."""

    samples: Histogram  # its steps are samples
    times_ms: Ints  # (samples,)
    begin: Ints
    end: Ints
    end_ms: Ints
    width_ms: int

    @property
    def last(self) -> Ints:
        return self.end - 1

    def at(self, places: Ints) -> Histogram:
        """One sample a cell."""
        return picked(self.samples, places)


def picked(h: Histogram, places: Ints) -> Histogram:
    """The points at the places, in their order."""
    return Histogram(
        h.present[places],
        h.count[places],
        h.sum[places],
        h.zero[places],
        Spans(h.positive.indices, h.positive.counts[places]),
        Spans(h.negative.indices, h.negative.counts[places]),
    )


def spread(cells: Histogram, present: Bools) -> Histogram:
    """The cells at the steps that are present, in order."""

    def out(values: Floats) -> Floats:
        wide = np.zeros((len(present), *values.shape[1:]))
        wide[present] = values
        return wide

    return Histogram(
        present,
        out(cells.count),
        out(cells.sum),
        out(cells.zero),
        trimmed(Spans(cells.positive.indices, out(cells.positive.counts))),
        trimmed(Spans(cells.negative.indices, out(cells.negative.counts))),
    )


# ---------------------------------------------------------------- sums


def _window_sums(h: Histogram, begin: Ints, end: Ints) -> Histogram:
    """The sum of the samples `[begin, end)`, each added by itself: nothing is subtracted again."""
    edges = np.stack([begin, end], axis=1).ravel()

    def sums(values: Floats) -> Floats:
        if 0 in values.shape[1:]:
            return np.zeros((len(begin), *values.shape[1:]))
        padded = np.concatenate([values, np.zeros((1, *values.shape[1:]))])
        added = np.add.reduceat(padded, edges, axis=0)[::2]
        added[begin >= end] = 0.0  # reduceat gives the sample itself for no samples
        return added

    return Histogram(
        np.ones(len(begin), dtype=bool),
        sums(h.count),
        sums(h.sum),
        sums(h.zero),
        Spans(h.positive.indices, sums(h.positive.counts)),
        Spans(h.negative.indices, sums(h.negative.counts)),
    )


def _sum(cells: HistogramCells) -> Histogram:
    return _window_sums(cells.samples, cells.begin, cells.end)


def _avg(cells: HistogramCells) -> Histogram:
    return divide(_sum(cells), (cells.end - cells.begin).astype(np.float64))


# ---------------------------------------------------------------- changes from sample to sample


def resets_between(h: Histogram) -> Bools:
    """Whether each sample but the first has less of anything than the sample before it."""
    fell: Bools = (np.diff(h.count) < 0) | (np.diff(h.zero) < 0)
    for spans in (h.positive, h.negative):
        fell |= (np.diff(spans.counts, axis=0) < 0).any(axis=1)
    return fell


def _changed_between(h: Histogram) -> Bools:
    places = np.arange(len(h.count))
    return ~equals(picked(h, places[1:]), picked(h, places[:-1]))


def _counted(turns: Bools) -> Callable[[HistogramCells], Floats]:
    before = np.concatenate([[0], np.cumsum(turns)])
    return lambda cells: (before[cells.last] - before[cells.begin]).astype(np.float64)


def _resets(cells: HistogramCells) -> Floats:
    return _counted(resets_between(cells.samples))(cells)


def _changes(cells: HistogramCells) -> Floats:
    return _counted(_changed_between(cells.samples))(cells)


# ---------------------------------------------------------------- rates


def _increase(cells: HistogramCells) -> Histogram:
    return _extrapolated(cells, counter=True)


def _rate(cells: HistogramCells) -> Histogram:
    return divide(_extrapolated(cells, counter=True), cells.width_ms / 1000)


def _delta(cells: HistogramCells) -> Histogram:
    return _extrapolated(cells, counter=False)


def _extrapolated(cells: HistogramCells, *, counter: bool) -> Histogram:
    change = subtract(cells.at(cells.last), cells.at(cells.begin))
    if counter:
        change = _with_resets(cells, change)
    factor = extrapolation(
        cells.times_ms[cells.begin],
        cells.times_ms[cells.last],
        cells.end - cells.begin,
        cells.end_ms,
        cells.width_ms,
        first=cells.samples.count[cells.begin],
        change=change.count,
        counter=counter,
    )
    return multiply(change, factor)


def _with_resets(cells: HistogramCells, change: Histogram) -> Histogram:
    """With what the resets within each window hide: the samples before them."""
    fell = resets_between(cells.samples)
    if not fell.any():
        return change
    before = picked(cells.samples, np.arange(len(fell)))
    lost = multiply(before, np.where(fell, 1.0, 0.0))  # row i: lost between samples i and i + 1
    return add(change, _window_sums(lost, cells.begin, cells.last))


def _irate(cells: HistogramCells) -> Histogram:
    """Per second, from the last two samples; after a reset the last itself is the increase."""
    last, before = cells.at(cells.last), cells.at(cells.last - 1)
    fell = resets_between(cells.samples)[cells.last - 1]
    change = subtract(last, multiply(before, np.where(fell, 0.0, 1.0)))
    return divide(change, (cells.times_ms[cells.last] - cells.times_ms[cells.last - 1]) / 1000)


def _idelta(cells: HistogramCells) -> Histogram:
    return subtract(cells.at(cells.last), cells.at(cells.last - 1))


# ---------------------------------------------------------------- table

#: Functions that give histograms, and how many samples each needs.
HISTOGRAM_RANGE: Final[Mapping[str, tuple[Callable[[HistogramCells], Histogram], int]]] = {
    "rate": (_rate, 2),
    "increase": (_increase, 2),
    "delta": (_delta, 2),
    "irate": (_irate, 2),
    "idelta": (_idelta, 2),
    "sum_over_time": (_sum, 1),
    "avg_over_time": (_avg, 1),
    "first_over_time": (lambda cells: cells.at(cells.begin), 1),
    "last_over_time": (lambda cells: cells.at(cells.last), 1),
}
#: Functions that give floats of any sample.
FLOAT_RANGE: Final[Mapping[str, Callable[[HistogramCells], Floats]]] = {
    "count_over_time": lambda cells: (cells.end - cells.begin).astype(np.float64),
    "present_over_time": lambda cells: np.ones(len(cells.begin)),
    "changes": _changes,
    "resets": _resets,
    "ts_of_first_over_time": lambda cells: cells.times_ms[cells.begin] / 1000,
    "ts_of_last_over_time": lambda cells: cells.times_ms[cells.last] / 1000,
}
