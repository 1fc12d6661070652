"""absent: 1 where there is no series at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.functions.signature import Context, Function, vector_of
from shim.labels import Labels
from shim.values import Bools, Value, Vector


def _absent(context: Context, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    there: Bools = np.asarray(vector.present.any(axis=0))
    for histogram in vector.histograms:
        there = there | histogram.present
    return absent_vector(~there, context.absent_labels)


def absent_vector(missing: Bools, labels: Labels) -> Vector:
    """One series of value 1 where `missing`, (steps,); no series when that is nowhere."""
    if not missing.any():
        return Vector.empty(len(missing))
    return Vector(len(missing), [labels], np.ones((1, len(missing))), missing[None, :])


FUNCTIONS = (Function("absent", ("vector",), "vector", _absent),)
