"""Creates and upgrades the tables: numbered migrations and the table that notes them, then retention.

Every statement is idempotent, so two indexers may start at once: both run the missing ones, and the version
table (ReplacingMergeTree) takes the same row twice. The statements of a released migration never change; a
new shape is a new number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from agent.runtime.program_version import program_version
from indexer.clickhouse.granularities import GRANULARITIES
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.bookkeeping import identities_table, retentions_table
from indexer.clickhouse.schema.commit_log import commit_log_view, stream_commits_table
from indexer.clickhouse.schema.database_id import DATABASE_ID, note_id, read_ids
from indexer.clickhouse.schema.ddl import DdlStatement
from indexer.clickhouse.schema.eras import note_retention
from indexer.clickhouse.schema.later_versions import noted_name, too_new
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.clickhouse.schema.render import (
    Layout,
    add_column,
    create_sql_view,
    create_table,
    create_view,
    modify_ttl,
    modify_window,
)
from indexer.clickhouse.schema.sql_views import counters_view
from indexer.clickhouse.schema.subscription_tables import (
    WEBHOOK,
    results_table,
    sent_table,
    subscriptions_table,
)
from indexer.clickhouse.schema.table_maker import TableMaker
from indexer.clickhouse.schema.tables import (
    STRING_DAY,
    catalog_tables,
    catalog_views,
    heartbeats_table,
    input_table,
    metadata_table,
    migrations_table,
    rollup_table,
    rollup_view,
)
from indexer.clickhouse.store import Store, StoreError

log: Final = logging.getLogger(__name__)

#: The migration since which identities of frames carry their tenant (indexer/write/identity.py).
SCOPED_IDENTITIES: Final = 4
#: The migration since which ClickHouse has the identities of stored frames
#: (indexer/write/stored_identities.py).
STORED_IDENTITIES: Final = 8


class Migration(msgspec.Struct, frozen=True):
    """A numbered change of the schema."""

    version: int
    name: str
    statements: Callable[[Layout], Iterator[DdlStatement]]
    #: The first version of Meterhouse that works with it, where earlier ones do not.
    needs: str = ""


def _first_tables(layout: Layout) -> Iterator[DdlStatement]:
    """Yield the first tables. Old stores also have the input tables and views of before migration 5."""
    for table in catalog_tables(layout.retention):
        yield from create_table(table, layout)
    for view in catalog_views():
        yield create_view(view, layout)
    for kind in KINDS:
        for granularity in GRANULARITIES:
            yield from create_table(rollup_table(kind, granularity), layout)


def _metadata(layout: Layout) -> Iterator[DdlStatement]:
    yield from create_table(metadata_table(layout.retention), layout)


def _heartbeats(layout: Layout) -> Iterator[DdlStatement]:
    yield from create_table(heartbeats_table(), layout)


def _identities(_: Layout) -> Iterator[DdlStatement]:
    """Yield nothing: the time of this migration says which frames' identities carry their tenant."""
    yield from ()


def _inputs(layout: Layout) -> Iterator[DdlStatement]:
    yield from create_table(retentions_table(), layout)
    for kind in KINDS:
        yield from create_table(input_table(kind), layout)
        for granularity in GRANULARITIES:
            yield create_view(rollup_view(kind, granularity), layout)


def _windows(layout: Layout) -> Iterator[DdlStatement]:
    """Yield statements that make older tables forget blocks: they would keep lost rows from returning."""
    for table in (*catalog_tables(layout.retention), metadata_table(layout.retention), heartbeats_table()):
        yield modify_window(table, layout)


def _string_days(layout: Layout) -> Iterator[DdlStatement]:
    (strings,) = (table for table in catalog_tables(layout.retention) if table.name == "strings")
    yield from add_column(strings, STRING_DAY, layout)
    yield modify_ttl(strings, layout)


def _stored_identities(layout: Layout) -> Iterator[DdlStatement]:
    yield from create_table(identities_table(), layout)


