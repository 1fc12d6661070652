"""Range functions, instant selection and subqueries on small series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shim.eval.instant import latest
from shim.eval.subquery import samples_from
from shim.eval.window.evaluate import range_function
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.errors import BadData, ExecutionError, Unsupported
from shim.model.grid import Grid
from shim.model.values import Annotations, Samples, Scalar, Vector
from tests.unit.shim.eval.make import NAN, Cell, histogram, labels, rows, samples, shown, texts, vector

MINUTE = 60_000


def run(name: str, data: Samples, grid: Grid, window_ms: int, *args: float) -> Vector:
    scalars = [Scalar(np.full(grid.steps, value)) for value in args]
    return range_function(name, data, grid, window_ms, scalars, Annotations())


def at(name: str, points: list[tuple[float, float]], at_s: float, window_s: float, *args: float) -> Cell:
    """Return the value of one series at one time, None when there is none."""
    grid = Grid.instant(round(at_s * 1000))
    found = list(rows(run(name, samples({"{a=1}": points}), grid, round(window_s * 1000), *args)).values())
    return found[0][0] if found else None


def test_a_window_is_open_on_its_left() -> None:
    points = [(0.0, 1.0), (10.0, 2.0), (20.0, 4.0)]
    assert at("count_over_time", points, 20, 20) == 2
    assert at("count_over_time", points, 20, 20.001) == 3
    assert at("sum_over_time", points, 19.999, 20) == 3
    assert at("sum_over_time", points, 0, 0.001) == 1
    assert at("sum_over_time", points, 40, 20) is None


def test_rate_extrapolates_to_the_edges() -> None:
    points = [(10.0 * i, 10.0 * i + 50) for i in range(1, 7)]
    assert at("increase", points, 60, 60) == pytest.approx(60)
    assert at("rate", points, 60, 60) == pytest.approx(1)
    # The window starts long before the series: half an interval is added at its start, the end is reached.
    assert at("increase", points, 60, 600) == pytest.approx(55)


def test_a_counter_is_not_extrapolated_below_zero() -> None:
    points = [(10.0, 1.0), (20.0, 11.0), (30.0, 21.0)]
    assert at("increase", points, 30, 30) == pytest.approx(21)
    assert at("delta", points, 30, 30) == pytest.approx(30)


def test_a_counter_starts_over_after_a_reset() -> None:
    points = [(0.0, 100.0), (10.0, 110.0), (20.0, 5.0), (30.0, 15.0), (40.0, 3.0)]
    assert at("increase", points, 40, 50) == pytest.approx((3 - 100 + 110 + 15) * 1.25)
    assert at("resets", points, 40, 50) == 2
    assert at("changes", [(0, 1), (1, 1), (2, NAN), (3, NAN), (4, 2)], 4, 9) == 2
    assert at("irate", points, 20, 50) == 0.5
    assert at("idelta", points, 20, 50) == -105


@pytest.mark.parametrize("name", ["rate", "increase", "delta", "irate", "idelta", "deriv"])
def test_one_sample_is_not_enough(name: str) -> None:
    assert at(name, [(10.0, 1.0)], 10, 60) is None


def test_rate_of_a_gauges_name_gives_an_info() -> None:
    notes = Annotations()
    data = samples({f"{name}{{a=1}}": [(0, 1), (10, 2)] for name in ("x_total", "x")})
    with pytest.raises(ExecutionError, match="same labelset"):
        shown(range_function("rate", data, Grid.instant(10_000), MINUTE, [], notes))
    assert notes.infos == [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x"'
    ]
    quiet = Annotations()
    range_function("rate", data, Grid.instant(500_000), MINUTE, [], quiet)
    range_function("delta", samples({"y": [(0, 1), (10, 2)]}), Grid.instant(10_000), MINUTE, [], quiet)
    assert not quiet.infos


def test_last_and_first_keep_the_name() -> None:
    data = samples({"m{a=1}": [(0, 1), (10, 2)], "n{a=1}": [(0, 3), (10, 4)]})
    grid = Grid.instant(10_000)
    assert rows(run("last_over_time", data, grid, MINUTE)) == texts({"m{a=1}": [2.0], "n{a=1}": [4.0]})
    assert rows(run("first_over_time", data, grid, MINUTE)) == texts({"m{a=1}": [1.0], "n{a=1}": [3.0]})


def test_series_that_never_meet_are_joined_under_the_name_less_labels() -> None:
    data = samples({"m{a=1}": [(0, 1)], "n{a=1}": [(60, 3)]})
    found = run("max_over_time", data, Grid(0, MINUTE, MINUTE), 10_000)
    assert rows(found) == texts({"{a=1}": [1.0, 3.0]})


def test_gauge_samples_answer_with_what_was_aggregated_into_them() -> None:
    plain = samples({"g": [(0, 5), (10, 7)]})
    data = replace(
        plain,
        low=np.array([1.0, 6.0]),
        high=np.array([9.0, 8.0]),
        total=np.array([30.0, 14.0]),
        count=np.array([6.0, 2.0]),
    )
    grid = Grid.instant(10_000)
    wanted = {"min": 1, "max": 9, "sum": 44, "count": 8, "avg": 5.5, "last": 7, "stddev": 1}
    for name, want in wanted.items():
        assert run(f"{name}_over_time", data, grid, MINUTE).values[0, 0] == want


def test_quantile_warns_once_per_wrong_value() -> None:
    notes = Annotations()
    data = samples({"g": [(0, 1), (60, 3)]})
    grid = Grid(0, MINUTE, MINUTE)
    found = range_function(
        "quantile_over_time", data, grid, 2 * MINUTE, [Scalar(np.array([2.0, 0.5]))], notes
    )
    assert found.values[0].tolist() == [np.inf, 2]
    assert notes.warnings == ["PromQL warning: quantile value should be between 0 and 1, got 2"]


def test_lines() -> None:
    points = [(float(i), 2.0 * i + 1) for i in range(5)]
    assert at("deriv", points, 4, 60) == pytest.approx(2)
    assert at("predict_linear", points, 4, 60, 10) == pytest.approx(29)
    assert at("deriv", [(0, 0.1), (1, 0.1), (2, 0.1)], 4, 60) == 0
    assert at("predict_linear", [(0, 0.1), (1, 0.1), (2, 0.1)], 4, 60, 99) == 0.1
    assert np.isnan(at("deriv", [(0, np.inf), (1, np.inf)], 4, 60) or 0.0)


def test_smoothing_factors_are_checked_only_where_there_is_something_to_smooth() -> None:
    with pytest.raises(ExecutionError) as caught:
        at("double_exponential_smoothing", [(0, 1), (1, 2)], 4, 60, 0, 0.5)
    assert str(caught.value) == "invalid smoothing factor. Expected: 0 < sf < 1, got: 0.000000"
    with pytest.raises(ExecutionError, match=r"invalid trend factor\. Expected: 0 < tf < 1, got: 1"):
        at("double_exponential_smoothing", [(0, 1), (1, 2)], 4, 60, 0.5, 1)
    assert at("double_exponential_smoothing", [(0, 1)], 4, 60, 0, 0.5) is None


def test_wrong_calls() -> None:
    data = samples({"g": [(0, 1)]})
    with pytest.raises(Unsupported, match="median_over_time"):
        run("median_over_time", data, Grid.instant(0), MINUTE)
    with pytest.raises(BadData, match="wrong number of arguments in call to rate: 2"):
        run("rate", data, Grid.instant(0), MINUTE, 1.0)


@pytest.mark.parametrize("name", [name for name, f in RANGE_FUNCTIONS.items() if f.compute])
def test_no_samples_no_series(name: str) -> None:
    args = [0.5] * RANGE_FUNCTIONS[name].parameters
    for data in (samples({}), samples({"g": []})):
        assert not len(run(name, data, Grid(0, MINUTE, 1000), MINUTE, *args).labels)


def test_latest_within_the_lookback() -> None:
    data = samples({"m": [(0, 1), (10, NAN)], "n": [(301, 5)], "o": []})
    vector_, times = latest(data, Grid(0, 310_000, 10_000), 300_000)
    m = vector_.present[0]
    assert (m[:31].all(), m[31]) == (True, False)
    assert vector_.values[0, 0] == 1
    assert np.isnan(vector_.values[0, 1:31]).all()
    assert times[0, [0, 1, 30]].tolist() == [0, 10_000, 10_000]
    assert vector_.present[1].nonzero()[0].tolist() == [31]
    assert not vector_.present[2].any()


def test_subquery_turns_points_into_samples() -> None:
    grid = Grid(0, 20_000, 10_000)
    data = samples_from(vector({"m{a=1}": [1.0, None, 3.0], "m{a=2}": [None, 5.0, None]}), grid)
    assert data.offsets.tolist() == [0, 2, 3]
    assert data.times_ms.tolist() == [0, 20_000, 10_000]
    assert data.values.tolist() == [1, 3, 5]
    assert rows(run("sum_over_time", data, Grid.instant(20_000), MINUTE)) == texts(
        {"{a=1}": [4.0], "{a=2}": [5.0]}
    )
    there, gone = histogram([1.0], None, [2.0, 2.0]), histogram(None, None, None)
    data = samples_from(vector({}, {"h": there, "gone": gone}), grid)
    assert data.histogram_labels == [labels("h")]
    assert [t.tolist() for t in data.histogram_times_ms] == [[0, 20_000]]
    assert [h.count.tolist() for h in data.histograms] == [[1, 2]]
