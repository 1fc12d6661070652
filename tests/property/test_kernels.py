"""Numeric kernels against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval.sample_windows import extremes


@pytest.mark.parametrize("op", [np.fmin, np.fmax])
@pytest.mark.parametrize("longest", [1, 2, 7, 300])
def test_extremes_of_slices_are_those_of_their_samples(op: np.ufunc, longest: int) -> None:
    """Many from stretches they share, few gathered; NaN only where there is nothing else."""
    rng = np.random.default_rng(longest)
    flat = np.where(rng.random(20_000) < 0.3, np.nan, rng.normal(size=20_000))
    for number in (0, 3, 30_000):
        begin = np.sort(rng.integers(0, len(flat) - longest, number))
        end = begin + rng.integers(1, longest + 1, number)
        found = extremes(flat, begin, end, op)
        wanted = [op.reduce(flat[a:b]) for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
        assert np.array_equal(found, np.array(wanted), equal_nan=True)
