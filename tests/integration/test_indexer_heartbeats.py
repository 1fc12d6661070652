"""Heartbeats over the indexer's HTTP: taken, refused, listed and shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import heartbeat
from agent.heartbeat import Heartbeat
from indexer.settings import Bounds
from tests.integration.test_indexer_http import NOW_S, Indexer
from tests.support.frames import counter_frame


@pytest.fixture
async def indexer(chdb_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    it = Indexer(chdb_dsn, tmp_path)
    yield it
    await it.stop()


async def beat(indexer: Indexer, agent: str, until_ms: int = 0, **fields: int | bool) -> int:
    body = heartbeat.encode(Heartbeat(agent=agent, epoch=1, flushed_until_ms=until_ms, **fields))  # type: ignore[arg-type]
    return (await indexer.post(heartbeat.PATH, data=body))[0]


async def test_agents_are_listed_and_shown(indexer: Indexer) -> None:
    await indexer.start(tokens={"t": "*:* write,admin"})
    headers = {"Authorization": "Bearer t"}
    body = heartbeat.encode(Heartbeat(agent="a", epoch=1, org_id=2, project_id=3, flushed_until_ms=5_000))
    assert (await indexer.post(heartbeat.PATH, data=body))[0] == 401
    assert (await indexer.get("/status"))[0] == 401
    assert (await indexer.post(heartbeat.PATH, data=body, headers=headers))[0] == 200
    assert (await indexer.frame(counter_frame({"x": 1.0}, NOW_S, agent="b"), headers=headers))[0] == 200
    async with indexer.session.get("/status", headers=headers) as response:
        agents = (await response.json())["agents"]
    assert [(a["org_id"], a["project_id"], a["agent"]) for a in agents] == [(1, 1, "b"), (2, 3, "a")]
    assert agents[1]["flushed_until_s"] == 5.0
    assert 0 <= agents[1]["heard_s_ago"] < 60
    async with indexer.session.get("/metrics", headers=headers) as response:
        assert response.status == 200
    assert indexer.metric("agents") == 2
    age = indexer.metric("heartbeat_age_seconds", org_id="2", project_id="3", agent="a")
    assert age is not None
    assert 0 <= age < 60
    assert indexer.metric("heartbeats_total", outcome="taken") == 1


async def test_one_that_ended_is_shown_no_more(indexer: Indexer) -> None:
    await indexer.start()
    assert await beat(indexer, "a") == await beat(indexer, "a", ended=True) == 200
    await indexer.get("/metrics")
    assert indexer.metric("agents") == 0
    assert indexer.metric("heartbeat_age_seconds", org_id="1", project_id="1", agent="a") is None
    assert [a["ended"] for a in json.loads((await indexer.get("/status"))[1])["agents"]] == [True]


async def test_what_is_no_heartbeat(indexer: Indexer) -> None:
    await indexer.start(bounds=Bounds(agents=1))
    status, answer, _ = await indexer.post(heartbeat.PATH, data=b'{"agent":1}')
    assert status == 400
    assert "agent" in answer["error"]
    assert (await indexer.post(heartbeat.PATH, data=b" " * 5_000))[0] == 413
    assert await beat(indexer, "a") == 200
    assert await beat(indexer, "b") == 429
    assert indexer.metric("heartbeats_total", outcome="bad") == 1
    assert indexer.metric("heartbeats_total", outcome="too_many_agents") == 1
