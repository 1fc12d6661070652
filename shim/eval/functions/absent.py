"""absent: 1 where there are no series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.functions.signature import CallContext, Function, vector_of
from shim.model import labels as lb
from shim.model.values import Bools, Value, Vector


def _absent(context: CallContext, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    there: Bools = np.asarray(vector.present.any(axis=0))
    for histogram in vector.histograms:
        there = there | histogram.present
    if there.all():
        return Vector.empty(vector.steps)
    labels = lb.make((context.naming.inside(name), value) for name, value in context.absent_labels)
    return Vector(vector.steps, [labels], np.ones((1, vector.steps)), ~there[None, :])


FUNCTIONS = (Function("absent", ("vector",), "vector", _absent),)
