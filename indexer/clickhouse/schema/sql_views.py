"""Views for people with a ClickHouse client, under the names of the seeds. Pure.

No part of Meterhouse reads them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from indexer.clickhouse.granularities import GRANULARITIES

_FINEST: Final = min(GRANULARITIES, key=lambda g: g.seconds)


class SqlSelect(msgspec.Struct, frozen=True):
    """A SELECT of a view: it reads `source`, on a cluster all of its shards."""

    source: str
    select: tuple[str, ...]
    where: str = ""
    group_by: str = ""


class SqlView(msgspec.Struct, frozen=True):
    """A view: the rows of all its parts."""

    name: str
    parts: tuple[SqlSelect, ...]


def counters_view() -> SqlView:
    """Return the counters as the seed has them: `value` is a state, for `sumMerge(value)`.

    It has one granularity, the finest. With rows of all of them a sum without a condition would count each
    value once per granularity.
    """
    select = (
        *("org_id", "project_id", "metric_id", "series_id", "timestamp"),
        "timestamp AS bucketed_time",
        f"toUInt32({_FINEST.seconds}) AS granularity",
        "initializeAggregation('sumState', toFloat64(value)) AS value",
    )
    return SqlView("metrics_counters_v2_local", (SqlSelect(f"counters_{_FINEST.name}", select),))
