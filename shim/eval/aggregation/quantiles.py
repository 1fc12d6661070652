"""quantile over series: NaN counts as the smallest value, histograms are ignored."""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.eval.aggregation.floats import floats_only
from shim.eval.aggregator import AggregationInput, AggregationOperator, KeepAll, some_steps_at_once
from shim.eval.grouping import Groups
from shim.eval.numerics import outside_quantile, quantile_position
from shim.model.messages import invalid_quantile
from shim.model.values import Annotations, Floats, Scalar, Vector

_FEW_GROUPS: Final = 64
#: Values that are sorted together: copies of all would not fit into a cache.
_BLOCK_CELLS: Final = 1 << 19


def quantile(groups: Groups, q: Scalar, notes: Annotations) -> Vector:
    """Return the q-quantile of each group; `q` has one value per step."""
    note_invalid_quantile(q, notes.argument(0))
    return floats_only(groups, "quantile", notes, lambda kept: _quantile(groups, q.values, kept))


def note_invalid_quantile(q: Scalar, notes: Annotations) -> None:
    """Warn of every q that is not between 0 and 1."""
    wrong = q.values[~((q.values >= 0) & (q.values <= 1))]
    for value in np.unique(wrong):
        notes.warn(invalid_quantile(float(value)))


def _quantile(groups: Groups, q: Floats, kept: Floats) -> Floats:
    if len(groups.starts) <= _FEW_GROUPS and not np.isnan(kept[groups.present]).any():
        return _of_sorted(groups, q, kept)
    present = groups.present
    kind = np.where(present, np.where(np.isnan(kept), 0, 1), 2)  # NaN first, absent last
    owner = np.broadcast_to(groups.owner[:, None], kept.shape)
    order = np.lexsort((kept, kind, owner), axis=0)
    ordered = np.take_along_axis(kept, order, axis=0)
    counts = np.add.reduceat(present.astype(np.float64), groups.starts, axis=0)
    lower, upper, weight = quantile_position(np.broadcast_to(q, counts.shape), counts)
    starts = groups.starts[:, None]
    at_lower = np.take_along_axis(ordered, starts + lower, axis=0)
    at_upper = np.take_along_axis(ordered, starts + upper, axis=0)
    return _between(q, at_lower, at_upper, weight)


def _of_sorted(groups: Groups, q: Floats, kept: Floats) -> Floats:
    """Return the quantiles of a few groups without NaN, by sorting each group alone: many times faster."""
    out = np.empty((len(groups.starts), kept.shape[1]))
    sizes = groups.sizes[groups.with_floats].tolist()
    for group, (start, size) in enumerate(zip(groups.starts.tolist(), sizes, strict=True)):
        width = max(1, _BLOCK_CELLS // size)
        for first in range(0, kept.shape[1], width):
            steps = slice(first, first + width)
            ordered = np.sort(kept[start : start + size, steps].T, axis=1)  # absent ones are NaN: last
            counts = size - np.isnan(ordered).sum(axis=1)
            lower, upper, weight = quantile_position(q[steps], counts.astype(np.float64))
            step = np.arange(len(ordered))
            out[group, steps] = _between(q[steps], ordered[step, lower], ordered[step, upper], weight)
    return out


def _between(q: Floats, lower: Floats, upper: Floats, weight: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return outside_quantile(q, lower * (1 - weight) + upper * weight)


def _apply(given: AggregationInput) -> Vector:
    q, notes = given.numbers, given.notes
    return some_steps_at_once(given.groups(), lambda groups, at: quantile(groups, Scalar(q[at]), notes))


AGGREGATIONS = (
    AggregationOperator(
        "quantile",
        "The quantile of the values; the parameter is between 0 and 1",
        _apply,
        parameter="scalar",
        chunks=KeepAll(),
    ),
)
