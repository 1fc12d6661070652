"""The three worlds of tests: ClickHouse embedded, a server over HTTP, and services in processes of their own.

Each has an empty database with all tables for as long as a `with` lasts. Tests of one database each take the
fixtures of tests/support/chdb.py, which use databases again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema import migrate
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, open_store
from tests.e2e.product import Starter
from tests.e2e.services import Services
from tests.support import clickhouse_http
from tests.support.frames import TEN_YEARS


@contextmanager
def embedded(path: Path, name: str, *, pool: int = 4, kept: Retention = TEN_YEARS) -> Iterator[Store]:
    """Provide a database in the process of the tests; `path` is that of its engine."""
    with migrated(f"chdb://{path}?database={name}", pool=pool, kept=kept) as store:
        yield store


@contextmanager
def over_http(port: int, name: str, *, pool: int = 4, kept: Retention = TEN_YEARS) -> Iterator[Store]:
    """Provide a database of the test server (tests/support/clickhouse_http.py) at `port`."""
    with migrated(f"http://127.0.0.1:{port}/{name}", pool=pool, kept=kept) as store:
        yield store


@contextmanager
def migrated(dsn: str, *, pool: int = 4, kept: Retention = TEN_YEARS) -> Iterator[Store]:
    """Provide the database of a DSN with all tables, and drop it."""
    store = open_store(dsn, pool=pool)
    try:
        migrate(store, kept)
        yield store
        store.command(f"DROP DATABASE IF EXISTS {quote_name(store.database)} SYNC")
    finally:
        store.close()


@contextmanager
def processes(start: Starter, folder: Path, name: str, redis_url: str = "") -> Iterator[Services]:
    """Provide services of real processes over a server of their own, whose data is in `folder`."""
    with clickhouse_http.running(folder) as port:
        yield Services(start, f"http://127.0.0.1:{port}/{name}", redis_url)
