"""histogram_quantile and histogram_quantiles, of native and of classic histograms.

Of stored distributions the quantile is that of their observations, within 1.1 %: as quantile_over_time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from shim.eval.aggregation.quantiles import note_invalid_quantile
from shim.eval.budget import Take
from shim.eval.functions.classic import ClassicHistogram, computed, monotonic, split
from shim.eval.functions.signature import CallContext, Function, scalar_of, text_of, vector_of
from shim.eval.histogram import quantile as native
from shim.eval.merge import relabelled
from shim.eval.numerics import outside_quantile
from shim.model import labels as lbl
from shim.model.labels import Labels
from shim.model.messages import forced_monotonicity, nan_in_quantile
from shim.model.number_format import openmetrics_text
from shim.model.values import Annotations, Bools, Floats, Histogram, Scalar, Value, Vector

Row = tuple[Labels, Floats, Bools]


def _histogram_quantile(context: CallContext, args: Sequence[Value]) -> Value:
    q, vector, notes = scalar_of(args[0]), vector_of(args[1]), context.notes
    note_invalid_quantile(Scalar(q), notes.argument(0))
    notes = notes.argument(1)
    return _vector(vector.steps, list(_rows(q, *split(vector, notes), notes, context.take)))


def _histogram_quantiles(context: CallContext, args: Sequence[Value]) -> Value:
    """Return each quantile of each histogram, with the quantile as a label.

    A quantile that varies from step to step gives one series per value.
    """
    vector, name, notes = vector_of(args[0]), text_of(args[1]), context.notes
    wanted = [scalar_of(arg) for arg in args[2:]]
    for number, q in enumerate(wanted, 2):
        note_invalid_quantile(Scalar(q), notes.argument(number))
    notes = notes.argument(0)
    classic, natives = split(vector, notes)
    found: list[Row] = []
    made = 0
    for q in wanted:
        distinct = {openmetrics_text(value): np.float64(value) for value in np.unique(q).tolist()}
        made += len(distinct) * (len(classic) + len(natives)) * vector.steps
        context.take(made)
        for text, value in distinct.items():
            here = (q == value) | (np.isnan(q) & np.isnan(value))
            for labels, values, present in _rows(q, classic, natives, notes, context.take):
                found.append((lbl.make({**dict(labels), name: text}), values, present & here))
    return _vector(vector.steps, found)


def _rows(
    q: Floats,
    classic: Sequence[ClassicHistogram],
    natives: Sequence[tuple[Labels, Histogram]],
    notes: Annotations,
    take: Take,
) -> Iterator[Row]:
    """Return the quantile of each histogram."""
    for name, histogram in natives:
        take(0)
        yield name, _native(q, name, histogram, notes), histogram.present
    for one in classic:
        take(0)
        yield one.labels, _classic(q, one, notes), one.there


def _vector(steps: int, rows: Sequence[Row]) -> Vector:
    if not rows:
        return Vector.empty(steps)
    labels, values, present = zip(*rows, strict=True)
    return relabelled(Vector(steps, labels, np.array(values), np.array(present)), lbl.dropping_name)


def _native(q: Floats, labels: Labels, histogram: Histogram, notes: Annotations) -> Floats:
    if histogram.low is not None and histogram.high is not None:
        return native.observations_quantile(q, histogram, histogram.low, histogram.high)
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
    """Return the quantile of cumulative buckets (b, n), and whether counts had to be repaired.

    Linear within a bucket. NaN without a bucket for +Inf, with fewer than two buckets, or without
    observations. In the highest bucket it is the lower bound; in a lowest bucket that ends at or below 0 it
    is that end.
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


FUNCTIONS = (
    Function("histogram_quantile", ("scalar", "vector"), "vector", _histogram_quantile, observations=1),
    Function(
        "histogram_quantiles",
        ("vector", "string", "scalar", "scalar"),
        "vector",
        _histogram_quantiles,
        optional=9,
        experimental=True,
        made_labels=slice(1, 2),
        observations=0,
    ),
)
