"""Renders the tables as SQL, for one node or for a cluster, from the same source.

On a cluster a table becomes two: the replicated `<name>_local`, which the views read and write, and a
Distributed table of the plain name over it, for all other uses. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.columns import FLOAT, Column
from indexer.clickhouse.schema.ddl import DdlStatement
from indexer.clickhouse.schema.sql_views import SqlSelect, SqlView
from indexer.clickhouse.schema.tables import DEDUPLICATION_WINDOW, DEDUPLICATION_WINDOW_S, Table, View
from indexer.clickhouse.sql_quoting import quote_name, quote_text


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of the tables: `cluster` None is one node; `alp`: the engine has the ALP codec.

    `on_cluster` False makes a cluster's tables on the connected node alone.
    """

    database: str = "meterhouse"
    cluster: str | None = None
    alp: bool = True
    retention: Retention = field(default_factory=Retention)
    on_cluster: bool = True


def create_table(table: Table, layout: Layout) -> tuple[DdlStatement, ...]:
    """Return idempotent statements that create a table: one on a single node, two on a cluster."""
    name = _local(table.name, layout)
    columns = ",\n".join(f"    {_column(c, layout)}" for c in table.columns)
    text = f"CREATE TABLE IF NOT EXISTS {_qualified(name, layout)}{on_cluster(layout)}\n(\n{columns}\n)\n"
    text += f"ENGINE = {_engine(table, name, layout)}"
    if table.partition_by:
        text += f"\nPARTITION BY {table.partition_by}"
    if table.order_by:
        text += f"\nORDER BY ({', '.join(table.order_by)})"
    if table.ttl:
        text += f"\nTTL {table.ttl}"
    settings = _settings(table, layout)
    if settings:
        text += f"\nSETTINGS {settings}"
    made = DdlStatement(text, name)
    if layout.cluster is None:
        return (made,)
    distributed = (
        f"CREATE TABLE IF NOT EXISTS {_qualified(table.name, layout)}{on_cluster(layout)}\n"
        f"AS {_qualified(name, layout)}\n"
        f"ENGINE = Distributed({quote_text(layout.cluster)}, {quote_text(layout.database)},"
        f" {quote_text(name)}, {table.shard_by})"
    )
    return made, DdlStatement(distributed, table.name)


def create_view(view: View, layout: Layout) -> DdlStatement:
    """Return the idempotent statement that creates a view."""
    name = _local(view.name, layout)
    return DdlStatement(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {_qualified(name, layout)}{on_cluster(layout)}\n"
        f"TO {_qualified(_local(view.target, layout), layout)}\n"
        f"AS {_select(view, layout)}",
        name,
    )


def create_sql_view(view: SqlView, layout: Layout) -> DdlStatement:
    """Return the idempotent statement that creates a view for clients."""
    parts = "\nUNION ALL\n".join(_sql_select(part, layout) for part in view.parts)
    begin = f"CREATE VIEW IF NOT EXISTS {_qualified(view.name, layout)}{on_cluster(layout)}"
    return DdlStatement(f"{begin}\nAS {parts}", view.name)


def modify_window(table: Table, layout: Layout) -> DdlStatement:
    """Return the statement that makes a table remember no blocks."""
    return DdlStatement(
        f"ALTER TABLE {_qualified(_local(table.name, layout), layout)}{on_cluster(layout)}\n"
        f"MODIFY SETTING {', '.join(_windows(layout, 0, None))}"
    )


def add_column(table: Table, column: Column, layout: Layout) -> Iterator[DdlStatement]:
    """Yield statements that add a column if it is missing: one on a single node, two on a cluster."""
    names = [_local(table.name, layout)] + ([table.name] if layout.cluster is not None else [])
    for name in names:
        yield DdlStatement(
            f"ALTER TABLE {_qualified(name, layout)}{on_cluster(layout)}\n"
            f"ADD COLUMN IF NOT EXISTS {_column(column, layout)}",
            name,
            column.name,
        )


