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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Kind = Literal["counters", "gauges", "distributions", "sets"]
KINDS: Final[tuple[Kind, ...]] = ("counters", "gauges", "distributions", "sets")

#: Blocks a table remembers by token: an insert repeated within that many changes nothing.
DEDUPLICATION_WINDOW: Final = 100_000
DEDUPLICATION_WINDOW_S: Final = 7 * 86_400


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days that rows are kept, by granularity. A shorter `retention_days` of the message wins."""

    days_10s: int = 35  # days that 10 s rows are kept
    days_60s: int = 100  # days that 60 s rows are kept
    days_1h: int = 400  # days that 1 h rows are kept
    days_1d: int = 1830  # days that 1 d rows, the series and the tag tables are kept

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 1 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name}: expected 1 to 65535 days")

    def days(self, granularity: str) -> int:
        days: int = getattr(self, f"days_{granularity}")
        return days


@dataclass(frozen=True, slots=True)
class Granularity:
    name: str
    seconds: int
    partition: str  # the time a partition spans: small enough to drop in time, large enough to stay few
    cluster: str | None  # a time before series_id in the order, so that short windows read few granules


GRANULARITIES: Final = (
    Granularity("10s", 10, "toDate(timestamp)", "toStartOfHour(timestamp)"),
    Granularity("60s", 60, "toMonday(timestamp)", "toStartOfDay(timestamp)"),
    Granularity("1h", 3600, "toStartOfMonth(timestamp)", None),
    Granularity("1d", 86400, "toStartOfYear(timestamp)", None),
)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    codec: str = ""  # "" leaves the engine's default (LZ4); FLOAT is resolved by the layout
    default: str = ""  # of rows that do not have it


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


SERIES_TYPE: Final = "Enum8('counter' = 1, 'gauge' = 2, 'histogram' = 3, 'set' = 4)"

#: Codec of float states: ALP where the engine has it, else plain ZSTD.
FLOAT: Final = "FLOAT"
#: Ids that repeat over long runs: ZSTD makes next to nothing of them, and they are decoded in blocks.
_ID: Final = "ZSTD(1)"

_KEY: Final = (
    Column("org_id", "UInt32", "LZ4"),
    Column("project_id", "UInt32", "LZ4"),
    Column("metric_id", "UInt64", _ID),
    Column("series_id", "UInt64", _ID),
    Column("timestamp", "DateTime('UTC')", "Delta, LZ4"),
    Column("retention_days", "UInt16", "LZ4"),
)


def _sum(name: str) -> Column:
    return Column(name, "SimpleAggregateFunction(sum, Float64)", FLOAT)


def _low_high() -> tuple[Column, Column]:
    return (
        Column("min", "SimpleAggregateFunction(min, Float64)", FLOAT),
        Column("max", "SimpleAggregateFunction(max, Float64)", FLOAT),
    )


#: What a row of each kind carries after the key, as stored.
STATE: Final[Mapping[Kind, tuple[Column, ...]]] = {
    "counters": (_sum("value"),),
    "gauges": (
        Column("last", "SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64))", "ZSTD(1)"),
        *_low_high(),
        _sum("sum"),
        _sum("count"),
    ),
    "distributions": (
        Column("positive", "SimpleAggregateFunction(sumMap, Map(Int32, Float64))", "ZSTD(1)"),
        Column("negative", "SimpleAggregateFunction(sumMap, Map(Int32, Float64))", "ZSTD(1)"),
        _sum("zero"),
        _sum("count"),
        _sum("sum"),
        _sum("sum_squares"),
        *_low_high(),
    ),
    "sets": (Column("members", "AggregateFunction(uniqCombined64, UInt64)", "ZSTD(1)"),),
}

#: What a row of each kind carries after the key, as inserted, ...
INGEST: Final[Mapping[Kind, tuple[Column, ...]]] = {
    "counters": (Column("value", "Float64"),),
    "gauges": (
        Column("last_ms", "Int64"),
        *(Column(n, "Float64") for n in ("last", "min", "max", "sum", "count")),
    ),
    "distributions": (
        Column("positive_index", "Array(Int32)"),
        Column("positive_count", "Array(Float64)"),
        Column("negative_index", "Array(Int32)"),
        Column("negative_count", "Array(Float64)"),
        *(Column(n, "Float64") for n in ("zero", "count", "sum", "sum_squares", "min", "max")),
    ),
    "sets": (Column("member", "Array(UInt64)"),),
}

#: ... and how the one is made of the other.
_STATE_OF_INGEST: Final[Mapping[Kind, tuple[str, ...]]] = {
    "counters": ("value",),
    "gauges": ("(fromUnixTimestamp64Milli(last_ms, 'UTC'), last) AS last", "min", "max", "sum", "count"),
    "distributions": (
        "mapFromArrays(positive_index, positive_count) AS positive",
        "mapFromArrays(negative_index, negative_count) AS negative",
        *("zero", "count", "sum", "sum_squares", "min", "max"),
    ),
    "sets": ("arrayReduce('uniqCombined64State', member) AS members",),
}

_INGEST_KEY: Final = (
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
    return Table(f"{INPUT}_{kind}", _INGEST_KEY + INGEST[kind], "Null", shard_by="series_id")


def rollup_table(kind: Kind, granularity: Granularity) -> Table:
    middle = (granularity.cluster,) if granularity.cluster else ()
    return Table(
        name=f"{kind}_{granularity.name}",
        columns=_KEY + STATE[kind],
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
            *_STATE_OF_INGEST[kind],
        ),
    )


def catalog_tables(retention: Retention) -> tuple[Table, ...]:
    """Series, strings and the tables that answer "which tags has this metric"."""
    kept = f"toIntervalDay({retention.days_1d})"
    tenant = (Column("org_id", "UInt32", "LZ4"), Column("project_id", "UInt32", "LZ4"))
    metric = (*tenant, Column("metric_id", "UInt64", _ID))
    seen = (
        Column("first_day", "SimpleAggregateFunction(min, Date)", "ZSTD(1)"),
        Column("last_day", "SimpleAggregateFunction(max, Date)", "ZSTD(1)"),
    )
    series = Table(
        window=False,
        name="series",
        columns=(
            *metric,
            Column("series_id", "UInt64", _ID),
            # These three follow from series_id, so any of several rows will do.
            Column("type", f"SimpleAggregateFunction(any, {SERIES_TYPE})", "ZSTD(1)"),
            Column("tag_keys", "SimpleAggregateFunction(any, Array(UInt64))", "ZSTD(1)"),
            Column("tag_values", "SimpleAggregateFunction(any, Array(UInt64))", "ZSTD(1)"),
            Column("day", "Date", "LZ4"),
            Column("first_seen", "SimpleAggregateFunction(min, DateTime('UTC'))", "ZSTD(1)"),
            Column("last_seen", "SimpleAggregateFunction(max, DateTime('UTC'))", "ZSTD(1)"),
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
            Column("id", "UInt64", _ID),
            Column("string", "String", "ZSTD(1)"),
            STRING_DAY,
        ),
        engine="ReplacingMergeTree",
        shard_by="id",
        order_by=("org_id", "id", "string"),
        ttl=f"day + toIntervalDay({retention.days_1d + STRING_SPARE_DAYS})",
    )
    keys = Table(
        window=False,
        name="metric_tag_keys",
        columns=(*metric, Column("tag_key", "UInt64", _ID), *seen),
        engine="AggregatingMergeTree",
        shard_by="tag_key",
        order_by=("org_id", "project_id", "metric_id", "tag_key"),
        ttl=f"last_day + {kept}",
    )
    values = Table(
        window=False,
        name="metric_tag_values",
        columns=(*metric, Column("tag_key", "UInt64", _ID), Column("tag_value", "UInt64", _ID), *seen),
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
        ttl=f"toDateTime(intDiv(updated_ms, 1000), 'UTC') + toIntervalDay({retention.days_1d})",
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
            Column("flushed_until_ms", "SimpleAggregateFunction(max, Int64)", "ZSTD(1)"),
            Column("heard_ms", "SimpleAggregateFunction(max, Int64)", "ZSTD(1)"),
            Column("ended", "SimpleAggregateFunction(max, UInt8)", "ZSTD(1)"),
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
