"""Small grids by hand: how the tests of shim/eval write their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shim.eval.histogram.merging import combine, empty_histogram
from shim.eval.merge import relabelled
from shim.model.labels import Labels, final_labels, make
from shim.model.values import Floats, Histogram, Samples, Scalar, Spans, Vector

Cell = float | None
NAN = math.nan
INF = math.inf


def labels(text: str) -> Labels:
    """`name{a=1,b=x}` without quotes, the name and the braces optional."""
    name, _, rest = text.partition("{")
    pairs = [pair.partition("=") for pair in rest.rstrip("}").split(",") if pair]
    return make([("__name__", name), *((k.strip(), v) for k, _, v in pairs)])


def vector(rows: Mapping[str, Sequence[Cell]], histograms: Mapping[str, Histogram] | None = None) -> Vector:
    """Floats by label text, None where absent; histograms by label text."""
    own = histograms or {}
    steps = len(next(iter(rows.values()))) if rows else len(next(iter(own.values())).present)
    cells = list(rows.values())
    return Vector(
        steps,
        [labels(text) for text in rows],
        np.array([[NAN if c is None else c for c in row] for row in cells]).reshape(len(rows), steps),
        np.array([[c is not None for c in row] for row in cells], dtype=bool).reshape(len(rows), steps),
        [labels(text) for text in own],
        list(own.values()),
    )


def shown(vector: Vector) -> Vector:
    """Return the vector as an answer shows it: without the names that were to go."""
    return relabelled(vector, final_labels)


def rows(value: object) -> dict[Labels, list[Cell]]:
    """Return a vector's floats by label set as an answer shows it, None where absent."""
    assert isinstance(value, Vector)
    value = shown(value)
    return {
        name: [float(v) if p else None for v, p in zip(values, present, strict=True)]
        for name, values, present in zip(value.labels, value.values, value.present, strict=True)
    }


def texts(found: Mapping[str, Sequence[Cell]]) -> dict[Labels, list[Cell]]:
    """Return the values that `rows` should give, by label text."""
    return {labels(text): list(cells) for text, cells in found.items()}


def scalar(*values: float) -> Scalar:
    return Scalar(np.array(values, dtype=np.float64))


def samples(series: Mapping[str, Sequence[tuple[float, float]]]) -> Samples:
    """Series of (seconds, value)."""
    flat = [point for points in series.values() for point in points]
    return Samples(
        [labels(text) for text in series],
        np.concatenate([[0], np.cumsum([len(points) for points in series.values()])]).astype(np.int64),
        np.array([round(t * 1000) for t, _ in flat], dtype=np.int64),
        np.array([v for _, v in flat], dtype=np.float64),
    )


def histogram(*steps: Sequence[float] | None) -> Histogram:
    """One histogram series from raw observations per step; None where absent."""
    parts = [_observed(step, i, len(steps)) for i, step in enumerate(steps) if step is not None]
    if not parts:
        return empty_histogram(len(steps))
    return combine(parts)


def bucket_index(value: float) -> int:
    """Return the schema-5 bucket of a positive value, by search in exact bounds."""
    index = math.ceil(math.log2(value) * 32)
    while bound(index - 1) >= value:
        index -= 1
    while bound(index) < value:
        index += 1
    return index


def bound(index: int) -> float:
    return math.ldexp(2.0 ** ((index % 32) / 32), index // 32)


def _observed(values: Sequence[float], at: int, steps: int) -> Histogram:
    present = np.zeros(steps, dtype=bool)
    present[at] = True

    def only(x: float) -> Floats:
        out = np.zeros(steps)
        out[at] = x
        return out

    def spans(magnitudes: Sequence[float]) -> Spans:
        if not magnitudes:
            return Spans.empty(steps)
        found = [bucket_index(v) for v in magnitudes]
        counts = np.zeros((steps, max(found) - min(found) + 1))
        for index in found:
            counts[at, index - min(found)] += 1
        return Spans.dense(min(found), counts)

    return Histogram(
        present,
        only(len(values)),
        only(math.fsum(values)),
        only(sum(v == 0 for v in values)),
        spans([v for v in values if v > 0]),
        spans([-v for v in values if v < 0]),
    )
