"""Functions of instant vectors and scalars on small grids."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shim.eval.functions.registry import FUNCTIONS, call
from shim.eval.functions.signature import CallContext
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.values import Annotations, Scalar, String, Value, Vector
from tests.unit.shim.eval.make import INF, NAN, histogram, labels, rows, scalar, shown, texts, vector


def run(name: str, *args: Value, notes: Annotations | None = None, absent: Labels = ()) -> Value:
    steps = next(
        (len(a.values) if isinstance(a, Scalar) else a.steps for a in args if not isinstance(a, String)), 1
    )
    context = CallContext(Grid(0, 1000 * (steps - 1), 1000), notes or Annotations(), absent)
    found = call(name, args, context)
    return shown(found) if isinstance(found, Vector) else found


def apply(name: str, value: float, *more: float) -> float:
    found = run(name, vector({"m{a=1}": [value]}), *(scalar(v) for v in more))
    assert isinstance(found, Vector)
    assert list(found.labels) == [labels("{a=1}")]
    return float(found.values[0, 0])


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("abs", -2.5, 2.5), ("ceil", 1.2, 2), ("floor", -1.2, -2), ("exp", 1, math.e),
        ("sqrt", 9, 3), ("sqrt", -1, NAN), ("ln", 0, -INF), ("log2", 8, 3), ("log10", 1000, 3),
        ("sgn", -7, -1), ("sgn", NAN, NAN), ("sgn", 0, 0), ("sin", math.pi / 2, 1), ("cos", 0, 1),
        ("tan", 0, 0), ("asin", 1, math.pi / 2), ("acos", 1, 0), ("atan", 1, math.pi / 4),
        ("sinh", 0, 0), ("cosh", 0, 1), ("tanh", 0, 0), ("asinh", 0, 0), ("acosh", 1, 0),
        ("atanh", 2, NAN), ("deg", math.pi, 180), ("rad", 180, math.pi), ("round", 2.5, 3),
        ("round", -2.5, -2),
    ],
)  # fmt: skip
def test_of_one_number(name: str, value: float, want: float) -> None:
    assert apply(name, value) == pytest.approx(want, nan_ok=True)


def test_round_to_a_multiple_and_clamp() -> None:
    assert apply("round", 52.3, 5) == 50
    assert apply("round", 0.0078, 0.001) == 0.008
    assert apply("clamp", 7, 1, 5) == 5
    assert apply("clamp_min", -7, 1) == 1
    assert apply("clamp_max", 7, 1) == 1
    assert math.isnan(apply("clamp", NAN, 1, 5))
    assert rows(run("clamp", vector({"m": [7.0, 7.0]}), scalar(5, 1), scalar(1, 5))) == texts(
        {"": [None, 5.0]}
    )


@pytest.mark.parametrize("name", ["abs", "round", "minute"])
def test_histograms_are_dropped(name: str) -> None:
    found = run(name, vector({}, {"h": histogram([1.0])}))
    assert isinstance(found, Vector)
    assert not found.histograms


def test_every_function_knows_its_arguments_and_takes_empty_vectors() -> None:
    empty: dict[str, Value] = {"vector": Vector.empty(1), "scalar": scalar(1), "string": String("x")}
    for name, function in FUNCTIONS.items():
        assert function.name == name
        result = run(name, *(empty[kind] for kind in function.args))
        assert isinstance(result, Scalar if function.returns == "scalar" else Vector)


def test_wrong_calls() -> None:
    with pytest.raises(Unsupported, match="frobnicate"):
        run("frobnicate", scalar(1))
    with pytest.raises(BadData, match="wrong number of arguments in call to abs: 2"):
        run("abs", Vector.empty(1), scalar(1))
    with pytest.raises(BadData, match="label_join"):
        run("label_join", Vector.empty(1), String("a"))


def test_scalar_and_vector() -> None:
    found = run("scalar", vector({"m": [1.0, 1.0, None], "n": [None, 2.0, None]}))
    assert isinstance(found, Scalar)
    assert np.array_equal(found.values, [1, NAN, NAN], equal_nan=True)
    assert rows(run("vector", scalar(1, 2))) == texts({"": [1.0, 2.0]})


def test_time_and_pi() -> None:
    context = CallContext(Grid(1500, 3500, 1000))
    time, pi = call("time", (), context), call("pi", (), context)
    assert isinstance(time, Scalar)
    assert isinstance(pi, Scalar)
    assert time.values.tolist() == [1.5, 2.5, 3.5]
    assert pi.values.tolist() == [math.pi] * 3


def test_timestamp_of_what_is_computed_is_the_steps() -> None:
    v = vector({"m": [1.0, None]}, {"h": histogram(None, [1.0])})
    grid = Grid(60_000, 120_000, 60_000)
    assert rows(call("timestamp", [v], CallContext(grid))) == texts({"": [60.0, 120.0]})


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("minute", 49), ("hour", 23), ("day_of_week", 4), ("day_of_month", 29), ("day_of_year", 60),
        ("days_in_month", 29), ("month", 2), ("year", 2024),
    ],
)  # fmt: skip
def test_dates(name: str, want: float) -> None:
    leap_day = 1709250540.9  # Thursday, 2024-02-29 23:49:00.9 UTC
    assert apply(name, leap_day) == want
    assert math.isnan(apply(name, NAN))
    now = call(name, (), CallContext(Grid.instant(1709250540_000)))
    assert rows(now) == texts({"": [float(want)]})


def test_dates_before_1970() -> None:
    assert apply("year", -1) == 1969
    assert apply("minute", -60) == 59
    assert apply("day_of_week", -86400) == 3


def test_label_replace() -> None:
    v = vector({"m{src=source-value-10}": [1.0], "m{src=other}": [2.0]})
    found = run("label_replace", v, *map(String, ("dst", "to-$1 ${2} $$", "src", "source-(.*)-(?P<n>.*)")))
    assert rows(found) == texts({"m{src=source-value-10,dst=to-value 10 $}": [1.0], "m{src=other}": [2.0]})
    named = run("label_replace", v, *map(String, ("dst", "$n$missing", "src", "source-.*-(?P<n>.*)")))
    assert labels("m{src=source-value-10,dst=10}") in rows(named)


def test_label_replace_matches_whole_values_and_takes_labels_away() -> None:
    v = vector({"m{src=abc,dst=old}": [1.0]})
    assert rows(run("label_replace", v, *map(String, ("dst", "x", "src", "b")))) == rows(v)
    assert rows(run("label_replace", v, *map(String, ("dst", "", "src", ".*")))) == texts(
        {"m{src=abc}": [1.0]}
    )
    assert rows(run("label_replace", v, *map(String, ("new", "x", "none", "")))) == texts(
        {"m{src=abc,dst=old,new=x}": [1.0]}
    )


def test_label_replace_refuses() -> None:
    v = vector({"m{a=1}": [1.0], "m{a=2}": [2.0]})
    with pytest.raises(ExecutionError, match=r"invalid regular expression in label_replace\(\): \(.\*"):
        run("label_replace", v, *map(String, ("dst", "", "src", "(.*")))
    with pytest.raises(ExecutionError, match="invalid destination label name"):
        run("label_replace", v, *map(String, ("", "", "src", "(.*)")))
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same labelset"):
        run("label_replace", v, *map(String, ("a", "", "a", "(.*)")))


def test_label_join() -> None:
    v = vector({"m{a=1,b=2}": [1.0]})
    assert rows(run("label_join", v, *map(String, ("dst", "-", "a", "none", "b")))) == texts(
        {"m{a=1,b=2,dst=1--2}": [1.0]}
    )
    assert rows(run("label_join", v, *map(String, ("a", "-")))) == texts({"m{b=2}": [1.0]})
    with pytest.raises(ExecutionError, match="invalid source label name"):
        run("label_join", v, *map(String, ("a", "-", "")))
    with pytest.raises(ExecutionError, match="invalid destination label name"):
        run("label_join", v, *map(String, ("", "-", "a")))


def order(found: Value) -> list[str]:
    assert isinstance(found, Vector)
    assert found.ordered
    return [dict(name)["i"] for name in found.labels]


def test_sorting_an_instant() -> None:
    v = vector({"m{i=a10}": [2.0], "m{i=a2}": [NAN], "m{i=b}": [1.0]}, {"h": histogram([1.0])})
    assert order(run("sort", v)) == ["b", "a10", "a2"]
    assert order(run("sort_desc", v)) == ["a10", "b", "a2"]
    assert order(run("sort_by_label", v, String("i"))) == ["a2", "a10", "b"]
    assert order(run("sort_by_label_desc", v, String("i"))) == ["b", "a10", "a2"]
    kept = run("sort_by_label", v)
    assert isinstance(kept, Vector)
    assert len(kept.histograms) == 1


def test_sorting_a_range_does_nothing_but_warn() -> None:
    notes = Annotations()
    v = vector({"m{i=1}": [2.0, 2.0], "m{i=0}": [1.0, 1.0]})
    assert rows(run("sort", v, notes=notes)) == rows(v)
    assert rows(run("sort_by_label", v, String("i"), notes=notes)) == rows(v)
    assert notes.warnings == [
        "PromQL warning: sort is ineffective for range queries since results are always ordered by labels"
    ]


def test_absent() -> None:
    v = vector({"m": [1.0, None, None]}, {"h": histogram(None, [1.0], None)})
    assert rows(run("absent", v, absent=labels("{job=x}"))) == texts({"{job=x}": [None, None, 1.0]})
    assert rows(run("absent", vector({"m": [1.0]}))) == {}
    assert rows(run("absent", Vector.empty(2))) == texts({"": [1.0, 1.0]})


def test_a_name_that_is_to_go_can_still_be_read_and_kept() -> None:
    rated = call("abs", [vector({"m{a=1}": [-2.0]})], CallContext(Grid.instant(0)))
    name, any_ = String("__name__"), String("(.+)")
    copied = run("label_replace", rated, String("n"), String("$1"), name, any_)
    assert rows(copied) == texts({"{a=1,n=m}": [2.0]})
    kept = run(
        "label_replace", rated, String("__name__"), String("abs_$1"), String("__name__"), String("(.+)")
    )
    assert rows(kept) == texts({"abs_m{a=1}": [2.0]})


@pytest.mark.parametrize(
    ("name", "a", "b", "want"),
    [
        ("max_of", 1, 2, 2), ("min_of", 1, 2, 1), ("max_of", NAN, 2, NAN), ("min_of", 2, NAN, NAN),
        ("max_of", NAN, INF, INF), ("max_of", NAN, -INF, NAN), ("min_of", NAN, -INF, -INF),
        ("min_of", INF, NAN, NAN),
    ],
)  # fmt: skip
def test_the_larger_and_the_smaller_of_two_scalars(name: str, a: float, b: float, want: float) -> None:
    found = run(name, scalar(a), scalar(b))
    assert isinstance(found, Scalar)
    assert found.values[0] == pytest.approx(want, nan_ok=True)


def test_nobody_sends_start_timestamps() -> None:
    assert rows(run("start_timestamp", vector({"m{a=1}": [1.0, 2.0]}))) == {}
