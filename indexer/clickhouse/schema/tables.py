"""The tables: columns, engines, sort keys, codecs, and the views that fill them.

Owns the definition of all stored data; `render.py` makes SQL of it for one node or a cluster. The
measurements for codecs and sort keys are in docs/decisions/storage.md; tests/golden holds the text.

For each kind and granularity: an `incoming_<kind>` table (ENGINE Null) takes the rows, one materialized view
per granularity rounds the time down and writes to `<kind>_<granularity>`. The views are not chained, so a
late row updates every rollup at once. Rows may not be merged yet: every reader aggregates.

No view holds a setting: an altered view forgets its tokens. The days that a row is kept come with the row.

Pure.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from indexer.clickhouse.granularities import GRANULARITIES, Granularity
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.columns import ID, Column
from indexer.clickhouse.schema.metric_types import BY_KIND, SERIES_TYPE, Kind

#: Blocks a table remembers by token: a repeated insert among that many changes nothing.
DEDUPLICATION_WINDOW: Final = 100_000
DEDUPLICATION_WINDOW_S: Final = 7 * 86_400


class Table(msgspec.Struct, frozen=True):
    """One table. `engine` is Null or a MergeTree kind without its Replicated prefix."""

    name: str
    columns: tuple[Column, ...]
    engine: Literal["Null", "AggregatingMergeTree", "ReplacingMergeTree"]
    shard_by: str  # of the Distributed table over it
    order_by: tuple[str, ...] = ()
    partition_by: str = ""
    ttl: str = ""
    version: str = ""  # ReplacingMergeTree: the column whose highest value wins; empty: the last row does
    #: Whether the table remembers blocks. It then drops an identical block, even one without a token whose
    #: rows were lost: not for tables whose rows are written again when they are missing.
    window: bool = True


class View(msgspec.Struct, frozen=True):
    """A materialized view: `select` over `source`, its rows into `target`."""

    name: str
    source: str
    target: str
    select: tuple[str, ...]


#: The week in which a string was last used. Rows from before migration 7 count as used today.
STRING_DAY: Final = Column("day", "Date", "ZSTD(1)", default="today()")
#: A string is kept this long after the last series that has it; `day` may be this late.
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

#: Tables that took rows before migration 5 are `ingest_<kind>`; their views hold retentions. Old stores keep
#: both, unaltered, for batches that were begun with them (indexer/write/inserter.py).
LEGACY_INPUT: Final = "ingest"
INPUT: Final = "incoming"


def input_table(kind: Kind) -> Table:
    """Return the table that takes the rows of a kind."""
    return Table(
        f"{INPUT}_{kind}",
        _INPUT_KEY + tuple(Column(c.name, c.type) for c in BY_KIND[kind].input),
        "Null",
        shard_by="series_id",
    )


def rollup_table(kind: Kind, granularity: Granularity) -> Table:
    """Return the table of a kind's rows at a granularity."""
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
    """Return the view that fills a rollup from the input table."""
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


_TENANT: Final = (Column("org_id", "UInt32", "LZ4"), Column("project_id", "UInt32", "LZ4"))
_METRIC: Final = (*_TENANT, Column("metric_id", "UInt64", ID))


def catalog_tables(retention: Retention) -> tuple[Table, ...]:
    """Return the tables of series, strings and "which tags has this metric"."""
    key, value = Column("tag_key", "UInt64", ID), Column("tag_value", "UInt64", ID)
    return (
        _series_table(retention),
        _strings_table(retention),
        _tag_table("metric_tag_keys", (key,), retention),
        _tag_table("metric_tag_values", (key, value), retention),
    )


def _series_table(retention: Retention) -> Table:
    return Table(
        window=False,
        name="series",
        columns=(
            *_METRIC,
            Column("series_id", "UInt64", ID),
            # These three follow from series_id, so that any of several rows will do.
            Column("type", SERIES_TYPE, "ZSTD(1)", merge="any"),
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
        ttl=f"day + toIntervalDay({retention.catalog_days})",
    )


def _strings_table(retention: Retention) -> Table:
    return Table(
        window=False,
        name="strings",
        columns=(
            _TENANT[0],
            Column("id", "UInt64", ID),
            Column("string", "String", "ZSTD(1)"),
            STRING_DAY,
        ),
        engine="ReplacingMergeTree",
        shard_by="id",
        order_by=("org_id", "id", "string"),
        ttl=f"day + toIntervalDay({retention.catalog_days + STRING_SPARE_DAYS})",
    )


def _tag_table(name: str, tag: tuple[Column, ...], retention: Retention) -> Table:
    """Return a table of a metric's tag keys, or of its keys and values."""
    return Table(
        window=False,
        name=name,
        columns=(
            *_METRIC,
            *tag,
            Column("first_day", "Date", "ZSTD(1)", merge="min"),
            Column("last_day", "Date", "ZSTD(1)", merge="max"),
        ),
        engine="AggregatingMergeTree",
        shard_by=tag[-1].name,
        order_by=("org_id", "project_id", "metric_id", *(column.name for column in tag)),
        ttl=f"last_day + toIntervalDay({retention.catalog_days})",
    )


METADATA: Final = "metric_metadata"


def metadata_table(retention: Retention) -> Table:
    """Return the table of mapping files' metadata: one row per name; the last row wins."""
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
    """Return the views that fill the tables of tags."""
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
    """Return the table of the runs' progress and when they were last heard; `ended`: it has stopped."""
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
    """Return the table of applied migrations."""
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
