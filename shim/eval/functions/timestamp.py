"""timestamp: when the sample was taken, in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim import labels as lbl
from shim.eval.functions.signature import Context, Function, vector_of
from shim.eval.merge import relabelled
from shim.values import Value, Vector


def _timestamp(context: Context, args: Sequence[Value]) -> Value:
    """The context's sample times where the argument is a selector, else (and for histograms) the step's."""
    vector = vector_of(args[0])
    steps = context.grid.times_ms
    floats = context.sample_times_ms
    if floats is None:
        floats = np.broadcast_to(steps, vector.present.shape)
    times, present = [floats / 1000], [vector.present]
    for histogram in vector.histograms:
        times.append(steps[None, :] / 1000)
        present.append(histogram.present[None, :])
    labels = [*vector.labels, *vector.histogram_labels]
    timed = Vector(vector.steps, labels, np.concatenate(times), np.concatenate(present))
    return relabelled(timed, lbl.without_name)


FUNCTIONS = (Function("timestamp", ("vector",), "vector", _timestamp),)
