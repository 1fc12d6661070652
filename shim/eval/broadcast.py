"""Values of one step repeated over a grid, so that a value that `@` fixes is computed once. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from shim.eval.budget import Take
from shim.model.values import Histogram, Spans, Vector

T = TypeVar("T", bound=np.generic)


def repeated(vector: Vector, steps: int, take: Take) -> Vector:
    """Return the vector over `steps` points; it has one step, or that many already. `take` is asked first."""
    if vector.steps == steps:
        return vector
    take(vector.cells * steps)
    assert vector.steps == 1
    return replace(
        vector,
        steps=steps,
        values=_wide(vector.values, steps),
        present=_wide(vector.present, steps),
        histograms=[repeated_histogram(h, steps) for h in vector.histograms],
    )


def repeated_histogram(h: Histogram, steps: int) -> Histogram:
    """Repeat one histogram series as `repeated` does."""
    if len(h.count) == steps:
        return h
    return Histogram(
        _wide(h.present, steps),
        _wide(h.count, steps),
        _wide(h.sum, steps),
        _wide(h.zero, steps),
        _spans(h.positive, steps),
        _spans(h.negative, steps),
        None if h.low is None else _wide(h.low, steps),
        None if h.high is None else _wide(h.high, steps),
    )


def _wide(values: npt.NDArray[T], steps: int) -> npt.NDArray[T]:
    return np.repeat(values, steps, axis=-1)


def _spans(spans: Spans, steps: int) -> Spans:
    return Spans(spans.indices, np.repeat(spans.counts, steps, axis=0))
