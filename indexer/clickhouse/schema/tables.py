"""What the tables are: columns, engines, orders, codecs, and the views that fill them.

Owns the definition of everything stored; `render.py` makes SQL of it for one node or a cluster. The numbers
behind codecs and orders are in docs/decisions/storage.md and design notes; tests/golden holds the text.

Four kinds times four granularities: an `incoming_<kind>` table (ENGINE Null) takes the rows, one materialized
view per granularity rounds the time down and writes to `<kind>_<granularity>`. The views are not chained, so
a late row updates every rollup at once. Rows are not guaranteed to be merged: every reader aggregates.

No view holds a setting: a view that is altered forgets its tokens. How long a row is kept comes with it.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from indexer.clickhouse.granularities import GRANULARITIES, Granularity
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.columns import ID, Column
from indexer.clickhouse.schema.metric_types import BY_KIND, SERIES_TYPE, Kind

#: Blocks a table remembers by token: an insert repeated within that many changes nothing.
DEDUPLICATION_WINDOW: Final = 100_000
DEDUPLICATION_WINDOW_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `engine` is Null or a MergeTree kind without its Replicated prefix."""

    name: str
    columns: tuple[Column, ...]
    engine: Literal["Null", "AggregatingMergeTree", "ReplacingMergeTree"]
    shard_by: str  # of the Distributed table over it
    order_by: tuple[str, ...] = ()
    partition_by: str = ""
    ttl: str = ""
    version: str = ""  # ReplacingMergeTree: the column whose highest value wins; empty: the last row does
    #: Whether the table remembers blocks. It then drops an identical block, also one without a token whose
    #: rows are lost: not for tables whose rows are written again when they are missing.
    window: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """A materialized view: `select` over `source`, its rows into `target`."""

    name: str
    source: str
    target: str
    select: tuple[str, ...]


#: When a string was last found in use, to the week. Rows of before migration 7 count as used today.
STRING_DAY: Final = Column("day", "Date", "ZSTD(1)", default="today()")
#: A string is kept for so much longer than the last series that has it; `day` may be this late.
STRING_SPARE_DAYS: Final = 30


_KEY: Final = (
    Column("org_id", "UInt32", "LZ4"),
    Column("project_id", "UInt32", "LZ4"),
    Column("metric_id", "UInt64", ID),
    Column("series_id", "UInt64", ID),
    Column("timestamp", "DateTime('UTC')", "Delta, LZ4"),
    Column("retention_days", "UInt16", "LZ4"),
)


_INPUT_KEY: Final = (
    Column("org_id", "UInt32"),
    Column("project_id", "UInt32"),
    Column("metric_id", "UInt64"),
    Column("series_id", "UInt64"),
    Column("bucket", "UInt32"),  # Unix seconds, a multiple of 10
    *(Column(f"days_{g.name}", "UInt16") for g in GRANULARITIES),  # that the row is kept, by granularity
)

#: Tables that took rows before migration 5 are `ingest_<kind>`. Their views have retentions in their text.
#: Stores of that time keep both, unaltered, for batches that were begun with them
#: (indexer/write/inserter.py).
LEGACY_INPUT: Final = "ingest"
INPUT: Final = "incoming"


def input_table(kind: Kind) -> Table:
    return Table(
        f"{INPUT}_{kind}",
        _INPUT_KEY + tuple(Column(c.name, c.type) for c in BY_KIND[kind].input),
        "Null",
        shard_by="series_id",
    )


def rollup_table(kind: Kind, granularity: Granularity) -> Table:
    middle = (granularity.cluster.sql,) if granularity.cluster else ()
    return Table(
        name=f"{kind}_{granularity.name}",
        columns=_KEY + BY_KIND[kind].state,
        engine="AggregatingMergeTree",
        shard_by="series_id",
        order_by=("org_id", "project_id", "metric_id", *middle, "series_id", "timestamp"),
        partition_by=f"(retention_days, {granularity.partition})",
        ttl="timestamp + toIntervalDay(retention_days)",
    )


def rollup_view(kind: Kind, granularity: Granularity) -> View:
    seconds = granularity.seconds
    return View(
        name=f"{INPUT}_{kind}_{granularity.name}_view",
        source=f"{INPUT}_{kind}",
        target=f"{kind}_{granularity.name}",
        select=(
            *("org_id", "project_id", "metric_id", "series_id"),
            f"toDateTime(intDiv(bucket, {seconds}) * {seconds}, 'UTC') AS timestamp",
            f"days_{granularity.name} AS retention_days",
            *(f"{c.source} AS {c.name}" if c.source else c.name for c in BY_KIND[kind].state),
        ),
    )


