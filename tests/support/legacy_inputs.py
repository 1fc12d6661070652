"""The input tables and views of before migration 5, for tests: a store of then has them, with retentions."""

from __future__ import annotations

from msgspec.structs import replace

from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.columns import Column
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.clickhouse.schema.render import Layout, create_table, create_view
from indexer.clickhouse.schema.tables import LEGACY_INPUT, input_table, rollup_view
from indexer.clickhouse.store import Store


def make_legacy(store: Store, retention: Retention) -> None:
    """Turn a migrated, empty store into one whose last migration was 4."""
    layout = Layout(database=store.database, alp=False)
    for kind in KINDS:
        table = input_table(kind)
        columns = [c for c in table.columns if not c.name.startswith("days_")]
        columns.insert(5, Column("retention_days", "UInt16"))
        old = replace(table, name=f"{LEGACY_INPUT}_{kind}", columns=tuple(columns))
        for statement in create_table(old, layout):
            store.command(statement.text)
        for granularity in GRANULARITIES:
            view = rollup_view(kind, granularity)
            store.command(f"DROP VIEW {view.name} SYNC")
            days = f"toUInt16(least(retention_days, {retention.days(granularity.name)})) AS retention_days"
            select = tuple(days if part.startswith("days_") else part for part in view.select)
            name = f"{kind}_{granularity.name}_view"
            made = create_view(replace(view, name=name, source=old.name, select=select), layout)
            store.command(made.text)
        store.command(f"DROP TABLE {table.name} SYNC")
    store.command("DROP TABLE retention_eras SYNC")
    store.command("DELETE FROM schema_migrations WHERE version IN (0, 5)")
