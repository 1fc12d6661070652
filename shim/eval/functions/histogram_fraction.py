"""histogram_fraction, of native and of classic histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.functions.classic import computed, split
from shim.eval.functions.signature import CallContext, Function, scalar_of, vector_of
from shim.eval.histogram.fraction import histogram_fraction
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.labels import Labels
from shim.model.messages import nan_in_fraction
from shim.model.values import Bools, Floats, Value, Vector


def _histogram_fraction(context: CallContext, args: Sequence[Value]) -> Value:
    lower, upper, vector = scalar_of(args[0]), scalar_of(args[1]), vector_of(args[2])
    notes = context.notes.argument(2)
    classic, natives = split(vector, notes)
    labels: list[Labels] = []
    values: list[Floats] = []
    present: list[Bools] = []
    for name, histogram in natives:
        labels.append(name)
        values.append(histogram_fraction(lower, upper, histogram))
        present.append(histogram.present)
        if (np.isnan(histogram.sum) & histogram.present).any():
            notes.info(nan_in_fraction(lbl.get(name, lbl.NAME)))
    for one in classic:
        labels.append(one.labels)
        values.append(computed(one, [lower, upper], bucket_fraction))
        present.append(one.there)
    if not labels:
        return Vector.empty(vector.steps)
    return relabelled(Vector(vector.steps, labels, np.array(values), np.array(present)), lbl.dropping_name)


def bucket_fraction(upper: Floats, counts: Floats, bounds: Sequence[Floats]) -> Floats:
    """Return the share of observations between `bounds`, from cumulative buckets (b, n).

    Linear within a bucket. NaN without a bucket for +Inf, without observations or with a NaN bound.
    """
    low, high = bounds
    if not np.isposinf(upper[-1]):
        return np.full(len(low), np.nan)
    total = counts[-1]
    with np.errstate(all="ignore"):
        share = (_rank_at(high, upper, counts) - _rank_at(low, upper, counts)) / total
    share = np.where(low >= high, 0.0, share)
    return np.where((total == 0) | np.isnan(low) | np.isnan(high), np.nan, share)


def _rank_at(value: Floats, upper: Floats, counts: Floats) -> Floats:
    """Count observations below `value`; the lowest bucket begins at 0 if it ends above 0, else at -Inf."""
    lower = np.concatenate([[0.0 if upper[0] > 0 else -np.inf], upper[:-1]])
    before = np.concatenate([np.zeros((1, counts.shape[1])), counts[:-1]])
    at = np.minimum(np.searchsorted(upper, value, side="right"), len(upper) - 1)
    columns = np.arange(len(value))
    share = (value - lower[at]) / (upper[at] - lower[at])
    inside = before[at, columns] + (counts[at, columns] - before[at, columns]) * share
    # A bucket without an end cannot be interpolated: nothing of it counts as above the value.
    inside = np.where(np.isneginf(lower[at]), counts[at, columns], inside)
    rank = np.where(lower[at] >= value, before[at, columns], inside)
    capped: Floats = np.minimum(np.where(np.isposinf(value), counts[-1], rank), counts[-1])
    return capped


FUNCTIONS = (Function("histogram_fraction", ("scalar", "scalar", "vector"), "vector", _histogram_fraction),)
