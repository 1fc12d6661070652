"""The share of observations between two values, of native histograms. Pure.

Source: Prometheus 3.x HistogramFraction.
"""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.buckets import BucketTable, bucket_table
from shim.values import Floats, Histogram


def histogram_fraction(lower: Floats, upper: Floats, h: Histogram) -> Floats:
    """Fraction of the observations in (lower, upper] per step; NaN without observations or for NaN."""
    table = bucket_table(h)
    with np.errstate(all="ignore"):
        low = np.minimum(_rank_at(lower, table, h), h.count)
        high = np.minimum(_rank_at(upper, table, h), h.count)
        result = np.where(lower >= upper, 0.0, (high - low) / h.count)
    undefined = (h.count == 0) | np.isnan(lower) | np.isnan(upper)
    return np.where(undefined, np.nan, result)


def _rank_at(value: Floats, table: BucketTable, h: Histogram) -> Floats:
    """How many observations lie below `value`, interpolated within its bucket.

    Bounds on a bucket's edge: nothing of the bucket above it counts. Beyond the last bucket: all of them.
    """
    steps = len(value)
    cumulative = np.concatenate([np.zeros((steps, 1)), np.cumsum(table.counts, axis=1)], axis=1)
    at = np.searchsorted(table.upper, value, side="left")  # the first bucket that does not end below it
    inside = np.minimum(at, len(table.upper) - 1)
    before = cumulative[np.arange(steps), inside]
    counts = table.counts[np.arange(steps), inside]
    log_value = np.log2(np.abs(value))
    log_lower = np.log2(np.abs(table.lower[inside]))
    log_upper = np.log2(np.abs(table.upper[inside]))
    share = np.where(
        value > 0,
        (log_value - log_lower) / (log_upper - log_lower),
        1 - (log_value - log_upper) / (log_lower - log_upper),
    )
    rank = before + counts * share
    rank = np.where(table.upper[inside] <= value, before + counts, rank)
    rank = np.where(table.lower[inside] >= value, before, rank)
    return np.where(at >= len(table.upper), h.count, rank)
