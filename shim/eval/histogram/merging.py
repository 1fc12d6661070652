"""Histograms of different bucket ranges, brought together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.model.values import Bools, Floats, Histogram, Ints, Spans


def empty_histogram(steps: int) -> Histogram:
    """Return a histogram that is present nowhere."""
    zero = np.zeros(steps)
    spans = Spans.empty(steps)
    return Histogram(np.zeros(steps, dtype=bool), zero, zero, zero, spans, spans)


def common_indices(spans: Sequence[Spans]) -> Ints:
    """Return the buckets that any of `spans` has, ascending."""
    out = spans[0].indices
    for one in spans[1:]:
        if one.indices is not out and not np.array_equal(one.indices, out):
            out = np.union1d(out, one.indices)
    return out


def widened(spans: Spans, indices: Ints) -> Floats:
    """Return the counts of the buckets `indices`, which include all of its own."""
    if len(spans.indices) == len(indices):
        return spans.counts
    out = np.zeros((spans.counts.shape[0], len(indices)))
    out[:, columns_of(indices, spans)] = spans.counts
    return out


def columns_of(indices: Ints, spans: Spans) -> slice | Ints:
    """Return the places of the buckets of `spans` among `indices`, which include them."""
    at = np.searchsorted(indices, spans.indices).astype(np.int64)
    if len(at) and at[-1] - at[0] + 1 == len(at):
        return slice(int(at[0]), int(at[-1]) + 1)
    return at


def trimmed(spans: Spans) -> Spans:
    """Drop the buckets that are empty at every step."""
    used = (spans.counts != 0).any(axis=0)
    return spans if used.all() else Spans(spans.indices[used], spans.counts[:, used])


def combine(parts: Sequence[Histogram]) -> Histogram:
    """Sum the histograms that are present at each step; present where any is."""
    if len(parts) == 1:
        return parts[0]
    present = np.any([h.present for h in parts], axis=0)
    return Histogram(
        present=present,
        count=_total([h.count for h in parts], parts),
        sum=_total([h.sum for h in parts], parts),
        zero=_total([h.zero for h in parts], parts),
        positive=_total_spans([h.positive for h in parts], parts),
        negative=_total_spans([h.negative for h in parts], parts),
        low=_extreme([h.low for h in parts], parts, np.fmin),
        high=_extreme([h.high for h in parts], parts, np.fmax),
    )


def where_present(histogram: Histogram, present: Bools) -> Histogram:
    """Return the histogram, present only where it was and `present` is."""
    return replace(histogram, present=histogram.present & present)


def _total(values: Sequence[Floats], parts: Sequence[Histogram]) -> Floats:
    out = np.zeros(values[0].shape)
    for value, histogram in zip(values, parts, strict=True):
        np.add(out, value, out=out, where=histogram.present)
    return out


def _extreme(values: Sequence[Floats | None], parts: Sequence[Histogram], over: np.ufunc) -> Floats | None:
    """Return the extremes of all parts; None unless each part has its own."""
    out = np.full(parts[0].count.shape, np.nan)
    for value, histogram in zip(values, parts, strict=True):
        if value is None:
            return None
        over(out, value, out=out, where=histogram.present)
    return out


def _total_spans(spans: Sequence[Spans], parts: Sequence[Histogram]) -> Spans:
    indices = common_indices(spans)
    out = np.zeros((spans[0].counts.shape[0], len(indices)))
    for one, histogram in zip(spans, parts, strict=True):
        at = columns_of(indices, one)
        if isinstance(at, slice):
            np.add(out[:, at], one.counts, out=out[:, at], where=histogram.present[:, None])
        else:
            out[:, at] += np.where(histogram.present[:, None], one.counts, 0.0)
    return Spans(indices, out)
