"""Range functions equal the naive algorithms, sample by sample, on any samples and windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.eval import sample_windows
from shim.eval.window.evaluate import range_function
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.grid import Grid
from shim.model.labels import make
from shim.model.values import Annotations, Samples, Scalar
from tests.unit.shim.eval import reference
from tests.unit.shim.eval.reference import Point

VALUES = st.one_of(
    st.integers(-5, 20).map(float),
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308]),
)
FINITE = st.one_of(
    st.integers(0, 20).map(float), st.floats(-1e4, 1e4, allow_subnormal=False).map(lambda x: round(x, 3))
)
TIMES = st.lists(st.integers(0, 120), max_size=25, unique=True).map(sorted)


@st.composite
def series(draw: st.DrawFn, values: st.SearchStrategy[float]) -> list[list[Point]]:
    times = draw(st.lists(TIMES, min_size=1, max_size=3))
    return [[(t * 500, draw(values)) for t in one] for one in times]


GRIDS = st.builds(
    lambda start, step, steps: Grid(start * 500, start * 500 + step * 500 * (steps - 1), step * 500),
    st.integers(-10, 100),
    st.integers(1, 30),
    st.integers(1, 6),
)
WINDOWS = st.integers(1, 80).map(lambda w: w * 500)

Plain = Callable[[Sequence[Point]], float | None]
Naive = Callable[[Sequence[Point], int, int], float | None]  # and the window's end and width


def values(points: Sequence[Point]) -> list[float]:
    return [v for _, v in points]


def rate(points: Sequence[Point], end: int, width: int) -> float | None:
    found = reference.extrapolated(points, end, width, counter=True)
    return None if found is None else found / (width / 1000)


def irate(points: Sequence[Point]) -> float | None:
    if len(points) < 2:
        return None
    (t0, a), (t1, b) = points[-2:]
    return (b if b < a else b - a) / ((t1 - t0) / 1000)


def pairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    return list(pairwise(values(points)))


ANY: dict[str, Plain] = {
    "last_over_time": lambda p: p[-1][1],
    "first_over_time": lambda p: p[0][1],
    "present_over_time": lambda _: 1.0,
    "count_over_time": lambda p: float(len(p)),
    "min_over_time": lambda p: reference.least(values(p)),
    "max_over_time": lambda p: reference.greatest(values(p)),
    "quantile_over_time": lambda p: reference.quantile(0.3, values(p)),
    "idelta": lambda p: p[-1][1] - p[-2][1] if len(p) > 1 else None,
    "irate": irate,
    "resets": lambda p: float(sum(b < a for a, b in pairs(p))),
    "changes": lambda p: float(sum(b != a and not (b != b and a != a) for a, b in pairs(p))),
    "ts_of_last_over_time": lambda p: p[-1][0] / 1000,
    "ts_of_first_over_time": lambda p: p[0][0] / 1000,
    "ts_of_max_over_time": lambda p: time_of(p, 1),
    "ts_of_min_over_time": lambda p: time_of(p, -1),
}
NUMBERS: dict[str, Plain] = {
    "sum_over_time": lambda p: reference.kahan(values(p)),
    "avg_over_time": lambda p: reference.mean(values(p)),
    "stdvar_over_time": lambda p: reference.welford(values(p)),
    "stddev_over_time": lambda p: math.sqrt(reference.welford(values(p))),
    "mad_over_time": lambda p: mad(values(p)),
    "deriv": lambda p: reference.regression(p, p[0][0])[0] if len(p) > 1 else None,
    "double_exponential_smoothing": lambda p: (
        reference.smoothing(values(p), 0.3, 0.3) if len(p) > 1 else None
    ),
}


EXTRAPOLATED: dict[str, Naive] = {
    "rate": rate,
    "increase": lambda p, e, w: reference.extrapolated(p, e, w, counter=True),
    "delta": lambda p, e, w: reference.extrapolated(p, e, w, counter=False),
}


def windowless(compute: Plain) -> Naive:
    return lambda points, *_: compute(points)


def time_of(points: Sequence[Point], sign: int) -> float:
    best, at = sign * points[0][1], points[0][0]
    for t, v in points:
        if sign * v >= best or math.isnan(best):
            best, at = sign * v, t
    return at / 1000


def mad(numbers: list[float]) -> float:
    median = reference.quantile(0.5, numbers)
    return reference.quantile(0.5, [abs(v - median) for v in numbers])


def packed(data: Sequence[Sequence[Point]]) -> Samples:
    flat = [point for points in data for point in points]
    return Samples(
        [make({"series": str(i)}) for i in range(len(data))],
        np.concatenate([[0], np.cumsum([len(points) for points in data])]).astype(np.int64),
        np.array([t for t, _ in flat], dtype=np.int64),
        np.array([v for _, v in flat], dtype=np.float64),
    )


def check(name: str, naive: Naive, data: Sequence[Sequence[Point]], grid: Grid, width: int) -> None:
    args = [Scalar(np.full(grid.steps, 0.3))] * RANGE_FUNCTIONS[name].parameters
    vector = range_function(name, packed(data), grid, width, args, Annotations())
    found = dict(zip(vector.labels, zip(vector.values, vector.present, strict=True), strict=True))
    for i, points in enumerate(data):
        got = found.get(make({"series": str(i)}))
        for step, end in enumerate(grid.times_ms.tolist()):
            inside = [p for p in points if end - width < p[0] <= end]
            want = naive(inside, end, width) if inside else None
            if want is None:
                assert got is None or not got[1][step]
            else:
                assert got is not None
                assert got[1][step]
                assert got[0][step] == pytest.approx(want, rel=1e-9, abs=1e-7, nan_ok=True), (name, inside)


@pytest.mark.parametrize("name", ANY)
@settings(max_examples=30, deadline=None)
@given(data=series(VALUES), grid=GRIDS, width=WINDOWS)
def test_order_and_counts_with_any_values(name: str, data: list[list[Point]], grid: Grid, width: int) -> None:
    check(name, windowless(ANY[name]), data, grid, width)


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=30, deadline=None)
@given(data=series(FINITE), grid=GRIDS, width=WINDOWS)
def test_arithmetic_on_finite_values(name: str, data: list[list[Point]], grid: Grid, width: int) -> None:
    check(name, windowless(NUMBERS[name]), data, grid, width)


@pytest.mark.parametrize("name", EXTRAPOLATED)
@settings(max_examples=30, deadline=None)
@given(data=series(FINITE), grid=GRIDS, width=WINDOWS)
def test_extrapolation(name: str, data: list[list[Point]], grid: Grid, width: int) -> None:
    check(name, EXTRAPOLATED[name], data, grid, width)


@settings(max_examples=30, deadline=None)
@given(data=series(VALUES), grid=GRIDS, width=WINDOWS)
def test_sum_and_mean_keep_infinities_and_nan(data: list[list[Point]], grid: Grid, width: int) -> None:
    # Sums that overflow on the way depend on the order; all else must agree.
    tame = [[(t, 1.0 if v == 1e308 else v) for t, v in points] for points in data]
    check("sum_over_time", windowless(lambda p: reference.kahan(values(p))), tame, grid, width)
    check("avg_over_time", windowless(lambda p: reference.mean(values(p))), tame, grid, width)


@settings(max_examples=30, deadline=None)
@given(data=series(FINITE), grid=GRIDS, width=WINDOWS, late=st.integers(0, 100))
def test_prediction_starts_at_the_time_of_evaluation(
    data: list[list[Point]], grid: Grid, width: int, late: int
) -> None:
    times = grid.times_ms + late * 1000
    ahead = Scalar(np.full(grid.steps, 7.0))
    evaluated = grid.shifted(late * 1000)
    vector = range_function(
        "predict_linear", packed(data), evaluated, width, [ahead], Annotations(), ends_ms=grid.times_ms
    )
    found = dict(zip(vector.labels, zip(vector.values, vector.present, strict=True), strict=True))
    for i, points in enumerate(data):
        for step, end in enumerate(grid.times_ms.tolist()):
            inside = [p for p in points if end - width < p[0] <= end]
            if len(inside) > 1:
                slope, intercept = reference.regression(inside, int(times[step]))
                value = found[make({"series": str(i)})][0][step]
                assert value == pytest.approx(slope * 7 + intercept, rel=1e-6, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), limit=st.integers(1, 200))
def test_blocks_hold_every_slice_once_within_the_limit(lengths: list[int], limit: int) -> None:
    end = np.cumsum(np.array(lengths, dtype=np.int64))
    begin = end - lengths
    flat = np.arange(end[-1], dtype=np.float64)
    seen: dict[int, list[float]] = {}
    for block in sample_windows.blocks(begin, end, limit=limit):
        assert block.index.size <= limit or len(block.cells) == 1
        for cell, row, valid in zip(block.cells, block.values(flat), block.valid, strict=True):
            assert int(cell) not in seen
            seen[int(cell)] = row[valid].tolist()
    assert seen == {i: flat[b:e].tolist() for i, (b, e) in enumerate(zip(begin, end, strict=True))}
