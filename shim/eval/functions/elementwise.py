"""Functions of one number: abs to atanh, deg, rad, round, sgn. They drop histograms and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shim.eval.functions.signature import CallContext, Function, scalar_of, vector_of, with_values
from shim.model.values import Floats, Value


def _of(name: str, compute: Callable[[Floats], Floats]) -> Function:
    def apply(_context: CallContext, args: Sequence[Value]) -> Value:
        vector = vector_of(args[0])
        with np.errstate(all="ignore"):
            return with_values(vector, compute(vector.values))

    return Function(name, ("vector",), "vector", apply)


def _round(_context: CallContext, args: Sequence[Value]) -> Value:
    """Round to the nearest multiple, ties up; by the inverse, as Prometheus does, to lose less precision."""
    vector = vector_of(args[0])
    with np.errstate(all="ignore"):
        inverse = 1.0 / (scalar_of(args[1]) if len(args) > 1 else np.ones(vector.steps))
        return with_values(vector, np.floor(vector.values * inverse + 0.5) / inverse)


FUNCTIONS = (
    _of("abs", np.abs),
    _of("ceil", np.ceil),
    _of("floor", np.floor),
    _of("exp", np.exp),
    _of("sqrt", np.sqrt),
    _of("ln", np.log),
    _of("log2", np.log2),
    _of("log10", np.log10),
    _of("sgn", np.sign),
    _of("sin", np.sin),
    _of("cos", np.cos),
    _of("tan", np.tan),
    _of("asin", np.arcsin),
    _of("acos", np.arccos),
    _of("atan", np.arctan),
    _of("sinh", np.sinh),
    _of("cosh", np.cosh),
    _of("tanh", np.tanh),
    _of("asinh", np.arcsinh),
    _of("acosh", np.arccosh),
    _of("atanh", np.arctanh),
    _of("deg", lambda v: v * 180 / np.pi),
    _of("rad", lambda v: v * np.pi / 180),
    Function("round", ("vector", "scalar"), "vector", _round, optional=1),
)
