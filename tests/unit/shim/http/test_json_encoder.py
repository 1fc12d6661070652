"""Answers as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from shim.engine.api import Kind, QueryResult
from shim.http.histogram_json import histogram_texts
from shim.http.json_encoder import encode
from shim.model.errors import InternalError
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.values import Histogram, Samples, Scalar, Spans, String, Vector

A: Labels = (("__name__", "up"), ("job", "a"))
B: Labels = (("__name__", "up"), ("job", "b"))
C: Labels = (("Zone", "x"), ("__name__", "up"))
INSTANT = Grid.instant(1_500)
RANGE = Grid(10_000, 30_000, 10_000)


def result(kind: Kind, value: Any, grid: Grid, limit: int = 0) -> Any:
    return json.loads(encode(QueryResult(kind, value, grid), limit).result)


def vector(rows: dict[Labels, list[float | None]], **more: Any) -> Vector:
    steps = max((len(v) for v in rows.values()), default=1)
    present = np.array([[v is not None for v in row] for row in rows.values()], dtype=bool).reshape(-1, steps)
    values = np.array([[v if v is not None else 7.5 for v in row] for row in rows.values()], dtype=float)
    return Vector(steps, tuple(rows), values.reshape(-1, steps), present, **more)


def histogram(present: list[bool]) -> Histogram:
    steps = len(present)
    return Histogram(
        np.array(present),
        np.full(steps, 6.0),
        np.full(steps, 10.5),
        np.full(steps, 1.0),
        Spans.dense(32, np.array([[2.0, 0.0, 1.0]] * steps)),
        Spans.dense(0, np.array([[1.0, 1.0]] * steps)),
    )


ENCODED_HISTOGRAM = {
    "count": "6",
    "sum": "10.5",
    "buckets": [
        [1, "-1.0218971486541166", "-1", "1"],
        [1, "-1", "-0.9785720620877001", "1"],
        [3, "-2.938735877055719e-39", "2.938735877055719e-39", "1"],
        [0, "1.9571441241754002", "2", "2"],
        [0, "2.0437942973082332", "2.0885475648548275", "1"],
    ],
}


def assert_close(got: Any, want: Any) -> None:
    """Bounds may differ in the last digit by platform."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g[0] == w[0]
        assert [float(x) for x in g[1:]] == pytest.approx([float(x) for x in w[1:]], rel=1e-14)


def test_scalar_and_string() -> None:
    assert encode(QueryResult("scalar", Scalar(np.array([2.0])), INSTANT)).result == b'[1.500,"2"]'
    assert encode(QueryResult("scalar", Scalar(np.array([math.nan])), INSTANT)).result == b'[1.500,"NaN"]'
    assert result("string", String('a"\n\\ü'), INSTANT) == [1.5, 'a"\n\\ü']


def test_vector_is_sorted_unless_ordered_and_leaves_out_what_is_absent() -> None:
    rows: dict[Labels, list[float | None]] = {B: [1.0], A: [math.inf], C: [None]}
    assert result("vector", vector(rows), INSTANT) == [
        {"metric": dict(A), "value": [1.5, "+Inf"]},
        {"metric": dict(B), "value": [1.5, "1"]},
    ]
    ordered = result("vector", vector(rows, ordered=True), INSTANT)
    assert [e["metric"]["job"] for e in ordered] == ["b", "a"]


def test_a_label_before_the_name_keeps_its_place() -> None:
    encoded = encode(QueryResult("vector", vector({C: [1.0]}), INSTANT)).result
    assert encoded == b'[{"metric":{"Zone":"x","__name__":"up"},"value":[1.500,"1"]}]'


def test_nothing() -> None:
    for kind in ("vector", "matrix"):
        assert encode(QueryResult(kind, Vector.empty(1), INSTANT)).result == b"[]"
    samples = Samples((A,), np.array([0, 0]), np.zeros(0, dtype=np.int64), np.zeros(0))
    assert result("matrix", samples, INSTANT) == []


def test_matrix() -> None:
    rows: dict[Labels, list[float | None]] = {
        B: [1.0, None, 0.5],
        A: [1.0, 2.0, math.nan],
        C: [None, None, None],
    }
    assert encode(QueryResult("matrix", vector(rows), RANGE)).result == (
        b'[{"metric":{"__name__":"up","job":"a"},"values":[[10,"1"],[20,"2"],[30,"NaN"]]},'
        b'{"metric":{"__name__":"up","job":"b"},"values":[[10,"1"],[30,"0.5"]]}]'
    )


