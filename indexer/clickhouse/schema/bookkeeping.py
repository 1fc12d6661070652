"""The indexer's own tables: the history of retentions, and identities of stored frames. Pure."""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.schema.columns import Column
from indexer.clickhouse.schema.tables import Table

RETENTIONS: Final = "retention_eras"


def retentions_table() -> Table:
    """Return the table of retentions by the creation time of frames; the row written last wins."""
    return Table(
        name=RETENTIONS,
        columns=(
            Column("since_ms", "UInt64"),
            *(Column(f"days_{g.name}", "UInt16") for g in GRANULARITIES),
            Column("steps", "Array(UInt16)"),
            Column("noted_at", "DateTime64(3, 'UTC')"),
        ),
        engine="ReplacingMergeTree",
        shard_by="since_ms",
        order_by=("since_ms",),
    )


IDENTITIES: Final = "identities"


def identities_table() -> Table:
    """Return the table of stored frames: 64 numbers of one sender per row.

    indexer/write/stored_identities.py owns its rows.
    """
    return Table(
        name=IDENTITIES,
        columns=(
            Column("source", "String", "ZSTD(1)"),
            Column("block", "UInt64", "Delta, ZSTD(1)"),
            Column("mask", "UInt64", "ZSTD(1)", merge="groupBitOr"),
            Column("last_ms", "UInt64", "ZSTD(1)", merge="max"),
            Column("expires", "Date", "ZSTD(1)"),
        ),
        engine="AggregatingMergeTree",
        shard_by="cityHash64(source)",
        order_by=("source", "block"),
        partition_by="expires",
        ttl="expires",
        window=False,
    )
