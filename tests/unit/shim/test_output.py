"""The output of `meterhouse query` and `explain`, and the charts in it."""

from __future__ import annotations

from typing import Any

import pytest

from shim.cli.chart import chart
from shim.cli.output import answer, explanation


def _show(data: dict[str, Any], *, draw: bool = False) -> str:
    return answer(data, 40, draw=draw, colour=False)


def test_scalar_and_string() -> None:
    assert _show({"resultType": "scalar", "result": [4, "2"]}) == "2"
    assert _show({"resultType": "scalar", "result": [4, "NaN"]}) == "nan"
    assert _show({"resultType": "string", "result": [4, "x"]}) == "x"


def test_vector_is_a_table() -> None:
    result = [
        {"metric": {"__name__": "x", "route": "/"}, "value": [4, "12.5"]},
        {"metric": {}, "value": [4, "+Inf"]},
        {"metric": {"__name__": "d"}, "histogram": [4, {"count": "4", "sum": "2", "buckets": []}]},
    ]
    assert _show({"resultType": "vector", "result": result}).splitlines() == [
        "series                        value",
        'x{route="/"}                   12.5',
        "{}                              inf",
        "d             count 4 sum 2 avg 0.5",
    ]
    assert _show({"resultType": "vector", "result": []}) == "no series"


def test_matrix_is_a_table_and_a_chart() -> None:
    data = {"resultType": "matrix", "result": [{"metric": {}, "values": [[0, "1"], [10, "3"], [20, "NaN"]]}]}
    assert _show(data).splitlines() == [
        "series  points  min  avg  max  last",
        "{}           3    1    2    3   nan",
    ]
    drawn = _show(data, draw=True)
    assert "1970-01-01 00:00:00 to 1970-01-01 00:00:20 UTC" in drawn
    assert any("⠀" < c < "⣿" for c in drawn)


def test_a_matrix_of_histograms_has_no_chart() -> None:
    histogram = {"count": "4", "sum": "2", "buckets": []}
    data = {"resultType": "matrix", "result": [{"metric": {}, "histograms": [[0, histogram]]}]}
    assert _show(data, draw=True).splitlines()[-1].endswith("count 4 sum 2 avg 0.5")


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [-1.0, 5.0], [1e300, -1e300], [0.0] * 500])
def test_chart_fits_its_frame(values: list[float]) -> None:
    picture = chart([[(i * 10.0, v) for i, v in enumerate(values)]], width=60, height=8).splitlines()
    assert len(picture) == 8
    assert all(len(line) <= 60 for line in picture)


def test_chart_rises_with_its_values() -> None:
    picture = chart([[(float(i), float(i)) for i in range(100)]], width=30, height=6).splitlines()
    assert picture[0].rstrip("⠀")[-1] not in "┤⠀"  # the top line is reached at the right
    assert picture[-1].split("┤")[1][0] != "⠀"  # the bottom line at the left
    assert picture[0].split("┤")[1][0] == "⠀"


def test_chart_has_a_gap_where_points_are_missing() -> None:
    points = [(float(t), 1.0) for t in (*range(10), *range(90, 100))]
    dots = "".join(chart([points], width=40, height=4))
    row = next(line for line in dots.splitlines() if set(line.split("┤")[1]) - {"⠀"})
    assert "⠀" * 10 in row.split("┤")[1].strip("⠀")


def test_chart_of_nothing_is_nothing() -> None:
    assert chart([]) == ""
    assert chart([[(0.0, float("nan")), (1.0, float("inf"))]]) == ""


def test_explanation_prints_each_stage() -> None:
    stages = {
        "query": "sum(rate(x[1m]))\n",
        "plan": ["sum", "  rate"],
        "statements": [{"sql": "SELECT 1", "rows": 4, "wall_ms": 1.5}, {"sql": "SELECT 2"}],
        "timings": {"prepared_ms": 1.025},
        "granularity_s": 60,
    }
    assert explanation(stages).split("\n\n") == [
        "-- query\nsum(rate(x[1m]))",
        "-- plan\nsum\n  rate",
        "-- statements\nSELECT 1\n-- rows 4, wall_ms 1.5",
        "SELECT 2",
        "-- timings\nprepared_ms: 1.025",
        "-- granularity_s\n60",
    ]
    assert explanation({"statements": []}) == "-- statements\n"
