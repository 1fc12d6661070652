"""Classic names of a distribution: `x_bucket{le}` out of the stored buckets.

`x_count` and `x_sum` are counters: counters.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim import labels as lb
from shim.eval.histogram.classic import classic_buckets
from shim.matching import Matcher
from shim.values import Bools, Floats, Vector


def bucket_series(histograms: Vector, le_matchers: Sequence[Matcher]) -> Vector:
    """One float series for every boundary of every histogram: how many observations were at or below it."""
    labels: list[lb.Labels] = []
    values: list[Floats] = []
    present: list[Bools] = []
    for of, h in zip(histograms.histogram_labels, histograms.histograms, strict=True):
        bounds, counts = classic_buckets(h)
        for bound, row in zip(bounds.tolist(), counts, strict=True):
            le = le_text(bound)
            if all(m.matches(le) for m in le_matchers):
                labels.append(lb.make({**dict(of), "le": le}))
                values.append(row)
                present.append(h.present)
    if not labels:
        return Vector.empty(histograms.steps)
    return Vector(histograms.steps, labels, np.stack(values), np.stack(present))


def le_text(bound: float) -> str:
    """A boundary as Prometheus 3.x writes it: `1.0`, `0.5`, `+Inf`."""
    return "+Inf" if np.isposinf(bound) else repr(bound)
