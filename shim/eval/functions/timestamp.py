"""timestamp: the time of the sample in seconds; start_timestamp: the start of its counter.

Samples of a selector have times of their own, which shim/read answers from. A computed value has the time of
its step, here. StatsD clients send no start times, so start_timestamp is empty, as in a Prometheus that
stores none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.functions.signature import CallContext, Function, vector_of
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.values import Value, Vector


def _timestamp(context: CallContext, args: Sequence[Value]) -> Value:
    vector = vector_of(args[0])
    labels = [*vector.labels, *vector.histogram_labels]
    present = [vector.present, *(histogram.present[None, :] for histogram in vector.histograms)]
    seconds = np.broadcast_to(context.grid.times_ms / 1000, (len(labels), vector.steps))
    timed = Vector(vector.steps, labels, seconds, np.concatenate(present))
    return relabelled(timed, lbl.dropping_name)


def _start_timestamp(_context: CallContext, args: Sequence[Value]) -> Value:
    return Vector.empty(vector_of(args[0]).steps)


FUNCTIONS = (
    Function("timestamp", ("vector",), "vector", _timestamp),
    Function("start_timestamp", ("vector",), "vector", _start_timestamp, experimental=True),
)
