"""Native and classic histograms equal the naive algorithms; sliding windows equal plain sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.catalog.classic_bounds import Extent, bounds_of
from shim.eval import sliding_windows
from shim.eval.functions.histogram_quantile import bucket_quantile
from shim.eval.histogram import arithmetic, fraction, quantile, stats
from shim.eval.histogram.buckets import bucket_table
from shim.eval.histogram.merging import combine
from shim.eval.histogram.schema import reduced
from shim.model.bucket_bounds import CLASSIC_SCHEMA
from shim.model.values import Histogram
from tests.unit.shim.eval import reference
from tests.unit.shim.eval.make import bound, bucket_index, histogram

OBSERVED = st.one_of(
    st.floats(1e-3, 1e4).map(lambda x: round(x, 4) or 1.0),
    st.floats(-50, -1e-2),
    st.just(0.0),
    st.sampled_from([1.0, 2.0, 0.5, 4.0, -1.0, -2.0]),
)
STEP = st.one_of(st.none(), st.lists(OBSERVED, max_size=12))
HISTOGRAMS = st.lists(STEP, min_size=1, max_size=4)
Q = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0, math.nan]))


def naive_buckets(values: list[float]) -> list[reference.Bucket]:
    found: dict[tuple[float, float], float] = {}
    for value in values:
        if value == 0:
            edges = (0.0, 0.0)
        else:
            index = bucket_index(abs(value))
            edges = (bound(index - 1), bound(index))
            if value < 0:
                edges = (-edges[1], -edges[0])
        found[edges] = found.get(edges, 0) + 1
    return [(*edges, count) for edges, count in sorted(found.items())]


@settings(max_examples=80, deadline=None)
@given(steps=HISTOGRAMS, q=Q)
def test_quantile(steps: list[list[float] | None], q: float) -> None:
    h = histogram(*steps)
    got, _, _ = quantile.histogram_quantile(np.full(len(steps), q), h)
    for i, values in enumerate(steps):
        if values is not None:
            want = reference.histogram_quantile(q, len(values), math.fsum(values), naive_buckets(values))
            assert got[i] == pytest.approx(want, rel=1e-12, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(
    steps=HISTOGRAMS, low=st.one_of(OBSERVED, st.just(-math.inf)), high=st.one_of(OBSERVED, st.just(math.inf))
)
def test_fraction(steps: list[list[float] | None], low: float, high: float) -> None:
    n = len(steps)
    got = fraction.histogram_fraction(np.full(n, low), np.full(n, high), histogram(*steps))
    for i, values in enumerate(steps):
        if values is not None:
            want = reference.histogram_fraction(low, high, len(values), naive_buckets(values))
            assert got[i] == pytest.approx(want, rel=1e-9, abs=1e-12, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(values=st.lists(OBSERVED, min_size=1, max_size=200), q=st.floats(0, 1))
def test_quantile_of_observations_is_near_the_true_one(values: list[float], q: float) -> None:
    """The quantile of the raw values, each of the two it lies between at most half a bucket (1.1 %) off."""
    low, high = np.array([min(values)]), np.array([max(values)])
    got = float(quantile.observations_quantile(np.array([q]), histogram(values), low, high)[0])
    assert min(values) <= got <= max(values)
    rank = q * (len(values) - 1)
    first, second = sorted(values)[math.floor(rank)], sorted(values)[math.ceil(rank)]
    weight = rank - math.floor(rank)
    true = first * (1 - weight) + second * weight
    slack = 0.011 * (abs(first) * (1 - weight) + abs(second) * weight)
    assert got == pytest.approx(true, abs=slack + 1e-12) or got in (min(values), max(values))


@settings(max_examples=80, deadline=None)
@given(a=STEP, b=STEP)
def test_merging_is_observing_both(a: list[float] | None, b: list[float] | None) -> None:
    merged = combine([histogram(a), histogram(b)])
    together = None if a is None and b is None else [*(a or []), *(b or [])]
    assert merged.present[0] == (together is not None)
    if together is not None:
        wanted = histogram(together)
        assert merged.sum[0] == pytest.approx(wanted.sum[0], abs=1e-9)
        exact = Histogram(
            wanted.present, wanted.count, merged.sum, wanted.zero, wanted.positive, wanted.negative
        )
        assert arithmetic.equals(merged, exact).all()
        back = arithmetic.subtract(merged, histogram(b or []))
        assert back.count[0] == len(a or [])


@settings(max_examples=80, deadline=None)
@given(values=st.lists(OBSERVED, max_size=30), schema=st.integers(-2, 5))
def test_coarser_buckets_hold_the_same_observations(values: list[float], schema: int) -> None:
    table = bucket_table(histogram(values), schema)
    for lower, upper, count in zip(table.lower, table.upper, table.counts[0], strict=True):
        if upper == 0 == lower:
            inside = [v for v in values if v == 0]
        elif upper > 0:
            inside = [v for v in values if lower < v <= upper]
        else:
            inside = [v for v in values if lower <= v < upper]
        assert count == len(inside)
    assert reduced(histogram(values), schema).count[0] == len(values)


@settings(max_examples=80, deadline=None)
@given(many=st.lists(st.lists(OBSERVED, max_size=30), min_size=1, max_size=4))
def test_classic_buckets_are_cumulative_counts(many: list[list[float]]) -> None:
    """On the boundaries of the classic schema, from the stored buckets and from those of that schema."""
    together = [v for values in many for v in values]
    upper = np.array(bounds_of(extent(together)))
    assert upper[-1] == math.inf
    assert (np.diff(upper) > 0).all()
    counts = [fraction.counts_at_most(upper, histogram(values)) for values in many]
    for values, of_one in zip(many, counts, strict=True):
        for le, count in zip(upper, of_one[:, 0], strict=True):
            assert count == sum(v <= le if le >= 0 else v < le for v in values)
        coarse = fraction.counts_at_most(upper, reduced(histogram(values), CLASSIC_SCHEMA), CLASSIC_SCHEMA)
        assert coarse.tolist() == of_one.tolist()
    merged = fraction.counts_at_most(upper, histogram(together))
    assert merged.tolist() == np.sum(counts, axis=0).tolist()


def extent(values: list[float]) -> Extent:
    sides = [sorted(v for v in values if v > 0), sorted(-v for v in values if v < 0)]
    positive, negative = ((side[0], side[-1]) if side else None for side in sides)
    return Extent(positive, negative, 0.0 in values)


@settings(max_examples=80, deadline=None)
@given(values=st.lists(OBSERVED, min_size=1, max_size=30), bounds=st.lists(OBSERVED, max_size=8))
def test_any_boundary_counts_as_histogram_fraction_does(values: list[float], bounds: list[float]) -> None:
    upper, h = np.array([*sorted(bounds), math.inf]), histogram(values)
    counts = fraction.counts_at_most(upper, h)[:, 0]
    assert (np.diff(counts) >= -1e-9).all()
    assert counts[-1] == len(values)
    for le, count in zip(upper, counts, strict=True):
        share = fraction.histogram_fraction(np.array([-math.inf]), np.array([le]), h)[0]
        zeros = values.count(0.0) if le == 0 else 0  # which are at most 0, and not below it
        assert count == pytest.approx(share * len(values) + zeros)


@settings(max_examples=80, deadline=None)
@given(values=st.lists(OBSERVED, min_size=1, max_size=30))
def test_mean_and_deviation(values: list[float]) -> None:
    h = histogram(values)
    average = math.fsum(values) / len(values)
    assert stats.mean(h)[0] == pytest.approx(average, abs=1e-9)
    centers = [
        math.copysign(math.sqrt(low * high), low)
        for low, high, count in naive_buckets(values)
        for _ in range(int(count))
    ]
    want = sum((c - average) ** 2 for c in centers) / len(values)
    assert stats.variance(h)[0] == pytest.approx(want, rel=1e-9, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.one_of(st.integers(0, 50).map(float), st.floats(0, 50)), min_size=1, max_size=8),
    q=Q,
    top=st.booleans(),
    first=st.sampled_from([-1.0, 0.0, 0.5]),
)
def test_classic_quantile(counts: list[float], q: float, top: bool, first: float) -> None:
    bounds = [first + i for i in range(len(counts))]
    if top:
        bounds[-1] = math.inf
    got, _ = bucket_quantile(np.array([q]), np.array(bounds), np.array(counts)[:, None])
    want = reference.bucket_quantile(q, list(zip(bounds, counts, strict=True)))
    assert got[0] == pytest.approx(want, rel=1e-12, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(1, 70))
def test_sliding_windows(data: st.DataObject, n: int) -> None:
    width, stride = data.draw(st.integers(1, n)), data.draw(st.integers(1, 12))
    numbers = np.array(data.draw(st.lists(st.integers(-1000, 1000), min_size=2 * n, max_size=2 * n)), float)
    grid = numbers.reshape(2, n)
    starts = range(0, n - width + 1, stride)
    want = np.stack([grid[:, s : s + width] for s in starts], axis=1)
    assert (sliding_windows.window_sums(grid, width, stride=stride) == want.sum(axis=-1)).all()
    assert (sliding_windows.window_sums(grid.T, width, axis=0, stride=stride) == want.sum(axis=-1).T).all()
    holes = np.where(grid % 3 == 0, np.nan, grid)
    gaps = np.stack([holes[:, s : s + width] for s in starts], axis=1)
    lows = sliding_windows.window_minima(holes, width, stride=stride)
    assert np.array_equal(lows, np.fmin.reduce(gaps, axis=-1), equal_nan=True)
    highs = sliding_windows.window_maxima(holes, width, stride=stride)
    assert np.array_equal(highs, np.fmax.reduce(gaps, axis=-1), equal_nan=True)
    assert (sliding_windows.window_any(grid > 900, width, stride=stride) == (want > 900).any(axis=-1)).all()
