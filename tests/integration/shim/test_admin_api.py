"""`/api/v1/admin/tsdb`: who may delete, of whom, and the answers; by an indexer here or elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import ANY

import aiohttp
import pytest

from agent.wire.frame import encode
from indexer.clickhouse.store import open_store
from indexer.deletion.deletion_request import MAX_SERIES, DeletionError, MetricSeries, decode_deletion
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from shim.model.tenancy import TenancySettings
from shim.service import ShimService
from shim.settings import IndexersSettings, ShimSettings
from tests.support.frames import counter_frame

DELETE: Final = "/api/v1/admin/tsdb/delete_series"
TOKENS: Final = {
    "reader": "1:1 query",
    "one": "1:1 query,admin",
    "org": "1:* query,admin",
    "other": "2:1 query,admin",
    "writer": "*:* write",
    "operator": "*:* admin",
}
NOW_S: Final = int(time.time()) // 10 * 10 - 600


class World:
    """An indexer, and three APIs: beside it, elsewhere, and with deletions off."""

    def __init__(self, indexer: IndexerService, shims: dict[str, ShimService]) -> None:
        self.indexer = indexer
        self.shims = shims
        self.session: aiohttp.ClientSession

    async def send(self, values: dict[str, float], org_id: int = 1, project_id: int = 1) -> bytes:
        """Send a frame; return its bytes."""
        frame = encode(counter_frame(values, NOW_S, org_id=org_id, project_id=project_id))
        await self.resend(frame)
        return frame

    async def resend(self, frame: bytes) -> None:
        url, headers = f"{self.indexer.url}/v1/frames", {"Authorization": "Bearer writer"}
        async with self.session.post(url, data=frame, headers=headers) as response:
            assert response.status == 200, await response.text()

    async def ask(
        self, path: str, token: str, data: dict[str, str], *, shim: str = "here", method: str = "POST"
    ) -> tuple[int, Any]:
        url, headers = f"{self.shims[shim].url}{path}", {"Authorization": f"Bearer {token}"}
        async with self.session.request(method, url, data=data, headers=headers) as response:
            return response.status, await response.json() if response.status != 204 else None

    async def deletions(self, token: str) -> list[dict[str, Any]]:
        """Return the deletions that the indexer shows as running."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.get(f"{self.indexer.url}/status", headers=headers) as response:
            found: list[dict[str, Any]] = (await response.json())["deletions"]
            return found

    async def hosts(self, token: str, shim: str = "here") -> set[str]:
        """Return the hosts that have samples."""
        data = {"query": "hits", "time": str(NOW_S + 60)}
        _, document = await self.ask("/api/v1/query", token, data, shim=shim)
        return {one["metric"]["host"] for one in document["data"]["result"]}


