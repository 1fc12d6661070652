"""clamp, clamp_min, clamp_max."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.functions.signature import Context, Function, scalar_of, vector_of, with_values
from shim.eval.merge import without_empty_rows
from shim.values import Value


def _clamp(_context: Context, args: Sequence[Value]) -> Value:
    """Between both bounds; nothing at steps where they cross."""
    vector, low, high = vector_of(args[0]), scalar_of(args[1]), scalar_of(args[2])
    possible = ~(high < low)
    bounded = np.maximum(low, np.minimum(high, vector.values))
    kept = replace(vector, present=vector.present & possible)
    return without_empty_rows(with_values(kept, bounded))


def _clamp_min(_context: Context, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    return with_values(vector, np.maximum(scalar_of(args[1]), vector.values))


def _clamp_max(_context: Context, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    return with_values(vector, np.minimum(scalar_of(args[1]), vector.values))


FUNCTIONS = (
    Function("clamp", ("vector", "scalar", "scalar"), "vector", _clamp),
    Function("clamp_min", ("vector", "scalar"), "vector", _clamp_min),
    Function("clamp_max", ("vector", "scalar"), "vector", _clamp_max),
)
