"""Classic `le` buckets out of native histograms, for dashboards written for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shim.eval.histogram.bounds import upper_bounds
from shim.eval.histogram.merging import common_range, trimmed, widened
from shim.eval.histogram.schema import reduced_spans
from shim.values import Floats, Histogram

CLASSIC_SCHEMA: Final = 2
"""Boundaries at 2^(i/4)."""


def classic_buckets(
    histograms: Sequence[Histogram], schema: int = CLASSIC_SCHEMA, *, reduced: bool = False
) -> tuple[Floats, list[Floats]]:
    """Upper bounds (ascending, the last +Inf), and for each histogram the cumulative counts, (bounds, steps).

    All histograms get the same bounds, so that adding up what has one `le` is right: those of `schema`
    between the lowest and the highest observation of any, exact, since each of them is one of schema 5, too.
    Negative observations count at their own bounds, `le="0"` stands where there are negative ones or zeros.
    `reduced`: the histograms' buckets are those of `schema` already.
    """
    above = [trimmed(h.positive) for h in histograms]
    below = [trimmed(h.negative) for h in histograms]
    if not reduced:
        above = [reduced_spans(spans, schema) for spans in above]
        below = [reduced_spans(spans, schema) for spans in below]
    up_first, up_width = common_range(above)
    down_first, down_width = common_range(below)
    up = np.arange(up_first, up_first + up_width, dtype=np.int64)
    down = np.arange(down_first, down_first + down_width, dtype=np.int64)[::-1]
    with_zero = bool(down_width) or any(h.zero.any() for h in histograms)
    bounds = [-upper_bounds(down - 1, schema)] if down_width else []
    if with_zero:
        bounds.append(np.zeros(1))
    elif up_width:  # one empty bucket below, so that interpolation starts at the lowest boundary
        bounds.append(upper_bounds(up[:1] - 1, schema))
    bounds += [upper_bounds(up, schema), np.array([np.inf])]
    counts = []
    for h, positive, negative in zip(histograms, above, below, strict=True):
        parts = [widened(negative, down_first, down_width)[:, ::-1]]
        if with_zero or up_width:
            parts.append((h.zero if with_zero else np.zeros(len(h.count)))[:, None])
        parts.append(widened(positive, up_first, up_width))
        cumulative = np.cumsum(np.concatenate(parts, axis=1), axis=1).T
        counts.append(np.concatenate([cumulative, h.count[None, :]]))
    return np.concatenate(bounds), counts
