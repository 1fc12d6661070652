"""The samples of each window, and windows as dense blocks of bounded size. Pure.

A window is left-open, `(t - width, t]` (Prometheus 3.x). A cell is one series at one step; its samples are a
slice `[begin, end)` of the flat arrays of `Samples`. Functions use a slice's ends alone where these suffice.
Otherwise `blocks` gathers the slices of many cells into arrays of (cells, longest window). A function then
reduces along the last axis, without a Python step per sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.eval.budget import Take, free
from shim.model.values import Bools, Floats, Ints, Samples

BLOCK_SAMPLES: Final = 1 << 16
"""Elements of one gathered array: 512 KiB of floats stay in a core's cache (measured: a third faster than
8 MiB). A single longer window makes a block of its own."""

#: Slices whose extremes are found together.
_NEIGHBOURS: Final = 1 << 13
#: The cost of gathering a sample, in passes over it.
_GATHERED: Final = 6


@dataclass(frozen=True, slots=True)
class Slices:
    """The slice of each cell's samples in the flat arrays, both `(series, steps)`."""

    begin: Ints
    end: Ints

    @property
    def counts(self) -> Ints:
        """The number of samples of each cell."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Block:
    """Some slices as dense arrays, `(cells, length)`; `valid` is false after a slice's end."""

    cells: Ints  # (cells,) the number of the slice
    index: Ints  # places in the flat arrays; invalid ones repeat the first
    valid: Bools
    count: Ints  # (cells,)

    def values(self, flat: Floats) -> Floats:
        """Return the samples of a flat array; arbitrary where not valid."""
        return flat[self.index]

    def padded(self, flat: Floats) -> Floats:
        """Return the samples of a flat array, 0 where not valid."""
        return np.where(self.valid, flat[self.index], 0.0)

    def marked(self, flat: Floats) -> Floats:
        """Return the samples of a flat array, NaN where not valid."""
        return np.where(self.valid, flat[self.index], np.nan)


def slices(samples: Samples, ends_ms: Ints, width_ms: int) -> Slices:
    """Return the samples in `(end - width, end]` of every series and every end."""
    n = len(samples.labels)
    shape = (n, len(ends_ms))
    if len(samples.times_ms) == 0 or n == 0:
        return Slices(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))
    if samples.upto is not None:
        first = samples.offsets[:-1, None]
        return Slices(first + samples.upto(ends_ms - width_ms), first + samples.upto(ends_ms))
    origin = int(samples.times_ms.min()) - 1
    span = int(samples.times_ms.max()) - origin + 1
    base = np.arange(n, dtype=np.int64) * span
    # One sorted key of series number and time, so that one binary search serves all series.
    keys = np.repeat(base, np.diff(samples.offsets)) + (samples.times_ms - origin)

    def upto(times_ms: Ints) -> Ints:
        wanted = base[:, None] + np.clip(times_ms - origin, 0, span - 1)[None, :]
        return np.searchsorted(keys, wanted, side="right").astype(np.int64)

    return Slices(upto(ends_ms - width_ms), upto(ends_ms))


def blocks(begin: Ints, end: Ints, *, limit: int = BLOCK_SAMPLES) -> Iterator[Block]:
    """Yield the slices `[begin, end)`, each of at least one sample, in blocks of at most `limit` elements.

    Slices of similar length go together, so that one long window does not pad many short ones: at most about
    half of a block is padding. Every slice occurs once, in no defined order.
    """
    counts = end - begin
    cells = np.arange(len(begin), dtype=np.int64)
    if len(counts) and counts.min() != counts.max():
        cells = np.argsort(counts, kind="stable")
    lengths = counts[cells]
    at = 0
    while at < len(cells):
        to = _block_end(lengths, at, limit)
        chosen, count = cells[at:to], lengths[at:to]
        places = np.arange(int(count[-1]), dtype=np.int64)
        valid = places[None, :] < count[:, None]
        yield Block(chosen, begin[chosen][:, None] + np.where(valid, places[None, :], 0), valid, count)
        at = to


def extremes(flat: Floats, begin: Ints, end: Ints, op: np.ufunc, take: Take = free) -> Floats:
    """Reduce slices of at least one sample by `op` (fmin or fmax), without a step per sample.

    Neighbours are reduced together, so that shared data stays in a core's cache.
    """
    out = np.empty(len(begin))
    for at in range(0, len(begin), _NEIGHBOURS):
        take(0)
        some = slice(at, at + _NEIGHBOURS)
        out[some] = _extremes(flat, begin[some], end[some], op)
    return out


def _extremes(flat: Floats, begin: Ints, end: Ints, op: np.ufunc) -> Floats:
    """Build ranges of 1, 2, 4, ... samples by doubling; a slice is two of them that overlap.

    Slices with few samples in all are gathered instead.
    """
    counts = end - begin
    levels = np.frexp(counts)[1] - 1  # the largest power of two that fits
    first, last = int(begin.min()), int(end.max())
    if _GATHERED * counts.sum() < (int(levels.max()) + 1) * (last - first):
        return _gathered(flat, begin, end, op)
    out = np.empty(len(counts))
    power = flat[first:last]
    for level in range(int(levels.max()) + 1):
        if level:
            half = 1 << (level - 1)
            power = op(power[:-half], power[half:])
        at = np.flatnonzero(levels == level)
        if len(at):
            out[at] = op(power[begin[at] - first], power[end[at] - first - (1 << level)])
    return out


def _gathered(flat: Floats, begin: Ints, end: Ints, op: np.ufunc) -> Floats:
    out = np.empty(len(begin))
    for block in blocks(begin, end):
        out[block.cells] = op.reduce(block.marked(flat), axis=-1)
    return out


def _block_end(lengths: Ints, at: int, limit: int) -> int:
    """Return the furthest end at which the block fits and no slice is over twice as long as its first."""
    to = int(np.searchsorted(lengths, 2 * lengths[at] + 8, side="right"))
    while to > at + 1 and (to - at) * int(lengths[to - 1]) > limit:
        to = at + max(1, min((to - at) // 2, limit // int(lengths[at])))
    return to
