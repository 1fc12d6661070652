"""Evaluation asks before it takes memory, and between the turns of long work."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from shim.eval.binary import Matching, binary
from shim.eval.broadcast import repeated
from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.eval.histogram.merging import combine, common_indices, trimmed, widened
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


def _histogram(steps: int, indices: np.typing.NDArray[np.int64]) -> Histogram:
    """One observation in each of some buckets, at every step."""
    spans = Spans(indices, np.ones((steps, len(indices))))
    count, zero = np.full(steps, float(len(indices))), np.zeros(steps)
    return Histogram(np.ones(steps, dtype=bool), count, count, zero, spans, Spans.empty(steps))
