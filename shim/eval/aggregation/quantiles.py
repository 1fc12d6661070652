"""quantile over series; NaN counts as the smallest value, histograms are left out."""

from __future__ import annotations

import numpy as np

from shim.eval.aggregation.floats import floats_only
from shim.eval.grouping import Groups
from shim.eval.kernel import outside_quantile, quantile_position
from shim.eval.texts import invalid_quantile
from shim.values import Annotations, Floats, Scalar, Vector


def quantile(groups: Groups, q: Scalar, notes: Annotations) -> Vector:
    """The q-quantile of each group, q per step."""
    note_invalid_quantile(q, notes.argument(0))
    return floats_only(groups, "quantile", notes, lambda kept: _quantile(groups, q.values, kept))


def note_invalid_quantile(q: Scalar, notes: Annotations) -> None:
    """Warns of every q that is none."""
    wrong = q.values[~((q.values >= 0) & (q.values <= 1))]
    for value in np.unique(wrong):
        notes.warn(invalid_quantile(float(value)))


def _quantile(groups: Groups, q: Floats, kept: Floats) -> Floats:
    present = groups.present
    kind = np.where(present, np.where(np.isnan(kept), 0, 1), 2)  # NaN first, absent last
    owner = np.broadcast_to(groups.owner[:, None], kept.shape)
    order = np.lexsort((kept, kind, owner), axis=0)
    ordered = np.take_along_axis(kept, order, axis=0)
    counts = np.add.reduceat(present.astype(np.float64), groups.starts, axis=0)
    lower, upper, weight = quantile_position(np.broadcast_to(q, counts.shape), counts)
    starts = groups.starts[:, None]
    with np.errstate(all="ignore"):
        at_lower = np.take_along_axis(ordered, starts + lower, axis=0)
        at_upper = np.take_along_axis(ordered, starts + upper, axis=0)
        return outside_quantile(q, at_lower * (1 - weight) + at_upper * weight)
