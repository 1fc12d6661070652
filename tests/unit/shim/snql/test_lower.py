"""Plans of queries: times, tables, keys, leaves and notices."""

from __future__ import annotations

from typing import Any

import pytest

from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.snql.lower import Asked, lower
from shim.snql.lowered import Lowered
from shim.snql.parser import parse_snql
from shim.snql.processors.granularity import granularity
from shim.snql.processors.storage_selector import BucketSpan, select_storage

DAY = 86_400
NOW_S = 20_000 * DAY


def lowered(text: str, **asked: Any) -> Lowered:
    return lower(text, parse_snql(text), Asked(Tenant(1, 2), NOW_S, **asked))


@pytest.mark.parametrize(
    ("asked_s", "found_s"),
    [(None, 60), (10, 10), (60, 60), (90, 10), (120, 60), (3600, 3600), (5400, 60), (172_800, 86_400)],
)
def test_granularity_is_the_largest_that_divides(asked_s: int | None, found_s: int) -> None:
    assert granularity(asked_s) == found_s


@pytest.mark.parametrize("asked_s", [0, 1, 9, 15, 61])
def test_granularity_is_a_multiple_of_10(asked_s: int) -> None:
    with pytest.raises(BadData, match=f"granularity = {asked_s}: expected a multiple of 10"):
        granularity(asked_s)


@pytest.mark.parametrize(
    ("from_s", "to_s", "bucket_s", "asked_s", "span"),
    [
        (0, 2 * DAY, 0, 60, BucketSpan(0, 2 * DAY, 0, 60, DAY)),
        (0, 2 * DAY, 3600, 60, BucketSpan(0, 2 * DAY, 3600, 60, 3600)),
        (1, 2 * DAY, 0, 60, BucketSpan(60, 2 * DAY, 0, 60, 60)),
        (5, 3605, 0, 10, BucketSpan(10, 3610, 0, 10, 10)),
        (0, 2 * DAY, 90, 10, BucketSpan(0, 2 * DAY, 90, 10, 10)),
        (0, 2 * DAY, 60, 3600, BucketSpan(0, 2 * DAY, 60, 3600, 3600)),
    ],
)
def test_the_coarsest_table_with_the_same_buckets_is_read(
    from_s: int, to_s: int, bucket_s: int, asked_s: int, span: BucketSpan
) -> None:
    assert select_storage(from_s, to_s, bucket_s, asked_s, ()) == span


def test_a_table_that_is_gone_is_not_read() -> None:
    kept = ((10, 5 * DAY), (60, 4 * DAY), (3600, DAY), (DAY, 0))
    assert select_storage(2 * DAY + 60, 3 * DAY, 0, 60, kept) == BucketSpan(
        2 * DAY + 3600, 3 * DAY, 0, 60, 3600, snapped=True
    )
    assert select_storage(2 * DAY, 3 * DAY, 60, 60, kept).snapped


def test_times_come_from_the_query_the_request_or_the_clock() -> None:
    def times(text: str, **asked: Any) -> tuple[int, int]:
        span = lowered(f"SELECT sum(a) {text}", **asked).span
        return span.lo_s, span.hi_s

    assert times("") == (NOW_S - DAY, NOW_S)
    assert times("", from_s=600, to_s=1200) == (600, 1200)
    assert times("WHERE timestamp >= 60", from_s=600, to_s=1200) == (60, 1200)
    assert times("WHERE 60 <= timestamp AND timestamp < 120 AND timestamp < 600") == (60, 120)
    assert times("WHERE timestamp > 59 AND timestamp <= 119") == (60, 120)
    assert times("WHERE timestamp = '1970-01-01 00:02:00' AND granularity = 10") == (120, 130)


def test_aggregates_of_one_selection_are_one_leaf() -> None:
    found = lowered("SELECT sum(a), sum(b), quantile(0.5)(a), avgIf(a, k = 'v'), sum(a) / sum(b) AS r BY k")
    assert [(leaf.metric, list(map(str, leaf.measures)), leaf.kinds) for leaf in found.leaves] == [
        ("a", ["sum", "quantile(0.5)"], ("histogram",)),
        ("b", ["sum"], ("counter", "histogram", "gauge")),
        ("a", ["avg"], ("histogram", "gauge")),
    ]
    assert len(found.slots) == 4


def test_a_long_range_at_a_fine_granularity_is_noted() -> None:
    text = "MATCH (metrics_counters) SELECT sum(value) WHERE timestamp >= {} AND granularity = {}"
    (info,) = lowered(text.format(NOW_S - 90 * DAY, 60)).infos
    assert info == "90 days at a granularity of 60s: 3600s or more reads less"
    assert lowered(text.format(NOW_S - 90 * DAY, 3600)).infos == ()
    assert lowered(text.format(NOW_S - 89 * DAY, 60)).infos == ()


def test_a_plan_is_shown() -> None:
    text = (
        "MATCH (metrics_counters) SELECT toStartOfHour(timestamp) AS t, sum(value) AS s BY tags[7] AS k"
        " WHERE metric_id = 3 HAVING s > 1 ORDER BY s DESC LIMIT 2 BY k LIMIT 5"
    )
    assert lowered(text, from_s=0, to_s=DAY).lines() == [
        "buckets [0, 86400) every 3600s",
        "granularity 60s, read from 3600s",
        "stored sum counter of equals(metric_id, 3)",
        "by toStartOfHour(timestamp), tags[7]",
        "having greater(s, 1)",
        "order by s desc",
        "limit 2 by k",
        "limit 5 offset 0",
    ]
