"""Binary operators on any two values. Pure.

Source: Prometheus 3.x `promql/engine.go`.
"""

from __future__ import annotations

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.operators.fill import filled
from shim.eval.operators.floats import ARITHMETIC, COMPARISON, SETS, calculate, compare
from shim.eval.operators.join import join
from shim.eval.operators.matching import NO_FILL, ONE_TO_ONE, Fill, Matching
from shim.eval.operators.scalars import with_scalar
from shim.eval.operators.sets import combine_sets
from shim.model.errors import BadData, Unsupported
from shim.model.label_naming import EXACT, LabelNaming
from shim.model.values import Annotations, Scalar, String, Value, Vector

__all__ = ["NO_FILL", "ONE_TO_ONE", "Fill", "Matching", "binary", "negate"]


def binary(
    op: str,
    left: Value,
    right: Value,
    matching: Matching | None,
    return_bool: bool,
    notes: Annotations,
    naming: LabelNaming = EXACT,
    take: Take = free,
) -> Value:
    """Compute `left op right` at every step.

    `matching` is for two vectors; None means one-to-one on all labels but the name.

    Raises: ExecutionError where series do not match uniquely, BadData for operands that the operator does not
    accept.
    """
    if op not in ARITHMETIC and op not in COMPARISON and op not in SETS:
        raise Unsupported(f"operator {op} is not supported")
    if isinstance(left, String) or isinstance(right, String):
        raise BadData("binary expression must contain only scalar and instant vector types")
    if isinstance(left, Vector) and isinstance(right, Vector):
        matching = (matching or ONE_TO_ONE).meant(naming, left, right)
        if op in SETS:
            return combine_sets(op, left, right, matching)
        if matching.fill != NO_FILL:
            left, right = filled(left, right, matching)
        return join(op, left, right, matching, return_bool, notes, take)
    if op in SETS:
        raise BadData(f'set operator "{op}" not allowed in binary scalar expression')
    if isinstance(left, Vector):
        assert isinstance(right, Scalar)
        return with_scalar(op, left, right, return_bool, notes, swapped=False)
    if isinstance(right, Vector):
        return with_scalar(op, right, left, return_bool, notes, swapped=True)
    if op in COMPARISON:
        return Scalar(compare(op, left.values, right.values).astype(np.float64))
    return Scalar(calculate(op, left.values, right.values))


def negate(value: Value, notes: Annotations) -> Value:
    """Negate a value: a vector loses its name, a histogram changes its signs only."""
    if isinstance(value, String):
        raise BadData("unary expression only allowed on expressions of type scalar or instant vector")
    if isinstance(value, Scalar):
        return Scalar(-value.values)
    return binary("*", value, Scalar(np.full(value.steps, -1.0)), None, False, notes)
