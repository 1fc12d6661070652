"""The tables of subscriptions: their definitions, and the result of each tick. Pure."""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.schema.columns import Column
from indexer.clickhouse.schema.tables import Table

SUBSCRIPTIONS: Final = "subscriptions"
RESULTS: Final = "subscription_results"
SENT: Final = "subscription_webhooks"
#: Days that the result of a tick is kept.
RESULT_DAYS: Final = 30

_KEY: Final = (
    Column("org_id", "UInt32", "LZ4"),
    Column("project_id", "UInt32", "LZ4"),  # 0: all projects of the org
    Column("id", "String", "ZSTD(1)"),
)

#: The URL that results are sent to; empty for none.
WEBHOOK: Final = Column("webhook", "String", "ZSTD(1)")


def subscriptions_table() -> Table:
    """Return the table of definitions: one row per subscription; the row noted last wins.

    The project is in the key: who may write to another project of the org replaces nothing here.
    """
    return Table(
        window=False,
        name=SUBSCRIPTIONS,
        columns=(
            *_KEY,
            Column("dataset", "String", "ZSTD(1)"),
            Column("entity", "String", "ZSTD(1)"),
            Column("query", "String", "ZSTD(1)"),
            Column("time_window_s", "UInt32", "LZ4"),
            Column("resolution_s", "UInt32", "LZ4"),
            Column("since_s", "UInt32", "LZ4"),
            Column("removed", "UInt8", "LZ4"),
            Column("noted_ms", "UInt64", "LZ4"),
            WEBHOOK,
        ),
        engine="ReplacingMergeTree",
        shard_by="cityHash64(id)",
        order_by=("org_id", "project_id", "id"),
        version="noted_ms",
    )


def results_table() -> Table:
    """Return the table of results: one row per subscription and tick; the row written first wins."""
    return Table(
        window=False,
        name=RESULTS,
        columns=(
            *_KEY,
            Column("tick_s", "UInt32", "Delta, LZ4"),
            Column("payload", "String", "ZSTD(1)"),  # JSON
            Column("precedence", "UInt64", "ZSTD(1)"),  # the earlier it was written, the higher
        ),
        engine="ReplacingMergeTree",
        shard_by="cityHash64(id)",
        order_by=("org_id", "project_id", "id", "tick_s"),
        ttl=f"toDateTime(tick_s, 'UTC') + toIntervalDay({RESULT_DAYS})",
        version="precedence",
    )


def sent_table() -> Table:
    """Return the table of webhooks: the last tick of each subscription that was sent, or given up."""
    return Table(
        window=False,
        name=SENT,
        columns=(*_KEY, Column("tick_s", "UInt32", "LZ4", merge="max")),
        engine="AggregatingMergeTree",
        shard_by="cityHash64(id)",
        order_by=("org_id", "project_id", "id"),
        ttl=f"toDateTime(tick_s, 'UTC') + toIntervalDay({2 * RESULT_DAYS})",
    )
