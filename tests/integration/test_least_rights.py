"""A shim whose ClickHouse user may only read, and the statements that make such users."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import time

import aiohttp
import msgspec
import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.migrate import MIGRATIONS
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.receive.messages import parse
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.clickhouse_http import READER, as_profiled
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline

NOW_S = int(time.time()) // 10 * 10 - 600


async def _ask(url: str, **parameters: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as response:
        return response.status, await response.text()


async def test_a_shim_that_may_only_read(http_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts before the tables are made: by others, and says so until then.

    Look-ups of many series send tables along, and a range reads every kind of table.
    """
    reader = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=http_dsn.replace("//", f"//{READER}:p@")))
    await reader.bind()
    starting = asyncio.create_task(reader.start())
    store = open_store(http_dsn, pool=2)
    try:
        await _until_said(reader.url, "no tables yet in the database")
        assert (await _ask(f"{reader.url}/-/healthy"))[0] == 200
        status, text = await _ask(f"{reader.url}/api/v1/query", query="x")
        assert (status, json.loads(text)["errorType"]) == (503, "unavailable")
        assert "run `meterhouse schema apply`" in text
        store.create_database()
        with monkeypatch.context() as patched:
            _migrate_but_the_last(store, patched)
        await _until_said(reader.url, f"too old: migration {MIGRATIONS[-1].version} is missing")
        migrate(store)
        pipeline = Pipeline.open(store, NOW_S * 1000)
        pipeline.send([f"x:2|c|#n:{n}|T{NOW_S - 5}" for n in range(50)])
        pipeline.close()
        async with asyncio.timeout(120):
            await starting
        query = 'sum(increase(x{n=~".*1"}[1m]))'
        status, text = await _ask(f"{reader.url}/api/v1/query", query=query, time=str(NOW_S))
        assert status == 200, text
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await reader.stop()
    assert [one["value"][1] for one in json.loads(text)["data"]["result"]] == ["10"]
    forbidden = open_store(http_dsn.replace("//", f"//{READER}:p@"), pool=1)
    with pytest.raises(StoreError) as e:
        forbidden.command("INSERT INTO schema_migrations (version, name, applied_at) VALUES (9, 'x', now())")
    assert not e.value.retryable
    forbidden.close()
    store.close()


async def _until_said(url: str, text: str) -> None:
    async with asyncio.timeout(120):
        while True:
            status, said = await _ask(f"{url}/-/ready")
            assert status == 503
            if text in said:
                return
            await asyncio.sleep(0.05)


async def test_a_profile_that_would_leave_rows_out(migrated_http_dsn: str) -> None:
    """Its limit ends the query with an error, as if the profile said `throw`."""
    store = open_store(migrated_http_dsn, pool=2)
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send([f"x:2|c|#n:{n}|T{NOW_S - 5}" for n in range(50)])
    pipeline.close()
    store.close()
    profile = "max_rows_to_group_by=10,group_by_overflow_mode=any,readonly=2"
    service = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=as_profiled(migrated_http_dsn, profile)))
    async with asyncio.timeout(120):
        await service.start()
    try:
        query = "sum by (n) (increase(x[1m]))"
        status, text = await _ask(f"{service.url}/api/v1/query", query=query, time=str(NOW_S))
        assert status == 422, text
        assert "exceeds a limit of ClickHouse's user or profile (code 158)" in text
    finally:
        await service.stop()


def _migrate_but_the_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never note the last migration: a shim that looked just then would take the tables as complete."""
    migrations = importlib.import_module("indexer.clickhouse.schema.migrate")
    real = migrations._note

    def note(store: Store, version: int, name: str) -> None:
        if version != MIGRATIONS[-1].version:
            real(store, version, name)

    monkeypatch.setattr(migrations, "_note", note)
    migrate(store)


async def test_an_embedded_shim_without_tables_ends(chdb_dsn: str) -> None:
    """No other process could make them meanwhile."""
    service = ShimService(ShimSettings(listen="127.0.0.1:0", dsn=chdb_dsn))
    with pytest.raises(StoreError, match=r"no tables yet in the database test_.*`meterhouse schema apply`"):
        await service.start()


def _statements(name: str) -> list[str]:
    text = (ROOT / "deploy" / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [one.strip() for one in "\n".join(lines).split(";") if one.strip()]


@pytest.mark.parametrize(("name", "count"), [("clickhouse-users.sql", 9), ("clickhouse-tenant.sql", 8)])
def test_the_statements_that_make_users_are_sql(store: Store, name: str, count: int) -> None:
    """The engine in the process has no users and policies: it parses the statements, and runs none."""
    statements = _statements(name)
    assert len(statements) == count
    for statement in statements:
        assert store.rows(f"EXPLAIN AST {statement}")


def test_what_a_tenants_policy_shows(store: Store) -> None:
    """Its conditions, run as a WHERE over the tables that the policy names, and over the view."""
    migrate(store)
    pipeline = Pipeline.open(store, NOW_S * 1000)
    for org_id, project_id, value in ((1, 2, 3), (1, 3, 40), (2, 2, 500)):
        tenant = {"org_id": org_id, "project_id": project_id}
        message = {**tenant, "type": "c", "timestamp": NOW_S - 5, "value": value, "name": "x"}
        body = msgspec.json.encode(message)
        key, now_ms = f"{org_id}:{project_id}", NOW_S * 1000
        pipeline.insert(parse(body, key=key, created_ms=now_ms, latest_s=NOW_S, max_messages=1).units)
    pipeline.close()
    policies = [s for s in _statements("clickhouse-tenant.sql") if s.startswith("CREATE ROW POLICY")]
    orgs: dict[str, list[int]] = {}
    for policy in policies[:2]:
        tables = policy.partition(" ON ")[2].partition("FOR SELECT")[0].split(",")
        condition = policy.partition("USING ")[2].partition(" TO ")[0]
        for table in (one.strip().removeprefix("meterhouse.") for one in tables):
            ((orgs[table],),) = store.rows(f"SELECT groupUniqArray(org_id) FROM {table} WHERE {condition}")
    assert orgs == {"counters_10s": [1], "series": [1], "strings": [1]}
    found = store.rows(
        "SELECT metric_id, sumMerge(value) AS total FROM metrics_counters_v2_local"
        " WHERE org_id = 1 AND project_id = 2 GROUP BY metric_id"
    )
    assert [total for _, total in found] == [3.0]
    (documented,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "seeds.md").read_text(), re.DOTALL)
    by_tag = documented.replace("22222", str(found[0][0]))
    assert [total for _, total in store.rows(by_tag)] == [3.0]
