"""The share of observations between two values, of native histograms. Pure.

Source: Prometheus 3.x HistogramFraction.
"""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.buckets import BucketTable, bucket_table, reduced_table
from shim.eval.histogram.step_slices import map_steps
from shim.model.bucket_bounds import SCHEMA
from shim.model.values import Floats, Histogram


def histogram_fraction(lower: Floats, upper: Floats, h: Histogram) -> Floats:
    """Return the fraction of observations in (lower, upper] per step; NaN without observations or for NaN."""
    return map_steps(h, lambda some, part: _fraction(lower[some], upper[some], part))


def _fraction(lower: Floats, upper: Floats, h: Histogram) -> Floats:
    table = bucket_table(h)
    with np.errstate(all="ignore"):
        low = np.minimum(_rank_at(lower, table, h), h.count)
        high = np.minimum(_rank_at(upper, table, h), h.count)
        result = np.where(lower >= upper, 0.0, (high - low) / h.count)
    undefined = (h.count == 0) | np.isnan(lower) | np.isnan(upper)
    return np.where(undefined, np.nan, result)


def _rank_at(value: Floats, table: BucketTable, h: Histogram) -> Floats:
    """Count the observations below `value`, interpolated within its bucket.

    On a bucket's bound nothing of the bucket above counts. Beyond the last bucket all observations count.
    """
    steps = len(value)
    cumulative = np.concatenate([np.zeros((steps, 1)), np.cumsum(table.counts, axis=1)], axis=1)
    at = np.searchsorted(table.upper, value, side="left")  # the first bucket that does not end below it
    inside = np.minimum(at, len(table.upper) - 1)
    before = cumulative[np.arange(steps), inside]
    counts = table.counts[np.arange(steps), inside]
    rank = before + counts * _share(value, table.lower[inside], table.upper[inside])
    return np.where(at >= len(table.upper), h.count, rank)


def counts_at_most(bounds: Floats, h: Histogram, schema: int = SCHEMA) -> Floats:
    """Count the observations at most each bound, shape `(bounds, steps)`, as histogram_fraction does.

    `bounds` ascend. The histogram was read in buckets of `schema`.
    """
    return np.ascontiguousarray(map_steps(h, lambda _, part: _counts_at_most(bounds, part, schema)))


def _counts_at_most(bounds: Floats, h: Histogram, schema: int) -> Floats:
    table = reduced_table(h, schema)
    cumulative = np.cumsum(table.counts, axis=1)
    at = np.searchsorted(table.upper, bounds, side="left")
    inside = np.minimum(at, len(table.upper) - 1)
    counts = table.counts[:, inside]
    with np.errstate(all="ignore"):
        share = _share(bounds, table.lower[inside], table.upper[inside])
    missing = counts * np.where(table.upper[inside] <= bounds, 0.0, 1 - share)  # zeros are at most 0
    ranks = np.where(at < len(table.upper), cumulative[:, inside] - missing, h.count[:, None])
    return np.minimum(ranks, h.count[:, None]).T


def _share(value: Floats, lower: Floats, upper: Floats) -> Floats:
    """Return the share of a bucket below `value`, on a logarithmic scale: 0 to 1."""
    log_value, log_lower, log_upper = (np.log2(np.abs(x)) for x in (value, lower, upper))
    share = np.where(
        value > 0,
        (log_value - log_lower) / (log_upper - log_lower),
        1 - (log_value - log_upper) / (log_lower - log_upper),
    )
    return np.where(lower >= value, 0.0, np.where(upper <= value, 1.0, share))
