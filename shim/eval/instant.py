"""Instant selection from samples: the latest one within the lookback. Pure."""

from __future__ import annotations

import numpy as np

from shim.eval.sample_windows import slices
from shim.model.grid import Grid
from shim.model.values import Ints, Samples, Vector


def latest(samples: Samples, grid: Grid, lookback_ms: int) -> tuple[Vector, Ints]:
    """Return the last sample in `(t - lookback, t]` at every `t`, and its time in ms (series, steps).

    `grid` holds the times to look at (offset and @ already applied). A time is arbitrary where not present.
    """
    where = slices(samples, grid.times_ms, lookback_ms)
    present = where.counts > 0
    if len(samples.values) == 0:
        return Vector(grid.steps, samples.labels, np.zeros(present.shape), present), where.end
    place = np.maximum(where.end - 1, 0)
    vector = Vector(grid.steps, samples.labels, samples.values[place], present)
    return vector, samples.times_ms[place]
