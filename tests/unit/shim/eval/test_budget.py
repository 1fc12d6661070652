"""Evaluation asks before it takes memory, and between the turns of long work."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from shim.eval.aggregate import aggregate
from shim.eval.binary import Matching, binary
from shim.eval.broadcast import repeated
from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.eval.histogram.merging import combine, common_indices, trimmed, widened
from shim.eval.histogram.quantile import histogram_quantile
from shim.eval.histogram.step_slices import slices_of_steps
from shim.eval.window.evaluate import range_function
from shim.model.errors import ExecutionError, TimedOut
from shim.model.grid import Grid
from shim.model.values import Annotations, Histogram, Scalar, Spans, String, Vector
from tests.unit.shim.eval.make import samples

MANY = 50


@dataclass(slots=True)
class Asked:
    """Notes each request; refuses more than `limit` numbers, and time after `turns` questions."""

    limit: int = 10**9
    turns: int = 10**9
    cells: list[int] = field(default_factory=list)

    def __call__(self, cells: int) -> None:
        self.cells.append(cells)
        if cells > self.limit:
            raise ExecutionError(f"{cells} values, at most {self.limit}")
        if len(self.cells) > self.turns:
            raise TimedOut("query timed out in expression evaluation")


def test_every_pair_of_a_join_is_asked_for() -> None:
    """Partners that are present at different times: each series with each of them."""
    left = Vector(MANY, _named("l"), np.ones((MANY, MANY)), np.ones((MANY, MANY), dtype=bool))
    right = Vector(MANY, _named("r"), np.ones((MANY, MANY)), np.eye(MANY, dtype=bool))
    matching = Matching(on=True, labels=(), card="many-to-one", include=())
    with pytest.raises(ExecutionError, match=f"{MANY**3} values"):
        binary("+", left, right, matching, False, Annotations(), take=Asked(MANY**3 - 1))


def _named(name: str) -> list[tuple[tuple[str, str], ...]]:
    return [((name, str(i)),) for i in range(MANY)]


def test_a_quantile_of_every_step_is_asked_for() -> None:
    """Each of them is a series of its own over all steps."""
    histograms = [_histogram(MANY, np.array([0])) for _ in range(3)]
    empty = Vector.empty(MANY)
    vector = Vector(MANY, (), empty.values, empty.present, _named("h")[:3], histograms)
    q = Scalar(np.linspace(0, 1, MANY))
    context = CallContext(Grid(0, (MANY - 1) * 1000, 1000), take=Asked(3 * MANY * MANY - 1))
    with pytest.raises(ExecutionError, match=f"{3 * MANY * MANY} values"):
        call("histogram_quantiles", [vector, String("q"), q], context)


def test_what_is_repeated_is_asked_for() -> None:
    one = Vector(1, (), *_nothing(1), [()], [_histogram(1, np.arange(7))])
    with pytest.raises(ExecutionError, match=f"{(7 + 3) * 1000} values"):
        repeated(one, 1000, Asked(9_999))
    assert repeated(one, 1000, Asked(10_000)).steps == 1000


def _nothing(steps: int) -> tuple[np.typing.NDArray[np.float64], np.typing.NDArray[np.bool_]]:
    empty = Vector.empty(steps)
    return empty.values, empty.present


@pytest.mark.parametrize("function", ["stddev_over_time", "max_over_time", "mad_over_time", "deriv"])
def test_windows_ask_for_time_in_turns(function: str) -> None:
    data = samples({"m": [(t, t) for t in range(2_000)]})
    grid = Grid(0, 15_000_000, 1_000)
    asked = Asked(turns=1)
    with pytest.raises(TimedOut):
        range_function(function, data, grid, 1_000_000, (), Annotations(), take=asked)
    assert asked.cells[0] == grid.steps, "memory first"


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


# ---------------------------------------------------------------- buckets far apart


def test_buckets_far_apart_are_columns_side_by_side() -> None:
    low, high = Spans(np.array([-30_000]), np.ones((2, 1))), Spans(np.array([30_000]), np.ones((2, 1)))
    both = common_indices([low, high])
    assert both.tolist() == [-30_000, 30_000]
    assert widened(high, both).tolist() == [[0, 1], [0, 1]]
    summed = combine([_histogram(2, np.array([-30_000, 5])), _histogram(2, np.array([5, 30_000]))])
    assert summed.positive.indices.tolist() == [-30_000, 5, 30_000]
    assert summed.positive.counts.tolist() == [[1, 2, 1]] * 2
    assert trimmed(Spans(both, np.array([[0.0, 2.0]]))).indices.tolist() == [30_000]


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


def _histogram(steps: int, indices: np.typing.NDArray[np.int64]) -> Histogram:
    """One observation in each of some buckets, at every step."""
    spans = Spans(indices, np.ones((steps, len(indices))))
    count, zero = np.full(steps, float(len(indices))), np.zeros(steps)
    return Histogram(np.ones(steps, dtype=bool), count, count, zero, spans, Spans.empty(steps))
