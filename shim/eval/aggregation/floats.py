"""Helpers of the aggregations that use floats only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shim.eval.grouping import Groups
from shim.model.messages import ignored_histogram
from shim.model.values import Annotations, Floats, Vector


def note_histograms(groups: Groups, op: str, notes: Annotations) -> None:
    """Add an info that histograms were ignored, where there are any; `notes` has its place in the query."""
    if any(h.present.any() for h in groups.vector.histograms):
        notes.info(ignored_histogram(op))


def floats_only(groups: Groups, op: str, notes: Annotations, reduce: Callable[[Floats], Floats]) -> Vector:
    """Return the vector of `reduce(values)`: one row per group.

    `reduce` gets all float rows by group, NaN where absent.
    """
    note_histograms(groups, op, notes.argument(1))
    if not len(groups.order):
        return Vector.empty(groups.vector.steps)
    kept = np.where(groups.present, groups.values, np.nan)
    values = groups.spread(reduce(kept))
    return Vector(groups.vector.steps, groups.labels, values, groups.counts() > 0)
