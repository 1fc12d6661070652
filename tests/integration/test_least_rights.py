"""A shim whose ClickHouse user may only read, and the statements that make such users."""

from __future__ import annotations

import time

import aiohttp
import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, StoreError, open_store
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.clickhouse_http import READER
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline

NOW_S = int(time.time()) // 10 * 10 - 600


async def test_a_shim_that_may_only_read(http_dsn: str) -> None:
    """Look-ups of many series send tables along, and a range reads every kind of table."""
    settings = ShimSettings(listen="127.0.0.1:0", dsn=http_dsn.replace("//", f"//{READER}:p@"))
    reader = ShimService(settings)
    with pytest.raises(StoreError):  # the tables do not exist, and it may not make them
        await reader.start()
    store = open_store(http_dsn, pool=2)
    migrate(store)
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send([f"x:2|c|#n:{n}|T{NOW_S - 5}" for n in range(50)])
    pipeline.close()
    reader = ShimService(settings)
    await reader.start()
    try:
        parameters = {"query": 'sum(increase(x{n=~".*1"}[1m]))', "time": str(NOW_S)}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{reader.address}/api/v1/query", params=parameters) as response,
        ):
            answer = await response.json()
            assert response.status == 200, answer
    finally:
        await reader.stop()
    assert [one["value"][1] for one in answer["data"]["result"]] == ["10"]
    forbidden = open_store(settings.dsn, pool=1)
    with pytest.raises(StoreError) as e:
        forbidden.command("INSERT INTO schema_migrations (version, name, applied_at) VALUES (9, 'x', now())")
    assert not e.value.retryable
    forbidden.close()
    store.close()


def test_the_statements_that_make_users_are_sql(store: Store) -> None:
    text = (ROOT / "deploy" / "clickhouse-users.sql").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    statements = [one.strip() for one in "\n".join(lines).split(";") if one.strip()]
    assert len(statements) == 7
    for statement in statements:
        ((formatted,),) = store.rows("SELECT formatQuerySingleLine({sql:String})", {"sql": statement})
        assert formatted