def _subscriptions(layout: Layout) -> Iterator[DdlStatement]:
    for table in (subscriptions_table(), results_table()):
        yield from create_table(table, layout)


def _sql_views(layout: Layout) -> Iterator[DdlStatement]:
    yield create_sql_view(counters_view(), layout)


def _commit_log(layout: Layout) -> Iterator[DdlStatement]:
    yield from create_table(stream_commits_table(), layout)
    yield create_sql_view(commit_log_view(), layout)


def _webhooks(layout: Layout) -> Iterator[DdlStatement]:
    yield from add_column(subscriptions_table(), WEBHOOK, layout)
    yield from create_table(sent_table(), layout)


MIGRATIONS: Final = (
    Migration(1, "tables", _first_tables),
    Migration(2, "metadata", _metadata),
    Migration(3, "heartbeats", _heartbeats),
    Migration(SCOPED_IDENTITIES, "identities", _identities),
    Migration(5, "inputs", _inputs),
    Migration(DATABASE_ID, "windows", _windows),
    Migration(7, "days of strings", _string_days),
    Migration(STORED_IDENTITIES, "stored identities", _stored_identities),
    Migration(9, "subscriptions", _subscriptions),
    Migration(10, "views for clients", _sql_views),
    Migration(11, "commit log", _commit_log),
    Migration(12, "webhooks of subscriptions", _webhooks),
)

#: Rows of schema_migrations with this version name the retention that the tables' TTLs have.
_RETENTION: Final = 0
#: ClickHouse's codes for a table and a database that do not exist.
_MISSING: Final = frozenset({60, 81})


def statements(layout: Layout) -> Iterator[DdlStatement]:
    """Yield all statements that create a new database, in order."""
    yield from create_table(migrations_table(), layout)
    for migration in MIGRATIONS:
        yield from migration.statements(layout)


def migrate(store: Store, retention: Retention | None = None, steps: Sequence[int] = ()) -> int:
    """Bring the database up to this code's schema; return its version. Raises StoreError.

    `retention` None keeps that of an existing database. `steps`: values that `retention_days` of frames are
    rounded up to.
    """
    maker = TableMaker(store, store.cluster)
    maker.prepare()
    layout = _layout(store, store.cluster, retention)
    for statement in create_table(migrations_table(), layout):
        maker.run(statement, layout)
    maker.wait()
    applied = applied_versions(store)
    _look_at_later(store)
    for migration in MIGRATIONS:
        if migration.version not in applied:
            for statement in migration.statements(layout):
                maker.run(statement, layout)
            maker.wait()
            if migration is MIGRATIONS[-1] and retention is not None:
                note_retention(store, retention, steps)  # shims read it once this migration is noted
            _note(store, migration.version, noted_name(migration.name, migration.needs))
    if not read_ids(store):
        note_id(store)
    if retention is not None:
        _apply_retention(store, layout, maker, fresh=not applied)
        note_retention(store, retention, steps)
    maker.complete(statements(layout), layout)
    maker.wait()
    return MIGRATIONS[-1].version


def complete(store: Store) -> int:
    """Make tables that nodes of a migrated cluster lack: new ones, and those that were dead.

    Return how many statements that took. Raises StoreError.
    """
    maker = TableMaker(store, store.cluster)
    maker.prepare(unseen=False)
    layout = _layout(store, store.cluster, None)
    count = maker.complete(statements(layout), layout)
    maker.wait()
    return count


def make_on_this_node(store: Store, cluster: str) -> int:
    """Make a cluster's tables on the connected node alone; return their version. Raises StoreError.

    For a node that joins a cluster whose Keeper queue of DDL does not work. The store is opened without the
    cluster. Nothing is noted: the rows of `schema_migrations` are those of the whole cluster.
    """
    maker = TableMaker(store, cluster, here=True)
    maker.prepare()
    first = replace(_layout(store, cluster, Retention()), on_cluster=False)
    for statement in create_table(migrations_table(), first):
        maker.run(statement, first)
    layout = replace(first, retention=_kept(store) or Retention())
    for statement in statements(layout):
        maker.run(statement, layout)
    return MIGRATIONS[-1].version


