"""min and max: NaN only where every value is NaN; histograms are ignored."""

from __future__ import annotations

import numpy as np

from shim.eval.aggregation.floats import floats_only
from shim.eval.aggregator import AggregationOperator, Combine, plain
from shim.eval.grouping import Groups
from shim.model.values import Annotations, Vector


def min_(groups: Groups, notes: Annotations) -> Vector:
    """Return the smallest value of each group."""
    return floats_only(groups, "min", notes, lambda kept: np.fmin.reduceat(kept, groups.starts, axis=0))


def max_(groups: Groups, notes: Annotations) -> Vector:
    """Return the largest value of each group."""
    return floats_only(groups, "max", notes, lambda kept: np.fmax.reduceat(kept, groups.starts, axis=0))


AGGREGATIONS = (
    AggregationOperator("min", "The smallest value", plain(min_), chunks=Combine("min")),
    AggregationOperator("max", "The largest value", plain(max_), chunks=Combine("max")),
)
