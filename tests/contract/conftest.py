from __future__ import annotations

from collections.abc import Iterator

import pytest

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


@pytest.fixture(params=["store_dsn", "http_store_dsn"], ids=["chdb", "http"])
def any_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Provide a store with all tables, embedded and over HTTP in turn."""
    opened = open_store(request.getfixturevalue(request.param), pool=4)
    yield opened
    opened.close()
