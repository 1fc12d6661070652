"""Range functions of native histograms: each number of a histogram equals the float function's result."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval.subquery import samples_from
from shim.eval.window.evaluate import range_function
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.grid import Grid
from shim.model.values import Annotations, Floats, Histogram, Vector
from tests.unit.shim.eval.make import histogram, rows, texts, vector

STEPS = 40
INNER = Grid(0, (STEPS - 1) * 10_000, 10_000)
OUTER = Grid(5_000, 400_000, 7_000)


def growing(seed: int, *, resets: int = 0) -> Histogram:
    """Every number grows from sample to sample; samples are missing here and there; resets make all fall."""
    rng = np.random.default_rng(seed)
    values = [[0.0, 1.5, 3.0, -2.0] * (i + 1) for i in range(STEPS)]
    for at in sorted(rng.choice(np.arange(5, STEPS), resets, replace=False)):
        values[at:] = [[0.0, 1.5, 3.0, -2.0] * (i + 1) for i in range(STEPS - at)]
    return histogram(*(None if rng.random() < 0.2 else v for v in values))


def numbers(h: Histogram) -> dict[str, Floats]:
    """Map each number of a histogram to its value by name; buckets by their index."""
    sides = (("+", h.positive), ("-", h.negative))
    buckets = {
        f"{sign}{spans.indices[j]}": spans.counts[:, j]
        for sign, spans in sides
        for j in range(spans.counts.shape[1])
        if spans.counts[:, j].any()
    }
    return {"count": h.count, "zero": h.zero, "sum": h.sum, **buckets}


@pytest.mark.parametrize("function", sorted(n for n, f in RANGE_FUNCTIONS.items() if f.histograms))
@pytest.mark.parametrize(("seed", "resets"), [(1, 0), (2, 1), (3, 4)])
@pytest.mark.parametrize("width_ms", [10_000, 35_000, 200_000])
def test_each_number_is_that_of_the_float_function(
    function: str, seed: int, resets: int, width_ms: int
) -> None:
    h = growing(seed, resets=resets)
    found = range_function(
        function, samples_from(vector({}, {"h{a=1}": h}), INNER), OUTER, width_ms, (), Annotations()
    )
    parts = numbers(h)
    names = [(("of", name),) for name in parts]
    floats = Vector(STEPS, names, np.array([*parts.values()]), np.array([h.present] * len(parts)))
    want = range_function(function, samples_from(floats, INNER), OUTER, width_ms, (), Annotations())
    named = {labels[-1][1]: row for row, labels in enumerate(want.labels)}
    if not named:
        assert not found.histograms
        return
    (got,) = found.histograms
    assert (got.present == want.present[named["count"]]).all()
    whole = {key: np.zeros(OUTER.steps) for key in parts} | numbers(got)
    ratio = 1.0
    for name in ("count", "zero", "sum", *(k for k in parts if k[0] in "+-")):
        expected = want.values[named[name]]
        if function in ("rate", "increase"):  # extrapolated below zero by the count alone: others by as much
            ratio = got.count[got.present] / want.values[named["count"]][got.present]
        assert whole[name][got.present] == pytest.approx(expected[got.present] * ratio), name


@pytest.mark.parametrize("function", sorted(n for n, f in RANGE_FUNCTIONS.items() if f.histograms_to_floats))
def test_floats_of_any_sample(function: str) -> None:
    h = growing(4, resets=3)
    count = Vector(STEPS, [(("a", "1"),)], h.count[None, :], h.present[None, :])
    both = [
        range_function(function, samples_from(v, INNER), OUTER, 60_000, (), Annotations())
        for v in (vector({}, {"h{a=1}": h}), count)
    ]
    assert rows(both[0]) == rows(both[1])


def test_functions_of_floats_see_no_histograms() -> None:
    both = vector({"f{a=1}": [1.0, 4.0]}, {"h{a=2}": histogram([1.0], [2.0])})
    data = samples_from(both, Grid(0, 10_000, 10_000))
    found = range_function("max_over_time", data, Grid.instant(10_000), 20_000, (), Annotations())
    assert rows(found) == texts({"{a=1}": [4.0]})
    assert not found.histograms


def test_a_fall_of_one_bucket_is_a_reset() -> None:
    data = samples_from(
        vector({}, {"h": histogram([1.0, 1.0], [1.0, 8.0], [1.0, 8.0, 8.0])}), Grid(0, 20_000, 10_000)
    )
    at = Grid.instant(20_000)
    assert rows(range_function("resets", data, at, 30_000, (), Annotations())) == texts({"": [1.0]})
    assert rows(range_function("changes", data, at, 30_000, (), Annotations())) == texts({"": [2.0]})
    (last,) = range_function("irate", data, at, 30_000, (), Annotations()).histograms
    assert (last.count.tolist(), last.sum.tolist()) == ([0.1], [0.8])
    (whole,) = range_function("increase", data, at, 30_000, (), Annotations()).histograms
    # between the samples 1 + 2 = 3 observations in 20 s; extrapolated to the window's start at -10 s
    assert whole.count.tolist() == pytest.approx([(3 - 2 + 2) * 1.5])
