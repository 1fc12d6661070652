"""Sums that overflow are held at the largest number."""

from __future__ import annotations

from math import inf, nan

import numpy as np

from shim.model.grid import Grid
from shim.read.saturation import LARGEST, held
from shim.read.window_plan import Limits, plan_windows


def test_what_is_finite_stays_as_it_is() -> None:
    sums = np.array([[0.0, -1.5], [LARGEST, -LARGEST]])
    assert held(sums) is sums


def test_overflows_are_held_and_opposites_cancel_out() -> None:
    assert held(np.array([inf, -inf, nan, 1.0])).tolist() == [LARGEST, -LARGEST, 0.0, 1.0]


def test_windows_before_and_after_an_overflow_are_exact() -> None:
    for window_ms in (20_000, None):
        reading = plan_windows(Grid(1_000_000, 1_060_000, 10_000), window_ms, 10_000, Limits())
        cells = np.zeros((1, reading.cells))
        cells[0, reading.cells // 2] = inf
        cells[0, reading.cells // 2 + 1] = LARGEST
        (sums,) = reading.sums(cells)
        assert set(sums.tolist()) <= {0.0, LARGEST}
        assert sums[0] == 0.0
        assert LARGEST in sums
