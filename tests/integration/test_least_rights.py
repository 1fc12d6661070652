"""A shim whose ClickHouse user may only read, and the statements that make such users."""

from __future__ import annotations

import re
import time

import aiohttp
import msgspec
import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.receive.messages import parse
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


def _statements(name: str) -> list[str]:
    text = (ROOT / "deploy" / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [one.strip() for one in "\n".join(lines).split(";") if one.strip()]


@pytest.mark.parametrize(("name", "count"), [("clickhouse-users.sql", 7), ("clickhouse-tenant.sql", 8)])
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
