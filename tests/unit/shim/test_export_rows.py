"""Rows of `meterhouse export` as CSV and OpenMetrics text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.aggregate.aggregator import Aggregator
from agent.backfill.csv_records import CsvConverter
from agent.backfill.openmetrics import OpenMetricsConverter
from agent.backfill.samples import Sample
from agent.protocol.line import Limits
from shim.cli.export_rows import COLUMNS, CsvRows, OpenMetricsRows, kind_of, selector_of
from shim.cli.series_spool import SeriesSpool

COUNTER: list[dict[str, Any]] = [
    {"metric": {"route": "/", "host": "a"}, "values": [[20, "3"], [30, "0"], [40, "4"]]},
    {"metric": {}, "values": [[20, "0"], [30, "1.5"]]},
]
HISTOGRAM: list[dict[str, Any]] = [
    {"metric": {}, "histograms": [
        [20, {"count": "2", "sum": "0.5", "buckets": [[0, "0.1", "0.2", "2"]]}],
        [30, {"count": "0", "sum": "0"}],
    ]},
]  # fmt: skip


def csv_rows(name: str, kind: str, series: Sequence[Mapping[str, Any]], step_s: int) -> str:
    rows = CsvRows(name, kind, step_s)
    for one in series:
        rows.add(one)
    return b"".join(rows.take()).decode()


def test_csv_is_of_buckets_in_the_order_of_time() -> None:
    assert csv_rows("x", "counter", COUNTER, 10).splitlines() == [
        'x,counter,3,10,"host:a,route:/",,,',
        "x,counter,1.5,20,,,,",
        'x,counter,4,30,"host:a,route:/",,,',
    ]
    assert csv_rows("d", "histogram", HISTOGRAM, 10) == (
        'd,distribution,,10,,2,0.5,"[[0,""0.1"",""0.2"",""2""]]"\n'
    )
    assert (
        csv_rows("s", "set", [{"metric": {}, "values": [[20, "7"], [30, "0"]]}], 10)
        == "s,distinct,7,10,,,,\n"
    )
    assert csv_rows("g", "gauge", [{"metric": {}, "values": [[20, "0"]]}], 10) == "g,gauge,0,19,,,,\n"


def test_values_without_digits_are_written() -> None:
    values = [[20, "+Inf"], [30, "NaN"], [40, "-0"], [50, "1e300"]]
    text = csv_rows("g", "gauge", [{"metric": {}, "values": values}], 10)
    assert [row.split(",")[2] for row in text.splitlines()] == ["inf", "nan", "0", "1e+300"]


def test_openmetrics_has_names_of_utf8_in_quotes() -> None:
    rows = OpenMetricsRows("shop.requests", "counter")
    series = [{"metric": {"http.route": 'a"b\\\n'}, "values": [[20, "3"]]}]
    assert rows.head() + rows.rows(series, 10) == (
        '# TYPE "shop.requests" counter\n'
        '{"shop.requests_total","http.route"="a\\"b\\\\\\n"} 0 9\n'
        '{"shop.requests_total","http.route"="a\\"b\\\\\\n"} 3 19\n'
    )
    rows = OpenMetricsRows("job:errors", "gauge")
    assert rows.rows([{"metric": {"a.b": "c"}, "values": [[20, "1"]]}], 10) == 'job:errors{"a.b"="c"} 1 19\n'


def test_openmetrics_is_cumulative_from_zero() -> None:
    rows = OpenMetricsRows("x", "counter")
    assert rows.head() == "# TYPE x counter\n"
    assert rows.rows(COUNTER, 10).splitlines() == [
        'x_total{host="a",route="/"} 0 9',
        'x_total{host="a",route="/"} 3 19',
        'x_total{host="a",route="/"} 7 39',
        "x_total 0 19",
        "x_total 1.5 29",
    ]
    rows = OpenMetricsRows("d", "histogram")
    assert rows.head() == "# TYPE d summary\n"
    assert rows.rows(HISTOGRAM, 10) == "d_count 0 9\nd_sum 0 9\nd_count 2 19\nd_sum 0.5 19\n"


@pytest.mark.parametrize("max_bytes", [1, 1 << 20])
def test_points_by_time_come_back_by_series(tmp_path: Path, max_bytes: int) -> None:
    spool = SeriesSpool(tmp_path, max_bytes)
    for at in range(20):
        spool.add(
            [
                {"metric": {"__name__": "x", "n": str(n), "k": "\n\t"}, "values": [[at, str(n)]]}
                for n in range(40)
                if at % 5 != n % 5
            ]
        )
        spool.add([{"metric": {}, "histograms": [[at, {"count": "1", "sum": "2", "buckets": [1]}]]}])
        assert any(tmp_path.iterdir()) == (max_bytes == 1)
    series = [one for part in spool.series() for one in part]
    assert len(series) == 41
    assert not any(tmp_path.iterdir())
    for one in series:
        if "n" in one["metric"]:
            n = one["metric"]["n"]
            assert one["metric"] == {"n": n, "k": "\n\t"}
            assert one["values"] == [[at, n] for at in range(20) if at % 5 != int(n) % 5]
        else:
            assert one["histograms"] == [[at, {"count": "1", "sum": "2"}] for at in range(20)]


@pytest.mark.parametrize("form", ["csv", "openmetrics"])
def test_backfill_reads_the_same_increments(form: str) -> None:
    """Send an export again: the same sums in the same buckets."""
    if form == "csv":
        text = ",".join(COLUMNS) + "\n" + csv_rows("x", "counter", COUNTER, 10)
        converter: CsvConverter | OpenMetricsConverter = CsvConverter(Limits())
    else:
        rows = OpenMetricsRows("x", "counter")
        text = rows.head() + rows.rows(COUNTER, 10) + "# EOF\n"
        converter = OpenMetricsConverter(Limits(), 0, 10**15)
    sums = dict[int, float]()
    for line in text.encode().split(b"\n"):
        for sample in converter.convert(line, Aggregator()):
            if isinstance(sample, Sample):
                assert sample.line.head.name == ("x" if form == "csv" else "x_total")
                values = sample.line.values
                assert isinstance(values, list | tuple)
                at = sample.time_ms // 10_000 * 10
                sums[at] = sums.get(at, 0.0) + sum(float(value) for value in values)
            else:
                assert not sample.bad, sample
    assert sums == {10: 3.0, 20: 1.5, 30: 4.0}


@pytest.mark.parametrize(
    ("selector", "one"),
    [
        ("x", '{__name__="x"}'),
        ("{}", '{__name__="x"}'),
        (' x{route="/", } ', '{__name__="x",route="/"}'),
        ('{__name__=~"x|y",k="}"}', '{__name__="x",__name__=~"x|y",k="}"}'),
        ('{"x"}', '{__name__="x"}'),
        ('{"x.y", route="{"}', '{__name__="x",route="{"}'),
        ('{"http.route"="/"}', '{__name__="x","http.route"="/"}'),
    ],
)
def test_the_selector_of_one_metric(selector: str, one: str) -> None:
    assert selector_of("x", selector) == one


def test_the_selector_of_one_type() -> None:
    assert selector_of("x", 'x{k="v"}', "gauge") == '{__name__="x",__type__="gauge",k="v"}'


def test_labels_are_escaped() -> None:
    rows = OpenMetricsRows("x", "gauge")
    series = [{"metric": {"__name__": "x", "k": 'a"b\\c\nd'}, "values": [[20, "1"]]}]
    assert rows.rows(series, 10) == 'x{k="a\\"b\\\\c\\nd"} 1 19\n'


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"type": "counter", "help": "StatsD counter x"}, "counter"),
        ({"type": "gauge", "help": "StatsD gauge x"}, "gauge"),
        ({"type": "gauge", "help": "StatsD set x: number of distinct members"}, "set"),
        ({"type": "histogram", "help": ""}, "histogram"),
        ({"type": "info", "help": ""}, ""),
    ],
)
def test_kinds_of_metadata(metadata: dict[str, str], kind: str) -> None:
    assert kind_of(metadata) == kind
