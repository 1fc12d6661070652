"""Quantiles of native histograms. Pure.

`histogram_quantile` follows Prometheus exactly. `observations_quantile` answers `quantile_over_time` and
`histogram_quantile` of stored distributions, where the exact minimum and maximum are known as well.
"""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.buckets import BucketTable, bucket_table
from shim.eval.histogram.step_slices import map_steps, map_steps_flagged
from shim.eval.numerics import outside_quantile
from shim.model.values import Bools, Floats, Histogram, Ints


def histogram_quantile(q: Floats, h: Histogram) -> tuple[Floats, Bools, Bools]:
    """Return the q-quantile per step, and where NaN observations made it NaN or skewed it.

    Source: Prometheus 3.x HistogramQuantile: from below for q < 0.5 or with NaN observations (the sum is
    NaN), else from above; exponential interpolation within the bucket.
    """
    return map_steps_flagged(h, lambda some, part: _histogram_quantile(q[some], part))


def _histogram_quantile(q: Floats, h: Histogram) -> tuple[Floats, Bools, Bools]:
    table = bucket_table(h)
    nan_seen = np.isnan(h.sum)
    with np.errstate(all="ignore"):
        forward = nan_seen | (q < 0.5)
        rank = np.where(forward, q, 1 - q) * h.count
        hit, reached, seen = _find(table.counts, rank, forward)
        seen = np.minimum(seen, h.count)
        in_bucket = np.take_along_axis(table.counts, hit[:, None], axis=1)[:, 0]
        inside = np.where(forward, rank - (seen - in_bucket), seen - rank)
        value = _interpolate(table, hit, inside / in_bucket)
        short = ~reached | (seen < rank)
        value = np.where(short, np.where(nan_seen, np.nan, table.upper[hit]), value)
        value = np.where(h.count == 0, np.nan, value)
    counted = h.present & nan_seen & (h.count != 0) & (q >= 0) & (q <= 1)
    return outside_quantile(q, value), counted & short, counted & ~short


def observations_quantile(q: Floats, h: Histogram, low: Floats, high: Floats) -> Floats:
    """Return the q-quantile of the observations, with the ranks of Prometheus' quantile_over_time.

    `low` and `high` are the exact extremes per step; the answer stays between them, and q = 0 and q = 1 give
    them. Elsewhere the two observations next to the rank are assumed in the middle of their buckets, on a
    logarithmic scale. So each is at most half a bucket (1.1 %) off, even with few observations.
    """
    return map_steps(h, lambda some, part: _observations_quantile(q[some], part, low[some], high[some]))


def _observations_quantile(q: Floats, h: Histogram, low: Floats, high: Floats) -> Floats:
    table = bucket_table(h)
    with np.errstate(all="ignore"):
        rank = np.clip(q, 0, 1) * np.maximum(h.count - 1, 0)
        cumulative = np.cumsum(table.counts, axis=1)
        below = np.floor(rank)
        above = np.minimum(below + 1, np.maximum(h.count - 1, 0))
        first, second = (table.centers[_holding(table.counts, cumulative, r)] for r in (below, above))
        weight = rank - below
        value = np.clip(first * (1 - weight) + second * weight, low, high)
        value = np.where(q == 0, low, np.where(q == 1, high, value))
        value = np.where(h.count > 0, value, np.nan)
        return outside_quantile(q, value)


def _holding(counts: Floats, cumulative: Floats, rank: Floats) -> Ints:
    """Return the bucket of the observation of each rank; beyond the last rank the last used bucket."""
    used = counts > 0
    hits = used & (cumulative > rank[:, None])
    last = counts.shape[1] - 1 - np.argmax(used[:, ::-1], axis=1)
    return np.asarray(np.where(hits.any(axis=1), np.argmax(hits, axis=1), last))


def _find(counts: Floats, rank: Floats, forward: Bools) -> tuple[Ints, Bools, Floats]:
    """Return the bucket that each rank falls into, whether it was reached, and the count before it.

    Not reached: the last bucket that is not empty, in the direction of the search.
    """
    steps, n = counts.shape
    if forward.all():
        directed = counts
    elif not forward.any():
        directed = counts[:, ::-1]
    else:
        directed = np.where(forward[:, None], counts, counts[:, ::-1])
    cumulative = np.cumsum(directed, axis=1)
    used = directed > 0
    hits = used & (cumulative >= rank[:, None])
    reached: Bools = np.asarray(hits.any(axis=1))
    last = n - 1 - np.argmax(used[:, ::-1], axis=1)
    place = np.where(reached, np.argmax(hits, axis=1), last)
    seen = cumulative[np.arange(steps), place]
    return np.where(forward, place, n - 1 - place), reached, seen


def _interpolate(table: BucketTable, hit: Ints, fraction: Floats) -> Floats:
    """Return the value `fraction` of the way through its bucket, logarithmically; 0 in the zero bucket."""
    log_lower = np.log2(np.abs(table.lower[hit]))
    log_upper = np.log2(np.abs(table.upper[hit]))
    above = np.exp2(log_lower + (log_upper - log_lower) * fraction)
    below = -np.exp2(log_upper + (log_lower - log_upper) * (1 - fraction))
    return np.where(hit > table.zero, above, np.where(hit < table.zero, below, 0.0))
