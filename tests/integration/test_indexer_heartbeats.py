"""Heartbeats over the indexer's HTTP: taken, refused, listed and shown."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.wire import heartbeat
from agent.wire.heartbeat import Heartbeat
from indexer.clickhouse.store import open_store
from indexer.settings import Bounds
from tests.integration.test_indexer_http import NOW_S, Indexer
from tests.support.frames import counter_frame


@pytest.fixture
async def indexer(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Indexer]:
    """Not started yet: the test says with which settings."""
    it = Indexer(migrated_dsn, tmp_path)
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


async def test_a_clock_that_is_ahead_is_shown(indexer: Indexer, caplog: pytest.LogCaptureFixture) -> None:
    """In the log once, for as long as it lasts, and as a metric."""
    await indexer.start()
    for days in (2, 2, 0, 2):
        sent_ms = time.time_ns() // 1_000_000 + days * 86_400_000
        assert await beat(indexer, "a", sent_ms=sent_ms) == 200
        await indexer.get("/metrics")
        ahead_s = indexer.metric("agent_clock_ahead_seconds", org_id="1", project_id="1", agent="a")
        assert abs((ahead_s or 0) - days * 86_400) < 60
    told = [
        one for one in caplog.messages if "event=agent_clock org_id=1 project_id=1 agent=a ahead_s=1" in one
    ]
    assert len(told) == 2


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


async def _missing(indexer: Indexer) -> object:
    (agent,) = json.loads((await indexer.get("/status"))[1])["agents"]
    return agent["missing_frames"], agent.get("missing")


async def test_gaps_are_reported_and_close(indexer: Indexer) -> None:
    """In any order of arrival, and after retries; of buckets that the agent says are over."""
    await indexer.start()
    assert await beat(indexer, "a", frames_over=0) == 200
    for sequence in (3, 1, 1, 6):
        frame = counter_frame({"x": 1.0}, NOW_S, agent="a", sequence=sequence)
        assert (await indexer.frame(frame))[0] == 200
    assert await _missing(indexer) == (0, None)
    assert await beat(indexer, "a", frames_made=8, frames_over=7) == 200
    assert await _missing(indexer) == (4, [[2, 2], [4, 5], [7, 7]])
    await indexer.get("/metrics")
    assert indexer.metric("missing_frames", org_id="1") == 4
    for sequence in (5, 2, 4):
        await indexer.frame(counter_frame({"x": 1.0}, NOW_S, agent="a", sequence=sequence))
    assert await _missing(indexer) == (1, [[7, 7]])
    await indexer.get("/metrics")
    assert indexer.metric("missing_frames", org_id="1") == 1


async def test_gaps_are_not_judged_where_others_may_have_the_frames(indexer: Indexer) -> None:
    await indexer.start(batching="frame")
    await beat(indexer, "a", frames_over=0)
    await indexer.frame(counter_frame({"x": 1.0}, NOW_S, agent="a", sequence=5))
    await beat(indexer, "a", frames_made=5, frames_over=5)
    assert await _missing(indexer) == (None, None)


@pytest.mark.parametrize("batching", ["journal", "frame"])
async def test_rows_that_only_a_clock_put_ahead_are_stored_once(
    indexer: Indexer, migrated_dsn: str, batching: str
) -> None:
    await indexer.start(batching=batching)
    ahead_s = NOW_S + 2 * 86_400
    frame = counter_frame({"x": 5.0}, ahead_s, agent="a", sequence=1)
    frame = msgspec.structs.replace(frame, created_ms=ahead_s * 1000)
    for _ in range(2):
        assert (await indexer.frame(frame))[0] == 200
    assert indexer.metric("moved_rows_total") == 2
    store = open_store(migrated_dsn, pool=1)
    sql = "SELECT sum(value), toUInt32(min(timestamp)), toUInt32(max(timestamp)) FROM counters_10s"
    ((value, first, last),) = store.rows(sql)
    store.close()
    assert value == 5.0
    assert abs(first - time.time()) < 120
    assert first == last
    rightly = msgspec.structs.replace(frame, sequence=2, created_ms=NOW_S * 1000)
    status, answer, _ = await indexer.frame(rightly)
    assert (status, "is in the future" in answer["error"]) == (400, True)
