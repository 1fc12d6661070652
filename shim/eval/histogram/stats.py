"""Mean and spread of native histograms. Pure.

Source: Prometheus 3.x histogram_avg, histogram_stdvar.
"""

from __future__ import annotations

import numpy as np

from shim.eval.histogram.buckets import bucket_table
from shim.eval.histogram.step_slices import map_steps
from shim.eval.numerics import compensated_sum
from shim.model.values import Floats, Histogram


def mean(h: Histogram) -> Floats:
    """Divide the sum by the count; NaN without observations."""
    with np.errstate(all="ignore"):
        return h.sum / h.count


def variance(h: Histogram) -> Floats:
    """Estimate the population variance: every observation at the geometric mean of its bucket."""
    return map_steps(h, lambda _, part: _variance(part))


def _variance(h: Histogram) -> Floats:
    table = bucket_table(h)
    with np.errstate(all="ignore"):
        delta = table.centers[None, :] - mean(h)[:, None]
        weighted = np.where(table.counts == 0, 0.0, table.counts * delta * delta)
        return compensated_sum(weighted) / h.count
