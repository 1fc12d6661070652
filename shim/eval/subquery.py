"""Subqueries: an evaluated vector as samples. Pure."""

from __future__ import annotations

import numpy as np

from shim.eval.window.histograms import picked
from shim.model.grid import Grid
from shim.model.values import Samples, Vector


def samples_from(vector: Vector, grid: Grid) -> Samples:
    """Return the present points of the vector, each a sample at its step."""
    pairs = zip(vector.histogram_labels, vector.histograms, strict=True)
    kept = [(labels, h) for labels, h in pairs if h.present.any()]
    times = np.broadcast_to(grid.times_ms, vector.present.shape)
    return Samples(
        labels=vector.labels,
        offsets=np.concatenate([[0], np.cumsum(vector.present.sum(axis=1))]).astype(np.int64),
        times_ms=times[vector.present],
        values=vector.values[vector.present],
        histogram_labels=[labels for labels, _ in kept],
        histogram_times_ms=[grid.times_ms[h.present] for _, h in kept],
        histograms=[picked(h, np.flatnonzero(h.present)) for _, h in kept],
    )
