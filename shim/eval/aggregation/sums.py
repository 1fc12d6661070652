"""The sum of floats and histograms, and avg: a mix of both at one step gives a warning and no value."""

from __future__ import annotations

import numpy as np

from shim.eval.aggregator import AggregationOperator, Mean, plain
from shim.eval.grouping import Groups
from shim.eval.histogram.arithmetic import divide
from shim.eval.histogram.merging import combine, where_present
from shim.eval.numerics import grouped_sum, grouped_sum_parts
from shim.model.messages import MIXED_IN_AGGREGATION
from shim.model.values import Annotations, Floats, Histogram, Vector


def sum_(groups: Groups, notes: Annotations) -> Vector:
    """Return the sum of each group."""
    if not len(groups.order):
        return _result(groups, np.zeros((len(groups.labels), groups.vector.steps)), mean=False, notes=notes)
    kept = np.where(groups.present, groups.values, 0.0)
    totals = groups.spread(grouped_sum(kept, groups.sizes[groups.with_floats]))
    return _result(groups, totals, mean=False, notes=notes)


def avg(groups: Groups, notes: Annotations) -> Vector:
    """Return the mean; where the sum would overflow, values are divided before they are added."""
    if not len(groups.order):
        return _result(groups, np.zeros((len(groups.labels), groups.vector.steps)), mean=True, notes=notes)
    kept = np.where(groups.present, groups.values, 0.0)
    sizes = groups.sizes[groups.with_floats]
    counts = np.add.reduceat(groups.present.astype(np.float64), groups.starts, axis=0)
    with np.errstate(all="ignore"):
        total, rest = grouped_sum_parts(kept, sizes)
        mean = total / counts + rest / counts
        wild = ~np.isfinite(total)
        if wild.any():
            again = grouped_sum(kept / np.repeat(counts, sizes, axis=0), sizes)
            mean = np.where(wild, again, mean)
    return _result(groups, groups.spread(mean), mean=True, notes=notes)


def _result(groups: Groups, floats: Floats, *, mean: bool, notes: Annotations) -> Vector:
    float_counts = groups.counts() if len(groups.order) else np.zeros(floats.shape)
    histogram_counts = groups.histogram_counts()
    present = (float_counts > 0) & (histogram_counts == 0)
    if ((float_counts > 0) & (histogram_counts > 0)).any():
        notes.argument(1).warn(MIXED_IN_AGGREGATION)
    labels, histograms = [], []
    for group, name in enumerate(groups.labels):
        if groups.histogram_rows[group]:
            labels.append(name)
            counts = histogram_counts[group]
            histograms.append(_merged(groups, group, counts, float_counts[group], mean=mean))
    return Vector(groups.vector.steps, groups.labels, floats, present, labels, histograms)


def _merged(groups: Groups, group: int, counts: Floats, floats: Floats, *, mean: bool) -> Histogram:
    merged = where_present(combine(groups.histograms_of(group)), floats == 0)
    return divide(merged, np.maximum(counts, 1)) if mean else merged


AGGREGATIONS = (AggregationOperator("avg", "The mean of the values", plain(avg), chunks=Mean()),)