def applied_versions(store: Store) -> frozenset[int]:
    """Return the versions of the migrations that the database has; none without tables. Raises StoreError."""
    try:
        return frozenset(v for (v,) in store.rows("SELECT DISTINCT version FROM schema_migrations"))
    except StoreError as e:
        if e.code in _MISSING:
            return frozenset()
        raise


def later_migrations(store: Store) -> list[tuple[int, str]]:
    """Return number and noted name of each migration of a later version. Raises StoreError."""
    rows = store.rows(
        "SELECT DISTINCT version, name FROM schema_migrations WHERE version > {last:UInt32} ORDER BY version",
        {"last": MIGRATIONS[-1].version},
    )
    return [(int(version), str(name)) for version, name in rows]


def _look_at_later(store: Store) -> None:
    """Log migrations of later versions. Raises StoreError if this version does not work with them."""
    later = later_migrations(store)
    if problem := too_new(later, store.database, program_version()):
        raise StoreError(problem, retryable=False)
    if later:
        log.warning("event=later_schema migrations=%s effect=none", ",".join(str(v) for v, _ in later))


def lacking(applied: frozenset[int], database: str) -> str:
    """Return the part of this code's schema that a database lacks, in words; empty: nothing."""
    missing = [m.version for m in MIGRATIONS if m.version not in applied]
    if not missing:
        return ""
    if not applied:
        return f"no tables yet in the database {database}"
    return f"the tables of the database {database} are too old: migration {missing[0]} is missing"


def applied_times(store: Store) -> dict[int, int]:
    """Return when each migration was first applied, Unix milliseconds. Raises StoreError."""
    rows = store.rows(
        "SELECT version, toInt64(toUnixTimestamp64Milli(min(applied_at))) FROM schema_migrations"
        " GROUP BY version"
    )
    return {int(version): max(0, int(first_ms)) for version, first_ms in rows}


def _layout(store: Store, cluster: str | None, retention: Retention | None) -> Layout:
    return Layout(
        database=store.database,
        cluster=cluster,
        alp=store.knows("enable_alp_codec"),
        retention=retention or _kept(store) or Retention(),
    )


def _kept(store: Store) -> Retention | None:
    """Return the retention that the tables' TTLs have; None where none is noted. Raises StoreError."""
    try:
        found = _noted_retention(store)
    except StoreError as e:
        if e.code in _MISSING:
            return None
        raise
    if not found:
        return None
    noted = dict(one.split() for one in found.split(", "))
    return Retention(**{f"days_{g.name}": int(noted[g.name]) for g in GRANULARITIES if g.name in noted})


def _noted_retention(store: Store) -> str:
    found = store.rows(
        "SELECT name FROM schema_migrations WHERE version = {version:UInt32}"
        " ORDER BY applied_at DESC LIMIT 1",
        {"version": _RETENTION},
    )
    return str(found[0][0]) if found else ""


def _apply_retention(store: Store, layout: Layout, maker: TableMaker, *, fresh: bool) -> None:
    """Apply the present retention to tables that were made with another."""
    wanted = ", ".join(f"{g.name} {layout.retention.days(g.name)}" for g in GRANULARITIES)
    if _noted_retention(store) == wanted:
        return
    if not fresh:
        for table in (*catalog_tables(layout.retention), metadata_table(layout.retention)):
            if table.ttl:
                maker.run(modify_ttl(table, layout), layout)
    _note(store, _RETENTION, wanted)


def _note(store: Store, version: int, name: str) -> None:
    store.command(
        "INSERT INTO schema_migrations (version, name, applied_at)"
        " SELECT {version:UInt32}, {name:String}, now64(3, 'UTC')",
        {"version": version, "name": name},
    )
