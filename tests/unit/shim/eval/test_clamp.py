"""The clamp functions at the edges of floats, as Go's math.Max and math.Min have them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.model.grid import Grid
from shim.model.values import Annotations, Scalar, Value, Vector

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("function", "value", "bounds", "want"),
    [
        ("clamp", 1.0, (INF, NAN), INF),
        ("clamp", 1.0, (-INF, NAN), NAN),
        ("clamp", -INF, (-INF, NAN), -INF),
        ("clamp", NAN, (0.0, 2.0), NAN),
        ("clamp", 5.0, (0.0, 2.0), 2.0),
        ("clamp_min", NAN, (INF,), INF),
        ("clamp_min", 3.0, (NAN,), NAN),
        ("clamp_max", NAN, (-INF,), -INF),
        ("clamp_max", -INF, (NAN,), -INF),
    ],
)
def test_edges(function: str, value: float, bounds: tuple[float, ...], want: float) -> None:
    vector = Vector(1, [()], np.array([[value]]), np.ones((1, 1), bool))
    args: list[Value] = [vector, *(Scalar(np.array([b])) for b in bounds)]
    found = call(function, args, CallContext(Grid.instant(0), Annotations()))
    assert isinstance(found, Vector)
    np.testing.assert_equal(found.values[0, 0], want)
