"""Parts of one selector side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.merge import concat_vectors, relabelled
from shim.model.values import Samples, Vector


def concatenate(vectors: Sequence[Vector], steps: int) -> Vector:
    """Join the parts of one selector; rows of equal labels become one. Raises ExecutionError on overlap."""
    if len(vectors) == 1 and len(set(vectors[0].labels)) == len(vectors[0].labels):
        only = vectors[0]
        if len(set(only.histogram_labels)) == len(only.histogram_labels):
            return only
    return relabelled(concat_vectors(vectors, steps), lambda labels: labels)


def concatenated(found: Sequence[Samples]) -> Samples:
    """Join the samples of all parts, each series once."""
    if not found:
        empty = np.zeros(0)
        return Samples((), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), empty)
    starts = np.cumsum([0, *(len(s.values) for s in found)])
    offsets = [s.offsets[:-1] + start for s, start in zip(found, starts[:-1], strict=True)]
    return Samples(
        [labels for s in found for labels in s.labels],
        np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        np.concatenate([s.times_ms for s in found]),
        np.concatenate([s.values for s in found]),
        histogram_labels=[labels for s in found for labels in s.histogram_labels],
        histogram_times_ms=[times for s in found for times in s.histogram_times_ms],
        histograms=[h for s in found for h in s.histograms],
    )
