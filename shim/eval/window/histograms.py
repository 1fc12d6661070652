"""Windows of native histograms: the samples of one series as rows of one Histogram. Pure.

Source: Prometheus 3.x `promql/functions.go`: a reset is a fall of the count, of the zero bucket or of any
bucket. A function whose record has no `histograms` ignores them, as in Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shim.eval.histogram.merging import trimmed
from shim.model.values import Bools, Floats, Histogram, Ints, Spans


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
        """The place of the last sample."""
        return self.end - 1

    @property
    def counts(self) -> Floats:
        """The number of samples."""
        return (self.end - self.begin).astype(np.float64)

    def at(self, places: Ints) -> Histogram:
        """Return one sample per cell."""
        return picked(self.samples, places)


def picked(h: Histogram, places: Ints) -> Histogram:
    """Return the points at the places, in their order."""
    return Histogram(
        h.present[places],
        h.count[places],
        h.sum[places],
        h.zero[places],
        Spans(h.positive.indices, h.positive.counts[places]),
        Spans(h.negative.indices, h.negative.counts[places]),
    )


def spread(cells: Histogram, present: Bools) -> Histogram:
    """Return the cells at the steps that are present, in order."""

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


def window_sums(h: Histogram, begin: Ints, end: Ints) -> Histogram:
    """Return the sums of the samples `[begin, end)`. Each is added by itself: nothing is subtracted again."""
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


def resets_between(h: Histogram) -> Bools:
    """Return whether each sample but the first has less of anything than the one before it."""
    fell: Bools = (np.diff(h.count) < 0) | (np.diff(h.zero) < 0)
    for spans in (h.positive, h.negative):
        fell |= (np.diff(spans.counts, axis=0) < 0).any(axis=1)
    return fell
