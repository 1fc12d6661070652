"""clamp, clamp_min, clamp_max.

Source: Prometheus 3.x funcClamp, on Go's math.Max and math.Min: NaN passes, except past an infinity that no
other number can pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.functions.signature import CallContext, Function, scalar_of, vector_of, with_values
from shim.eval.merge import without_empty_rows
from shim.model.values import Floats, Value


def _larger(a: Floats, b: Floats) -> Floats:
    return np.where((a == np.inf) | (b == np.inf), np.inf, np.maximum(a, b))


def _smaller(a: Floats, b: Floats) -> Floats:
    return np.where((a == -np.inf) | (b == -np.inf), -np.inf, np.minimum(a, b))


def _clamp(_context: CallContext, args: Sequence[Value]) -> Value:
    """Clamp between both bounds; give no value at steps where they cross."""
    vector, low, high = vector_of(args[0]), scalar_of(args[1]), scalar_of(args[2])
    possible = ~(high < low)
    bounded = _larger(low, _smaller(high, vector.values))
    kept = replace(vector, present=vector.present & possible)
    return without_empty_rows(with_values(kept, bounded))


def _clamp_min(_context: CallContext, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    return with_values(vector, _larger(scalar_of(args[1]), vector.values))


def _clamp_max(_context: CallContext, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    return with_values(vector, _smaller(scalar_of(args[1]), vector.values))


FUNCTIONS = (
    Function("clamp", ("vector", "scalar", "scalar"), "vector", _clamp),
    Function("clamp_min", ("vector", "scalar"), "vector", _clamp_min),
    Function("clamp_max", ("vector", "scalar"), "vector", _clamp_max),
)
