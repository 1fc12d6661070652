"""scalar, vector, time, pi, max_of, min_of: conversions between scalars and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shim.eval.functions.signature import CallContext, Function, scalar_of, vector_of
from shim.model import labels as lbl
from shim.model.values import Floats, Scalar, Value, Vector


def _scalar(_context: CallContext, args: Sequence[Value]) -> Value:
    """Return the value of the only float series at each step; NaN for none or several."""
    vector = vector_of(args[0])
    only = vector.present.sum(axis=0) == 1
    values = np.where(vector.present, vector.values, 0.0)
    with np.errstate(all="ignore"):
        return Scalar(np.where(only, values.sum(axis=0), np.nan))


def _vector(_context: CallContext, args: Sequence[Value]) -> Value:
    values = scalar_of(args[0])
    return Vector(len(values), [lbl.EMPTY], values[None, :], np.ones((1, len(values)), dtype=bool))


def _time(context: CallContext, _args: Sequence[Value]) -> Value:
    return Scalar(context.grid.times_ms / 1000)


def _pi(context: CallContext, _args: Sequence[Value]) -> Value:
    return Scalar(np.full(context.grid.steps, np.pi))


def _max_of(_context: CallContext, args: Sequence[Value]) -> Value:
    return Scalar(extreme_of(scalar_of(args[0]), scalar_of(args[1]), np.maximum, np.inf))


def _min_of(_context: CallContext, args: Sequence[Value]) -> Value:
    return Scalar(extreme_of(scalar_of(args[0]), scalar_of(args[1]), np.minimum, -np.inf))


def extreme_of(a: Floats, b: Floats, pick: Callable[[Floats, Floats], Floats], beats: float) -> Floats:
    """Compare as Go's math.Max and math.Min do: NaN wins, except over the infinity that `beats` it."""
    return np.where((a == beats) | (b == beats), beats, pick(a, b))


FUNCTIONS = (
    Function("scalar", ("vector",), "scalar", _scalar),
    Function("vector", ("scalar",), "vector", _vector),
    Function("time", (), "scalar", _time),
    Function("pi", (), "scalar", _pi),
    Function("max_of", ("scalar", "scalar"), "scalar", _max_of, experimental=True),
    Function("min_of", ("scalar", "scalar"), "scalar", _min_of, experimental=True),
)
