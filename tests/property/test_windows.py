"""shim/read/window_plan.py against the definition, on random grids: which cells a window is made of."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.model.grid import Grid
from shim.model.values import Bools, Floats
from shim.read.window_plan import LEVELS, Limits, WindowPlan, plan_windows, stitch

DAY_S = 86_400
BASE_S = 20_000 * DAY_S

Rows = list[tuple[int, int]]  # (bucket start in s, delta)


def by_definition(
    rows: Rows, ends: Grid, window_ms: int | None, lookback_ms: int, settled_s: int | None
) -> tuple[Floats, Bools]:
    """semantics.md: buckets wholly in [t-w, t); t taken down and w up to 10 s; alive by the last bucket."""
    values, alive = [], []
    for t_ms in ends.times_ms.tolist():
        asked = t_ms // 10_000 * 10
        end = asked if settled_s is None else min(asked, settled_s)
        window = None if window_ms is None else -(-window_ms // 10_000) * 10
        reach = max(window or 0, -(-lookback_ms // 10_000) * 10)
        start = 0 if window is None else end - window
        values.append(sum(delta for b, delta in rows if start <= b < end))
        alive.append(any(asked - reach <= b < asked for b, _ in rows))
    return np.array(values, dtype=float), np.array(alive)


def read(reading: WindowPlan, rows: Rows) -> tuple[Floats, Bools]:
    """Return the result of reading the rows that the statements of read/cells.py would fetch."""
    cells = np.zeros(reading.cells)
    counted, alive = np.zeros(reading.cells, dtype=bool), np.zeros(reading.cells, dtype=bool)
    for b, delta in rows:
        if (run := reading.run) is not None:
            since = b // run.granularity_s * run.granularity_s - run.origin_s
            cell, left = since // run.size_s, run.size_s - since % run.size_s
            if 0 <= cell < run.cells and (not run.keep_s or left <= run.keep_s):
                if not run.value_s or left <= run.value_s:
                    cells[cell] += delta
                    counted[cell] = True
                alive[cell] |= not run.alive_s or left <= run.alive_s
        for s in reading.segments:
            if s.lo_s <= b // s.granularity_s * s.granularity_s < s.hi_s:
                cells[s.cell] += delta
                counted[s.cell] = alive[s.cell] = True
    return reading.sums(cells), reading.present(counted, alive)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Grid, int | None, int, int | None]:
    step_s = draw(st.sampled_from([7, 10, 15, 60, 90, 120, 300, 3_600, DAY_S]))
    steps = draw(st.integers(1, 30))
    start_s = BASE_S + draw(st.sampled_from([0, 3_600, 60, 10, 5, 3 * DAY_S]))
    start_ms = start_s * 1000 + draw(st.sampled_from([0, 0, 500]))
    grid = Grid(start_ms, start_ms + (steps - 1) * step_s * 1000, step_s * 1000)
    window_s = draw(st.sampled_from([None, 10, 45, 60, 100, 300, 1_800, 3_600, 7_200, DAY_S]))
    lookback_s = draw(st.sampled_from([10, 60, 300, 305, 600]))
    behind_s = draw(st.sampled_from([None, 0, 5, 65, 700, 10**6]))
    settled_s = None if behind_s is None else (grid.end_ms // 1000 - behind_s) // 10 * 10
    return grid, None if window_s is None else window_s * 1000, lookback_s * 1000, settled_s


@settings(max_examples=600, deadline=None)
@given(questions(), st.lists(st.tuples(st.integers(-17_300, 400), st.integers(1, 9)), max_size=60))
def test_windows_are_what_the_definition_says(
    question: tuple[Grid, int | None, int, int | None], deltas: list[tuple[int, int]]
) -> None:
    grid, window_ms, lookback_ms, settled_s = question
    span = (grid.end_ms - grid.start_ms) // 10_000
    first = grid.start_ms // 10_000
    # half of the rows before the grid, half spread over it
    rows = [((first + (at if at < 0 else at * max(1, span) // 400)) * 10, delta) for at, delta in deltas]
    reading = plan_windows(grid, window_ms, lookback_ms, Limits(settled_s=settled_s))
    values, alive = read(reading, rows)
    want_values, want_alive = by_definition(rows, grid, window_ms, lookback_ms, settled_s)
    np.testing.assert_array_equal(values, want_values)
    np.testing.assert_array_equal(alive, want_alive)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_stitching_covers_every_bucket_once(a: int, b: int) -> None:
    lo_s, hi_s = min(a, b) * 10, max(a, b) * 10
    parts = stitch(lo_s, hi_s)
    assert sum(hi - lo for _, lo, hi in parts) == hi_s - lo_s
    edges = [lo_s, *(hi for _, _, hi in parts)]
    assert all(lo == edge for (_, lo, _), edge in zip(parts, edges, strict=False))
    assert all(lo % g == hi % g == 0 for g, lo, hi in parts)


def test_the_coarsest_rollup_that_divides_start_step_and_window_is_read() -> None:
    for granularity_s in LEVELS:
        step_ms = granularity_s * 1000
        grid = Grid(BASE_S * 1000, BASE_S * 1000 + 20 * step_ms, step_ms)
        reading = plan_windows(grid, 5 * step_ms, min(300_000, step_ms), Limits())
        assert reading.granularities == (granularity_s,)


def test_a_forced_granularity_alone_is_read() -> None:
    grid = Grid(BASE_S * 1000 + 30_000, BASE_S * 1000 + 630_000, 60_000)
    reading = plan_windows(grid, 300_000, 300_000, Limits(forced_s=60))
    assert reading.granularities == (60,)
    assert reading.snapped_s == 60


def test_where_the_finer_rollup_is_gone_the_coarser_one_is_read() -> None:
    grid = Grid.instant(BASE_S * 1000 + 15_000)
    gone = Limits(kept_from_s=((10, BASE_S), (60, BASE_S - 10 * DAY_S)))
    assert plan_windows(grid, 3_600_000, 300_000, gone).snapped_s == 60
    assert plan_windows(grid, 10_000, 10_000, gone).snapped_s == 10
