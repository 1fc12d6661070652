"""A vector with a scalar, on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.merge import merged, without_empty_rows
from shim.eval.operators.floats import ARITHMETIC
from shim.eval.operators.pairs import Row, float_pairs, histogram_pair
from shim.model.labels import Labels, dropping_name
from shim.model.values import Annotations, Floats, Histogram, Scalar, Vector


def with_scalar(
    op: str, vector: Vector, scalar: Scalar, return_bool: bool, notes: Annotations, *, swapped: bool
) -> Vector:
    """Compute `vector op scalar`, or the reverse when swapped; a comparison shows the vector's value."""
    other = np.broadcast_to(scalar.values, vector.values.shape)
    left, right = (other, vector.values) if swapped else (vector.values, other)
    values, present = float_pairs(
        op, left, right, vector.present, keep=vector.values, return_bool=return_bool
    )
    result = replace(vector, values=values, present=present, ordered=False)
    result = _histograms(op, result, scalar.values, return_bool, notes, swapped=swapped)
    if op not in ARITHMETIC and not return_bool:
        return without_empty_rows(result)
    return merged(
        replace(
            result,
            labels=[dropping_name(one) for one in result.labels],
            histogram_labels=[dropping_name(one) for one in result.histogram_labels],
        )
    )


def _histograms(
    op: str, vector: Vector, scalar: Floats, return_bool: bool, notes: Annotations, *, swapped: bool
) -> Vector:
    """Apply the operator to the vector's histograms; undefined results are left out."""
    labels: list[Labels] = []
    kept: list[Histogram] = []
    names: Sequence[Labels] = vector.histogram_labels
    everywhere = np.ones(vector.steps, dtype=bool)
    for name, histogram in zip(names, vector.histograms, strict=True):
        row, other = Row(scalar, histogram.present, histogram), Row(scalar, everywhere)
        left, right = (other, row) if swapped else (row, other)
        result = histogram_pair(op, left, right, return_bool=return_bool, notes=notes)
        if result is not None and result.histogram is not None:
            labels.append(name)
            kept.append(result.histogram)
    return replace(vector, histogram_labels=labels, histograms=kept)
