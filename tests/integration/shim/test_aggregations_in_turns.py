"""Aggregations of much data go in turns, with the same result."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval.aggregate import aggregate
from shim.eval.histogram.quantile import histogram_quantile
from shim.eval.histogram.step_slices import slices_of_steps
from shim.model.errors import TimedOut
from shim.model.values import Annotations, Histogram, Scalar, Spans, Vector
from tests.unit.shim.eval.test_budget import Asked, _named


@pytest.mark.parametrize("op", ["sum", "avg", "stddev", "min", "count", "quantile"])
def test_aggregations_of_much_go_in_turns(op: str) -> None:
    """Some steps at once, and the same as all of them."""
    steps = 300_000
    rng = np.random.default_rng(3)
    labels = [(("g", str(i % 2)), ("n", str(i))) for i in range(8)]
    present = rng.random((8, steps)) < 0.7
    whole = Vector(steps, labels, rng.random((8, steps)), present)
    q = np.linspace(0, 1, steps)
    asked = Asked()
    found = aggregate(op, whole, ("g",), False, Scalar(q), Annotations(), asked)
    assert len(asked.cells) > 1
    for at in (slice(0, 500), slice(262_000, 262_500)):
        some = Vector(500, labels, whole.values[:, at], present[:, at])
        small = aggregate(op, some, ("g",), False, Scalar(q[at]), Annotations())
        assert np.array_equal(found.values[:, at], small.values, equal_nan=True)
        assert np.array_equal(found.present[:, at], small.present)


def test_equal_values_are_ranked_in_turns() -> None:
    steps = 200_000
    labels = _named("n")[:6]
    whole = Vector(steps, labels, np.ones((6, steps)), np.ones((6, steps), dtype=bool))
    whole.values[:, ::3] = np.nan
    asked = Asked()
    found = aggregate("topk", whole, (), False, Scalar(np.full(steps, 2.0)), Annotations(), asked)
    assert len(asked.cells) > 2
    assert found.present.sum(axis=0).tolist() == [2] * steps
    with pytest.raises(TimedOut):
        aggregate("topk", whole, (), False, Scalar(np.full(steps, 2.0)), Annotations(), Asked(turns=1))


def test_quantiles_in_turns_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    indices = np.arange(3_000) * 7 - 9_000
    counts = rng.integers(0, 3, (400, len(indices))).astype(float)
    total = counts.sum(axis=1)
    spans, zero = Spans(indices, counts), np.zeros(400)
    h = Histogram(np.ones(400, dtype=bool), total, total, zero, spans, Spans.empty(400))
    parts = list(slices_of_steps(h))
    assert len(parts) > 1
    assert [at.start for at, _ in parts[1:]] == [at.stop for at, _ in parts[:-1]]
    q = rng.random(400)
    whole, _, _ = histogram_quantile(q, h)
    for at, part in parts:
        assert np.array_equal(histogram_quantile(q[at], part)[0], whole[at])
