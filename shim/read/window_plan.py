"""Plans the reads of windows over delta types: which rows, from which rollups, and how they combine. Pure.

A delta window counts the 10 s buckets that lie wholly in `[t-w, t)` (semantics.md, "Windows"). Reads return
*cells*: sums over intervals, chosen so that every window is a run of cells and few cells are fetched:

* few windows (an instant query): one cell per window, stitched from the coarsest rollups inside and finer
  ones at the edges;
* windows further apart than they are long: one cell per window, the rows between them left out;
* else: cells of the greatest common divisor of step, window and lookback, summed here over sliding runs.

Times are Unix seconds, all multiples of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final

import numpy as np

from indexer.clickhouse.granularities import GRANULARITIES
from shim.eval.sliding_windows import window_any, window_maxima, window_minima, window_sums
from shim.model.grid import Grid
from shim.model.values import Bools, Floats, Ints
from shim.read.saturation import held

#: Seconds of the rollups, the coarsest first.
LEVELS: Final = tuple(sorted((g.seconds for g in GRANULARITIES), reverse=True))
#: Up to this many windows each get a stitched cell of their own.
FEW: Final = 4
#: Cells whose windows are put together at once.
_BLOCK_CELLS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Stitch:
    """Bucket starts in `[lo_s, hi_s)` of the rollup `granularity_s`, all in cell `cell`."""

    granularity_s: int
    lo_s: int
    hi_s: int
    cell: int


@dataclass(frozen=True, slots=True)
class UniformCells:
    """Evenly spaced cells: cell `i` is `[origin_s + i * size_s, origin_s + (i + 1) * size_s)`.

    `keep_s`: only the last `keep_s` seconds of each cell are read (0: all). Of those, `value_s` count for the
    value (0: all), the others only for presence.
    """

    granularity_s: int
    origin_s: int
    size_s: int
    cells: int
    keep_s: int = 0
    value_s: int = 0
    alive_s: int = 0  # 0: any row of the cell says that the series is alive


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The cells to read (`run`, `segments`), and how steps are made of them.

    Arrays have one entry per step. `end` is the exclusive end of a step's run of cells; `special` is a cell
    with the step's whole value, or -1; `alive` is a cell that says whether it is alive, or -1.
    """

    run: UniformCells | None
    segments: tuple[Stitch, ...]
    cells: int  # of run and segments together; those of the run come first
    end: Ints
    asked_end: Ints  # the same before the live edge moved it
    width: int  # cells of a window; 0: everything up to the end (a running total)
    lookback: int  # cells in which a row makes a series alive; 0: the window's own
    special: Ints
    alive: Ints
    base: int  # cell with all that lies before the run, -1 without (running totals)
    snapped_s: int  # granularity that times were snapped to when finer data is gone; 10 otherwise

    @property
    def granularities(self) -> tuple[int, ...]:
        """The rollups that the plan reads."""
        run = () if self.run is None else (self.run.granularity_s,)
        return tuple(sorted({*run, *(s.granularity_s for s in self.segments)}))

    @property
    def oldest_s(self) -> int:
        """The start of the oldest cell."""
        starts = [s.lo_s for s in self.segments] + ([self.run.origin_s] if self.run else [])
        return min(starts)

    # ------------------------------------------------------------ putting together

    def sums(self, cells: Floats) -> Floats:
        """Return sums per step from sums per cell: (..., cells) -> (..., steps), saturated."""
        with np.errstate(over="ignore", invalid="ignore"):
            return held(self._totals(cells) if self.width == 0 else self._slid(cells, window_sums))

    def minima(self, cells: Floats) -> Floats:
        """Return minima per step from minima per cell; NaN where a cell or step has none."""
        return self._running(cells, np.fmin) if self.width == 0 else self._slid(cells, window_minima)

    def maxima(self, cells: Floats) -> Floats:
        """Return maxima per step from maxima per cell; NaN where a cell or step has none."""
        return self._running(cells, np.fmax) if self.width == 0 else self._slid(cells, window_maxima)

    def present(self, rows: Bools, alive: Bools) -> Bools:
        """Return at which steps a series is alive, even where the live edge cuts off its value.

        `rows`: cells with a row that counts for the value; `alive`: cells with a row that makes it alive.
        """
        if self.run is None:
            return np.asarray(rows[..., np.where(self.alive >= 0, self.alive, self.special)])
        n = self.run.cells
        out = np.zeros((*rows.shape[:-1], len(self.asked_end)), dtype=bool)
        for cells, width in ((rows, self.width), (alive, self.lookback)):
            if width:
                out |= window_any(cells[..., :n], width)[..., self.asked_end - width]
        return out

    def _slid(self, cells: Floats, over: Callable[[Floats, int], Floats]) -> Floats:
        """Apply `over` to some series at once, so that intermediate arrays fit into a CPU cache."""
        if cells.ndim != 2 or cells.size <= _BLOCK_CELLS:
            return self._slide(cells, over)
        out = np.empty((len(cells), len(self.end)))
        rows = max(1, _BLOCK_CELLS // cells.shape[1])
        for first in range(0, len(cells), rows):
            out[first : first + rows] = self._slide(cells[first : first + rows], over)
        return out

    def _slide(self, cells: Floats, over: Callable[[Floats, int], Floats]) -> Floats:
        fixed = self.special >= 0
        if self.run is None:
            out = np.zeros((*cells.shape[:-1], len(self.end)))
        else:
            out = over(cells[..., : self.run.cells], self.width)[..., self.end - self.width]
        out[..., fixed] = cells[..., self.special[fixed]]
        return out

    def _totals(self, cells: Floats) -> Floats:
        out = np.zeros((*cells.shape[:-1], len(self.end)))
        if self.run is not None:
            total = np.cumsum(cells[..., : self.run.cells], axis=-1)
            if self.base >= 0:
                total += cells[..., self.base, None]
            begun = self.end > 0
            out[..., begun] = total[..., self.end[begun] - 1]
        fixed = self.special >= 0
        out[..., fixed] += cells[..., self.special[fixed]]
        return out

    def _running(self, cells: Floats, over: np.ufunc) -> Floats:
        """Return the extremes of everything up to each step, as `_totals` does sums."""
        out = np.full((*cells.shape[:-1], len(self.end)), np.nan)
        if self.run is not None:
            extremes = over.accumulate(cells[..., : self.run.cells], axis=-1)
            if self.base >= 0:
                extremes = over(extremes, cells[..., self.base, None])
            begun = self.end > 0
            out[..., begun] = extremes[..., self.end[begun] - 1]
        fixed = self.special >= 0
        out[..., fixed] = over(out[..., fixed], cells[..., self.special[fixed]])
        return out


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the choice of rollups: the end of complete data, and the age of each rollup's oldest rows."""

    settled_s: int | None = None  # delta windows end here at the latest
    forced_s: int = 0  # the one granularity the request asks for, 0: any
    kept_from_s: Sequence[tuple[int, int]] = ()  # (granularity, oldest bucket start still kept)


def plan_windows(ends: Grid, window_ms: int | None, lookback_ms: int, limits: Limits) -> WindowPlan:
    """Plan the windows of `window_ms` at `ends`, or running totals (None).

    `lookback_ms` is how long a series stays alive after its last bucket.
    """
    oldest = (ends.start_ms - max(window_ms or 0, lookback_ms)) // 1000
    snap = _snap(oldest, limits)
    levels = (snap,) if limits.forced_s else tuple(g for g in LEVELS if g >= snap)
    asked = ends.times_ms // 1000 // snap * snap
    window = 0 if window_ms is None else _up(-(-window_ms // 1000), snap)
    lookback = _up(-(-lookback_ms // 1000), snap)
    value_ends = asked
    if limits.settled_s is not None:
        value_ends = np.minimum(asked, limits.settled_s // snap * snap)
    return _Planner(asked, value_ends, window, lookback, levels).plan()


def plan_buckets(granularity_s: int, lo_s: int, hi_s: int) -> WindowPlan:
    """Plan a read of every bucket of `[lo_s, hi_s)` by itself, without windows."""
    cells = (hi_s - lo_s) // granularity_s
    none = np.zeros(0, dtype=np.int64)
    run = UniformCells(granularity_s, lo_s, granularity_s, cells)
    return WindowPlan(run, (), cells, none, none, 1, 0, none, none, -1, granularity_s)


def _snap(oldest_s: int, limits: Limits) -> int:
    finest = max(10, limits.forced_s)
    kept = dict(limits.kept_from_s)
    levels = [g for g in reversed(LEVELS) if g >= finest]
    for g in levels:
        if kept.get(g, 0) <= oldest_s:
            return g
    return levels[-1]


@dataclass(frozen=True, slots=True)
class _Planner:
    asked: Ints  # window ends by the grid
    value_ends: Ints  # the same, none later than the newest settled bucket
    window: int  # seconds, 0: running totals
    lookback: int  # seconds
    levels: tuple[int, ...]

    def plan(self) -> WindowPlan:
        if len(self.asked) <= FEW:
            return self._few()
        strides = np.diff(self.asked)
        step = int(strides[0])
        even = bool((strides == step).all())
        if even and step >= max(self.window, self.lookback):
            return self._apart(step)
        return self._sliding(int(np.gcd.reduce(strides)))

    # ------------------------------------------------------------ one cell a window

    def _few(self) -> WindowPlan:
        n = len(self.asked)
        special, alive = np.arange(n), np.full(n, -1)
        segments: list[Stitch] = []
        cells = n
        for k in range(n):
            hi = int(self.value_ends[k])
            lo = 0 if self.window == 0 else hi - self.window
            segments += self._stitch(lo, hi, k)
            if self.window < self.lookback or hi < self.asked[k]:
                end = int(self.asked[k])
                segments += self._stitch(end - max(self.lookback, self.window), end, cells)
                alive[k] = cells
                cells += 1
        return WindowPlan(
            None, tuple(segments), cells, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
            int(self.window > 0), 0, special, alive, -1, self.levels[-1],
        )  # fmt: skip

    # ------------------------------------------------------------ windows apart from each other

    def _apart(self, step: int) -> WindowPlan:
        size = step
        origin = int(self.asked[0]) - step
        alive = max(self.window, self.lookback)
        g = self._coarsest(gcd(step, self.window, alive, origin))
        totals = self.window == 0
        if self.window == step:  # then windows touch, and every row of a cell counts
            run = UniformCells(g, origin, size, len(self.asked))
        else:
            run = UniformCells(
                g, origin, size, len(self.asked),
                keep_s=0 if totals else alive, value_s=0 if totals else self.window, alive_s=alive,
            )  # fmt: skip
        return self._with_edge(run, np.arange(1, len(self.asked) + 1), 0 if totals else 1, 1)

    # ------------------------------------------------------------ overlapping windows

    def _sliding(self, stride: int) -> WindowPlan:
        reach = max(self.window, self.lookback)
        first, last = int(self.asked[0]), int(self.asked[-1])
        # A lookback shorter than the window adds nothing: a series with data in the window is alive.
        lookback = self.lookback if self.lookback > self.window else 0
        size = gcd(stride, self.window, lookback)
        g = self._coarsest(gcd(size, first))
        run = UniformCells(g, first - reach, size, (last - first + reach) // size)
        end = (self.asked - run.origin_s) // size
        return self._with_edge(run, end, self.window // size, lookback // size)

    def _with_edge(self, run: UniformCells, end: Ints, width: int, lookback: int) -> WindowPlan:
        """Add the cells outside the run: before a running total, and of windows cut by the live edge."""
        segments: list[Stitch] = []
        cells, base = run.cells, -1
        special = np.full(len(end), -1)
        asked_end = end
        totals = self.window == 0
        if totals:
            base = cells
            segments += self._stitch(0, run.origin_s, cells)
            cells += 1
        late = self.value_ends < self.asked
        if late.any():
            settled = int(self.value_ends[-1])
            special[late] = cells
            lo = settled - self.window
            end = end.copy()
            if totals:
                # The run ends at the last step that is not late; the special cell holds the buckets after it.
                on_time = end[~late]
                end[late] = on_time[-1] if len(on_time) else 0
                lo = int(self.asked[~late][-1]) if len(on_time) else 0
            segments += self._stitch(lo, settled, cells)
            cells += 1
        alive = np.full(len(end), -1)
        return WindowPlan(
            run,
            tuple(segments),
            cells,
            end,
            asked_end,
            width,
            lookback,
            special,
            alive,
            base,
            self.levels[-1],
        )

    # ------------------------------------------------------------ rollups

    def _coarsest(self, size: int) -> int:
        return next(g for g in self.levels if size % g == 0)

    def _stitch(self, lo: int, hi: int, cell: int) -> list[Stitch]:
        """Cover `[lo, hi)` by the coarsest rollups inside and finer ones at its edges."""
        return [Stitch(g, a, b, cell) for g, a, b in stitch(lo, hi, self.levels)]


def stitch(lo_s: int, hi_s: int, levels: Sequence[int] = LEVELS) -> list[tuple[int, int, int]]:
    """Return disjoint `(granularity, lo, hi)` of `[lo_s, hi_s)`; the finest level divides both ends."""
    if lo_s >= hi_s or not levels:
        return []
    g, finer = levels[0], levels[1:]
    a, b = _up(lo_s, g), hi_s // g * g
    if a >= b:
        return stitch(lo_s, hi_s, finer)
    return [*stitch(lo_s, a, finer), (g, a, b), *stitch(b, hi_s, finer)]


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
