"""Aggregations of all series chunk by chunk equal those of the whole vector."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval import chunked_aggregation
from shim.eval.aggregate import aggregate
from shim.eval.budget import Take, free
from shim.model.errors import ExecutionError
from shim.model.labels import dropping_name, get, of_set
from shim.model.numbered_labels import Numbered, each_changed, named, number_of
from shim.model.values import Annotations, Scalar, String, Vector
from tests.unit.shim.eval.make import INF, NAN, rows

STEPS = 4
CASES: list[tuple[str, float | str | None]] = [
    *((op, None) for op in ("sum", "avg", "min", "max", "count", "group")),
    *(("quantile", q) for q in (0.0, 0.3, 1.0, 2.0, NAN)),
    ("count_values", "v"),
    *((op, k) for op in ("topk", "bottomk") for k in (-1.0, 0.0, 1.0, 2.9, 7.0, 100.0)),
]


def some(rng: np.random.Generator, count: int) -> Vector:
    """Series with gaps, equal values, infinities and NaN."""
    values = rng.choice([1.0, 2.0, 2.0, 3.5, -4.0, INF, -INF, NAN], (count, STEPS))
    labels = [(("__name__", "m"), ("i", str(i))) for i in rng.permutation(count).tolist()]
    return Vector(STEPS, labels, values, rng.random((count, STEPS)) < 0.7)


def folded(op: str, vector: Vector, param: Scalar | String | None, size: int, take: Take = free) -> Vector:
    made = chunked_aggregation.fold(op, STEPS, param, Annotations(), take)
    for first in range(0, len(vector.labels), size):
        part = slice(first, first + size)
        made.add(Vector(STEPS, vector.labels[part], vector.values[part], vector.present[part]))
    found = made.result()
    return aggregate(op, found, (), False, param, Annotations()) if op in ("topk", "bottomk") else found


@pytest.mark.parametrize(("op", "param"), CASES)
@pytest.mark.parametrize("seed", range(8))
def test_chunks_give_what_the_whole_gives(
    op: str, param: float | str | None, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_aggregation, "_MIN_CHOICE", 1)
    rng = np.random.default_rng(seed)
    vector = some(rng, int(rng.integers(1, 40)))
    given: Scalar | String | None = None
    if param is not None:
        given = String(param) if isinstance(param, str) else Scalar(np.full(STEPS, param))
    whole = aggregate(op, vector, (), False, given, Annotations())
    found = folded(op, vector, given, int(rng.integers(1, 12)))
    assert repr(sorted(rows(found).items())) == repr(sorted(rows(whole).items()))  # NaN is NaN


def test_few_contenders_are_kept() -> None:
    """Series that others beat at every step are forgotten between chunks."""
    values = np.arange(20_000.0)[:, None] + np.zeros(STEPS)
    vector = Vector(STEPS, Numbered("m", 0, 20_000), values, np.ones(values.shape, dtype=bool))
    asked: list[int] = []
    found = folded("topk", vector, Scalar(np.full(STEPS, 3.0)), 500, asked.append)
    assert [number_of(one) for one in found.labels] == [19_997, 19_998, 19_999]
    assert max(asked) <= 2_000 * STEPS


def test_values_of_all_are_asked_for() -> None:
    def refuse(cells: int) -> None:
        if cells > 100:
            raise ExecutionError("too many")

    vector = some(np.random.default_rng(1), 40)
    with pytest.raises(ExecutionError, match="too many"):
        folded("quantile", vector, Scalar(np.full(STEPS, 0.5)), 5, refuse)


def test_numbers_in_place_of_labels() -> None:
    plain = Numbered("m", 0, 5)
    assert len(set(plain)) == len(plain) == 5
    assert [number_of(one) for one in plain[2:4]] == [2, 3]
    marked = each_changed(each_changed(plain, of_set), dropping_name)
    assert list(marked) == [dropping_name(of_set(one)) for one in plain]
    real = (("__name__", "m"), ("host", "a"))
    assert named(marked[3], real) == dropping_name(of_set(real))
    assert get(plain[4], "__name__") == "m"
    with pytest.raises(IndexError):
        plain[5]
