"""and, or, unless: on the presence of signatures at each step; values pass unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shim.eval.histogram.merging import where_present
from shim.eval.merge import merged, without_empty_rows
from shim.eval.operators.matching import Matching, Operand, sides
from shim.model.values import Bools, Vector


def combine_sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """Compute `left op right` for a set operator.

    Raises: ExecutionError when `or` gives a label set twice.
    """
    a, b, signatures = sides(left, right, matching)
    if op == "and":
        return without_empty_rows(_kept(a, b.signatures_present(len(signatures))))
    if op == "unless":
        return without_empty_rows(_kept(a, ~b.signatures_present(len(signatures))))
    missing = ~a.signatures_present(len(signatures))
    return merged(without_empty_rows(_together(left, _kept(b, missing))))


def _kept(side: Operand, allowed: Bools) -> Vector:
    """Return the operand's series where their signature is allowed, shape `(signatures, steps)`."""
    vector = replace(side.vector, ordered=False)
    here = allowed[side.signatures]
    return replace(
        vector,
        present=vector.present & here[: side.floats],
        histograms=[
            where_present(h, ok) for h, ok in zip(vector.histograms, here[side.floats :], strict=True)
        ],
    )


def _together(left: Vector, right: Vector) -> Vector:
    return Vector(
        left.steps,
        [*left.labels, *right.labels],
        np.concatenate([left.values, right.values]),
        np.concatenate([left.present, right.present]),
        [*left.histogram_labels, *right.histogram_labels],
        [*left.histograms, *right.histograms],
    )
