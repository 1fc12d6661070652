"""Aggregations on small grids, with the values of Prometheus' own tests."""

from __future__ import annotations

import numpy as np
import pytest

from shim.eval.aggregate import aggregate
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.values import Annotations, Scalar, String, Vector
from tests.unit.shim.eval.make import INF, NAN, histogram, labels, rows, scalar, texts, vector

BIG = 9.988465674311579e307


def run(op: str, v: Vector, *by: str, without: bool = False, param: Scalar | String | None = None) -> Vector:
    return aggregate(op, v, by, without, param, Annotations())


def one(op: str, *values: float) -> float:
    """Return the aggregate of some values at one step."""
    result = run(op, vector({f"m{{i={i}}}": [v] for i, v in enumerate(values)}))
    return float(result.values[0, 0])


def test_by_keeps_the_labels_named_and_without_drops_the_name_too() -> None:
    v = vector({"m{a=1,b=x}": [1.0], "m{a=1,b=y}": [2.0], "m{a=2,b=x}": [4.0]})
    assert rows(run("sum", v, "a")) == texts({"{a=1}": [3.0], "{a=2}": [4.0]})
    assert rows(run("sum", v, "b", without=True)) == texts({"{a=1}": [3.0], "{a=2}": [4.0]})
    assert rows(run("sum", v, "__name__")) == texts({"m": [7.0]})
    assert rows(run("group", v)) == texts({"": [1.0]})


def test_a_group_is_present_where_one_of_its_series_is() -> None:
    v = vector({"{a=1}": [1.0, None, None], "{a=2}": [None, 2.0, None]})
    assert rows(run("sum", v)) == texts({"": [1.0, 2.0, None]})
    assert rows(run("count", v)) == texts({"": [1.0, 1.0, None]})


@pytest.mark.parametrize("op", ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"])
def test_nothing_in_nothing_out(op: str) -> None:
    assert not len(run(op, Vector.empty(3), "a").labels)


def test_sums_are_compensated() -> None:
    assert one("sum", 2, 8, 1e100, -1e100) == 10
    assert one("avg", 2, 8, 1e100, -1e100) == 2.5
    assert one("avg", *[52.0] * 12) == 52


def test_a_mean_does_not_overflow() -> None:
    assert one("avg", BIG, BIG, BIG, BIG) == BIG
    assert one("avg", -BIG, -BIG, BIG, BIG) == 0


def test_infinities_and_nan() -> None:
    assert one("sum", INF, 2) == INF
    assert one("avg", 0, -INF, -INF) == -INF
    assert np.isnan(one("sum", INF, -INF))
    assert np.isnan(one("avg", -INF, 0, INF))
    assert one("min", NAN, 2, 1) == 1
    assert one("max", 2, NAN) == 2
    assert np.isnan(one("max", NAN))
    assert np.isnan(one("stddev", 1, 2, INF))
    assert np.isnan(one("stdvar", NAN))


def test_spread_of_equal_values_is_zero() -> None:
    assert one("stdvar", 0.1, 0.1, 0.1) == 0
    assert one("stddev", 1, 2) == 0.5


def test_quantile_takes_nan_for_the_smallest_value() -> None:
    v = vector({"{i=0}": [0.0], "{i=1}": [1.0], "{i=2}": [NAN]})
    assert run("quantile", v, param=scalar(0.8)).values[0, 0] == pytest.approx(0.6)
    assert np.isnan(run("quantile", v, param=scalar(0.2)).values[0, 0])


def test_quantile_parameter_may_change_and_be_wrong() -> None:
    notes = Annotations()
    v = vector({"{i=0}": [0.0, 0.0, 0.0], "{i=1}": [1.0, 1.0, 1.0]})
    result = aggregate("quantile", v, (), False, scalar(0.5, 2, -1), notes)
    assert result.values[0].tolist() == [0.5, INF, -INF]
    assert notes.warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got -1",
        "PromQL warning: quantile value should be between 0 and 1, got 2",
    ]