@pytest.fixture
async def world(chdb_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    listen, store = "127.0.0.1:0", open_store(chdb_dsn, pool=8)
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    indexer = IndexerService(
        Settings(dsn=chdb_dsn, listen=listen, journal=journal, up=False, tokens=TOKENS, admin_api=True), store
    )
    await indexer.start()
    tenancy = TenancySettings(mode="token", tokens=TOKENS)
    given: dict[str, Any] = {"dsn": chdb_dsn, "listen": listen, "tenancy": tenancy}
    indexers = IndexersSettings(urls=[indexer.url], token="operator")
    beside = {"version": indexer.version, "changes": indexer.registry.changes, "delete": indexer.delete}
    shims = {
        "here": ShimService(ShimSettings(admin_api=True, **given), store=store, **beside),  # type: ignore[arg-type]
        "elsewhere": ShimService(ShimSettings(admin_api=True, indexers=indexers, **given), store=store),
        "off": ShimService(ShimSettings(**given), store=store, delete=indexer.delete),
    }
    for shim in shims.values():
        await shim.start()
    made = World(indexer, shims)
    async with aiohttp.ClientSession() as made.session:
        yield made
    for shim in shims.values():
        await shim.stop()
    await indexer.stop()
    await asyncio.to_thread(store.close)


async def test_who_may_delete_and_of_whom(world: World) -> None:
    for org_id, project_id in ((1, 1), (1, 2), (2, 1)):
        await world.send({"a": 1.0, "b": 2.0, "c": 3.0}, org_id, project_id)
    wanted = {"match[]": 'hits{host="a"}'}
    status, document = await world.ask(DELETE, "one", wanted, shim="off")
    assert (status, document["errorType"]) == (403, "unavailable")
    assert document["error"].startswith("admin APIs disabled")
    status, document = await world.ask(DELETE, "reader", wanted)
    assert (status, document["error"]) == (403, "this credential may not admin; it may query for 1:1")
    assert (await world.ask(DELETE, "operator", wanted))[0] == 401  # of no org
    assert (await world.ask(DELETE, "", wanted))[0] == 401
    assert await world.hosts("one") == {"a", "b", "c"}

    status, document = await world.ask(DELETE, "one", wanted | {"dry_run": "1"})
    rows = {"series": 1, "rows": 4, "start": 0, "end": None}
    assert (status, document) == (200, {"status": "success", "data": rows})
    assert await world.hosts("one") == {"a", "b", "c"}
    status, document = await world.ask(DELETE, "one", wanted, method="PUT")
    assert (status, document["data"]) == (200, rows)
    assert await world.hosts("one") == {"b", "c"}
    assert (await world.hosts("org"), await world.hosts("other")) == ({"a", "b", "c"}, {"a", "b", "c"})

    status, document = await world.ask(DELETE, "org", {"match[]": 'hits{host="b"}'}, shim="elsewhere")
    assert (status, document["data"]["series"]) == (200, 2)
    assert (await world.hosts("org"), await world.hosts("other")) == ({"a", "c"}, {"a", "b", "c"})
    status, document = await world.ask(DELETE, "other", {"match[]": "hits"}, shim="elsewhere")
    assert (status, document["data"]["series"]) == (200, 3)
    assert (await world.hosts("org"), await world.hosts("other")) == ({"a", "c"}, set())
    await world.send({"a": 1.0}, 2)  # the same frame's strings, written anew
    assert await world.hosts("other", "elsewhere") == {"a"}


async def test_a_slow_deletion_of_one_org_delays_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for an INSERT of its org. A further one of it is refused, wherever it is asked for."""
    monkeypatch.setattr("indexer.deletion.deleter._QUIET_S", 600.0)
    for org_id in (1, 2):
        await world.send({"a": 1.0}, org_id)
    wanted, gate = {"match[]": "hits"}, world.indexer._deleter._parts.gate  # type: ignore[union-attr]
    gate.enter({1})
    async with asyncio.timeout(120):
        slow = asyncio.create_task(world.ask(DELETE, "one", wanted))
        while not (running := await world.deletions("one")):  # noqa: ASYNC110  # of HTTP
            await asyncio.sleep(0.01)
        assert [(one["org_id"], one["step"]) for one in running] == [(1, "samples")]
        assert await world.deletions("operator") == [running[0] | {"running_s": ANY}]
        assert await world.deletions("other") == []
        status, document = await world.ask(DELETE, "other", wanted)
        assert (status, document["data"]["series"]) == (200, 1)
        for shim in ("here", "elsewhere"):
            status, document = await world.ask(DELETE, "one", wanted, shim=shim)
            assert (status, "org 1: another deletion is running" in document["error"]) == (429, True)
        gate.leave({1})
        status, document = await slow
    assert (status, document["data"]["series"]) == (200, 1)
    assert await world.deletions("operator") == []


async def test_a_frame_that_is_sent_again_brings_nothing_back(world: World) -> None:
    """Its identity is known: that of a token goes with the part whose rows are all deleted."""
    frame = await world.send({"a": 1.0, "b": 2.0})
    assert (await world.ask(DELETE, "one", {"match[]": "hits"}))[0] == 200
    await world.resend(frame)
    assert await world.hosts("one") == set()
    await world.send({"b": 1.0})
    assert await world.hosts("one") == {"b"}


async def test_parameters_and_the_other_paths(world: World) -> None:
    await world.send({"a": 1.0})
    tsdb = "/api/v1/admin/tsdb"
    assert await world.ask(f"{tsdb}/clean_tombstones", "one", {}) == (204, None)
    status, document = await world.ask(f"{tsdb}/snapshot", "one", {}, method="PUT")
    assert (status, document["error"].startswith("snapshots are backups")) == (422, True)
    status, document = await world.ask(DELETE, "one", {})
    assert (status, document["error"]) == (400, "no match[] parameter provided")
    for given, told in (
        ({"match[]": "{}"}, "non-empty matcher"),
        ({"match[]": "hits", "start": "20", "end": "10"}, "end timestamp must not be before start time"),
        ({"match[]": "hits", "start": str(NOW_S), "end": str(NOW_S + 9)}, "no whole bucket"),
    ):
        status, document = await world.ask(DELETE, "one", given)
        assert (status, told in document["error"]) == (400, True), document
        assert (await world.ask(DELETE, "one", given, shim="elsewhere"))[0] == 400
    given = {"match[]": "hits", "start": str(NOW_S - 5), "end": str(NOW_S + 15.5)}
    status, document = await world.ask(DELETE, "one", given)
    assert document["data"] == {"series": 1, "rows": 1, "start": NOW_S, "end": NOW_S + 10}
    assert document["infos"][0].startswith(f"deleted is {NOW_S} to {NOW_S + 10}, not")
    assert await world.hosts("one") == set()


async def test_a_foreign_page_deletes_nothing(world: World) -> None:
    await world.send({"a": 1.0})
    headers = {"Authorization": "Bearer one", "Origin": "https://example.com"}
    url = f"{world.shims['here'].url}{DELETE}?match[]=hits"
    async with world.session.post(url, headers=headers) as response:
        assert response.status == 403
    assert await world.hosts("one") == {"a"}


async def test_the_indexer_checks_projects_and_bounds(world: World) -> None:
    url, right = (
        f"{world.indexer.url}/v1/deletions",
        b'{"org_id":1,"metrics":[{"project_id":1,"kind":"counters"',
    )
    body = right + b',"metric_id":5}]}'
    for token, sent, status in (
        ("other", body, 403),
        ("writer", body, 403),
        ("one", body, 200),
        ("one", right, 400),
        ("one", right + b',"metric_id":5,"series":"AAAA"}]}', 400),
    ):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with world.session.post(url, data=sent, headers=headers) as response:
            assert (token, response.status) == (token, status), await response.text()


def test_a_request_has_bounds() -> None:
    too_many = MetricSeries(1, "sets", 3, bytes(8 * (MAX_SERIES + 1)))
    assert len(too_many.ids) == MAX_SERIES + 1
    with pytest.raises(DeletionError, match="cannot be read"):
        decode_deletion(b'{"org_id":0,"metrics":[]}')
    with pytest.raises(DeletionError, match="end_s = 1: expected 5"):
        decode_deletion(b'{"org_id":1,"metrics":[],"start_s":5,"end_s":1}')
