"""One tenant's queries over very many series, refused or answered, keep no other tenant from its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.model.tenancy import TenancySettings
from tests.integration.test_http_api import Client, serving
from tests.support.pipeline import Pipeline
from tests.support.sizes import fill, sized_frames
from tests.support.worlds import embedded

NOW_S: Final = 20_400 * 86_400
SERIES: Final = 20_000
MAX_SERIES: Final = 5_000
#: Of the light queries; the heavy ones have twice that.
TIMEOUT_S: Final = 60
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
HEAVY: Final = [("X-Scope-OrgID", "1:1")]
LIGHT: Final = [("X-Scope-OrgID", "2:1")]
REFUSED: Final = [
    "x",
    "rate(x[5m])",
    "sum by (grp) (x)",
    "max_over_time(x[5m])",
    "x + x",
    'x{path=~"path.*"}',
]
ANSWERED: Final = [f"{op}rate(x[{m}m]))" for op in ("count(", "max(", "topk(1, ") for m in (4, 5)]


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    """Provide a metric of 20,000 series of one tenant, and one of one series of another."""
    with embedded(chdb_path, "neighbours") as store:
        fill(store, sized_frames("counter", "x", SERIES, [NOW_S - 60]))
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        pipeline.send([f"small:3|c|T{NOW_S - 60}"], org_id=2)
        pipeline.close()
        yield store


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    tenancy = TenancySettings(mode="header")
    settings = {"max_series": MAX_SERIES, "concurrency": 2, "settle_s": 0.0, "retention": KEPT}
    async with serving(store, tenancy=tenancy, **settings) as client:
        yield client


@pytest.mark.parametrize("queries", [REFUSED, ANSWERED], ids=["refused", "answered"])
async def test_six_at_once_keep_no_other_tenant_waiting(client: Client, queries: list[str]) -> None:
    """The other tenant asks again and again until the last of the six has ended, and is always answered."""
    at = {"time": str(NOW_S), "timeout": f"{TIMEOUT_S}s"}
    heavy = {**at, "timeout": f"{2 * TIMEOUT_S}s"}
    asked = [asyncio.create_task(client.ask("query", {"query": q, **heavy}, headers=HEAVY)) for q in queries]
    answers = 0
    async with asyncio.timeout(3 * TIMEOUT_S):
        while answers == 0 or not all(task.done() for task in asked):
            reply = await client.ask("query", {"query": "sum(increase(small[5m]))", **at}, headers=LIGHT)
            assert [row["value"][1] for row in reply.data["result"]] == ["3"]
            answers += 1
        replies = await asyncio.gather(*asked)
    for query, reply in zip(queries, replies, strict=True):
        if queries is ANSWERED:
            assert len(reply.data["result"]) == 1, query
            continue
        status, error_type, text = reply.error
        assert (status, error_type) == (422, "execution"), query
        assert "max_series" in text
