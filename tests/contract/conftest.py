from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store


@pytest.fixture(params=["chdb", "http"], scope="module")
def plain_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Provide a store without our tables, for tests that need none: shared, since opening takes its time."""
    if request.param == "chdb":
        dsn = f"chdb://{request.getfixturevalue('chdb_path')}?database=default"
    else:
        dsn = f"http://127.0.0.1:{request.getfixturevalue('clickhouse_port')}/default"
    opened = open_store(dsn, pool=4)
    yield opened
    opened.close()


@pytest.fixture(params=["chdb", "http"])
def any_dsn(request: pytest.FixtureRequest) -> str:
    dsn: str = request.getfixturevalue(f"{request.param}_dsn")
    return dsn


@pytest.fixture
def any_store(any_dsn: str) -> Iterator[Store]:
    """Provide a migrated store, embedded and over HTTP in turn."""
    opened = open_store(any_dsn, pool=4)
    migrate(opened, Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650))
    yield opened
    opened.close()
