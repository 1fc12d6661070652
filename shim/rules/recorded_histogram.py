"""The native histograms that recording rules yield, each at one tick. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.model.messages import format_labels
from shim.model.values import Histogram, Samples, Scalar, Spans, String, Vector

#: Index and count of the buckets of one side that have observations, ascending.
Buckets = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class RecordedHistogram:
    """Counts are weights. `low` and `high` are the extremes, None where only the buckets are known."""

    sum: float
    zero: float
    positive: Buckets
    negative: Buckets
    low: float | None = None
    high: float | None = None


def histogram_vector(
    value: Scalar | String | Vector | Samples,
) -> Sequence[tuple[Labels, RecordedHistogram]]:
    """Return the histograms of a query's value but for empty ones. Raises ExecutionError if it has others."""
    if not isinstance(value, Vector) or value.present.any():
        raise ExecutionError("the result has numbers: expected native histograms, as the label __type__ says")
    found = [
        (labels, _recorded(labels, one))
        for labels, one in zip(value.histogram_labels, value.histograms, strict=True)
        if one.present[0]
    ]
    return [(labels, one) for labels, one in found if one.zero or one.positive or one.negative]


def _recorded(labels: Labels, of: Histogram) -> RecordedHistogram:
    counts = np.concatenate([of.zero[:1], of.sum[:1], of.positive.counts[0], of.negative.counts[0]])
    counts[1] = 0.0 if np.isfinite(counts[1]) else np.nan
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ExecutionError(
            f"the histogram of {format_labels(labels)} has counts that are negative or not finite:"
            " expected those of observations, as increase() returns"
        )
    low, high = _extreme(of.low), _extreme(of.high)
    if low is None or high is None:
        low = high = None
    sides = _buckets(of.positive), _buckets(of.negative)
    return RecordedHistogram(float(of.sum[0]), float(of.zero[0]), *sides, low, high)


def _buckets(of: Spans) -> Buckets:
    """Return the buckets that have observations."""
    pairs = zip(of.indices.tolist(), of.counts[0].tolist(), strict=True)
    return [(index, count) for index, count in pairs if count]


def _extreme(values: np.ndarray[tuple[int], np.dtype[np.float64]] | None) -> float | None:
    return None if values is None or not np.isfinite(values[0]) else float(values[0])
