"""histogram_quantile, of native and of classic histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim import labels as lbl
from shim.eval.aggregation.quantiles import note_invalid_quantile
from shim.eval.functions.classic import ClassicHistogram, computed, monotonic, split
from shim.eval.functions.signature import Context, Function, scalar_of, vector_of
from shim.eval.histogram import quantile as native
from shim.eval.kernel import outside_quantile
from shim.eval.merge import relabelled
from shim.eval.texts import forced_monotonicity, nan_in_quantile
from shim.labels import Labels
from shim.values import Annotations, Bools, Floats, Histogram, Scalar, Value, Vector


def _histogram_quantile(context: Context, args: Sequence[Value]) -> Value:
    q, vector, notes = scalar_of(args[0]), vector_of(args[1]), context.notes
    note_invalid_quantile(Scalar(q), notes)
    classic, natives = split(vector, notes)
    labels: list[Labels] = []
    values: list[Floats] = []
    present: list[Bools] = []
    for name, histogram in natives:
        labels.append(name)
        values.append(_native(q, name, histogram, notes))
        present.append(histogram.present)
    for one in classic:
        labels.append(one.labels)
        values.append(_classic(q, one, notes))
        present.append(one.there)
    if not labels:
        return Vector.empty(vector.steps)
    return relabelled(Vector(vector.steps, labels, np.array(values), np.array(present)), lbl.dropping_name)


def _native(q: Floats, labels: Labels, histogram: Histogram, notes: Annotations) -> Floats:
    value, made_nan, skewed = native.histogram_quantile(q, histogram)
    name = lbl.get(labels, lbl.NAME)
    if made_nan.any():
        notes.info(nan_in_quantile(name, result_nan=True))
    if skewed.any():
        notes.info(nan_in_quantile(name, result_nan=False))
    return value


def _classic(q: Floats, histogram: ClassicHistogram, notes: Annotations) -> Floats:
    def compute(upper: Floats, counts: Floats, parameters: Sequence[Floats]) -> Floats:
        value, forced = bucket_quantile(parameters[0], upper, counts)
        if forced:
            notes.info(forced_monotonicity(lbl.get(histogram.labels, lbl.NAME)))
        return value

    return computed(histogram, [q], compute)


def bucket_quantile(q: Floats, upper: Floats, counts: Floats) -> tuple[Floats, bool]:
    """The quantile of cumulative buckets, (b, n), linear within a bucket; whether counts had to be mended.

    NaN without a bucket for +Inf, with fewer than two buckets, or without observations. In the highest bucket
    it is the bound below; in a lowest bucket that ends at or below 0 it is that bound.
    """
    n = counts.shape[1]
    if not np.isposinf(upper[-1]) or len(upper) < 2:
        return outside_quantile(q, np.full(n, np.nan)), False
    fixed, forced = monotonic(counts)
    total = fixed[-1]
    valid = (q >= 0) & (q <= 1)
    with np.errstate(all="ignore"):
        rank = q * total
        reached = fixed[:-1] >= rank
        hit = np.where(reached.any(axis=0), np.argmax(reached, axis=0), len(upper) - 1)
        below = np.maximum(hit - 1, 0)
        columns = np.arange(n)
        before = np.where(hit > 0, fixed[below, columns], 0.0)
        start = np.where(hit > 0, upper[below], 0.0)
        share = (rank - before) / (fixed[hit, columns] - before)
        value = start + (upper[hit] - start) * share
    value = np.where((hit == 0) & (upper[0] <= 0), upper[0], value)
    value = np.where(hit == len(upper) - 1, upper[-2], value)
    value = np.where(total == 0, np.nan, value)
    return outside_quantile(q, value), bool((forced & valid & (total != 0)).any())


FUNCTIONS = (Function("histogram_quantile", ("scalar", "vector"), "vector", _histogram_quantile),)