def modify_ttl(table: Table, layout: Layout) -> DdlStatement:
    """Return the statement that changes the TTL of a table."""
    return DdlStatement(
        f"ALTER TABLE {_qualified(_local(table.name, layout), layout)}{on_cluster(layout)}\n"
        f"MODIFY TTL {table.ttl}"
    )


def delete_rows(table: str, where: str, layout: Layout) -> str:
    """Return the statement that begins to delete rows, on every server, without waiting for the end."""
    # A subquery in `where` reads a table of the same server: replicas of a cluster get none.
    return (
        f"ALTER TABLE {_qualified(_local(table, layout), layout)}{on_cluster(layout)}\n"
        f"DELETE WHERE {where}\nSETTINGS mutations_sync = 0"
    )


def _select(view: View, layout: Layout) -> str:
    columns = ",\n".join(f"    {c}" for c in view.select)
    return f"SELECT\n{columns}\nFROM {_qualified(_local(view.source, layout), layout)}"


def _sql_select(part: SqlSelect, layout: Layout) -> str:
    columns = ",\n".join(f"    {c}" for c in part.select)
    text = f"SELECT\n{columns}\nFROM {_qualified(part.source, layout)}"
    text += f"\nWHERE {part.where}" if part.where else ""
    return text + (f"\nGROUP BY {part.group_by}" if part.group_by else "")


def _column(column: Column, layout: Layout) -> str:
    codec = column.codec
    if codec == FLOAT:
        codec = "ALP, ZSTD(1)" if layout.alp else "ZSTD(1)"
    default = f" DEFAULT {column.default}" if column.default else ""
    return f"`{column.name}` {column.sql_type}{default}" + (f" CODEC({codec})" if codec else "")


def _engine(table: Table, name: str, layout: Layout) -> str:
    version = [quote_name(table.version)] if table.version else []
    if table.engine == "Null" or layout.cluster is None:
        return f"{table.engine}({version[0]})" if version else table.engine
    # Names of cluster and database, as several may share one Keeper. Not {uuid}: a node that joins could not
    # know it. Tables of before have another path, which a new replica copies (completion.py).
    names = "/".join(quote(one, safe="") for one in (layout.database, name))
    path = f"/clickhouse/tables/{quote(layout.cluster, safe='')}/{{shard}}/{names}"
    given = ", ".join([quote_text(path), "'{replica}'", *version])
    return f"Replicated{table.engine}({given})"


def _settings(table: Table, layout: Layout) -> str:
    settings: list[str] = []
    if table.engine == "Null":
        return ""
    if table.window:
        settings += _windows(layout, DEDUPLICATION_WINDOW, DEDUPLICATION_WINDOW_S)
    elif layout.cluster is not None:  # a replicated table has windows unless told otherwise
        settings += _windows(layout, 0, None)
    if table.ttl and table.partition_by:
        settings.append("ttl_only_drop_parts = 1")
    return ", ".join(settings)


def _windows(layout: Layout, blocks: int, seconds: int | None) -> list[str]:
    """Return the settings for how many blocks a table remembers, and for how long."""
    if layout.cluster is None:
        return [f"non_replicated_deduplication_window = {blocks}"]
    out = []
    for ending in ("", "_for_async_inserts"):
        out.append(f"replicated_deduplication_window{ending} = {blocks}")
        if seconds is not None:
            out.append(f"replicated_deduplication_window_seconds{ending} = {seconds}")
    return out


def _local(name: str, layout: Layout) -> str:
    return name if layout.cluster is None else f"{name}_local"


def _qualified(name: str, layout: Layout) -> str:
    return f"{quote_name(layout.database)}.{quote_name(name)}"


def on_cluster(layout: Layout) -> str:
    """Return the clause ON CLUSTER of a layout, with a space before it; else nothing."""
    if layout.cluster is None or not layout.on_cluster:
        return ""
    return f" ON CLUSTER {quote_name(layout.cluster)}"
