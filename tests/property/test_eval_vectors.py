"""Aggregations and vector matching equal the naive algorithms at every step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.eval.aggregate import aggregate
from shim.eval.binary import Matching, binary
from shim.eval.grouping import group_labels
from shim.model import labels as lbl
from shim.model.errors import ExecutionError
from shim.model.labels import Labels, make
from shim.model.number_format import plain_text
from shim.model.values import Annotations, Scalar, String, Vector
from tests.unit.shim.eval import reference
from tests.unit.shim.eval.make import shown

STEPS = 4
NUMBERS = st.one_of(st.integers(-3, 9).map(float), st.just(-0.0), st.floats(-1e6, 1e6, allow_subnormal=False))
WILD = st.one_of(NUMBERS, st.sampled_from([math.nan, math.inf, -math.inf]))


@st.composite
def vectors(draw: st.DrawFn, numbers: st.SearchStrategy[float]) -> Vector:
    """Return a few series over a few steps, with holes."""
    names = st.fixed_dictionaries(
        {"__name__": st.sampled_from("mn"), "a": st.sampled_from("xy"), "b": st.sampled_from(["", "1", "2"])}
    )
    labels = draw(st.lists(names.map(make), unique=True, max_size=8))
    shape = (len(labels), STEPS)
    flat = draw(st.lists(numbers, min_size=len(labels) * STEPS, max_size=len(labels) * STEPS))
    holes = draw(st.lists(st.booleans(), min_size=len(flat), max_size=len(flat)))
    values, present = np.array(flat).reshape(shape), np.array(holes, dtype=bool).reshape(shape)
    return Vector(STEPS, labels, np.where(present, values, math.nan), present)


def at(vector: Vector, step: int) -> list[reference.Sample]:
    return [
        (name, float(values[step]))
        for name, values, present in zip(vector.labels, vector.values, vector.present, strict=True)
        if present[step]
    ]


def same(got: Sequence[reference.Sample], want: dict[Labels, float]) -> None:
    assert {name for name, _ in got} == set(want)
    assert len(got) == len(want)
    for name, value in got:
        assert value == pytest.approx(want[name], rel=1e-9, abs=1e-6, nan_ok=True)


AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": reference.kahan,
    "avg": reference.mean,
    "min": reference.least,
    "max": reference.greatest,
    "count": len,
    "group": lambda _: 1.0,
    "stdvar": reference.welford,
    "stddev": lambda v: math.sqrt(reference.welford(v)),
    "quantile": lambda v: reference.quantile(0.7, v),
}
GROUPINGS = st.sets(st.sampled_from(["a", "b", "__name__"]))


@pytest.mark.parametrize("op", AGGREGATIONS)
@settings(max_examples=30, deadline=None)
@given(vector=vectors(WILD), grouping=GROUPINGS, without=st.booleans())
def test_aggregation(op: str, vector: Vector, grouping: set[str], without: bool) -> None:
    param = Scalar(np.full(STEPS, 0.7)) if op == "quantile" else None
    result = aggregate(op, vector, grouping, without, param, Annotations())
    for step in range(STEPS):
        groups: dict[Labels, list[float]] = {}
        for name, value in at(vector, step):
            groups.setdefault(group_labels(name, grouping, without), []).append(value)
        same(at(result, step), {name: AGGREGATIONS[op](values) for name, values in groups.items()})


@pytest.mark.parametrize("op", ["topk", "bottomk", "limitk"])
@settings(max_examples=100, deadline=None)
@given(
    vector=vectors(WILD),
    grouping=GROUPINGS,
    k=st.lists(st.integers(-1, 5).map(float), min_size=STEPS, max_size=STEPS),
)
def test_choosing(op: str, vector: Vector, grouping: set[str], k: list[float]) -> None:
    result = aggregate(op, vector, grouping, False, Scalar(np.array(k)), Annotations())
    for step in range(STEPS):
        groups: dict[Labels, list[reference.Sample]] = {}
        for sample in at(vector, step):
            groups.setdefault(group_labels(sample[0], grouping, False), []).append(sample)
        sign = -1 if op == "topk" else 1
        want: dict[Labels, float] = {}
        for group in groups.values():
            if op != "limitk":
                group.sort(key=lambda s: (math.isnan(s[1]), 0.0 if math.isnan(s[1]) else sign * s[1], s[0]))
            want.update(group[: max(0, int(k[step]))])
        same(at(result, step), want)


@settings(max_examples=30, deadline=None)
@given(vector=vectors(WILD), grouping=GROUPINGS, without=st.booleans())
def test_count_values_counts_every_value_once(vector: Vector, grouping: set[str], without: bool) -> None:
    label = String("a") if grouping & {"a"} else String("v")
    result = aggregate("count_values", vector, grouping, without, label, Annotations())
    by = grouping if without else grouping | {label.text}
    for step in range(STEPS):
        wanted: Counter[Labels] = Counter()
        for name, value in at(vector, step):
            named = make({**dict(name), label.text: plain_text(value)})
            wanted[group_labels(named, by, without)] += 1
        same(at(result, step), {name: float(count) for name, count in wanted.items()})


MATCHINGS = st.builds(
    Matching,
    st.sampled_from(["one-to-one", "many-to-one", "one-to-many"]),
    st.booleans(),
    st.sets(st.sampled_from(["a", "b"])).map(tuple),
    st.sets(st.sampled_from(["a", "b", "__name__"])).map(tuple),
).map(lambda m: m if m.card != "one-to-one" else Matching(m.card, m.on, m.labels))


@settings(max_examples=200, deadline=None)
@given(left=vectors(NUMBERS), right=vectors(NUMBERS), matching=MATCHINGS)
def test_vector_matching(left: Vector, right: Vector, matching: Matching) -> None:
    try:
        wanted = [reference.subtract(at(left, s), at(right, s), matching) for s in range(STEPS)]
    except reference.NotUnique:
        with pytest.raises(ExecutionError):
            binary("-", left, right, matching, False, Annotations())
        return
    result = binary("-", left, right, matching, False, Annotations())
    assert isinstance(result, Vector)
    for step in range(STEPS):
        same(at(result, step), wanted[step])


@pytest.mark.parametrize("op", ["and", "or", "unless"])
@settings(max_examples=30, deadline=None)
@given(left=vectors(WILD), right=vectors(WILD), on=st.booleans(), names=st.sets(st.sampled_from("ab")))
def test_set_operators(op: str, left: Vector, right: Vector, on: bool, names: set[str]) -> None:
    matching = Matching("many-to-many", on, tuple(names))
    wanted: list[dict[Labels, float]] = []
    for step in range(STEPS):
        a, b = at(left, step), at(right, step)
        mine, theirs = ({matching.signature(name) for name, _ in side} for side in (a, b))
        if op == "or":
            chosen = a + [s for s in b if matching.signature(s[0]) not in mine]
        else:
            chosen = [s for s in a if (matching.signature(s[0]) in theirs) == (op == "and")]
        if len(dict(chosen)) < len(chosen):
            with pytest.raises(ExecutionError, match="same labelset"):
                binary(op, left, right, matching, False, Annotations())
            return
        wanted.append(dict(chosen))
    result = binary(op, left, right, matching, False, Annotations())
    assert isinstance(result, Vector)
    for step in range(STEPS):
        same(at(result, step), wanted[step])


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}


@pytest.mark.parametrize("op", COMPARISONS)
@settings(max_examples=30, deadline=None)
@given(vector=vectors(WILD), scalar=st.lists(WILD, min_size=STEPS, max_size=STEPS), swapped=st.booleans())
def test_comparison_with_a_scalar_filters_and_keeps_the_name(
    op: str, vector: Vector, scalar: list[float], swapped: bool
) -> None:
    other = Scalar(np.array(scalar))
    left, right = (other, vector) if swapped else (vector, other)
    filtered = binary(op, left, right, None, False, Annotations())
    assert isinstance(filtered, Vector)
    for step in range(STEPS):
        pairs = [(name, value, scalar[step]) for name, value in at(vector, step)]
        holds = [COMPARISONS[op](b, a) if swapped else COMPARISONS[op](a, b) for _, a, b in pairs]
        same(at(filtered, step), {name: a for (name, a, _), kept in zip(pairs, holds, strict=True) if kept})


@settings(max_examples=30, deadline=None)
@given(vector=vectors(NUMBERS))
def test_bool_comparison_is_arithmetic_on_presence(vector: Vector) -> None:
    unnamed = Vector(
        vector.steps,
        [make({**dict(name), "n": lbl.get(name, lbl.NAME)}) for name in vector.labels],
        vector.values,
        vector.present,
    )
    result = binary(">", unnamed, Scalar(np.zeros(STEPS)), None, True, Annotations())
    assert isinstance(result, Vector)
    for step in range(STEPS):
        same(
            at(shown(result), step),
            {lbl.without(name, {lbl.NAME}): float(value > 0) for name, value in at(unnamed, step)},
        )
