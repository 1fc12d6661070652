"""Classic names of a distribution: `x_bucket{le}` out of the stored buckets.

`x_count` and `x_sum` are counters: counters.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.aggregate.exponential_buckets import index_of
from shim.catalog.types import Part
from shim.eval.histogram.fraction import counts_at_most
from shim.eval.merge import relabelled
from shim.eval.window.stored import FromDeltas
from shim.model.bucket_bounds import CLASSIC_SCHEMA, SCHEMA, coarser_index, upper_bounds
from shim.model.grid import Grid
from shim.model.numeric_labels import number_text, with_le
from shim.model.values import Vector
from shim.read import counters, distributions
from shim.read.reader import Keys, Reader


@dataclass(frozen=True, slots=True)
class Buckets:
    """Reads `x_bucket` of one part. Its boundaries are fixed before anything is read."""

    reader: Reader
    part: Part
    bounds: Sequence[float]  # ascending

    def totals(self, at: Grid, lookback_ms: int) -> Vector:
        """Count the observations up to each time that are at most each boundary. Raises QueryError."""
        return self._shown(
            at.steps,
            lambda part: counters.totals(self.reader, part, at, lookback_ms),
            lambda schema: distributions.totals(self.reader, self.part, at, lookback_ms, schema),
        )

    def increases(
        self, keys: Keys, deltas: FromDeltas, ends: Grid, window_ms: int, lookback_ms: int
    ) -> Vector:
        """Sum the deltas of every key and boundary. Raises QueryError."""
        how = (keys, deltas, ends, window_ms, lookback_ms)
        return self._shown(
            ends.steps,
            lambda part: counters.increases(self.reader, part, *how),
            lambda schema: distributions.histograms(self.reader, self.part, *how, schema),
        )

    def _shown(
        self, steps: int, counts: Callable[[Part], Vector], histograms: Callable[[int], Vector]
    ) -> Vector:
        """Take `x_count` for all, otherwise histograms in the coarsest schema that suffices."""
        if not self.bounds:
            return Vector.empty(steps)
        if self.bounds[0] == math.inf:
            return relabelled(counts(replace(self.part, view="count")), lambda one: with_le(one, "+Inf"))
        schema = schema_for(self.bounds)
        return bucket_series(histograms(schema), self.bounds, schema, self.reader.check_cells)


def schema_for(bounds: Sequence[float]) -> int:
    """Return the schema to read histograms in: classic if it has all finite bounds, else the stored one."""
    sizes = [abs(b) for b in bounds if b and math.isfinite(b)]
    stored = np.array([index_of(size) for size in sizes], dtype=np.int64)
    edges = upper_bounds(coarser_index(stored, CLASSIC_SCHEMA), CLASSIC_SCHEMA)
    return CLASSIC_SCHEMA if np.array_equal(edges, sizes) else SCHEMA


def bucket_series(
    found: Vector, bounds: Sequence[float], schema: int, check_cells: Callable[[int], None]
) -> Vector:
    """Return one float series per histogram and boundary: the number of observations up to it.

    The histograms have buckets of `schema`. `check_cells` checks that the values may be held.
    """
    check_cells(len(found.histograms) * len(bounds) * found.steps)
    if not found.histograms or not bounds:
        return Vector.empty(found.steps)
    limits, texts = np.array(bounds), [number_text(b) for b in bounds]
    return Vector(
        found.steps,
        [with_le(labels, le) for labels in found.histogram_labels for le in texts],
        np.concatenate([counts_at_most(limits, h, schema) for h in found.histograms]),
        np.repeat([h.present for h in found.histograms], len(bounds), axis=0),
    )
