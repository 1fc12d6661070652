"""A database that a later version of Meterhouse has migrated: this one works with it, or says why not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest

import meterhouse
from agent.runtime.program_version import program_version
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import later_migrations, migrate, too_new
from indexer.clickhouse.store import Store, StoreError, open_store

TABLES = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"


@pytest.fixture
def migrated(chdb_dsn: str) -> Iterator[Store]:
    """Provide a store of its own: rows of migrations stay in it."""
    with closing(open_store(chdb_dsn, pool=1)) as store:
        migrate(store, Retention())
        yield store


def note(store: Store, version: int, name: str) -> None:
    store.command(
        "INSERT INTO schema_migrations (version, name, applied_at)"
        " SELECT {version:UInt32}, {name:String}, now64(3, 'UTC')",
        {"version": version, "name": name},
    )


def test_a_migration_that_keeps_all_names_is_logged(
    migrated: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier indexer may be started again beside later ones."""
    note(migrated, 99, "cells by hour")
    before = migrated.rows(TABLES)
    with caplog.at_level(logging.WARNING):
        migrate(migrated, Retention())
    assert "event=later_schema migrations=99" in caplog.text
    assert migrated.rows(TABLES) == before
    assert too_new(later_migrations(migrated), migrated.database, program_version()) == ""


def test_one_that_does_not_names_the_version_it_needs(
    migrated: Store, chdb_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note(migrated, 98, "cells by hour")
    note(migrated, 99, "hashes of 128 bits (needs Meterhouse 9.1.0)")
    before = migrated.rows(TABLES)
    wanted = (
        f"the tables of the database {migrated.database} are too new for Meterhouse {program_version()}: "
        "expected 9.1.0 or later, which migration 99 needs"
    )
    with pytest.raises(StoreError) as refused:
        migrate(migrated, Retention(days_10s=1))
    assert str(refused.value) == wanted
    assert not refused.value.retryable
    assert meterhouse.main(["schema", "apply", "--dsn", chdb_dsn]) == 1
    assert wanted in capsys.readouterr().err
    assert migrated.rows(TABLES) == before
