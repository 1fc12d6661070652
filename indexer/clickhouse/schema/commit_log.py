"""The commit log: which stretches of streams, and which frames of agents, are stored. Pure.

`stream_commits` has a row for each batch of a stream. Frames of agents are in `identities` already, 64 to a
row: the view `commit_log` shows both, and costs nothing when frames are written.
"""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.schema.bookkeeping import IDENTITIES
from indexer.clickhouse.schema.columns import Column
from indexer.clickhouse.schema.sql_views import SqlSelect, SqlView
from indexer.clickhouse.schema.tables import Table

STREAM_COMMITS: Final = "stream_commits"
COMMIT_LOG: Final = "commit_log"
#: Days that the entry of a batch is kept.
_DAYS: Final = 30

_COUNTS: Final = ("messages", "rows", "dead_letters", "parked")
#: The beginning of a frame's identity: its tenant (indexer/write/identity.py).
_TENANT: Final = "^f[0-9]+:[0-9]+/"


def stream_commits_table() -> Table:
    """Return the table of stored batches of streams: one row each."""
    return Table(
        name=STREAM_COMMITS,
        columns=(
            Column("source", "LowCardinality(String)"),  # redis or kafka
            Column("stream", "String", "ZSTD(1)"),
            Column("group", "String", "ZSTD(1)"),
            Column("partition", "UInt64", "LZ4"),
            Column("first", "String", "ZSTD(1)"),
            Column("last", "String", "ZSTD(1)"),
            *(Column(name, "UInt64", "LZ4") for name in _COUNTS),
            Column("stored_ms", "UInt64", "Delta, LZ4"),
        ),
        engine="ReplacingMergeTree",
        shard_by="cityHash64(stream)",
        order_by=("stream", "group", "partition", "first", "last"),
        partition_by="toDate(intDiv(stored_ms, 1000), 'UTC')",
        ttl=f"toDateTime(intDiv(stored_ms, 1000), 'UTC') + toIntervalDay({_DAYS})",
    )


def commit_log_view() -> SqlView:
    """Return the view of stored batches and stored frames.

    For frames of an agent the stream is `ORG:PROJECT/AGENT`, the partition the epoch (a run of the agent),
    and `messages` the number of frames, at most 64 from the `first` sequence number to the `last`.
    """
    positions = "bitPositionsToArray(groupBitOr(mask) AS stored)"
    of_streams = (
        *("source", "stream", "group", "partition", "first", "last", "messages"),
        "toNullable(rows) AS rows",
        "dead_letters",
        "parked",
        "fromUnixTimestamp64Milli(toInt64(stored_ms), 'UTC') AS stored_at",
    )
    of_agents = (
        "toLowCardinality('agent') AS source",
        "substring(identities.source, 2, length(identities.source) - 2 - length(epoch)) AS stream",
        "'' AS `group`",
        "toUInt64(epoch) AS partition",
        f"toString(block * 64 + arrayMin({positions})) AS first",
        f"toString(block * 64 + arrayMax({positions})) AS last",
        "toUInt64(bitCount(stored)) AS messages",
        "CAST(NULL, 'Nullable(UInt64)') AS rows",
        "toUInt64(0) AS dead_letters",
        "toUInt64(0) AS parked",
        "fromUnixTimestamp64Milli(toInt64(max(last_ms)), 'UTC') AS stored_at",
    )
    return SqlView(
        COMMIT_LOG,
        (
            SqlSelect(STREAM_COMMITS, of_streams),
            SqlSelect(
                IDENTITIES,
                of_agents,
                where=f"match(identities.source, '{_TENANT}')",
                group_by="identities.source, extract(identities.source, '[0-9]+$') AS epoch, block",
            ),
        ),
    )
