"""Fixtures: ClickHouse embedded, one engine for the whole run, an empty database for each test.

chdb allows one path per process, so all tests of a run share one. `store` and `migrated_dsn` have all tables;
`chdb_dsn` is a database that does not exist.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.settings import Limits
from tests.support.clickhouse_http import running
from tests.support.frames import TEN_YEARS

#: Tables with rows that a migration writes.
_NOTES = ("schema_migrations", "retention_eras")
_SCHEMA = """
SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name
"""
#: Parts that no table shows: emptying leaves them.
_DETACHED = "SELECT count() FROM system.detached_parts WHERE database = currentDatabase()"
_FILLED = "SELECT DISTINCT table FROM system.parts WHERE active AND database = currentDatabase()"


class Databases:
    """Migrated databases of one server: emptied after a test, and used by the next.

    One whose tables or notes a test changed is dropped. `dsn` makes a DSN of a database's name.
    """

    def __init__(self, dsn: Callable[[str], str], retention: Retention, steps: Sequence[int] = ()) -> None:
        self._dsn = dsn
        self._retention, self._steps = retention, steps
        self._idle: list[tuple[str, object]] = []

    def lent(self) -> Iterator[str]:
        """Yield the DSN of an empty database; take it back."""
        name, state = self._idle.pop() if self._idle else self._made()
        yield self._dsn(name)
        if not self._emptied(name, state):
            drop(self._dsn("default"), name)
        else:
            self._idle.append((name, state))

    def _made(self) -> tuple[str, object]:
        name = f"test_{uuid.uuid4().hex[:12]}"
        with closing(open_store(self._dsn(name), pool=1)) as store:
            migrate(store, self._retention, self._steps)
            return name, _state(store)

    def _emptied(self, name: str, state: object) -> bool:
        """Return whether the database is now as a migration leaves it."""
        try:
            with closing(open_store(self._dsn(name), pool=1)) as store:
                if _state(store) != state or store.rows(_DETACHED) != [(0,)]:
                    return False
                for (table,) in store.rows(_FILLED):
                    if table not in _NOTES:
                        store.command(f"TRUNCATE TABLE {quote_name(table)}")
                return True
        except StoreError:  # the test dropped it, or a table of it
            return False


def _state(store: Store) -> object:
    """Return the tables' definitions and the rows that migrations wrote."""
    return store.rows(_SCHEMA), [sorted(map(repr, store.rows(f"SELECT * FROM {note}"))) for note in _NOTES]


def drop(dsn: str, name: str) -> None:
    """Drop a database, which may not exist, over a DSN of another."""
    with closing(open_store(dsn, pool=1)) as sweeper:
        sweeper.command(f"DROP DATABASE IF EXISTS {quote_name(name)} SYNC")


@pytest.fixture(scope="session")
def chdb_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide the engine's path; the engine runs until the end of the session."""
    path = tmp_path_factory.mktemp("chdb")
    anchor = open_store(f"chdb://{path}", pool=1)
    yield path
    anchor.close()


@pytest.fixture
def chdb_dsn(chdb_path: Path) -> Iterator[str]:
    """Provide the DSN of a database that does not exist yet and is dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield f"chdb://{chdb_path}?database={name}"
    drop(f"chdb://{chdb_path}?database=default", name)


@pytest.fixture(scope="session")
def _long_kept(chdb_path: Path) -> Databases:
    return Databases(lambda name: f"chdb://{chdb_path}?database={name}", TEN_YEARS)


@pytest.fixture(scope="session")
def _migrated(chdb_path: Path) -> Databases:
    return Databases(
        lambda name: f"chdb://{chdb_path}?database={name}", Retention(), Limits().retention_steps
    )


@pytest.fixture(scope="session")
def _long_kept_http(clickhouse_port: int) -> Databases:
    return Databases(lambda name: f"http://127.0.0.1:{clickhouse_port}/{name}", TEN_YEARS)


@pytest.fixture(scope="session")
def _migrated_http(clickhouse_port: int) -> Databases:
    return Databases(
        lambda name: f"http://127.0.0.1:{clickhouse_port}/{name}", Retention(), Limits().retention_steps
    )


@pytest.fixture
def store_dsn(_long_kept: Databases) -> Iterator[str]:
    """Provide the DSN of the database that `store` has."""
    yield from _long_kept.lent()


@pytest.fixture
def http_store_dsn(_long_kept_http: Databases) -> Iterator[str]:
    """Provide the same over HTTP."""
    yield from _long_kept_http.lent()


@pytest.fixture
def store(store_dsn: str) -> Iterator[Store]:
    """Provide a store with all tables, 10 years of retention, empty."""
    opened = open_store(store_dsn, pool=2)
    yield opened
    opened.close()


@pytest.fixture
def migrated_dsn(_migrated: Databases) -> Iterator[str]:
    """Provide the DSN of an empty database with all tables, as an indexer with default settings leaves it."""
    yield from _migrated.lent()


@pytest.fixture
def migrated_http_dsn(_migrated_http: Databases) -> Iterator[str]:
    """Provide the same over HTTP."""
    yield from _migrated_http.lent()


@pytest.fixture(scope="session")
def clickhouse_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Provide the port of a ClickHouse HTTP interface, served by a child process."""
    with running(tmp_path_factory.mktemp("clickhouse")) as port:
        yield port


@pytest.fixture
def http_dsn(clickhouse_port: int) -> Iterator[str]:
    """Provide the DSN of a database on that server that does not exist yet and is dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield f"http://127.0.0.1:{clickhouse_port}/{name}"
    drop(f"http://127.0.0.1:{clickhouse_port}/default", name)
