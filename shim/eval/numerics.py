"""Numerics shared by aggregations and range functions: compensated sums, NaN-aware order. Pure.

Prometheus adds with Kahan's method as improved by Neumaier, one value after the other. Here sums run
pairwise, in log2(n) whole-array passes, and carry the exact rounding error of every addition. That is at
least as accurate, without a Python step per value.
"""

from __future__ import annotations

import numpy as np

from shim.model.values import Bools, Floats, Ints


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return `a + b` rounded, and the exact rest; 0 where the sum is not finite (as in Prometheus)."""
    total = a + b
    virtual = total - a
    rest = (a - (total - virtual)) + (b - virtual)
    rest[~np.isfinite(total)] = 0.0
    return total, rest


def sum_parts(values: Floats) -> tuple[Floats, Floats]:
    """Sum along the last axis as (rounded sum, compensation). No values: 0."""
    if values.shape[-1] == 0:
        zero = np.zeros(values.shape[:-1])
        return zero, zero.copy()
    total, rest = values, np.zeros(values.shape)
    with np.errstate(all="ignore"):
        while (n := total.shape[-1]) > 1:
            half = n // 2
            added, lost = two_sum(total[..., :half], total[..., half : 2 * half])
            lost += rest[..., :half] + rest[..., half : 2 * half]
            if n % 2:
                added = np.concatenate([added, total[..., -1:]], axis=-1)
                lost = np.concatenate([lost, rest[..., -1:]], axis=-1)
            total, rest = added, lost
    return total[..., 0], rest[..., 0]


def compensated_sum(values: Floats) -> Floats:
    """Sum along the last axis, correct to the last bits; infinities win over the compensation."""
    total, rest = sum_parts(values)
    return _joined(total, rest)


def compensated_mean(values: Floats, counts: Floats) -> Floats:
    """Return the mean along the last axis of `counts` values each (the others are 0).

    It does not overflow before the mean does: the values are then divided first. Prometheus changes to an
    incremental mean instead.
    """
    total, rest = sum_parts(values)
    with np.errstate(all="ignore"):
        mean = total / counts + rest / counts
        wild = ~np.isfinite(total)
        if wild.any():
            again, lost = sum_parts(values[wild] / counts[wild][..., None])
            mean[wild] = _joined(again, lost)
    return mean


def grouped_sum(values: Floats, sizes: Ints) -> Floats:
    """Sum consecutive groups of rows with compensation; `sizes` (all > 0) add up to len(values)."""
    total, rest = grouped_sum_parts(values, sizes)
    return _joined(total, rest)


def grouped_sum_parts(values: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """Sum as `grouped_sum` does, in two parts: adds neighbours until one row per group is left."""
    total, rest = values, np.zeros(values.shape)
    with np.errstate(all="ignore"):
        while (sizes > 1).any():
            starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            halves = (sizes + 1) // 2
            ends = np.repeat(starts + sizes, halves)
            first = 2 * _ranges(halves) + np.repeat(starts, halves)
            paired = first + 1 < ends
            next_total, next_rest = total[first], rest[first]
            added, lost = two_sum(next_total[paired], total[first[paired] + 1])
            next_rest[paired] += lost + rest[first[paired] + 1]
            next_total[paired] = added
            total, rest, sizes = next_total, next_rest, halves
    return total, rest


def quantile_position(q: Floats, n: Floats) -> tuple[Ints, Ints, Floats]:
    """Return lower index, upper index and weight of the q-quantile of n sorted values.

    q is in [0, 1], n >= 1.
    """
    with np.errstate(all="ignore"):
        rank = np.where((q >= 0) & (q <= 1), q, 0.0) * (n - 1)
        floor = np.floor(rank)
    lower = np.maximum(0, floor).astype(np.int64)
    upper = np.minimum(n.astype(np.int64) - 1, lower + 1)
    return lower, np.maximum(upper, 0), rank - floor


def outside_quantile(q: Floats, value: Floats) -> Floats:
    """Return `value`, replaced for a q outside [0, 1] as in Prometheus: NaN, -Inf below, +Inf above."""
    result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, value))
    return np.where(np.isnan(q), np.nan, result)


def row_quantile(q: Floats, values: Floats, valid: Bools) -> Floats:
    """Return the quantile along the last axis as Prometheus does; q has one value per row.

    NaN counts as the smallest value.
    """
    ordered = np.sort(np.where(valid, values, np.nan), axis=-1)  # NaN last, real and invalid alike
    n = valid.sum(axis=-1)
    nans = (valid & np.isnan(values)).sum(axis=-1)
    lower, upper, weight = quantile_position(q, n.astype(np.float64))
    with np.errstate(all="ignore"):
        mixed = _nan_first(ordered, lower, nans) * (1 - weight) + _nan_first(ordered, upper, nans) * weight
        return outside_quantile(q, mixed)


def variance(values: Floats, valid: Bools, counts: Floats) -> Floats:
    """Return the population variance along the last axis; exactly 0 for equal values, NaN if not finite."""
    with np.errstate(all="ignore"):
        kept = np.where(valid, values, 0.0)
        mean = compensated_mean(kept, counts)
        delta = np.where(valid, values - mean[..., None], 0.0)
        result = compensated_sum(delta * delta) / counts
    low = np.min(np.where(valid, values, np.inf), axis=-1, initial=np.inf)
    high = np.max(np.where(valid, values, -np.inf), axis=-1, initial=-np.inf)
    result[(low == high) & np.isfinite(low)] = 0.0
    return result


def _joined(total: Floats, rest: Floats) -> Floats:
    return np.where(np.isfinite(total), total + rest, total)


def _ranges(sizes: Ints) -> Ints:
    """Return 0..sizes[0]-1, 0..sizes[1]-1, ... in one array."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) - np.repeat(ends - sizes, sizes)


def _nan_first(ordered: Floats, index: Ints, nans: Ints) -> Floats:
    """Return the element at `index` as if NaN were sorted first (it is sorted last)."""
    place = np.maximum(index - nans, 0)
    found = np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0]
    return np.where(index < nans, np.nan, found)
