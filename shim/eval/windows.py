"""Which samples lie in which window, and windows as dense blocks of bounded size. Pure.

A window is left-open, `(t - width, t]` (Prometheus 3.x). A cell is one series at one step; the samples of a
cell are a slice `[begin, end)` of the flat arrays of `Samples`. What can be told from a slice's ends is told
from them; for the rest `blocks` gathers the slices of many cells into arrays of (cells, longest window), so
that a function reduces along the last axis, without a step per sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.values import Bools, Floats, Ints, Samples

BLOCK_SAMPLES: Final = 1 << 16
"""Elements of one gathered array: 512 KiB of floats stay in a core's cache (measured: a third faster than
8 MiB). A single longer window makes a block of its own."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Where the samples of each cell begin and end in the flat arrays, both (series, steps)."""

    begin: Ints
    end: Ints

    @property
    def counts(self) -> Ints:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Block:
    """Some slices as dense arrays, (cells, length); `valid` is false behind a slice's end."""

    cells: Ints  # (cells,) which of the slices asked for
    index: Ints  # places in the flat arrays; invalid ones repeat the first
    valid: Bools
    count: Ints  # (cells,)

    def values(self, flat: Floats) -> Floats:
        """The samples of a flat array; garbage where not valid."""
        return flat[self.index]

    def padded(self, flat: Floats) -> Floats:
        """The samples of a flat array, 0 where not valid."""
        return np.where(self.valid, flat[self.index], 0.0)

    def marked(self, flat: Floats) -> Floats:
        """The samples of a flat array, NaN where not valid."""
        return np.where(self.valid, flat[self.index], np.nan)


def slices(samples: Samples, ends_ms: Ints, width_ms: int) -> Slices:
    """The samples in `(end - width, end]` of every series and every end."""
    n = len(samples.labels)
    shape = (n, len(ends_ms))
    if len(samples.times_ms) == 0 or n == 0:
        return Slices(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))
    origin = int(samples.times_ms.min()) - 1
    span = int(samples.times_ms.max()) - origin + 1
    base = np.arange(n, dtype=np.int64) * span
    # One sorted key for all series, of series number and time: one binary search serves all of them.
    keys = np.repeat(base, np.diff(samples.offsets)) + (samples.times_ms - origin)

    def upto(times_ms: Ints) -> Ints:
        wanted = base[:, None] + np.clip(times_ms - origin, 0, span - 1)[None, :]
        return np.searchsorted(keys, wanted, side="right").astype(np.int64)

    return Slices(upto(ends_ms - width_ms), upto(ends_ms))


def blocks(begin: Ints, end: Ints, *, limit: int = BLOCK_SAMPLES) -> Iterator[Block]:
    """The slices `[begin, end)`, all of at least one sample, in blocks of at most `limit` gathered elements.

    Slices of like length go together, so that one long window does not stretch many short ones: at most
    about half of a block is padding. Every slice comes once, in no promised order.
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


def _block_end(lengths: Ints, at: int, limit: int) -> int:
    """The furthest end such that the block fits and its slices are at most twice as long as its first."""
    to = int(np.searchsorted(lengths, 2 * lengths[at] + 8, side="right"))
    while to > at + 1 and (to - at) * int(lengths[to - 1]) > limit:
        to = at + max(1, min((to - at) // 2, limit // int(lengths[at])))
    return to
