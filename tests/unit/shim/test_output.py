"""The output of `meterhouse query` and `explain`, and the charts in it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.cli.text_table import numbers
from shim.cli.chart import chart
from shim.cli.heatmap import heatmap
from shim.cli.output import MAX_DRAWN, answer, as_csv, explanation, only_metric


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
    assert len(picture) == 8 + 2  # the axis of times
    assert all(len(line) <= 60 for line in picture)


def test_chart_rises_with_its_values() -> None:
    picture = chart([[(float(i), float(i)) for i in range(100)]], width=30, height=6).splitlines()
    assert picture[0].rstrip("⠀")[-1] not in "┤⠀"  # the top line is reached at the right
    assert picture[5].split("┤")[1][0] != "⠀"  # the bottom line at the left
    assert picture[0].split("┤")[1][0] == "⠀"


def test_chart_has_a_gap_where_points_are_missing() -> None:
    points = [(float(t), 1.0) for t in (*range(10), *range(90, 100))]
    dots = "".join(chart([points], width=40, height=4))
    row = next(line for line in dots.splitlines()[:4] if set(line.split("┤")[1]) - {"⠀"})
    assert "⠀" * 10 in row.split("┤")[1].strip("⠀")


def test_chart_of_nothing_is_nothing() -> None:
    assert chart([]) == ""
    assert chart([[(0.0, float("nan")), (1.0, float("inf"))]]) == ""


def test_chart_has_axes() -> None:
    picture = chart([[(1_700_000_000.0 + i, i * 100.0) for i in range(101)]], width=60, height=9).splitlines()
    assert [line.split("┤")[0].strip() for line in picture[:9]] == [
        "10000",
        *[""] * 3,
        "5000",
        *[""] * 3,
        "0",
    ]
    assert picture[9].strip()[:2] == "└┬"
    assert picture[10].split()[0] == "22:13:20"
    assert picture[10].split()[-1] == "22:15:00"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([327_196_823, 3.77975e08], ["327196823", "377975000"]),
        ([327_196_823, 377_975_123.4], ["327196823", "377975123"]),
        ([12.5, float("inf"), 0.25], ["12.50", "inf", "0.25"]),
        ([1.0, 2.0], ["1", "2"]),
        ([1 / 3, 100 / 3], ["0.3333", "33.3333"]),
        ([1e-300, 1.5], ["1.00000e-300", "1.50000e+00"]),
        ([0.0, float("nan")], ["0", "nan"]),
        ([], []),
    ],
)
def test_numbers_of_a_table_have_one_format(values: list[float], texts: list[str]) -> None:
    assert numbers(values) == texts


def test_a_chart_of_some_series_says_so() -> None:
    result = [{"metric": {"k": str(n)}, "values": [[0, str(n)], [10, "9"]]} for n in range(36)]
    drawn = _show({"resultType": "matrix", "result": result}, draw=True)
    assert f"drawn: the first {MAX_DRAWN} of 36 series" in drawn
    assert "drawn:" not in _show({"resultType": "matrix", "result": result[:MAX_DRAWN]}, draw=True)


def _histograms(*steps: dict[float, int]) -> dict[str, Any]:
    values = []
    for n, step in enumerate(steps):
        buckets = [[0, str(low), str(low * 2), str(count)] for low, count in step.items()]
        values.append([n * 10, {"count": "1", "sum": "1", "buckets": buckets}])
    return {"metric": {}, "histograms": values}


def test_heatmap_is_dark_where_most_observations_are() -> None:
    picture = heatmap([_histograms({1: 10}, {1: 1, 8: 1}, {8: 10})], width=40, height=4).splitlines()
    assert len(picture) == 4 + 2
    assert all(len(line) <= 40 for line in picture)
    rows = [line[line.index("┤" if "┤" in line else "│") + 1 :] for line in picture[:4]]
    assert (rows[3][0], rows[0][0]) == ("█", " ")  # 1 to 2 at the first time
    assert (rows[3][-1], rows[0][-1]) == (" ", "█")  # 8 to 16 at the last
    middle = len(rows[0]) // 2
    assert (rows[3][middle], rows[1][middle], rows[0][middle]) == ("░", " ", "░")


def test_heatmap_of_nothing_positive_is_nothing() -> None:
    below = [0, {"count": "1", "sum": "-1", "buckets": [[0, "-2", "-1", "1"], [3, "-1e-128", "1e-128", "4"]]}]
    assert heatmap([]) == ""
    assert heatmap([{"metric": {}, "histograms": [below]}]) == ""


def test_csv_has_a_column_for_each_label() -> None:
    result = [
        {"metric": {"__name__": "x", "b": 'a "quoted", one'}, "values": [[0, "1"], [10, "NaN"]]},
        {"metric": {"a": "1"}, "histograms": [[0, {"count": "4", "sum": "2"}]]},
    ]
    assert as_csv({"resultType": "matrix", "result": result}).splitlines() == [
        "__name__,a,b,time,value,count,sum",
        'x,,"a ""quoted"", one",0,1,,',
        'x,,"a ""quoted"", one",10,NaN,,',
        ",1,,0,,4,2",
    ]
    assert as_csv({"resultType": "scalar", "result": [4, "2"]}) == "time,value,count,sum\n4,2,,"


def test_times_of_a_plan_are_for_people_and_those_of_sql_are_not() -> None:
    stages = {
        "plan": "rate x @1795905650s..1795906250.5s/10s window 60s",
        "statements": [{"sql": "t >= 1795905650"}],
    }
    assert explanation(stages) == (
        "-- plan\nrate x @2026-11-28T22:40:50Z..2026-11-28T22:50:50.5Z/10s window 60s\n\n"
        "-- statements\nt >= 1795905650"
    )


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


def test_values_of_one_metric_have_its_unit() -> None:
    one, other = {"__name__": "a_seconds", "r": "/"}, {"__name__": "b_bytes"}

    def data(*metrics: dict[str, str], kind: str = "vector", **more: Any) -> dict[str, Any]:
        return {"resultType": kind, "result": [{"metric": m, "value": [4, "2"], **more} for m in metrics]}

    assert only_metric(data(one, {**one, "r": "/x"})) == "a_seconds"
    assert [only_metric(data(*metrics)) for metrics in ((one, other), ({"r": "/"},), ())] == [""] * 3
    assert only_metric(data(one, histogram=[4, {}])) == ""
    assert only_metric({"resultType": "scalar", "result": [4, "2"]}) == ""
    shown = answer(data(one), 40, draw=False, colour=False, unit="seconds").splitlines()
    assert shown == ["series            value (seconds)", 'a_seconds{r="/"}                2']
    matrix = {"resultType": "matrix", "result": [{"metric": one, "values": [[0, "1"]]}]}
    assert answer(matrix, 40, draw=False, colour=False, unit="seconds").endswith("\n\nunit: seconds")
