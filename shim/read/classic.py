"""Classic names of a distribution: `x_bucket{le}` out of the stored buckets.

`x_count` and `x_sum` are counters: counters.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shim import labels as lb
from shim.eval.histogram.classic import classic_buckets
from shim.matching import Matcher
from shim.values import Bools, Floats, Vector


def bucket_series(
    histograms: Vector, le_matchers: Sequence[Matcher], check_cells: Callable[[int], None]
) -> Vector:
    """One float series for every boundary of every histogram: how many observations were at or below it.

    The histograms have buckets of CLASSIC_SCHEMA. The boundaries are those of all histograms together, so
    that sums by `le` are those of the merged one.
    `check_cells` is asked whether so many values may be held.
    """
    labels: list[lb.Labels] = []
    values: list[Floats] = []
    present: list[Bools] = []
    bounds, counts = classic_buckets(histograms.histograms, reduced=True)
    shown = [(k, le) for k, le in enumerate(map(le_text, bounds.tolist())) if _matches(le, le_matchers)]
    check_cells(len(counts) * len(bounds) * histograms.steps)
    for of, h, cumulative in zip(histograms.histogram_labels, histograms.histograms, counts, strict=True):
        for k, le in shown:
            labels.append(lb.make({**dict(of), "le": le}))
            values.append(cumulative[k])
            present.append(h.present)
    if not labels:
        return Vector.empty(histograms.steps)
    return Vector(histograms.steps, labels, np.stack(values), np.stack(present))


def _matches(le: str, le_matchers: Sequence[Matcher]) -> bool:
    return all(m.matches(le) for m in le_matchers)


def le_text(bound: float) -> str:
    """A boundary as Prometheus 3.x writes it: `1.0`, `0.5`, `+Inf`."""
    return "+Inf" if np.isposinf(bound) else repr(bound)
