"""Fixtures: ClickHouse embedded, one engine for the whole run, a fresh database for each test.

chdb allows one path per process, so all tests of a run share one; `store` is migrated, `chdb_dsn` is not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, open_store
from tests.support.clickhouse_http import running


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
    sweeper = open_store(f"chdb://{chdb_path}?database=default", pool=1)
    sweeper.command(f"DROP DATABASE IF EXISTS {quote_name(name)} SYNC")
    sweeper.close()


@pytest.fixture
def store(chdb_dsn: str) -> Iterator[Store]:
    """Provide a store with all tables, 10 years of retention, empty."""
    opened = open_store(chdb_dsn, pool=2)
    migrate(opened, Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650))
    yield opened
    opened.close()


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
    sweeper = open_store(f"http://127.0.0.1:{clickhouse_port}/default", pool=1)
    sweeper.command(f"DROP DATABASE IF EXISTS {quote_name(name)} SYNC")
    sweeper.close()
