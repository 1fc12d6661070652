"""Addition, scaling and comparison of histograms of one series each, all steps at once. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shim.eval.histogram.merging import common_indices, widened
from shim.model.values import Bools, Floats, Histogram, Spans

Pair = Callable[[Floats, Floats], Floats]


def add(a: Histogram, b: Histogram) -> Histogram:
    """Return a + b; present where both are."""
    return _pairwise(a, b, np.add)


def subtract(a: Histogram, b: Histogram) -> Histogram:
    """Return a - b; present where both are. Buckets may become negative, as in Prometheus."""
    return _pairwise(a, b, np.subtract)


def multiply(h: Histogram, factor: Floats | float) -> Histogram:
    """Multiply every count and the sum by `factor` (one, or one per step)."""
    by = np.broadcast_to(np.asarray(factor, dtype=np.float64), h.count.shape)
    return _scaled(h, lambda x: x * by, lambda x: x * by[:, None])


def divide(h: Histogram, divisor: Floats | float) -> Histogram:
    """Divide every count and the sum by `divisor`; 0 drops the buckets, as in Prometheus."""
    by = np.broadcast_to(np.asarray(divisor, dtype=np.float64), h.count.shape)
    zero = (by == 0)[:, None]
    return _scaled(h, lambda x: x / by, lambda x: np.where(zero, 0.0, x / np.where(zero, 1.0, by[:, None])))


def equals(a: Histogram, b: Histogram) -> Bools:
    """Return where both have the same count, sum, zero bucket and buckets (NaN equals NaN)."""
    same: Bools = (a.count == b.count) & (a.zero == b.zero)
    same &= (a.sum == b.sum) | (np.isnan(a.sum) & np.isnan(b.sum))
    for left, right in ((a.positive, b.positive), (a.negative, b.negative)):
        indices = common_indices([left, right])
        same &= (widened(left, indices) == widened(right, indices)).all(axis=1)
    return same


def _pairwise(a: Histogram, b: Histogram, op: Pair) -> Histogram:
    with np.errstate(all="ignore"):
        return Histogram(
            present=a.present & b.present,
            count=op(a.count, b.count),
            sum=op(a.sum, b.sum),
            zero=op(a.zero, b.zero),
            positive=_pair_spans(a.positive, b.positive, op),
            negative=_pair_spans(a.negative, b.negative, op),
        )


def _pair_spans(a: Spans, b: Spans, op: Pair) -> Spans:
    indices = common_indices([a, b])
    return Spans(indices, op(widened(a, indices), widened(b, indices)))


def _scaled(h: Histogram, flat: Callable[[Floats], Floats], wide: Callable[[Floats], Floats]) -> Histogram:
    with np.errstate(all="ignore"):
        return Histogram(
            present=h.present,
            count=flat(h.count),
            sum=flat(h.sum),
            zero=flat(h.zero),
            positive=Spans(h.positive.indices, wide(h.positive.counts)),
            negative=Spans(h.negative.indices, wide(h.negative.counts)),
        )