def catalog_tables(retention: Retention) -> tuple[Table, ...]:
    """Series, strings and the tables that answer "which tags has this metric"."""
    kept = f"toIntervalDay({retention.catalog_days})"
    tenant = (Column("org_id", "UInt32", "LZ4"), Column("project_id", "UInt32", "LZ4"))
    metric = (*tenant, Column("metric_id", "UInt64", ID))
    seen = (
        Column("first_day", "Date", "ZSTD(1)", merge="min"),
        Column("last_day", "Date", "ZSTD(1)", merge="max"),
    )
    series = Table(
        window=False,
        name="series",
        columns=(
            *metric,
            Column("series_id", "UInt64", ID),
            # These three follow from series_id, so any of several rows will do.
            Column("type", f"{SERIES_TYPE}", "ZSTD(1)", merge="any"),
            Column("tag_keys", "Array(UInt64)", "ZSTD(1)", merge="any"),
            Column("tag_values", "Array(UInt64)", "ZSTD(1)", merge="any"),
            Column("day", "Date", "LZ4"),
            Column("first_seen", "DateTime('UTC')", "ZSTD(1)", merge="min"),
            Column("last_seen", "DateTime('UTC')", "ZSTD(1)", merge="max"),
        ),
        engine="AggregatingMergeTree",
        shard_by="series_id",
        order_by=("org_id", "project_id", "metric_id", "day", "series_id"),
        partition_by="toYYYYMM(day)",
        ttl=f"day + {kept}",
    )
    strings = Table(
        window=False,
        name="strings",
        columns=(
            tenant[0],
            Column("id", "UInt64", ID),
            Column("string", "String", "ZSTD(1)"),
            STRING_DAY,
        ),
        engine="ReplacingMergeTree",
        shard_by="id",
        order_by=("org_id", "id", "string"),
        ttl=f"day + toIntervalDay({retention.catalog_days + STRING_SPARE_DAYS})",
    )
    keys = Table(
        window=False,
        name="metric_tag_keys",
        columns=(*metric, Column("tag_key", "UInt64", ID), *seen),
        engine="AggregatingMergeTree",
        shard_by="tag_key",
        order_by=("org_id", "project_id", "metric_id", "tag_key"),
        ttl=f"last_day + {kept}",
    )
    values = Table(
        window=False,
        name="metric_tag_values",
        columns=(*metric, Column("tag_key", "UInt64", ID), Column("tag_value", "UInt64", ID), *seen),
        engine="AggregatingMergeTree",
        shard_by="tag_value",
        order_by=("org_id", "project_id", "metric_id", "tag_key", "tag_value"),
        ttl=f"last_day + {kept}",
    )
    return series, strings, keys, values


METADATA: Final = "metric_metadata"


def metadata_table(retention: Retention) -> Table:
    """What a mapping file says about metrics. One row for each name; the row that came last wins."""
    return Table(
        window=False,
        name=METADATA,
        columns=(
            Column("org_id", "UInt32", "LZ4"),
            Column("project_id", "UInt32", "LZ4"),
            Column("name", "String", "ZSTD(1)"),
            Column("help", "String", "ZSTD(1)"),
            Column("unit", "String", "ZSTD(1)"),
            Column("buckets", "Array(Float64)", "ZSTD(1)"),
            Column("updated_ms", "UInt64", "ZSTD(1)"),
        ),
        engine="ReplacingMergeTree",
        shard_by="cityHash64(name)",
        order_by=("org_id", "project_id", "name"),
        ttl=f"toDateTime(intDiv(updated_ms, 1000), 'UTC') + toIntervalDay({retention.catalog_days})",
        version="updated_ms",
    )


def catalog_views() -> tuple[View, ...]:
    metric = ("org_id", "project_id", "metric_id")
    seen = ("day AS first_day", "day AS last_day")
    return (
        View(
            "metric_tag_keys_view",
            "series",
            "metric_tag_keys",
            (*metric, "arrayJoin(tag_keys) AS tag_key", *seen),
        ),
        View(
            "metric_tag_values_view",
            "series",
            "metric_tag_values",
            (
                *metric,
                "(arrayJoin(arrayZip(tag_keys, tag_values)) AS tag).1 AS tag_key",
                "tag.2 AS tag_value",
                *seen,
            ),
        ),
    )


HEARTBEATS: Final = "heartbeats"


def heartbeats_table() -> Table:
    """How far each run of an agent is, and when that was last heard; `ended`: it said that it stops."""
    return Table(
        window=False,
        name=HEARTBEATS,
        columns=(
            Column("org_id", "UInt32", "LZ4"),
            Column("project_id", "UInt32", "LZ4"),
            Column("agent", "String", "ZSTD(1)"),
            Column("epoch", "UInt64", "ZSTD(1)"),
            Column("flushed_until_ms", "Int64", "ZSTD(1)", merge="max"),
            Column("heard_ms", "Int64", "ZSTD(1)", merge="max"),
            Column("ended", "UInt8", "ZSTD(1)", merge="max"),
        ),
        engine="AggregatingMergeTree",
        shard_by="epoch",
        order_by=("org_id", "project_id", "agent", "epoch"),
        ttl="toDateTime(intDiv(heard_ms, 1000), 'UTC') + toIntervalHour(1)",
    )


def migrations_table() -> Table:
    return Table(
        name="schema_migrations",
        columns=(
            Column("version", "UInt32"),
            Column("name", "String"),
            Column("applied_at", "DateTime64(3, 'UTC')"),
        ),
        engine="ReplacingMergeTree",
        shard_by="version",
        order_by=("version", "name"),
    )
