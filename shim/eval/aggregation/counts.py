"""count and group, of floats and histograms alike."""

from __future__ import annotations

import numpy as np

from shim.eval.aggregator import AggregationOperator, Combine, plain
from shim.eval.grouping import Groups
from shim.model.values import Annotations, Floats, Vector


def count(groups: Groups, notes: Annotations) -> Vector:
    """Count the series of each group."""
    del notes  # nothing to note: everything counts
    totals = _totals(groups)
    return Vector(groups.vector.steps, groups.labels, totals, totals > 0)


def group(groups: Groups, notes: Annotations) -> Vector:
    """Return 1 for each group that has a series."""
    del notes
    totals = _totals(groups)
    return Vector(groups.vector.steps, groups.labels, np.ones(totals.shape), totals > 0)


def _totals(groups: Groups) -> Floats:
    totals = groups.histogram_counts()
    return totals + groups.counts() if len(groups.order) else totals


AGGREGATIONS = (
    AggregationOperator(
        "count", "The number of series", plain(count), chunks=Combine("sum"), only_presence=True
    ),
    AggregationOperator(
        "group", "1 for each group", plain(group), chunks=Combine("group"), only_presence=True
    ),
)
