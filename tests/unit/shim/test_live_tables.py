"""The lines of `meterhouse tail` and the table of `meterhouse top`."""

from __future__ import annotations

from typing import Any

from shim.cli.tail import by_time
from shim.cli.top import ranked


def test_tail_shows_buckets_with_values() -> None:
    counter: list[dict[str, Any]] = [
        {"metric": {"route": "/"}, "values": [[20, "3"], [30, "0"]]},
        {"metric": {}, "values": [[20, "2.5"]]},
    ]
    assert by_time(counter, "x", "counter") == {20: ['x{route="/"}  +3', "x  +2.5"]}
    assert by_time([{"metric": {}, "values": [[20, "0"]]}], "x", "gauge") == {20: ["x  0"]}
    histograms = [
        {"metric": {}, "histograms": [[20, {"count": "4", "sum": "2"}], [30, {"count": "0", "sum": "0"}]]}
    ]
    assert by_time(histograms, "x", "histogram") == {20: ["x  count 4 sum 2 avg 0.5"]}


def test_top_has_the_metric_with_the_most_series_first() -> None:
    metrics = [
        {"metric": {"__name__": "b"}, "value": [0, "3"]},
        {"metric": {"__name__": "a"}, "value": [0, "3"]},
        {"metric": {"__name__": "c"}, "value": [0, "12"]},
    ]
    described = {"c": [{"type": "gauge", "unit": "seconds"}], "a": [{"type": "counter", "unit": ""}]}
    assert ranked(metrics, described).splitlines() == [
        "metric  type     unit     series",
        "c       gauge    seconds      12",
        "a       counter                3",
        "b                              3",
    ]
    assert ranked([], {}) == "no series"
