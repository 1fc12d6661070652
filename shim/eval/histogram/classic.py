"""Classic `le` buckets out of native histograms, for dashboards written for them. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.eval.histogram.bounds import span_indices, upper_bounds
from shim.eval.histogram.merging import trimmed
from shim.eval.histogram.schema import reduced_spans
from shim.values import Floats, Histogram

CLASSIC_SCHEMA: Final = 2
"""Boundaries at 2^(i/4)."""


def classic_buckets(h: Histogram, schema: int = CLASSIC_SCHEMA) -> tuple[Floats, Floats]:
    """Upper bounds (ascending, the last +Inf) and the cumulative counts at them, (bounds, steps).

    Bounds are those of `schema` between the lowest and the highest observation, exact, since every coarser
    boundary is one of schema 5. Negative observations count at their own bounds, `le="0"` stands where there
    are negative ones or zeros.
    """
    positive, negative = (
        reduced_spans(trimmed(h.positive), schema),
        reduced_spans(trimmed(h.negative), schema),
    )
    up, down = span_indices(positive), span_indices(negative)[::-1]
    bounds, counts = [], []
    if len(down):
        bounds.append(-upper_bounds(down - 1, schema))
        counts.append(negative.counts[:, ::-1])
    if len(down) or h.zero.any():
        bounds.append(np.zeros(1))
        counts.append(h.zero[:, None])
    elif len(up):  # one empty bucket below, so that interpolation starts at the lowest boundary
        bounds.append(upper_bounds(up[:1] - 1, schema))
        counts.append(np.zeros((len(h.count), 1)))
    bounds.append(upper_bounds(up, schema))
    counts.append(positive.counts)
    cumulative = np.cumsum(np.concatenate(counts, axis=1), axis=1).T
    return np.concatenate([*bounds, [np.inf]]), np.concatenate([cumulative, h.count[None, :]])
