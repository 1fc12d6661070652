"""`anchored` and `smoothed` against Prometheus' own way, one window after the other."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest

from shim.eval.window.extended import Change, Mode, extended, smoothed_at
from shim.eval.window.registry import RANGE_FUNCTIONS, extended_functions
from shim.model.grid import Grid
from shim.model.values import Samples

LOOKBACK_MS: Final = 50_000
MODES: Final[tuple[Mode, ...]] = ("anchored", "smoothed")
Points = Sequence[tuple[int, float]]  # ms, value


def samples(*series: Points) -> Samples:
    flat = [point for points in series for point in points]
    return Samples(
        [(("__name__", "x"), ("i", str(i))) for i in range(len(series))],
        np.cumsum([0, *map(len, series)]),
        np.array([t for t, _ in flat], dtype=np.int64),
        np.array([v for _, v in flat]),
    )


def line(p: tuple[int, float], q: tuple[int, float], at_ms: int, *, counter: bool) -> float:
    begin = 0.0 if counter and q[1] < p[1] else p[1]
    return begin + (q[1] - begin) * (at_ms - p[0]) / (q[0] - p[0])


def expected(name: str, mode: Mode, points: Points, end_ms: int, window_ms: int) -> float | None:
    """Source: promql/functions.go, extendedRate and its helpers."""
    start_ms = end_ms - window_ms
    until_ms = end_ms + (LOOKBACK_MS if mode == "smoothed" else 0)
    f = [p for p in points if start_ms - LOOKBACK_MS < p[0] <= until_ms]
    if not f:
        return None
    first = max(0, min(len(f) - 1, sum(t <= start_ms for t, _ in f)) - 1)
    last = len(f) - 1
    if mode == "smoothed":
        last = min(last, sum(t < end_ms for t, _ in f))
    if f[last][0] <= start_ms or f[first][0] > end_ms:
        return None
    if name in ("changes", "resets"):
        steps = [(a, b) for (_, a), (_, b) in zip(f[first:], f[first + 1 :], strict=False)]
        return float(sum(b != a if name == "changes" else b < a for a, b in steps))
    counter = name != "delta"
    left, right = f[first][1], f[last][1]
    if mode == "smoothed" and f[first][0] < start_ms:
        left = line(f[first], f[first + 1], start_ms, counter=counter)
    if mode == "smoothed" and last and f[last][0] > end_ms:
        right = line(f[last - 1], f[last], end_ms, counter=counter)
    result = right - left
    if counter:
        inner = f[first + (f[first][0] <= start_ms) : last + 1 - (f[last][0] >= end_ms)]
        before = left
        for _, value in [*inner, (end_ms, right)]:
            result += before if value < before else 0.0
            before = value
    return result / (window_ms / 1000) if name == "rate" else result


@pytest.mark.parametrize(
    ("mode", "name"), [(mode, name) for mode in MODES for name in extended_functions(mode)]
)
def test_as_prometheus_does_it(mode: Mode, name: str) -> None:
    rng = random.Random(f"{mode}/{name}")
    for _ in range(60):
        series = [
            [(t, float(rng.randrange(6))) for t in range(0, 300_000, 10_000) if rng.random() < share]
            for share in (0.1, 0.5, 0.9, 0.0)
        ]
        window_ms, step_ms = rng.choice((5_000, 10_000, 25_000, 60_000)), rng.choice((5_000, 10_000, 7_000))
        ends = Grid(0, 330_000, step_ms)
        how = RANGE_FUNCTIONS[name].extended
        assert how is not None
        got = extended(how, mode, samples(*series), ends, window_ms, LOOKBACK_MS)
        rows = {dict(labels)["i"]: row for row, labels in enumerate(got.labels)}
        for i, points in enumerate(series):
            want = [expected(name, mode, points, int(t), window_ms) for t in ends.times_ms]
            row = rows.get(str(i))
            found = [None] * ends.steps if row is None else _row(got.values[row], got.present[row])
            assert [v is None for v in found] == [v is None for v in want], (points, window_ms)
            pairs = [(a, b) for a, b in zip(found, want, strict=True) if a is not None and b is not None]
            assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in pairs), (points, window_ms, pairs)


def _row(values: np.ndarray, present: np.ndarray) -> list[float | None]:
    return [v if here else None for v, here in zip(values.tolist(), present.tolist(), strict=True)]


def test_a_smoothed_selector_lies_on_the_line() -> None:
    got = smoothed_at(
        samples([(10_000, 1.0), (20_000, 3.0), (90_000, 5.0)], []), Grid(0, 160_000, 5_000), LOOKBACK_MS
    )
    assert [dict(labels)["i"] for labels in got.labels] == ["0"]
    shown = dict(zip(range(0, 165, 5), _row(got.values[0], got.present[0]), strict=True))
    assert shown[5] is None
    assert [shown[t] for t in (10, 15, 20)] == [1.0, 2.0, 3.0]
    assert shown[35] == 3.0  # the next sample is further away than the lookback
    assert shown[65] == 3.0 + 2 * 45 / 70
    assert shown[85] is None
    assert [shown[t] for t in (90, 135, 140)] == [5.0, 5.0, None]


def test_nothing_gives_nothing() -> None:
    for mode in MODES:
        found = extended(Change(counter=True), mode, samples(), Grid(0, 50_000, 10_000), 20_000, LOOKBACK_MS)
        assert (found.steps, len(found.labels)) == (6, 0)
    assert len(smoothed_at(samples(), Grid.instant(5), LOOKBACK_MS).labels) == 0