def test_scalar_over_a_range_is_one_series() -> None:
    encoded = encode(QueryResult("matrix", Scalar(np.array([1.0, 2.0, 3.0])), RANGE)).result
    assert encoded == b'[{"metric":{},"values":[[10,"1"],[20,"2"],[30,"3"]]}]'


def test_samples() -> None:
    times = np.array([1_000, 2_500, 3_000], dtype=np.int64)
    samples = Samples((B, A), np.array([0, 1, 3]), times, np.array([1.0, 2.0, 3.0]))
    assert result("matrix", samples, INSTANT) == [
        {"metric": dict(A), "values": [[2.5, "2"], [3, "3"]]},
        {"metric": dict(B), "values": [[1, "1"]]},
    ]


def test_range_vector_of_histograms() -> None:
    times = np.array([1000, 2000], dtype=np.int64)
    samples = Samples(
        (A,), np.array([0, 1]), times[:1], np.array([4.0]), histogram_labels=(B, A),
        histogram_times_ms=(times[1:], times), histograms=(histogram([True]), histogram([True, True])),
    )  # fmt: skip
    first, second = result("matrix", samples, INSTANT)
    assert (first["metric"], first["values"]) == (dict(A), [[1, "4"]])
    assert [t for t, _ in first["histograms"]] == [1, 2]
    assert second["metric"] == dict(B)
    ((at, got),) = second["histograms"]
    assert (at, got["count"]) == (2, "6")
    assert_close(got["buckets"], ENCODED_HISTOGRAM["buckets"])


def test_histograms_beside_floats() -> None:
    v = vector({A: [1.0]}, histogram_labels=(A, B), histograms=(histogram([False]), histogram([True])))
    first, second = result("vector", v, INSTANT)
    assert first == {"metric": dict(A), "value": [1.5, "1"]}
    assert second["metric"] == dict(B)
    at, got = second["histogram"]
    assert (at, got["count"], got["sum"]) == (1.5, "6", "10.5")
    assert_close(got["buckets"], ENCODED_HISTOGRAM["buckets"])


def test_floats_and_histograms_of_one_series_are_one_entry() -> None:
    v = vector({A: [1.0, None, None]}, histogram_labels=(A,), histograms=(histogram([False, True, True]),))
    (entry,) = result("matrix", v, RANGE)
    assert list(entry) == ["metric", "values", "histograms"]
    assert entry["values"] == [[10, "1"]]
    assert [t for t, _ in entry["histograms"]] == [20, 30]
    assert_close(entry["histograms"][1][1]["buckets"], ENCODED_HISTOGRAM["buckets"])


def test_the_zero_bucket_has_a_width_and_touches_no_other() -> None:
    zero, one = np.array([3.0]), np.array([[1.0]])
    for first, half in ((0, "2.938735877055719e-39"), (-4500, None), (-34368, "5e-324")):
        h = Histogram(np.array([True]), zero + 1, zero, zero, Spans.dense(first, one), Spans.empty(1))
        (text,) = histogram_texts(h)
        (rule, low, high, count), (_, lower, _, _) = json.loads(text)["buckets"]
        assert (rule, count) == (3, "3")
        assert float(low) < 0 < float(high)
        assert float(low) == -float(high)
        assert high == half or float(high) <= float(lower)


def test_an_empty_histogram_has_no_buckets() -> None:
    zero = np.zeros(1)
    empty = Histogram(np.ones(1, dtype=bool), zero, zero, zero, Spans.empty(1), Spans.empty(1))
    v = Vector(1, (), np.zeros((0, 1)), np.zeros((0, 1), dtype=bool), (A,), (empty,))
    assert result("vector", v, INSTANT) == [
        {"metric": dict(A), "histogram": [1.5, {"count": "0", "sum": "0"}]}
    ]


def test_limit() -> None:
    rows: dict[Labels, list[float | None]] = {B: [1.0], A: [1.0], C: [1.0]}
    cut = encode(QueryResult("vector", vector(rows), INSTANT), limit=2)
    assert cut.truncated
    assert [e["metric"] for e in json.loads(cut.result)] == [dict(C), dict(A)]
    assert not encode(QueryResult("vector", vector(rows), INSTANT), limit=3).truncated


def test_a_value_that_is_not_of_its_kind_is_our_fault() -> None:
    for kind, value in (("scalar", Vector.empty(1)), ("vector", String("x")), ("matrix", String("x"))):
        with pytest.raises(InternalError):
            encode(QueryResult(kind, value, INSTANT))  # type: ignore[arg-type]
