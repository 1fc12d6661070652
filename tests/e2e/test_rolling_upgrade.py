"""Programs of different releases on one ClickHouse, as during a rolling upgrade."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.product import PROGRAM, Starter
from tests.support.chdb import drop
from tests.support.release_statements import (
    FILE,
    NO_UP,
    database_of,
    execute,
    post_all,
    read_statements,
    start_indexer,
)
from tests.support.releases import folder_of, read_sent, releases

pytestmark = pytest.mark.e2e


@pytest.fixture
def migrated(release: str, start: Starter, clickhouse_port: int) -> Iterator[int]:
    """Provide the port of a ClickHouse with today's tables, and the rows of a release's requests."""
    dsn = f"http://127.0.0.1:{clickhouse_port}/{database_of(release)}"
    url = start_indexer(start, dsn, PROGRAM, NO_UP)
    post_all(url, read_sent(release).requests)
    yield clickhouse_port
    start.clear()
    drop(f"http://127.0.0.1:{clickhouse_port}/default", database_of(release))


@pytest.mark.parametrize("release", releases(FILE))
def test_the_statements_of_an_old_shim_are_answered_the_same(migrated: int, release: str) -> None:
    """They were recorded on the tables of then, with the rows of the same requests.

    No order of rows is promised: the same rows have the same bytes in some order.
    """
    statements = read_statements(folder_of(release))
    assert len(statements) > 30
    for one in statements:
        assert sorted(execute(migrated, one)) == sorted(one.answer), (one.target, one.body)