def test_topk_of_an_instant_comes_in_order_with_nan_last() -> None:
    v = vector({"m{i=0}": [100.0], "m{i=1}": [200.0], "m{i=2}": [NAN]})
    top = run("topk", v, param=scalar(3))
    assert top.ordered
    assert [name[1][1] for name in top.labels] == ["1", "0", "2"]
    assert [name[1][1] for name in run("bottomk", v, param=scalar(2)).labels] == ["0", "1"]


def test_topk_chooses_at_every_step_and_per_group() -> None:
    v = vector({"m{g=a,i=0}": [1.0, 9.0], "m{g=a,i=1}": [2.0, 3.0], "m{g=b,i=0}": [7.0, None]})
    assert rows(run("topk", v, "g", param=scalar(1, 1))) == texts(
        {"m{g=a,i=0}": [None, 9.0], "m{g=a,i=1}": [2.0, None], "m{g=b,i=0}": [7.0, None]}
    )
    assert rows(run("topk", v, param=scalar(0, 2))) == texts(
        {"m{g=a,i=0}": [None, 9.0], "m{g=a,i=1}": [None, 3.0]}
    )


@pytest.mark.parametrize(
    ("op", "k", "text"),
    [
        ("topk", NAN, "Parameter value is NaN"),
        ("limitk", NAN, "Parameter value is NaN"),
        ("limit_ratio", NAN, "Ratio value is NaN"),
        ("topk", 1e20, "Scalar value 1e+20 overflows int64"),
        ("bottomk", -1e20, "Scalar value -1e+20 underflows int64"),
    ],
)
def test_parameters_prometheus_refuses(op: str, k: float, text: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        run(op, Vector.empty(1), param=scalar(k))
    assert str(caught.value) == text


def test_limit_ratio_and_its_complement_share_the_series() -> None:
    v = vector({f"m{{i={i}}}": [float(i)] for i in range(50)}, {"h": histogram([1.0])})
    some, rest = run("limit_ratio", v, param=scalar(0.3)), run("limit_ratio", v, param=scalar(-0.7))
    assert 5 < len(some.labels) < 25
    assert set(some.labels) | set(rest.labels) == set(v.labels)
    assert not set(some.labels) & set(rest.labels)
    assert len(some.histograms) + len(rest.histograms) == 1
    notes = Annotations()
    aggregate("limit_ratio", v, (), False, scalar(1.1), notes)
    assert notes.warnings == ["PromQL warning: ratio value should be between -1 and 1, got 1.1, capping to 1"]


def test_limitk_takes_histograms_too() -> None:
    v = vector({"m{i=0}": [1.0]}, {"h{i=0}": histogram([1.0]), "h{i=1}": histogram([1.0])})
    found = run("limitk", v, param=scalar(2))
    assert (len(found.labels), len(found.histograms)) == (1, 1)
    assert not len(run("limitk", v, param=scalar(-1)).labels)


def test_count_values_writes_the_value_into_a_label() -> None:
    v = vector({"m{i=0}": [6.0], "m{i=1}": [6.0], "m{i=2}": [NAN], "m{i=3}": [1e21]})
    assert rows(run("count_values", v, param=String("version"))) == texts(
        {"{version=6}": [2.0], "{version=NaN}": [1.0], "{version=1000000000000000000000}": [1.0]}
    )
    assert rows(run("count_values", v, "i", without=True, param=String("i"))) == texts({"": [4.0]})


def test_count_values_of_histograms() -> None:
    v = vector({}, {"h{i=0}": histogram([1.0, 0.0, -2.0]), "h{i=1}": histogram([1.0, 0.0, -2.0])})
    (name,) = run("count_values", v, param=String("v")).labels
    lower = 2 ** (-1 / 32)
    assert dict(name)["v"].startswith("{count:3, sum:-1, [-2,-1.957")
    assert dict(name)["v"].endswith(f"[0,0]:1, ({np.format_float_positional(lower)},1]:1}}")


def test_sum_and_avg_merge_histograms() -> None:
    v = vector({}, {"h{i=0}": histogram([1.0, 3.0], [5.0]), "h{i=1}": histogram([8.0], None)})
    merged = run("sum", v).histograms[0]
    assert merged.count.tolist() == [3, 1]
    assert merged.sum.tolist() == [12, 5]
    mean = run("avg", v).histograms[0]
    assert mean.count.tolist() == [1.5, 1]
    assert mean.sum.tolist() == [6, 5]


@pytest.mark.parametrize("op", ["sum", "avg"])
def test_floats_and_histograms_at_one_step_give_a_warning_and_nothing(op: str) -> None:
    notes = Annotations()
    v = vector({"m": [1.0, 1.0, None]}, {"h": histogram([1.0], None, [2.0])})
    result = aggregate(op, v, (), False, None, notes)
    assert rows(result) == texts({"": [None, 1.0, None]})
    assert result.histograms[0].present.tolist() == [False, False, True]
    assert notes.warnings == ["PromQL warning: encountered a mix of histograms and floats for aggregation"]


@pytest.mark.parametrize("op", ["min", "max", "stddev", "stdvar", "quantile", "topk", "bottomk"])
def test_the_others_leave_histograms_out_with_an_info(op: str) -> None:
    notes = Annotations()
    param = scalar(0.5 if op == "quantile" else 1) if op in ("quantile", "topk", "bottomk") else None
    v = vector({"m": [1.0]}, {"h": histogram([1.0])})
    result = aggregate(op, v, ("x",), False, param, notes)
    assert len(result.labels) == 1
    assert not result.histograms
    assert notes.infos == [f"PromQL info: ignored histogram in {op} aggregation"]
    alone = vector({}, {"h": histogram([1.0])})
    assert not len(aggregate(op, alone, (), False, param, notes).labels)


def test_count_and_group_see_histograms() -> None:
    v = vector({"m": [1.0]}, {"h": histogram([1.0])})
    assert rows(run("count", v)) == texts({"": [2.0]})
    assert rows(run("group", v, "__name__")) == texts({"m": [1.0], "h": [1.0]})


def test_unknown_and_incomplete() -> None:
    with pytest.raises(Unsupported, match="median"):
        run("median", Vector.empty(1))
    with pytest.raises(BadData, match="topk"):
        run("topk", Vector.empty(1))
    with pytest.raises(BadData, match="string"):
        run("count_values", Vector.empty(1))
    with pytest.raises(ExecutionError, match="invalid label name"):
        run("count_values", vector({"m": [1.0]}), param=String(""))


def test_arguments_are_left_alone() -> None:
    v = vector({"m{i=0}": [1.0, None], "m{i=1}": [2.0, 3.0]}, {"h": histogram([1.0], None)})
    before = (v.values.copy(), v.present.copy(), v.histograms[0].present.copy())
    for op in ("sum", "avg", "min", "stddev", "count"):
        run(op, v)
    run("topk", v, param=scalar(1, 1))
    run("limitk", v, param=scalar(1, 1))
    assert np.array_equal(v.values, before[0], equal_nan=True)
    assert (v.present == before[1]).all()
    assert (v.histograms[0].present == before[2]).all()
    assert labels("m{i=0}") == v.labels[0]


@pytest.mark.parametrize("op", ["topk", "bottomk"])
@pytest.mark.parametrize("k", [[2.0], [2.0, 2.0, 2.0], [2.0, 1.0, 2.0]])
def test_of_equal_values_those_with_the_first_labels_are_taken(op: str, k: list[float]) -> None:
    """The rows may come in any order."""
    names = ["m{g=a,i=3}", "m{g=a,i=1}", "m{g=b,i=9}", "m{g=a,i=2}", "m{g=b,i=0}"]
    found = rows(run(op, vector({name: [5.0] * len(k) for name in names}), "g", param=scalar(*k)))
    second: list[float | None] = [5.0 if limit > 1 else None for limit in k]
    assert found == texts(
        {
            "m{g=a,i=1}": [5.0] * len(k),
            "m{g=a,i=2}": second,
            "m{g=b,i=0}": [5.0] * len(k),
            "m{g=b,i=9}": second,
        }
    )
