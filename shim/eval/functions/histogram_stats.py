"""histogram_count, _sum, _avg, _stddev, _stdvar: numbers of native histograms; floats are dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shim.eval.functions.signature import CallContext, Function, vector_of
from shim.eval.histogram import stats
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.values import Floats, Histogram, Value, Vector


def _of(name: str, compute: Callable[[Histogram], Floats]) -> Function:
    def apply(_context: CallContext, args: Sequence[Value]) -> Value:
        vector = vector_of(args[0])
        if not vector.histograms:
            return Vector.empty(vector.steps)
        values = np.array([compute(h) for h in vector.histograms])
        present = np.array([h.present for h in vector.histograms])
        numbers = Vector(vector.steps, vector.histogram_labels, values, present)
        return relabelled(numbers, lbl.dropping_name)

    return Function(name, ("vector",), "vector", apply)


FUNCTIONS = (
    _of("histogram_count", lambda h: h.count),
    _of("histogram_sum", lambda h: h.sum),
    _of("histogram_avg", stats.mean),
    _of("histogram_stddev", lambda h: np.sqrt(stats.variance(h))),
    _of("histogram_stdvar", stats.variance),
)
