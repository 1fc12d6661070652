"""What the aggregations share that look at floats only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shim.eval.grouping import Groups
from shim.model.messages import ignored_histogram
from shim.model.values import Annotations, Floats, Vector


def note_histograms(groups: Groups, op: str, notes: Annotations) -> None:
    """The info that histograms were left out, when there were any; `notes` says what it is about."""
    if any(h.present.any() for h in groups.vector.histograms):
        notes.info(ignored_histogram(op))


def floats_only(groups: Groups, op: str, notes: Annotations, reduce: Callable[[Floats], Floats]) -> Vector:
    """The vector of `reduce(values)`: given all float rows by group, NaN where absent; one row per group."""
    note_histograms(groups, op, notes.argument(1))
    if not len(groups.order):
        return Vector.empty(groups.vector.steps)
    kept = np.where(groups.present, groups.values, np.nan)
    values = groups.spread(reduce(kept))
    return Vector(groups.vector.steps, groups.labels, values, groups.counts() > 0)
