"""`meterhouse schema apply`: makes the tables, upgrades them, and keeps their retention."""

from __future__ import annotations

import importlib
from contextlib import closing

import pytest

import meterhouse
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import applied_versions, migrate
from indexer.clickhouse.schema.eras import Era, eras_for_reading, read_eras
from indexer.clickhouse.schema.migrate import MIGRATIONS
from indexer.clickhouse.store import Store, open_store

#: The migration that gives strings a TTL once more.
_STRING_DAYS = 7


@pytest.mark.parametrize("fixture", ["chdb_dsn", "http_dsn"])
def test_a_new_database_has_the_retention_of_the_settings(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn: str = request.getfixturevalue(fixture)
    monkeypatch.setenv("METERHOUSE_INDEXER__RETENTION__DAYS_1D", "77")
    assert meterhouse.main(["schema", "apply", "--dsn", dsn]) == 0
    with closing(open_store(dsn, pool=1)) as store:
        assert max(applied_versions(store)) == MIGRATIONS[-1].version
        assert read_eras(store)[-1].retention == Retention(days_1d=77)


def test_an_older_database_keeps_its_retention(chdb_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_store(chdb_dsn, pool=1)) as store:
        migrate(store, Retention(days_1d=55))
        sql = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
        before = store.rows(sql)
        store.command(f"DELETE FROM schema_migrations WHERE version >= {_STRING_DAYS}")
        for _ in range(2):
            assert meterhouse.main(["schema", "apply", "--dsn", chdb_dsn]) == 0
        assert store.rows(sql) == before
        assert read_eras(store)[-1].retention == Retention(days_1d=55)
    last = f"the tables have version {MIGRATIONS[-1].version}"
    assert capsys.readouterr().out.splitlines() == [last, last]


def test_the_retention_is_noted_before_shims_take_the_tables_as_complete(
    chdb_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[int, list[Era]] = {}

    def note(store: Store, version: int, name: str) -> None:
        if version == MIGRATIONS[-1].version:
            found[version] = eras_for_reading(store, Retention())
        real(store, version, name)

    migrations = importlib.import_module("indexer.clickhouse.schema.migrate")
    real = migrations._note
    monkeypatch.setattr(migrations, "_note", note)
    with closing(open_store(chdb_dsn, pool=1)) as store:
        migrate(store, Retention(days_10s=7))
        assert found == {MIGRATIONS[-1].version: [Era(0, Retention(days_10s=7), ())]}
        migrate(store, Retention(days_10s=35))
        longer = eras_for_reading(store, Retention())
        assert [era.retention.days_10s for era in longer] == [7, 35]
        assert eras_for_reading(store, Retention(days_10s=35)) == longer
        assert len(eras_for_reading(store, Retention(days_10s=8))) == 1


def test_a_store_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["schema", "apply", "--dsn", "http://127.0.0.1:1/x"]) == 1
    assert "ClickHouse at 127.0.0.1:1 cannot be reached" in capsys.readouterr().err
