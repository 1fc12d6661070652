"""Subqueries: an evaluated vector as samples again. Pure."""

from __future__ import annotations

import numpy as np

from shim.errors import Unsupported
from shim.grid import Grid
from shim.values import Samples, Vector


def samples_from(vector: Vector, grid: Grid) -> Samples:
    """The present points of the vector, each a sample at its step. Raises Unsupported for histograms."""
    if any(h.present.any() for h in vector.histograms):
        raise Unsupported("a subquery over native histograms is not supported yet")
    times = np.broadcast_to(grid.times_ms, vector.present.shape)
    return Samples(
        labels=vector.labels,
        offsets=np.concatenate([[0], np.cumsum(vector.present.sum(axis=1))]).astype(np.int64),
        times_ms=times[vector.present],
        values=vector.values[vector.present],
    )
