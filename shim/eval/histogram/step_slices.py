"""A histogram in slices of steps: tables of all its buckets take several times its own memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from shim.model.values import Bools, Floats, Histogram, Spans

#: Bucket counts of one slice: 2 MiB.
_TURN: Final = 1 << 18


def slices_of_steps(h: Histogram) -> Iterator[tuple[slice, Histogram]]:
    """Yield slices of its steps, at least one."""
    steps = len(h.count)
    buckets = h.positive.counts.shape[1] + h.negative.counts.shape[1] + 1
    width = max(1, _TURN // buckets)
    if steps <= width:
        yield slice(0, steps), h
        return
    for first in range(0, steps, width):
        some = slice(first, min(first + width, steps))
        yield some, at_steps(h, some)


def at_steps(h: Histogram, some: slice) -> Histogram:
    """Return the histogram at some of its steps, as a view."""
    return Histogram(
        h.present[some],
        h.count[some],
        h.sum[some],
        h.zero[some],
        Spans(h.positive.indices, h.positive.counts[some]),
        Spans(h.negative.indices, h.negative.counts[some]),
        None if h.low is None else h.low[some],
        None if h.high is None else h.high[some],
    )


def map_steps(h: Histogram, compute: Callable[[slice, Histogram], Floats]) -> Floats:
    """Compute one number per step (or a row of them, steps last), some steps at once."""
    return np.concatenate([compute(some, part) for some, part in slices_of_steps(h)], axis=-1)


Flagged = tuple[Floats, Bools, Bools]


def map_steps_flagged(h: Histogram, compute: Callable[[slice, Histogram], Flagged]) -> Flagged:
    """Compute as `map_steps` does, with two flags per step."""
    values, first, second = zip(*(compute(some, part) for some, part in slices_of_steps(h)), strict=True)
    return np.concatenate(values), np.concatenate(first), np.concatenate(second)
