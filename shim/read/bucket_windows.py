"""Makes buckets per step from buckets per cell, a part of them at once to bound the memory. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from shim.eval.budget import Take
from shim.model.values import Floats, Ints, Spans
from shim.read.window_plan import WindowPlan

#: Writes the counts of some of the buckets into (buckets, cells) of zeros.
Fill = Callable[[slice, Floats], None]
#: Numbers of one turn: 8 MiB, of which sliding windows make a few copies.
_TURN: Final = 1 << 20


def spans_of(indices: Ints, reading: WindowPlan, fill: Fill, take: Take) -> Spans:
    """Return the buckets `indices` (ascending) of one key over the windows of a plan. Raises QueryError."""
    steps = len(reading.end)
    if not len(indices):
        return Spans.empty(steps)
    take(len(indices) * steps)
    counts = np.zeros((steps, len(indices)))
    width = max(1, _TURN // max(1, reading.cells, steps))
    for first in range(0, len(indices), width):
        some = slice(first, min(first + width, len(indices)))
        cells = np.zeros((some.stop - some.start, reading.cells))
        fill(some, cells)
        counts[:, some] = reading.sums(cells).T
        take(0)
    return Spans(indices, counts)
