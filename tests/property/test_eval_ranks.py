"""topk and bottomk over a range: selecting the k first equals sorting, ties and holes included."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.eval.aggregation.ranks import _contenders, _kept, _places
from shim.eval.grouping import grouped
from shim.model.values import Vector

SHAPES = st.tuples(st.integers(1, 12), st.integers(2, 5))


@given(st.data(), SHAPES, st.integers(-1, 14), st.booleans(), st.booleans(), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_selected_is_sorted(
    data: st.DataObject, shape: tuple[int, int], k: int, descending: bool, wild: bool, groups: int
) -> None:
    numbers = st.integers(-2, 2).map(float)  # few, so that many are equal
    if wild:
        numbers |= st.sampled_from([np.nan, np.inf, -np.inf, -0.0])
    rows, steps = shape
    values = np.array(data.draw(st.lists(numbers, min_size=rows * steps, max_size=rows * steps)))
    holes = data.draw(st.lists(st.booleans(), min_size=rows * steps, max_size=rows * steps))
    labels = [(("g", str(i % groups)), ("i", str(i))) for i in range(rows)]
    vector = Vector(steps, labels, values.reshape(shape), np.array(holes).reshape(shape))
    of = grouped(vector, ("g",), without=False)
    limit = np.full(steps, float(k))
    if k == 3:
        limit[-1] = 1  # k may differ from step to step
    sorted_first = of.present & (_places(of, descending=descending)[1] < limit)
    kept = _kept(of, limit, descending=descending, ordered=True)
    assert kept is not None
    assert np.array_equal(kept, sorted_first)
    narrowed = _contenders(of, limit, descending=descending)
    assert set(of.order[sorted_first.any(axis=1)].tolist()) <= set(narrowed.order.tolist())
    few = np.zeros(sorted_first.shape, dtype=bool)
    few[narrowed.order] = narrowed.present & (_places(narrowed, descending=descending)[1] < limit)
    assert np.array_equal(few[of.order], sorted_first)
    unordered = _kept(of, limit, descending=descending)
    assert unordered is None or np.array_equal(unordered, sorted_first)
