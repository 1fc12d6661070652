"""The time that a deletion covers: whole buckets of the finest rows left, and those derived again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from indexer.deletion.deletion_range import deletion_range
from indexer.deletion.deletion_request import MAX_S, DeletionError, MetricSeries
from indexer.deletion.deletion_statements import DeletedRows, within

DAY_S: Final = 86_400
TODAY_S: Final = 20_000 * DAY_S
KEPT: Final[Mapping[int, int]] = {
    10: TODAY_S - 3 * DAY_S + 5,
    60: TODAY_S - 10 * DAY_S + 5,
    3_600: TODAY_S - 30 * DAY_S + 5,
    DAY_S: 0,
}


def shown(start_s: int, end_s: int, *, alone: bool = True) -> tuple[int, int, list[tuple[str, str, int]]]:
    span = deletion_range(start_s, end_s, KEPT, alone=alone)
    derived = [(one.finer.name, one.coarser.name, len(one.starts_s)) for one in span.rederived()]
    return span.start_s - TODAY_S, span.end_s if span.end_s == MAX_S else span.end_s - TODAY_S, derived


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0, MAX_S, (-TODAY_S, MAX_S, [])),
        (TODAY_S, TODAY_S + DAY_S, (0, DAY_S, [])),
        (TODAY_S + 1, TODAY_S + 29, (10, 20, [("10s", "60s", 1), ("10s", "1h", 1), ("10s", "1d", 1)])),
        (
            TODAY_S - 50,
            TODAY_S + 3_600,
            (-50, 3_600, [("10s", "60s", 1), ("10s", "1h", 1), ("10s", "1d", 2)]),
        ),
        # four days ago rows of 60 s are the finest that are left
        (TODAY_S - 4 * DAY_S + 10, MAX_S, (-4 * DAY_S + 60, MAX_S, [("60s", "1h", 1), ("60s", "1d", 1)])),
        (TODAY_S - 20 * DAY_S + 10, MAX_S, (-20 * DAY_S + 3_600, MAX_S, [("1h", "1d", 1)])),
        (TODAY_S - 40 * DAY_S + 10, MAX_S, (-39 * DAY_S, MAX_S, [])),
        # each end by its own day
        (
            TODAY_S - 20 * DAY_S + 3_600,
            TODAY_S + 10,
            (
                -20 * DAY_S + 3_600,
                10,
                [("1h", "1d", 1), ("10s", "60s", 1), ("10s", "1h", 1), ("10s", "1d", 1)],
            ),
        ),
    ],
)
def test_range(start_s: int, end_s: int, expected: tuple[int, int, list[tuple[str, str, int]]]) -> None:
    assert shown(start_s, end_s) == expected


def test_whole_days_where_others_write() -> None:
    assert shown(TODAY_S - 2 * DAY_S + 10, TODAY_S + 10, alone=False) == (-DAY_S, 0, [])


@pytest.mark.parametrize(("start_s", "end_s"), [(TODAY_S + 1, TODAY_S + 19), (0, 86_399), (5, 5)])
def test_no_whole_bucket(start_s: int, end_s: int) -> None:
    with pytest.raises(DeletionError, match="no whole bucket"):
        shown(start_s, end_s)


def test_buckets_of_other_granularities() -> None:
    span = deletion_range(TODAY_S + 50, TODAY_S + 3_700, KEPT, alone=True)
    assert [span.touched(g) for g in (10, 60, 3_600)] == [
        (TODAY_S + 50, TODAY_S + 3_700),
        (TODAY_S, TODAY_S + 3_720),
        (TODAY_S, TODAY_S + 7_200),
    ]
    assert span.whole(60) == (TODAY_S + 60, TODAY_S + 3_660)
    assert span.days == (20_000, 20_000)


def test_conditions() -> None:
    some = MetricSeries(2, "counters", 7, (5).to_bytes(8, "little") + (2**64 - 1).to_bytes(8, "little"))
    rows = DeletedRows(1, [MetricSeries(1, "counters", 3), MetricSeries(1, "counters", 4), some])
    assert rows.of("counters") == (
        "org_id = 1 AND ((project_id = 2 AND metric_id = 7 AND series_id IN (5, 18446744073709551615))"
        " OR (project_id = 1 AND metric_id IN (3, 4)))"
    )
    assert rows.of_metrics() == "org_id = 1 AND (project_id, metric_id) IN ((1, 3), (1, 4), (2, 7))"
    assert rows.kinds == ["counters"]
    assert within(0, MAX_S) == ""
