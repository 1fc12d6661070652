"""histogram_* on native and classic histograms, with Prometheus' annotations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from shim.eval.functions.registry import call
from shim.eval.functions.signature import CallContext
from shim.eval.histogram import arithmetic
from shim.eval.histogram.merging import empty_histogram, trimmed
from shim.model.bucket_bounds import upper_bounds
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.values import Annotations, Histogram, Scalar, Spans, String, Value, Vector
from tests.unit.shim.eval.make import INF, NAN, Cell, histogram, labels, rows, scalar, shown, texts, vector


def run(name: str, *args: Value, notes: Annotations | None = None) -> Vector:
    found = call(name, args, CallContext(Grid.instant(0), notes or Annotations()))
    assert isinstance(found, Vector)
    return shown(found)


def only(found: Vector) -> float:
    assert found.values.shape == (1, 1)
    return float(found.values[0, 0])


def test_numbers_of_a_native_histogram() -> None:
    v = vector({"m": [1.0]}, {"h{a=1}": histogram([1.0, 3.0, 3.0, 0.0])})
    assert rows(run("histogram_count", v)) == texts({"{a=1}": [4.0]})
    assert rows(run("histogram_sum", v)) == texts({"{a=1}": [7.0]})
    assert rows(run("histogram_avg", v)) == texts({"{a=1}": [1.75]})
    low, high = 2 ** (-1 / 64), 3.0
    exact = sum((x - 1.75) ** 2 for x in (low, high, high, 0)) / 4
    assert only(run("histogram_stdvar", v)) == pytest.approx(exact, rel=0.02)
    assert only(run("histogram_stddev", v)) == pytest.approx(math.sqrt(exact), rel=0.02)


def test_native_quantile_interpolates_on_the_logarithm() -> None:
    v = vector({}, {"h": histogram([1.0] * 4)})  # all in (2^(-1/32), 1]
    assert only(run("histogram_quantile", scalar(0.5), v)) == pytest.approx(2 ** (-1 / 64))
    assert only(run("histogram_quantile", scalar(1.0), v)) == 1
    assert only(run("histogram_quantile", scalar(0.0), v)) == pytest.approx(2 ** (-1 / 32))
    mirrored = vector({}, {"h": histogram([-1.0] * 4)})
    assert only(run("histogram_quantile", scalar(0.25), mirrored)) == pytest.approx(-(2 ** (-1 / 128)))
    zeros = vector({}, {"h": histogram([0.0, 0.0, 5.0])})
    assert only(run("histogram_quantile", scalar(0.3), zeros)) == 0


def test_no_observations_and_no_quantile() -> None:
    empty = vector({}, {"h": histogram([])})
    assert math.isnan(only(run("histogram_quantile", scalar(0.5), empty)))
    assert math.isnan(only(run("histogram_fraction", scalar(0), scalar(1), empty)))
    assert math.isnan(only(run("histogram_avg", empty)))
    notes = Annotations()
    v = vector({}, {"h": histogram([1.0])})
    assert only(run("histogram_quantile", scalar(1.001), v, notes=notes)) == INF
    assert math.isnan(only(run("histogram_quantile", scalar(NAN), v, notes=notes)))
    assert notes.warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 1.001",
        "PromQL warning: quantile value should be between 0 and 1, got NaN",
    ]


def observed_nan(h: Histogram) -> Histogram:
    """Return the histogram with one NaN observed: it counts, and makes the sum NaN, but is in no bucket."""
    return replace(h, count=h.count + 1, sum=np.full(len(h.sum), NAN))


def test_nan_observations() -> None:
    v = vector({}, {"h": observed_nan(histogram([1.0, 2.0, 4.0]))})
    notes = Annotations()
    assert only(run("histogram_quantile", scalar(0.5), v, notes=notes)) == pytest.approx(2.0)
    assert math.isnan(only(run("histogram_quantile", scalar(0.9), v, notes=notes)))
    assert only(run("histogram_fraction", scalar(0), scalar(3), v, notes=notes)) == pytest.approx(0.5)
    name = 'for metric name "h"'
    assert notes.infos == [
        f"PromQL info: input to histogram_quantile has NaN observations, result is skewed higher {name}",
        f"PromQL info: input to histogram_quantile has NaN observations, result is NaN {name}",
        (
            "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all "
            f"fractions {name}"
        ),
    ]


def test_native_fraction() -> None:
    v = vector({}, {"h": histogram([1.0, 2.0, 4.0, 0.0, -1.0])})
    for low, high, want in [
        (-INF, INF, 1),
        (0, INF, 0.8),
        (-INF, 0, 0.2),
        (1, 2, 0.2),
        (2, 1, 0),
        (3, 9, 0.2),
    ]:
        assert only(run("histogram_fraction", scalar(low), scalar(high), v)) == pytest.approx(want)
    assert math.isnan(only(run("histogram_fraction", scalar(NAN), scalar(1), v)))


def classic(name: str = "x_bucket", **counts: Cell) -> dict[str, list[Cell]]:
    keys = {le.replace("_", ".").removeprefix("le"): count for le, count in counts.items()}
    return {f"{name}{{le={'+Inf' if le == 'inf' else le}}}": [count] for le, count in keys.items()}


def test_classic_quantile_is_linear_within_a_bucket() -> None:
    v = vector(classic(le0_1=1.0, le0_2=3.0, leinf=4.0))
    assert only(run("histogram_quantile", scalar(0.5), v)) == pytest.approx(0.15)
    assert only(run("histogram_quantile", scalar(0.125), v)) == pytest.approx(0.05)
    assert only(run("histogram_quantile", scalar(0.99), v)) == 0.2
    assert rows(run("histogram_quantile", scalar(-1), v)) == texts({"": [-INF]})


def test_classic_histograms_need_two_buckets_and_the_last_infinite() -> None:
    for buckets in (classic(le1=1.0, le2=2.0), classic(leinf=2.0), classic(le1=0.0, leinf=0.0)):
        assert math.isnan(only(run("histogram_quantile", scalar(0.5), vector(buckets))))
    below_zero = vector({"x{le=-1}": [2.0], "x{le=+Inf}": [3.0]})
    assert only(run("histogram_quantile", scalar(0.5), below_zero)) == -1


def test_equal_bounds_are_added_and_missing_buckets_skipped() -> None:
    v = vector({"x{le=1}": [1.0], "x{le=1.0}": [1.0], "x{le=2}": [4.0], "x{le=+Inf}": [4.0]})
    assert only(run("histogram_quantile", scalar(0.5), v)) == 1
    holes = vector({"x{le=1}": [2.0, None], "x{le=2}": [4.0, 4.0], "x{le=+Inf}": [4.0, 4.0]})
    found = run("histogram_quantile", scalar(0.25, 0.25), holes)
    assert found.values.tolist() == [[0.5, 0.5]]


def test_falling_counts_are_mended_with_an_info_and_rounding_in_silence() -> None:
    notes = Annotations()
    v = vector(classic(le0_1=1.0, le0_5=4.0, le1=3.0, leinf=5.0))
    assert only(run("histogram_quantile", scalar(0.5), v, notes=notes)) == pytest.approx(0.3)
    assert notes.infos == [
        (
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
            "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) "
            'for metric name "x_bucket"'
        )
    ]
    quiet = Annotations()
    run("histogram_quantile", scalar(0.5), vector(classic(le1=4.0, le2=4.0 - 1e-13, leinf=5.0)), notes=quiet)
    assert not quiet.infos


def test_a_bad_le_is_left_out_with_a_warning() -> None:
    notes = Annotations()
    v = vector({"x{le=1}": [1.0], "x{le=+Inf}": [2.0], "x{le=Hello World}": [5.0], "y": [1.0]})
    assert rows(run("histogram_quantile", scalar(0.5), v, notes=notes)) == texts({"": [1.0]})
    text = 'PromQL warning: bucket label "le" is missing or has a malformed value of'
    assert notes.warnings == [f'{text} "Hello World" for metric name "x"', f'{text} "" for metric name "y"']


def test_classic_and_native_of_one_label_set_hide_each_other() -> None:
    notes = Annotations()
    v = vector({"x{le=1}": [1.0, 1.0], "x{le=+Inf}": [2.0, 2.0]}, {"x": histogram([1.0], None)})
    found = run("histogram_quantile", scalar(0.5, 0.5), v, notes=notes)
    assert rows(found) == texts({"": [None, 1.0]})
    assert notes.warnings == [
        'PromQL warning: vector contains a mix of classic and native histograms for metric name "x"'
    ]


def test_classic_fraction() -> None:
    v = vector(classic(le1=1.0, le2=3.0, leinf=4.0))
    for low, high, want in [
        (0, 1, 0.25),
        (0.5, 1.5, 0.375),
        (-INF, INF, 1),
        (2, 1, 0),
        (5, 9, 0),
        (-3, 0, 0),
    ]:
        assert only(run("histogram_fraction", scalar(low), scalar(high), v)) == pytest.approx(want)
    assert math.isnan(only(run("histogram_fraction", scalar(0), scalar(1), vector(classic(le1=1.0)))))


def test_histogram_arithmetic_edges() -> None:
    h = histogram([1.0, 2.0])
    gone = arithmetic.divide(h, 0)
    assert gone.count[0] == INF
    assert not gone.positive.counts.any()
    assert arithmetic.multiply(h, np.array([3.0])).positive.counts.sum() == 6
    assert arithmetic.equals(observed_nan(h), observed_nan(h)).all()
    assert not arithmetic.equals(h, histogram([1.0, 3.0])).any()
    assert not empty_histogram(3).present.any()


def test_bounds_are_exact_at_powers_of_two() -> None:
    assert upper_bounds(np.array([-64, -32, 0, 32, 320])).tolist() == [0.25, 0.5, 1, 2, 1024]
    assert upper_bounds(np.array([-1, 0, 3]), -1).tolist() == [0.25, 1, 64]
    assert (np.diff(upper_bounds(np.arange(-500, 500))) > 0).all()


def test_trimming() -> None:
    counts = np.array([[0.0, 1, 0, 2, 0]])
    cut = trimmed(Spans.dense(10, counts))
    assert (cut.indices.tolist(), cut.counts.tolist()) == ([11, 13], [[1, 2]])
    assert trimmed(Spans.dense(10, counts * 0)).counts.shape == (1, 0)


def test_parameters_change_with_the_step() -> None:
    v = vector({}, {"h": histogram([1.0, 4.0], [1.0, 4.0])})
    found = call("histogram_quantile", [Scalar(np.array([0.0, 1.0])), v], CallContext(Grid(0, 1000, 1000)))
    assert isinstance(found, Vector)
    assert found.values[0].tolist() == [pytest.approx(2 ** (-1 / 32)), 4.0]


def test_many_quantiles_at_once() -> None:
    v = vector(classic(le1=2.0, le2=4.0, leinf=4.0), {"h{a=1,q=own}": histogram([1.0] * 4)})
    found = run("histogram_quantiles", v, String("q"), scalar(0.25), scalar(1), scalar(2))
    for text, q in (("0.25", 0.25), ("1.0", 1.0), ("2.0", 2.0)):
        alone = rows(run("histogram_quantile", scalar(q), v))
        assert rows(found)[labels(f"{{q={text}}}")] == alone[()]
        assert rows(found)[labels(f"{{a=1,q={text}}}")] == alone[labels("{a=1,q=own}")]
    assert len(found.labels) == 6


def test_a_quantile_of_many_is_a_series_for_each_value() -> None:
    v = vector({}, {"h": histogram([1.0] * 4, [8.0])})
    notes = Annotations()
    found = run("histogram_quantiles", v, String("q"), scalar(1, -1), notes=notes)
    assert rows(found) == texts({"{q=1.0}": [1.0, None], "{q=-1.0}": [None, -INF]})
    assert notes.warnings == ["PromQL warning: quantile value should be between 0 and 1, got -1"]
    with pytest.raises(ExecutionError, match="same labelset"):
        run("histogram_quantiles", v, String("q"), scalar(0.5, 0.5), scalar(0.5, 0.5))
