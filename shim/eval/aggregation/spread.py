"""stddev and stdvar over series: of the population; histograms are ignored."""

from __future__ import annotations

import numpy as np

from shim.eval.aggregation.floats import floats_only
from shim.eval.aggregator import AggregationOperator, plain
from shim.eval.grouping import Groups
from shim.eval.numerics import grouped_sum, grouped_sum_parts
from shim.model.values import Annotations, Floats, Vector


def stdvar(groups: Groups, notes: Annotations) -> Vector:
    """Return the variance of each group."""
    return floats_only(groups, "stdvar", notes, lambda kept: _variance(groups, kept))


def stddev(groups: Groups, notes: Annotations) -> Vector:
    """Return the standard deviation of each group."""
    return floats_only(groups, "stddev", notes, lambda kept: np.sqrt(_variance(groups, kept)))


def _variance(groups: Groups, kept: Floats) -> Floats:
    """Compute the variance in two passes; exactly 0 for equal values, NaN if one is not finite."""
    sizes = groups.sizes[groups.with_floats]
    present = groups.present
    with np.errstate(all="ignore"):
        counts = np.add.reduceat(present.astype(np.float64), groups.starts, axis=0)
        total, rest = grouped_sum_parts(np.where(present, kept, 0.0), sizes)
        mean = total / counts + rest / counts
        delta = np.where(present, kept - np.repeat(mean, sizes, axis=0), 0.0)
        result = grouped_sum(delta * delta, sizes) / counts
    low = np.fmin.reduceat(kept, groups.starts, axis=0)
    high = np.fmax.reduceat(kept, groups.starts, axis=0)
    equal = (low == high) & np.isfinite(low) & np.isfinite(total)
    return np.where(equal, 0.0, result)


AGGREGATIONS = (
    AggregationOperator("stdvar", "The variance of the values", plain(stdvar)),
    AggregationOperator("stddev", "The standard deviation of the values", plain(stddev)),
)
